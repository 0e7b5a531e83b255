"""Three browsers with the same small set of methods, so that each test is written once.

Playwright controls Chromium; Marionette, the protocol into which geckodriver translates
WebDriver, controls Firefox (Debian has no geckodriver); `webkit.py` controls WebKit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..conftest import CHROMIUM, HEADLESS, PATIENCE
from ..support.patience import HANGS
from ..support.ports import free_port

FIREFOX = shutil.which("firefox-esr")
WEBKIT = Path(__file__).with_name("webkit.py")
#: Debian's Python, if WebKitGTK and its bindings are installed.
WEBKIT_PYTHON = next(
    (
        "/usr/bin/python3"
        for _ in Path("/usr/lib").glob("*/girepository-1.0/WebKit2-4.1.typelib")
        if Path("/usr/lib/python3/dist-packages/gi").is_dir()
    ),
    None,
)


class Tab:
    """The actions of a person in one tab, which a subclass implements."""

    def open(self, url: str) -> None:
        raise NotImplementedError

    def back(self) -> None:
        raise NotImplementedError

    def reload(self) -> None:
        raise NotImplementedError

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def text(self) -> str:
        """The text on the page, or "" while it loads."""
        raise NotImplementedError

    def _click(self, xpath: str) -> None:
        raise NotImplementedError

    def press(self, name: str) -> None:
        """Press a button, or follow a link."""
        self._click(
            f"//button[normalize-space()='{name}']|//a[normalize-space()='{name}']"
        )

    def choose(self, name: str) -> None:
        """Choose a person on the stand-in's page."""
        self._click(f"//label[contains(normalize-space(), '{name}')]")

    def shows(self, text: str) -> None:
        """Wait until the page has the text."""
        until(
            lambda: text in self.text, lambda: f"{text!r}, at {self.url}: {self.text!r}"
        )

    def is_at(self, url: str) -> None:
        """Wait until the address begins with `url`."""
        until(lambda: self.url.startswith(url), lambda: f"{url}, at {self.url}")


def until(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    give_up = time.monotonic() + HANGS
    while not holds():
        assert time.monotonic() < give_up, f"waited in vain for {what()}"
        time.sleep(0.05)


# --- Chromium --------------------------------------------------------------------


class ChromiumTab(Tab):
    def __init__(self, page: Any) -> None:
        self.page = page

    def open(self, url: str) -> None:
        self.page.goto(url)

    def back(self) -> None:
        self.page.go_back(wait_until="commit")

    def reload(self) -> None:
        self.page.reload()

    @property
    def url(self) -> str:
        self.page.wait_for_timeout(1)  # lets Playwright process its events
        return str(self.page.url)

    @property
    def text(self) -> str:
        from playwright.sync_api import Error

        with suppress(Error):
            return str(self.page.inner_text("body"))
        return ""

    def _click(self, xpath: str) -> None:
        self.page.locator(f"xpath={xpath}").first.click()


class ChromiumBrowser:
    kind = "chromium"
    #: One driver for all that are open: Playwright refuses a second in one thread.
    _playwright: Any = None
    _open = 0

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        from playwright.sync_api import sync_playwright

        self.folder, self.options = folder, options
        self._program = HEADLESS if options.get("shell") else CHROMIUM
        if not ChromiumBrowser._open:
            ChromiumBrowser._playwright = sync_playwright().start()
        ChromiumBrowser._open += 1
        self._launch()

    def _launch(self, *further: str) -> None:
        args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
        if not self.options.get("third_party_cookies", True):
            preferences = Path(self.folder, "Default", "Preferences")
            preferences.parent.mkdir(exist_ok=True)
            preferences.write_text('{"profile": {"cookie_controls_mode": 1}}')
        self.context = self._playwright.chromium.launch_persistent_context(
            self.folder,
            executable_path=self._program,
            args=[*args, *further],
            # Playwright turns the cache of whole pages off.
            ignore_default_args=["--disable-back-forward-cache"],
            java_script_enabled=self.options.get("javascript", True),
            ignore_https_errors=True,
        )
        self.context.set_default_timeout(PATIENCE)

    @property
    def version(self) -> str:
        browser = self.context.browser
        return f"Chromium {browser.version if browser else ''}"

    def tab(self) -> Tab:
        return ChromiumTab(self.context.new_page())

    def restart(self) -> list[Tab]:
        """End the browser and start it again; return the tabs that it restores."""
        self.context.close()
        self._launch("--restore-last-session")
        return [ChromiumTab(page) for page in self.context.pages]

    def cookies(self, url: str) -> list[dict[str, Any]]:
        return [dict(each) for each in self.context.cookies(url)]

    @contextmanager
    def private(self) -> Iterator[Tab]:
        """Open a private window, which shares nothing with the profile."""
        browser = self._playwright.chromium.launch(
            executable_path=self._program, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            browser.on("context", lambda context: context.set_default_timeout(PATIENCE))
            yield ChromiumTab(browser.new_context().new_page())
        finally:
            browser.close()

    def forget(self) -> None:
        """Close the tabs and delete the cookies, as good as a new profile."""
        first, *others = self.context.pages
        for page in others:
            page.close()
        first.goto("about:blank")
        self.context.clear_cookies()

    def close(self) -> None:
        self.context.close()
        ChromiumBrowser._open -= 1
        if not ChromiumBrowser._open:
            self._playwright.stop()


# --- Firefox ---------------------------------------------------------------------


class FirefoxTab(Tab):
    def __init__(self, marionette: Any, handle: str) -> None:
        self.marionette, self.handle = marionette, handle

    @property
    def _here(self) -> Any:
        if self.marionette.current_window_handle != self.handle:
            self.marionette.switch_to_window(self.handle)
        return self.marionette

    def open(self, url: str) -> None:
        self._here.navigate(url)

    def back(self) -> None:
        self._here.go_back()

    def reload(self) -> None:
        self._here.refresh()

    @property
    def url(self) -> str:
        return str(self._here.get_url())

    @property
    def text(self) -> str:
        from marionette_driver.errors import MarionetteException

        with suppress(MarionetteException):
            return str(self._here.find_element("tag name", "body").text)
        return ""

    def _click(self, xpath: str) -> None:
        self._here.find_element("xpath", xpath).click()


class FirefoxBrowser:
    kind = "firefox"

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        from marionette_driver.marionette import Marionette

        self.folder = folder
        preferences: dict[str, Any] = {"browser.startup.page": 3}
        if not options.get("third_party_cookies", True):
            preferences["network.cookie.cookieBehavior"] = 1
        if not options.get("javascript", True):
            preferences["javascript.enabled"] = False
        port = free_port()
        self.marionette = Marionette(
            bin=FIREFOX,
            host="127.0.0.1",
            port=port,
            headless=True,
            prefs=preferences,
            gecko_log=str(Path(folder, "gecko.log")),
        )
        self._begin()

    def _begin(self) -> None:
        self.marionette.start_session({"acceptInsecureCerts": True})
        self.marionette.timeout.implicit = 20

    @property
    def version(self) -> str:
        found = self.marionette.session_capabilities["browserVersion"]
        return f"Firefox {found}"

    def tab(self, *, private: bool = False) -> Tab:
        kind = "window" if private else "tab"
        opened = self.marionette.open(type=kind, focus=True, private=private)
        return FirefoxTab(self.marionette, opened["handle"])

    def restart(self) -> list[Tab]:
        self.marionette.quit(in_app=True)
        self.marionette.instance.start()
        self.marionette.raise_for_port()
        self._begin()
        return [FirefoxTab(self.marionette, h) for h in self.marionette.window_handles]

    def cookies(self, url: str) -> list[dict[str, Any]]:
        return list(self.marionette.get_cookies())  # of the open page

    @contextmanager
    def private(self) -> Iterator[Tab]:
        tab = self.tab(private=True)
        yield tab
        self.marionette.switch_to_window(tab.handle)
        self.marionette.close()
        self.marionette.switch_to_window(self.marionette.window_handles[0])

    def close(self) -> None:
        self.marionette.quit(in_app=False)
        self.marionette.cleanup()


# --- WebKit ----------------------------------------------------------------------


class WebKitTab(Tab):
    def __init__(self, browser: WebKitBrowser, number: int) -> None:
        self.browser, self.number = browser, number

    def _do(self, name: str, *arguments: object) -> Any:
        return self.browser.ask(name, self.number, *arguments)

    def open(self, url: str) -> None:
        assert self._do("open", url), url

    def back(self) -> None:
        assert self._do("back"), self.url

    def reload(self) -> None:
        assert self._do("reload"), self.url

    @property
    def url(self) -> str:
        return str(self._do("url"))

    @property
    def text(self) -> str:
        return str(self._do("text"))

    def _click(self, xpath: str) -> None:
        until(
            lambda: bool(self._do("click", xpath)),
            lambda: f"{xpath}, at {self.url}: {self.text!r}",
        )


class WebKitBrowser:
    kind = "webkit"

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        self.folder = folder
        self.options = [
            f"no-{name.replace('_', '-')}"
            for name in ("javascript", "third_party_cookies")
            if not options.get(name, True)
        ]
        read, write = os.pipe()
        self._screen = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            self._display = f":{pipe.readline().strip()}"
        self._begin()

    def _begin(self, *further: str) -> int:
        """Start the program; return the number of tabs that it has restored."""
        self._program = subprocess.Popen(
            [str(WEBKIT_PYTHON), str(WEBKIT), self.folder, *self.options, *further],
            env={
                **os.environ,
                "DISPLAY": self._display,
                "GDK_BACKEND": "x11",
                "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        found, restored = self._answer()
        self.version = f"WebKitGTK {found}"
        return int(restored)

    def _answer(self) -> Any:
        assert self._program.stdout is not None
        return json.loads(self._program.stdout.readline())

    def ask(self, *line: object) -> Any:
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(line) + "\n")
        self._program.stdin.flush()
        return self._answer()

    def tab(self) -> Tab:
        return WebKitTab(self, self.ask("tab"))

    def restart(self) -> list[Tab]:
        """End the browser and start it again; return the tabs that it restores."""
        self.ask("save")
        self._end()
        return [WebKitTab(self, number) for number in range(self._begin("restore"))]

    def cookies(self, url: str) -> list[dict[str, Any]]:
        return list(self.ask("cookies", url))

    @contextmanager
    def private(self) -> Iterator[Tab]:
        yield WebKitTab(self, self.ask("private"))

    def _end(self) -> None:
        self._program.communicate(timeout=HANGS)

    def close(self) -> None:
        try:
            self._end()
        finally:
            self._screen.terminate()
            self._screen.wait()


KINDS: dict[str, Any] = {
    "chromium": (ChromiumBrowser, CHROMIUM),
    "firefox": (FirefoxBrowser, FIREFOX),
    "webkit": (WebKitBrowser, WEBKIT_PYTHON),
}


@contextmanager
def browser(kind: str, **options: Any) -> Iterator[Any]:
    """Start a browser with a new profile.

    Args:
        kind: one of `KINDS`.
        options: ``javascript`` and ``third_party_cookies``, which are on; ``shell``,
            Chromium without its own windows, sessions and preferences, which is off.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        opened = KINDS[kind][0](folder, options)
        try:
            yield opened
        finally:
            opened.close()

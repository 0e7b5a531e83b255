"""Three browsers behind one small set of verbs, so that each journey is written once.

Chromium is driven by Playwright, WebKit by its WebDriver, and Firefox by Marionette, the
protocol that geckodriver translates WebDriver into: Debian has no geckodriver.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..conftest import CHROMIUM
from ..support.ports import free_port

FIREFOX = shutil.which("firefox-esr")
WEBKIT = shutil.which("WebKitWebDriver")
MINI_BROWSER = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser"
SECONDS = 60


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
        """Wait until the address begins so."""
        until(lambda: self.url.startswith(url), lambda: f"{url}, at {self.url}")


def until(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    give_up = time.monotonic() + SECONDS
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

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        from playwright.sync_api import sync_playwright

        self.folder, self.options = folder, options
        self._playwright = sync_playwright().start()
        self._launch()

    def _launch(self, *further: str) -> None:
        args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
        if not self.options.get("third_party_cookies", True):
            preferences = Path(self.folder, "Default", "Preferences")
            preferences.parent.mkdir(exist_ok=True)
            preferences.write_text('{"profile": {"cookie_controls_mode": 1}}')
        self.context = self._playwright.chromium.launch_persistent_context(
            self.folder,
            executable_path=CHROMIUM,
            args=[*args, *further],
            # Playwright turns the cache of whole pages off.
            ignore_default_args=["--disable-back-forward-cache"],
            java_script_enabled=self.options.get("javascript", True),
            ignore_https_errors=True,
        )

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
        """Open a private window, on its own: it shares nothing with the profile."""
        browser = self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield ChromiumTab(browser.new_context().new_page())
        finally:
            browser.close()

    def close(self) -> None:
        self.context.close()
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
        return list(self.marionette.get_cookies())  # of the page that is open

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


class WebKitTab(FirefoxTab):
    """Methods with the names of one protocol and the same effects."""

    @property
    def _here(self) -> Any:
        self.marionette.switch_to.window(self.handle)
        return self.marionette

    def open(self, url: str) -> None:
        self._here.get(url)

    def back(self) -> None:
        # The driver's own Back never returns where redirects follow.
        self._here.execute_script("setTimeout(() => history.back())")
        time.sleep(1)  # else the next read returns the previous page

    @property
    def url(self) -> str:
        return str(self._here.current_url)

    @property
    def text(self) -> str:
        from selenium.common.exceptions import WebDriverException

        with suppress(WebDriverException):
            return str(self._here.find_element("tag name", "body").text)
        return ""


class WebKitBrowser:
    kind = "webkit"

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        from selenium import webdriver
        from selenium.webdriver.webkitgtk.options import Options
        from selenium.webdriver.webkitgtk.service import Service

        read, write = os.pipe()
        self._screen = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            display = f":{pipe.readline().strip()}"
        chosen = Options()
        chosen.binary_location = MINI_BROWSER
        chosen.add_argument("--automation")
        if not options.get("javascript", True):
            chosen.add_argument("--enable-javascript=false")
        if not options.get("third_party_cookies", True):
            chosen.add_argument("--cookies-policy=no-third-party")
        chosen.set_capability("acceptInsecureCerts", True)
        environment = {
            **os.environ,
            "DISPLAY": display,
            # Its sandbox needs user namespaces, which containers lack.
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            "GDK_BACKEND": "x11",
        }
        service = Service(WEBKIT, env=environment)
        self.driver = webdriver.WebKitGTK(options=chosen, service=service)
        self.driver.implicitly_wait(20)
        self.driver.set_page_load_timeout(20)

    @property
    def version(self) -> str:
        return f"WebKitGTK {self.driver.capabilities['browserVersion']}"

    def tab(self) -> Tab:
        self.driver.switch_to.new_window("tab")
        return WebKitTab(self.driver, self.driver.current_window_handle)

    def cookies(self, url: str) -> list[dict[str, Any]]:
        return list(self.driver.get_cookies())  # of the page that is open

    def close(self) -> None:
        self.driver.quit()
        self._screen.terminate()
        self._screen.wait()


KINDS: dict[str, Any] = {
    "chromium": (ChromiumBrowser, CHROMIUM),
    "firefox": (FirefoxBrowser, FIREFOX),
    "webkit": (WebKitBrowser, WEBKIT),
}


@contextmanager
def browser(kind: str, **options: Any) -> Iterator[Any]:
    """Start a browser with a profile of its own.

    Args:
        kind: one of `KINDS`.
        options: ``javascript`` and ``third_party_cookies``, which are on.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        opened = KINDS[kind][0](folder, options)
        try:
            yield opened
        finally:
            opened.close()

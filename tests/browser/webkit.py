"""A small WebKitGTK browser that lines of JSON control, without a WebDriver.

WebKit's WebDriver never answers after Back to a page that redirects, keeps no profile and
has private windows only. This program uses the library as a browser does, so all three
can be tested. It runs in Debian's own Python, which has the bindings (python3-gi and
gir1.2-webkit2-4.1); tests/browser/drivers.py starts it:

    python3 webkit.py FOLDER [no-javascript] [no-third-party-cookies] [restore]

Each line on standard input is a list, the name of a method of `Browser` and its
arguments; each line on standard output is its result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("WebKit2", "4.1")

from gi.repository import GLib, Gtk, WebKit2  # after their versions

#: Seconds that a page may load before the next action.
SECONDS = 20
#: A script that clicks a button or link, if it is there.
CLICK = """
(() => {
    const found = document.evaluate(XPATH, document, null, 9, null).singleNodeValue;
    if (found) found.click();
    return Boolean(found);
})()
"""


def wait(holds: Callable[[], bool]) -> bool:
    """Run the main loop until this holds, or for `SECONDS`; return whether it holds."""
    late: list[bool] = []
    timer = GLib.timeout_add_seconds(SECONDS, late.append, True)
    while not holds() and not late:
        Gtk.main_iteration()
    if not late:
        GLib.source_remove(timer)
    return not late


class Browser:
    """Tabs of one profile, and private windows."""

    def __init__(self, folder: str, *options: str) -> None:
        self.folder, self.options = Path(folder), options
        data = WebKit2.WebsiteDataManager(
            base_data_directory=f"{folder}/data", base_cache_directory=f"{folder}/cache"
        )
        self.context = WebKit2.WebContext.new_with_website_data_manager(data)
        data.get_cookie_manager().set_persistent_storage(
            f"{folder}/cookies.sqlite", WebKit2.CookiePersistentStorage.SQLITE
        )
        self.prepare(data)
        self.views: list[Any] = []
        if "restore" in options:
            for path in sorted(self.folder.glob("tab-*")):
                view = self.views[self.tab()]
                state = GLib.Bytes.new(path.read_bytes())
                view.restore_session_state(WebKit2.WebViewSessionState.new(state))
                current = view.get_back_forward_list().get_current_item()
                self.load(
                    view, lambda v=view, c=current: v.go_to_back_forward_list_item(c)
                )

    def prepare(self, data: Any) -> None:
        """Accept any certificate, and cookies according to the options."""
        data.set_tls_errors_policy(WebKit2.TLSErrorsPolicy.IGNORE)
        third = "no-third-party-cookies" not in self.options
        policy = WebKit2.CookieAcceptPolicy
        data.get_cookie_manager().set_accept_policy(
            policy.ALWAYS if third else policy.NO_THIRD_PARTY
        )

    def tab(self, *, private: bool = False) -> int:
        """Open a tab; return its number."""
        context = self.context
        if private:
            context = WebKit2.WebContext.new_ephemeral()
            self.prepare(context.get_website_data_manager())
        view = WebKit2.WebView.new_with_context(context)
        # Only scripts of pages: this program's still run.
        view.get_settings().set_enable_javascript_markup(
            "no-javascript" not in self.options
        )
        window = Gtk.Window(default_width=1200, default_height=800)
        window.add(view)
        window.show_all()
        self.views.append(view)
        return len(self.views) - 1

    def private(self) -> int:
        return self.tab(private=True)

    def load(self, view: Any, start: Callable[[], object]) -> bool:
        """Start a load; return whether it ended in time."""
        ended: list[bool] = []
        finished = WebKit2.LoadEvent.FINISHED
        connected = view.connect(
            "load-changed",
            lambda _view, event: event == finished and ended.append(True),
        )
        start()
        try:
            return wait(lambda: bool(ended))
        finally:
            view.disconnect(connected)

    def open(self, tab: int, url: str) -> bool:
        view = self.views[tab]
        return self.load(view, lambda: view.load_uri(url))

    def back(self, tab: int) -> bool:
        return self.load(self.views[tab], self.views[tab].go_back)

    def reload(self, tab: int) -> bool:
        return self.load(self.views[tab], self.views[tab].reload)

    def url(self, tab: int) -> str:
        return self.views[tab].get_uri() or ""

    def script(self, tab: int, script: str) -> str:
        """Return a script's result as text; "" if it fails or the page is left."""
        results: list[Any] = []
        view = self.views[tab]
        view.evaluate_javascript(
            script, -1, None, None, None, lambda _view, result: results.append(result)
        )
        if not wait(lambda: bool(results)):
            return ""
        try:
            return view.evaluate_javascript_finish(results[0]).to_string()
        except GLib.Error:
            return ""

    def text(self, tab: int) -> str:
        return self.script(tab, "document.body ? document.body.innerText : ''")

    def click(self, tab: int, xpath: str) -> bool:
        return self.script(tab, CLICK.replace("XPATH", json.dumps(xpath))) == "true"

    def cookies(self, url: str) -> list[dict[str, Any]]:
        results: list[Any] = []
        manager = self.context.get_website_data_manager().get_cookie_manager()
        manager.get_cookies(url, None, lambda _manager, result: results.append(result))
        wait(lambda: bool(results))
        return [
            {
                "name": each.get_name(),
                "httpOnly": each.get_http_only(),
                "secure": each.get_secure(),
                "sameSite": each.get_same_site_policy().value_nick.capitalize(),
            }
            for each in manager.get_cookies_finish(results[0])
        ]

    def save(self) -> None:
        """Save the state of each tab for restoring."""
        for number, view in enumerate(self.views):
            state = view.get_session_state().serialize().get_data()
            (self.folder / f"tab-{number}").write_bytes(state)


def main() -> None:
    browser = Browser(*sys.argv[1:])

    def answer(_channel: object, _condition: object) -> bool:
        line = sys.stdin.readline()
        if not line:
            Gtk.main_quit()
            return False
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(browser, name)(*arguments)), flush=True)
        return True

    version = (
        WebKit2.get_major_version(),
        WebKit2.get_minor_version(),
        WebKit2.get_micro_version(),
    )
    restored = len(browser.views)
    print(json.dumps([".".join(map(str, version)), restored]), flush=True)
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, answer)
    Gtk.main()


if __name__ == "__main__":
    main()

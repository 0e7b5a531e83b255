"""Logins by a person in a browser, written once for Chromium, Firefox and WebKit.

The suite runs Chromium; ``make browsers`` runs all three, and
docs/operations/browsers.md has the results. TikTok's stand-in is at ``localhost`` and
the site at ``127.0.0.1``, or the reverse: two sites to a browser, so that returning
from TikTok is a cross-site navigation, as with the real TikTok.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from flask import Flask, request
from markupsafe import escape

from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings
from tiktok_oauth_middleware.flask import requires_tiktok, tiktok_auth
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CALLBACK, LOGIN, LOGOUT
from ..support.certificates import chained
from .drivers import KINDS, browser

#: Warnings of marionette_driver, which leaves sockets unclosed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
#: `make browsers` sets all of them.
BROWSERS = os.environ.get("BROWSERS", "chromium").split()
#: The suite's journeys use Chromium's headless shell where it has what they test: it
#: takes half of the processor time.
SHELL = "BROWSERS" not in os.environ
SITES = ("127.0.0.1", "localhost", "https")
AUTHORIZE = "/v2/auth/authorize/"
NAME, SECOND = "Demo creator", "Second creator"
PAGE = """<!doctype html><title>Site</title><h1>{text}</h1>
<p><a href="/private">Private</a> <a href="{login}">Log in</a></p>
<form method="post" action="{logout}?next=/"><button>Log out</button></form>
"""
#: Another site's page that posts the parameters of a callback.
FOREIGN = """<!doctype html><title>Elsewhere</title>
<form method="post" action="{callback}?code=a&state=b"><button>Post</button></form>
"""


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args):
        """Write nothing to the tests' output."""


class Threads(ThreadingMixIn, WSGIServer):
    """One thread for each connection, since browsers open connections that they never
    use.
    """

    daemon_threads = True
    request_queue_size = 50


@dataclass
class Site:
    """A site around the middleware, and the stand-in for TikTok at another site."""

    url: str
    #: The same server under the other host name, which is another site to a browser.
    elsewhere: str
    tiktok: FakeTikTok
    middleware: Any


@contextmanager
def serve(name: str, folder: Path) -> Iterator[Site]:
    app = Flask(__name__)
    server = make_server("127.0.0.1", 0, app, Threads, Quiet)
    host = "localhost" if name == "https" else name
    scheme = "https" if name == "https" else "http"
    if name == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        path = folder / "cert.pem"
        path.write_bytes(b"".join(chained("localhost", "127.0.0.1")))
        context.load_cert_chain(path)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}[host]
    url = f"{scheme}://{host}:{server.server_port}"
    elsewhere = f"{scheme}://{other}:{server.server_port}"

    def page(text: str) -> str:
        return PAGE.format(text=escape(text), login=LOGIN, logout=LOGOUT)

    @app.get("/")
    def home():
        user = tiktok_auth.user
        return page(f"Hello, {user.display_name if user else 'nobody'}")

    @app.get("/private")
    @app.get("/members/<path>")
    @requires_tiktok
    def private(path=""):
        text = page(f"Private page {path} of {tiktok_auth.user.display_name}")
        # Members' pages must not be shown again after a logout.
        return text, {"cache-control": "no-store"} if path else {}

    @app.get("/foreign")
    def foreign():
        return FOREIGN.format(callback=url + CALLBACK)

    @app.get("/raw")
    def raw():
        """Set cookies with unusual attributes, and show which the browser sent back."""
        came = " ".join(n for n in sorted(request.cookies) if "raw" in n)
        cookies = [
            ("set-cookie", "raw-plain=1; Path=/; SameSite=Lax"),
            ("set-cookie", "raw-secure=1; Path=/; Secure; SameSite=Lax"),
            ("set-cookie", "__Host-raw=1; Path=/; Secure; SameSite=Lax"),
        ]
        return f"<p>Came: {came}.</p>", cookies

    with StandIn(FakeTikTok(), host=other) as stand_in:
        names = stand_in.environment(url + CALLBACK)
        settings = TikTokSettings.from_env(
            {
                **names,
                "TIKTOK_SECRET_KEYS": "8Zk3vQmW1sYp7LxT5nRcJ0hBgD4uEaFi9oKtVyXqNz2",
                "TIKTOK_STORE": "memory://",
                "TIKTOK_ALWAYS_ASK_CONSENT": "true",
                # The target after the logout's question; the site's own form sends "/".
                "TIKTOK_AFTER_LOGOUT": "/private",
            }
        )
        middleware = TikTokOAuthWSGIMiddleware(app.wsgi_app, settings)
        server.set_app(middleware)
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield Site(url, elsewhere, stand_in.fake, middleware)
        finally:
            server.shutdown()
            thread.join(30)
            server.server_close()
            middleware.close()


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Iterator[dict[str, Site]]:
    with ExitStack() as stack:

        class Sites(dict):
            def __missing__(self, name):
                folder = tmp_path_factory.mktemp("tls")
                self[name] = stack.enter_context(serve(name, folder))
                return self[name]

        yield Sites()


@pytest.fixture
def site(request, sites) -> Site:
    return sites[getattr(request, "param", "127.0.0.1")]


@pytest.fixture(params=BROWSERS)
def kind(request) -> str:
    if KINDS[request.param][1] is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, Any]]:
    """Return browsers by kind that several journeys use one after the other.

    A start takes longer than a journey. Only Chromium's driver can forget a journey.
    """
    with ExitStack() as stack:

        class Shared(dict):
            def __missing__(self, kind):
                self[kind] = stack.enter_context(browser(kind, shell=SHELL))
                return self[kind]

        yield Shared()


@pytest.fixture
def opened(kind, shared) -> Iterator[Any]:
    with ExitStack() as stack:
        is_shared = kind == "chromium"
        found = shared[kind] if is_shared else stack.enter_context(browser(kind))
        print(found.version)
        yield found
        if is_shared:
            found.forget()


def log_in(tab, site, path="/private", name=NAME) -> None:
    tab.open(site.url + path)
    consent(tab, name)
    tab.is_at(site.url + path)
    tab.shows(f"of {name}")


def consent(tab, name=NAME) -> None:
    tab.shows("It is not TikTok")
    assert AUTHORIZE in tab.url
    tab.choose(name)
    tab.press("Continue")


every_site = pytest.mark.parametrize("site", SITES, indirect=True)


@every_site
def test_login(opened, site):
    """After a login at the other site the browser is back at its page; a logout ends
    the session.
    """
    tab = opened.tab()
    log_in(tab, site)
    cookies = {each["name"]: each for each in opened.cookies(site.url)}
    session = next(each for name, each in cookies.items() if name.endswith("tiktok"))
    assert session["httpOnly"]
    assert session["secure"] is site.url.startswith("https")
    assert session["name"].startswith("__Host-") is site.url.startswith("https")
    assert session.get("sameSite", "Lax") == "Lax"
    tab.press("Log out")
    tab.shows("Hello, nobody")


@every_site
def test_back_after_logout(opened, site):
    """After a logout neither Back nor a reload shows a page that is `no-store`.

    Back in WebKit over plain http does: it keeps pages with `no-store` in memory there.
    """
    tab, other = opened.tab(), opened.tab()
    log_in(tab, site, "/members/1")
    other.open(site.url + "/members/2")
    other.shows("Private page 2")
    tab.press("Log out")
    tab.shows("Hello, nobody")
    tab.back()
    if opened.kind == "webkit" and site.url.startswith("http:"):
        tab.shows("Private page 1")
        tab.reload()
    # The stand-in's page, or the middleware's about an unfinished login.
    tab.shows("TikTok")
    assert "Private page" not in tab.text
    other.reload()
    other.shows("TikTok")
    assert "Private page" not in other.text


def test_back_after_login(opened, site):
    """Going Back after a login, to the consent page, causes no error."""
    tab = opened.tab()
    tab.open(site.url + "/")
    log_in(tab, site)
    tab.back()
    tab.open(site.url + "/private")
    tab.shows(f"of {NAME}")


def test_reload_of_a_callback(opened, site):
    """After reloading a page at the callback's address, its link still begins a
    login.
    """
    tab = opened.tab()
    tab.open(site.url + "/private")
    tab.press("Cancel")
    tab.shows("You did not log in")
    tab.is_at(site.url + CALLBACK)
    tab.reload()
    tab.is_at(site.url + CALLBACK)
    tab.shows("Try again")
    tab.press("Try again")
    consent(tab)
    # The target was forgotten with the cancelled login.
    tab.shows(f"Hello, {NAME}")


def test_tabs(opened, site):
    """Two tabs that log in at once both succeed, in either order."""
    first, last = opened.tab(), opened.tab()
    first.open(site.url + "/members/1")
    last.open(site.url + "/members/2")
    consent(last)
    last.shows(f"Private page 2 of {NAME}")
    consent(first)
    first.shows(f"Private page 1 of {NAME}")
    last.reload()
    last.shows(f"Private page 2 of {NAME}")


def test_restored_tabs(kind, site):
    """A browser that is closed and reopened during a login finishes it."""
    with browser(kind) as opened:
        tab = opened.tab()
        tab.open(site.url + "/members/1")
        tab.shows("It is not TikTok")
        tabs = opened.restart()
        restored = [each for each in tabs if AUTHORIZE in each.url]
        assert len(restored) == 1, [each.url for each in tabs]
        consent(restored[0])
        restored[0].shows(f"Private page 1 of {NAME}")
        # The session outlives the browser, too.
        tabs = opened.restart()
        restored = [each for each in tabs if "/members/1" in each.url]
        restored[0].shows(f"Private page 1 of {NAME}")


def test_private_window(opened, site):
    """A private window has its own login, and shares nothing with other windows."""
    tab = opened.tab()
    log_in(tab, site)
    with opened.private() as alone:
        log_in(alone, site, "/members/1", SECOND)
        tab.reload()
        tab.shows(f"of {NAME}")
    tab.open(site.url + "/")
    tab.shows(f"Hello, {NAME}")


def test_without_third_party_cookies(kind, site):
    """A browser that blocks third-party cookies logs in and out."""
    with browser(kind, third_party_cookies=False) as opened:
        tab = opened.tab()
        log_in(tab, site)
        tab.press("Log out")
        tab.shows("Hello, nobody")


def test_without_javascript(kind, site):
    """Without JavaScript a user can log in, be refused, try again, and log out."""
    with browser(kind, javascript=False, shell=SHELL) as opened:
        tab = opened.tab()
        tab.open(site.url + "/private")
        tab.press("Cancel")
        tab.shows("You did not log in")
        tab.press("Try again")
        consent(tab)
        tab.shows(f"of {NAME}")
        tab.open(site.url + LOGOUT)
        tab.press("Log out")
        tab.shows("It is not TikTok")


def test_posted_callback(opened, site):
    """A callback that another site's form posts signs no user in."""
    tab = opened.tab()
    tab.open(site.elsewhere + "/foreign")
    tab.press("Post")
    tab.is_at(site.url + CALLBACK)
    tab.open(site.url + "/")
    tab.shows("Hello, nobody")


def test_logout_from_the_question(opened, site):
    """After the logout's question the browser is sent to TikTok if the next page needs
    a login.
    """
    tab = opened.tab()
    log_in(tab, site)
    tab.open(site.url + LOGOUT)
    tab.press("Log out")
    tab.shows("It is not TikTok")
    assert AUTHORIZE in tab.url


@every_site
def test_secure_cookies(opened, site):
    """Browsers send Secure cookies back over https, and only some do over http on
    loopback.
    """
    tab = opened.tab()
    tab.open(site.url + "/raw")
    tab.open(site.url + "/raw")
    tab.shows("Came:")
    takes = site.url.startswith("https") or opened.kind in TAKE_SECURE
    names = "__Host-raw raw-plain raw-secure" if takes else "raw-plain"
    assert f"Came: {names}." in tab.text


#: The browsers that accept Secure cookies over plain http on loopback.
TAKE_SECURE = ("chromium", "firefox")

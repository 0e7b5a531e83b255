"""The button on an app's page begins a login, by the method that a login needs."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tiktok_oauth_middleware import MemoryStore

from ..conftest import LOGIN, SAME_ORIGIN, query_of


@pytest.fixture
def store(clock):
    """Return a store in memory; none of this depends on the store."""
    return MemoryStore(clock=clock)


def button_of(world, browser=None, **options):
    """Return the button that a request's `TikTokAuth` gives."""
    seen = []
    app = world.middleware
    inner = app.app

    def wsgi(environ, start_response):
        seen.append(environ["tiktok.auth"].login_button(**options))
        return inner(environ, start_response)

    async def asgi(scope, receive, send):
        if scope["type"] == "http":
            seen.append(scope["tiktok"].login_button(**options))
        await inner(scope, receive, send)

    app.app = wsgi if world.interface == "wsgi" else asgi
    (browser or world.browser()).get("/")
    app.app = inner
    return seen[-1]


def address(html, attribute):
    return unescape(re.search(rf'{attribute}="([^"]*)"', html)[1])


def test_link(world):
    """The link of the button goes to TikTok, and the login lands on next."""
    html = button_of(world, next="/who?a=1&b=2", scopes=["user.info.stats"])
    browser = world.browser()
    there = browser.get(address(html, "href"))
    assert "user.info.stats" in query_of(there.headers["location"])["scope"]
    back = browser.get(browser.consent(there.headers["location"]))
    assert back.headers["location"] == "/who?a=1&b=2"
    assert browser.signed_in


def test_form(world):
    """With login_methods of POST only, the form of the button begins the login."""
    world.with_settings(login_methods=("POST",))
    html = button_of(world, next="/who")
    browser = world.browser()
    there = browser.post(address(html, "action"))
    assert there.status_code == 303
    back = browser.get(browser.consent(there.headers["location"]))
    assert back.headers["location"] == "/who"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_carry(world, method):
    """Data that the button carries reaches on_login, by link and by form."""
    logins = []
    world.further = {"on_login": lambda login: logins.append(dict(login.carried))}
    world.with_settings(login_methods=(method,))
    browser = world.browser()
    html = button_of(world, browser, carry={"invite": 'a"<b>'})
    there = (
        browser.get(address(html, "href"))
        if method == "GET"
        else browser.post(address(html, "action"))
    )
    browser.get(browser.consent(there.headers["location"]))
    assert logins == [{"invite": 'a"<b>'}]


def test_form_from_another_site(world):
    """The same form on another site's page begins nothing."""
    world.with_settings(login_methods=("POST",))
    action = address(button_of(world), "action")
    other = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    answer = world.browser().post(action, headers=other)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_both_methods(world):
    """If a login may begin by both methods, the button is a link."""
    world.with_settings(login_methods=("GET", "POST"))
    assert "<form" not in button_of(world)


def test_texts(world):
    """The text is the app's own of texts=, in the language that the call names."""
    world.further = {"texts": {"de": {"log_in_with_tiktok": "Mit TikTok anmelden"}}}
    world.start()
    assert ">Mit TikTok anmelden</a>" in button_of(world, language="de-CH")
    assert ">Log in with TikTok</a>" in button_of(world, language="en-GB")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "/x\r\nset-cookie: a=b",
        '/"><script>alert(1)</script>',
        LOGIN,
    ],
)
def test_hostile_next(world, target):
    """A hostile next changes nothing of the page, and the login lands at home."""
    html = button_of(world, next=target)
    assert html.count("<") == button_of(world).count("<")
    browser = world.browser()
    there = browser.get(
        address(html, "href"), headers={**SAME_ORIGIN, "accept": "text/html"}
    )
    back = browser.get(browser.consent(there.headers["location"]))
    landed = back.headers["location"]
    assert landed == "/" or landed == "/%22%3E%3Cscript%3Ealert(1)%3C/script%3E"

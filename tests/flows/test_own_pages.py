"""Pages with the app's own texts, languages and HTML, on both interfaces."""

from __future__ import annotations

import logging
import re
from html import escape

import pytest

from tiktok_oauth_middleware import (
    Action,
    ConfigurationError,
    Problem,
    StoreError,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, PAGE, make_settings
from ..support.every_event import Breakable

DISCONNECT = "/disconnect"
GERMAN = {
    "login_denied": ("Sie sind nicht angemeldet", "Es wurde nichts geteilt."),
    "store_error": ("Gerade nicht möglich", "Bitte laden Sie die Seite gleich neu."),
    "scope_required": ("Diese Seite braucht mehr", "Sie haben nicht alles erlaubt."),
    "missing": "Es fehlt: {}.",
    "try_again": "Noch einmal",
    "back": "Zur Startseite",
    "reference": "Kennung {}",
}
IN_GERMAN = {**PAGE, "accept-language": "de-AT,de;q=0.9,en;q=0.5"}


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


class Author:
    """An app's page function: it returns its arguments as text, or what a test sets."""

    def __init__(self):
        self.report = []
        self.write = self.html

    def __call__(self, problem):
        self.report.append(problem)
        return self.write(problem)

    @staticmethod
    def html(problem):
        actions = "".join(
            f'<a href="{escape(action.url)}">{escape(action.label)}</a>'
            for action in problem.actions
        )
        return f'<!doctype html><style nonce="{problem.nonce}"></style>OURS{actions}'


@pytest.fixture
def author():
    return Author()


@pytest.fixture
def world(world, author):
    world.further = {"page": author}
    return world.with_settings(disconnect_path=DISCONNECT)


@pytest.fixture
def in_german(world):
    world.further = {"texts": {"de": GERMAN}}
    return world.start()


class TestProblem:
    def test_denied(self, browser, author, world):
        """A page function gets everything that the built-in page would show, with
        types.
        """
        response = browser.log_in(deny=True)
        [problem] = author.report
        [event] = world.events
        assert isinstance(problem, Problem)
        assert problem.code == "login_denied"
        assert problem.status == response.status_code == 403
        assert problem.title == "You did not log in"
        assert len(problem.texts) == 2
        assert problem.actions == (
            Action("Try again", LOGIN),
            Action("Back to the site", "/"),
        )
        assert problem.reference == event.reference
        assert problem.language == "en"
        assert "OURS" in response.text

    def test_confirmation(self, browser, author):
        """A confirmation page is given its buttons and the addresses they post to."""
        browser.get(LOGOUT)
        browser.get(DISCONNECT)
        logout, disconnect = author.report
        assert logout.status == disconnect.status == 200
        assert logout.actions[0] == Action("Log out", LOGOUT, "POST")
        assert disconnect.actions[0] == Action("Disconnect", DISCONNECT, "POST")

    def test_scope(self, browser, author):
        """A page about missing scopes is given their names in its texts."""
        for query in ("", "?scopes=video.list"):
            browser.log_in(query, scopes=["user.info.basic"])
        response = browser.get("/videos")
        [problem] = author.report
        assert problem.code == "scope_required"
        assert problem.texts[-1] == "What is missing is: video.list."
        assert problem.actions[0].label == "Ask TikTok again"
        assert "OURS" in response.text

    def test_store(self, browser, author, world):
        """A store error is given to the page function, and Retry-After is kept."""
        browser.log_in()
        world.clock.advance(2)
        world.store.is_broken = True
        response = browser.get("/who")
        [problem] = author.report
        assert problem.code == "store_error"
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert "OURS" in response.text

    def test_no_page(self, browser, author, world):
        """A program gets JSON, and the app's page function is not called."""
        assert browser.get("/private", headers=API).status_code == 401
        world.store.is_broken = True
        browser.get("/private", headers=API)
        assert author.report == []


class TestAnswer:
    def test_bytes(self, browser, author):
        """A page may be bytes, which are sent unchanged."""
        author.write = lambda _: "<p>ü".encode()
        assert browser.get(LOGOUT).content == "<p>ü".encode()

    def test_none(self, browser, author):
        """If the function returns None, the built-in page is sent."""
        author.write = lambda _: None
        response = browser.log_in(deny=True)
        assert "<h1" in response.text
        assert "'sha256-" in response.headers["content-security-policy"]

    @pytest.mark.parametrize("error", [ValueError, StoreError, KeyError])
    def test_raises(self, browser, author, caplog, error):
        """An exception of the page function leads to the built-in page and one log line."""

        def write(problem):
            raise error("act.secret")

        author.write = write
        with caplog.at_level(logging.DEBUG):
            response = browser.log_in(deny=True)
        assert response.status_code == 403
        assert "You did not log in" in response.text
        assert f"page raised {error.__name__} at login_denied" in caplog.text
        assert "act.secret" not in caplog.text
        assert "Traceback" not in caplog.text

    @pytest.mark.parametrize("made", [7, object(), ["<p>"]])
    def test_wrong_type(self, browser, author, caplog, made):
        """A result of a wrong type leads to the built-in page and a log line with the
        type.
        """
        author.write = lambda _: made
        assert "<h1" in browser.get(LOGOUT).text
        assert f"page returned {type(made).__name__} at confirm_logout" in caplog.text

    def test_lone_surrogate(self, browser, author):
        """Characters that cannot be encoded are replaced in the page that is sent."""
        author.write = lambda _: "<p>\ud800"
        assert browser.get(LOGOUT).content == b"<p>?"


class TestHeaders:
    def test_kept(self, browser, author):
        """With the app's page the status, cookies and headers stay, except the
        language.
        """
        theirs = browser.log_in(deny=True)
        author.write = lambda _: None
        ours = browser.log_in(deny=True)
        differ = ("content-length", "content-security-policy", "set-cookie")
        assert ours.headers["content-language"] == "en"
        differ += ("content-language",)
        for response in (theirs, ours):
            assert response.status_code == 403
            assert "Max-Age=0" in response.headers["set-cookie"]
        assert {k: v for k, v in theirs.headers.items() if k not in differ} == {
            k: v for k, v in ours.headers.items() if k not in differ
        }

    def policy(self, response):
        policy = response.headers["content-security-policy"]
        return dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def test_policy(self, browser, author):
        """The app's page may load styles, images and fonts of its site, but no
        scripts.
        """
        response = browser.get(LOGOUT)
        [problem] = author.report
        assert self.policy(response) == {
            "default-src": "'none'",
            "style-src": f"'self' 'nonce-{problem.nonce}'",
            "img-src": "'self'",
            "font-src": "'self'",
            "form-action": "'self' https://www.tiktok.com",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
        }

    def test_nonce(self, browser, author):
        """Every page has a new nonce that cannot be guessed."""
        for _ in range(3):
            browser.get(LOGOUT)
        nonces = {problem.nonce for problem in author.report}
        assert len(nonces) == 3
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", nonce) for nonce in nonces)

    def test_form_may_redirect(self, world, author):
        """A form on the app's page may lead to TikTok, too."""
        browser = world.with_settings(login_methods=["POST"]).browser()
        response = browser.get(LOGIN)
        assert response.headers["allow"] == "POST"
        assert self.policy(response)["form-action"] == "'self' https://www.tiktok.com"


class TestLanguage:
    def test_journey(self, in_german, browser):
        """A browser that prefers German gets the app's German texts, and the built-in
        ones for the rest.
        """
        url = browser.consent(browser.begin(), deny=True)
        response = browser.get(url, headers=IN_GERMAN)
        assert "Sie sind nicht angemeldet" in response.text
        assert '<html lang="de"' in response.text
        assert "Noch einmal" in response.text
        assert "Kennung <code>" in response.text
        url = browser.consent(browser.begin())
        in_german.clock.advance(601)
        response = browser.get(url, headers=IN_GERMAN)
        assert "Das hat zu lange gedauert" in response.text
        assert '<html lang="de"' in response.text
        assert "Noch einmal" in response.text
        assert "Kennung <code>" in response.text

    def test_guard(self, in_german, browser):
        """A guard's refusal is in the reader's language."""
        for query in ("", "?scopes=video.list"):
            browser.log_in(query, scopes=["user.info.basic"])
        response = browser.get("/videos", headers=IN_GERMAN)
        assert "Es fehlt: video.list." in response.text
        in_german.clock.advance(2)
        in_german.store.is_broken = True
        response = browser.get("/who", headers=IN_GERMAN)
        assert "Gerade nicht möglich" in response.text

    def test_usual(self, in_german, browser):
        """A browser that prefers no available language gets the app's first one."""
        url = browser.consent(browser.begin(), deny=True)
        response = browser.get(url, headers={**PAGE, "accept-language": "nl"})
        assert "Sie sind nicht angemeldet" in response.text

    def test_english(self, in_german, browser):
        """A browser that prefers English gets the built-in texts."""
        url = browser.consent(browser.begin(), deny=True)
        response = browser.get(url, headers={**PAGE, "accept-language": "en-GB,de"})
        assert "You did not log in" in response.text

    def test_page_and_texts(self, world, author):
        """The app's page gets the chosen language."""
        world.further["texts"] = {"de": GERMAN}
        browser = world.start().browser()
        browser.get(browser.consent(browser.begin(), deny=True), headers=IN_GERMAN)
        [problem] = author.report
        assert problem.language == "de"
        assert problem.title == "Sie sind nicht angemeldet"
        assert problem.actions[0].label == "Noch einmal"

    def test_escaped(self, world):
        """Markup in the app's texts is shown as text."""
        world.further = {"texts": {"de": {"confirm_logout": ["<b>&", "<script>"]}}}
        response = world.start().browser().get(LOGOUT)
        assert "&lt;b&gt;&amp;" in response.text
        assert "<script>" not in response.text


@pytest.mark.parametrize(
    "middleware", [TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware]
)
@pytest.mark.parametrize("kind", ["async", "object", "text"])
def test_refused(middleware, kind):
    """A page function that is not a plain function is refused when the middleware is
    built.
    """

    async def later(problem): ...

    class Later:
        async def __call__(self, problem): ...

    page = {"async": later, "object": Later(), "text": "<p>"}[kind]
    with pytest.raises(ConfigurationError, match="page must be a plain function"):
        middleware(lambda *_: [], make_settings(), page=page)


def test_mismatch_names_the_site(browser, world):
    """If a login ends in another browser, the page names the address to open in the
    right one.
    """
    world.further = {}
    world.start()
    callback = world.browser().consent(world.browser().begin())
    response = world.browser().get(callback)
    assert response.status_code == 400
    assert "The address of this site is https://app.example.com." in response.text
    assert CALLBACK not in response.text

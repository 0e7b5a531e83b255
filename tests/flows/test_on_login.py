"""`on_login`: the app accepts or refuses a login that TikTok has confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from html import unescape

import anyio
import anyio.lowlevel
import httpx2
import pytest
import trio

from tiktok_oauth_middleware import (
    ConfigurationError,
    Login,
    LoginRefused,
    MemoryStore,
    StoreError,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokTokens,
    User,
)
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import LOGIN, ORIGIN, PAGE, kept, make_settings, query_of
from ..support.carried_links import link_for, with_links
from ..support.deliveries import HOOK, deliver_body

SESSION = "__Host-tiktok"
TEXT = "Only people with an invitation can sign up."


class Decider:
    """An `on_login` that records the logins it is called with."""

    def __init__(self):
        self.logins = []
        self.answer = None
        self.error = None

    def __call__(self, login):
        self.logins.append(login)
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture
def decider():
    return Decider()


@pytest.fixture
def decided(world, decider):
    """Return a world whose on_login is the decider; under ASGI also as an async
    function.
    """
    world.further["on_login"] = decider
    return world.start()


def rows(world):
    """Return the keys of all records in the store."""
    return [key for key in world.store.keys("tiktok:") if ":grant:" in key]


class TestGoesOn:
    def test_login(self, decided, decider):
        """The app gets the user's id, scopes and profile, and the login's target."""
        browser = decided.browser()
        assert browser.log_in("?next=/private").headers["location"] == "/private"
        [login] = decider.logins
        person = decided.tiktok.people[0]
        assert isinstance(login, Login)
        assert login.open_id == person.open_id
        assert login.scopes == {"user.info.basic", "video.list"}
        assert isinstance(login.user, User)
        assert login.user.display_name == person.display_name
        assert login.next == "/private"
        assert login.carried == {}
        assert login.is_new is True
        assert browser.signed_in

    def test_default_next(self, decided, decider):
        """For a login without `next`, on_login gets the path of the default page."""
        decided.browser().log_in()
        assert decider.logins[0].next == "/"

    def test_is_new(self, decided, decider):
        """A user with a record is not new; after a withdrawal the user is new again."""
        decided.browser().log_in()
        decided.browser().log_in()
        tokens = TikTokTokens(
            decided.settings, decided.store, transport=decided.tiktok.transport
        )
        if decided.interface == "wsgi":
            tokens.forget(decided.tiktok.people[0].open_id)
        else:
            anyio.run(tokens.aforget, decided.tiktok.people[0].open_id)
        decided.browser().log_in()
        assert [login.is_new for login in decider.logins] == [True, False, True]

    def test_before_anything_is_written(self, decided, decider):
        """While on_login runs, there is no record and no session."""
        seen = []

        def look(login):
            seen.append(kept(decided, login.open_id))

        decided.further["on_login"] = look
        decided.start().browser().log_in()
        assert seen == [None]
        assert kept(decided) is not None

    def test_profile_of_before(self, decided, decider):
        """If TikTok does not return the profile, the app gets the stored one."""
        decided.browser().log_in()
        decided.tiktok.fail("user_info", status=500)
        decided.browser().log_in()
        names = [login.user.display_name for login in decider.logins]
        assert names == [decided.tiktok.people[0].display_name] * 2

    def test_every_login(self, decided, decider):
        """A step-up is a login too."""
        browser = decided.browser()
        browser.log_in()
        browser.log_in("?scopes=user.info.stats&next=/upload")
        assert [login.next for login in decider.logins] == ["/", "/upload"]
        assert "user.info.stats" in decider.logins[1].scopes

    def test_once(self, decided, decider):
        """A repeated callback does not call on_login again, and has the same result."""
        browser = decided.browser()
        callback = browser.consent(browser.begin())
        cookies = browser.cookies()
        first = browser.get(callback)
        again = decided.browser(**cookies).get(callback)
        assert first.headers["location"] == again.headers["location"] == "/"
        assert len(decider.logins) == 1

    def test_failed_login(self, decided, decider):
        """A login that TikTok does not confirm does not call on_login."""
        browser = decided.browser()
        browser.log_in(deny=True)
        decided.tiktok.fail("token", status=500)
        browser.log_in()
        assert decider.logins == []


class TestLeadsElsewhere:
    def test_path(self, decided, decider):
        """The user is signed in and redirected to the path that the app returns."""
        decider.answer = "/sign-up?from=tiktok#terms"
        browser = decided.browser()
        answer = browser.log_in("?next=/private")
        assert answer.headers["location"] == "/sign-up?from=tiktok#terms"
        assert browser.signed_in

    def test_again(self, decided, decider):
        """A repeated callback leads to that path, too."""
        decider.answer = "/sign-up"
        browser = decided.browser()
        callback = browser.consent(browser.begin())
        cookies = browser.cookies()
        browser.get(callback)
        again = decided.browser(**cookies).get(callback)
        assert again.headers["location"] == "/sign-up"

    def test_own_origin(self, decided, decider):
        """A complete URL of this site counts as its path."""
        decider.answer = "https://app.example.com/sign-up"
        assert decided.browser().log_in().headers["location"] == "/sign-up"

    @pytest.mark.parametrize(
        "answer",
        [
            "//evil.example",
            "https://evil.example/",
            "/\\evil.example",
            "/\tevil",
            "sign-up",
            "",
            "/auth/tiktok/login",
            "/auth/tiktok/logout",
            "/" + 3000 * "x",
            "/x\r\nset-cookie: a=b",
        ],
    )
    def test_no_path_of_this_site(self, decided, decider, answer, caplog):
        """A result that is not a path of this site refuses the login, and the log names
        it.
        """
        decider.answer = answer
        browser = decided.browser()
        page = browser.log_in()
        assert page.status_code == 500
        assert not browser.signed_in
        assert browser.cookies() == {}
        assert kept(decided) is None
        [event] = decided.events
        assert (event.name, event.reason) == ("login_rejected", "login_undecided")
        assert "not a path of this site" in caplog.text
        assert "\r" not in caplog.messages[-1]

    def test_second_trip(self, decided, decider):
        """The returned path is also used after a second redirect for missing scopes."""
        decided.with_settings(scopes=["user.info.basic"]).browser().log_in()
        decided.with_settings(scopes=["user.info.basic", "video.list"])
        decider.answer = "/sign-up"
        browser = decided.browser()
        second = browser.get(browser.consent(browser.begin("?next=/x")))
        assert second.headers["location"].startswith("https://www.tiktok.com/")
        cancelled = browser.get(browser.consent(second.headers["location"], deny=True))
        assert cancelled.headers["location"] == "/sign-up"
        third = browser.get(browser.consent(browser.begin("?next=/x")))
        assert third.headers["location"] == "/sign-up"
        assert {login.next for login in decider.logins[1:]} == {"/x"}


class TestSlow:
    """The age of tokens counts from TikTok's answer, however long the app takes to
    decide.
    """

    @pytest.fixture
    def slow(self, world):
        def on_login(login):
            world.clock.advance(120)

        world.further["on_login"] = on_login
        return world.start()

    def test_times(self, slow):
        """Tokens do not expire later because the decision took time."""
        began = slow.clock()
        slow.browser().log_in()
        record = kept(slow)
        assert (record.issued_at, record.expires_at) == (began, began + 7200)

    def test_withdrawal_meanwhile(self, world):
        """A withdrawal during the decision ends that login."""
        sent = []

        def on_login(login):
            world.clock.advance(30)
            sent.append(world.tiktok.disconnect())
            world.clock.advance(90)

        world.further["on_login"] = on_login
        browser = world.with_settings(webhook_path=HOOK).browser()
        browser.log_in()
        [(headers, body)] = sent
        assert deliver_body(world, body, headers) == 200
        assert not browser.signed_in


class TestRefuses:
    def test_page(self, decided, decider):
        """The app's text is shown on a page with status 403."""
        decider.error = LoginRefused(TEXT)
        page = decided.browser().log_in()
        assert page.status_code == 403
        assert page.headers["cache-control"] == "no-store"
        assert TEXT in page.text
        assert "You were not logged in" in page.text

    def test_no_text(self, decided, decider):
        """Without a text the page has a standard text."""
        decider.error = LoginRefused()
        page = decided.browser().log_in()
        assert page.status_code == 403
        assert "this site does not let this account in" in page.text

    def test_lazy_text(self, decided, decider):
        """A text may be a lazy translation object."""

        class Lazy:
            def __str__(self):
                return "Später"

        decider.error = LoginRefused(Lazy())
        assert "Später" in decided.browser().log_in().text

    def test_own_class(self, decided, decider):
        """A subclass of the refusal by the app works the same way."""

        class NotInvited(LoginRefused):
            pass

        decider.error = NotInvited(TEXT)
        assert decided.browser().log_in().status_code == 403

    def test_texts(self, decided, decider):
        """The page shows the title and texts that the app gives."""
        decider.error = LoginRefused(TEXT)
        decided.further["texts"] = {
            "de": {
                "login_refused": ["Kein Zugang", "TikTok kennt dich."],
                "refused_because": "Wir sagen: {}",
                "other_account": "Anderes Konto",
            }
        }
        browser = decided.start().browser()
        callback = browser.consent(browser.begin())
        page = browser.get(callback, headers={**PAGE, "accept-language": "de"})
        assert ">Kein Zugang</h1>" in page.text
        assert f"Wir sagen: {TEXT}" in page.text
        assert "Anderes Konto" in page.text

    def test_nothing_is_kept(self, decided, decider):
        """After a refusal there is no record, no session and no token."""
        decider.error = LoginRefused(TEXT)
        browser = decided.browser()
        browser.log_in()
        assert SESSION not in browser.cookies()
        assert not browser.signed_in
        assert kept(decided) is None

    def test_no_call_to_revoke(self, decided, decider):
        """By default the app's access at TikTok is not revoked."""
        decider.error = LoginRefused(TEXT)
        decided.browser().log_in()
        assert decided.tiktok.count("revoke") == 0

    def test_session_stays(self, decided, decider):
        """The browser's earlier session and its user's record stay."""
        browser = decided.browser()
        browser.log_in()
        before = browser.me(), kept(decided), browser.cookies()[SESSION]
        decider.error = LoginRefused(TEXT)
        other = decided.tiktok.people[1]
        page = browser.get(browser.consent(browser.begin(), person=other))
        assert page.status_code == 403
        assert (browser.me(), kept(decided), browser.cookies()[SESSION]) == before
        assert kept(decided, other.open_id) is None

    def test_record_stays(self, decided, decider):
        """If the user of a refused login has a record, it stays unchanged."""
        first = decided.browser()
        first.log_in()
        before = kept(decided)
        decider.error = LoginRefused(TEXT)
        assert decided.browser().log_in().status_code == 403
        assert kept(decided) == before
        assert first.signed_in

    def test_again(self, decided, decider):
        """A repeated callback gets the same page, and does not call on_login again."""
        decider.error = LoginRefused(TEXT)
        browser = decided.browser()
        callback = browser.consent(browser.begin())
        cookies = browser.cookies()
        first = browser.get(callback)
        again = decided.browser(**cookies).get(callback)
        assert (again.status_code, again.text) == (first.status_code, first.text)
        assert len(decider.logins) == 1

    def test_event(self, decided, decider, caplog):
        """The refusal is reported once, with the person and without the text."""
        caplog.set_level(logging.INFO)
        decider.error = LoginRefused(TEXT)
        page = decided.browser().log_in()
        [event] = decided.events
        assert (event.name, event.reason) == ("login_rejected", "login_refused")
        assert event.open_id == decided.tiktok.people[0].open_id
        assert event.is_new is True
        assert event.user.display_name == decided.tiktok.people[0].display_name
        assert event.reference in page.text
        assert TEXT not in caplog.text
        [record] = [r for r in caplog.records if getattr(r, "tiktok_event", "")]
        assert record.levelno == logging.INFO

    def test_links(self, decided, decider):
        """The page links to the site and to a login with another account."""
        decider.error = LoginRefused(TEXT)
        browser = decided.browser()
        page = browser.log_in("?next=/private")
        link = next(
            unescape(part.partition('"')[0])
            for part in page.text.split('href="')
            if "choose_account" in part
        )
        decider.error = None
        authorize = browser.get(link).headers["location"]
        assert query_of(authorize)["disable_auto_auth"] == "1"
        other = decided.tiktok.people[1]
        answer = browser.get(browser.consent(authorize, person=other))
        assert answer.headers["location"] == "/private"
        assert browser.me()["open_id"] == other.open_id


class TestRevokes:
    def test_connection_ends(self, decided, decider):
        """If the app asks for it, its access at TikTok is revoked; nothing is stored
        here either.
        """
        decider.error = LoginRefused(TEXT, revoke=True)
        page = decided.browser().log_in()
        assert page.status_code == 403
        assert decided.tiktok.count("revoke") == 1
        assert kept(decided) is None
        assert [(e.name, e.reason) for e in decided.events] == [
            ("disconnect", "revoked"),
            ("login_rejected", "login_refused"),
        ]

    def test_known_user(self, decided, decider):
        """A revoke ends all of the user's tokens, so the record and its sessions are
        deleted too.
        """
        first = decided.browser()
        first.log_in()
        decider.error = LoginRefused(TEXT, revoke=True)
        decided.browser().log_in()
        assert kept(decided) is None
        decided.clock.advance(2)
        assert not first.signed_in

    def test_tiktok_fails(self, decided, decider):
        """If TikTok does not confirm the revoke, the login is still refused."""
        decided.tiktok.fail("revoke", status=500)
        decider.error = LoginRefused(TEXT, revoke=True)
        assert decided.browser().log_in().status_code == 403
        assert [(e.name, e.reason) for e in decided.events] == [
            ("disconnect", "failed"),
            ("login_rejected", "login_refused"),
        ]

    def test_webhook_afterwards(self, decided, decider):
        """TikTok's report of the revoke does not end a later accepted login."""
        decided.with_settings(webhook_path=HOOK)
        decider.error = LoginRefused(TEXT, revoke=True)
        decided.browser().log_in()
        decider.error = None
        decided.clock.advance(5)
        browser = decided.browser()
        browser.log_in()
        [(headers, body)] = decided.tiktok.webhooks
        assert deliver_body(decided, body, headers) == 200
        assert browser.signed_in


class TestFails:
    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("no such table"),
            StoreError("of the app's own"),
            ConfigurationError("of the app's own"),
            TimeoutError(),
            LookupError("no such key"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_refuses(self, decided, decider, error, caplog):
        """Any other exception of on_login refuses the login, and a page says so."""
        decider.error = error
        browser = decided.browser()
        page = browser.log_in()
        assert page.status_code == 500
        assert "could not finish the login" in page.text
        assert str(error) not in page.text or not str(error)
        assert not browser.signed_in
        assert kept(decided) is None
        [event] = decided.events
        assert (event.name, event.reason) == ("login_rejected", "login_undecided")
        assert event.open_id == decided.tiktok.people[0].open_id
        assert event.reference in page.text

    def test_traceback(self, decided, decider, caplog):
        """The log has the traceback, without the frames of the package's login flow."""
        decider.error = RuntimeError("no such table")
        decided.browser().log_in()
        [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert record.exc_info[1] is decider.error
        assert "on_login raised RuntimeError" in record.getMessage()
        modules, trace = [], record.exc_info[2]
        while trace is not None:
            modules.append(trace.tb_frame.f_globals["__name__"])
            trace = trace.tb_next
        assert modules[-1] == __name__
        assert not any("_web" in module for module in modules)

    @pytest.mark.parametrize("answer", [True, 0, b"/x", ["/x"], object()])
    def test_wrong_answer(self, decided, decider, answer, caplog):
        """Only None and a path let a login continue."""
        decider.answer = answer
        browser = decided.browser()
        assert browser.log_in().status_code == 500
        assert not browser.signed_in
        assert browser.cookies() == {}
        assert type(answer).__name__ in caplog.text

    def test_try_again(self, decided, decider):
        """The link on the page begins a new login, which succeeds if on_login accepts
        it.
        """
        decider.error = RuntimeError()
        browser = decided.browser()
        page = browser.log_in("?next=/private")
        decider.error = None
        link = unescape(page.text.partition('href="')[2].partition('"')[0])
        answer = browser.get(browser.consent(browser.get(link).headers["location"]))
        assert answer.headers["location"] == "/private"

    # In a test client's event loop, such an exception ends the loop.
    @pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
    def test_exit(self, decided, decider):
        """Exceptions that end the process are not caught."""
        decider.error = KeyboardInterrupt()
        browser = decided.browser()
        callback = browser.consent(browser.begin())
        with pytest.raises(KeyboardInterrupt):
            browser.get(callback)
        assert kept(decided) is None


def event_loop():
    """Return the library of the event loop that runs in this thread, or ""."""
    for name, current in (
        ("asyncio", asyncio.get_running_loop),
        ("trio", trio.lowlevel.current_task),
    ):
        with contextlib.suppress(RuntimeError):
            current()
            return name
    return ""


@pytest.mark.parametrize("interface", ["asyncio", "trio"], indirect=True)
class TestASGI:
    def test_async(self, world):
        """on_login may be an ``async def``, which runs in the request's event loop."""

        async def on_login(login):
            await anyio.lowlevel.checkpoint()
            return f"/{event_loop()}"

        world.further["on_login"] = on_login
        location = world.start().browser().log_in().headers["location"]
        assert location == f"/{world.interface}"

    def test_async_refuses(self, world):
        """An ``async def`` can refuse a login like a plain function."""

        async def on_login(login):
            await anyio.lowlevel.checkpoint()
            raise LoginRefused(TEXT)

        world.further["on_login"] = on_login
        assert world.start().browser().log_in().status_code == 403

    def test_async_object(self, world):
        """An object with an async __call__, or a partial of an ``async def``, works
        too.
        """

        class Asks:
            async def __call__(self, login):
                return "/sign-up"

        async def on_login(path, login):
            return path

        for each in (Asks(), functools.partial(on_login, "/sign-up")):
            world.further["on_login"] = each
            assert world.start().browser().log_in().headers["location"] == "/sign-up"

    def test_plain_in_a_thread(self, world):
        """A plain function runs in a thread, where it may block."""
        found = []

        def on_login(login):
            found.append(event_loop())

        world.further["on_login"] = on_login
        world.start().browser().log_in()
        assert found == [""]

    def test_plain_returns_awaitable(self, world):
        """A plain function's result is awaited if it is awaitable."""

        async def decide():
            return "/sign-up"

        world.further["on_login"] = lambda login: decide()
        assert world.start().browser().log_in().headers["location"] == "/sign-up"

    @pytest.mark.parametrize("is_async", [True, False])
    def test_slow(self, world, is_async, gate, caplog):
        """An on_login that takes longer than `timeout` refuses; a thread's later result
        is dropped.
        """

        async def aslow(login):
            await anyio.sleep_forever()

        def slow(login):
            gate()

        world.further["on_login"] = aslow if is_async else slow
        # It limits TikTok's answers too, which take longer on a busy machine.
        world.with_settings(timeout=3)
        browser = world.browser()
        page = browser.log_in()
        gate.open()
        assert page.status_code == 500
        assert "on_login took longer than 3 seconds" in caplog.text
        assert not browser.signed_in
        assert kept(world) is None


class TestBuilt:
    def test_async_under_wsgi(self, settings):
        """Under WSGI an ``async def`` is refused when the middleware is built."""

        async def on_login(login):
            """Decide."""

        class Decides:
            async def __call__(self, login):
                """Decide."""

        for each in (on_login, Decides(), functools.partial(Decides())):
            with pytest.raises(ConfigurationError, match="must be a plain function"):
                TikTokOAuthWSGIMiddleware(_app, settings, on_login=each)

    @pytest.mark.parametrize("kind", [TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware])
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("shop.decide", "on_login is a str; it must be a function"),
            (lambda: None, "must take one argument: the login"),
            (lambda request, login: None, "must take one argument: the login"),
        ],
    )
    def test_wrong(self, settings, kind, given, words):
        """A value that cannot be called with one login is refused at construction."""
        app = _app if kind is TikTokOAuthWSGIMiddleware else _asgi_app
        with pytest.raises(ConfigurationError, match=words):
            kind(app, settings, on_login=given)


def _app(environ, start_response):
    return []


async def _asgi_app(scope, receive, send):
    return None


class TestCarried:
    def test_reaches(self, world, decider):
        """The data of a login link reaches `on_login`, and is in no URL."""
        world = with_links(world, on_login=decider)
        browser = world.browser()
        carried = {"invite": "abc-invite", "plan": 'grün\n"x"'}
        link = link_for(browser, next="/private", carry=carried)
        assert "abc-invite" not in link
        assert "invite" not in link
        authorize = browser.get(link).headers["location"]
        assert "invite" not in authorize
        callback = browser.consent(authorize)
        assert "invite" not in callback
        answer = browser.get(callback)
        assert answer.headers["location"] == "/private"
        assert decider.logins[0].carried == carried
        assert decider.logins[0].next == "/private"


class TestInstalled:
    """How Starlette, FastAPI and Flask put a middleware around an app."""

    @pytest.mark.parametrize("kind", ["starlette", "fastapi"])
    def test_add_middleware(self, kind, settings, tiktok, clock, decider):
        """`add_middleware` accepts on_login as a keyword, like every option."""
        if kind == "starlette":
            from starlette.applications import Starlette as App
        else:
            from fastapi import FastAPI as App
        from starlette.testclient import TestClient

        app = App()
        app.add_middleware(
            TikTokOAuthMiddleware,
            settings=settings,
            store=MemoryStore(clock=clock),
            transport=tiktok.transport,
            clock=clock,
            on_login=decider,
        )
        decider.error = LoginRefused(TEXT)
        with TestClient(app, base_url=ORIGIN) as client:
            assert login_as(client, tiktok).status_code == 403
            decider.error, decider.answer = None, "/sign-up"
            answer = login_as(client, tiktok)
            assert answer.headers["location"] == "/sign-up"

    def test_flask(self, settings, tiktok, clock, decider):
        """A Flask app's `wsgi_app` can be wrapped."""
        from flask import Flask

        app = Flask(__name__)
        app.wsgi_app = TikTokOAuthWSGIMiddleware(
            app.wsgi_app,
            settings,
            store=MemoryStore(clock=clock),
            transport=tiktok.transport,
            clock=clock,
            on_login=decider,
        )
        decider.error = LoginRefused(TEXT)
        assert login_as(app.test_client(), tiktok).status_code == 403


# User code cannot raise Trio's Cancelled.
@pytest.mark.parametrize("interface", ["asyncio"], indirect=True)
def test_raises_cancelled(world):
    """An asyncio CancelledError without a cancellation refuses the login."""

    async def on_login(login):
        raise asyncio.CancelledError

    world.further["on_login"] = on_login
    browser = world.start().browser()
    assert browser.log_in().status_code == 500
    assert browser.cookies() == {}
    assert kept(world) is None


class Interrupted(BaseException):
    """A BaseException that is not an Exception, like KeyboardInterrupt and
    CancelledError.
    """


class TestInterrupted:
    """If on_login is interrupted, the login has failed at once, since its code
    is used.
    """

    @pytest.mark.parametrize("kind", [Interrupted, SystemExit, KeyboardInterrupt])
    def test_plain(self, clock, kind):
        """A repeated callback does not wait for the interrupted one."""
        settings, store = make_settings(), MemoryStore(clock=clock)
        fake = FakeTikTok.for_settings(settings)

        def on_login(login):
            raise kind

        middleware = TikTokOAuthWSGIMiddleware(
            lambda environ, start: [],
            settings,
            store=store,
            transport=fake.transport,
            clock=clock,
            on_login=on_login,
        )
        with httpx2.Client(
            transport=httpx2.WSGITransport(middleware), base_url=ORIGIN
        ) as client:
            authorize = client.get(LOGIN).headers["location"]
            begun = dict(client.cookies)
            callback = fake.consent(authorize)
            with pytest.raises(kind):
                client.get(callback)
            [row] = [store.get(key) for key in store.keys("") if ":used:" in key]
            assert not row.startswith(b"begun")
            client.cookies.update(begun)
            answer = client.get(callback, headers=PAGE)
        assert answer.status_code == 400
        assert "used already" in answer.text
        assert fake.count("token") == 1

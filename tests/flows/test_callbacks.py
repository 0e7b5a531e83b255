"""A callback is processed once, and its result goes only to the browser with the
login's cookie.

A callback may be interrupted, sent twice, reloaded or restored with its tab: there is
one exchange, and that browser is signed in at the login's target. No other browser gets
a session.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware import MemoryStore, StoreError
from tiktok_oauth_middleware._oauth.authorize import Callback
from tiktok_oauth_middleware._web.login_results import LoginResult
from tiktok_oauth_middleware._web.pages import Note
from tiktok_oauth_middleware._web.recent_logins import RecentLogins
from tiktok_oauth_middleware.events import Event
from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import (
    CALLBACK,
    LOGIN,
    LOGOUT,
    PAGE,
    SAME_ORIGIN,
    Clock,
    World,
    make_settings,
    query_of,
)
from ..support.patience import HANGS
from ..support.raw_requests import Visitors, a_scope, drive

SESSION = "__Host-tiktok"
TARGET = "/private?going=here"
BEGIN = "?next=" + TARGET


@contextmanager
def opened(world):
    """Return a client for the app of a world, which keeps no cookies."""
    with Visitors() as visitors:
        yield visitors.visit(world)


def rows(world):
    """Return the stored rows other than users' records."""
    return [key for key in world.store.keys("tiktok:") if ":used:" in key]


class DelayedExchange(FakeTikTok):
    """A stand-in that processes an exchange, but holds the answer back."""

    gate = None

    def handle(self, method, url, headers, body):
        reply = super().handle(method, url, headers, body)
        if self.gate is not None and b"grant_type=authorization_code" in body:
            self.gate()
        return reply


@pytest.fixture
def tiktok(settings, clock):
    return DelayedExchange.for_settings(settings, clock=clock)


@pytest.fixture
def back(world):
    """Return the cookies of a browser at TikTok, and the callback that TikTok sends it
    to.
    """
    browser = world.browser()
    callback = browser.consent(browser.begin(BEGIN))
    return browser, browser.cookies(), callback


# --- the browser that holds the login's cookie -------------------------------------


class TestAgain:
    def test_cut_off(self, world, back):
        """A browser that did not receive the answer sends the callback again, and is
        signed in.
        """
        browser, cookies, callback = back
        world.browser(**cookies).get(callback)  # its answer is lost
        answer = browser.get(callback)
        assert (answer.status_code, answer.headers["location"]) == (303, TARGET)
        assert browser.signed_in
        assert world.count("authorization_code") == 1
        assert [event.name for event in world.events] == ["login"]
        assert not [n for n in browser.cookies() if n != SESSION]

    def test_same_session(self, world, back):
        """Every answer to a callback sets the same session."""
        _, cookies, callback = back
        given = set()
        for _ in range(3):
            browser = world.browser(**cookies)
            browser.get(callback)
            given.add(browser.cookies()[SESSION])
        assert len(given) == 1

    @pytest.mark.parametrize(("later", "status"), [(60, 303), (61, 400)])
    def test_for_a_minute(self, world, back, later, status):
        """The result of a login is shown for 60 s and no longer."""
        browser, cookies, callback = back
        world.browser(**cookies).get(callback)
        world.clock.advance(later)
        assert browser.get(callback).status_code == status
        assert world.count("authorization_code") == 1

    def test_at_the_end_of_the_login(self, world, back):
        """The result of a login that was finished in time is also shown after the
        login's limit.
        """
        browser, cookies, callback = back
        now = world.clock()
        world.tiktok.provider.clock = lambda: now
        world.clock.advance(590)
        world.browser(**cookies).get(callback)
        world.clock.advance(20)
        assert browser.get(callback).status_code == 303
        late = world.browser(**browser.cookies())
        assert late.get(late.consent(late.begin())).status_code == 303

    def test_after_a_restart(self, world, back):
        """Another process with the same keys shows the result too."""
        _, cookies, callback = back
        world.browser(**cookies).get(callback)
        browser = world.start().browser(**cookies)
        assert browser.get(callback).status_code == 303
        assert browser.signed_in

    @pytest.mark.parametrize(
        ("fault", "status"),
        [({"status": 500}, 503), ({"error": "invalid_client"}, 502)],
    )
    def test_failure(self, world, back, fault, status):
        """A failed login is shown again with the same page and reference."""
        browser, cookies, callback = back
        world.tiktok.fail("token", **fault)
        first = world.browser(**cookies).get(callback)
        again = browser.get(callback)
        assert first.status_code == again.status_code == status
        assert first.text == again.text
        assert first.headers.get("retry-after") == again.headers.get("retry-after")
        assert len(world.events) == 1
        assert world.count("authorization_code") == 1
        assert f'href="{LOGIN}?next=' in again.text

    def test_logout_wins(self, world, back):
        """A session that was ended meanwhile is not set again."""
        browser, cookies, callback = back
        other = world.browser(**cookies)
        other.get(callback)
        other.log_out()
        answer = browser.get(callback)
        assert answer.status_code == 400
        assert "used already" in answer.text
        assert not browser.signed_in

    def test_newer_login_stays(self, world, back):
        """A browser that was signed in by another login meanwhile keeps that
        session.
        """
        browser, cookies, callback = back
        world.browser(**cookies).get(callback)
        newer = world.browser(**cookies)
        newer.log_in(person=world.tiktok.people[1])
        before = newer.cookies()[SESSION]
        newer.client.cookies.update(cookies)
        answer = newer.get(callback)
        assert (answer.status_code, answer.headers["location"]) == (303, TARGET)
        assert newer.cookies()[SESSION] == before

    def test_older_session_goes(self, world):
        """The result is shown in a browser whose session the login replaced."""
        browser = world.browser()
        browser.log_in()
        old = browser.cookies()[SESSION]
        callback = browser.consent(browser.begin(BEGIN))
        cookies = browser.cookies()
        world.browser(**cookies).get(callback)
        assert browser.get(callback).headers["location"] == TARGET
        assert browser.cookies()[SESSION] != old
        assert browser.signed_in

    def test_row_is_sealed(self, world, back):
        """The stored result shows neither the session nor the login's target."""
        browser, _, callback = back
        browser.get(callback)
        [key] = rows(world)
        row = world.store.get(key)
        for secret in (browser.cookies()[SESSION], TARGET, query_of(callback)["code"]):
            assert secret.encode() not in row

    @pytest.mark.parametrize(("skew", "status"), [(-60, 303), (-61, 400)])
    def test_clocks_differ(self, world, back, skew, status):
        """A process whose clock is a minute behind shows the result, too."""
        browser, cookies, callback = back
        world.clock.advance(100)
        world.browser(**cookies).get(callback)
        world.clock.advance(skew)
        assert browser.get(callback).status_code == status

    def test_row_of_another_login(self, world):
        """A result that was copied to another login's row is not shown."""
        jars, callbacks = [], []
        for person in world.tiktok.people[:2]:
            browser = world.browser()
            callbacks.append(browser.consent(browser.begin(), person=person))
            jars.append(browser.cookies())
            browser.get(callbacks[-1])
        one, other = rows(world)
        store = world.store
        moved, kept = store.get(one), store.get(other)
        assert store.compare_and_set(one, moved, kept, 600)
        assert store.compare_and_set(other, kept, moved, 600)
        for jar, callback in zip(jars, callbacks, strict=True):
            assert world.browser(**jar).get(callback).status_code == 400


@pytest.mark.parametrize(
    "packed", [b"", b"[]", b"{}", b"null", b'{"at": 1}', b'{"notes": 1, "headers": []}']
)
def test_no_result(packed):
    """A result that another version packed is ignored, without an error."""
    assert LoginResult.unpack(packed) is None


def test_further_field():
    """A result with an unknown field is ignored."""
    packed = LoginResult(at=1).pack().replace(b'"at"', b'"further": 1, "at"')
    assert LoginResult.unpack(packed) is None
    assert LoginResult.unpack(LoginResult(at=1).pack()) is not None


@pytest.mark.parametrize("further", [{"code": "x"}, {"notes": [Note("x", "y")]}])
def test_unknown_text(further):
    """A result that names an unknown page or sentence is ignored."""
    assert LoginResult.unpack(LoginResult(at=1, **further).pack()) is None
    packed = LoginResult(at=1, code="login_denied", notes=(Note("missing", "y"),))
    assert LoginResult.unpack(packed.pack()) == packed


class TestReload:
    def test_signed_in(self, world, back):
        """A finished callback, opened again while signed in, leads to its target."""
        browser, _, callback = back
        browser.get(callback)
        for _ in range(2):
            answer = browser.get(callback)
            assert (answer.status_code, answer.headers["location"]) == (303, TARGET)
            assert "set-cookie" not in answer.headers
            world.clock.advance(300)
        assert [event.name for event in world.events] == ["login"]

    @pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
    def test_next_day(self, world, back):
        """Opened the next day, the callback shows a signed-in user a page with
        a link.
        """
        browser, _, callback = back
        browser.get(callback)
        for _ in range(4):  # the browser is used meanwhile
            world.clock.advance(6 * 3600)
            assert browser.signed_in
        answer = browser.get(callback)
        assert answer.status_code == 409
        assert "You are signed in already" in answer.text
        assert 'href="/"' in answer.text
        assert browser.signed_in

    def test_signed_out(self, world, back):
        """After a logout the callback does not sign the user in; its page links to the
        target.
        """
        browser, _, callback = back
        browser.get(callback)
        browser.log_out()
        answer = browser.get(callback)
        assert answer.status_code == 400
        assert not browser.signed_in
        assert f'href="{LOGIN}?next=/private%3Fgoing%3Dhere"' in answer.text

    def test_other_session(self, world, back):
        """A session of another login is not redirected to this login's target."""
        browser, _, callback = back
        browser.get(callback)
        other = world.browser()
        other.log_in(person=world.tiktok.people[1])
        answer = other.get(callback)
        assert answer.status_code == 409
        assert answer.headers.get("location") is None

    def test_ended_session(self, world, back):
        """A session that was ended elsewhere is not redirected to the target either."""
        browser, _, callback = back
        browser.get(callback)
        cookies = browser.cookies()
        browser.log_out()
        answer = world.browser(**cookies).get(callback)
        assert answer.status_code == 400
        assert "set-cookie" not in answer.headers


class TestStrangers:
    def test_no_cookie(self, world, back):
        """Without the login's cookie a callback does not show the result, before or
        after it is processed.
        """
        browser, _, callback = back
        for _ in range(2):
            stranger = world.browser()
            answer = stranger.get(callback)
            assert answer.status_code == 400
            assert "set-cookie" not in answer.headers
            assert not stranger.signed_in
            browser.get(callback)

    def test_another_logins_cookie(self, world, back):
        """The cookie of another login does not show the result."""
        browser, _, callback = back
        browser.get(callback)
        stranger = world.browser()
        stranger.begin()
        assert stranger.get(callback).status_code == 400
        assert not stranger.signed_in

    def test_no_store(self, world, back):
        """A callback without a genuine session cookie does not read the store."""
        _, _, callback = back
        asked = []
        get = world.store.get
        world.store.get = lambda key: asked.append(key) or get(key)
        if hasattr(world.store, "aget"):
            aget = world.store.aget
            world.store.aget = lambda key: asked.append(key) or aget(key)
        world.start()
        assert world.browser().get(callback).status_code == 400
        assert asked == []


class TestNothingSpent:
    @pytest.mark.parametrize(
        "query",
        [
            "error=access_denied",
            "error=server_error&error_description=x",
            "error=access_denied&code=abc",
            "scopes=user.info.basic",
        ],
    )
    def test_no_rows(self, world, query):
        """Callbacks without a code write no rows, however many are sent."""
        for _ in range(3):
            browser = world.browser()
            state = query_of(browser.begin())["state"]
            answer = browser.get(f"{CALLBACK}?{query}&state={state}")
            assert answer.status_code in (400, 403, 503)
            assert browser.cookies() == {}
            browser.get(f"{CALLBACK}?code=x&state={state}")  # no row has this state
        assert rows(world) == []
        assert world.tiktok.requests == []

    def test_cancelled_again(self, browser, world):
        """A cancelled login shows the same page each time."""
        callback = browser.consent(browser.begin(BEGIN), deny=True)
        cookies = browser.cookies()
        for _ in range(2):
            answer = world.browser(**cookies).get(callback)
            assert answer.status_code == 403
            assert "You did not log in" in answer.text


# --- at the same moment ------------------------------------------------------------


class TestAtOnce:
    @pytest.fixture
    def raw(self, world):
        with opened(world) as visitor:
            yield visitor

    def test_twenty(self, world, raw):
        """Of 20 callbacks at once, one exchanges the code and all get the same
        session.
        """
        path, query = raw.consent(raw.begin(b"next=/private"))
        kept = dict(raw.cookies)

        def finish(_):
            other = raw.another()
            other.cookies = dict(kept)
            return other.ask("GET", path, query=query)

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(finish, range(20)))
        assert {(a.status, a.location) for a in answers} == {(303, "/private")}
        assert len({a.set_cookies[SESSION] for a in answers}) == 1
        assert world.count("authorization_code") == 1

    def test_second_waits(self, world, raw, gate, tiktok):
        """A callback that arrives while the first is being processed waits for its
        result.
        """
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        tiktok.gate = gate

        def finish(_):
            other = raw.another()
            other.cookies = dict(kept)
            return other.ask("GET", path, query=query)

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(finish, 0)
            gate.wait()
            second = pool.submit(finish, 1)
            if world.interface != "wsgi":
                # A waiting request does not block others.
                assert raw.another().ask("GET", "/").status == 200
            assert not first.done()
            gate.open()
            answers = [first.result(60), second.result(60)]
        assert [a.status for a in answers] == [303, 303]
        assert len({a.set_cookies[SESSION] for a in answers}) == 1
        assert world.count("authorization_code") == 1

    def test_another_process_waits(self, world, raw, gate, tiktok):
        """A callback in another process waits for the result too."""
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        tiktok.gate = gate

        def finish(visitor):
            visitor.cookies = dict(kept)
            return visitor.ask("GET", path, query=query)

        elsewhere = World(
            world.interface,
            world.settings,
            world.tiktok,
            world.store,
            world.clock,
            [],
            world.stack,
        ).start()
        with opened(elsewhere) as other, ThreadPoolExecutor(2) as pool:
            first = pool.submit(finish, raw.another())
            gate.wait()
            second = pool.submit(finish, other)
            gate.open()
            answers = [first.result(60), second.result(60)]
        assert [a.status for a in answers] == [303, 303]
        assert len({a.set_cookies[SESSION] for a in answers}) == 1
        assert world.count("authorization_code") == 1


@pytest.mark.parametrize("interface", ["asyncio"])
async def test_cancelled(settings, clock, tiktok, anyio_backend, interface):
    """A login is finished even if the server cancels the request; a later callback
    shows the result.
    """
    store = MemoryStore(clock=clock)
    with ExitStack() as stack:
        world = World(interface, settings, tiktok, store, clock, [], stack).start()

        async def ask(path, query, cookies=()):
            line = "; ".join(cookies).encode()
            lines = [(b"cookie", line)] if cookies else []
            scope = a_scope(path, lines, query_string=query.encode())
            head, _ = await drive(world.app, scope)
            sent = [v.decode() for n, v in head["headers"] if n == b"set-cookie"]
            pairs = [pair.partition(";")[0] for pair in sent]
            return dict(head["headers"])[b"location"].decode(), pairs

        authorize, cookies = await ask(LOGIN, f"next={TARGET}")
        path, _, query = tiktok.consent(authorize).partition("?")
        path = path.removeprefix("https://app.example.com")
        async with anyio.create_task_group() as group:
            group.start_soon(ask, path, query, cookies)
            with anyio.fail_after(HANGS):
                while not rows(world):
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        location, again = await ask(path, query, cookies)
        assert location == TARGET
        assert again[-1].startswith(f"{SESSION}=")
        assert world.count("authorization_code") == 1
        assert [event.name for event in world.events] == ["login"]
        await world.app.aclose()


# --- the store between -------------------------------------------------------------


class Failing(MemoryStore):
    """A store that fails at chosen writes, counted from now."""

    def __init__(self, **options):
        super().__init__(**options)
        self.fails_at = ()
        self.writes = 0
        self.reads = 0

    def get(self, key):
        self.reads += 1
        return super().get(key)

    def compare_and_set(self, key, old, new, ttl):
        self.writes += 1
        if self.writes in self.fails_at:
            message = "told to fail"
            raise StoreError(message)
        return super().compare_and_set(key, old, new, ttl)


class LosesAnswers(Failing):
    """A store that completes the write and then raises, as if the answer was lost."""

    def compare_and_set(self, key, old, new, ttl):
        if self.writes + 1 in self.fails_at:
            MemoryStore.compare_and_set(self, key, old, new, ttl)
        return super().compare_and_set(key, old, new, ttl)


class TestStoreFails:
    @pytest.fixture
    def store(self, clock):
        return Failing(clock=clock)

    def test_mark_whose_answer_is_lost(self, world, clock):
        """A login continues if the store marked it as used, but the store's answer was
        lost.

        Otherwise the next callback would wait for an exchange that no request has
        begun.
        """
        world.store = LosesAnswers(clock=clock)
        browser = world.start().browser()
        callback = browser.consent(browser.begin("?next=/x"))
        world.store.fails_at, world.store.writes = (1,), 0
        answer = browser.get(callback)
        assert (answer.status_code, answer.headers["location"]) == (303, "/x")
        assert world.count("authorization_code") == 1
        assert browser.signed_in

    def test_mark_of_another(self, world, clock):
        """No exchange follows if another callback marked the login and that answer was
        lost.
        """
        world.store = LosesAnswers(clock=clock)
        browser = world.start().browser()
        callback = browser.consent(browser.begin())
        cookies = browser.cookies()
        assert browser.get(callback).status_code == 303
        world.store.fails_at, world.store.writes = (1,), 0
        assert world.browser(**cookies).get(callback).status_code == 503
        assert world.count("authorization_code") == 1

    def test_before(self, world, back):
        """If the store fails before the exchange, the callback can be sent again."""
        browser, cookies, callback = back
        world.store.fails_at, world.store.writes = (1,), 0
        assert browser.get(callback).status_code == 503
        assert world.count("authorization_code") == 0
        assert browser.cookies() == cookies
        assert browser.get(callback).status_code == 303

    def test_record(self, world, back):
        """If the record cannot be written, the used code is reported at once."""
        browser, _, callback = back
        world.store.fails_at, world.store.writes = (2,), 0
        assert browser.get(callback).status_code == 503
        answer = browser.get(callback)
        assert answer.status_code == 400
        assert "used already" in answer.text
        assert world.count("authorization_code") == 1
        assert not browser.signed_in

    def test_result(self, world, back, caplog):
        """A login succeeds even if its result cannot be stored."""
        browser, _, callback = back
        world.store.fails_at, world.store.writes = (3,), 0
        assert browser.get(callback).status_code == 303
        assert browser.signed_in
        assert "the result of a login could not be kept" in caplog.text

    def test_holder_died(self, world, back):
        """A callback does not wait for a process that died before the time limit."""
        browser, _, callback = back
        state = query_of(callback)["state"]
        world.store.fails_at, world.store.writes = (2, 3), 0
        assert browser.get(callback).status_code == 503
        [key] = rows(world)
        assert world.store.get(key).startswith(b"begun ")
        world.clock.advance(3 * world.settings.timeout + 6)
        world.store.reads = 0
        answer = browser.get(callback)
        assert world.store.reads < 10
        assert answer.status_code == 400
        assert "used already" in answer.text
        assert state not in answer.text


# --- where it was going ------------------------------------------------------------


class TestLostPlace:
    def test_target_is_known(self, world):
        """If the login's cookies are missing, the page links to the login's target."""
        browser = world.browser()
        callback = browser.consent(browser.begin("?next=/a%3Fb=c&scopes=video.upload"))
        for other in (world.browser(), world.browser()):  # one is new
            answer = other.get(callback)
            assert answer.status_code == 400
            again = f"{LOGIN}?next=/a%3Fb%3Dc&amp;scopes=video.upload"
            assert f'href="{again}"' in answer.text
            assert "Trying again takes you on to /a?b=c." in answer.text
            assert not other.signed_in

    def test_default_target(self, world):
        """A login without `next` leads to the default path."""
        browser = world.browser()
        answer = world.browser().get(browser.consent(browser.begin()))
        assert "Trying again takes you on to /." in answer.text
        assert f'href="{LOGIN}"' in answer.text

    def test_unknown(self, world):
        """If the process does not know the login, the page says so and links to the
        start page.
        """
        browser = world.browser()
        callback = browser.consent(browser.begin(BEGIN))
        answer = world.start().browser().get(callback)
        assert answer.status_code == 400
        assert "This site does not know which page you wanted" in answer.text
        assert f'href="{LOGIN}"' in answer.text
        assert 'href="/"' in answer.text
        assert "going=here" not in answer.text

    def test_link_goes_to_tiktok_and_the_first_target(self, world):
        """The link goes to TikTok and from there to the first login's target."""
        browser, other = world.browser(), world.browser()
        answer = other.get(browser.consent(browser.begin(BEGIN)))
        assert "Trying again takes you on to" in answer.text
        again = other.begin(BEGIN)
        assert other.get(other.consent(again)).headers["location"] == TARGET

    def test_refused_target(self, world):
        """The page does not link to a target that was refused when the login began."""
        browser = world.browser()
        callback = browser.consent(browser.begin("?next=//evil.example/"))
        assert "evil" not in world.browser().get(callback).text

    def test_too_old(self, world):
        """A login is forgotten when its cookies have expired."""
        browser = world.browser()
        callback = browser.consent(browser.begin(BEGIN))
        world.clock.advance(1801)
        assert "does not know which page" in world.browser().get(callback).text


class TestRecentLogins:
    def test_bounded_count(self, clock):
        """The table keeps the newest 4,096 logins."""
        recent = RecentLogins(600, clock)
        for number in range(5000):
            recent.remember(f"s{number}", "/", "")
        assert len(recent._begun) == 4096
        assert recent.find("s4999") == ("/", "")
        assert recent.find("s0") is None

    def test_bounded_bytes(self, clock):
        """The table never takes more than a megabyte."""
        recent = RecentLogins(600, clock)
        for number in range(5000):
            recent.remember(f"s{number}", "/" * 2048, "x" * 2048)
            assert recent._size <= 1024 * 1024
        assert recent.find("s4999") is not None
        kept = sum(begun.size for begun in recent._begun.values())
        assert kept == recent._size

    def test_repeated_state(self, clock):
        """A state that is noted twice counts once."""
        recent = RecentLogins(600, clock)
        for _ in range(5000):
            recent.remember("s", "/" * 2048, "")
        assert recent._size < 10_000

    def test_old_ones_go(self, clock):
        """An old login is not found, and the next login removes it."""
        recent = RecentLogins(600, clock)
        recent.remember("old", "/", "")
        clock.advance(601)
        assert recent.find("old") is None
        recent.remember("new", "/", "")
        assert len(recent._begun) == 1

    def test_forked(self, clock):
        """A child of fork() begins with an empty table and an open lock."""
        recent = RecentLogins(600, clock)
        recent.remember("s", "/", "")
        recent._guard.acquire()
        recent.after_fork()
        assert recent.find("s") is None
        assert recent._size == 0

    def test_repr_has_no_target(self, clock):
        """The table's repr shows no target."""
        recent = RecentLogins(600, clock)
        recent.remember("s", "/secret", "")
        assert repr(recent) == "<RecentLogins: 1>"


# --- another address of the site ---------------------------------------------------

OTHER = {**PAGE, "host": "www.app.example.com"}


class TestOtherAddress:
    def test_moves(self, browser):
        """A login at another address is first redirected to the site's own."""
        answer = browser.get(f"{LOGIN}?next=/a%20b&scopes=video.upload", headers=OTHER)
        assert answer.status_code == 303
        moved = (
            f"https://app.example.com{LOGIN}?next=/a%20b&scopes=video.upload&moved=1"
        )
        assert answer.headers["location"] == moved
        assert "set-cookie" not in answer.headers
        answer = browser.get(moved)
        assert answer.headers["location"].startswith("https://www.tiktok.com/")
        callback = browser.consent(answer.headers["location"])
        assert browser.get(callback).headers["location"] == "/a%20b"

    def test_development(self, world, caplog):
        """In development the log says where the login goes on, and what to change: an
        app on another port is not there. It does not hold the request's own host.
        """
        uri = "http://127.0.0.1:8000/auth/tiktok/callback"
        browser = world.with_settings(redirect_uri=uri).browser()
        caplog.clear()
        browser.get(LOGIN, headers={**PAGE, "host": "127.0.0.1:8021"})
        assert "is sent to http://127.0.0.1:8000: serve the app there" in caplog.text
        assert "8021" not in caplog.text
        caplog.clear()
        browser.get(LOGIN, headers={**PAGE, "host": "127.0.0.1:8000"})
        assert "another host or port" not in caplog.text

    def test_production_logs_nothing(self, browser, caplog):
        """In production a redirect to the site's own address is not logged."""
        caplog.clear()
        browser.get(LOGIN, headers=OTHER)
        ours = [r for r in caplog.records if r.name.startswith("tiktok_oauth")]
        assert ours == []

    def test_once(self, browser):
        """If a proxy changes Host, the login continues after one redirect."""
        answer = browser.get(LOGIN, headers=OTHER)
        answer = browser.get(answer.headers["location"], headers=OTHER)
        assert answer.headers["location"].startswith("https://www.tiktok.com/")
        assert (
            browser.get(browser.consent(answer.headers["location"])).status_code == 303
        )

    @pytest.mark.parametrize(
        "moved", ["moved", "moved=", "moved=1&moved=2", "moved=%FF"]
    )
    def test_any_value_of_the_mark(self, browser, moved):
        """The browser is not redirected again, whatever the value of the mark in the
        query.
        """
        answer = browser.get(f"{LOGIN}?{moved}", headers=OTHER)
        assert answer.headers["location"].startswith("https://www.tiktok.com/")

    @pytest.mark.parametrize(
        "header", ["x-forwarded-host", "x-original-host", "forwarded", "x-host"]
    )
    def test_forwarded(self, browser, header):
        """Headers other than Host do not cause a redirect."""
        answer = browser.get(LOGIN, headers={**PAGE, header: "www.app.example.com"})
        assert answer.headers["location"].startswith("https://www.tiktok.com/")
        answer = browser.get(LOGIN, headers={**OTHER, header: "evil.example"})
        assert answer.headers["location"] == f"https://app.example.com{LOGIN}?moved=1"

    @pytest.mark.parametrize("methods", [("GET", "POST"), ("POST",)])
    def test_posted(self, world, methods):
        """A login that is posted to another address is redirected too, without
        beginning a login.
        """
        browser = world.with_settings(login_methods=methods).browser()
        headers = {
            **OTHER,
            "origin": "https://www.app.example.com",
            "sec-fetch-site": "same-origin",
        }
        answer = browser.post(f"{LOGIN}?next=/x", headers=headers)
        assert answer.status_code == 303
        moved = f"https://app.example.com{LOGIN}?next=/x&moved=1"
        assert answer.headers["location"] == moved
        assert "set-cookie" not in answer.headers
        status = browser.get(moved).status_code
        assert status == (303 if "GET" in methods else 405)

    def test_page_with_the_form(self, world):
        """If logins are posted, GET at another address redirects to the form at the
        site's own.
        """
        browser = world.with_settings(login_methods=("POST",)).browser()
        answer = browser.get(LOGIN, headers=OTHER)
        assert answer.headers["location"] == f"https://app.example.com{LOGIN}?moved=1"

    def test_too_long(self, browser):
        """A query that is too long for proxies is left out of the redirect."""
        answer = browser.get(f"{LOGIN}?next=/{'x' * 5000}", headers=OTHER)
        assert answer.headers["location"] == f"https://app.example.com{LOGIN}?moved=1"

    @pytest.mark.parametrize(
        "ahead", [{"sec-purpose": "prefetch"}, {"sec-fetch-dest": "image"}]
    )
    def test_no_visit(self, browser, ahead):
        """A request that is not a page visit is refused, as on any other path."""
        assert browser.get(LOGIN, headers={**OTHER, **ahead}).status_code == 403

    def test_guarded_page(self, browser):
        """A guarded page at another address leads to the login, which is redirected."""
        answer = browser.get("/private?a=b", headers=OTHER)
        answer = browser.get(answer.headers["location"], headers=OTHER)
        assert answer.headers["location"].startswith("https://app.example.com/")
        answer = browser.get(answer.headers["location"])
        callback = browser.consent(answer.headers["location"])
        assert browser.get(callback).headers["location"] == "/private?a=b"


# --- any order ---------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.booleans()),
        st.tuples(
            st.sampled_from(["callback", "callback", "cut off", "stranger", "doubled"]),
            st.integers(0, 3),
        ),
        st.tuples(st.just("logout"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 45, 61, 300])),
    ),
    max_size=14,
)


class Story:
    """One browser's logins and cookies, and the rules that must hold for them."""

    def __init__(self, world, raw):
        self.world = world
        self.raw = raw
        #: Path, query, target, cookies, time.
        self.logins = []
        #: The session of each login, by its number.
        self.sessions = {}
        self.ended = set()
        self.exchanged = set()

    def begin(self, _):
        target = f"/private?n={len(self.logins)}"
        answer = self.raw.ask("GET", LOGIN, query=f"next={target}".encode())
        path, query = self.raw.consent(answer.location)
        cookies, now = answer.set_cookies, self.world.clock()
        self.logins.append((path, query, target, cookies, now))

    def ask(self, number, jar):
        path, query, *_ = self.logins[number]
        visitor = self.raw.another()
        visitor.cookies = dict(jar)
        return visitor.ask("GET", path, query=query), visitor

    def send(self, number, *, arrives):
        """Send a callback; the browser receives the answer only if `arrives`."""
        number %= len(self.logins)
        *_, target, cookies, begun = self.logins[number]
        jar = self.raw.cookies
        is_first = number not in self.sessions
        is_due = is_first and self.world.clock() - begun <= 300
        before = self.world.count("authorization_code")
        answer, visitor = self.ask(number, jar)
        asked = self.world.count("authorization_code") - before
        assert asked <= (number not in self.exchanged), "one exchange for each login"
        self.exchanged |= {number} if asked else set()
        session = answer.set_cookies.get(SESSION)
        if is_due and set(cookies.items()) <= set(jar.items()):
            assert session, "the browser that holds the login's cookie is signed in"
        if session and is_first:
            self.sessions[number] = session
            # A new session ends the browser's previous one.
            self.ended.add(jar.get(SESSION))
        if session:
            assert session == self.sessions[number], "one login is one session"
            assert session not in self.ended, "a session that had ended came back"
        if answer.status == 303:
            assert answer.location == target
        if arrives:
            self.raw.cookies = visitor.cookies
        return answer

    def run(self, event, more):
        match event:
            case "begin":
                self.begin(more)
            case "logout":
                self.ended.add(self.raw.cookies.get(SESSION))
                self.raw.ask("POST", LOGOUT, headers=SAME_ORIGIN)
            case "wait":
                self.world.clock.advance(more)
            case _ if not self.logins:
                return
            case "callback":
                self.send(more, arrives=True)
            case "cut off":
                self.send(more, arrives=False)
            case "doubled":
                first = self.send(more, arrives=False)
                assert self.send(more, arrives=True).status == first.status
            case "stranger":
                before = self.world.count("authorization_code")
                answer, _ = self.ask(more % len(self.logins), {})
                assert self.world.count("authorization_code") == before
                assert answer.status == 400
                assert not answer.set_cookies

    def check(self):
        session = self.raw.cookies.get(SESSION)
        if session and session not in self.ended:
            assert self.raw.open_id, "whoever is signed in stays so"
        for ended in self.ended - {None}:
            visitor = self.raw.another()
            visitor.cookies = {SESSION: ended}
            assert visitor.open_id is None, "a session that had ended lives"


@pytest.mark.parametrize("interface", ["wsgi", "asyncio"])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=EVENTS)
def test_any_order(interface, events):
    """Any order of events leads to one exchange and one session of one browser."""
    clock = Clock()
    options = make_settings()
    with ExitStack() as stack:
        tiktok = FakeTikTok.for_settings(options, clock=clock)
        store = MemoryStore(clock=clock)
        world = World(interface, options, tiktok, store, clock, [], stack).start()
        with opened(world) as raw:
            story = Story(world, raw)
            for event, more in events:
                story.run(event, more)
                story.check()


# --- what others see ---------------------------------------------------------------


def texts_in(value, depth=3):
    """Return the texts in a frame's value, as deep as error reporters record them."""
    if isinstance(value, bytes | bytearray):
        yield bytes(value).decode("latin-1")
    elif isinstance(value, str):
        yield str.__str__(value)
    elif depth and isinstance(value, dict):
        for pair in value.items():
            yield from texts_in(pair, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from texts_in(item, depth - 1)
    elif depth and isinstance(value, LoginResult | Callback | Event):
        for name in value.__slots__:
            yield from texts_in(getattr(value, name), depth - 1)


def test_frames(world, back):
    """While on_event runs no frame of ours holds the session or a token."""
    seen = []

    def look(event):
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if "/tiktok_oauth_middleware/" in name and "/testing/" not in name:
                for value in [*frame.f_locals.values()]:
                    seen.extend(texts_in(value))
            frame = frame.f_back

    browser, cookies, callback = back
    world.further["on_event"] = look
    browser = world.start().browser(**cookies)
    assert browser.get(callback).status_code == 303
    assert "login" in seen  # the event itself, which proves that frames were searched
    session = browser.cookies()[SESSION]
    token = browser.me()["token"]
    assert token
    for secret in (session, token):
        assert not any(secret in text for text in seen)

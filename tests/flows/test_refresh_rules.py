"""How a refresh changes the record, also while others change it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    SQLiteStore,
    StoreError,
    TikTokTokens,
)
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware.stores.swap_locks import lock_row

from ..conftest import API, RedisOfManyLoops, World, another_core, kept
from ..support.asgi_calls import call, http_scope
from ..support.patience import HANGS

SESSION = "__Host-tiktok"
LIFE = 7200
#: Seconds after which a token is due and still valid.
DUE = LIFE - 100
EXPIRED = LIFE + 1


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path, clock):
    if request.param == "memory":
        made = MemoryStore(clock=clock)
    else:
        made = SQLiteStore(tmp_path / "tokens.sqlite3", clock=clock)
    yield made
    made.close()


@pytest.fixture
def background():
    """Return a function that runs another in a thread and returns a future."""
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


def twin(browser):
    """Return another client of the same browser session."""
    return browser.world.browser(**browser.cookies())


class TestAnswer:
    def test_narrower(self, signed_in, world, tiktok):
        """A narrower scope applies to the request that refreshed, and to all after."""
        tiktok.change = lambda answer: answer.update(scope="user.info.basic")
        world.clock.advance(DUE)
        assert signed_in.me()["scopes"] == ["user.info.basic"]
        assert signed_in.get("/videos", headers=API).status_code == 403
        [event] = world.reported("scopes_changed")
        assert event.scopes == {"user.info.basic"}
        assert event.open_id == tiktok.people[0].open_id

    def test_empty(self, signed_in, world, tiktok):
        """An empty scope leaves no scopes and no profile."""
        assert signed_in.me()["name"] is not None
        tiktok.change = lambda answer: answer.update(scope="")
        world.clock.advance(DUE)
        me = signed_in.me()
        assert (me["signed_in"], me["scopes"], me["name"]) == (True, [], None)
        assert len(world.reported("scopes_changed")) == 1

    def test_no_refresh_token(self, signed_in, world, tiktok):
        """Without a refresh token in the answer the old one is kept and sent again."""
        tiktok.grace = 100 * LIFE
        before = kept(world).refresh_token
        tiktok.change = lambda answer: answer.pop("refresh_token")
        world.clock.advance(DUE)
        first = signed_in.me()["token"]
        assert kept(world).refresh_token == before
        world.clock.advance(DUE)
        second = signed_in.me()["token"]
        assert first != second
        assert world.count("refresh_token") == 2
        assert world.reported("session_ended") == []

    def test_no_expires_in(self, signed_in, world, tiktok):
        """Without expires_in the token is taken to live for an hour."""
        tiktok.change = lambda answer: answer.pop("expires_in")
        world.clock.advance(DUE)
        me = signed_in.me()
        assert me["expires_at"] == world.clock() + 3600
        for _ in range(5):
            signed_in.me()
        assert world.count("refresh_token") == 1
        world.clock.advance(3600 - 100)
        assert signed_in.me()["token"] != me["token"]

    def test_no_refresh_expires_in(self, signed_in, world, tiktok):
        """A new refresh token without a lifetime has no known end."""
        assert kept(world).refresh_expires_at is not None
        tiktok.change = lambda answer: answer.pop("refresh_expires_in")
        world.clock.advance(DUE)
        signed_in.me()
        assert kept(world).refresh_expires_at is None
        world.clock.advance(DUE)
        assert signed_in.me()["token"]
        assert world.count("refresh_token") == 2

    def test_neither(self, signed_in, world, tiktok):
        """An answer with neither a refresh token nor its lifetime keeps both stored
        values.
        """
        before = kept(world)
        tiktok.change = lambda answer: [
            answer.pop(name) for name in ("refresh_token", "refresh_expires_in")
        ]
        world.clock.advance(DUE)
        signed_in.me()
        after = kept(world)
        assert after.access_token != before.access_token
        assert after.refresh_token == before.refresh_token
        assert after.refresh_expires_at == before.refresh_expires_at

    @pytest.mark.parametrize(
        "change",
        [
            {"access_token": ""},
            {"access_token": None},
            {"access_token": "a b"},
            {"open_id": 7},
            {"token_type": "mac"},
            {"expires_in": "soon"},
            {"expires_in": True},
            {"refresh_token": ["x"]},
        ],
    )
    def test_unusable(self, signed_in, world, tiktok, change):
        """An answer with one unusable field changes nothing."""
        before = signed_in.me()
        tiktok.change = lambda answer: answer.update(change)
        world.clock.advance(DUE)
        assert signed_in.me() == before
        assert kept(world).access_token.reveal() == before["token"]
        assert len(world.reported("refresh_failed")) == 1

    @pytest.mark.parametrize("life", [0, -5, 0.5])
    def test_no_life(self, signed_in, world, tiktok, life):
        """A token that is expired on arrival is never returned, and does not cause a
        loop.
        """
        tiktok.change = lambda answer: answer.update(expires_in=life)
        world.clock.advance(EXPIRED)
        for _ in range(5):
            me = signed_in.me()
            assert (me["signed_in"], me["token"]) == (True, None)
        assert world.count("refresh_token") <= 2


class TestMeanwhile:
    """Events between TikTok's answer and its write."""

    @pytest.fixture
    def refreshing(self, signed_in, tiktok, gate, background):
        """Return a function that begins a refresh, paused when TikTok has answered."""

        def begin(gone):
            signed_in.world.clock.advance(gone)
            tiktok.answered = gate
            future = background(signed_in.me)
            gate.wait()
            return future

        return begin

    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_logout(self, signed_in, world, refreshing, gate, gone):
        """A logout during the refresh wins: the answer is dropped."""
        other = twin(signed_in)
        future = refreshing(gone)
        assert other.log_out().status_code == 303
        gate.open()
        assert not future.result(20)["signed_in"]
        assert not signed_in.signed_in
        assert kept(world) is None
        assert world.count("refresh_token") == 1
        assert world.reported("refresh") == []

    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_logout_elsewhere(self, signed_in, world, refreshing, gate, gone):
        """A logout of the user's other browser ends that session, and the answer is
        stored.
        """
        other = world.browser()
        other.log_in()
        future = refreshing(gone)
        assert other.log_out().status_code == 303
        gate.open()
        me = future.result(20)
        assert me["token"] == kept(world).access_token.reveal()
        assert me["expires_at"] == world.clock() + LIFE
        assert not other.signed_in
        world.clock.advance(DUE)
        assert signed_in.me()["token"]
        assert world.count("refresh_token") == 2

    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_login(self, signed_in, world, tiktok, refreshing, gate, gone):
        """A login during the refresh wins: all requests get its token."""
        future = refreshing(gone)
        other = world.browser()
        other.log_in()
        newest = other.me()["token"]
        gate.open()
        assert future.result(20)["token"] == newest
        assert kept(world).access_token.reveal() == newest
        assert signed_in.me()["token"] == newest
        tiktok.answered = None
        world.clock.advance(DUE)
        assert signed_in.me()["token"] == other.me()["token"] != newest

    def test_touched(self, signed_in, world, refreshing, gate):
        """The answer is stored even if another browser's "last seen" was written
        meanwhile.
        """
        other = world.browser()
        other.log_in()
        assert signed_in.signed_in
        future = refreshing(DUE)
        before = kept(world)
        assert other.me()["token"] == before.access_token.reveal()
        assert kept(world).sessions != before.sessions
        gate.open()
        me = future.result(20)
        after = kept(world)
        assert me["token"] == after.access_token.reveal()
        assert after.refresh_token != before.refresh_token
        assert {s.last_seen_at for s in after.sessions} == {int(world.clock())}
        assert world.count("refresh_token") == 1

    def test_disconnect(self, signed_in, world, refreshing, gate, background):
        """A withdrawal during the refresh wins, too."""
        future = refreshing(EXPIRED)
        world.with_settings(webhook_path="/hook")
        open_id = world.tiktok.people[0].open_id
        headers, body = world.tiktok.webhook("authorization.removed", open_id)
        client = world.browser().client
        assert client.post("/hook", content=body, headers=headers).status_code == 200
        gate.open()
        assert not future.result(20)["signed_in"]
        assert kept(world) is None

    def test_no_request_waits(self, signed_in, world, refreshing, gate):
        """While the old token is valid, only the request that refreshes waits for the
        new one.
        """
        before = signed_in.me()["token"]
        other = twin(signed_in)
        future = refreshing(DUE)
        assert other.me()["token"] == before
        gate.open()
        assert future.result(20)["token"] != before
        assert world.count("refresh_token") == 1

    def test_waiters(self, signed_in, world, refreshing, gate, background):
        """A request that needs the new token waits for the refresh under way, and gets
        it.
        """
        others = [twin(signed_in) for _ in range(4)]
        future = refreshing(EXPIRED)
        waiting = [background(other.me) for other in others]
        gate.open()
        tokens = {f.result(20)["token"] for f in [future, *waiting]}
        assert tokens == {kept(world).access_token.reveal()}
        assert world.count("refresh_token") == 1


class TestClockOfTheHost:
    """The host's clock is set forward while a token is refreshed."""

    @pytest.fixture(params=["memory", "sqlite"])
    def store(self, request, tmp_path):
        made = (
            MemoryStore()
            if request.param == "memory"
            else SQLiteStore(tmp_path / "tokens.sqlite3")
        )
        yield made
        made.close()

    def test_one_refresh(self, signed_in, world, tiktok, gate, background):
        """Another process does not send the same refresh token; nothing is lost."""
        world.clock.advance(EXPIRED)
        tiktok.answered = gate
        future = background(signed_in.me)
        gate.wait()
        world.store._clock = lambda: time.time() + 3600
        options = {"transport": tiktok.transport, "clock": world.clock}
        with TikTokTokens(world.settings, world.store, **options) as tokens:
            other = background(tokens.get, tiktok.people[0].open_id)
            time.sleep(0.3)
            gate.open()
            token = future.result(20)["token"]
            assert token == kept(world).access_token.reveal()
            assert other.result(20).access_token == token
        assert world.count("refresh_token") == 1


class TestDue:
    def test_not_all_at_once(self, world):
        """Tokens of users who logged in at the same moment are due at different
        times.
        """
        core = another_core(world)
        world.browser().log_in()
        record = kept(world)
        due = {
            core.service.refresh.due.due_at(record._replace(open_id=f"user-{number}"))
            for number in range(100)
        }
        assert len(due) == 100
        leeway = 300
        assert record.expires_at - leeway * 1.1 <= min(due)
        assert max(due) <= record.expires_at - leeway

    def test_no_request_asks(self, signed_in, world):
        """A token is renewed only when a request of its user needs it."""
        world.clock.advance(EXPIRED)
        assert signed_in.get("/").text == "home"
        assert world.browser().me()["signed_in"] is False
        world.browser().get("/private")
        assert world.count("refresh_token") == 1  # by the one signed-in request


class DelayedSwap:
    """A store that delays the next swap of a record on demand."""

    def __init__(self, inner, gate):
        self.inner, self.gate, self.holds = inner, gate, False

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def compare_and_set(self, key, old, new, ttl):
        if self.holds and "grant" in key and not key.endswith(":lock"):
            self.holds = False  # others write "last seen" meanwhile
            self.gate()
        return self.inner.compare_and_set(key, old, new, ttl)


class TestDurable:
    def test_stored_before_it_is_shown(self, signed_in, world, gate, background):
        """No request gets a new access token before both new tokens are stored."""
        before = signed_in.me()["token"]
        delayed = DelayedSwap(world.store, gate)
        world.store = delayed
        world.start()
        leader = world.browser(**signed_in.cookies())
        other = world.browser(**signed_in.cookies())
        world.clock.advance(DUE)
        delayed.holds = True
        future = background(leader.me)
        gate.wait()
        assert world.count("refresh_token") == 1
        assert other.me()["token"] == before
        assert kept_in(delayed.inner, world).access_token.reveal() == before
        gate.open()
        after = future.result(20)["token"]
        assert after != before
        assert kept_in(delayed.inner, world).access_token.reveal() == after


def kept_in(store, world):
    return kept(replace(world, store=store))


class TestRevoked:
    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_login_meanwhile(self, signed_in, world, tiktok, gone):
        """A refresh token that is refused after a new login ends no session."""
        other = world.browser()
        world.clock.advance(gone)
        callback = other.consent(other.begin())

        def log_in():
            tiktok.answered = None
            # In another thread, like another request.
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(other.get, callback).result(20).status_code == 303

        tiktok.answered = log_in
        tiktok.fail("token", error="invalid_grant")
        assert signed_in.signed_in
        assert other.signed_in
        assert world.reported("session_ended") == []


class TestOwnFault:
    @pytest.mark.parametrize("error", ["invalid_client", "unauthorized_client"])
    def test_error_a_minute(self, world, tiktok, caplog, error):
        """A wrong secret ends no session, and logs one ERROR a minute for all users
        together.
        """
        browsers = []
        for person in tiktok.people:
            browsers.append(world.browser())
            browsers[-1].log_in(person=person)
        tiktok.fail("token", times=100, error=error)
        for _ in range(3):
            world.clock.advance(LIFE)
            for browser in browsers:
                for seldom in logger.filters:  # they would hide a second line
                    seldom._last.clear()
                assert browser.signed_in
        assert world.count("refresh_token") == 9
        errors = [r for r in caplog.records if r.levelname == "ERROR"]
        assert len(errors) == 1
        assert error in errors[0].getMessage()
        tiktok.clear_faults()
        world.clock.advance(120)
        assert all(browser.me()["token"] for browser in browsers)


class Stumbling:
    """A store that fails at a number of calls, before or after completing them."""

    def __init__(self, inner, error=StoreError, *, after=False):
        self.inner = inner
        self.error = error
        self.after = after
        self.failures = 0
        self._guard = threading.Lock()

    def _fails(self):
        with self._guard:
            self.failures -= 1
            return self.failures >= 0

    def get(self, key):
        if not self.after and self._fails():
            raise self.error("stumbled")
        return self.inner.get(key)

    def compare_and_set(self, key, old, new, ttl):
        fails = not key.endswith(":lock") and self._fails()
        if fails and not self.after:
            raise self.error("stumbled")
        done = self.inner.compare_and_set(key, old, new, ttl)
        if fails:
            raise self.error("stumbled")
        return done

    def lock(self, key, ttl):
        return self.inner.lock(key, ttl)

    def close(self):
        self.inner.close()


class TestStoreStumbles:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_not_lost(self, world, tiktok, after, gone):
        """An answer is not lost if the store fails when it arrives."""
        store = world.store = Stumbling(world.store, after=after)
        browser = world.start().browser()
        browser.log_in()
        before = kept(world)
        tiktok.answered = lambda: setattr(store, "failures", 1 if after else 4)
        world.clock.advance(gone)
        me = browser.me()
        now = kept(world)
        assert me["token"] == now.access_token.reveal()
        assert now.refresh_token != before.refresh_token
        world.clock.advance(DUE)
        tiktok.answered = None
        assert browser.me()["token"] not in (me["token"], None)
        assert world.count("refresh_token") == 2

    def test_reported(self, world, tiktok):
        """A refresh whose write succeeded is reported even if the store's answer was
        lost.
        """
        store = world.store = Stumbling(world.store, after=True)
        browser = world.start().browser()
        browser.log_in()
        tiktok.answered = lambda: setattr(store, "failures", 1)
        world.clock.advance(DUE)
        browser.me()
        assert len(world.reported("refresh")) == 1

    def test_own_exception(self, world, tiktok):
        """The answer is not lost if the store raises another exception at that
        moment.
        """
        store = world.store = Stumbling(world.store, ConnectionResetError)
        browser = world.start().browser()
        browser.log_in()
        tiktok.answered = lambda: setattr(store, "failures", 4)
        world.clock.advance(EXPIRED)
        token = browser.me()["token"]
        assert token == kept(world).access_token.reveal()
        assert world.count("refresh_token") == 1


class Lock:
    """A lock whose renewal takes a second, or whose release fails."""

    def __init__(self, inner, *, seconds=0.0, error=None):
        self.inner = inner
        self.seconds = seconds
        self.error = error

    def __enter__(self):
        return self.inner.__enter__()

    def __exit__(self, *error):
        self.inner.__exit__(*error)
        if self.error is not None:
            raise self.error

    def renew(self, ttl):
        time.sleep(self.seconds)


class TestStoresLock:
    @pytest.fixture
    def store(self, clock):
        return MemoryStore(clock=clock)

    def start(self, world, **options):
        """Wrap the world's store in one whose locks behave so."""
        inner = world.store

        class Odd(Stumbling):
            renews = True

            def lock(self, key, ttl):
                return Lock(inner.lock(key, ttl), **options)

        world.store = Odd(inner)
        browser = world.start().browser()
        browser.log_in()
        return browser

    def test_slow_renewal(self, world, tiktok):
        """An answer in time is stored even if the lock is being renewed then."""
        world.with_settings(timeout=2)
        browser = self.start(world, seconds=1.0)
        # Deadlines use the real clock: the renewal begins after 1.5 seconds.
        tiktok.answered = lambda: time.sleep(1.7)
        world.clock.advance(EXPIRED)
        token = browser.me()["token"]
        assert token is not None
        assert token == kept(world).access_token.reveal()

    def test_release(self, world):
        """A lock that cannot be released does not turn a refresh into an error."""
        browser = self.start(world, error=OSError("secret-host"))
        world.clock.advance(EXPIRED)
        assert browser.me()["token"] == kept(world).access_token.reveal()


class TestDeadHolder:
    """A process died with the store's lock on a user."""

    @pytest.fixture
    def dead(self, signed_in, world):
        """Leave a lock behind; return the seconds that it lasts."""
        app = getattr(world.app, "wsgi_app", world.app)
        lease = app._core.service.refresh._lease
        open_id = world.tiktok.people[0].open_id
        key = app._core.service.records._key(
            record_id(world.settings.client_key, open_id)
        )

        def die():
            row = lock_row(key)
            assert world.store.compare_and_set(row, None, b"dead", lease)
            return lease

        return die

    def test_still_good(self, signed_in, world, dead):
        """While the token is valid no request waits for a dead holder; later one
        refreshes in its place.
        """
        before = signed_in.me()["token"]
        world.clock.advance(DUE)
        lease = dead()
        world.clock.advance(lease - 1)
        assert signed_in.me()["token"] == before
        assert world.count("refresh_token") == 0
        world.clock.advance(2)
        assert signed_in.me()["token"] != before
        assert world.count("refresh_token") == 1

    def test_bounded(self, signed_in, world, dead):
        """Waiting for a dead holder takes no longer than waiting for TikTok."""
        world.with_settings(timeout=0.5)
        browser = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        dead()
        began = time.monotonic()
        me = browser.me()
        assert time.monotonic() - began < HANGS
        assert (me["signed_in"], me["token"]) == (True, None)
        assert world.count("refresh_token") == 0

    def test_expired(self, signed_in, world, dead, background):
        """A request that needs a token gets one once the dead holder's lease
        has ended.
        """
        waits = threading.Event()
        inner = world.store

        class Watched(Stumbling):
            def lock(self, key, ttl):
                waits.set()
                return inner.lock(key, ttl)

        world.clock.advance(EXPIRED)
        lease = dead()
        world.store = Watched(inner)
        browser = world.start().browser(**signed_in.cookies())
        future = background(browser.me)
        assert waits.wait(20)
        assert world.count("refresh_token") == 0
        world.clock.advance(lease + 1)
        assert future.result(20)["token"] is not None
        assert world.count("refresh_token") == 1


@pytest.fixture(params=["sqlite", "redis"])
def two_stores(request, tmp_path, clock):
    """Return two objects for one store, as two processes have."""
    if request.param == "sqlite":
        path = tmp_path / "shared.sqlite3"
        made = [SQLiteStore(path, clock=clock) for _ in range(2)]
    else:
        url = request.getfixturevalue("empty_redis")
        made = [RedisOfManyLoops(url) for _ in range(2)]
    yield made
    for store in made:
        store.close()


class TestTwoProcesses:
    @pytest.fixture
    def worlds(self, interface, two_stores, settings, tiktok, clock):
        with ExitStack() as stack:
            yield [
                World(interface, settings, tiktok, store, clock, [], stack).start()
                for store in two_stores
            ]

    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_one_refresh(self, worlds, background, gone):
        """Two middlewares over one store make one refresh, for any number of
        requests.
        """
        first = worlds[0].browser()
        first.log_in()
        before = first.me()["token"]
        clients = [w.browser(**first.cookies()) for w in worlds for _ in range(3)]
        for round_ in range(1, 4):
            first.world.clock.advance(gone)
            barrier = threading.Barrier(len(clients))

            def ask(client, barrier=barrier):
                barrier.wait(20)
                return client.me()

            seen = [f.result(20) for f in [background(ask, c) for c in clients]]
            assert worlds[0].count("refresh_token") == round_
            newest = kept(worlds[1]).access_token.reveal()
            tokens = {me["token"] for me in seen}
            assert newest in tokens
            # A request that does not refresh gets the old token while that is valid.
            assert tokens <= ({newest, before} if gone == DUE else {newest})
            before = newest


class TestCancelled:
    """The request that refreshes is cancelled, since its client disconnected."""

    @pytest.fixture
    def interface(self, anyio_backend):
        return anyio_backend

    @pytest.fixture
    def ask(self, signed_in, world):
        """Return a function that sends the browser's request in the running
        event loop.
        """
        cookie = f"{SESSION}={signed_in.cookies()[SESSION]}"

        async def ask():
            sent = await call(world.app, http_scope("/who", [("cookie", cookie)]))
            assert sent[0]["status"] == 200, sent
            return sent[1]["body"].decode()

        return ask

    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    async def test_scope(self, world, tiktok, ask, gate, gone):
        """If the request's cancel scope is cancelled, the answer is kept, without a
        second call.
        """
        before = kept(world)
        world.clock.advance(gone)
        tiktok.answered = gate
        scope = anyio.CancelScope()

        async def cancelled():
            with scope:
                await ask()

        async with anyio.create_task_group() as group:
            group.start_soon(cancelled)
            await anyio.to_thread.run_sync(gate.wait)
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            gate.open()
        await self.stored(world, ask, before, gone)

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    @pytest.mark.parametrize("has_lifespan", [True, False])
    async def test_task(
        self, world, tiktok, ask, gate, gone, has_lifespan, anyio_backend
    ):
        """If the request's asyncio task is cancelled, the answer is kept, too.

        The task ends at once if the middleware can wait at the end of the lifespan,
        else after TikTok's answer.
        """
        if has_lifespan:
            world.app._core._backend.expect_drain()
        before = kept(world)
        world.clock.advance(gone)
        tiktok.answered = gate
        task = asyncio.ensure_future(ask())
        await anyio.to_thread.run_sync(gate.wait)
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        assert task.done() is has_lifespan
        waiter = asyncio.ensure_future(ask())
        await anyio.wait_all_tasks_blocked()
        assert waiter.done() is (gone == DUE)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        await waiter
        await self.stored(world, ask, before, gone)

    async def stored(self, world, ask, before, gone):
        app = world.app
        await app._core._backend.drain(20)
        after = kept(world)
        assert after.refresh_token != before.refresh_token
        world.clock.advance(2)
        assert after.access_token.reveal() in await ask()
        assert world.count("refresh_token") == 1
        # The lock was released, too: the next request can refresh at once.
        world.tiktok.answered = None
        world.clock.advance(gone)
        assert after.access_token.reveal() not in await ask()
        assert world.count("refresh_token") == 2
        await app.aclose()

    async def test_waiter(self, world, tiktok, ask, gate):
        """Cancelling a waiting request does not affect the others."""
        world.clock.advance(EXPIRED)
        tiktok.answered = gate
        answers = []

        async def lead():
            answers.append(await ask())

        async with anyio.create_task_group() as group:
            group.start_soon(lead)
            await anyio.to_thread.run_sync(gate.wait)
            async with anyio.create_task_group() as waiters:
                for _ in range(3):
                    waiters.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                waiters.cancel_scope.cancel()
            gate.open()
        assert kept(world).access_token.reveal() in answers[0]
        assert world.count("refresh_token") == 1
        await world.app.aclose()

    async def test_shutdown(self, world, tiktok, ask, gate):
        """The end of the lifespan waits for the refresh of a cancelled request."""
        before = kept(world)
        world.clock.advance(DUE)
        tiktok.answered = gate
        to_app, incoming = anyio.create_memory_object_stream(4)
        found = []

        async def send(message):
            if message["type"] == "lifespan.shutdown.complete":
                found.append(kept(world))

        scope = anyio.CancelScope()

        async def request():
            with scope:
                await ask()

        async def lifespan():
            await world.app({"type": "lifespan"}, incoming.receive, send)

        async with anyio.create_task_group() as group:
            group.start_soon(lifespan)
            await to_app.send({"type": "lifespan.startup"})
            async with anyio.create_task_group() as requests:
                requests.start_soon(request)
                await anyio.to_thread.run_sync(gate.wait)
                scope.cancel()
                threading.Timer(0.1, gate.open).start()
            # On Trio the request itself stays until then; servers wait for it.
            await to_app.send({"type": "lifespan.shutdown"})
        to_app.close()
        incoming.close()
        assert found[0].refresh_token != before.refresh_token
        assert world.count("refresh_token") == 1

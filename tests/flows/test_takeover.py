"""The process with the lock of a refresh is killed, stopped, or slow.

The tests use real processes and signals, and check the stand-in and the order of
events. Leases use real time, so these tests do not check how long a takeover takes:
`hardening.reliability takeover` measures that.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    RedisStore,
    SQLiteStore,
    StoreError,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._core.leases import LEASE_SECONDS
from tiktok_oauth_middleware.stores.swap_locks import SwapLock
from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.fake import ConnectionLost
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import ORIGIN, Clock, make_settings
from ..support.app_process import log_in, options_for
from ..support.patience import HANGS
from ..support.processes import context

LIFE = 7200


class DelayedRefresh(FakeTikTok):
    """A stand-in that stops the first refresh, before or after it is processed."""

    def hold(self, *, is_committed: bool = False, is_lost: bool = False) -> None:
        self.is_committed, self.is_lost = is_committed, is_lost
        self.arrived, self.go_on = threading.Event(), threading.Event()
        self.held_back = True

    held_back = False

    def handle(self, method, url, headers, body):
        if b"grant_type=refresh_token" not in body or not self.held_back:
            return super().handle(method, url, headers, body)
        self.held_back = False
        reply = None
        if self.is_committed:
            reply = super().handle(method, url, headers, body)
        self.arrived.set()
        assert self.go_on.wait(HANGS)
        if self.is_lost:
            raise ConnectionLost
        return reply or super().handle(method, url, headers, body)


def wsgi_app(environ, start_response):
    auth = environ["tiktok.auth"]
    token = auth.token
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps([auth.is_authenticated, token and token.access_token]).encode()]


async def asgi_app(scope, receive, send):
    token = scope["tiktok"].token
    body = json.dumps([scope["tiktok"].is_authenticated, token and token.access_token])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})


def open_store(url, clock):
    if url.startswith("redis"):
        return RedisStore(url)
    return SQLiteStore(url, clock=clock)


def wrap(options, url, clock, *, interface="wsgi", store=None):
    endpoints = TikTokEndpoints(**options["endpoints"])
    settings = make_settings(**{**options, "endpoints": endpoints})
    given = {"store": store or open_store(url, clock), "clock": clock}
    if interface == "wsgi":
        return TikTokOAuthWSGIMiddleware(wsgi_app, settings, **given)
    return TikTokOAuthMiddleware(asgi_app, settings, **given)


def holder(options, url, ahead, interface, cookie, answers):
    """Send one request, as the process that gets the lock."""

    def clock():
        return time.time() + ahead

    wrapped = wrap(options, url, clock, interface=interface)
    headers = {"cookie": cookie}

    async def ask():
        transport = httpx2.ASGITransport(wrapped)
        async with httpx2.AsyncClient(
            transport=transport, base_url=ORIGIN, headers=headers
        ) as client:
            return (await client.get("/", timeout=HANGS)).json()

    if interface == "asgi":
        answers.put(asyncio.run(ask()))
    else:
        with httpx2.Client(
            transport=httpx2.WSGITransport(wrapped), base_url=ORIGIN, headers=headers
        ) as client:
            answers.put(client.get("/").json())


class Scene:
    """A user whose token has expired, another process that refreshes it, and this
    process.
    """

    def __init__(self, url, interface, stand_in):
        self.fake = stand_in.fake
        # A minute, so that a slow machine does not miss a deadline.
        options = {**options_for(stand_in), "timeout": 60}
        self.ahead = 0.0
        self.store = open_store(url, self.clock)
        self.wrapped = wrap(options, url, self.clock, store=self.store)
        cookie = log_in(self.wrapped, self.fake)
        self.client = httpx2.Client(
            transport=httpx2.WSGITransport(self.wrapped),
            base_url=ORIGIN,
            headers={"cookie": cookie},
        )
        self.ahead = LIFE + 10.0
        self.answers = context.Queue()
        self.process = context.Process(
            target=holder,
            args=(options, url, self.ahead, interface, cookie, self.answers),
            daemon=True,
        )

    def clock(self):
        return time.time() + self.ahead

    def begin(self, **how):
        """Start the other process, and wait until it calls TikTok."""
        self.fake.hold(**how)
        self.process.start()
        assert self.fake.arrived.wait(HANGS)

    def send(self, number):
        os.kill(self.process.pid, number)

    def stop(self):
        """Stop the other process, but not during a write to its store.

        A process that is stopped during a write keeps the SQLite file locked for all
        others.
        """
        for number in range(1000):
            self.send(signal.SIGSTOP)
            try:
                assert self.store.compare_and_set(f"free{number}", None, b"1", 1)
            except StoreError:
                self.send(signal.SIGCONT)
            else:
                return
        pytest.fail("always writing")

    def ask(self):
        """Return whether this process's request is signed in, and its token."""
        response = self.client.get("/")
        assert response.status_code == 200
        return response.json()

    def token(self):
        """Wait until this process has a token, and return it."""
        give_up = time.monotonic() + HANGS
        while time.monotonic() < give_up:
            is_signed_in, token = self.ask()
            assert is_signed_in
            if token is not None:
                return token
        pytest.fail("nobody took over")

    def close(self):
        self.fake.go_on.set()
        if self.process.is_alive():
            self.process.kill()  # unlike os.kill, allows that it ends meanwhile
        self.process.join(HANGS)
        self.client.close()
        self.wrapped.close()
        self.store.close()


@pytest.fixture(params=["sqlite", "redis"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "tokens.sqlite3")
    return request.getfixturevalue("empty_redis")


@pytest.fixture(params=["wsgi", "asgi"])
def scene(request, url):
    fake = DelayedRefresh.for_settings(make_settings())
    fake.access_lifetime = LIFE
    with StandIn(fake) as stand_in:
        made = Scene(url, request.param, stand_in)
        try:
            yield made
        finally:
            made.close()


def test_killed(scene):
    """When the holder of a lock is killed, another process refreshes in its place."""
    scene.begin(is_lost=True)
    scene.send(signal.SIGKILL)
    scene.process.join(HANGS)
    assert scene.token() is not None
    assert scene.fake.count("token", grant_type="refresh_token") == 1


@pytest.mark.parametrize("grace", [0, 600], ids=["strict", "grace"])
def test_stopped_and_overtaken(scene, grace):
    """A holder that resumes after a takeover does not overwrite the new token."""
    scene.fake.grace = grace
    scene.begin()
    scene.stop()
    token = scene.token()
    scene.fake.go_on.set()
    scene.send(signal.SIGCONT)
    assert scene.answers.get(timeout=HANGS) == [True, token]
    scene.ahead += 2
    assert scene.ask() == [True, token]


def test_stopped_with_the_answer(scene):
    """A holder that resumes with the only valid answer writes it.

    TikTok refused the process that took over, which did not sign the user out.
    """
    scene.begin(is_committed=True)
    scene.stop()
    while scene.fake.count("token", grant_type="refresh_token") < 2:
        assert scene.ask() == [True, None]
    assert scene.ask() == [True, None]
    scene.fake.go_on.set()
    scene.send(signal.SIGCONT)
    is_signed_in, token = scene.answers.get(timeout=HANGS)
    assert is_signed_in
    assert token is not None
    scene.ahead += 2
    assert scene.ask() == [True, token]
    assert scene.fake.count("token", grant_type="refresh_token") == 2


# --- slow holders ------------------------------------------------------------------


class Renewals:
    """Counts the renewals of locks; a mixin of stores."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.renewed = threading.Semaphore(0)

    def compare_and_set(self, key, old, new, ttl):
        done = super().compare_and_set(key, old, new, ttl)
        if key.endswith(":lock") and old == new and done:
            self.renewed.release()
        return done


class InMemory(Renewals, MemoryStore):
    pass


class InSQLite(Renewals, SQLiteStore):
    pass


class InRedis(Renewals, RedisStore):
    pass


@pytest.fixture(params=["memory", "sqlite", "redis"])
def counting(request, tmp_path, clock):
    if request.param == "memory":
        store = InMemory(clock=clock)
    elif request.param == "sqlite":
        store = InSQLite(tmp_path / "tokens.sqlite3", clock=clock)
    else:
        store = InRedis(request.getfixturevalue("empty_redis"))
    yield store
    store.close()


def test_lock_is_renewed_in_a_blocked_loop(counting, clock):
    """A lock is renewed while TikTok is slow and the event loop is blocked.

    Four leases pass, by a clock that advances only after a renewal; no other process
    gets the lock, and TikTok is called once.
    """
    fake = DelayedRefresh.for_settings(make_settings(), clock=clock)
    fake.access_lifetime = LIFE
    settings = make_settings()
    others = []

    async def ask():
        app = TikTokOAuthMiddleware(
            asgi_app, settings, store=counting, clock=clock, transport=fake.transport
        )
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            await asyncio.to_thread(lambda: None)
            url = (await client.get("/auth/tiktok/login")).headers["location"]
            await client.get(fake.consent(url))
            clock.advance(LIFE + 10)
            fake.hold()
            asking = asyncio.ensure_future(client.get("/"))
            await asyncio.to_thread(fake.arrived.wait, HANGS)
            [key] = locked(counting)
            # From here the event loop is blocked.
            for _ in range(8):
                assert counting.renewed.acquire(timeout=HANGS)
                clock.advance(LEASE_SECONDS / 2)
                with SwapLock(counting, key, 1) as is_held:
                    others.append(is_held)
            fake.go_on.set()
            answer = (await asking).json()
        if isinstance(counting, RedisStore):
            await counting.aclose()
        await app.aclose()
        return answer

    is_signed_in, token = asyncio.run(ask())
    assert is_signed_in
    assert token is not None
    assert others == [False] * 8
    assert fake.count("token", grant_type="refresh_token") == 1


def locked(store):
    return [
        key.removesuffix(":lock") for key in store.keys("") if key.endswith(":lock")
    ]


def test_lock_is_renewed_under_wsgi(clock, tmp_path):
    """Under WSGI a lock is renewed while the request's thread waits for TikTok."""
    store = InSQLite(tmp_path / "tokens.sqlite3", clock=clock)
    settings = make_settings()
    fake = DelayedRefresh.for_settings(settings, clock=clock)
    fake.access_lifetime = LIFE
    options = {"store": store, "clock": clock, "transport": fake.transport}
    app = TikTokOAuthWSGIMiddleware(wsgi_app, settings, **options)
    with (
        httpx2.Client(transport=httpx2.WSGITransport(app), base_url=ORIGIN) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        login_as(client, fake)
        clock.advance(LIFE + 10)
        fake.hold()
        asking = threads.submit(client.get, "/")
        assert fake.arrived.wait(HANGS)
        [key] = locked(store)
        for _ in range(8):
            assert store.renewed.acquire(timeout=HANGS)
            clock.advance(LEASE_SECONDS / 2)
            with SwapLock(store, key, 1) as is_held:
                assert not is_held
        fake.go_on.set()
        assert asking.result(HANGS).json()[1] is not None
    assert fake.count("token", grant_type="refresh_token") == 1
    store.close()


def test_lock_lost_before_the_call(clock):
    """A process that lost the lock before its call to TikTok does not make the call."""
    settings = make_settings()
    fake = FakeTikTok.for_settings(settings, clock=clock)
    fake.access_lifetime = LIFE

    class Slow(MemoryStore):
        """A store that is slow to record an attempt, so that the lock expires."""

        is_slow = False

        def compare_and_set(self, key, old, new, ttl):
            if self.is_slow and ":attempt:" in key and new is not None:
                self.is_slow = False
                [row] = [name for name in self.keys("") if name.endswith(":lock")]
                clock.advance(LEASE_SECONDS + 1)
                assert super().compare_and_set(row, None, b"another", 60)
                watch.advance(LEASE_SECONDS + 1)
            return super().compare_and_set(key, old, new, ttl)

    store, watch = Slow(clock=clock), Clock()
    options = {"store": store, "clock": clock, "transport": fake.transport}
    app = TikTokOAuthWSGIMiddleware(wsgi_app, settings, **options)
    with (
        httpx2.Client(transport=httpx2.WSGITransport(app), base_url=ORIGIN) as client,
        pytest.MonkeyPatch.context() as patched,
    ):
        login_as(client, fake)
        clock.advance(LIFE - 100)
        store.is_slow = True
        patched.setattr(
            "tiktok_oauth_middleware._session.refresh_lock.time.monotonic", watch
        )
        assert client.get("/").json()[0] is True
        assert fake.count("token", grant_type="refresh_token") == 0
        # A note of this attempt would say that TikTok may have been asked.
        assert [key for key in store.keys("") if ":attempt:" in key] == []

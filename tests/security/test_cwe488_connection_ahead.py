"""A connection opened ahead is used by one login, and only if no data arrived on it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx2
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._oauth import ahead, http_clients
from tiktok_oauth_middleware.errors import TikTokUnavailable

from ..conftest import (
    API,
    LOGIN,
    ORIGIN,
    PAGE,
    flask_app,
    make_settings,
    query_of,
    starlette_app,
)
from ..support.faulty_tiktok import IDLE_FAULTS, REQUEST_FAULTS, FaultyTikTok
from ..support.patience import HANGS
from .one_login import (
    AWAY,
    ENDLESS,
    OF_EXCHANGES,
    RIGHT,
    SHORT,
    TIMEOUT,
    WORLDS,
    client_of,
    closing,
    in_world,
    log_in,
    serve,
    server,
    trusted,
    world,
)

__all__ = ["serve", "server", "trusted", "world"]

#: The faults before a request that end the connection or make it unusable.
USELESS = [fault for fault in IDLE_FAULTS if fault not in ("", "silent")]


async def until(client, condition):
    """Wait for a condition without blocking the event loop."""
    give_up = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < give_up
        await client._backend.sleep(0.002)


async def opened_ahead(client, server, fault="", tickets=0):
    """Open a connection ahead; return when its fault has reached the client."""
    server.idle_faults = [fault]
    # Without session tickets, a socket is readable only after the server closed it.
    # With them, a login that takes the connection just as they arrive closes it.
    server._tls.num_tickets = tickets
    await client.http.get()
    waiting, settled, unasked = (
        client.http.ahead,
        server.settled + 1,
        server.unasked + 1,
    )
    client.http.connect_ahead()
    if fault.startswith("unasked"):
        await until(client, lambda: server.unasked >= unasked)
    else:
        await until(client, lambda: server.settled >= settled)

    def is_closed():
        stream = getattr(waiting, "_stream", None)
        return stream is not None and stream.get_extra_info("is_readable")

    if "idle" in fault:
        await until(client, lambda: not waiting._is_under_way or is_closed())
    else:
        await until(client, lambda: waiting.is_ready or not waiting._is_under_way)


def use(server, world, work, **options):
    client = client_of(server, world, **options)
    return in_world(world, closing, client, lambda: work(client))


class TestUse:
    def test_by_a_login(self, server, world):
        """A login uses the waiting connection, and opens none.

        The session ticket that has arrived on it does not matter.
        """

        async def work(client):
            await opened_ahead(client, server, tickets=1)
            if not client._backend.is_blocking:
                tls = client.http.ahead._waiting.stream.get_extra_info("ssl_object")
                await until(client, lambda: tls.session.has_ticket)
            assert server.accepted == 1
            found = await log_in(client, "alice-1")
            await until(client, lambda: server.alive == 0)
            return found

        assert use(server, world, work) == RIGHT
        assert server.connections() == [1, 1]
        assert server.accepted == 1

    def test_by_one_login(self, server, world):
        """Two logins do not share a connection: the second opens its own."""

        async def work(client):
            await opened_ahead(client, server)
            return [await log_in(client, "alice-1"), await log_in(client, "bob-1")]

        assert use(server, world, work) == [RIGHT, ("bob", "name of bob")]
        assert server.connections() == [1, 1, 2, 2]

    def test_not_by_a_refresh(self, server, world):
        """A refresh opens its own connection, and leaves the waiting one to a login."""

        async def work(client):
            await opened_ahead(client, server)
            await client.refresh("rft.bob-1")
            return await log_in(client, "alice-1")

        assert use(server, world, work) == RIGHT
        assert server.connections() == [2, 1, 1]

    def test_session_tickets(self, serve, world):
        """Any number of TLS 1.3 session tickets does not count as data."""
        server = serve()

        async def work(client):
            await client.http.get()
            server._tls.num_tickets = 8
            client.http.connect_ahead()
            await until(client, lambda: server.settled and client.http.ahead.is_ready)
            return await log_in(client, "alice-1")

        assert use(server, world, work) == RIGHT
        assert server.accepted == 1

    def test_nothing_before_the_client_exists(self, server, world):
        """Before the first call to TikTok, no connection is opened and no library
        loaded.
        """

        async def work(client):
            client.http.connect_ahead()
            assert client.http.ahead is None

        use(server, world, work)
        assert server.accepted == 0

    def test_option(self, server, world):
        """With connect_ahead=False no connection is opened ahead."""

        async def work(client):
            await client.http.get()
            client.http.connect_ahead()
            return await log_in(client, "alice-1")

        assert use(server, world, work, connect_ahead=False) == RIGHT
        assert server.accepted == 1
        assert server.most_alive == 1

    @pytest.mark.parametrize("module", ["uwsgi", "gevent", "eventlet"])
    def test_servers_without_threads(self, server, monkeypatch, module):
        """On servers where threads may not run between requests, none is opened."""
        monkeypatch.setitem(sys.modules, module, object())

        async def work(client):
            await client.http.get()
            client.http.connect_ahead()
            return await log_in(client, "alice-1")

        assert use(server, "threads", work) == RIGHT
        assert server.accepted == 1

    @pytest.mark.parametrize("module", ["uwsgi", "gevent", "eventlet"])
    def test_no_test_module_imports_them(self, module):
        """The process of the tests has none of them, so that others open connections."""
        assert module not in sys.modules


class TestBounds:
    def test_one_at_a_time(self, server, world):
        """200 logins that begin at once open one connection."""

        async def work(client):
            await opened_ahead(client, server)
            client.http.ahead.now = lambda: 1e9  # the pause is over
            for _ in range(200):
                client.http.connect_ahead()
            return await log_in(client, "alice-1")

        assert use(server, world, work) == RIGHT
        assert server.accepted == 1

    def test_pause(self, server, world):
        """The next connection is opened after a pause."""

        async def work(client):
            await client.http.get()
            now = [1000.0]
            client.http.ahead.now = lambda: now[0]
            await opened_ahead(client, server)
            await log_in(client, "alice-1")
            before = server.accepted
            await until(client, lambda: not client.http.ahead._is_under_way)
            now[0] += ahead.PAUSE - 0.1
            client.http.connect_ahead()
            assert not client.http.ahead._is_under_way
            now[0] += 0.1
            client.http.connect_ahead()
            await until(client, lambda: client.http.ahead.is_ready)
            assert server.accepted == before + 1

        use(server, world, work)

    def test_lifetime(self, server, world, monkeypatch):
        """A connection is closed after a while, and a later login opens its own."""
        monkeypatch.setattr(ahead, "LIFETIME", 0.01)
        monkeypatch.setattr(ahead, "SHORTEST", 0)

        async def work(client):
            await client.http.get()
            client.http.connect_ahead()
            await until(client, lambda: server.accepted == 1 and server.alive == 0)
            return await log_in(client, "alice-1")

        assert use(server, world, work) == RIGHT
        assert server.connections() == [2, 2]

    def test_closed_with_the_client(self, server, world):
        """Closing the client closes the connection, and its thread ends."""

        async def work(client):
            await opened_ahead(client, server)
            await client.aclose()
            await until(client, lambda: server.alive == 0)

        use(server, world, work)
        server.wait_until(
            lambda: "tiktok-background" not in {t.name for t in threading.enumerate()}
        )


class TestServerThatClosesIdleConnections:
    """From the first connection that it closed, the process learns how long one may
    wait.
    """

    @pytest.mark.parametrize("fault", ["close idle", "reset idle", "unasked"])
    def test_next_one_waits_half_as_long(self, server, world, fault, monkeypatch):
        """Once the server has closed a connection after a time, or sent data on it, the
        next one is closed after half that time.
        """
        monkeypatch.setattr(ahead, "LIFETIME", 10.0 * HANGS)
        monkeypatch.setattr(ahead, "CHECK_EVERY", 0.01)
        monkeypatch.setattr(ahead, "SHORTEST", 0)
        server.idle_faults = [fault]
        server.released.clear()

        async def work(client):
            await client.http.get()
            now, waiting = [1000.0], client.http.ahead
            waiting.now = lambda: now[0]
            client.http.connect_ahead()
            await until(client, lambda: waiting.is_ready)
            now[0] += 0.25
            server.released.set()
            await until(client, lambda: not waiting._is_under_way)
            assert waiting._lifetime == 0.125
            now[0] += ahead.PAUSE
            client.http.connect_ahead()
            await until(client, lambda: server.accepted == 2 and server.alive == 0)
            assert waiting._lifetime == 0.125
            return await log_in(client, "alice-1")

        assert use(server, world, work) == RIGHT
        assert server.connections() == [3, 3]

    def test_login_finds_it_closed(self, server, monkeypatch):
        """A login in a thread that finds the connection closed notes its age, too."""
        monkeypatch.setattr(ahead, "CHECK_EVERY", ahead.LIFETIME)

        async def work(client):
            await client.http.get()
            client.http.ahead.now = lambda: 1000.0
            await opened_ahead(client, server, "close idle")
            client.http.ahead.now = lambda: 1008.0
            found = await log_in(client, "alice-1")
            assert client.http.ahead._lifetime == 4
            return found

        assert use(server, "threads", work) == RIGHT
        assert server.connections() == [2, 2]

    def test_at_once(self, server, world):
        """If the server closes a connection at once, none is opened for a day."""

        async def work(client):
            await client.http.get()
            now, waiting = [1000.0], client.http.ahead
            waiting.now = lambda: now[0]
            await opened_ahead(client, server, "close idle")
            await log_in(client, "alice-1")
            await until(client, lambda: not waiting._is_under_way)
            now[0] += ahead.FORGOTTEN_AFTER - 0.1
            assert not waiting.may_begin()
            now[0] += 0.1
            before = server.accepted
            client.http.connect_ahead()
            await until(client, lambda: waiting.is_ready)
            assert server.accepted == before + 1

        use(server, world, work)

    def test_longer_time_later(self, server, world):
        """A time that was longer does not lengthen what is known."""

        async def work(client):
            await client.http.get()
            waiting = client.http.ahead
            for seconds, lifetime in ((20, 10), (4, 2), (6, 2)):
                waiting._ended_by_server(seconds)
                assert waiting._lifetime == lifetime
            assert waiting.may_begin()

        use(server, world, work)


@pytest.mark.parametrize("fault", USELESS)
def test_useless_connection(server, world, fault):
    """A connection on which data arrived is not used, and the right user is signed in.

    An unrequested answer may belong to another user.
    """

    async def work(client):
        await opened_ahead(client, server, fault)
        return await log_in(client, "alice-1")

    assert use(server, world, work) == RIGHT
    assert server.connections() == [2, 2]
    assert server.times("alice-1") == 1


def test_silent_handshake(server, world):
    """A login does not wait for a connection whose handshake does not end."""
    server.idle_faults = ["silent"]

    async def work(client):
        await client.http.get()
        client.http.connect_ahead()
        await until(client, lambda: server.accepted == 1)
        return await log_in(client, "alice-1")

    assert use(server, world, work) == RIGHT
    assert server.connections() == [2, 2]


def test_unreachable(trusted, world, monkeypatch):
    """If TikTok cannot be reached, opening ahead is tried once and fails silently."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    endpoints = TikTokEndpoints(token=f"https://127.0.0.1:{port}/v2/oauth/token/")

    class Nowhere:
        pass

    nowhere = Nowhere()
    nowhere.endpoints = endpoints

    async def work(client):
        await client.http.get()
        client.http.connect_ahead()
        await until(client, lambda: not client.http.ahead._is_under_way)
        client.http.connect_ahead()
        assert not client.http.ahead._is_under_way
        return await log_in(client, "alice-1")

    assert use(nowhere, world, work) == AWAY


@pytest.mark.parametrize("fault", OF_EXCHANGES)
def test_faulty_exchange(server, world, fault):
    """Each fault of an exchange has the same result on a connection opened ahead."""
    server.request_faults = [fault]
    means, most = OF_EXCHANGES[fault]

    async def work(client):
        await opened_ahead(client, server)
        return await log_in(client, "alice-1")

    seconds = SHORT if fault in ENDLESS else TIMEOUT
    assert use(server, world, work, timeout=seconds) in means
    assert server.times("alice-1") == 1
    assert server.accepted <= most


STEP = st.fixed_dictionaries(
    {
        "users": st.lists(
            st.sampled_from(["alice", "bob"]), min_size=1, max_size=2, unique=True
        ),
        #: The fault of the connection opened ahead; None if none is opened.
        "ahead": st.sampled_from([None, "", *USELESS]),
        "refresh": st.booleans(),
        #: The faults of connections that are opened for a call. On these, an
        #: unrequested answer cannot be recognized.
        "idle": st.lists(st.sampled_from(["", "close idle", "no tls"]), max_size=2),
        "asked": st.lists(
            st.sampled_from([f for f in REQUEST_FAULTS if f not in ENDLESS]),
            max_size=3,
        ),
    }
)


@pytest.mark.parametrize("world", WORLDS)
@given(steps=st.lists(STEP, min_size=1, max_size=4))
@hypothesis_settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_sequences_of_faults(trusted, monkeypatch, world, steps):
    """In any sequence of faults, users get their own answers or an error.

    A code or a refresh token is sent at most once, and after the faults a login works.
    """
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setattr(http_clients, "_CONNECT_SECONDS", TIMEOUT)
    server = FaultyTikTok(trusted)

    async def one(client, user, number, refreshes):
        """Return the open_id and the name that a user's login or refresh gave."""
        if refreshes:
            try:
                found = await client.refresh(f"rft.{user}-{number}")
            except TikTokUnavailable:
                return None, None
            return found.open_id, None
        open_id, name = await log_in(client, f"{user}-{number}")
        return (None if open_id.startswith("TikTok") else open_id), name

    async def work(client):
        await client.http.get()
        for number, step in enumerate(steps):
            if step["ahead"] is not None:
                await client.http.ahead.aclose()
                await until(client, lambda: not client.http.ahead._is_under_way)
                client.http.ahead._may_open_at = 0.0
                client.http.ahead._lifetime = ahead.LIFETIME
                await opened_ahead(client, server, step["ahead"])
            server.idle_faults = [*step["idle"]]
            server.request_faults = [*step["asked"]]
            found = await all_at_once(
                client,
                [
                    (one, client, user, number, step["refresh"])
                    for user in step["users"]
                ],
            )
            for user, (open_id, name) in zip(step["users"], found, strict=True):
                assert open_id in (user, None)
                assert name in (f"name of {user}", None)
                assert server.times(f"{user}-{number}") <= 1
                assert server.times(f"rft.{user}-{number}") <= 1
        server.idle_faults, server.request_faults = [], []
        assert await one(client, "carol", 99, False) == ("carol", "name of carol")

    try:
        use(server, world, work)
    finally:
        server.close()


async def all_at_once(client, calls):
    """Return the results of coroutine functions that run at the same time."""
    if client._backend.is_blocking:
        with ThreadPoolExecutor(len(calls)) as pool:
            waiting = [pool.submit(lambda c=c: run(c[0](*c[1:]))) for c in calls]
            return [each.result() for each in waiting]
    found = [None] * len(calls)

    async def keep(place, call, *args):
        found[place] = await call(*args)

    async with anyio.create_task_group() as group:
        for place, call in enumerate(calls):
            group.start_soon(keep, place, *call)
    return found


class TestMiddleware:
    """With the whole middleware: the redirect to TikTok opens a connection."""

    def test_wsgi(self, server):
        """The second login of a process finds a connection that its redirect opened."""
        app = TikTokOAuthWSGIMiddleware(
            flask_app().wsgi_app,
            make_settings(endpoints=server.endpoints, timeout=TIMEOUT),
            store=MemoryStore(),
        )

        def names(code, before_the_callback):
            transport = httpx2.WSGITransport(app)
            with httpx2.Client(transport=transport, base_url=ORIGIN) as browser:
                url = browser.get(LOGIN, headers=PAGE).headers["location"]
                before_the_callback()
                back = (
                    f"/auth/tiktok/callback?code={code}&state={query_of(url)['state']}"
                )
                browser.get(back, headers=PAGE)
                return browser.get("/who", headers=API).json()["name"]

        assert names("alice-1", lambda: None) == "name of alice"
        client = run(app._core.service.client())

        def wait():
            # With the session tickets of TLS, which the server sends after that.
            server.wait_until(
                lambda: server.settled == 2 and client.http.ahead.is_ready
            )

        assert names("bob-1", wait) == "name of bob"
        assert server.connections() == [1, 1, 2, 2]
        assert server.accepted == 2
        app.close()
        server.wait_until(lambda: server.alive == 0)

    @pytest.mark.parametrize("path", [LOGIN, "/private"])
    @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
    async def test_asgi(self, server, anyio_backend, path):
        """With a lifespan the first login finds a connection, also if a guard began the
        login.
        """
        app = TikTokOAuthMiddleware(
            starlette_app(),
            make_settings(endpoints=server.endpoints, timeout=TIMEOUT),
            store=MemoryStore(),
        )
        client = await app._core.service.client()
        await client.http.get()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as browser:
            response = await browser.get(path, headers=PAGE)
            url = response.headers["location"]
            if "state=" not in url:
                response = await browser.get(url, headers=PAGE)
                url = response.headers["location"]
            # Session tickets that came just as the login takes the connection would be
            # taken for data: another one would be opened, which is slower, but safe.
            await until(client, lambda: server.settled and client.http.ahead.is_ready)
            assert server.accepted == 1
            back = f"/auth/tiktok/callback?code=alice-1&state={query_of(url)['state']}"
            await browser.get(back, headers=PAGE)
            me = (await browser.get("/who", headers=API)).json()
        assert me["name"] == "name of alice"
        assert server.connections() == [1, 1]
        assert server.accepted == 1
        await app.aclose()


# Other threads may be running: from Python 3.12 on, fork() warns of them.
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_worker(server):
    """A forked worker does not use its parent's connection, and does not end it."""
    client = client_of(server, "threads")
    run(opened_ahead(client, server))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            waits = client.http.ahead.is_ready
            status = 2 if waits or run(log_in(client, "bob-1"))[0] != "bob" else 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run(log_in(client, "alice-1")) == RIGHT
    run(client.aclose())
    assert server.connections() == [2, 2, 1, 1]


SCRIPT = """
    import asyncio, sys, threading, time
    from tests.security.test_cwe488_connections import client_of, in_world
    from tiktok_oauth_middleware import TikTokEndpoints
    from tiktok_oauth_middleware._oauth import http_clients

    http_clients._CONNECT_SECONDS = 30  # a handshake on a busy machine

    class Server:
        endpoints = TikTokEndpoints(token=sys.argv[1])

    client = client_of(Server, sys.argv[2])

    async def work():
        await client.http.get()
        client.http.connect_ahead()
        while not client.http.ahead.is_ready:
            await client._backend.sleep(0.005)

    in_world(sys.argv[2], work)
    print("ready")
"""


def test_end_of_the_process(server, world):
    """A process that ends while a connection waits ends at once, without a warning."""
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "error::ResourceWarning",
            "-c",
            textwrap.dedent(SCRIPT),
            server.endpoints.token,
            world,
        ],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr
    assert "ResourceWarning" not in done.stderr
    assert "Exception" not in done.stderr
    assert "destroyed" not in done.stderr
    server.wait_until(lambda: server.alive == 0)


class Proxy:
    """A proxy that tunnels each CONNECT, and records its target."""

    def __init__(self):
        self.asked = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def _serve(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(peer,), daemon=True).start()

    def _tunnel(self, peer):
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        target = head.split()[1].decode()
        self.asked.append(target)
        far = socket.create_connection(("127.0.0.1", int(target.partition(":")[2])))
        peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=self._copy, args=(far, peer), daemon=True)
        back.start()
        self._copy(peer, far)
        back.join()
        peer.close()
        far.close()

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.mark.parametrize("fault", ["", "two answers", "close", "stranger's profile"])
def test_proxy(server, world, monkeypatch, fault):
    """Behind a proxy each call has its own tunnel, and none is opened ahead."""
    proxy = Proxy()
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.request_faults = [fault]

    async def work(client):
        await client.http.get()
        client.http.connect_ahead()
        return await log_in(client, "alice-1")

    try:
        found = use(server, world, work)
    finally:
        proxy.close()
    assert found == (AWAY if fault == "close" else RIGHT)
    assert server.connections() == ([1] if fault == "close" else [1, 2])
    assert len(proxy.asked) == server.accepted


class Unclosable:
    """A connection on which data arrives, and whose closing fails."""

    def get_extra_info(self, _):
        return self

    def settimeout(self, _): ...

    def recv(self, _):
        return b"data"

    async def read(self, _):
        return b"data"

    def close(self):
        raise OSError

    async def aclose(self):
        raise OSError


def test_closing_fails_in_a_thread(monkeypatch):
    """A connection whose closing fails prevents neither a login nor the next one."""
    monkeypatch.setattr(ahead, "PAUSE", 0)
    monkeypatch.setattr(ahead, "CHECK_EVERY", 0)
    opened = ahead.BlockingAhead(None, Unclosable)
    assert opened.may_begin()
    run(opened.run())
    monkeypatch.setattr(opened, "_lifetime", ahead.LIFETIME)
    assert opened.may_begin()
    opened._stream = Unclosable()
    assert opened.take() is None
    opened._stream = Unclosable()
    opened.after_fork()


def test_closed_inside_a_call():
    """A signal's handler can close the client inside a call of the same thread."""
    opened = ahead.BlockingAhead(None, Unclosable)

    def close_inside():
        with opened._lock:
            run(opened.aclose())

    thread = threading.Thread(target=close_inside, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive()


async def test_closing_fails_in_an_event_loop(monkeypatch):
    """It does not end Trio either, as an exception in the background would."""
    monkeypatch.setattr(ahead, "PAUSE", 0)

    async def open_stream():
        return Unclosable()

    opened = ahead.AsyncAhead(None, open_stream)
    assert opened.may_begin()
    await opened.run()
    monkeypatch.setattr(opened, "_lifetime", ahead.LIFETIME)
    assert opened.may_begin()

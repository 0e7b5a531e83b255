"""Connections to TikTok over TLS: one for each login, and no user gets another's answer."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthWSGIMiddleware
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware.errors import TikTokUnavailable

from ..conftest import API, LOGIN, ORIGIN, PAGE, flask_app, make_settings, query_of
from .one_login import (
    ENDLESS,
    NAMELESS,
    OF_EXCHANGES,
    RIGHT,
    SHORT,
    TIMEOUT,
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


def one_login(server, world, **options):
    client = client_of(server, world, **options)
    return in_world(world, closing, client, lambda: log_in(client, "alice-1"))


class TestOneLogin:
    def test_one_connection(self, server, world):
        """The exchange and the profile of a login use one connection, which is then
        closed.
        """
        assert one_login(server, world) == ("alice", "name of alice")
        assert server.connections() == [1, 1]
        assert server.accepted == 1
        server.wait_until(lambda: server.alive == 0)

    def test_no_second_login(self, server, world):
        """The next login of the same process uses a new connection."""
        client = client_of(server, world)

        async def two():
            return [await log_in(client, "alice-1"), await log_in(client, "bob-1")]

        assert in_world(world, closing, client, two) == [
            ("alice", "name of alice"),
            ("bob", "name of bob"),
        ]
        assert server.connections() == [1, 1, 2, 2]

    def test_without_profile(self, server, world):
        """If no profile is requested, the connection is closed after the exchange."""
        client = client_of(server, world, fetch_user=False)

        async def exchange():
            async with client.for_one_login() as one:
                await one.exchange("alice-1", "the-verifier")
                # The request announces it, so that the server closes the connection,
                # too.
                await client._backend.offload(
                    server.wait_until, lambda: server.alive == 0
                )

        in_world(world, closing, client, exchange)

    def test_alpn(self, serve, world):
        """A server that prefers HTTP/2 is offered HTTP/1.1 only, and answers in that."""
        server = serve(alpn=("h2", "http/1.1"))
        assert one_login(server, world) == ("alice", "name of alice")
        assert server.accepted == 1

    def test_refresh(self, server, world):
        """Each refresh uses a new connection."""
        client = client_of(server, world)

        async def twice():
            return [
                (await client.refresh("rft.alice-1")).open_id,
                (await client.refresh("rft.bob-1")).open_id,
            ]

        assert in_world(world, closing, client, twice) == ["alice", "bob"]
        assert server.connections() == [1, 2]

    def test_second_secret(self, server, world, monkeypatch):
        """An exchange with the previous secret uses another connection."""
        refused = {"error": "invalid_client", "error_description": "no"}
        monkeypatch.setattr(
            "tests.support.faulty_tiktok.tokens", lambda user: dict(refused)
        )
        client = client_of(server, world, previous_client_secret="p" * 32)
        found = in_world(world, closing, client, lambda: log_in(client, "alice-1"))
        assert found == ("TikTokError", None)
        assert server.connections() == [1, 2]


@pytest.mark.parametrize("fault", OF_EXCHANGES)
def test_faulty_exchange(server, world, fault):
    """After each fault the right user or none is signed in, and the code was
    sent once.
    """
    server.request_faults = [fault]
    means, most = OF_EXCHANGES[fault]
    seconds = SHORT if fault in ENDLESS else TIMEOUT
    assert one_login(server, world, timeout=seconds) in means
    assert server.times("alice-1") == 1
    assert server.accepted <= most
    server.wait_until(lambda: server.alive == 0)


@pytest.mark.parametrize(
    ("fault", "times"),
    [("close", 2), ("reset", 2), ("half", 1), ("hang", 1), ("drip", 1)],
)
def test_faulty_profile(server, world, fault, times):
    """A profile is requested again if its connection ended without a byte, else not."""
    server.request_faults = ["", fault]
    seconds = SHORT if fault in ENDLESS else TIMEOUT
    found = one_login(server, world, timeout=seconds)
    assert found == (RIGHT if times == 2 else NAMELESS)
    assert server.times("alice-1") == 1
    assert server.times("act.alice-1") == times


@pytest.mark.parametrize("fault", ["close", "reset", "half", "hang"])
def test_faulty_refresh(server, world, fault):
    """A refresh token is sent once, whatever happens to the answer."""
    server.request_faults = [fault]
    client = client_of(server, world, timeout=SHORT if fault == "hang" else TIMEOUT)

    async def refresh():
        with pytest.raises(TikTokUnavailable):
            await client.refresh("rft.alice-1")

    in_world(world, closing, client, refresh)
    assert server.times("rft.alice-1") == 1


def test_threads(server):
    """Logins in 8 threads of one client: each has its own connection and answers."""
    client = client_of(server, "threads")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            codes = [f"u{number}-1" for number in range(80)]
            found = list(pool.map(lambda code: run(log_in(client, code)), codes))
    finally:
        sys.setswitchinterval(interval)
        run(client.aclose())
    assert found == [(f"u{number}", f"name of u{number}") for number in range(80)]
    assert server.accepted == 80
    assert all(
        len({seen.connection for seen in server.requests if user in seen.secret}) == 1
        for user in ("u7-", "u50-")
    )


# Other threads may be running: from Python 3.12 on, fork() warns of them.
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_workers(server):
    """A worker that is forked after a login uses a new connection for its login."""
    app = TikTokOAuthWSGIMiddleware(
        flask_app().wsgi_app,
        make_settings(endpoints=server.endpoints, timeout=TIMEOUT, connect_ahead=False),
        store=MemoryStore(),
    )

    def name_after_login(code):
        transport = httpx2.WSGITransport(app)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as browser:
            url = browser.get(LOGIN, headers=PAGE).headers["location"]
            state = query_of(url)["state"]
            back = f"/auth/tiktok/callback?code={code}&state={state}"
            browser.get(back, headers=PAGE)
            return browser.get("/who", headers=API).json()["name"]

    assert name_after_login("alice-1") == "name of alice"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if name_after_login("bob-1") == "name of bob" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, signal.SIGABRT
    assert name_after_login("carol-1") == "name of carol"
    app.close()
    assert server.connections() == [1, 1, 2, 2, 3, 3]

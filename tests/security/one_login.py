"""Logins over real connections to a faulty TikTok, in threads and in event loops."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import trio

from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth import http_clients, user_info
from tiktok_oauth_middleware._oauth.client import TikTokClient
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware.errors import TikTokError

from ..conftest import make_settings
from ..support.certificates import certificate
from ..support.faulty_tiktok import FaultyTikTok

WORLDS = ("threads", "asyncio", "trio")
#: Long enough for every answer; without an answer the tests wait for all of it.
TIMEOUT, SHORT = 30.0, 1.0
ENDLESS = ("hang", "drip")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1", "localhost")


@pytest.fixture
def serve(trusted, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    # On a busy machine a handshake between two threads may take longer than three
    # seconds; the connection would then be given up, and another one be opened.
    monkeypatch.setattr(http_clients, "_CONNECT_SECONDS", TIMEOUT)
    with contextlib.ExitStack() as stack:

        def start(**options):
            server = FaultyTikTok(trusted, **options)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture(params=WORLDS)
def world(request):
    return request.param


def client_of(server, world, **options):
    backend = ThreadBackend() if world == "threads" else AsyncBackend()
    given = {"endpoints": server.endpoints, "timeout": TIMEOUT, **options}
    return TikTokClient(make_settings(**given), backend)


def in_world(world, work, *args):
    """Return the result of a coroutine function, run as middlewares run a flow."""
    if world == "threads":
        return run(work(*args))
    if world == "trio":
        return trio.run(work, *args)
    return asyncio.run(work(*args))


async def log_in(client, code):
    """Return the open_id and the name that a login gives, or its error."""
    async with client.for_one_login() as one:
        try:
            tokens = await one.exchange(code, "the-verifier")
        except TikTokError as error:
            return type(error).__name__, None
        assert tokens.access_token.reveal() == f"act.{tokens.open_id}-1"
        try:
            packed = await one.profile(
                tokens.access_token.reveal(),
                tokens.open_id,
                user_info.FIELDS["user.info.basic"],
            )
        except TikTokError:
            return tokens.open_id, None
        found = read_profile(tokens.open_id, packed)
        return tokens.open_id, found.display_name


async def closing(client, work):
    try:
        return await work()
    finally:
        await client.aclose()


#: The result of a login with a fault in its exchange (the right user with or without a
#: profile, or an error), and the number of connections.
RIGHT, NAMELESS = ("alice", "name of alice"), ("alice", None)
AWAY = ("TikTokUnavailable", None)
OF_EXCHANGES = {
    "two answers": ({NAMELESS}, 1),
    "two answers, apart": ({RIGHT, NAMELESS}, 2),
    "stranger's profile": ({NAMELESS}, 1),
    "close": ({AWAY}, 1),
    "reset": ({AWAY}, 1),
    "half": ({AWAY}, 1),
    "hang": ({AWAY}, 1),
    "drip": ({AWAY}, 1),
    "close after answer": ({RIGHT}, 2),
    "say close": ({RIGHT}, 2),
    "early hints": ({RIGHT}, 1),
    "http/1.0": ({RIGHT}, 2),
}

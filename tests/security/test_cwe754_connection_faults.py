"""Faults of the connection to TikTok, over real sockets: each leads to "try again
later".
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
import tracemalloc

import pytest

from tiktok_oauth_middleware import MemoryStore
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth.answer_limits import ANSWER_LIMIT
from tiktok_oauth_middleware._oauth.client import TikTokClient

from ..conftest import make_settings
from ..support.patience import HANGS
from .scripted_tiktok import ScriptedTikTok, answer, drip, reset, says, silent
from .tiktok_faults import (
    AWAY,
    CALLS,
    DEAD,
    ENDPOINT,
    ERROR,
    FLOWS,
    GOOD,
    LIFE,
    OK,
    OPEN_ID,
    alike,
    error,
)

#: Seconds: for answers that come, however busy the machine, and for missing ones.
TIMEOUT, SHORT = 30.0, 1.0


TEN_MEGABYTES = gzip.compress(b" " * 10 * 1024 * 1024)
GOOD_TOKEN = GOOD["exchange"]
GOOD_ANYWHERE = json.dumps(
    {**json.loads(GOOD_TOKEN), **json.loads(GOOD["profile"])}
).encode()
#: Each fault on the wire, and its meaning for all calls or for certain calls.
WIRE = {
    "closed without an answer": (says(), alike(AWAY)),
    "reset without an answer": (reset(), alike(AWAY)),
    "half a head": (says(b"HTTP/1.1 200 OK\r\nContent-Le"), alike(AWAY)),
    "a head and nothing else": (says(answer(b"", length=100)), alike(AWAY)),
    "half a body, then the end": (
        says(answer(GOOD_TOKEN[:50], length=200)),
        alike(AWAY),
    ),
    "half a body, then a reset": (
        reset(answer(GOOD_TOKEN[:50], length=200)),
        alike(AWAY),
    ),
    "half a body, without a length": (
        says(answer(GOOD_TOKEN[:50], length="none")),
        alike(AWAY),
    ),
    "a length that is too long": (
        says(answer(GOOD_ANYWHERE, length=9999)),
        alike(AWAY),
    ),
    "a length that is too short": (says(answer(GOOD_ANYWHERE, length=20)), alike(AWAY)),
    "a length that is none": (says(answer(GOOD_ANYWHERE, length="x")), alike(AWAY)),
    "a negative length": (says(answer(GOOD_ANYWHERE, length=-1)), alike(AWAY)),
    "two lengths": (
        says(answer(GOOD_ANYWHERE, "200 OK", "Content-Length: 3")),
        alike(AWAY),
    ),
    "chunks that are none": (
        says(
            answer(
                b"ZZ\r\n{}\r\n", "200 OK", "Transfer-Encoding: chunked", length="none"
            )
        ),
        alike(AWAY),
    ),
    "chunks without an end": (
        says(
            answer(
                b"2\r\n{}\r\n", "200 OK", "Transfer-Encoding: chunked", length="none"
            )
        ),
        alike(AWAY),
    ),
    "a chunk of a size beyond all": (
        says(
            answer(
                b"f" * 40 + b"\r\n",
                "200 OK",
                "Transfer-Encoding: chunked",
                length="none",
            )
        ),
        alike(AWAY),
    ),
    "no HTTP at all": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), alike(AWAY)),
    "random bytes": (says(bytes(range(256)) * 4), alike(AWAY)),
    "another version of HTTP": (
        says(b"HTTP/9.9 200 OK\r\n\r\n"),
        alike(AWAY, revoke=OK),
    ),
    "a status that is none": (says(b"HTTP/1.1 2OO OK\r\n\r\n"), alike(AWAY)),
    "a status of 1,000": (says(b"HTTP/1.1 1000 OK\r\n\r\n"), alike(AWAY)),
    "a NUL in a header": (
        says(answer(GOOD_ANYWHERE, "200 OK", "X: a\x00b")),
        alike(AWAY),
    ),
    "200 kB of headers": (
        says(
            answer(
                GOOD_ANYWHERE, "200 OK", *[f"X-{i}: {'x' * 1000}" for i in range(200)]
            )
        ),
        alike(AWAY),
    ),
    "more than 1 MB, in chunks": (
        says(
            answer(b"", "200 OK", "Transfer-Encoding: chunked", length="none"),
            *[b"10000\r\n" + b" " * 65536 + b"\r\n"] * (ANSWER_LIMIT // 65536 + 1),
            b"0\r\n\r\n",
        ),
        alike(AWAY),
    ),
    "a bomb of 10 MB": (
        says(answer(TEN_MEGABYTES, "200 OK", "Content-Encoding: gzip")),
        alike(AWAY),
    ),
    "a bomb with an odd name": (
        says(answer(TEN_MEGABYTES, "200 OK", "Content-Encoding: GZip , identity")),
        alike(AWAY),
    ),
    "a success that is compressed": (
        says(answer(gzip.compress(GOOD_ANYWHERE), "200 OK", "Content-Encoding: gzip")),
        alike(AWAY),
    ),
    "503 with HTML": (says(answer(b"<html>", "503 Service Unavailable")), alike(AWAY)),
    "404 of a wrong path": (
        says(answer(b"Unsupported path(Janus)", "404 Not Found")),
        alike(AWAY),
    ),
    "204": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), alike(AWAY, revoke=OK)),
    "invalid_grant with 400": (
        says(answer(error("invalid_grant"), "400 Bad Request")),
        alike(DEAD),
    ),
    "invalid_client with 401": (
        says(answer(error("invalid_client"), "401 Unauthorized")),
        alike(ERROR),
    ),
    "a success after early hints": (
        says(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(GOOD_ANYWHERE)),
        alike(OK),
    ),
    "a success in small parts": (
        says(*[answer(GOOD_ANYWHERE)[i : i + 7] for i in range(0, 900, 7)]),
        alike(OK),
    ),
    "a success until the end": (says(answer(GOOD_ANYWHERE, length="none")), alike(OK)),
    "silence": (silent, alike(AWAY)),
    "a head, a byte at a time": (drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"), alike(AWAY)),
    "a body, a byte at a time": (drip(answer(b"{", length=100_000), b" "), alike(AWAY)),
    "chunks, a byte at a time": (
        drip(
            answer(b"", "200 OK", "Transfer-Encoding: chunked", length="none"),
            b"1\r\n \r\n",
        ),
        alike(AWAY),
    ),
}


#: After these faults the profile is requested again: it is a GET, and the exchange's
#: connection, which it uses, may have been closed before the request arrived (RFC 9112,
#: 9.3.1).
WITHOUT_A_BYTE = ("closed without an answer", "reset without an answer")
ENDLESS = [name for name in WIRE if name == "silence" or name.endswith("at a time")]


class Reached:
    """The stand-in for the consent page, with everything else over the network."""

    transport = None

    def __init__(self, tiktok):
        self.consent = tiktok.consent
        self.people = tiktok.people


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def server():
    made = ScriptedTikTok()
    yield made
    made.close()


@pytest.fixture
def world(world, server, tiktok):
    world.tiktok = Reached(tiktok)
    world.with_settings(
        endpoints=server.endpoints, timeout=TIMEOUT, disconnect_path="/disconnect"
    )
    yield world
    if world.interface == "wsgi":
        world.app.wsgi_app.close()


class Flows:
    """Runs a flow with one script in it."""

    def __init__(self, world, server):
        self.world, self.server = world, server
        self.browser = world.browser()

    def meet(self, call, script):
        """Return what the user gets, and the number of calls to TikTok."""
        scripts = self.server.scripts
        self.browser.client.cookies.clear()
        if call in ("refresh", "revoke"):
            assert self.browser.log_in().status_code == 303
        before = len(self.server.requests(ENDPOINT[call]))
        scripts[ENDPOINT[call]] = script
        try:
            found = getattr(self, call)()
        finally:
            scripts.clear()
        self.world.clock.advance(600)  # past any back-off
        return found, len(self.server.requests(ENDPOINT[call])) - before

    def exchange(self):
        return self.browser.log_in().status_code, self.browser.signed_in

    def refresh(self):
        self.world.clock.advance(LIFE + 1)
        me = self.browser.me()
        return me["signed_in"], me["token"] is not None

    def revoke(self):
        return self.browser.post("/disconnect").status_code, self.browser.signed_in

    def profile(self):
        assert self.browser.log_in().status_code == 303
        me = self.browser.me()
        return me["signed_in"], me["name"] is not None


@pytest.mark.parametrize("name", WIRE)
def test_wire(world, server, name):
    """Each fault on the wire has the table's meaning for every flow, after one call.

    Only a profile whose connection ended without a byte is requested twice.
    """
    script, means = WIRE[name]
    if name in ENDLESS:
        world.with_settings(timeout=SHORT)
    flows = Flows(world, server)
    began = time.monotonic()
    found = {call: flows.meet(call, script) for call in CALLS}
    times = dict.fromkeys(CALLS, 1)
    if name in WITHOUT_A_BYTE:
        times["profile"] = 2
    assert found == {call: (FLOWS[call][means[call]], times[call]) for call in CALLS}
    # Each call ends at its timeout, even if bytes keep arriving slowly.
    assert time.monotonic() - began < HANGS or name not in ENDLESS


def test_slow_body_is_let_go(world, server):
    """A body is not read after the timeout."""
    world.with_settings(timeout=SHORT)
    flows = Flows(world, server)
    flows.meet("exchange", drip(answer(b"{", length=100_000), b" "))
    deadline = time.monotonic() + HANGS
    while any(t.name == "tiktok-call" for t in threading.enumerate()):
        assert time.monotonic() < deadline, "still reading"
        time.sleep(0.05)


def test_answer_while_the_loop_is_busy(server):
    """An answer that came in time counts, even if an app kept the event loop busy until
    the call's time was over: TikTok gives new tokens only once.
    """
    client = TikTokClient(
        make_settings(endpoints=server.endpoints, timeout=SHORT), AsyncBackend()
    )
    asked, answered = asyncio.Event(), threading.Event()

    def script(server, peer):
        loop.call_soon_threadsafe(asked.set)
        peer.sendall(answer(GOOD["refresh"]))
        answered.set()
        return False

    async def refresh():
        nonlocal loop
        loop = asyncio.get_running_loop()
        call = asyncio.ensure_future(client.refresh("rft"))
        await asked.wait()
        keep_busy()
        return await call

    def keep_busy():
        assert answered.wait(HANGS)
        time.sleep(SHORT + 0.5)

    loop = None
    server.scripts["token"] = script
    assert asyncio.run(refresh()).open_id == OPEN_ID


def test_bomb_is_not_unpacked(world, server):
    """A body of 10 MB that is compressed is not unpacked, and compression is not
    requested.
    """
    flows = Flows(world, server)
    flows.meet("exchange", says())
    tracemalloc.start()
    try:
        flows.meet("exchange", WIRE["a bomb of 10 MB"][0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # It takes less than one megabyte; threads that earlier tests left take some, too.
    assert peak < 8 * 1024 * 1024
    for head in server.requests("token"):
        assert b"\r\naccept-encoding: identity" in head.lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", CALLS)
def test_redirect(world, server, call, status):
    """A redirect is an error: it is not followed, to this host or another."""
    elsewhere = ScriptedTikTok()
    try:
        for target in (
            f"{elsewhere.url}/v2/oauth/token/",
            f"{server.url}/other/",
            "/other/",
        ):
            redirect = answer(b"", f"{status} Elsewhere", f"Location: {target}")
            found = Flows(world, server).meet(call, says(redirect))
            assert found == (FLOWS[call][AWAY], 1)
        assert elsewhere.seen == []
        assert b"/other/" not in b"".join(head for _, head in server.seen)
    finally:
        elsewhere.close()


def test_cookies(world, server):
    """A cookie that TikTok sets is not sent with later requests."""
    flows = Flows(world, server)
    cookie = answer(GOOD_ANYWHERE, "200 OK", "Set-Cookie: sid=of-one; Path=/")
    for call in CALLS:
        flows.meet(call, says(cookie, stay=True))
    assert flows.browser.log_in().status_code == 303
    heads = [head.lower() for _, head in server.seen]
    assert len(heads) > 8
    assert not any(b"\r\ncookie:" in head for head in heads)


def test_reset_before_the_request(world, server):
    """A connection that is reset before the request is read leads to the same
    result.
    """
    flows = Flows(world, server)
    assert flows.browser.log_in().status_code == 303
    server.resets = True
    world.clock.advance(LIFE + 1)
    me = flows.browser.me()
    assert (me["signed_in"], me["token"]) == (True, None)
    assert flows.browser.post("/disconnect").status_code == 502
    assert flows.browser.log_in().status_code == 503
    assert server.requests("revoke") == []
    assert len(server.requests("token")) == 1
    server.resets = False
    assert flows.browser.log_in().status_code == 303


def test_closed_port(world, server):
    """Without a listening server every flow means "try again later"."""
    flows = Flows(world, server)
    flows.browser.log_in()
    server.close()
    for _ in range(2):
        world.clock.advance(LIFE + 1)
        me = flows.browser.me()
        assert (me["signed_in"], me["token"]) == (True, None)
    assert flows.browser.post("/disconnect").status_code == 502
    assert flows.browser.log_in().status_code == 503


@pytest.mark.parametrize("backend", [ThreadBackend, AsyncBackend])
def test_answer_too_many(server, backend):
    """Bytes after an answer are not used as the next user's answer."""
    other = json.dumps({**json.loads(GOOD_TOKEN), "open_id": "somebody-else"}).encode()
    server.scripts["token"] = says(answer(GOOD_TOKEN) + answer(other), stay=True)
    client = TikTokClient(make_settings(endpoints=server.endpoints), backend())

    async def log_in_three():
        found = [(await client.exchange(f"code-{i}", "v")).open_id for i in range(3)]
        await client.aclose()
        return found

    asks = log_in_three()
    found = run(asks) if backend is ThreadBackend else asyncio.run(asks)
    assert found == [OPEN_ID] * 3

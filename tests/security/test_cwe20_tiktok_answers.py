"""Every answer of TikTok's in the table gives the value or the error that the table
names.
"""

from __future__ import annotations

import asyncio
import json
import os

import httpx2
import pytest

from tiktok_oauth_middleware import MemoryStore, TikTokTokens
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth.client import TikTokClient
from tiktok_oauth_middleware._oauth.user_info import fields_for
from tiktok_oauth_middleware.errors import TikTokError

from ..conftest import make_settings
from .tiktok_faults import ENDPOINT, FAULTS, FLOWS, LIFE, OK, OPEN_ID, Fault


async def ask(client, call):
    """Make one call; return the client's result."""
    calls = {
        "exchange": lambda: client.exchange("the-code", "the-verifier"),
        "refresh": lambda: client.refresh("rft.old"),
        "revoke": lambda: client.revoke("act.old"),
        "profile": lambda: client.profile(
            "act.old", OPEN_ID, fields_for(["user.info.basic"])
        ),
    }
    try:
        await calls[call]()
    except TikTokError as error:
        return type(error)
    finally:
        await client.aclose()
    return OK


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_answer(fault):
    """The blocking and the async client have the table's result for each answer."""
    settings = make_settings()

    async def ask_all(backend):
        found = {}
        for call in fault.means:
            response = httpx2.Response(
                fault.status,
                headers=fault.headers,
                # A stream, so that nothing is decompressed before the client reads it.
                stream=httpx2.ByteStream(fault.body_for(call)),
            )
            transport = httpx2.MockTransport(lambda _: response)
            client = TikTokClient(settings, backend, transport=transport)
            found[call] = await ask(client, call)
        return found

    assert run(ask_all(ThreadBackend())) == fault.means
    assert asyncio.run(ask_all(AsyncBackend())) == fault.means


# --- the effect on users -----------------------------------------------------------


@pytest.fixture(params=["asyncio", "wsgi"])
def interface(request):
    return request.param


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


class Flows:
    """Runs a flow with one answer of TikTok's."""

    def __init__(self, world):
        self.world = world.with_settings(disconnect_path="/disconnect")
        world.tiktok.access_lifetime = LIFE
        self.browser = world.browser()

    def meet(self, call, fault: Fault):
        world = self.world
        world.tiktok.clear_faults()
        self.browser.client.cookies.clear()
        answer = {
            "status": fault.status,
            "body": fault.body_for(call),
            "headers": fault.headers,
        }
        if call in ("refresh", "revoke"):
            assert self.browser.log_in().status_code == 303
        world.tiktok.fail(ENDPOINT[call], **answer)
        found = getattr(self, call)()
        world.clock.advance(600)  # past any back-off
        return found

    def exchange(self):
        response = self.browser.log_in()
        # A token that has expired is not renewed here.
        self.world.tiktok.fail("token", times=9, status=500)
        return response.status_code, self.browser.signed_in

    def refresh(self):
        self.world.clock.advance(LIFE + 1)
        me = self.browser.me()
        return me["signed_in"], me["token"] is not None

    def revoke(self):
        response = self.browser.post("/disconnect")
        return response.status_code, self.browser.signed_in

    def profile(self):
        # A stored profile stays after every fault.
        world = self.world
        tokens = TikTokTokens(world.settings, world.store, clock=world.clock)
        tokens.forget(world.tiktok.people[0].open_id)
        assert self.browser.log_in().status_code == 303
        me = self.browser.me()
        return me["signed_in"], me["name"] is not None


#: Tokens that are expired on arrival.
ENDED = ("expires_in -1", "expires_in 0", 'expires_in "0"')


def is_plain(call, fault):
    """Return whether a row has the usual effect of its result in a flow."""
    ended = call == "refresh" and fault.name in ENDED
    gone = call == "revoke" and fault.name == "a dead access token"
    return not (ended or gone)


def shared_out(call, rows, is_wsgi):
    """Return a middleware's share of a call's rows.

    `test_answer` has the result of each row at each call, and a flow knows no more of an
    answer than this result. So each row is run at one of its calls with one middleware,
    and each result of a call with both.
    """
    chosen, results = [], set()
    for fault in rows:
        calls = [each for each in fault.means if is_plain(each, fault)]
        number = FAULTS.index(fault)
        turn = (number % len(calls), number // len(calls) % 2)
        if turn == (calls.index(call), is_wsgi) or fault.means[call] not in results:
            chosen.append(fault)
            results.add(fault.means[call])
    return chosen


@pytest.mark.parametrize("call", list(FLOWS))
def test_flow(world, call):
    """In a flow each answer has the usual effect of its result on the user."""
    flows = Flows(world)
    rows = [f for f in FAULTS if call in f.means and is_plain(call, f)]
    assert len({fault.name for fault in rows}) == len(rows) > 100, "two of one name"
    if os.environ.get("COMBINATIONS") != "all":
        rows = shared_out(call, rows, world.interface == "wsgi")
    found = {fault.name: flows.meet(call, fault) for fault in rows}
    wanted = {fault.name: FLOWS[call][fault.means[call]] for fault in rows}
    assert {n: f for n, f in found.items() if f != wanted[n]} == {}


@pytest.mark.parametrize("name", ENDED)
def test_token_that_has_ended(world, name):
    """With a token that is expired on arrival the user is signed in, and it is never
    shown.
    """
    [fault] = [f for f in FAULTS if f.name == name]
    flows = Flows(world)
    assert flows.meet("exchange", fault) == (303, True)
    assert flows.meet("refresh", fault) == (True, False)


def test_dead_access_token(world):
    """An access token that TikTok rejects as unknown counts as revoked."""
    [fault] = [f for f in FAULTS if f.name == "a dead access token"]
    assert Flows(world).meet("revoke", fault) == (303, False)


def test_profile_field(world):
    """A malformed field of a profile is left out; the others are kept."""
    user = {"open_id": OPEN_ID, "display_name": ["x"], "follower_count": 7}
    body = json.dumps({"data": {"user": user}}).encode()
    world.tiktok.fail("user_info", body=body)
    browser = world.browser()
    browser.log_in()
    me = browser.me()
    assert (me["signed_in"], me["name"], me["followers"]) == (True, None, 7)

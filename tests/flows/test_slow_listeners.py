"""Listeners that are slow or ask for tokens, and work that does not end.

A refresh and a login's exchange run once for all callers that come meanwhile. These
wait for it, but neither for a listener of its events nor without limit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from anyio import to_thread

from tiktok_oauth_middleware import TikTokTokens, TikTokUnavailable
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.refresh import Refresh
from tiktok_oauth_middleware._web.login_results import LoginResults
from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import another_service
from ..support.patience import HANGS
from ..support.raw_requests import Visitors

LIFE = 7200
#: How a refresh ends, by the name of its event.
FAULTS = {
    "refresh": {},
    "refresh_failed": {"status": 500},
    "session_ended": {"error": "invalid_grant", "status": 400},
}
#: Arguments with which a pause is too short for anything else to happen.
AT_ONCE = 0.001


class HeldTikTok(FakeTikTok):
    """A stand-in that processes a request for a token, but holds the answer back."""

    gate = None
    grant_type = b"grant_type=refresh_token"

    def handle(self, method, url, headers, body):
        reply = super().handle(method, url, headers, body)
        if self.gate is not None and self.grant_type in body:
            self.gate()
        return reply


@pytest.fixture
def tiktok(settings, clock):
    return HeldTikTok.for_settings(settings, clock=clock)


@contextmanager
def visiting(world):
    """Return a visitor of a world; others of its event loop are its `another`."""
    with Visitors() as visitors:
        yield visitors.visit(world)


def listening(world, listener):
    """Let `listener`, which may block, get the events of a world's next app."""

    async def on_event(event):
        await to_thread.run_sync(listener, event)

    world.further = {"on_event": listener if world.interface == "wsgi" else on_event}
    world.start()


def expire(world, **fault):
    """Let the token expire, and the next refresh fail if a fault is given."""
    world.clock.advance(LIFE)
    if fault:
        world.tiktok.fail("token", **fault)


@pytest.mark.parametrize("name", FAULTS)
def test_locks_are_free(world, name):
    """The events of a refresh are delivered when its locks are free."""
    free, service = [], another_service(world)

    async def is_free():
        user = record_id(world.settings.client_key, world.tiktok.people[0].open_id)
        async with service.records.lock(user, HANGS) as handle:
            return bool(handle)

    def note(event):
        if event.name == name:
            free.append(run(is_free()))

    listening(world, note)
    with visiting(world) as visitor:
        visitor.log_in()
        expire(world, **FAULTS[name])
        visitor.ask(path="/who")
    assert free == [True]


def test_others_do_not_wait_for_a_listener(world, gate):
    """While a listener is busy with a refresh, other requests of its user go on."""

    def listen(event):
        if event.name == "refresh_failed":
            gate()

    listening(world, listen)
    with visiting(world) as visitor, ThreadPoolExecutor(2) as pool:
        visitor.log_in()
        other = visitor.another()
        other.cookies = dict(visitor.cookies)
        expire(world, **FAULTS["refresh_failed"])
        try:
            first = pool.submit(visitor.ask, path="/who")
            gate.wait()
            answer = pool.submit(other.ask, path="/who").result(HANGS)
            assert not first.done()
        finally:
            gate.open()
        assert answer.body == first.result(HANGS).body
    assert world.count("refresh_token") == 1


@pytest.mark.parametrize("interface", ["wsgi"])
def test_listener_with_a_thread_pool(world):
    """A listener can ask for its user's token in another thread, and wait for it."""
    found = []

    def listen(event):
        open_id = world.tiktok.people[0].open_id
        with pytest.raises(TikTokUnavailable):
            pool.submit(tokens.get, open_id).result(HANGS)
        found.append(event.name)

    with visiting(world) as visitor:
        visitor.log_in()
    expire(world, **FAULTS["refresh_failed"])
    with (
        ThreadPoolExecutor(1) as pool,
        TikTokTokens(
            world.settings,
            world.store,
            on_event=listen,
            transport=world.tiktok.transport,
            clock=world.clock,
        ) as tokens,
        pytest.raises(TikTokUnavailable),
    ):
        tokens.get(world.tiktok.people[0].open_id)
    assert found == ["refresh_failed"]


def test_refresh_that_does_not_end(world, gate, monkeypatch):
    """A request that has waited for a refresh for long enough gets no token, does not
    ask TikTok itself, and stays signed in.
    """
    init = Refresh.__init__

    def impatient(self, shared):
        init(self, shared)
        self._patience = AT_ONCE

    monkeypatch.setattr(Refresh, "__init__", impatient)
    world.start()
    with visiting(world) as visitor, ThreadPoolExecutor(2) as pool:
        visitor.log_in()
        other = visitor.another()
        other.cookies = dict(visitor.cookies)
        expire(world)
        world.tiktok.gate = gate
        try:
            first = pool.submit(visitor.ask, path="/who")
            gate.wait()
            answer = pool.submit(other.ask, path="/who").result(HANGS)
            assert not first.done()
        finally:
            gate.open()
        assert b"act." in first.result(HANGS).body
        assert b'"token":null' in answer.body.replace(b" ", b"")
        assert world.tiktok.people[0].open_id.encode() in answer.body
        assert other.ask(path="/who").body == visitor.ask(path="/who").body
    assert world.count("refresh_token") == 1


def test_exchange_that_does_not_end(world, gate, monkeypatch):
    """A callback that has waited for an equal one for long enough gets a page, and the
    code is exchanged once.
    """
    init = LoginResults.__init__

    def impatient(self, **options):
        init(self, **{**options, "exchange_seconds": AT_ONCE})

    monkeypatch.setattr(LoginResults, "__init__", impatient)
    world.start()
    with visiting(world) as visitor, ThreadPoolExecutor(2) as pool:
        path, query = visitor.consent(visitor.begin())
        other = visitor.another()
        other.cookies = dict(visitor.cookies)
        world.tiktok.grant_type = b"grant_type=authorization_code"
        world.tiktok.gate = gate
        try:
            first = pool.submit(visitor.ask, path=path, query=query)
            gate.wait()
            second = pool.submit(other.ask, path=path, query=query).result(HANGS)
            assert not first.done()
        finally:
            gate.open()
        assert first.result(HANGS).status == 303
    assert second.status >= 400
    assert world.count("authorization_code") == 1

"""Disconnects while a user's tokens are, or may be, refreshed by another caller."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError, TikTokTokens
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._session import revocation
from tiktok_oauth_middleware._session.notes import note_name
from tiktok_oauth_middleware._session.record import record_id

from ..conftest import another_service, kept
from ..support.patience import HANGS

DISCONNECT = "/auth/tiktok/disconnect"
LIFE = 7200
#: Seconds after which a token is due and still valid.
DUE = LIFE - 100
EXPIRED = LIFE + 1


@pytest.fixture
def world(world):
    return world.with_settings(disconnect_path=DISCONNECT)


@pytest.fixture
def background():
    """Return a function that runs another in a thread and returns a future."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


@pytest.fixture
def disconnect(world):
    """Return functions that disconnect, by a request or by a job; they return a result."""

    def by_request(browser):
        answer = browser.post(DISCONNECT)
        return {303: "revoked", 502: "failed"}[answer.status_code]

    def by_job(browser):
        options = {"transport": world.tiktok.transport, "clock": world.clock}
        with TikTokTokens(world.settings, world.store, **options) as tokens:
            return tokens.disconnect(world.tiktok.people[0].open_id)

    return {"request": by_request, "job": by_job}


def user_id(world):
    return record_id(world.settings.client_key, world.tiktok.people[0].open_id)


def wait_until_begun(world):
    """Wait until a disconnect has noted its beginning, and had time to go on."""
    notes, name = (
        another_service(world).records.notes,
        note_name("ended", user_id(world)),
    )
    deadline = time.monotonic() + HANGS
    while run(notes.read(name)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)


@contextmanager
def held(world):
    """Hold the store's lock on the user inside the block, as another process does."""
    records = another_service(world).records
    with world.store.lock(records._key(user_id(world)), 60) as is_held:
        assert is_held
        yield


class TestRefreshUnderWay:
    @pytest.mark.parametrize("caller", ["request", "job"])
    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_uses_its_token(
        self, signed_in, world, tiktok, gate, background, disconnect, gone, caller
    ):
        """A disconnect waits for a refresh by another caller, and revokes its token.

        Otherwise the refresh token would be sent twice, and TikTok's new tokens would
        be dropped without a revoke.
        """
        other = world.browser(**signed_in.cookies())
        world.clock.advance(gone)
        tiktok.answered = gate
        refreshing = background(signed_in.me)
        gate.wait()
        disconnecting = background(disconnect[caller], other)
        wait_until_begun(world)
        gate.open()
        assert disconnecting.result(HANGS) == "revoked"
        refreshing.result(HANGS)
        assert world.count("refresh_token") == 1
        assert tiktok.count("revoke") == 1
        assert len(world.reported("refresh")) == 1
        assert kept(world) is None
        world.clock.advance(2)  # a process trusts a session in its memory for a second
        assert not signed_in.signed_in

    def test_own(self, signed_in, world, gate, background, disconnect, tiktok):
        """No other request refreshes while a disconnect does."""
        other = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        tiktok.answered = gate
        disconnecting = background(disconnect["request"], signed_in)
        gate.wait()
        assert not other.signed_in
        gate.open()
        assert disconnecting.result(HANGS) == "revoked"
        assert world.count("refresh_token") == 1


@pytest.mark.parametrize(("is_lost", "result"), [(False, "gone"), (True, "failed")])
def test_process_died(signed_in, world, tiktok, disconnect, is_lost, result):
    """If TikTok refuses the refresh token, the access is gone, unless a process may
    have died with the answer to a refresh.
    """
    world.clock.advance(EXPIRED)
    if is_lost:
        records = another_service(world).records
        stored = run(records.load(user_id(world)))
        run(records.attempts.begin(stored, 60))
    tiktok.fail("token", error="invalid_grant")
    assert disconnect["job"](signed_in) == result


class TestNoLock:
    """The lock is not free in time."""

    @pytest.fixture
    def store(self, clock):
        return MemoryStore(clock=clock)

    @pytest.fixture(autouse=True)
    def short_wait(self, monkeypatch):
        monkeypatch.setattr(revocation, "LOCK_SECONDS", 0.1)

    @pytest.mark.parametrize("caller", ["request", "job"])
    @pytest.mark.parametrize(("gone", "result"), [(0, "revoked"), (EXPIRED, "failed")])
    def test_never_refreshes(self, signed_in, world, disconnect, gone, result, caller):
        """Without the lock a valid token is revoked, and an expired one not refreshed."""
        world.clock.advance(gone)
        with held(world):
            assert disconnect[caller](signed_in) == result
        assert world.count("refresh_token") == 0
        assert kept(world) is None

    @pytest.mark.parametrize("renewal", [False, StoreError("stumbled")], ids=repr)
    def test_lost(self, signed_in, world, disconnect, renewal):
        """A process that has lost the lock meanwhile does not refresh."""
        inner = world.store

        class Lost:
            def __init__(self, lock):
                self._lock = lock

            def __enter__(self):
                return self._lock.__enter__()

            def __exit__(self, *error):
                self._lock.__exit__(*error)

            def renew(self, ttl):
                if renewal:
                    raise renewal
                return False

        class Losing(MemoryStore):
            get, compare_and_set = inner.get, inner.compare_and_set

            def lock(self, key, ttl):
                return Lost(inner.lock(key, ttl))

        world.store = Losing(clock=world.clock)
        world.start()
        browser = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        assert disconnect["request"](browser) == "failed"
        assert world.count("refresh_token") == 0
        assert kept(world) is None

    def test_within_a_refresh(self, signed_in, world, tiktok, disconnect, monkeypatch):
        """A disconnect that is a part of the refresh, as by a signal's handler, does not
        wait for it.
        """
        monkeypatch.setattr(revocation, "LOCK_SECONDS", 2 * HANGS)
        world.clock.advance(EXPIRED)
        results = []
        tiktok.answered = lambda: results.append(disconnect["job"](signed_in))
        assert not signed_in.signed_in
        assert results == ["failed"]
        assert world.count("refresh_token") == 1

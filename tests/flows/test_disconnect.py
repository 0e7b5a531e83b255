"""Disconnects while a user's tokens are, or may be, refreshed by another caller."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import anyio
import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    StoreError,
    TikTokOAuthWSGIMiddleware,
    TikTokTokens,
)
from tiktok_oauth_middleware._core import store_adapter
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.leases import LEASE_SECONDS
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter
from tiktok_oauth_middleware._session import revocation
from tiktok_oauth_middleware._session.attempts import Attempts
from tiktok_oauth_middleware._session.endings import Endings
from tiktok_oauth_middleware._session.notes import Notes, note_name
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.records import Records
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

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


def has_access(tiktok):
    """Return whether a user's token works at TikTok, or can be refreshed."""
    return any(not tokens.is_revoked for tokens in tiktok.provider._tokens)


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


@pytest.mark.parametrize("outage", [False, True])
def test_access_that_has_ended(signed_in, tiktok, disconnect, monkeypatch, outage):
    """If TikTok says that the token is invalid, the access is gone, unless the store
    does not say whether a refresh has begun.
    """
    delete = Records.delete_or_find_gone

    async def fail(*_):
        message = "stumbled"
        raise StoreError(message)

    async def deleting(*args):
        monkeypatch.setattr(Attempts, "is_under_way", fail)
        return await delete(*args)

    if outage:
        monkeypatch.setattr(Records, "delete_or_find_gone", deleting)
    tiktok.fail("revoke", error="access_token_invalid")
    assert disconnect["job"](signed_in) == ("failed" if outage else "gone")


def test_no_refresh_token(signed_in, world, tiktok, disconnect):
    """A token that has expired and cannot be refreshed is not refreshed."""
    records = another_service(world).records
    stored = run(records.load(user_id(world)))
    run(records.replace(stored, stored.record._replace(refresh_token=Secret(""))))
    world.clock.advance(EXPIRED)
    assert disconnect["job"](signed_in) == "gone"
    assert tiktok.count("token", grant_type="refresh_token") == 0


class TestRefusedLogin:
    """The access of a login that the app refused is ended."""

    @pytest.fixture
    def revoke(self, signed_in, world):
        """Return a function that does so with the user's tokens."""
        options = {"transport": world.tiktok.transport, "clock": world.clock}
        with TikTokTokens(world.settings, world.store, **options) as tokens:
            revocation = tokens._sync_service().revocation
            record = kept(world)
            yield lambda: run(revocation.revoke_refused(user_id(world), record))

    def test_expired(self, world, tiktok, revoke):
        """A token that has expired by then is refreshed first."""
        world.clock.advance(EXPIRED)
        revoke()
        assert world.count("refresh_token") == 1
        assert not has_access(tiktok)

    @pytest.mark.parametrize(
        ("owner", "name"), [(Notes, "read"), (Records, "lock"), (Records, "forget")]
    )
    def test_outage(self, tiktok, revoke, monkeypatch, caplog, owner, name):
        """The access ends although the store fails."""

        def fail(*_):
            message = "stumbled"
            raise StoreError(message)

        monkeypatch.setattr(owner, name, fail)
        revoke()
        assert not has_access(tiktok)
        assert "record of a refused login was not deleted: stumbled" in caplog.text


class InterruptedDeletion(MemoryStore):
    """Interrupts the process, as Ctrl-C does, when a record is deleted."""

    def compare_and_set(self, key, old, new, ttl):
        done = super().compare_and_set(key, old, new, ttl)
        if ":grant:" in key and new is None:
            signal.raise_signal(signal.SIGINT)
        return done


@pytest.mark.parametrize("how", ["blocking", "asyncio", "trio"])
def test_interrupted(settings, clock, how):
    """Ctrl-C after the deletion of the record does not keep the access from ending."""
    fake = FakeTikTok.for_settings(settings, clock=clock)
    options = {"store": InterruptedDeletion(clock=clock), "clock": clock}
    options["transport"] = fake.transport
    app = TikTokOAuthWSGIMiddleware(lambda *_: [], settings, **options)
    with httpx2.Client(
        transport=httpx2.WSGITransport(app), base_url=settings.origin
    ) as client:
        login_as(client, fake)
    tokens, open_id = TikTokTokens(settings, **options), fake.people[0].open_id

    async def adisconnect():
        async with tokens:
            await tokens.adisconnect(open_id)

    def disconnect():
        if how == "blocking":
            tokens.disconnect(open_id)
        else:
            anyio.run(adisconnect, backend=how)

    # A shell makes the processes that it starts in the background ignore the signal.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
            disconnect()
    finally:
        signal.signal(signal.SIGINT, usual)
    assert fake.count("revoke") == 1
    assert not has_access(fake)


def test_lock_that_no_thread_renews(signed_in, world, tiktok, disconnect, monkeypatch):
    """The disconnect itself renews the lock while TikTok gives a new token."""
    renewed = threading.Event()

    @contextmanager
    def no_thread(*_):
        yield False

    async def renew(*_):
        renewed.set()
        return True

    monkeypatch.setattr(store_adapter, "renewed_by_thread", no_thread)
    monkeypatch.setattr(store_adapter.LockHandle, "renew", renew)
    world.clock.advance(EXPIRED)
    tiktok.answered = lambda: renewed.wait(revocation.REVOKE_SECONDS)
    assert disconnect["job"](signed_in) == "revoked"
    assert renewed.is_set()


class TestNoLock:
    """The lock is not free in time."""

    @pytest.fixture
    def store(self, clock):
        return MemoryStore(clock=clock)

    @pytest.fixture(autouse=True)
    def short_wait(self, monkeypatch):
        monkeypatch.setattr(revocation, "LOCK_SECONDS", 0.1)

    @pytest.mark.parametrize("caller", ["request", "job"])
    @pytest.mark.parametrize("gone", [0, EXPIRED])
    def test_no_refresh_begun(self, signed_in, world, disconnect, gone, caller, tiktok):
        """Without the lock, the access ends if no refresh has begun: none can begin any
        more.
        """
        world.clock.advance(gone)
        with held(world):
            assert disconnect[caller](signed_in) == "revoked"
        assert world.count("refresh_token") == bool(gone)
        assert tiktok.count("revoke") == 1
        assert kept(world) is None

    @pytest.mark.parametrize("caller", ["request", "job"])
    def test_refresh_ends_later(
        self, signed_in, world, tiktok, gate, background, disconnect, caller
    ):
        """A refresh that ends after the disconnect revokes its new token, once."""
        other = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        tiktok.answered = gate
        refreshing = background(signed_in.me)
        gate.wait()
        assert disconnect[caller](other) == "failed"
        assert kept(world) is None
        assert has_access(tiktok)
        gate.open()
        refreshing.result(HANGS)
        assert world.count("refresh_token") == 1
        assert not has_access(tiktok)
        reasons = [each.reason for each in world.reported("disconnect")]
        assert reasons == (["failed"] if caller == "request" else []) + ["revoked"]
        assert kept(world) is None
        # The revoke is over, so nothing is left that would refuse a login.
        signed_in.log_in()
        assert signed_in.signed_in

    def test_refresh_fails_later(
        self, signed_in, world, tiktok, gate, background, disconnect
    ):
        """A refresh that gets no new token after the disconnect ends the access, too."""
        other = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        tiktok.fail("token", status=500)
        tiktok.answered = gate
        refreshing = background(signed_in.me)
        gate.wait()
        assert disconnect["request"](other) == "failed"
        assert has_access(tiktok)
        gate.open()
        refreshing.result(HANGS)
        assert not has_access(tiktok)
        assert kept(world) is None

    def test_logout_during_a_refresh(self, signed_in, world, tiktok, gate, background):
        """The new token of a user who logged out during the refresh is not revoked."""
        other = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        tiktok.answered = gate
        refreshing = background(signed_in.me)
        gate.wait()
        other.log_out()
        gate.open()
        refreshing.result(HANGS)
        assert kept(world) is None
        assert tiktok.count("revoke") == 0
        assert world.reported("disconnect") == []

    def test_note_cannot_be_read(
        self,
        signed_in,
        world,
        tiktok,
        gate,
        background,
        disconnect,
        monkeypatch,
        caplog,
    ):
        """A refresh that cannot read whether a disconnect has begun revokes nothing."""
        other = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        tiktok.answered = gate
        refreshing = background(signed_in.me)
        gate.wait()
        assert disconnect["request"](other) == "failed"

        async def fail(*_):
            message = "stumbled"
            raise StoreError(message)

        monkeypatch.setattr(Endings, "begun_revokes", fail)
        gate.open()
        refreshing.result(HANGS)
        assert tiktok.count("revoke") == 0
        assert "could not be read: stumbled" in caplog.text

    @pytest.mark.parametrize("is_begun", [False, True])
    @pytest.mark.parametrize("renewal", [False, StoreError("stumbled")], ids=repr)
    def test_late(
        self, signed_in, world, tiktok, disconnect, renewal, is_begun, monkeypatch
    ):
        """A process that was suspended after the deletion leaves the access to another
        process only if that has the lock and may have begun a refresh.
        """
        inner, watch, renewals = world.store, Watch(), []

        class Lost:
            def __init__(self, lock):
                self._lock = lock

            def __enter__(self):
                return self._lock.__enter__()

            def __exit__(self, *error):
                self._lock.__exit__(*error)

            def renew(self, ttl):
                renewals.append(ttl)
                if renewal:
                    raise renewal
                return False

        class Losing(MemoryStore):
            get = inner.get

            def compare_and_set(self, key, old, new, ttl):
                if ":grant:" in key and new is None:
                    watch.now += 60
                return inner.compare_and_set(key, old, new, ttl)

            def lock(self, key, ttl):
                return Lost(inner.lock(key, ttl))

        world.store = Losing(clock=world.clock)
        world.start()
        browser = world.browser(**signed_in.cookies())
        world.clock.advance(EXPIRED)
        if is_begun:
            records = another_service(world).records
            run(records.attempts.begin(run(records.load(user_id(world))), 60))
        monkeypatch.setattr("tiktok_oauth_middleware._session.refresh_lock.time", watch)
        is_left = is_begun and not renewal
        assert disconnect["request"](browser) == ("failed" if is_left else "revoked")
        # Before the refresh, and once more before the revoke.
        assert renewals == [LEASE_SECONDS] * (1 if is_left else 2)
        assert world.count("refresh_token") == (not is_left)
        assert kept(world) is None

    def test_outage_after_the_deletion(
        self, signed_in, world, tiktok, disconnect, monkeypatch
    ):
        """A store that fails after the deletion does not keep the access from ending."""
        delete = Records.delete_or_find_gone

        async def fail(*_):
            message = "stumbled"
            raise StoreError(message)

        async def deleting(*args):
            done = await delete(*args)
            for name in ("get", "compare_and_set"):
                patched.setattr(StoreAdapter, name, fail)
            return done

        world.clock.advance(EXPIRED)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Records, "delete_or_find_gone", deleting)
            assert disconnect["request"](signed_in) == "revoked"
        assert not has_access(tiktok)

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
        assert not has_access(tiktok)


class Watch:
    """A stand-in for the module `time`, whose time the test sets."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

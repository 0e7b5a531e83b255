"""How an answer of TikTok changes the record, and which caller asks for it."""

from __future__ import annotations

import contextlib
import logging
import random
import threading

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.leases import LEASE_SECONDS, RENEW_SECONDS
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._core.store_adapter import LockHandle
from tiktok_oauth_middleware._oauth.token_response import TokenResponse
from tiktok_oauth_middleware._session import refresh_request
from tiktok_oauth_middleware._session.due import Demand, fingerprint
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.refresh import _POLL_SECONDS
from tiktok_oauth_middleware._session.service import SessionService
from tiktok_oauth_middleware._web.app import Core
from tiktok_oauth_middleware.errors import TikTokError

from ...conftest import kept, make_settings
from ...support.patience import HANGS

DAY = 86400


def refresh_of(clock, store=None, **options):
    """Return the refresh of an app."""
    core = Core(
        SessionService(
            make_settings(**options),
            ThreadBackend(),
            store=store or MemoryStore(clock=clock),
            on_event=None,
            transport=None,
            clock=clock,
        )
    )
    return core.service.refresh


@pytest.fixture
def refresh(clock):
    return refresh_of(clock)


# --- how long to wait ---------------------------------------------------------------


class TestBackOff:
    error = TikTokError("server_error", "", "", 200)

    def test_longest(self, clock):
        """A refresh takes TikTok's time-out and twelve seconds for the write."""
        assert refresh_of(clock, timeout=5).longest == 17

    def test_lease(self, clock):
        """The lease of a renewable lock is under 3 s; another lasts for the whole refresh."""
        assert refresh_of(clock)._lease == LEASE_SECONDS
        # Others get the lock within three seconds of the holder's last renewal, and
        # several renewals may be late before the lease ends.
        assert LEASE_SECONDS + 2 * _POLL_SECONDS < 3
        assert LEASE_SECONDS >= 5 * RENEW_SECONDS

        class Plain(MemoryStore):
            renews = False

        assert refresh_of(clock, Plain(clock=clock), timeout=5)._lease == 20


# --- how an answer changes the record -------------------------------------------------


def answer(**changes):
    given = {
        "open_id": "user",
        "access_token": Secret("act.new"),
        "refresh_token": Secret("rft.new"),
        "scopes": None,
        "expires_in": 7200.0,
        "refresh_expires_in": 100.0,
    }
    return TokenResponse(**given | changes)


class TestRenewed:
    def test_all(self, refresh, clock, record):
        """Tokens and times are taken from the answer, failures are cleared, the rest
        stays.
        """
        clock.now += 50.7
        now = int(clock.now)
        assert refresh._request._renewed(record, answer()) == record._replace(
            access_token=Secret("act.new"),
            refresh_token=Secret("rft.new"),
            issued_at=now,
            expires_at=now + 7200,
            refresh_expires_at=now + 100,
            failures=0,
            retry_at=0,
        )

    @pytest.mark.parametrize(
        ("token", "life", "end"),
        [
            (None, None, "old"),
            (None, 100.0, 100),
            (Secret("rft.new"), None, None),
            (Secret("rft.new"), 100.0, 100),
        ],
    )
    def test_refresh_end(self, refresh, clock, record, token, life, end):
        """The stored expiry is that of the stored refresh token, as far as TikTok names
        it.
        """
        renewed = refresh._request._renewed(
            record, answer(refresh_token=token, refresh_expires_in=life)
        )
        assert renewed.refresh_token == (token or "rft.old")
        if end == "old":
            assert renewed.refresh_expires_at == record.refresh_expires_at
        else:
            assert renewed.refresh_expires_at == (end and int(clock()) + end)

    @pytest.mark.parametrize(
        ("life", "waits"), [(0.0, True), (1.0, True), (1.9, True), (2.0, False)]
    )
    def test_no_loop(self, refresh, clock, record, life, waits):
        """A token that lives less than two seconds is not renewed again at once."""
        renewed = refresh._request._renewed(record, answer(expires_in=life))
        assert renewed.retry_at == (int(clock()) + 1 if waits else 0)

    @pytest.mark.parametrize(
        ("scopes", "kept", "warned"),
        [
            (None, "user.info.basic,video.list", False),
            ("", "", False),
            ("video.list", "video.list", False),
            ("video.list,video.upload", "video.list", True),
        ],
    )
    def test_scopes(self, refresh, record, caplog, scopes, kept, warned):
        """Fewer scopes apply at once; additional ones are logged, and not granted."""
        with caplog.at_level(logging.WARNING, "tiktok_oauth_middleware"):
            assert (
                refresh._request._renewed(record, answer(scopes=scopes)).scopes == kept
            )
        assert ("more scopes" in caplog.text) is warned


# --- what is logged -------------------------------------------------------------------


# --- who refreshes ---------------------------------------------------------------------


class DelayedTikTok:
    """A client for TikTok that answers when the test lets it."""

    def __init__(self):
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.changes = {}

    async def refresh(self, refresh_token, *, meanwhile):
        self.asked.set()
        assert self.may_answer.wait(20)
        return answer(**self.changes)


class TestTogether:
    @pytest.fixture
    def report(self):
        return DelayedTikTok()

    @pytest.fixture
    def core(self, clock, record, report):
        """Return the core of an app at which one user has a token."""
        core = Core(
            SessionService(
                make_settings(keep_grants=True),
                ThreadBackend(),
                store=MemoryStore(clock=clock),
                on_event=None,
                transport=None,
                clock=clock,
            )
        )

        async def client():
            return report

        core.service.refresh._request._client = client
        run(core.service.records.create("id", record._replace(retry_at=0)))
        return core

    @staticmethod
    def in_a_thread(work):
        """Start a thread; return it, and a list that receives the result."""
        found = []
        thread = threading.Thread(target=lambda: found.append(run(work())), daemon=True)
        thread.start()
        return found, thread

    def test_is_unfinished_until_the_call_ends(self, core, clock, report):
        """A refresh is under way until its call to TikTok has ended."""
        refresh = core.service.refresh
        assert not refresh.is_under_way("id")
        clock.now = float(kept_in(core).record.expires_at)
        versioned = kept_in(core)
        _, thread = self.in_a_thread(lambda: refresh.fresh(versioned))
        assert report.asked.wait(20)
        assert refresh.is_under_way("id")
        assert not refresh.is_under_way("other")
        report.may_answer.set()
        thread.join(20)
        assert not refresh.is_under_way("id")

    def test_ahead_is_a_flight_of_its_own(self, core, report):
        """Requests whose token is good do not wait for an early refresh."""
        refresh, versioned = core.service.refresh, kept_in(core)
        demand = Demand(replacing=fingerprint(versioned.record.access_token))
        _, thread = self.in_a_thread(lambda: refresh.fresh(versioned, demand))
        assert report.asked.wait(20)
        assert not refresh.is_under_way("id")
        report.may_answer.set()
        thread.join(20)

    def test_replacements_wait_for_one_another(self, core, report):
        """A caller that must not get the present token waits for its replacement."""
        refresh, versioned = core.service.refresh, kept_in(core)
        demand = Demand(replacing=fingerprint(versioned.record.access_token))
        _, first = self.in_a_thread(lambda: refresh.fresh(versioned, demand))
        assert report.asked.wait(20)
        other, second = self.in_a_thread(lambda: refresh.fresh(versioned, demand))
        second.join(0.05)
        report.may_answer.set()
        first.join(20)
        second.join(20)
        assert other[0].record.access_token == "act.new"

    @pytest.mark.parametrize(
        ("refresh_token", "left"), [("rft.new", "act.new"), (None, "act.login")]
    )
    def test_only_the_access_token_was_replaced(
        self, core, clock, report, refresh_token, left
    ):
        """An answer is written over an access token that a login brought meanwhile only
        if the refresh token in the record became invalid.
        """
        report.changes["refresh_token"] = refresh_token and Secret(refresh_token)
        versioned = kept_in(core)
        clock.now = float(versioned.record.expires_at)
        _, thread = self.in_a_thread(lambda: core.service.refresh.fresh(versioned))
        assert report.asked.wait(20)
        since = versioned.record._replace(access_token=Secret("act.login"))
        assert run(core.service.records.replace(versioned, since))
        report.may_answer.set()
        thread.join(20)
        assert kept_in(core).record.access_token == left

    def test_result_is_waited_for(self, core, clock, report):
        """A caller that needs a token gets the result of the refresh under way."""
        refresh = core.service.refresh
        clock.now = float(kept_in(core).record.expires_at)
        versioned = kept_in(core)
        one, first = self.in_a_thread(lambda: refresh.fresh(versioned))
        assert report.asked.wait(20)
        other, second = self.in_a_thread(lambda: refresh.result("id"))
        second.join(0.05)
        assert second.is_alive()
        report.may_answer.set()
        first.join(20)
        second.join(20)
        assert other[0] is one[0]
        assert other[0].record.access_token == "act.new"

    @pytest.mark.parametrize("ask", ["result", "fresh"])
    def test_result_is_not_waited_for_without_limit(self, core, clock, report, ask):
        """If a refresh does not end, a caller gets the stored record, and none begins a
        second one.
        """
        refresh = core.service.refresh
        versioned = kept_in(core)
        clock.now = float(versioned.record.expires_at)
        one, first = self.in_a_thread(lambda: refresh.fresh(versioned))
        assert report.asked.wait(20)
        report.asked.clear()
        refresh._patience = 0.001
        work = {
            "result": lambda: refresh.result("id"),
            "fresh": lambda: refresh.fresh(versioned),
        }
        other, second = self.in_a_thread(work[ask])
        second.join(HANGS)
        assert first.is_alive()
        assert other[0].record == versioned.record
        assert not report.asked.is_set()
        report.may_answer.set()
        first.join(20)
        assert one[0].record.access_token == "act.new"
        assert kept_in(core).record.access_token == "act.new"

    def test_patience(self, clock):
        """A refresh is waited for as long as it can take: two timeouts, for the lock
        and for TikTok, and the time for the write.
        """
        refresh = refresh_of(clock, timeout=7)
        assert refresh._patience == 7 + 7 + 12

    def test_asking_for_a_result_starts_a_refresh(self, core, clock, report):
        """If no refresh is under way, asking for its result starts one."""
        report.may_answer.set()
        clock.now = float(kept_in(core).record.expires_at)
        assert run(core.service.refresh.result("id")).record.access_token == "act.new"

    def test_write_that_never_takes_place(self, core, clock, report, monkeypatch):
        """If each swap of the record fails, the refresh ends with a StoreError."""
        monkeypatch.setattr(refresh_request, "_WRITE_SECONDS", 0)
        versioned, errors = kept_in(core), []
        clock.now = float(versioned.record.expires_at)

        async def replace(*_):
            return None

        async def ask():
            try:
                await core.service.refresh.fresh(versioned)
            except StoreError as error:
                errors.append(str(error))

        monkeypatch.setattr(core.service.records, "replace", replace)
        report.may_answer.set()
        _, thread = self.in_a_thread(ask)
        thread.join(HANGS)
        assert not thread.is_alive()
        assert errors == ["the record changed before each try to write new tokens"]

    def test_not_due(self, core, report):
        """A fresh record is used without the lock and without a call to TikTok."""
        core.service.records.lock = None
        assert run(core.service.refresh.result("id")) == kept_in(core)
        assert not report.asked.is_set()

    def test_gone(self, core, report):
        """A missing record means no token, and no call to TikTok."""
        core.service.records.lock = None
        assert run(core.service.refresh.result("other")) is None
        assert not report.asked.is_set()

    @pytest.mark.parametrize(("left", "pauses"), [(1, 0), (0, 3), (-1, 3)])
    def test_lock_of_another_process(self, core, clock, report, left, pauses):
        """While another process has the lock, a valid token is used, or a new one
        waited for.
        """
        slept = []

        @contextlib.asynccontextmanager
        async def lock(record_id, seconds):
            yield LockHandle(None, None, is_held=False)

        async def sleep(seconds):
            assert 0.025 <= seconds <= 0.075
            slept.append(seconds)
            if len(slept) == 3:  # the other process has done it
                versioned = kept_in(core)
                renewed = core.service.refresh._request._renewed(
                    versioned.record, answer()
                )
                await core.service.records.replace(versioned, renewed)

        core.service.records.lock, core._backend.sleep = lock, sleep
        clock.now = float(kept_in(core).record.expires_at - left)
        found = run(core.service.refresh.fresh(kept_in(core)))
        assert len(slept) == pauses
        assert found.record.access_token == ("act.new" if pauses else "act.old")
        assert not report.asked.is_set()

    @pytest.mark.parametrize(("left", "is_there"), [(1, True), (0, False), (-1, False)])
    def test_no_refresh_token(self, core, clock, report, left, is_there):
        """Without a refresh token the access token is used until it expires; then the
        user is anonymous.
        """
        versioned = kept_in(core)
        bare = versioned.record._replace(refresh_token=Secret(""))
        run(core.service.records.replace(versioned, bare))
        clock.now = float(bare.expires_at - left)
        found = run(core.service.refresh.fresh(versioned._replace(record=bare)))
        assert (found is not None) is is_there
        assert (kept_in(core) is not None) is is_there
        assert not report.asked.is_set()


def kept_in(core):
    return run(core.service.records.load("id"))


# --- concurrent changes ---------------------------------------------------------------

LIFE = 7200


class TestMeanwhile:
    @pytest.fixture
    def store(self, clock):
        """Return a store in memory: none of this depends on the store."""
        return Interrupted(clock)

    @pytest.fixture
    def other(self, world):
        """Return another browser of the same user, signed in."""
        other = world.browser()
        other.log_in()
        return other

    @pytest.fixture
    def signed_in(self, browser, other):
        browser.log_in()
        return browser

    def test_not_ahead(self, signed_in, world):
        """A request renews a token when it is due, and not a second earlier."""
        due_at = core_of(world).service.refresh.due.due_at(kept(world))
        world.clock.now = due_at - 0.5
        signed_in.me()
        assert world.count("refresh_token") == 0
        world.clock.now = due_at
        signed_in.me()
        assert world.count("refresh_token") == 1

    def test_renewed_elsewhere(self, signed_in, other, world, store):
        """A refresh that gets the lock and finds a fresh token makes no call."""
        store.before_lock = once(other.log_in)
        world.clock.advance(LIFE + 1)
        me = signed_in.me()
        assert me["token"] == kept(world).access_token.reveal()
        assert world.count("refresh_token") == 0

    def test_gone_elsewhere(self, signed_in, other, world, store):
        """A refresh that gets the lock and finds no record makes no call."""

        def leave():
            other.log_out()
            world.browser(**signed_in.cookies()).log_out()

        store.before_lock = once(leave)
        world.clock.advance(LIFE + 1)
        assert not signed_in.signed_in
        assert world.count("refresh_token") == 0

    def test_thrown_away(self, signed_in, other, world, tiktok):
        """If a login came first, the answer is dropped and not reported as a
        refresh.
        """
        tiktok.answered = once(other.log_in)
        world.clock.advance(LIFE + 1)
        assert signed_in.me()["token"] == kept(world).access_token.reveal()
        assert [e.name for e in world.events if e.name == "refresh"] == []

    def test_failure_is_noted(self, signed_in, other, world, tiktok):
        """A failed refresh is stored even if the record changed meanwhile."""
        tiktok.fail("token", status=500)
        tiktok.answered = once(other.log_out)
        world.clock.advance(LIFE - 100)
        assert signed_in.me()["token"]
        assert kept(world).failures == 1
        assert kept(world).retry_at > world.clock()
        assert len(kept(world).sessions) == 1

    def test_failure_of_the_past(self, signed_in, other, world, tiktok):
        """A failed refresh of tokens that a login replaced is not stored with the new
        ones.
        """
        tiktok.fail("token", status=500)
        tiktok.answered = once(other.log_in)
        world.clock.advance(LIFE - 100)
        token = signed_in.me()["token"]
        assert token == kept(world).access_token.reveal()
        assert (kept(world).failures, kept(world).retry_at) == (0, 0)

    def test_failures_count(self, signed_in, world, tiktok):
        """Failures are counted up to thirty, and a success resets the count."""
        tiktok.fail("token", times=40, status=500)
        for count in range(1, 33):
            world.clock.advance(LIFE if count == 1 else 60)
            assert signed_in.me()["token"] is None
            assert kept(world).failures == min(count, 30)
        tiktok.clear_faults()
        world.clock.advance(60)
        assert signed_in.me()["token"]
        assert kept(world).failures == 0

    def test_retry_at(self, signed_in, world, tiktok, monkeypatch):
        """The time of the next try is stored in seconds, rounded up."""
        tiktok.fail("token", status=500)
        world.clock.advance(LIFE + 0.5)
        with monkeypatch.context() as patched:
            patched.setattr(random, "uniform", lambda low, high: high)
            signed_in.me()
        # 1.25 s is the first step, and it began at half a second.
        assert kept(world).retry_at == int(world.clock() + 1.25) + 1

    def test_not_revoked(self, signed_in, other, world, tiktok):
        """invalid_grant for tokens that a login has replaced ends no session."""
        tiktok.fail("token", error="invalid_grant")
        tiktok.answered = once(other.log_in)
        world.clock.advance(LIFE + 1)
        me = signed_in.me()
        assert me["signed_in"]
        assert me["token"] == other.me()["token"]

    def test_revoked_all_the_same(self, signed_in, other, world, tiktok, store):
        """invalid_grant ends the sessions even if the record changed just before the
        deletion.
        """
        tiktok.fail("token", error="invalid_grant")
        store.before_delete = once(other.log_out)
        world.clock.advance(LIFE + 1)
        assert not signed_in.signed_in
        assert kept(world) is None
        ended = [e for e in world.events if e.name == "session_ended"]
        assert [e.reason for e in ended] == ["invalid_grant"]
        assert ended[0].open_id == world.tiktok.people[0].open_id

    def test_saved_by_a_login(self, signed_in, other, world, tiktok, store):
        """A login just before the record is deleted is not undone."""
        tiktok.fail("token", error="invalid_grant")
        store.before_delete = once(other.log_in)
        world.clock.advance(LIFE + 1)
        me = signed_in.me()
        assert me["token"] == kept(world).access_token.reveal()
        assert [e for e in world.events if e.name == "session_ended"] == []

    def test_gone_already(self, signed_in, other, world, tiktok, store):
        """If another request deleted the record, only that request reports the end."""
        tiktok.fail("token", error="invalid_grant")

        def leave():
            other.log_out()
            twin = world.browser(**signed_in.cookies())
            twin.log_out()

        store.before_delete = once(leave)
        world.clock.advance(LIFE + 1)
        assert not signed_in.signed_in
        assert [e for e in world.events if e.name == "session_ended"] == []

    def test_store_stumbles_at_every_second_call(
        self, signed_in, other, world, tiktok, store
    ):
        """An answer is written over another change, even if every second call of the
        store fails.
        """

        def leave():
            other.log_out()
            store.stumbles = True

        tiktok.answered = once(leave)
        world.clock.advance(LIFE + 1)
        core = core_of(world)
        named = record_id(world.settings.client_key, world.tiktok.people[0].open_id)
        versioned = run(core.service.records.load(named))
        fresh = run(core.service.refresh.fresh(versioned))
        # The calls: a swap that meets the change; a failing read; a read; a failing
        # swap; a swap.
        assert store.refused == 2
        store.stumbles = False
        assert fresh.record.access_token == kept(world).access_token
        assert fresh.record.failures == 0
        assert len(kept(world).sessions) == 1

    def test_store_does_not_come_back(self, signed_in, world, tiktok, store):
        """An answer that cannot be written for twelve seconds is a store outage."""
        tiktok.answered = lambda: setattr(store, "is_down", True)
        world.clock.advance(LIFE + 1)
        core, watch = core_of(world), Watch()

        async def sleep(seconds):
            watch.now += seconds

        core._backend.sleep = sleep
        named = record_id(world.settings.client_key, world.tiktok.people[0].open_id)
        versioned = run(core.service.records.load(named))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                "tiktok_oauth_middleware._session.refresh_request.time", watch
            )
            with pytest.raises(StoreError):
                run(core.service.refresh.fresh(versioned))
        # Pauses double from 0.05 s to a second; the last try begins within twelve
        # seconds.
        assert 1012 < watch.now <= 1013
        assert store.refused == 17

    @pytest.mark.parametrize("hindrance", ["outage", "change"])
    def test_process_that_was_suspended(
        self, signed_in, other, world, tiktok, store, monkeypatch, hindrance
    ):
        """An answer is written although the process was suspended for longer than
        writing it may take, and the first try failed.
        """
        watch = Watch()
        monkeypatch.setattr(
            "tiktok_oauth_middleware._session.refresh_request.time", watch
        )

        def suspend():
            if hindrance == "outage":
                store.is_down = True
            else:
                other.log_out()

        async def sleep(seconds):
            watch.now += 3600
            store.is_down = False

        async def replace(*args):
            watch.now += 3600
            return await before(*args)

        tiktok.answered = once(suspend)
        world.clock.advance(LIFE + 1)
        core = core_of(world)
        core._backend.sleep = sleep
        before = core.service.records.replace
        monkeypatch.setattr(core.service.records, "replace", replace)
        named = record_id(world.settings.client_key, world.tiktok.people[0].open_id)
        versioned = run(core.service.records.load(named))
        fresh = run(core.service.refresh.fresh(versioned))
        assert fresh.record.access_token == kept(world).access_token
        assert fresh.record.failures == 0


class Watch:
    """A stand-in for the module `time`, whose time the test sets."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Interrupted(MemoryStore):
    """A store in which something happens just before a record is deleted or locked."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.before_delete = None
        self.before_lock = None
        self.is_down = False
        self.stumbles = False
        self.calls = 0
        self.refused = 0

    def lock(self, key, ttl):
        if self.before_lock:
            elsewhere(self.before_lock)
        return super().lock(key, ttl)

    def get(self, key):
        if ":grant:" in key:
            self.stumble()
        return super().get(key)

    def stumble(self):
        self.calls += self.stumbles
        if self.stumbles and self.calls % 2 == 0:
            self.refused += 1
            raise StoreError("stumbled")

    def compare_and_set(self, key, old, new, ttl):
        if not key.endswith(":lock"):
            self.stumble()
        if self.is_down:
            self.refused += not key.endswith(":lock")
            raise StoreError("down")
        if new is None and ":grant:" in key and self.before_delete:
            elsewhere(self.before_delete)
        return super().compare_and_set(key, old, new, ttl)


def elsewhere(work):
    """Do it in a thread, since an event loop cannot run another one meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def once(work):
    """Return a function that does the work only the first time it is called."""
    left = [work]
    return lambda: left and left.pop()()


def core_of(world):
    return Core(
        SessionService(
            world.settings,
            ThreadBackend(),
            store=world.store,
            on_event=None,
            transport=world.tiktok.transport,
            clock=world.clock,
        )
    )

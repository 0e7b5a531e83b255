"""Sweeps, forced refreshes, the end of a grant, and undecryptable records."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import secrets
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import anyio
import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    NotSignedIn,
    RefreshSummary,
    SQLiteStore,
    StoreError,
    TikTokOAuthWSGIMiddleware,
    TikTokTokens,
    TikTokUnavailable,
)
from tiktok_oauth_middleware._session import service as session_service
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import ORIGIN, Clock, kept, make_settings
from ..support.app_process import options_for
from ..support.patience import HANGS
from ..support.processes import context

HOUR = 3600
DAY = 86400
LIFE = 2 * HOUR
PROCESSES = 6


class Job:
    """A job and a web app to which all people of the stand-in have logged in."""

    def __init__(self, stack, settings, tiktok, store, clock, backend="blocking"):
        self._stack = stack
        self.settings = settings
        self.tiktok = tiktok
        self.store = store
        self.clock = clock
        self.backend = backend
        self.events = []
        self.people = [person.open_id for person in tiktok.people]
        self.tokens = self.another()

    def another(self, *, transport=None, on_event=None, **changes):
        """Return another TikTokTokens, as another process has."""
        tokens = TikTokTokens(
            replace(self.settings, **changes),
            self.store,
            on_event=on_event or self.events.append,
            transport=transport or self.tiktok.transport,
            clock=self.clock,
        )
        self._stack.callback(tokens.close)
        return tokens

    def log_in(self):
        wrapped = TikTokOAuthWSGIMiddleware(
            lambda *_: [],
            self.settings,
            store=self.store,
            transport=self.tiktok.transport,
            clock=self.clock,
        )
        transport = httpx2.WSGITransport(wrapped)
        for person in self.tiktok.people:
            with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
                url = client.get("/auth/tiktok/login").headers["location"]
                response = client.get(self.tiktok.consent(url, person=person))
                assert response.status_code == 303
        wrapped.close()

    def call(self, method, *args, **options):
        """Call a method of TikTokTokens, or the same method in an event loop."""
        if self.backend == "blocking":
            return getattr(self.tokens, method)(*args, **options)

        async def once():
            try:
                return await getattr(self.tokens, f"a{method}")(*args, **options)
            finally:
                await self.tokens.aclose()
                # TikTokTokens does not close a store that was passed to it.
                if self.backend == "asyncio" and hasattr(self.store, "aclose"):
                    await self.store.aclose()

        return anyio.run(once, backend=self.backend)

    def sweep(self, within=LIFE):
        return self.call("refresh_expiring", within)

    @property
    def refreshes(self):
        return self.tiktok.count("token", grant_type="refresh_token")

    @property
    def ended(self):
        """Return the users whose grants were reported as ended, and the reasons."""
        return [(e.open_id, e.reason) for e in self.events if e.name == "session_ended"]


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def backend(request):
    return request.param


@pytest.fixture
def job(backend, settings, tiktok, store, clock):
    tiktok.access_lifetime = LIFE
    tiktok.refresh_lifetime = 180 * DAY
    with ExitStack() as stack:
        made = Job(
            stack,
            replace(settings, keep_grants=True),
            tiktok,
            store,
            clock,
            backend,
        )
        made.log_in()
        yield made


class TestRotationInterval:
    def test_however_often(self, job):
        """Sweeps every ten minutes rotate no token before half of its life is over."""
        runs = 12 * 6
        for _ in range(runs):
            job.clock.advance(600)
            job.sweep(within=400 * DAY)
        spent = runs * 600
        at_most, at_least = spent // (LIFE // 2), spent // LIFE
        assert at_least * 3 <= job.refreshes <= at_most * 3
        assert job.ended == []

    def test_hourly(self, job):
        """A sweep every hour, for two hours ahead, renews a token in every
        second run.
        """
        for _ in range(24):
            job.clock.advance(HOUR)
            job.sweep(within=LIFE)
        assert job.refreshes <= 3 * 12

    def test_sweeps_every_half_hour_miss_no_token(self, job):
        """With sweeps every half hour, for an hour ahead, no token expires."""
        for _ in range(24):
            job.clock.advance(HOUR / 2)
            job.sweep(within=HOUR)
            for user in job.call("users"):
                assert user.token_expires_at > job.clock() + HOUR / 2
        assert job.refreshes <= 3 * 12

    def test_just_renewed(self, job):
        """A token that a request or a job has just renewed is left alone."""
        job.clock.advance(LIFE - 60)
        for open_id in job.people:
            job.call("get", open_id)
        assert job.refreshes == 3
        for _ in range(5):
            job.clock.advance(LIFE / 11)
            assert job.sweep(within=400 * DAY) == RefreshSummary()
        assert job.refreshes == 3

    def test_ended_token(self, job):
        """A sweep renews an expired token, whatever time it was called for."""
        job.clock.advance(LIFE + 1)
        assert job.sweep(within=0) == RefreshSummary(refreshed=3)

    def test_leeway(self, settings, tiktok, store, clock):
        """A sweep with a request's leeway refreshes no token earlier than a request."""
        tiktok.access_lifetime = LIFE
        with ExitStack() as stack:
            wide = replace(settings, keep_grants=True, refresh_leeway=DAY)
            job = Job(stack, wide, tiktok, store, clock)
            job.log_in()
            clock.advance(LIFE * 0.85)
            assert job.sweep(within=0) == RefreshSummary()
            clock.advance(LIFE * 0.1)
            assert job.sweep(within=0) == RefreshSummary(refreshed=3)


class Gathering(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """A transport whose refreshes are answered when `wanted` of them are waiting."""

    def __init__(self, tiktok, wanted):
        self._transport = tiktok.transport
        self._wanted = wanted
        self._barrier = threading.Barrier(wanted)
        self._waiting = 0
        self._all_here = None

    def handle_request(self, request):
        if b"grant_type=refresh_token" in request.read():
            self._barrier.wait(HANGS)
        return self._transport.handle_request(request)

    async def handle_async_request(self, request):
        if b"grant_type=refresh_token" in await request.aread():
            self._all_here = self._all_here or anyio.Event()
            self._waiting += 1
            if self._waiting == self._wanted:
                self._all_here.set()
            with anyio.fail_after(HANGS):
                await self._all_here.wait()
        return await self._transport.handle_async_request(request)

    def close(self):
        self._transport.close()

    async def aclose(self):
        await self._transport.aclose()


class Counting(Gathering):
    """A transport in which each refresh takes a moment; it counts those under way."""

    def __init__(self, tiktok):
        super().__init__(tiktok, wanted=1)
        self._guard = threading.Lock()
        self._now = 0
        self.most = 0

    def _begin(self):
        with self._guard:
            self._now += 1
            self.most = max(self.most, self._now)

    def _end(self):
        with self._guard:
            self._now -= 1

    def handle_request(self, request):
        self._begin()
        time.sleep(0.05)
        self._end()
        return self._transport.handle_request(request)

    async def handle_async_request(self, request):
        self._begin()
        await anyio.sleep(0.05)
        self._end()
        return await self._transport.handle_async_request(request)


class TestTogether:
    def test_bounded(self, job, monkeypatch):
        """A sweep makes no more than `CALLS_AT_ONCE` calls at the same time."""
        monkeypatch.setattr(session_service, "CALLS_AT_ONCE", 2)
        job.clock.advance(LIFE * 0.7)
        transport = Counting(job.tiktok)
        job.tokens = job.another(transport=transport)
        assert job.sweep() == RefreshSummary(refreshed=3)
        assert transport.most <= 2  # on a busy machine they may not overlap

    def test_calls_overlap(self, job):
        """A sweep calls TikTok for several users at the same time."""
        job.clock.advance(LIFE * 0.7)
        job.tokens = job.another(transport=Gathering(job.tiktok, wanted=3))
        assert job.sweep() == RefreshSummary(refreshed=3)
        assert {event.open_id for event in job.events} == set(job.people)

    def test_store_fails(self, settings, tiktok, clock, backend):
        """A store's failure ends the sweep with its error; tokens that TikTok sent are
        stored.
        """
        store = FailingOnce(clock)
        tiktok.access_lifetime = LIFE
        with ExitStack() as stack:
            settings = replace(settings, keep_grants=True)
            job = Job(stack, settings, tiktok, store, clock, backend)
            job.log_in()
            clock.advance(LIFE * 0.7)
            store.fails = True
            with pytest.raises(StoreError):
                job.sweep()
            assert job.sweep().failed == 0
            assert job.refreshes == 3
            assert all(
                user.token_expires_at > clock() + HOUR for user in job.tokens.users()
            )

    def test_context(self, settings, tiktok, store, clock):
        """`on_event` has the caller's context variables, in every thread."""
        tiktok.access_lifetime = LIFE
        seen = []
        variable = contextvars.ContextVar("variable", default="outside")
        with ExitStack() as stack:
            job = Job(stack, replace(settings, keep_grants=True), tiktok, store, clock)
            job.log_in()
            clock.advance(LIFE * 0.7)
            tokens = job.another(
                transport=Gathering(tiktok, wanted=3),
                on_event=lambda _: seen.append(variable.get()),
            )
            variable.set("inside")
            assert tokens.refresh_expiring(LIFE).refreshed == 3
            assert seen == ["inside"] * 3

    def test_listed_twice(self, settings, tiktok, clock, backend):
        """A record that a store lists twice is refreshed and counted once."""
        tiktok.access_lifetime = LIFE
        with ExitStack() as stack:
            store = Repeating(clock=clock)
            settings = replace(settings, keep_grants=True)
            job = Job(stack, settings, tiktok, store, clock, backend)
            job.log_in()
            clock.advance(LIFE * 0.7)
            key = next(key for key in store.keys("tiktok:") if ":grant:" in key)
            store.compare_and_set(key, store.get(key), b"damaged", DAY)
            assert job.sweep() == RefreshSummary(refreshed=2, unreadable=1)
            assert job.refreshes == 2


class Repeating(MemoryStore):
    """A store that lists each key twice, as Redis may while it grows its table."""

    def pages(self, prefix):
        for page in super().pages(prefix):
            yield [key for key in page for _ in range(2)]


class FailingOnce(MemoryStore):
    """A store whose first write for a refresh fails."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.fails = False

    def compare_and_set(self, key, old, new, ttl):
        if self.fails and ":attempt:" in key:
            self.fails = False
            message = "not now"
            raise StoreError(message)
        return super().compare_and_set(key, old, new, ttl)


class TestAtOnce:
    def test_threads(self, settings, tiktok, store, clock):
        """Six sweeps at the same moment make one refresh for each user."""
        tiktok.access_lifetime = LIFE
        with ExitStack() as stack:
            job = Job(stack, replace(settings, keep_grants=True), tiktok, store, clock)
            job.log_in()
            clock.advance(LIFE * 0.7)
            results = []
            jobs = [job.another() for _ in range(6)]
            barrier = threading.Barrier(6)

            def sweep(tokens):
                barrier.wait(HANGS)
                results.append(tokens.refresh_expiring(LIFE))

            threads = [threading.Thread(target=sweep, args=(j,)) for j in jobs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HANGS)
            assert job.refreshes == 3
            assert len(results) == 6
            assert all(r.failed == r.ended == 0 for r in results)
            assert sum(r.refreshed for r in results) >= 3

    def test_processes(self, tmp_path):
        """Sweeps of six processes at once over one file refresh each user once."""
        path = str(tmp_path / "tokens.sqlite3")
        now = context.Value("d", Clock().now)
        fake = FakeTikTok.for_settings(make_settings(), clock=lambda: now.value)
        fake.access_lifetime = LIFE
        with StandIn(fake) as stand_in, ExitStack() as stack:
            options = {**options_for(stand_in), "keep_grants": True}
            store = SQLiteStore(path, clock=lambda: now.value, timeout=HANGS)
            stack.callback(store.close)
            settings = _settings(options)
            job = Job(stack, settings, fake, store, lambda: now.value)
            job.log_in()
            barrier, answers = context.Barrier(PROCESSES + 1), context.Queue()
            workers = [
                context.Process(
                    target=_sweeper,
                    args=(options, path, now, barrier, answers),
                    daemon=True,
                )
                for _ in range(PROCESSES)
            ]
            for process in workers:
                process.start()
            for rounds in range(1, 6):
                now.value += LIFE * 0.7
                barrier.wait(HANGS)
                found = [answers.get(timeout=HANGS) for _ in workers]
                assert job.refreshes == 3 * rounds
                assert all(failed == ended == 0 for _, failed, ended in found)
            for process in workers:
                process.join(HANGS)
            assert job.ended == []
            assert len(job.tokens.users()) == 3


def _settings(options):
    from tiktok_oauth_middleware import TikTokEndpoints

    endpoints = TikTokEndpoints(**options["endpoints"])
    return make_settings(**{**options, "endpoints": endpoints})


def _sweeper(options, path, now, barrier, answers):
    """Sweep once a round, at the same moment as the others."""
    store = SQLiteStore(path, clock=lambda: now.value, timeout=HANGS)
    tokens = TikTokTokens(_settings(options), store, clock=lambda: now.value)
    for _ in range(5):
        barrier.wait(HANGS)
        done = tokens.refresh_expiring(400 * DAY)
        answers.put((done.refreshed, done.failed, done.ended))
    tokens.close()
    store.close()


class TestRenew:
    def test_not_due(self, job):
        """renew() refreshes a token even if it is not due."""
        before = job.call("get", job.people[0])
        after = job.call("renew", job.people[0])
        assert after.access_token != before.access_token
        assert job.refreshes == 1

    def test_rejected(self, job):
        """A token that TikTok refused is replaced by one refresh for all callers."""
        dead = job.call("get", job.people[0]).access_token
        found = {
            job.call("renew", job.people[0], rejected=dead).access_token
            for _ in range(5)
        }
        assert len(found) == 1
        assert dead not in found
        assert job.refreshes == 1

    def test_at_once(self, settings, tiktok, store, clock):
        """Six processes that renew one user at the same moment make one refresh."""
        with ExitStack() as stack:
            job = Job(stack, replace(settings, keep_grants=True), tiktok, store, clock)
            job.log_in()
            jobs = [job.another() for _ in range(6)]
            barrier, found = threading.Barrier(6), []
            dead = job.tokens.get(job.people[0]).access_token

            def renew(tokens):
                barrier.wait(HANGS)
                found.append(tokens.renew(job.people[0], rejected=dead).access_token)

            threads = [threading.Thread(target=renew, args=(j,)) for j in jobs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HANGS)
            assert len(found) == 6
            assert len(set(found)) == 1
            assert job.refreshes == 1

    def test_outage(self, job):
        """If TikTok does not refresh a token, an error is raised instead of returning
        the old one.
        """
        job.tiktok.fail("token", status=500)
        for _ in range(3):  # the second and third fall into the back-off
            with pytest.raises(TikTokUnavailable, match="could not be renewed"):
                job.call("renew", job.people[0])
        assert job.refreshes == 1
        job.clock.advance(120)
        assert job.call("renew", job.people[0])

    def test_withdrawn(self, job):
        """A user whose grant TikTok has ended is no longer signed in."""
        dead = job.call("get", job.people[0]).access_token
        job.tiktok.provider.remove(job.people[0])
        with pytest.raises(NotSignedIn):
            job.call("renew", job.people[0], rejected=dead)
        assert job.ended == [(job.people[0], "invalid_grant")]


class TestEnd:
    def test_sweep(self, job):
        """A grant whose refresh token has expired is counted and reported once."""
        job.clock.advance(180 * DAY + LIFE)
        refreshes = job.refreshes
        assert job.sweep() == RefreshSummary(ended=3)
        assert job.refreshes == refreshes
        reason = "refresh_token_expired"
        assert sorted(job.ended) == sorted((o, reason) for o in job.people)
        assert job.sweep() == RefreshSummary()
        assert job.call("users") == []
        assert len(job.ended) == 3

    def test_weekly_sweep_finds_ended_grants(self, job):
        """A weekly sweep still finds the grants that ended since the last one."""
        job.clock.advance(180 * DAY + 7 * DAY - 1)
        assert job.sweep().ended == 3

    def test_kept_alive_until_then(self, job):
        """Refreshing does not extend a grant, whose time counts from the consent."""
        end = job.clock() + 180 * DAY

        def change(reply):
            reply["refresh_expires_in"] = max(0, int(end - job.clock()))

        with _answers(job.tiktok, change):
            while job.clock() < end - 30 * DAY:
                job.clock.advance(10 * DAY)
                job.sweep()
            ends = {user.ends_at for user in job.call("users")}
            assert ends == {int(end)}
            assert [u.open_id for u in job.call("ending", 29 * DAY)] == []
            found = job.call("ending", 30 * DAY)
            assert sorted(u.open_id for u in found) == sorted(job.people)
            job.clock.advance(31 * DAY)
            assert job.sweep().ended == 3

    def test_get(self, job):
        """A job that requests the token of a grant that has ended reports the end."""
        job.clock.advance(180 * DAY + LIFE)
        for _ in range(2):
            with pytest.raises(NotSignedIn):
                job.call("get", job.people[0])
        assert job.ended == [(job.people[0], "refresh_token_expired")]

    def test_no_back_off(self, job):
        """The back-off of a failed refresh does not keep a grant beyond its end."""
        end = job.clock() + 180 * DAY
        job.clock.now = end - 1
        job.tiktok.fail("token", times=3, status=429, headers={"Retry-After": "300"})
        assert job.sweep() == RefreshSummary(failed=3)
        job.clock.advance(2)
        assert job.sweep() == RefreshSummary(ended=3)

    def test_two_sweeps_report_once(self, settings, tiktok, store, clock):
        """One of two simultaneous sweeps reports the end."""
        tiktok.refresh_lifetime = 10 * DAY
        with ExitStack() as stack:
            job = Job(stack, replace(settings, keep_grants=True), tiktok, store, clock)
            job.log_in()
            clock.advance(11 * DAY)
            jobs = [job.another() for _ in range(4)]
            barrier = threading.Barrier(4)

            def sweep(tokens):
                barrier.wait(HANGS)
                tokens.refresh_expiring(LIFE)

            threads = [threading.Thread(target=sweep, args=(j,)) for j in jobs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HANGS)
            assert sorted(o for o, _ in job.ended) == sorted(job.people)

    def test_read_only(self, settings, tiktok, clock):
        """If the record cannot be deleted, requests are anonymous, and the end is
        reported later.
        """
        store = ReadOnly(clock)
        tiktok.refresh_lifetime = 10 * DAY
        with ExitStack() as stack:
            job = Job(stack, replace(settings, keep_grants=True), tiktok, store, clock)
            job.log_in()
            clock.advance(11 * DAY)
            store.is_read_only = True
            with pytest.raises(NotSignedIn):
                job.tokens.get(job.people[0])
            assert job.ended == []
            store.is_read_only = False
            assert job.sweep().ended == 3
            assert len(job.ended) == 3


class ReadOnly(MemoryStore):
    """A store that refuses writes while a test sets it so."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.is_read_only = False

    def compare_and_set(self, key, old, new, ttl):
        if self.is_read_only:
            raise StoreError("read only")
        return super().compare_and_set(key, old, new, ttl)


class _answers:
    """A context manager that changes the token answers of a stand-in."""

    def __init__(self, tiktok, change):
        self.provider, self.change = tiktok.provider, change

    def __enter__(self):
        self.token = self.provider.token

        def changed(form):
            reply = self.token(form)
            self.change(reply)
            return reply

        self.provider.token = changed

    def __exit__(self, *_):
        del self.provider.token


class TestEndOfASession:
    """The end of a grant in a browser, on every interface and store."""

    @pytest.fixture
    def short(self, world):
        world.tiktok.access_lifetime = LIFE
        world.tiktok.refresh_lifetime = DAY
        return world.with_settings(session_idle=30 * DAY)

    def ends(self, world):
        return [e.reason for e in world.events if e.name == "session_ended"]

    def test_reported(self, short):
        """A browser whose grant is over is anonymous, and the end is reported once."""
        browser, other = short.browser(), short.browser()
        browser.log_in()
        other.log_in()
        short.clock.advance(DAY + LIFE)
        assert not browser.signed_in
        assert not other.signed_in
        assert not browser.signed_in
        assert self.ends(short) == ["refresh_token_expired"]
        assert kept(short) is None

    def test_log_in_again(self, short):
        """A login after the end begins a new grant, to which the old end does not
        apply.
        """
        browser = short.browser()
        browser.log_in()
        short.clock.advance(DAY + LIFE)
        browser.log_in()
        assert browser.signed_in
        assert self.ends(short) == []

    def test_until_the_access_token_ends(self, short):
        """An expired refresh token does not end an access token that is still valid."""
        short.tiktok.refresh_lifetime = HOUR
        browser = short.browser()
        browser.log_in()
        short.clock.advance(LIFE - 10)
        assert browser.me()["token"]
        short.clock.advance(10)
        assert not browser.signed_in
        assert self.ends(short) == ["refresh_token_expired"]


class TestEnding:
    def test_within(self, job):
        """Grants that end within a given time are listed, in the order of their end."""
        assert job.call("ending", 30 * DAY) == []
        job.clock.advance(160 * DAY)
        found = job.call("ending", 30 * DAY)
        assert sorted(u.open_id for u in found) == sorted(job.people)
        assert all(u.ends_at == job.clock() + 20 * DAY for u in found)
        assert "act." not in repr(found)

    def test_order(self, job):
        """A user who consented later is listed later."""
        job.clock.advance(DAY)
        client = httpx2.Client(
            transport=httpx2.WSGITransport(
                TikTokOAuthWSGIMiddleware(
                    lambda *_: [],
                    job.settings,
                    store=job.store,
                    transport=job.tiktok.transport,
                    clock=job.clock,
                )
            ),
            base_url=ORIGIN,
        )
        with client:
            url = client.get("/auth/tiktok/login").headers["location"]
            client.get(job.tiktok.consent(url, person=job.tiktok.people[0]))
        found = [u.open_id for u in job.call("ending", 365 * DAY)]
        assert found[-1] == job.people[0]
        assert len(found) == 3
        early = [u.open_id for u in job.call("ending", 179.5 * DAY)]
        assert sorted(early) == sorted(job.people[1:])

    def test_end_not_named_by_tiktok(self, job):
        """A grant whose end TikTok did not name is not listed."""
        with _answers(job.tiktok, lambda reply: reply.pop("refresh_expires_in", None)):
            job.call("renew", job.people[0])
        found = [u.open_id for u in job.call("ending", 4000 * DAY)]
        assert sorted(found) == sorted(job.people[1:])
        [user] = [u for u in job.call("users") if u.open_id == job.people[0]]
        assert user.ends_at is None

    def test_no_refresh_token(self, job):
        """Without a refresh token the grant ends with its access token."""
        with _answers(job.tiktok, lambda reply: reply.pop("refresh_token", None)):
            job.tokens.forget(job.people[0])
            job.log_in()
        [user] = [u for u in job.call("users") if u.open_id == job.people[0]]
        assert user.ends_at == user.token_expires_at
        job.clock.advance(LIFE)
        assert job.sweep().ended >= 1
        assert (job.people[0], "refresh_token_expired") in job.ended


class TestUnknownKey:
    def test_counted(self, job):
        """Records sealed with a key that is not in the settings are counted."""
        assert job.call("unreadable") == 0
        job.tokens = job.another(secret_keys=[secrets.token_urlsafe(32)])
        assert job.call("users") == []
        assert job.call("unreadable") == 3
        assert job.sweep() == RefreshSummary(unreadable=3)

    def test_old_key_listed(self, job):
        """With the old key after the new one every record can be decrypted."""
        old = [key.reveal() for key in job.settings.secret_keys]
        job.tokens = job.another(secret_keys=[secrets.token_urlsafe(32), *old])
        assert job.call("unreadable") == 0
        assert len(job.call("users")) == 3

    def test_locks_are_none(self, job):
        """Other rows of a user are not counted as records that cannot be decrypted."""
        job.clock.advance(LIFE)
        job.sweep()
        assert job.call("unreadable") == 0


class Interrupting(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Interrupts the job, as Ctrl-C does, when TikTok has given new tokens."""

    def __init__(self, tiktok):
        self._inner = tiktok.transport
        #: Set if the test has its own handler, when that was called.
        self.handled = threading.Event()

    def _interrupt(self):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def handle_request(self, request):
        answer = self._inner.handle_request(request)
        self._interrupt()
        assert self.handled.wait(HANGS)
        return answer

    async def handle_async_request(self, request):
        answer = await self._inner.handle_async_request(request)
        # From a thread: the event loop is idle then, and no code of a task runs.
        await anyio.to_thread.run_sync(self._interrupt)
        return answer


@pytest.mark.parametrize("call", ["get", "renew", "refresh_expiring"])
def test_interrupted(job, call):
    """Ctrl-C during a refresh does not lose the tokens that TikTok gave."""
    person, *others = job.people
    for other in others:
        job.tokens.forget(other)
    before = job.call("get", person).access_token
    job.clock.advance(LIFE - 60)
    transport = Interrupting(job.tiktok)

    def handle(*_):
        transport.handled.set()
        raise KeyboardInterrupt

    # A shell makes the processes that it starts in the background ignore the signal.
    handler = handle if job.backend == "blocking" else signal.default_int_handler
    usual = signal.signal(signal.SIGINT, handler)
    tokens, job.tokens = job.tokens, job.another(transport=transport)
    try:
        with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as raised:
            job.call(call, LIFE if call == "refresh_expiring" else person)
    finally:
        signal.signal(signal.SIGINT, usual)
    error = raised.value
    if isinstance(error, BaseExceptionGroup):  # Trio's
        [error] = error.exceptions
    assert isinstance(error, KeyboardInterrupt)
    job.tokens = tokens
    assert job.call("get", person).access_token != before
    assert job.refreshes == 1
    assert job.ended == []


class InterruptedWrite(MemoryStore):
    """Interrupts the job, as Ctrl-C does, just before new tokens are stored."""

    is_armed = False

    def compare_and_set(self, key, old, new, ttl):
        if self.is_armed and old is not None and _is_record(key):
            self.is_armed = False
            signal.raise_signal(signal.SIGINT)
        return super().compare_and_set(key, old, new, ttl)


def _is_record(key):
    return ":grant:" in key and not key.endswith(":lock")


def test_interrupted_write(settings, tiktok, clock, backend):
    """Ctrl-C during the write of new tokens does not lose them."""
    tiktok.access_lifetime = LIFE
    store = InterruptedWrite(clock=clock)
    with ExitStack() as stack:
        settings = replace(settings, keep_grants=True)
        job = Job(stack, settings, tiktok, store, clock, backend)
        job.log_in()
        clock.advance(LIFE - 60)
        # A shell makes processes that it starts in the background ignore the signal.
        usual = signal.signal(signal.SIGINT, signal.default_int_handler)
        store.is_armed = True
        try:
            with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
                job.call("get", job.people[0])
        finally:
            signal.signal(signal.SIGINT, usual)
        assert job.call("get", job.people[0]).expires_at > clock() + LIFE / 2
        assert job.refreshes == 1


class InTasks:
    """A store for asyncio that does each call in a task, as psycopg does."""

    def __init__(self, rows):
        self._rows = rows
        self.is_writing = asyncio.Event()

    async def get(self, key):
        return await asyncio.create_task(self._answer(self._rows.get, key))

    async def compare_and_set(self, key, *values):
        if values[0] is not None and _is_record(key):
            self.is_writing.set()
        write = self._answer(self._rows.compare_and_set, key, *values)
        return await asyncio.create_task(write)

    async def _answer(self, method, *args):
        for _ in range(20):
            await asyncio.sleep(0)
        return method(*args)

    @contextlib.asynccontextmanager
    async def lock(self, key, ttl):
        with self._rows.lock(key, ttl) as is_held:
            yield is_held

    async def close(self):
        self._rows.close()


def test_end_of_the_loop(settings, tiktok, clock):
    """If `asyncio.run` cancels the store's own task at its end, the write is repeated."""
    tiktok.access_lifetime = LIFE
    rows = MemoryStore(clock=clock)
    with ExitStack() as stack:
        settings = replace(settings, keep_grants=True)
        job = Job(stack, settings, tiktok, rows, clock)
        job.log_in()
        clock.advance(LIFE)

        async def main():
            job.store = InTasks(rows)
            await asyncio.gather(job.another().aget(job.people[0]), fail(job.store))

        async def fail(store):
            await store.is_writing.wait()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            asyncio.run(main())
        assert job.call("get", job.people[0]).expires_at > clock() + LIFE / 2
        assert job.refreshes == 1


@pytest.mark.parametrize("failed", ["get", "renew"])
@pytest.mark.parametrize("called", ["get", "renew"])
def test_called_by_on_event(job, failed, called):
    """An on_event that asks for the token whose refresh failed gets an error at once."""
    person, got = job.people[0], []

    def ask(event):
        if event.name == "refresh_failed" and not got:
            got.append(None)
            try:
                got.append(getattr(job.tokens, called)(event.open_id))
            except TikTokUnavailable as error:
                got.append(error)

    async def aask(event):
        if event.name == "refresh_failed" and not got:
            got.append(None)
            try:
                got.append(await getattr(job.tokens, f"a{called}")(event.open_id))
            except TikTokUnavailable as error:
                got.append(error)

    job.tokens = job.another(on_event=ask if job.backend == "blocking" else aask)
    job.tiktok.fail("token", times=99, status=500)
    job.clock.advance(LIFE)

    def refresh():
        with contextlib.suppress(TikTokUnavailable):
            job.call(failed, person)

    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert isinstance(got[-1], TikTokUnavailable)
    assert job.tiktok.count("token", grant_type="refresh_token") == 1
    # Later it works again.
    job.tiktok.clear_faults()
    job.clock.advance(60)
    assert job.call("get", person).expires_at > job.clock()

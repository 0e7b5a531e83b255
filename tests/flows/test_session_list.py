"""The list of a user's sessions, and how an app ends one or all others."""

from __future__ import annotations

import re
from contextlib import ExitStack

import anyio
import pytest

from tiktok_oauth_middleware import SessionInfo, StoreError, TikTokTokens
from tiktok_oauth_middleware._session.record import MAX_SESSIONS

from ..conftest import API, LOGOUT, kept

SESSION = "__Host-tiktok"


@pytest.fixture
def me(world):
    return world.tiktok.people[0].open_id


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def jobs(request, world):
    """Return the methods of `TikTokTokens` as functions, blocking or in an event loop."""
    with ExitStack() as stack:
        tokens = TikTokTokens(
            world.settings,
            world.store,
            on_event=world.events.append,
            transport=world.tiktok.transport,
            clock=world.clock,
        )
        stack.callback(tokens.close)

        def call(name, *args):
            if request.param == "blocking":
                return getattr(tokens, name)(*args)

            async def once():
                try:
                    return await getattr(tokens, f"a{name}")(*args)
                finally:
                    await tokens.aclose()

            return anyio.run(once, backend=request.param)

        yield call


def session_id_of(world, visitor):
    """Return `auth.session_id` of a visitor's requests."""
    seen = []
    app = world.middleware
    before = app.app
    if world.interface == "wsgi":

        def wsgi_app(environ, start_response):
            seen.append(environ["tiktok.auth"].session_id)
            start_response("204 No Content", [])
            return []

        app.app = wsgi_app
    else:

        async def asgi_app(scope, receive, send):
            seen.append(scope["tiktok"].session_id)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        app.app = asgi_app
    visitor.ask("GET", "/")
    app.app = before
    return seen[0]


class TestList:
    def test_whose(self, world, raw, jobs, me):
        """Each browser has one session; `auth.session_id` identifies the
        request's own.
        """
        other = raw.another()
        raw.log_in()
        world.clock.advance(60)
        other.log_in()
        stranger = raw.another()
        stranger.log_in(person=world.tiktok.people[1])
        first, second = session_id_of(world, raw), session_id_of(world, other)
        now = int(world.clock())
        assert jobs("sessions", me) == [
            SessionInfo(session_id=second, created_at=now, last_seen_at=now),
            SessionInfo(session_id=first, created_at=now - 60, last_seen_at=now - 60),
        ]

    def test_unknown(self, jobs):
        """A user who is not stored has no sessions, and none are ended."""
        assert jobs("sessions", "nobody") == []
        assert jobs("end_session", "nobody", "0" * 32) is False
        assert jobs("end_other_sessions", "nobody", "0" * 32) == 0

    def test_anonymous(self, world, raw):
        """An anonymous request has no session id and no time of a login."""
        assert session_id_of(world, raw) is None

    def test_last_seen(self, world, raw, jobs, me):
        """Requests update the time of last use, and the most recent session is
        first.
        """
        raw.log_in()
        other = raw.another()
        world.clock.advance(60)
        other.log_in()
        world.clock.advance(3600)
        assert raw.open_id == me
        first, second = jobs("sessions", me)
        assert first.session_id == session_id_of(world, raw)
        assert first.last_seen_at == int(world.clock())
        assert second.last_seen_at == second.created_at

    def test_ended(self, world, raw, jobs, me):
        """Sessions that ended by idle time or by a logout are not listed."""
        world.with_settings(keep_grants=True)
        raw.log_in()
        raw.ask("POST", LOGOUT, headers={"origin": world.settings.origin})
        assert jobs("sessions", me) == []
        raw.log_in()
        world.clock.advance(world.settings.session_idle)
        assert jobs("sessions", me) == []

    def test_stays(self, world, raw, jobs, me):
        """A session's id is the same after restarts, refreshes and new secret keys."""
        raw.log_in()
        before = session_id_of(world, raw)
        world.clock.advance(2 * 3600)
        assert raw.open_id == me
        keys = [key.reveal() for key in world.settings.secret_keys]
        world.with_settings(secret_keys=["Nq8dT3vXz6LwR1tYb5NfH9cJm4GsPa7k", *keys])
        assert session_id_of(world, raw) == before

    def test_id_is_not_a_part_of_the_cookie(self, world, raw, jobs, me):
        """An id is 32 hexadecimal digits, and is not a part of the cookie or the
        record.
        """
        raw.log_in()
        [session] = jobs("sessions", me)
        assert re.fullmatch("[0-9a-f]{32}", session.session_id)
        packed = kept(world).pack().decode()
        for start in range(len(session.session_id) - 7):
            part = session.session_id[start : start + 8]
            assert part not in raw.cookies[SESSION]
            assert part not in packed


class TestEnd:
    def test_one(self, world, raw, jobs, me):
        """The session with the id ends, and the others stay."""
        others = [raw.another() for _ in range(2)]
        for visitor in (raw, *others):
            visitor.log_in()
        ended = session_id_of(world, others[0])
        assert jobs("end_session", me, ended) is True
        world.clock.advance(1)  # a cached session is fresh for a second
        assert [v.open_id for v in (raw, *others)] == [me, None, me]
        assert ended not in {s.session_id for s in jobs("sessions", me)}
        assert jobs("end_session", me, ended) is False

    def test_others(self, world, raw, jobs, me):
        """All other sessions end; the named one stays signed in with its tokens."""
        others = [raw.another() for _ in range(3)]
        for visitor in (raw, *others):
            visitor.log_in()
        own = session_id_of(world, raw)
        token = kept(world).access_token
        assert jobs("end_other_sessions", me, own) == 3
        world.clock.advance(1)
        assert raw.open_id == me
        assert [v.open_id for v in others] == [None] * 3
        assert [s.session_id for s in jobs("sessions", me)] == [own]
        assert kept(world).access_token == token
        assert jobs("end_other_sessions", me, own) == 0

    def test_expired_ones(self, world, raw, jobs, me):
        """Expired sessions are not listed, and do not count as ended."""
        other = raw.another()
        raw.log_in()
        expired = session_id_of(world, raw)
        world.clock.advance(world.settings.session_idle - 60)
        other.log_in()
        world.clock.advance(120)
        own = session_id_of(world, other)
        world.events.clear()
        assert jobs("end_session", me, expired) is False
        assert jobs("end_other_sessions", me, own) == 0
        assert world.events == []

    @pytest.mark.parametrize("keeps", [True, False])
    def test_last(self, world, raw, me, keeps):
        """The tokens are deleted with the last session, as at a logout, unless
        `keep_grants` is set.
        """
        world.with_settings(keep_grants=keeps)
        raw.log_in()
        with ExitStack() as stack:
            tokens = TikTokTokens(world.settings, world.store, clock=world.clock)
            stack.callback(tokens.close)
            assert tokens.end_session(me, session_id_of(world, raw))
        assert (kept(world) is not None) is keeps
        assert world.tiktok.count("revoke") == 0

    def test_events(self, world, raw, jobs, me):
        """Every session that was ended is reported as a logout by the app."""
        others = [raw.another() for _ in range(2)]
        for visitor in (raw, *others):
            visitor.log_in()
        own = session_id_of(world, raw)
        world.events.clear()
        jobs("end_other_sessions", me, own)
        reported = [(e.name, e.reason, e.open_id) for e in world.events]
        assert reported == [("logout", "ended_by_app", me)] * 2

    def test_unknown_id(self, world, raw, jobs, me):
        """An unknown id ends no session; given as the one to keep, all sessions end."""
        raw.log_in()
        for odd in ("", "x", "0" * 32, session_id_of(world, raw).upper(), "\ud800"):
            assert jobs("end_session", me, odd) is False
        assert raw.open_id == me
        assert jobs("end_other_sessions", me, "0" * 32) == 1
        world.clock.advance(1)
        assert raw.open_id is None

    @pytest.mark.parametrize("odd", [None, 7, b"0" * 32, ["x"]])
    def test_no_id(self, world, raw, jobs, me, odd):
        """An id that is not a string, such as an anonymous request's None, is
        an error.
        """
        raw.log_in()
        for name in ("end_session", "end_other_sessions"):
            with pytest.raises(TypeError, match="session_id must be a string"):
                jobs(name, me, odd)
        assert raw.open_id == me

    # A hundred logins each: every store and every way to call once is enough.
    @pytest.mark.parametrize(
        ("store", "jobs"),
        [("memory", "trio"), ("sqlite", "asyncio"), ("redis", "blocking")],
        indirect=True,
    )
    def test_many(self, world, raw, jobs, me):
        """The maximum of sessions can be listed, and ended at once."""
        visitors = [raw.another() for _ in range(MAX_SESSIONS + 1)]
        for visitor in visitors:
            visitor.log_in()
            world.clock.advance(1)
        found = jobs("sessions", me)
        assert len(found) == MAX_SESSIONS
        assert len({s.session_id for s in found}) == MAX_SESSIONS
        own = session_id_of(world, visitors[-1])
        assert found[0].session_id == own
        assert jobs("end_other_sessions", me, own) == MAX_SESSIONS - 1


@pytest.mark.parametrize("store", ["memory"], indirect=True)
class TestElsewhere:
    """How other workers and concurrent requests treat an ended session."""

    def test_other_worker(self, world, raw, jobs, me):
        """A worker with the session in its cache accepts it for at most a second."""
        raw.log_in()
        assert raw.open_id == me
        ended = session_id_of(world, raw)
        assert jobs("end_session", me, ended)
        world.clock.advance(0.9)
        assert raw.open_id == me  # as after a logout in another process
        world.clock.advance(0.1)
        answer = raw.ask("GET", "/who", headers=API)
        assert answer.set_cookies == {SESSION: ""}
        assert raw.open_id is None

    def test_ended_session_stays_ended(self, world, raw, jobs, me):
        """Neither a refresh nor writing "last seen" restores an ended session."""
        other = raw.another()
        raw.log_in()
        other.log_in()
        ended = session_id_of(world, raw)
        world.clock.advance(world.settings.session_idle / 2)
        assert jobs("end_session", me, ended)
        world.clock.advance(2)
        assert raw.open_id is None
        assert other.open_id == me
        assert [s.session_id for s in jobs("sessions", me)] == [
            session_id_of(world, other)
        ]

    def test_callback_again(self, world, raw, jobs, me):
        """A repeated callback does not restore the ended session."""
        authorize = raw.begin()
        waiting = dict(raw.cookies)  # the cookies of the login
        path, query = raw.consent(authorize)
        assert raw.ask("GET", path, query=query).status == 303
        assert jobs("end_session", me, session_id_of(world, raw))
        world.clock.advance(1)
        again = raw.another()
        again.cookies = waiting
        assert again.ask("GET", path, query=query).status == 400
        assert again.open_id is None

    def test_store_fails(self, world, raw, me):
        """If the store fails the error is raised, and the session stays valid."""
        raw.log_in()
        own = session_id_of(world, raw)

        class Failing:
            is_shared = True
            waits = "never"
            renews = True

            def __init__(self, store):
                self._store = store

            def get(self, key):
                return self._store.get(key)

            def compare_and_set(self, key, old, new, ttl):
                message = "read only"
                raise StoreError(message)

            def lock(self, key, ttl):
                return self._store.lock(key, ttl)

            def close(self):
                pass

        tokens = TikTokTokens(world.settings, Failing(world.store), clock=world.clock)
        with pytest.raises(StoreError):
            tokens.end_session(me, own)
        with pytest.raises(StoreError):
            tokens.end_other_sessions(me, "0" * 32)
        assert [s.session_id for s in tokens.sessions(me)] == [own]
        assert raw.open_id == me

"""TikTokTokens: jobs get a user's token with the same refresh and lock as web apps."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from contextvars import Context
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx2
import pytest

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    NotSignedIn,
    RefreshSummary,
    SQLiteStore,
    StoreError,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokTokens,
    TikTokUnavailable,
)
from tiktok_oauth_middleware import tokens as tokens_module
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import (
    API,
    LOGOUT,
    ORIGIN,
    SAME_ORIGIN,
    flask_app,
    make_settings,
    starlette_app,
)
from ..support.asgi_client import AppClient
from ..support.patience import HANGS

DAY = 86400


@pytest.fixture
def tiktok(settings, clock):
    """Return a stand-in whose tokens live for a day, as in TikTok's older documents."""
    return FakeTikTok.for_settings(settings, clock=clock, access_lifetime=DAY)


class World:
    """A web app with a signed-in user, and its jobs."""

    def __init__(self, stack, settings, tiktok, store, clock):
        self._stack = stack
        self.settings = settings
        self.tiktok = tiktok
        self.store = store
        self.clock = clock
        self.events = []
        self.open_id = tiktok.people[0].open_id

    def options(self, **changes):
        given = {
            "store": self.store,
            "transport": self.tiktok.transport,
            "clock": self.clock,
            "on_event": self.events.append,
        }
        return {**given, **changes}

    def tokens(self, **changes):
        made = TikTokTokens(self.settings, **self.options(**changes))
        self._stack.callback(made.close)
        return made

    def browser(self, interface="asgi", **changes):
        """Return a client of the web app, signed in."""
        options = self.options(**changes)
        if interface == "asgi":
            app = TikTokOAuthMiddleware(starlette_app(), self.settings, **options)
            client = AppClient(app, base_url=ORIGIN)
        else:
            app = flask_app().wsgi_app
            app = TikTokOAuthWSGIMiddleware(app, self.settings, **options)
            client = httpx2.Client(transport=httpx2.WSGITransport(app), base_url=ORIGIN)
        self._stack.enter_context(client)
        assert login_as(client, self.tiktok).status_code == 303
        return client

    @property
    def refreshes(self):
        return self.tiktok.count("token", grant_type="refresh_token")


def who(client):
    """Return the web app's view of a client."""
    return client.get("/who", headers=API).json()


def log_out(client):
    response = client.post(LOGOUT, headers=SAME_ORIGIN, follow_redirects=False)
    assert response.status_code == 303


@pytest.fixture
def make_world(settings, tiktok, store, clock):
    with ExitStack() as stack:

        def make(**changes):
            # Sessions that do not end within a test that lasts a day.
            given = {"session_idle": 30 * DAY, **changes}
            return World(stack, replace(settings, **given), tiktok, store, clock)

        yield make


@pytest.fixture
def world(make_world):
    return make_world()


@pytest.fixture(params=["get", "aget on asyncio", "aget on trio"])
def ask(request):
    """Return a function that asks for a token, blocking or in an event loop."""
    if request.param == "get":
        return lambda tokens, open_id: tokens.get(open_id)

    def asked(tokens, open_id):
        async def once():
            try:
                return await tokens.aget(open_id)
            finally:
                await tokens.aclose()

        return anyio.run(once, backend=request.param.removeprefix("aget on "))

    return asked


class TestGet:
    def test_as_in_the_app(self, world, ask):
        """A job gets the web app's token, without a call to TikTok."""
        seen = who(world.browser())
        token = ask(world.tokens(), world.open_id)
        assert token.access_token == seen["token"]
        assert token.expires_at == seen["expires_at"]
        assert sorted(token.scopes) == seen["scopes"]
        assert world.refreshes == 0

    def test_due(self, world, ask):
        """A token that is about to expire is renewed, also for the web app."""
        client = world.browser()
        before = who(client)["token"]
        world.clock.advance(DAY - 100)
        token = ask(world.tokens(), world.open_id)
        assert token.access_token != before
        assert token.expires_at == world.clock() + DAY
        assert world.refreshes == 1
        again = ask(world.tokens(), world.open_id)
        assert again.access_token == token.access_token
        assert world.refreshes == 1

    def test_expired(self, world, ask):
        """An expired token is renewed, never returned."""
        world.browser()
        world.clock.advance(DAY + 1)
        token = ask(world.tokens(), world.open_id)
        assert token.expires_at == world.clock() + DAY
        assert world.refreshes == 1

    def test_renewed_token_reaches_the_app(self, world, ask):
        """The web app uses a token that a job renewed, without another call."""
        client = world.browser()
        for _ in range(3):
            world.clock.advance(DAY / 4)
            who(client)
        world.clock.advance(DAY / 4 - 100)
        token = ask(world.tokens(), world.open_id)
        world.clock.advance(1)
        assert who(client)["token"] == token.access_token
        assert world.refreshes == 1

    def test_users_are_apart(self, world, ask):
        """Each user gets their own token."""
        client = world.browser()
        other = world.tiktok.people[1]
        login_as(client, world.tiktok, other)
        client.cookies.clear()
        login_as(client, world.tiktok)
        tokens = world.tokens()
        one, two = ask(tokens, world.open_id), ask(tokens, other.open_id)
        assert one.access_token != two.access_token
        assert one.access_token == who(client)["token"]

    def test_event(self, world, ask):
        """A job's refresh is reported like one of the web app."""
        world.browser()
        world.events.clear()
        world.clock.advance(DAY)
        ask(world.tokens(), world.open_id)
        assert [(e.name, e.open_id) for e in world.events] == [
            ("refresh", world.open_id)
        ]

    def test_prints_no_secret(self, world, ask):
        """Printing a token object does not show the token."""
        world.browser()
        token = ask(world.tokens(), world.open_id)
        assert token.access_token not in f"{token!r} {token}"


class TestNotSignedIn:
    @pytest.mark.parametrize("open_id", ["", "nobody", "é\n", "x" * 100_000])
    def test_unknown(self, world, ask, open_id):
        """A user who never logged in has no token."""
        world.browser()
        with pytest.raises(NotSignedIn):
            ask(world.tokens(), open_id)

    def test_exact(self, world, ask):
        """An open_id must match byte for byte."""
        world.browser()
        for other in (world.open_id.upper() + " ", world.open_id + "\0"):
            with pytest.raises(NotSignedIn):
                ask(world.tokens(), other)

    def test_other_app(self, world, ask, clock):
        """A job of another TikTok app does not see the grants."""
        world.browser()
        world.settings = make_settings(client_key="awother")
        with pytest.raises(NotSignedIn):
            ask(world.tokens(), world.open_id)

    def test_revoked(self, world, ask):
        """A grant that TikTok ended is deleted, with its sessions."""
        client = world.browser()
        world.clock.advance(DAY)
        world.tiktok.fail("token", error="invalid_grant")
        with pytest.raises(NotSignedIn):
            ask(world.tokens(), world.open_id)
        world.clock.advance(1)
        assert not who(client)["signed_in"]
        with pytest.raises(NotSignedIn):
            ask(world.tokens(), world.open_id)
        assert world.refreshes == 1

    def test_refresh_token_ended(self, world, ask):
        """A grant whose refresh token expired is deleted without a call to TikTok."""
        world.tiktok.refresh_lifetime = 2 * DAY
        world.browser()
        world.clock.advance(2 * DAY)
        with pytest.raises(NotSignedIn):
            ask(world.tokens(), world.open_id)
        assert world.refreshes == 0

    def test_logout(self, world, ask):
        """By default the grant ends with the user's last session."""
        one, two = world.browser(), world.browser()
        log_out(one)
        assert ask(world.tokens(), world.open_id).access_token == who(two)["token"]
        log_out(two)
        with pytest.raises(NotSignedIn):
            ask(world.tokens(), world.open_id)

    def test_keep_grants(self, make_world, ask):
        """With keep_grants=True a job still refreshes after the last session."""
        world = make_world(keep_grants=True)
        client = world.browser()
        log_out(client)
        assert not who(client)["signed_in"]
        before = ask(world.tokens(), world.open_id)
        tokens = world.tokens()
        for _ in range(20):
            world.clock.advance(3 * DAY)
            after = ask(tokens, world.open_id)
        assert after.access_token != before.access_token
        assert world.refreshes == 20

    def test_keep_grants_revives_nothing(self, make_world):
        """A kept grant does not revive an old session."""
        world = make_world(keep_grants=True)
        client = world.browser()
        kept = dict(client.cookies)
        log_out(client)
        world.tokens().get(world.open_id)
        client.cookies.update(kept)
        assert not who(client)["signed_in"]

    @pytest.mark.parametrize("kept", [True, False])
    def test_idle(self, make_world, ask, kept):
        """An unused session ends, and the grant with it unless it is kept."""
        world = make_world(session_idle=3600, keep_grants=kept)
        client = world.browser()
        world.clock.advance(3599)
        assert ask(world.tokens(), world.open_id)
        world.clock.advance(2)
        assert not who(client)["signed_in"]
        if kept:
            assert ask(world.tokens(), world.open_id)
        else:
            with pytest.raises(NotSignedIn):
                ask(world.tokens(), world.open_id)

    def test_not_kept_for_ever(self, world, ask):
        """By default a job's refreshes keep no grant beyond its sessions' lifetime."""
        world.browser()
        for _ in range(29):
            world.clock.advance(DAY)
            ask(world.tokens(), world.open_id)
        world.clock.advance(DAY)
        with pytest.raises(NotSignedIn):
            ask(world.tokens(), world.open_id)


class TestTikTokDown:
    FAULTS = [
        {"status": 500},
        {"status": 429},
        {"error": "server_error"},
        {"error": "invalid_client"},
        {"body": b"<html>"},
        {"disconnect": True},
    ]

    @pytest.mark.parametrize("fault", FAULTS)
    def test_expired(self, world, ask, fault):
        """If TikTok does not renew an expired token, TikTokUnavailable is raised."""
        client = world.browser()
        world.tiktok.fail("token", times=100, **fault)
        world.clock.advance(DAY)
        with pytest.raises(TikTokUnavailable, match="could not be renewed"):
            ask(world.tokens(), world.open_id)
        world.tiktok.clear_faults()
        world.clock.advance(120)
        assert ask(world.tokens(), world.open_id).expires_at > world.clock()
        assert who(client)["open_id"] in (None, world.open_id)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_still_good(self, world, ask, fault):
        """A token that is still valid is returned even if TikTok is down."""
        world.browser()
        before = ask(world.tokens(), world.open_id)
        world.tiktok.fail("token", times=100, **fault)
        world.clock.advance(DAY - 100)
        after = ask(world.tokens(), world.open_id)
        assert after.access_token == before.access_token

    def test_backs_off(self, world, ask):
        """After a failure, TikTok is called once per back-off, however many jobs need a
        token.
        """
        world.browser()
        world.tiktok.fail("token", times=100, status=500)
        world.clock.advance(DAY)
        for _ in range(10):
            with pytest.raises(TikTokUnavailable):
                ask(world.tokens(), world.open_id)
        assert world.refreshes == 1


class Meanwhile:
    """A transport that does something else while TikTok is being asked to refresh."""

    def __init__(self, tiktok):
        self._tiktok = tiktok
        self.action = None

    @property
    def transport(self):
        def answer(request):
            if b"refresh_token" in request.content and self.action is not None:
                action, self.action = self.action, None
                action()
            reply = self._tiktok.handle(
                request.method, str(request.url), request.headers, request.content
            )
            return httpx2.Response(
                reply.status, headers=list(reply.headers), content=reply.body
            )

        return httpx2.MockTransport(answer)


class TestOneRefresh:
    @pytest.mark.parametrize("interface", ["asgi", "wsgi"])
    def test_job_meets_app(self, world, interface):
        """While the web app refreshes, a job uses the token that is still valid."""
        meanwhile = Meanwhile(world.tiktok)
        client = world.browser(interface, transport=meanwhile.transport)
        before = who(client)["token"]
        for _ in range(3):
            world.clock.advance(DAY / 4)
            who(client)
        world.clock.advance(DAY / 4 - 100)
        got = []
        tokens = world.tokens()
        meanwhile.action = lambda: got.append(tokens.get(world.open_id))
        after = who(client)["token"]
        assert [token.access_token for token in got] == [before]
        assert after != before
        assert world.refreshes == 1
        assert tokens.get(world.open_id).access_token == after

    @pytest.mark.parametrize("interface", ["asgi", "wsgi"])
    def test_app_meets_job(self, world, interface):
        """While a job refreshes, the web app uses the token that is still valid."""
        client = world.browser(interface)
        before = who(client)["token"]
        for _ in range(3):
            world.clock.advance(DAY / 4)
            who(client)
        world.clock.advance(DAY / 4 - 100)
        meanwhile, got = Meanwhile(world.tiktok), []
        meanwhile.action = lambda: got.append(who(client)["token"])
        tokens = world.tokens(transport=meanwhile.transport)
        token = tokens.get(world.open_id)
        assert got == [before]
        assert token.access_token != before
        assert world.refreshes == 1

    def test_waits_for_a_new_token(self, world):
        """While the web app renews an expired token, a job waits for the new one."""
        client = world.browser("wsgi")
        for _ in range(3):
            world.clock.advance(DAY / 4)
            who(client)
        world.clock.advance(DAY / 4 + 100)
        tokens = world.tokens()
        meanwhile = Meanwhile(world.tiktok)
        leading = world.tokens(transport=meanwhile.transport)
        with ThreadPoolExecutor(20) as pool:
            waiting = []

            def begin():
                waiting.extend(
                    pool.submit(tokens.get, world.open_id) for _ in range(10)
                )
                waiting.extend(pool.submit(who, client) for _ in range(10))

            # On a build without the lock, a new thread has the context of the one that
            # starts it, here of the refresh; those of jobs and requests have another.
            meanwhile.action = partial(Context().run, begin)
            token = leading.get(world.open_id)
            jobs = [job.result() for job in waiting]
        found = {job.access_token for job in jobs[:10]}
        found |= {seen["token"] for seen in jobs[10:]}
        assert found == {token.access_token}
        assert world.refreshes == 1

    async def test_many_at_once(self, world):
        """A hundred jobs at once in one event loop make one refresh."""
        await anyio.to_thread.run_sync(world.browser)
        world.clock.advance(DAY)
        tokens, got = world.tokens(), set()

        async def once():
            got.add((await tokens.aget(world.open_id)).access_token)

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(once)
        await tokens.aclose()
        assert len(got) == 1
        assert world.refreshes == 1

    async def test_both_ways_at_once(self, world):
        """get in a thread and aget in the loop of one object make one refresh."""
        await anyio.to_thread.run_sync(world.browser)
        world.clock.advance(DAY)
        tokens, got = world.tokens(), set()

        async def once():
            got.add((await tokens.aget(world.open_id)).access_token)

        async def in_thread():
            token = await anyio.to_thread.run_sync(tokens.get, world.open_id)
            got.add(token.access_token)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(once)
                group.start_soon(in_thread)
        await tokens.aclose()
        assert len(got) == 1
        assert world.refreshes == 1


class Waiting(httpx2.AsyncBaseTransport):
    """TikTok, which waits for the test before it refreshes."""

    def __init__(self, tiktok):
        self._inner = tiktok.transport
        self.arrived, self.go_on = anyio.Event(), anyio.Event()

    async def handle_async_request(self, request):
        if b"refresh_token" in await request.aread():
            self.arrived.set()
            await self.go_on.wait()
        return await self._inner.handle_async_request(request)


class TestBlockingTheLoop:
    """A blocking call in the event loop in which a task refreshes the same token."""

    @pytest.fixture
    async def refreshing(self, world):
        """Return other tokens than those whose expired token a task is refreshing."""
        await anyio.to_thread.run_sync(world.browser)
        world.clock.advance(DAY + 1)
        transport, got = Waiting(world.tiktok), []
        tokens = world.tokens(transport=transport)

        async def refresh():
            try:
                got.append(await tokens.aget(world.open_id))
            except NotSignedIn as error:
                got.append(error)

        @asynccontextmanager
        async def begun():
            async with anyio.create_task_group() as group:
                group.start_soon(refresh)
                await transport.arrived.wait()
                yield world.tokens()
                assert got == []
                transport.go_on.set()
            await tokens.aclose()

        return begun, got

    @pytest.mark.parametrize("method", ["get", "renew"])
    async def test_get(self, world, refreshing, method):
        """It fails at once and says what to call, since the task could not go on."""
        begun, got = refreshing
        async with begun() as tokens:
            with pytest.raises(TikTokUnavailable, match=r"in an event loop await aget"):
                getattr(tokens, method)(world.open_id)
        [token] = got
        assert token.expires_at > world.clock()
        assert world.refreshes == 1
        assert tokens.get(world.open_id).access_token == token.access_token

    async def test_disconnect(self, world, refreshing):
        """It leaves the access to the task, which revokes its new token."""
        begun, got = refreshing
        async with begun() as tokens:
            assert tokens.disconnect(world.open_id) == "failed"
        assert [type(each) for each in got] == [NotSignedIn]
        assert world.tiktok.count("revoke") == 1

    async def test_in_a_thread(self, world, refreshing):
        """In another thread it waits for the task."""
        begun, got = refreshing
        async with anyio.create_task_group() as group, begun() as tokens:

            async def get():
                got.append(await anyio.to_thread.run_sync(tokens.get, world.open_id))

            group.start_soon(get)
            await anyio.sleep(0.1)
        assert len({token.access_token for token in got}) == 1
        assert world.refreshes == 1


class Cancelling:
    """A store for event loops; the task is cancelled after one of its calls."""

    def __init__(self, inner, call, cancel):
        self._inner = inner
        self._call = call
        self._cancel = cancel
        self.calls = 0

    async def _count(self):
        self.calls += 1
        if self.calls == self._call:
            self._cancel()
            await anyio.lowlevel.checkpoint()  # is cancelled here

    async def get(self, key):
        found = self._inner.get(key)
        await self._count()
        return found

    async def compare_and_set(self, *swap):
        done = self._inner.compare_and_set(*swap)
        await self._count()
        return done

    @asynccontextmanager
    async def lock(self, key, ttl):
        with self._inner.lock(key, ttl) as is_held:
            await self._count()
            yield is_held

    async def close(self):
        pass


class TestDisconnect:
    @pytest.fixture
    def store(self, clock):
        return MemoryStore(clock=clock)

    async def test_cancelled(self, world):
        """A disconnect whose caller is cancelled, at any call of the store, is finished.

        Otherwise the record would be deleted, and nothing left to revoke with.
        """
        call = 0
        while True:
            call, scope = call + 1, anyio.CancelScope()
            await anyio.to_thread.run_sync(world.browser)
            store = Cancelling(world.store, call, scope.cancel)
            tokens = world.tokens(store=store)
            with scope:
                await tokens.adisconnect(world.open_id)
            await tokens.aclose()
            assert world.tiktok.count("revoke") == call
            assert world.events[-1].reason == "revoked"
            with pytest.raises(NotSignedIn):
                await tokens.aget(world.open_id)
            if not scope.cancel_called:
                assert call > 4
                return


class TestForget:
    def test_ends_sessions(self, world):
        """Forgetting a user ends all of the user's sessions, without a call to
        TikTok.
        """
        one, two = world.browser(), world.browser()
        tokens = world.tokens()
        assert tokens.forget(world.open_id) is True
        world.clock.advance(1)
        assert not who(one)["signed_in"]
        assert not who(two)["signed_in"]
        with pytest.raises(NotSignedIn):
            tokens.get(world.open_id)
        assert world.tiktok.count("revoke") == 0

    async def test_async(self, world):
        """aforget does the same in an event loop."""
        client = await anyio.to_thread.run_sync(world.browser)
        tokens = world.tokens()
        assert await tokens.aforget(world.open_id) is True
        assert await tokens.aforget(world.open_id) is False
        world.clock.advance(1)
        assert not (await anyio.to_thread.run_sync(who, client))["signed_in"]
        with pytest.raises(NotSignedIn):
            await tokens.aget(world.open_id)
        await tokens.aclose()

    def test_anonymous(self, world):
        """Forgetting an unknown user returns False."""
        assert world.tokens().forget("nobody") is False

    def test_only_this_user(self, world):
        """Others stay signed in."""
        client = world.browser()
        other = world.tiktok.people[1]
        assert world.tokens().forget(other.open_id) is False
        assert who(client)["signed_in"]

    def test_kept_grants(self, make_world):
        """A grant that keep_grants kept is forgotten too."""
        world = make_world(keep_grants=True)
        log_out(world.browser())
        tokens = world.tokens()
        assert tokens.get(world.open_id)
        assert tokens.forget(world.open_id) is True
        with pytest.raises(NotSignedIn):
            tokens.get(world.open_id)


class Broken(MemoryStore):
    """A store whose server is down."""

    def get(self, key):
        raise StoreError("gone")


class TestBuilt:
    def test_same_keywords(self):
        """TikTokTokens has the middlewares' keywords, except those for pages and
        logins.
        """
        ours = list(inspect.signature(TikTokTokens).parameters)
        for kind in (TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware):
            theirs = list(inspect.signature(kind).parameters)[1:]
            assert theirs == [*ours, "page", "texts", "on_login", "current_user"]

    def test_nothing_is_opened(self, settings, tmp_path):
        """The settings' store is opened at the first use, not before."""
        file = tmp_path / "tokens.sqlite3"
        changed = make_settings(store=f"sqlite:///{file}")
        tokens = TikTokTokens(changed)
        assert not file.exists()
        with pytest.raises(NotSignedIn):
            tokens.get("nobody")
        assert file.exists()
        tokens.close()

    def test_first_use_by_many_threads(self, settings, clock, monkeypatch):
        """Threads that use it first at the same moment share one service."""
        threads = 4
        both = threading.Barrier(threads)
        tokens = TikTokTokens(settings, MemoryStore(clock=clock), clock=clock)

        class Slow(tokens_module.SessionService):
            def __init__(self, *args, **options):
                super().__init__(*args, **options)
                both.wait(HANGS)

        monkeypatch.setattr(tokens_module, "SessionService", Slow)
        for service in (tokens._sync_service, tokens._async_service):
            with ThreadPoolExecutor(threads) as pool:
                made = [pool.submit(service) for _ in range(threads)]
            assert {each.result() for each in made} == {service()}

    def test_close(self, world):
        """A closed TikTokTokens opens again when it is needed."""
        world.browser()
        tokens = world.tokens()
        tokens.close()
        for _ in range(2):
            world.clock.advance(DAY)
            assert tokens.get(world.open_id)
            tokens.close()
            tokens.close()

    async def test_aclose(self, world):
        """A TikTokTokens closed in an event loop opens again when it is needed."""
        await anyio.to_thread.run_sync(world.browser)
        tokens = world.tokens()
        await tokens.aclose()
        for _ in range(2):
            world.clock.advance(DAY)
            assert await tokens.aget(world.open_id)
            await tokens.aclose()

    def test_two_loops(self, world):
        """One object serves one event loop after another."""
        world.browser()
        tokens = world.tokens()

        async def once():
            token = await tokens.aget(world.open_id)
            await tokens.aclose()
            return token

        for backend in ("asyncio", "trio", "asyncio"):
            world.clock.advance(DAY)
            token = anyio.run(once, backend=backend)
            assert token.expires_at == world.clock() + DAY

    def test_store_down(self, world, ask):
        """A failing store is an error, and not an unknown user."""
        with pytest.raises(StoreError):
            ask(world.tokens(store=Broken()), world.open_id)

    @pytest.mark.parametrize("is_object", [False, True])
    def test_async_callback(self, world, is_object):
        """`get` cannot call an async `on_event`, and says so."""

        async def on_event(event): ...

        class Listener:
            async def __call__(self, event): ...

        if is_object:
            on_event = Listener()
        with pytest.raises(ConfigurationError, match="on_event"):
            world.tokens(on_event=on_event).get(world.open_id)

    async def test_async_callback_awaited(self, world):
        """`aget` calls an async `on_event`."""
        report = []

        async def on_event(event):
            report.append(event.name)

        await anyio.to_thread.run_sync(world.browser)
        world.clock.advance(DAY)
        tokens = world.tokens(on_event=on_event)
        await tokens.aget(world.open_id)
        await tokens.aclose()
        assert report == ["refresh"]


def test_across_processes(settings, tmp_path, clock):
    """A job with another store object on the same file reads the same user."""
    file = tmp_path / "tokens.sqlite3"
    fake = FakeTikTok.for_settings(settings, clock=clock, access_lifetime=DAY)
    with ExitStack() as stack:
        store = SQLiteStore(file, clock=clock)
        stack.callback(store.close)
        world = World(stack, settings, fake, store, clock)
        client = world.browser()
        other = SQLiteStore(file, clock=clock)
        stack.callback(other.close)
        clock.advance(DAY / 4)
        token = world.tokens(store=other).get(world.open_id)
        assert token.access_token == who(client)["token"]


class TestSweep:
    """A scheduled job, over every store that can list."""

    @pytest.fixture
    def swept(self, store, settings, tiktok, clock):
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b""]

        tiktok.access_lifetime = 7200
        kept = replace(settings, keep_grants=True)
        wrapped = TikTokOAuthWSGIMiddleware(
            app, kept, store=store, transport=tiktok.transport, clock=clock
        )
        for person in tiktok.people:
            with httpx2.Client(
                transport=httpx2.WSGITransport(wrapped), base_url=ORIGIN
            ) as client:
                url = client.get("/auth/tiktok/login").headers["location"]
                client.get(tiktok.consent(url, person=person))
        tokens = TikTokTokens(kept, store, transport=tiktok.transport, clock=clock)
        yield tokens, tiktok, clock
        tokens.close()
        wrapped.close()

    def refreshes(self, tiktok):
        return tiktok.count("token", grant_type="refresh_token")

    def test_within(self, swept):
        """Every token that expires within the given time is renewed once."""
        tokens, tiktok, clock = swept
        assert tokens.refresh_expiring(within=3600) == RefreshSummary()
        clock.advance(7200 - 3000)
        assert tokens.refresh_expiring(within=3600) == RefreshSummary(refreshed=3)
        assert tokens.refresh_expiring(within=3600) == RefreshSummary()
        assert self.refreshes(tiktok) == 3

    def test_failures(self, swept):
        """A grant stays if TikTok does not answer; an ended one is counted."""
        tokens, tiktok, clock = swept
        clock.advance(7200 - 3000)
        tiktok.fail("token", status=500)
        tiktok.fail("token", error="invalid_grant")
        assert tokens.refresh_expiring(within=3600) == RefreshSummary(
            refreshed=1, failed=1, ended=1
        )
        assert len(tokens.users()) == 2

    def test_users(self, swept):
        """The stored users can be listed, without tokens."""
        tokens, tiktok, clock = swept
        users = {user.open_id: user for user in tokens.users()}
        assert set(users) == {person.open_id for person in tiktok.people}
        one = users[tiktok.people[0].open_id]
        assert one.token_expires_at == clock() + 7200
        assert one.sessions == 1
        assert "act." not in repr(one)

    def test_renew(self, swept):
        """A token can be renewed before it is due."""
        tokens, tiktok, _ = swept
        open_id = tiktok.people[0].open_id
        before = tokens.get(open_id).access_token
        assert tokens.renew(open_id).access_token != before
        assert self.refreshes(tiktok) == 1

    def test_disconnect(self, swept):
        """A user can be disconnected by a job."""
        tokens, tiktok, _ = swept
        open_id = tiktok.people[0].open_id
        assert tokens.disconnect(open_id) == "revoked"
        assert tokens.disconnect(open_id) == "gone"
        assert tiktok.count("revoke") == 1
        assert len(tokens.users()) == 2


def test_store_that_can_not_list(settings, clock):
    """With a store without keys(), listing users is an error that says so."""

    class Small(MemoryStore):
        keys = pages = None

    tokens = TikTokTokens(settings, Small(clock=clock), clock=clock)
    with pytest.raises(StoreError, match="cannot list"):
        tokens.users()

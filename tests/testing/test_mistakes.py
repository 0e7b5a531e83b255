"""The test helpers name a test's own mistake, instead of blaming the app."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from types import SimpleNamespace

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.testing import (
    ConsentRefused,
    FakeTikTok,
    LoginFlowError,
    login_as,
)
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import LOGIN, ORIGIN, Clock, make_settings, starlette_app
from .clients import CLIENTS, Visitor, open_client, run

pytest_plugins = ["pytester"]


@pytest.fixture
def settings():
    return make_settings(timeout=60)


@pytest.fixture
def fake(settings):
    return FakeTikTok.for_settings(settings)


@pytest.fixture(params=CLIENTS)
def visit(request, settings):
    """Return a function that opens a client of either kind for given options."""
    with ExitStack() as stack:
        loop = SimpleNamespace(run=None)
        if "async" in request.param:
            runner = stack.enter_context(asyncio.Runner())
            loop.run = lambda answer: runner.run(run(answer))

        def visit(fake, **options):
            options.setdefault("store", MemoryStore())
            client = open_client(
                request.param,
                stack,
                lambda app: TikTokOAuthMiddleware(app, settings, **options),
                lambda app: TikTokOAuthWSGIMiddleware(app, settings, **options),
            )
            return Visitor(client, fake, loop)

        yield visit


def good(fake):
    return {"transport": fake.transport, "clock": fake.clock}


class TestEveryClient:
    def test_right(self, visit, fake):
        """Without a mistake nothing is reported."""
        assert visit(fake, **good(fake)).log_in().status_code == 303
        fake.advance(60)

    def test_other_settings(self, visit, fake):
        """If the stand-in has another app, the error names both apps and the
        solution.
        """
        other = FakeTikTok(client_key="awother")
        with pytest.raises(ConsentRefused) as caught:
            visit(other, **good(other)).log_in()
        for text in ("awother", "awexampleclientkey", "for_settings(settings)"):
            assert text in str(caught.value)
        assert isinstance(caught.value, LoginFlowError)

    def test_other_secret(self, visit, settings):
        """If the stand-in has another client_secret, the error after the exchange says
        so.
        """
        other = FakeTikTok(
            client_key=settings.client_key, client_secret="another-secret-of-tests"
        )
        with pytest.raises(LoginFlowError, match="client_secret") as caught:
            visit(other, **good(other)).log_in()
        assert "another-secret-of-tests" not in str(caught.value)

    def test_no_transport(self, visit, fake):
        """A middleware without a transport is reported before it calls TikTok."""
        with pytest.raises(LoginFlowError, match="has no transport"):
            visit(fake, clock=fake.clock).log_in()

    def test_other_transport(self, visit, fake, settings):
        """A middleware with the transport of another stand-in is reported."""
        other = FakeTikTok.for_settings(settings)
        with pytest.raises(LoginFlowError, match="a stand-in other"):
            visit(fake, **good(other)).log_in()
        assert other.requests == []

    def test_no_clock(self, visit, fake):
        """advance() is an error if the app does not use the stand-in's clock."""
        visit(fake, transport=fake.transport).log_in()
        before = fake.clock()
        with pytest.raises(LoginFlowError, match=r"clock=fake\.clock"):
            fake.advance(7200)
        assert fake.clock() - before < 7200

    @pytest.mark.parametrize("scope", ["video.upload", "nonsense", ""])
    def test_scopes_not_requested(self, visit, fake, scope):
        """A scope that the app did not request cannot be left ticked."""
        visitor = visit(fake, **good(fake))
        with pytest.raises(LoginFlowError, match="did not request") as caught:
            visitor.log_in(scopes=["user.info.basic", scope])
        assert repr(scope) in str(caught.value)
        assert "user.info.basic, video.list" in str(caught.value)

    def test_scopes_as_text(self, visit, fake):
        """Scopes given as a text are an error, since they would be read letter by
        letter.
        """
        with pytest.raises(LoginFlowError, match="not one string"):
            visit(fake, **good(fake)).log_in(scopes="user.info.basic")

    def test_person_as_text(self, visit, fake):
        """A person given as a text is an error, which says where the persons are."""
        with pytest.raises(LoginFlowError, match=r"is a str; give one of fake\.people"):
            visit(fake, **good(fake)).log_in(person="alice")
        for method in (fake.disconnect, fake.rotate_away):
            with pytest.raises(LoginFlowError, match=r"fake\.people\[1\]"):
                method("alice")

    def test_scopes_as_generator(self, visit, fake):
        """Scopes may be any iterable, even one that can be read only once."""
        scopes = (scope for scope in ["user.info.basic"])
        assert visit(fake, **good(fake)).log_in(scopes=scopes).status_code == 303

    def test_a_fault_is_not_a_mistake(self, visit, fake):
        """For a fault that the test switched on, the app's answer is returned."""
        fake.fail("token", error="invalid_client")
        assert visit(fake, **good(fake)).log_in().status_code >= 400
        fake.fail("token")
        assert visit(fake, **good(fake)).log_in().status_code == 503

    def test_a_denial_is_not_a_mistake(self, visit, fake):
        """A denied login is not reported as a mistake."""
        assert visit(fake, **good(fake)).log_in(deny=True).status_code == 403


class FailingStore(MemoryStore):
    """A store that refuses writes."""

    def compare_and_set(self, key, old, new, ttl):
        message = "it is full"
        raise StoreError(message)

    async def acompare_and_set(self, key, old, new, ttl):
        self.compare_and_set(key, old, new, ttl)


class TestWhereTheMiddlewareIs:
    """The middleware is found in apps of any structure."""

    def middleware(self, settings, app=None, **options):
        app = starlette_app() if app is None else app
        return TikTokOAuthMiddleware(app, settings, store=MemoryStore(), **options)

    def fails(self, app, fake, match, **choice):
        with (
            TestClient(app, base_url=ORIGIN) as client,
            pytest.raises(LoginFlowError, match=match),
        ):
            login_as(client, fake, **choice)

    def test_added(self, settings, fake):
        """A middleware added with Starlette's add_middleware is found."""
        app = starlette_app()
        app.add_middleware(
            TikTokOAuthMiddleware, settings=settings, store=MemoryStore()
        )
        self.fails(app, fake, "has no transport")

    def test_mounted(self, fake):
        """A middleware in a mounted app is found."""
        settings = make_settings(redirect_uri=f"{ORIGIN}/sub/auth/tiktok/callback")
        fake = FakeTikTok.for_settings(settings)
        app = Starlette(routes=[Mount("/sub", app=self.middleware(settings))])
        self.fails(app, fake, "has no transport", login_path="/sub" + LOGIN)

    def test_in_a_function(self, settings, fake):
        """A middleware inside a function is found."""
        inner = self.middleware(settings)

        def around(app):
            async def outer(scope, receive, send):
                await app(scope, receive, send)

            return outer

        self.fails(around(inner), fake, "has no transport")

    def test_the_right_one(self):
        """Of two middlewares, the one whose app the login is for is used."""
        one, two = (
            make_settings(redirect_uri=f"{ORIGIN}/{name}/auth/tiktok/callback")
            for name in ("one", "two")
        )
        fake = FakeTikTok.for_settings(two)
        app = Starlette(
            routes=[
                Mount("/one", app=self.middleware(one)),
                Mount("/two", app=self.middleware(two, transport=fake.transport)),
            ]
        )
        with TestClient(app, base_url=ORIGIN) as client:
            assert login_as(client, fake, login_path="/two" + LOGIN).status_code == 303

    def test_opaque(self, settings, fake):
        """If the middleware is not found, the requests to the stand-in are checked
        instead.
        """

        class Opaque:
            __slots__ = ("call",)

            def __init__(self, app):
                self.call = app

            async def __call__(self, scope, receive, send):
                await self.call(scope, receive, send)

        other = FakeTikTok.for_settings(settings)
        app = self.middleware(settings, transport=other.transport)
        self.fails(Opaque(app), fake, "never asked for a token")
        app = self.middleware(settings, transport=fake.transport)
        with TestClient(Opaque(app), base_url=ORIGIN) as client:
            assert login_as(client, fake).status_code == 303

    def test_own_transport(self, settings, fake):
        """A custom transport around the stand-in's is not a mistake."""

        def answer(request):
            reply = fake.handle(
                request.method, str(request.url), request.headers, request.content
            )
            return httpx2.Response(
                reply.status, headers=list(reply.headers), content=reply.body
            )

        app = self.middleware(settings, transport=httpx2.MockTransport(answer))
        with TestClient(app, base_url=ORIGIN) as client:
            assert login_as(client, fake).status_code == 303

    def test_server(self, settings, fake):
        """An app that calls the stand-in over HTTP needs no transport."""
        with StandIn(fake) as stand_in:
            settings = make_settings(
                client_key=settings.client_key,
                client_secret=settings.client_secret,
                endpoints=stand_in.endpoints,
            )
            with TestClient(self.middleware(settings), base_url=ORIGIN) as client:
                assert login_as(client, fake).status_code == 303

    def test_failing_store(self, settings, fake):
        """For a login that fails in the app's store, the app's answer is returned."""
        app = TikTokOAuthMiddleware(
            starlette_app(), settings, store=FailingStore(), **good(fake)
        )
        with TestClient(app, base_url=ORIGIN) as client:
            assert login_as(client, fake).status_code == 503


class TestClocks:
    def test_a_shared_clock(self, settings):
        """A test that passes both clocks itself may let them differ."""
        clock = Clock()
        fake = FakeTikTok.for_settings(settings, clock=clock)
        fake.note_clock(clock)
        fake.advance(60)
        assert fake.clock() == clock() + 60

    def test_another_clock(self, settings):
        """A stand-in's clock that the app does not use is a mistake."""
        fake = FakeTikTok.for_settings(settings, clock=Clock())
        fake.note_clock(Clock())
        with pytest.raises(LoginFlowError):
            fake.advance(60)

    def test_alone(self):
        """A stand-in without an app has its own clock."""
        fake = FakeTikTok()
        before = fake.clock()
        fake.advance(7200)
        assert fake.clock() - before >= 7200


def test_fixtures(pytester):
    """The plugin's fixtures report the mistakes, too."""
    pytester.makepyfile(
        """
        import pytest
        from starlette.applications import Starlette
        from starlette.testclient import TestClient

        from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokSettings
        from tiktok_oauth_middleware.testing import LoginFlowError

        settings = TikTokSettings(
            client_key="awmine",
            client_secret="a-secret-of-these-tests",
            redirect_uri="https://app.example.com/callback",
            secret_keys=["a-key-of-tests-which-is-long-enough"],
            store="memory://",
        )

        def test_other_settings(fake_tiktok, tiktok_login):
            app = TikTokOAuthMiddleware(
                Starlette(), settings, transport=fake_tiktok.transport
            )
            client = TestClient(app, base_url=settings.origin)
            with pytest.raises(LoginFlowError, match="for_settings"):
                tiktok_login(client)
        """
    )
    pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=1)


def test_consent_refused_for_other_reasons(fake, settings):
    """The error shows an unregistered redirect URI and the registered one."""
    url = (
        "https://www.tiktok.com/v2/auth/authorize/?response_type=code&state=s"
        f"&scope=user.info.basic&client_key={settings.client_key}"
        "&redirect_uri=https://app.example.com/elsewhere"
    )
    with pytest.raises(ConsentRefused) as caught:
        fake.consent(url)
    assert "https://app.example.com/elsewhere" in str(caught.value)
    assert settings.redirect_uri in str(caught.value)

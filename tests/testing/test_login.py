"""login_as and the fixtures: a whole login in one line of an app's tests."""

from __future__ import annotations

import inspect
import json
from contextlib import ExitStack

import httpx2
import pytest
from flask.testing import FlaskClient
from starlette.testclient import TestClient
from werkzeug.test import Client

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)
from tiktok_oauth_middleware.testing import (
    ConsentRefused,
    FakeTikTok,
    alogin_as,
    login_as,
)
from tiktok_oauth_middleware.testing.login import LoginFlowError

from ..conftest import (
    API,
    LOGIN,
    ORIGIN,
    flask_app,
    make_settings,
    starlette_app,
)

pytest_plugins = ["pytester"]


class OwnTestClient(TestClient):
    """A test suite's own subclass of a client."""


class OwnFlaskClient(FlaskClient):
    """A test suite's own subclass of a client."""


CLIENTS = [
    "starlette",
    "starlette subclass",
    "httpx2",
    "flask",
    "flask subclass",
    "flask with a server name",
    "werkzeug",
]


@pytest.fixture(params=CLIENTS)
def make_client(request, settings, tiktok, clock):
    """Return a function that makes a client of an app with these settings."""
    with ExitStack() as stack:

        def make(settings=settings, tiktok=tiktok):
            options = {
                "store": MemoryStore(clock=clock),
                "transport": tiktok.transport,
                "clock": clock,
            }
            if request.param.startswith("starlette"):
                app = TikTokOAuthMiddleware(starlette_app(), settings, **options)
                kind = OwnTestClient if "subclass" in request.param else TestClient
                return stack.enter_context(kind(app, base_url=ORIGIN))
            flask = flask_app()
            flask.wsgi_app = TikTokOAuthWSGIMiddleware(
                flask.wsgi_app, settings, **options
            )
            if request.param == "httpx2":
                transport = httpx2.WSGITransport(app=flask.wsgi_app)
                return stack.enter_context(
                    httpx2.Client(transport=transport, base_url=ORIGIN)
                )
            if request.param == "werkzeug":
                return Client(flask.wsgi_app)
            if "subclass" in request.param:
                flask.test_client_class = OwnFlaskClient
            if "server name" in request.param:
                flask.config["SERVER_NAME"] = ORIGIN.removeprefix("https://")
                flask.config["PREFERRED_URL_SCHEME"] = "https"
            return flask.test_client()

        yield make


@pytest.fixture
def client(make_client):
    return make_client()


def me(client):
    """Return the app's view of a client."""
    return json.loads(client.get("/who", headers=API).text)


class TestLoginAs:
    def test_first_person(self, client, tiktok):
        """By default login_as logs the stand-in's first person in, with all scopes."""
        response = login_as(client, tiktok)
        assert response.status_code == 303
        assert response.headers["location"] == "/"
        seen = me(client)
        assert seen["signed_in"]
        assert seen["open_id"] == tiktok.people[0].open_id
        assert seen["scopes"] == ["user.info.basic", "video.list"]

    def test_chosen_person(self, client, tiktok):
        """A test can choose who logs in; the next login of the client replaces it."""
        for person in (tiktok.people[1], tiktok.people[0]):
            login_as(client, tiktok, person)
            assert me(client)["open_id"] == person.open_id

    @pytest.mark.parametrize("scopes", [[], ["video.list"], ("user.info.basic",)])
    def test_scopes(self, client, tiktok, scopes):
        """A test can choose the scopes that stay ticked."""
        login_as(client, tiktok, scopes=scopes)
        assert me(client)["scopes"] == sorted(scopes)

    def test_next(self, client, tiktok):
        """A test can choose the login's target; the final redirect is not followed."""
        response = login_as(client, tiktok, next="/videos?page=2&of=ä")
        assert response.status_code == 303
        assert response.headers["location"] == "/videos?page=2&of=%C3%A4"

    def test_deny(self, client, tiktok):
        """A person who cancels is not signed in; the app's answer is returned."""
        response = login_as(client, tiktok, deny=True)
        assert response.status_code == 403
        assert not me(client)["signed_in"]

    def test_login_path(self, make_client, settings, tiktok):
        """A test can name another login path."""
        client = make_client(make_settings_like(settings, login_path="/in"))
        assert login_as(client, tiktok, login_path="/in").status_code == 303
        assert me(client)["signed_in"]

    def test_further_scopes(self, client, tiktok):
        """The login path may have a query, such as further scopes, in addition
        to next.
        """
        login_as(client, tiktok)
        asks = LOGIN + "?scopes=video.upload"
        response = login_as(client, tiktok, login_path=asks, next="/upload")
        assert response.headers["location"] == "/upload"
        assert "video.upload" in me(client)["scopes"]

    def test_no_login_there(self, client, tiktok):
        """The error for a path that does not redirect to TikTok names it and its answer."""
        with pytest.raises(LoginFlowError, match="/nowhere answered 404"):
            login_as(client, tiktok, login_path="/nowhere")

    def test_page_there(self, client, tiktok):
        """The error for an app's page at the login path names it."""
        with pytest.raises(LoginFlowError, match="/ answered 200 instead of"):
            login_as(client, tiktok, login_path="/")

    def test_wrong_stand_in(self, client, clock):
        """A stand-in with another app refuses the login, and the error says so."""
        other = FakeTikTok(client_key="awother", clock=clock)
        with pytest.raises(ConsentRefused):
            login_as(client, other)

    def test_two_clients(self, make_client, tiktok):
        """Two clients have separate sessions."""
        one, two = make_client(), make_client()
        login_as(one, tiktok)
        assert me(one)["signed_in"]
        assert not me(two)["signed_in"]


def make_settings_like(settings, **changes):
    """Return settings for the same app at TikTok."""
    return make_settings(
        client_key=settings.client_key,
        client_secret=settings.client_secret,
        **changes,
    )


class TestAsyncClient:
    @pytest.fixture
    def app(self, settings, tiktok, clock):
        return TikTokOAuthMiddleware(
            starlette_app(),
            settings,
            store=MemoryStore(clock=clock),
            transport=tiktok.transport,
            clock=clock,
        )

    def open(self, app):
        transport = httpx2.ASGITransport(app)
        return httpx2.AsyncClient(transport=transport, base_url=ORIGIN)

    async def test_logs_in(self, app, tiktok):
        """alogin_as does the same with an async client."""
        async with self.open(app) as client:
            response = await alogin_as(
                client,
                tiktok,
                tiktok.people[1],
                scopes=["video.list"],
                next="/videos",
            )
            assert response.status_code == 303
            assert response.headers["location"] == "/videos"
            seen = (await client.get("/who", headers=API)).json()
            assert seen["open_id"] == tiktok.people[1].open_id
            assert seen["scopes"] == ["video.list"]

    async def test_following_client(self, app, tiktok):
        """A client that follows redirects does not follow them during the login."""
        async with self.open(app) as client:
            client.follow_redirects = True
            response = await alogin_as(client, tiktok)
            assert response.status_code == 303

    async def test_deny(self, app, tiktok):
        """A person can cancel."""
        async with self.open(app) as client:
            response = await alogin_as(client, tiktok, deny=True)
            assert response.status_code == 403
            seen = (await client.get("/who", headers=API)).json()
            assert not seen["signed_in"]

    async def test_no_login_there(self, app, tiktok):
        """The error for a path that does not redirect to TikTok names it and its answer."""
        async with self.open(app) as client:
            with pytest.raises(LoginFlowError, match="/nowhere answered 404"):
                await alogin_as(client, tiktok, login_path="/nowhere")

    def test_same_words(self):
        """login_as and alogin_as take the same arguments."""
        assert (
            inspect.signature(login_as).parameters.keys()
            == inspect.signature(alogin_as).parameters.keys()
        )


def settings_for(fake):
    """Return settings of an app that is registered at a stand-in."""
    return TikTokSettings(
        client_key=fake.provider.client_key,
        client_secret="stand-in-client-secret",
        redirect_uri=ORIGIN + "/auth/tiktok/callback",
        secret_keys=["a-key-of-tests-which-is-long-enough"],
        scopes=["user.info.basic", "video.list"],
    )


class TestFixtures:
    def test_log_in(self, fake_tiktok, tiktok_login):
        """The fixtures log a client in, using the real time."""
        app = TikTokOAuthMiddleware(
            starlette_app(),
            settings_for(fake_tiktok),
            store=MemoryStore(),
            transport=fake_tiktok.transport,
        )
        with TestClient(app, base_url=ORIGIN) as client:
            person = fake_tiktok.people[1]
            response = tiktok_login(client, person, scopes=["video.list"], next="/who")
            assert response.headers["location"] == "/who"
            assert me(client)["open_id"] == person.open_id
            assert me(client)["scopes"] == ["video.list"]
            assert tiktok_login(client, deny=True).status_code == 403

    def test_signature(self, tiktok_login):
        """tiktok_login takes a client and a person, but no stand-in."""
        names = list(inspect.signature(tiktok_login).parameters)
        assert names[:2] == ["client", "person"]

    def test_installed(self, pytester):
        """Installing the package provides the fixtures, with a new stand-in for each
        test.
        """
        pytester.makepyfile(
            """
            def test_one(fake_tiktok, tiktok_login):
                assert fake_tiktok.requests == []
                assert callable(tiktok_login)
                fake_tiktok.handle("GET", "https://open.tiktokapis.com/", {}, b"")

            def test_two(fake_tiktok, request):
                assert fake_tiktok.requests == []
                assert request.getfixturevalue("fake_tiktok") is fake_tiktok
            """
        )
        pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=2)

    def test_shown(self, pytester):
        """pytest --fixtures shows both fixtures with a description."""
        shown = pytester.runpytest_inprocess("--fixtures", "-p", "no:randomly")
        shown.stdout.fnmatch_lines_random(
            ["fake_tiktok*", "*stand-in for TikTok*", "tiktok_login*"]
        )

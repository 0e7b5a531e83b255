"""Django Channels inside the middleware: its users are Django's, as it documents."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("channels", reason="channels is not installed")

from ..support.django_once import configure

configure()

from channels.auth import AuthMiddlewareStack
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.auth.models import AnonymousUser, User
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.test import override_settings
from django.urls import path, re_path
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware
from tiktok_oauth_middleware._web.request_auth import auth_in
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import ORIGIN, make_settings

COOKIES = "django.contrib.sessions.backends.signed_cookies"


def report(scope):
    user = scope["user"]
    return {
        "django": isinstance(user, AnonymousUser | User),
        "name": user.get_username(),
        "authenticated": user.is_authenticated,
        "same": user == AnonymousUser() and hash(user) == hash(AnonymousUser()),
        "text": str(user),
        "tiktok": scope["tiktok"].open_id,
    }


WS = ORIGIN.replace("https", "wss") + "/ws"
ANONYMOUS = {
    "django": True,
    "name": "",
    "authenticated": False,
    "same": True,
    "text": "AnonymousUser",
}


class Socket(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(json.dumps(report(self.scope)))
        await self.close()


class Page(AsyncHttpConsumer):
    async def handle(self, body):
        answer = json.dumps(report(self.scope)).encode()
        await self.send_response(200, answer)


def view(request):
    return JsonResponse({"tiktok": auth_in(request).open_id})


class Urls:
    urlpatterns = [path("view", view)]


api = FastAPI()


@api.get("/api/me")
async def me(request: Request):
    return {"identity": request.user.identity, "scopes": request.auth.scopes}


@requires("authenticated")
async def guarded(request):
    return JSONResponse({"identity": request.user.identity})


SOCKETS = URLRouter([path("ws", Socket.as_asgi())])
PAGES = URLRouter([path("page", Page.as_asgi())])


def documented():
    """As Channels' own documentation puts it together."""
    django = get_asgi_application()
    http = URLRouter(
        [
            path("page", AuthMiddlewareStack(PAGES.routes[0].callback)),
            re_path("", django),
        ]
    )
    sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(SOCKETS))
    return ProtocolTypeRouter({"http": http, "websocket": sockets})


def hidden():
    """Where nothing of Channels can be seen from outside."""
    inner = documented()

    async def app(scope, receive, send):
        await inner(scope, receive, send)

    return app


def with_fastapi():
    """FastAPI beside Django, behind one router of Channels."""
    http = URLRouter(
        [
            re_path("^api/", api),
            path("page", AuthMiddlewareStack(PAGES.routes[0].callback)),
            re_path("", get_asgi_application()),
        ]
    )
    return ProtocolTypeRouter({"http": http, "websocket": AuthMiddlewareStack(SOCKETS)})


def in_starlette():
    """Channels mounted in Starlette."""
    routes = [Route("/guarded", guarded), Mount("/", documented())]
    return Starlette(routes=routes)


SHAPES = [documented, hidden, with_fastapi, in_starlette]


@pytest.fixture(params=SHAPES, ids=lambda shape: shape.__name__)
def shape(request):
    return request.param


@pytest.fixture
def site(shape):
    settings = make_settings()
    fake = FakeTikTok.for_settings(settings)
    with override_settings(
        ROOT_URLCONF=Urls,
        ALLOWED_HOSTS=["app.example.com"],
        SESSION_ENGINE=COOKIES,
    ):
        app = TikTokOAuthMiddleware(
            shape(), settings, store=MemoryStore(), transport=fake.transport
        )
        client = TestClient(app, base_url=ORIGIN)
        client.fake = fake
        yield client


@pytest.mark.parametrize("signed_in", [False, True])
def test_scope_user_is_djangos(site, signed_in):
    """In pages and WebSockets below AuthMiddlewareStack the user is Django's."""
    if signed_in:
        login_as(site, site.fake)
    expected = {
        **ANONYMOUS,
        "tiktok": site.fake.people[0].open_id if signed_in else None,
    }
    assert site.get("/page").json() == expected
    with site.websocket_connect(WS, headers={"origin": ORIGIN}) as socket:
        assert json.loads(socket.receive_text()) == expected
    assert site.get("/view").json() == {"tiktok": expected["tiktok"]}


@pytest.mark.parametrize("shape", [with_fastapi], indirect=True)
def test_starlettes_words_beside_channels(site):
    """A FastAPI app in the same router keeps request.user and request.auth."""
    login_as(site, site.fake, scopes=["user.info.basic"])
    assert site.get("/api/me").json() == {
        "identity": site.fake.people[0].open_id,
        "scopes": ["authenticated", "user.info.basic"],
    }


@pytest.mark.parametrize("shape", [in_starlette], indirect=True)
def test_requires_beside_channels(site):
    """Starlette's own guard works where Channels is mounted in Starlette."""
    assert site.get("/guarded").status_code == 403
    login_as(site, site.fake)
    answer = site.get("/guarded").json()
    assert answer == {"identity": site.fake.people[0].open_id}


def test_no_starlette_user_below_channels():
    """Below Channels alone neither user nor auth is in the scope, nor below Django."""
    seen = []

    class Spy(BaseMiddleware):
        async def __call__(self, scope, receive, send):
            seen.append({"user", "auth", "tiktok"} & set(scope))
            return await super().__call__(scope, receive, send)

    app = ProtocolTypeRouter({"websocket": Spy(AuthMiddlewareStack(SOCKETS))})
    settings = make_settings()
    with override_settings(SESSION_ENGINE=COOKIES):
        client = TestClient(
            TikTokOAuthMiddleware(app, settings, store=MemoryStore()), base_url=ORIGIN
        )
        with client.websocket_connect(WS, headers={"origin": ORIGIN}) as socket:
            socket.receive_text()
    assert seen == [{"tiktok"}]


def test_django_user_in_the_place_of_ours():
    """The object that Channels puts in behaves as the user itself, also when written to."""
    from tiktok_oauth_middleware._web.framework_user import StarletteUser

    user = User(pk=7, username="ada")
    ours = StarletteUser()
    ours._wrapped = user
    assert ours == user
    assert user == ours
    assert isinstance(ours, User)
    assert ours.pk == 7
    assert {ours: 1}[user] == 1
    assert str(ours) == "ada"
    assert repr(ours) == "<User: ada>"
    assert "username" in dir(ours)
    assert ours
    ours.username = "grace"
    assert user.username == "grace"
    ours._wrapped = other = User(pk=8, username="eve")
    assert ours._wrapped is other
    with pytest.raises(AttributeError, match="nothing"):
        _ = ours.nothing

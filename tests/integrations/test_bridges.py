"""ASGI apps below the WSGI middleware and the reverse, tested from outside."""

from __future__ import annotations

import logging

import httpx2
import pytest
from a2wsgi import ASGIMiddleware, WSGIMiddleware
from fastapi import APIRouter, FastAPI, Request
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware
from tiktok_oauth_middleware._web.request_auth import asgi_auth
from tiktok_oauth_middleware.caching import depends_on_session, session_key
from tiktok_oauth_middleware.flask import requires_tiktok, tiktok_auth
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import API, LOGIN, ORIGIN, PAGE, make_settings


def flask_app():
    from flask import request

    app = Flask("below")
    app.testing = True

    @app.get("/who")
    def who():
        return tiktok_auth.open_id or "nobody"

    @app.get("/public")
    def public():
        return f"{depends_on_session(request)}"

    @app.get("/key")
    def key():
        return session_key(request)

    @app.get("/members")
    @requires_tiktok
    def members():
        return tiktok_auth.open_id

    @app.get("/videos")
    @requires_tiktok("video.list")
    def videos():
        return "videos"

    return app


def by_a2wsgi():
    return WSGIMiddleware(flask_app())


def by_a2wsgi_mounted():
    return Starlette(routes=[Mount("/", WSGIMiddleware(flask_app()))])


def by_asgiref():
    from asgiref.wsgi import WsgiToAsgi

    return WsgiToAsgi(flask_app())


def by_asgiref_mounted():
    from asgiref.wsgi import WsgiToAsgi

    app = FastAPI()
    app.mount("/", WsgiToAsgi(flask_app()))
    return app


BRIDGES = [by_a2wsgi, by_a2wsgi_mounted, by_asgiref, by_asgiref_mounted]


@pytest.fixture(params=BRIDGES, ids=lambda bridge: bridge.__name__)
def site(request):
    settings = make_settings(always_ask_consent=True)
    fake = FakeTikTok.for_settings(settings)
    app = TikTokOAuthMiddleware(
        request.param(), settings, store=MemoryStore(), transport=fake.transport
    )
    client = TestClient(app, base_url=ORIGIN)
    client.fake = fake
    return client


class TestFlaskBelowASGI:
    """Flask's own words, found through the adapter."""

    def test_who(self, site):
        """A view sees the signed-in user, and its answer is private."""
        assert site.get("/who").text == "nobody"
        login_as(site, site.fake)
        response = site.get("/who")
        assert response.text == site.fake.people[0].open_id
        assert "private" in response.headers["cache-control"]
        assert "cookie" in response.headers["vary"].lower()

    def test_guard(self, site):
        """A guard's refusal is replaced, for a browser and for a program."""
        program = site.get("/members", headers=API)
        assert program.status_code == 401
        assert program.json() == {"error": "login_required", "login_url": LOGIN}
        browser = site.get("/members", headers=PAGE, follow_redirects=False)
        assert browser.headers["location"] == f"{LOGIN}?next=/members"
        login_as(site, site.fake, scopes=["user.info.basic"])
        assert site.get("/members").text == site.fake.people[0].open_id
        refused = site.get("/videos", headers=API)
        assert refused.status_code == 403
        assert refused.json()["missing"] == ["video.list"]

    def test_helpers_of_caches(self, site):
        """The helpers for caches work there too."""
        response = site.get("/public")
        assert response.text == "False"
        assert "private" not in response.headers.get("cache-control", "")
        assert site.get("/key").text == "anonymous"
        login_as(site, site.fake)
        assert site.get("/key").text != "anonymous"

    def test_nothing_is_left_behind(self, site):
        """After a request nothing of it is found by the next, nor by other code."""
        login_as(site, site.fake)
        site.get("/who")
        assert asgi_auth.get() is None
        other = TestClient(site.app, base_url=ORIGIN)
        assert other.get("/who").text == "nobody"


def test_asgi_app_below_wsgi():
    """The other way round: an ASGI app below the WSGI middleware reads the environ."""
    from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware

    settings = make_settings()
    fake = FakeTikTok.for_settings(settings)

    async def who(request):
        auth = request.scope["wsgi_environ"]["tiktok.auth"]
        return PlainTextResponse(auth.open_id or "nobody")

    bridge = ASGIMiddleware(Starlette(routes=[Route("/who", who)]))
    app = TikTokOAuthWSGIMiddleware(
        bridge, settings, store=MemoryStore(), transport=fake.transport
    )
    transport = httpx2.WSGITransport(app)
    with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
        login_as(client, fake)
        response = client.get("/who")
        assert response.text == fake.people[0].open_id
        assert "private" in response.headers["cache-control"]


# --- what metrics outside see -----------------------------------------------------------


class Metrics:
    """A middleware of the usual kind: it groups requests by their route."""

    def __init__(self, app, has_state=True):
        self.app, self.seen, self.has_state = app, [], has_state

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.has_state:
            scope["state"] = {"outer": 1}
        else:
            scope.pop("state", None)
        try:
            await self.app(scope, receive, send)
        finally:
            route = scope.get("route")
            self.seen.append(
                {
                    "endpoint": getattr(scope.get("endpoint"), "__name__", None),
                    "path": getattr(route, "path", None),
                    "path_params": scope.get("path_params"),
                    "state": dict(scope.get("state", {})),
                    "tiktok": "tiktok" in scope,
                }
            )


def routed(request: Request):
    request.state.inner = 2
    return PlainTextResponse("x")


def failing(request: Request):
    request.state.inner = 2
    raise ZeroDivisionError


@pytest.mark.parametrize("has_state", [True, False])
@pytest.mark.parametrize("kind", ["fastapi", "router", "starlette"])
def test_route_and_state_reach_the_outside(kind, has_state):
    """Outer middleware finds route, endpoint, parameters and state when all is done.

    Without a state of the server's (daphne gives none) too, and when the app fails.
    """
    if kind == "starlette":
        app = Starlette(
            routes=[Route("/items/{number}", routed), Route("/fail/{number}", failing)]
        )
    else:
        app = FastAPI()
        target = APIRouter() if kind == "router" else app
        target.get("/items/{number}")(routed)
        target.get("/fail/{number}")(failing)
        if target is not app:
            app.include_router(target)
    outer = Metrics(
        TikTokOAuthMiddleware(app, make_settings(), store=MemoryStore()), has_state
    )
    client = TestClient(outer, base_url=ORIGIN, raise_server_exceptions=False)
    assert client.get("/items/5").status_code == 200
    assert client.get("/fail/6").status_code == 500
    assert client.get("/nothing").status_code == 404
    found, failed, unknown = outer.seen
    for seen, name, path, number in (
        (found, "routed", "/items/{number}", "5"),
        (failed, "failing", "/fail/{number}", "6"),
    ):
        assert seen["endpoint"] == name
        assert seen["path_params"] == {"number": number}
        assert seen["state"] == {**({"outer": 1} if has_state else {}), "inner": 2}
        if kind != "starlette":
            assert seen["path"] == path
        assert not seen["tiktok"]
    assert unknown["endpoint"] is None


def test_access_log_by_route(caplog):
    """A logging middleware added outside names the route of each request."""
    app = FastAPI()
    app.get("/items/{number}")(routed)
    app.add_middleware(
        TikTokOAuthMiddleware, settings=make_settings(), store=MemoryStore()
    )

    @app.middleware("http")
    async def log(request: Request, call_next):
        response = await call_next(request)
        route = request.scope["route"].path
        logging.getLogger("access").info("%s %s", route, response.status_code)
        return response

    with caplog.at_level(logging.INFO, "access"):
        TestClient(app, base_url=ORIGIN).get("/items/5")
    assert "/items/{number} 200" in caplog.text

"""Guards without effect are found when the app starts, or at the first request."""

from __future__ import annotations

import gc
import sys
from functools import partial
from inspect import CO_GENERATOR

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse
from flask import Blueprint, Flask
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware import fastapi as for_fastapi
from tiktok_oauth_middleware import flask as for_flask
from tiktok_oauth_middleware import starlette as for_starlette
from tiktok_oauth_middleware._web.unguarded_views import check_guards, guarded_by

from ...conftest import API, ORIGIN, make_settings


def wrapped_asgi(app, **options):
    return TikTokOAuthMiddleware(app, make_settings(), store=MemoryStore(), **options)


def starlette_list(guard):
    async def view(request):
        return PlainTextResponse("open")

    app = Starlette(routes=[Route("/x", view)])
    guard(view)
    return wrapped_asgi(app)


def starlette_class(guard):
    class View(HTTPEndpoint):
        async def get(self, request):
            return PlainTextResponse("open")

    app = Starlette(routes=[Route("/x", View)])
    guard(View)
    return wrapped_asgi(app)


def starlette_mounted(guard):
    async def view(request):
        return PlainTextResponse("open")

    inner = Starlette(routes=[Route("/x", view)])
    guard(view)
    middleware = [Middleware(CORSMiddleware, allow_origins=["*"])]
    app = Starlette(routes=[Mount("/", inner)], middleware=middleware)
    return wrapped_asgi(app)


def starlette_added(guard):
    async def view(request):
        return PlainTextResponse("open")

    app = Starlette(routes=[Route("/x", view)])
    guard(view)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.add_middleware(
        TikTokOAuthMiddleware, settings=make_settings(), store=MemoryStore()
    )
    return app


def fastapi_operation(guard):
    app = FastAPI()

    @guard
    @app.get("/x")
    async def view(request: Request):
        return "open"

    return wrapped_asgi(app)


def fastapi_router(guard):
    router = APIRouter()

    @guard
    @router.get("/x")
    def view(request: Request):
        return "open"

    app = FastAPI()
    app.include_router(router)
    app.add_middleware(
        TikTokOAuthMiddleware, settings=make_settings(), store=MemoryStore()
    )
    return app


def fastapi_sub_app(guard):
    sub, app = FastAPI(), FastAPI()

    @guard
    @sub.get("/x")
    def view(request: Request):
        return "open"

    app.mount("/", sub)
    return wrapped_asgi(app)


BY_MODULE = [
    (starlette_list, for_starlette),
    (starlette_class, for_starlette),
    (starlette_mounted, for_starlette),
    (starlette_added, for_starlette),
    (fastapi_operation, for_fastapi),
    (fastapi_operation, for_starlette),
    (fastapi_router, for_fastapi),
    (fastapi_sub_app, for_fastapi),
]


@pytest.mark.parametrize(("build", "module"), BY_MODULE)
@pytest.mark.parametrize("scopes", [(), ("video.list",)])
def test_guard_above_the_route(build, module, scopes):
    """A guard without effect stops the app's start, or each request if there is no
    lifespan.
    """
    guard = module.requires_tiktok
    app = build(guard(*scopes) if scopes else guard)
    message = "does not guard .*(view|View).*below"
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=message):
            TestClient(app, base_url=ORIGIN).get("/x", headers=API)
    with pytest.raises(ConfigurationError, match=message):
        TestClient(app, base_url=ORIGIN).__enter__()


@pytest.mark.parametrize("way", ["object", "function", "router"])
def test_guard_in_vain_in_a_wrapper(way):
    """Such a guard is found through wrappers of the app, whatever their attributes'
    names.
    """
    inner = FastAPI()

    @for_fastapi.requires_tiktok
    @inner.get("/x")
    def view():
        return "open"

    class Around:
        def __init__(self):
            self.passes_on_to = inner
            self.by_path = {"/": inner}

        async def __call__(self, scope, receive, send):
            await inner(scope, receive, send)

    async def around(scope, receive, send):
        await inner(scope, receive, send)

    app = {"object": Around(), "function": around, "router": partial(Around())}[way]
    with pytest.raises(ConfigurationError, match="does not guard .*view.*below"):
        TestClient(wrapped_asgi(app), base_url=ORIGIN).get("/x", headers=API)


def flask_app(guard):
    app = Flask("site")

    @guard
    @app.get("/x")
    def view():
        return "open"

    return app


def flask_blueprint(guard):
    parts = Blueprint("parts", __name__)

    @guard
    @parts.get("/x")
    def view():
        return "open"

    app = Flask("site")
    app.register_blueprint(parts)
    return app


def flask_rule(guard):
    def view():
        return "open"

    app = Flask("site")
    app.add_url_rule("/x", view_func=view)
    guard(view)
    return app


@pytest.mark.parametrize("build", [flask_app, flask_blueprint, flask_rule])
@pytest.mark.parametrize("outside", [False, True])
def test_guard_above_flasks_route(build, outside):
    """A guard without effect stops each request of a Flask app, however it is
    wrapped.
    """
    app = build(for_flask.requires_tiktok)
    settings = make_settings()
    if outside:
        served = TikTokOAuthWSGIMiddleware(app, settings, store=MemoryStore())
    else:
        app.wsgi_app = TikTokOAuthWSGIMiddleware(
            app.wsgi_app, settings, store=MemoryStore()
        )
        served = app
    client = httpx2.Client(transport=httpx2.WSGITransport(served), base_url=ORIGIN)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="does not guard .*view.*below"):
            client.get("/x", headers=API)


def test_guards_where_they_belong():
    """Guards below routes, several guards, and a view that is routed with and without
    one are accepted.
    """
    app = FastAPI()
    guard = for_fastapi.requires_tiktok

    @app.get("/guarded")
    @app.get("/guarded-too")
    @guard("video.list")
    @guard
    async def view():
        return "guarded"

    async def both(request):
        return PlainTextResponse("both")

    app.router.routes += [
        Route("/open", both),
        Route("/closed", for_starlette.requires_tiktok(both)),
    ]
    client = TestClient(wrapped_asgi(app), base_url=ORIGIN)
    statuses = {
        path: client.get(path, headers=API).status_code
        for path in ("/guarded", "/guarded-too", "/open", "/closed")
    }
    assert statuses == {
        "/guarded": 401,
        "/guarded-too": 401,
        "/open": 200,
        "/closed": 401,
    }


async def open_in_one_app(request: Request):
    return PlainTextResponse("open")


class OpenInOneApp(HTTPEndpoint):
    async def get(self, request):
        return PlainTextResponse("open")


def open_in_one_flask_app():
    return "open"


def with_starlette(view):
    app = wrapped_asgi(Starlette(routes=[Route("/x", view)]))
    return TestClient(app, base_url=ORIGIN)


def with_fastapi(view):
    app = FastAPI()
    app.get("/x")(view)
    return TestClient(wrapped_asgi(app), base_url=ORIGIN)


def with_flask(view):
    app = Flask("site")
    app.add_url_rule("/x", view_func=view)
    served = TikTokOAuthWSGIMiddleware(app, make_settings(), store=MemoryStore())
    return httpx2.Client(transport=httpx2.WSGITransport(served), base_url=ORIGIN)


TWO_APPS = [
    (with_starlette, for_starlette, open_in_one_app),
    (with_starlette, for_starlette, OpenInOneApp),
    (with_fastapi, for_fastapi, open_in_one_app),
    (with_flask, for_flask, open_in_one_flask_app),
]


@pytest.mark.parametrize(("client_of", "module", "view"), TWO_APPS)
def test_guarded_in_another_app(client_of, module, view):
    """A view that one app routes without a guard, and another with one, is accepted,
    also before the other app exists.
    """
    guarded = module.requires_tiktok(view)
    with client_of(view) as client:
        assert client.get("/x", headers=API).status_code == 200
    with client_of(guarded) as client:
        assert client.get("/x", headers=API).status_code == 401


@pytest.mark.parametrize(("client_of", "module", "view"), TWO_APPS)
def test_guard_that_replaces_the_name(client_of, module, view, monkeypatch):
    """It is refused if the guard has replaced it in its module, as a decorator does."""
    client = client_of(view)
    guarded = module.requires_tiktok(view)
    monkeypatch.setitem(globals(), view.__name__, guarded)
    with pytest.raises(ConfigurationError, match="(?i)does not guard .*in_?one_?"):
        client.get("/x", headers=API)


async def guard_dropped(request):
    return PlainTextResponse("open")


def test_guard_that_is_dropped():
    """It is refused if nothing keeps the guarded view: no app can have it."""
    for_starlette.requires_tiktok(guard_dropped)
    gc.collect()
    with pytest.raises(ConfigurationError, match="does not guard"):
        with_starlette(guard_dropped).get("/x", headers=API)


def test_guards_that_are_added_meanwhile():
    """Guards that another thread adds during the check are no error."""

    def view(): ...

    def add(_, event, __):
        if event == "line":
            new, guarded = partial(view), partial(view)
            kept.append((guarded_by(new, guarded), guarded_by(view, guarded), new))
        return add

    def trace(frame, *_):
        # The loops of weakref's own classes, between whose steps threads change.
        is_weakref = frame.f_globals["__name__"] in {"weakref", "_weakrefset"}
        return add if is_weakref and frame.f_code.co_flags & CO_GENERATOR else None

    kept = [guarded_by(view, partial(view)) for _ in range(3)]
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(ConfigurationError):
            check_guards(Starlette(routes=[Route("/", view)]))
    finally:
        sys.settrace(before)

"""Apps of each framework, with the same protected views and files.

An app shows `SECRET` wherever a rule of `RULES` should protect, and `OPEN` elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SECRET = "for members only"
OPEN = "for everybody"
RULES = {
    "protect": ["/members", "/files/secret", "/straße"],
    "public": ["/members/open"],
}
PREFIX = "/api/v1"


@dataclass(frozen=True)
class App:
    """One app, and how it is mounted."""

    name: str
    #: A function that returns the app; its argument is a folder of files to serve.
    make: Callable[[Path], Any]
    is_wsgi: bool = False
    #: The modules that must be installed.
    needs: str = ""
    #: The mount point that the server uses.
    root: str = ""
    #: A function that wraps the app in the middleware; None wraps it directly.
    wrap: Callable[[Any, Callable[[Any], Any]], Any] | None = None
    #: Prefixes of its paths that its own settings add.
    prefixes: tuple[str, ...] = field(default=())


def folder(where: Path) -> Path:
    """Create the files, in a folder with the name of the path at which it is served."""
    for name, text in (("secret", SECRET), ("open", OPEN)):
        (where / "files" / name).mkdir(parents=True, exist_ok=True)
        (where / "files" / name / "page.txt").write_text(text)
    return where / "files"


# --- ASGI --------------------------------------------------------------------------


def starlette(files: Path) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    async def secret(request: Any) -> Any:
        return PlainTextResponse(SECRET)

    async def free(request: Any) -> Any:
        return PlainTextResponse(OPEN)

    return Starlette(
        routes=[
            Route("/members/open", free),
            Route("/members/open/{rest:path}", free),
            Route("/open/{rest:path}", free),
            Route("/members", secret),
            Mount("/members", routes=[Route("/{rest:path}", secret)]),
            Route("/straße/list", secret),
            Mount("/files", StaticFiles(directory=files)),
        ]
    )


def _fastapi(files: Path, **options: Any) -> Any:
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse
    from fastapi.staticfiles import StaticFiles

    app = FastAPI(**options)

    @app.get("/members/open", response_class=PlainTextResponse)
    @app.get("/members/open/{rest:path}", response_class=PlainTextResponse)
    @app.get("/open/{rest:path}", response_class=PlainTextResponse)
    def free(rest: str = "") -> str:
        return OPEN

    @app.get("/members", response_class=PlainTextResponse)
    @app.get("/members/{rest:path}", response_class=PlainTextResponse)
    @app.get("/straße/list", response_class=PlainTextResponse)
    async def secret(rest: str = "") -> str:
        return SECRET

    app.mount("/files", StaticFiles(directory=files))
    return app


def fastapi(files: Path) -> Any:
    return _fastapi(files)


def fastapi_root(files: Path) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # root_path= is deprecated, but used here
        return _fastapi(files, root_path=PREFIX)


def litestar(files: Path) -> Any:
    from litestar import Litestar, MediaType, get
    from litestar.static_files import create_static_files_router

    public = ["/members/open", "/members/open/{rest:path}", "/open/{rest:path}"]

    @get(public, media_type=MediaType.TEXT)
    async def free(rest: str = "") -> str:
        return OPEN

    @get(
        ["/members", "/members/{rest:path}", "/straße/list"],
        media_type=MediaType.TEXT,
    )
    async def secret(rest: str = "") -> str:
        return SECRET

    static = create_static_files_router(path="/files", directories=[files])
    return Litestar([free, secret, static], openapi_config=None)


def quart(files: Path) -> Any:
    from quart import Quart

    app = Quart(__name__, static_folder=str(files), static_url_path="/files")

    @app.get("/members/open")
    @app.get("/members/open/<path:rest>")
    @app.get("/open/<path:rest>")
    async def free(rest: str = "") -> str:
        return OPEN

    @app.get("/members")
    @app.get("/members/<path:rest>")
    @app.get("/straße/list")
    async def secret(rest: str = "") -> str:
        return SECRET

    return app


def blacksheep(files: Path) -> Any:
    from blacksheep import Application, Router, text

    app = Application(router=Router())

    async def free() -> Any:
        return text(OPEN)

    async def secret() -> Any:
        return text(SECRET)

    for path in ("/members/open", "/members/open/*", "/open/*"):
        app.router.add_get(path, free)
    for path in ("/members", "/members/list", "/members/*", "/straße/list"):
        app.router.add_get(path, secret)
    app.serve_files(files, root_path="files", extensions={".txt"}, cache_time=0)
    return app


def falcon_asgi(files: Path) -> Any:
    import falcon.asgi

    class Secret:
        async def on_get(self, _: Any, resp: Any, **__: Any) -> None:
            resp.text = SECRET

    class Free:
        async def on_get(self, _: Any, resp: Any, **__: Any) -> None:
            resp.text = OPEN

    return _falcon(falcon.asgi.App(), Secret(), Free(), files)


def falcon_wsgi(files: Path) -> Any:
    import falcon

    class Secret:
        def on_get(self, _: Any, resp: Any, **__: Any) -> None:
            resp.text = SECRET

    class Free:
        def on_get(self, _: Any, resp: Any, **__: Any) -> None:
            resp.text = OPEN

    return _falcon(falcon.App(), Secret(), Free(), files)


def _falcon(app: Any, secret: Any, free: Any, files: Path) -> Any:
    app.add_route("/members/open", free)
    app.add_route("/members/open/{b}", free)
    for path in ("/members", "/members/{a}", "/members/{a}/{b}", "/straße/list"):
        app.add_route(path, secret)
    app.add_static_route("/files", str(files))
    return app


def _django_urls(files: Path) -> Any:
    from django.http import HttpResponse
    from django.urls import path, re_path
    from django.views.static import serve

    def free(request: Any, rest: str = "") -> Any:
        return HttpResponse(OPEN)

    def secret(request: Any, rest: str = "") -> Any:
        return HttpResponse(SECRET)

    class Urls:
        urlpatterns = (
            path("members/open", free),
            path("members/open/<path:rest>", free),
            path("open/<path:rest>", free),
            path("members", secret),
            path("members/<path:rest>", secret),
            path("straße/list", secret),
            re_path(r"^files/(?P<path>.*)$", serve, {"document_root": str(files)}),
        )

    return Urls


def django_asgi(files: Path) -> Any:
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler()


def django_wsgi(files: Path) -> Any:
    from django.core.handlers.wsgi import WSGIHandler

    return WSGIHandler()


# --- WSGI --------------------------------------------------------------------------


def flask(files: Path) -> Any:
    from flask import Flask

    app = Flask(__name__, static_folder=str(files), static_url_path="/files")

    @app.get("/members/open")
    @app.get("/members/open/<path:rest>")
    @app.get("/open/<path:rest>")
    def free(rest: str = "") -> str:
        return OPEN

    @app.get("/members")
    @app.get("/members/<path:rest>")
    @app.get("/straße/list")
    def secret(rest: str = "") -> str:
        return SECRET

    return app


def bottle(files: Path) -> Any:
    import bottle as bottle_

    app = bottle_.Bottle()

    @app.get("/members/open")
    @app.get("/members/open/<rest:path>")
    @app.get("/open/<rest:path>")
    def free(rest: str = "") -> str:
        return OPEN

    @app.get("/members")
    @app.get("/members/<rest:path>")
    @app.get("/straße/list")
    def secret(rest: str = "") -> str:
        return SECRET

    @app.get("/files/<path:path>")
    def static(path: str) -> Any:
        return bottle_.static_file(path, root=str(files))

    return app


def pyramid(files: Path) -> Any:
    from pyramid.config import Configurator
    from pyramid.response import Response

    with Configurator() as config:
        for name, path, text in (
            ("open", "/members/open", OPEN),
            ("open1", "/members/open/*rest", OPEN),
            ("open2", "/open/*rest", OPEN),
            ("m", "/members", SECRET),
            ("m2", "/members/*rest", SECRET),
            ("s", "/straße/list", SECRET),
        ):
            config.add_route(name, path)
            # With a second parameter Pyramid would pass context and request.
            view = functools.partial(lambda text, _: Response(text), text)
            config.add_view(view, route_name=name)
        config.add_static_view("files", str(files), cache_max_age=0)
        return config.make_wsgi_app()


# --- mounts --------------------------------------------------------------------------


def below_starlette(app: Any, wrap: Callable[[Any], Any]) -> Any:
    """Mount the wrapped app in another one."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    return Starlette(routes=[Mount(PREFIX, wrap(app))])


def below_dispatcher(app: Any, wrap: Callable[[Any], Any]) -> Any:
    """Mount the wrapped app in another one, by Werkzeug."""
    from werkzeug.exceptions import NotFound
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    return DispatcherMiddleware(NotFound(), {PREFIX: wrap(app)})


def prefix_header_asgi(app: Any, wrap: Callable[[Any], Any]) -> Any:
    """Add a middleware inside that takes the mount point from a header."""

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        sent = dict(scope["headers"]).get(b"x-forwarded-prefix", b"").decode()
        await app({**scope, "root_path": sent}, receive, send)

    return wrap(inside)


def prefix_header_wsgi(app: Any, wrap: Callable[[Any], Any]) -> Any:
    """Add the middleware inside that Flask's collection of snippets made popular."""

    def inside(environ: Any, start_response: Any) -> Any:
        script = environ.get("HTTP_X_SCRIPT_NAME", "")
        if script:
            environ = {**environ, "SCRIPT_NAME": script}
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(script)
        return app(environ, start_response)

    return wrap(inside)


def _all() -> Iterator[App]:
    yield App("starlette", starlette)
    yield App("starlette below root_path", starlette, root=PREFIX)
    yield App("starlette below a Mount", starlette, wrap=below_starlette)
    yield App("starlette, header", starlette, wrap=prefix_header_asgi)
    yield App("fastapi", fastapi, needs="fastapi")
    yield App("fastapi(root_path)", fastapi_root, needs="fastapi", prefixes=(PREFIX,))
    yield App("fastapi below root_path", fastapi, needs="fastapi", root=PREFIX)
    yield App("litestar", litestar, needs="litestar")
    yield App("litestar below root_path", litestar, needs="litestar", root=PREFIX)
    yield App("quart", quart, needs="quart")
    yield App("quart below root_path", quart, needs="quart", root=PREFIX)
    yield App("blacksheep", blacksheep, needs="blacksheep")
    yield App("blacksheep below root_path", blacksheep, needs="blacksheep", root=PREFIX)
    yield App("falcon, ASGI", falcon_asgi, needs="falcon")
    yield App("django, ASGI", django_asgi, needs="django")
    yield App("django, ASGI, root_path", django_asgi, needs="django", root=PREFIX)
    yield App("django, ASGI, FORCE", django_asgi, needs="django", prefixes=(PREFIX,))
    yield App("flask", flask, is_wsgi=True)
    yield App("flask below a dispatcher", flask, is_wsgi=True, wrap=below_dispatcher)
    yield App("flask, header", flask, is_wsgi=True, wrap=prefix_header_wsgi)
    yield App("flask below SCRIPT_NAME", flask, is_wsgi=True, root=PREFIX)
    yield App("bottle", bottle, is_wsgi=True, needs="bottle")
    yield App("pyramid", pyramid, is_wsgi=True, needs="pyramid")
    yield App("falcon, WSGI", falcon_wsgi, is_wsgi=True, needs="falcon")
    yield App("django, WSGI", django_wsgi, is_wsgi=True, needs="django")
    forced = {"needs": "django", "prefixes": (PREFIX,)}
    yield App("django, WSGI, FORCE", django_wsgi, is_wsgi=True, **forced)  # type: ignore[arg-type]


def installed() -> list[App]:
    """Return the apps whose frameworks are installed."""
    return [app for app in _all() if not app.needs or find_spec(app.needs)]

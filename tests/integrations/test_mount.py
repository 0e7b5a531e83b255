"""A wrapped app below another: `root_path` under ASGI, `SCRIPT_NAME` under WSGI."""

from __future__ import annotations

import pytest
from flask import Flask, jsonify, request
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from ..conftest import API, LOGIN, PAGE
from .contract import ASGIContract, WSGIContract, who


class Mounted:
    """Tests of an app below another, besides those of all apps."""

    mount = "/shop/eu"

    def test_outer_app(self, client, fake):
        """The outer app is served as before: no rule of ours covers it."""
        for _ in range(2):
            response = client.get("/members/list", headers=API)
            assert response.json() == {"outer": True}
            assert "cache-control" not in response.headers
            self.log_in(client, fake)

    def test_our_paths_are_below(self, client):
        """The login path is below the mount point, and not beside it."""
        for path, status in ((LOGIN, 404), (self.mount + LOGIN, 303)):
            response = client.get(path, headers=PAGE, follow_redirects=False)
            assert response.status_code == status

    def test_home(self, client, fake):
        """A login without `next` ends at the mounted app's home."""
        back = self.log_in(client, fake)
        assert back.headers["location"] == f"{self.mount}/"


class TestStarlette(Mounted, ASGIContract):
    """Below a Starlette `Mount`, which grows `root_path`."""

    @pytest.fixture
    def app(self):
        async def show(request):
            return JSONResponse(who(request.scope["tiktok"]))

        async def members(request):
            return PlainTextResponse(request.scope["tiktok"].open_id)

        async def echo(request):
            return Response(await request.body())

        return Starlette(
            routes=[
                Route("/who", show),
                Route("/members/list", members),
                Route("/echo", echo, methods=["POST"]),
            ]
        )

    def wrap(self, app, settings, options):
        async def outer(request):
            return JSONResponse({"outer": "tiktok" not in request.scope})

        inner = Mount("/eu", app=super().wrap(app, settings, options))
        return Starlette(
            routes=[Mount("/shop", routes=[inner]), Route("/members/list", outer)]
        )


class TestDispatcher(Mounted, WSGIContract):
    """Below Werkzeug's dispatcher, which moves the path into `SCRIPT_NAME`."""

    @pytest.fixture
    def app(self):
        app = Flask(__name__)

        @app.get("/who")
        def show():
            return jsonify(who(request.environ["tiktok.auth"]))

        @app.get("/members/list")
        def members():
            return request.environ["tiktok.auth"].open_id

        @app.post("/echo")
        def echo():
            return request.get_data()

        return app

    def wrap(self, app, settings, options):
        outer = Flask(__name__)

        @outer.get("/members/list")
        def members():
            return jsonify(outer="tiktok.auth" not in request.environ)

        inner = super().wrap(app, settings, options)
        return DispatcherMiddleware(outer, {self.mount: inner})

"""Quart, with the middleware around its `asgi_app`."""

from __future__ import annotations

import pytest

pytest.importorskip("quart", reason="quart is not installed")

from quart import Quart, jsonify, request

from tiktok_oauth_middleware import TikTokOAuthMiddleware

from .contract import ASGIContract, who


class TestQuart(ASGIContract):
    """A Quart app, which is not replaced by the middleware."""

    @pytest.fixture
    def app(self):
        app = Quart(__name__)

        @app.get("/who")
        async def show():
            return jsonify(who(request.scope["tiktok"]))

        @app.get("/members/list")
        async def members():
            return request.scope["tiktok"].open_id

        @app.post("/echo")
        async def echo():
            return await request.get_data()

        return app

    def wrap(self, app, settings, options):
        app.asgi_app = TikTokOAuthMiddleware(app.asgi_app, settings, **options)
        return app

"""Falcon, under ASGI and WSGI."""

from __future__ import annotations

import pytest

pytest.importorskip("falcon", reason="falcon is not installed")

import falcon
import falcon.asgi

from .contract import ASGIContract, WSGIContract, who


class Who:
    def on_get(self, req, resp):
        resp.media = who(req.env["tiktok.auth"])


class Members:
    def on_get(self, req, resp):
        resp.text = req.env["tiktok.auth"].open_id


class Echo:
    def on_post(self, req, resp):
        resp.data = req.bounded_stream.read()


class AsyncWho:
    async def on_get(self, req, resp):
        resp.media = who(req.scope["tiktok"])


class AsyncMembers:
    async def on_get(self, req, resp):
        resp.text = req.scope["tiktok"].open_id


class AsyncEcho:
    async def on_post(self, req, resp):
        resp.data = await req.stream.read()


class TestWSGI(WSGIContract):
    """`falcon.App`, wrapped."""

    @pytest.fixture
    def app(self):
        app = falcon.App()
        app.add_route("/who", Who())
        app.add_route("/members/list", Members())
        app.add_route("/echo", Echo())
        return app


class TestASGI(ASGIContract):
    """`falcon.asgi.App`, wrapped."""

    # Starlette's client names no ASGI version in its lifespan, which Falcon refuses.
    has_lifespan = False

    @pytest.fixture
    def app(self):
        app = falcon.asgi.App()
        app.add_route("/who", AsyncWho())
        app.add_route("/members/list", AsyncMembers())
        app.add_route("/echo", AsyncEcho())
        return app

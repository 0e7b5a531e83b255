"""Bottle, wrapped from outside."""

from __future__ import annotations

import pytest

pytest.importorskip("bottle", reason="bottle is not installed")

import bottle

from .contract import WSGIContract, who


class TestBottle(WSGIContract):
    """A Bottle app, wrapped."""

    @pytest.fixture
    def app(self):
        app = bottle.Bottle()

        @app.get("/who")
        def show():
            return who(bottle.request.environ["tiktok.auth"])

        @app.get("/members/list")
        def members():
            return bottle.request.environ["tiktok.auth"].open_id

        @app.post("/echo")
        def echo():
            return bottle.request.body.read()

        return app

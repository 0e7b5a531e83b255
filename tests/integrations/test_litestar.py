"""Litestar, wrapped from outside."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("litestar", reason="litestar is not installed")

from litestar import Litestar, MediaType, Request, asgi, get, post
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient

from tiktok_oauth_middleware import TikTokOAuthMiddleware

from ..conftest import LOGIN, make_settings
from .contract import ASGIContract, who

INSIDE = "the middleware runs inside the app's routes"


@get("/who")
async def show(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return who(request.scope["tiktok"])


@get("/members/list", media_type=MediaType.TEXT)
async def members(request: Request[Any, Any, Any]) -> str:
    return request.scope["tiktok"].open_id


@post("/echo", status_code=200, media_type="application/octet-stream")
async def echo(request: Request[Any, Any, Any]) -> bytes:
    return await request.body()


class TestLitestar(ASGIContract):
    """A Litestar app, wrapped."""

    @pytest.fixture
    def app(self):
        return Litestar([show, members, echo], openapi_config=None)


def test_litestars_own_middleware(caplog):
    """Litestar's middleware= serves no path of ours, which the first request logs."""
    ours = DefineMiddleware(TikTokOAuthMiddleware, settings=make_settings())
    app = Litestar([show], middleware=[ours], logging_config=None)
    with TestClient(app) as client:
        assert client.get("/who").json() == {"open_id": None, "name": None}
        assert client.get(LOGIN).status_code == 404
        client.get("/who")
    records = [r for r in caplog.records if INSIDE in r.getMessage()]
    assert [(r.levelname, LOGIN in r.getMessage()) for r in records] == [
        ("ERROR", True)
    ]


def test_mounted_app(caplog):
    """An app that Litestar mounts is a whole app, and nothing is logged."""
    inner = TikTokOAuthMiddleware(Litestar([show]), make_settings())

    @asgi("/", is_mount=True, copy_scope=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    with TestClient(Litestar([mounted], logging_config=None)) as client:
        assert client.get("/who").status_code == 200
    assert INSIDE not in caplog.text

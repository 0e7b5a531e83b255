"""Litestar, wrapped from outside."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("litestar", reason="litestar is not installed")

from litestar import Litestar, MediaType, Request, get, post

from .contract import ASGIContract, who


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

"""A request without a server, made of a method and headers."""

from __future__ import annotations

from tiktok_oauth_middleware._core.http import (
    Request,
)

OURS = "https://app.example.com"


async def no_body(limit):
    return b""


def a_request(*headers, method="GET", is_websocket=False):
    return Request(
        method=method,
        path="/x",
        mount="",
        query=b"",
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers],
        read=no_body,
        is_websocket=is_websocket,
    )

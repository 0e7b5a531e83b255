"""Measures how long the first login of a process blocks the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
)

from .world import receive, scope_of, send, settings


async def ours(base: str) -> float:
    """Return the middleware's longest stall in ms, with a lifespan."""
    app = _ours(base)
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    await app({"type": "lifespan"}, receive, send)
    return await _longest(app)


async def ours_unwarned(base: str) -> float:
    """Return the middleware's longest stall in ms, without a lifespan."""
    return await _longest(_ours(base))


def _ours(base: str) -> TikTokOAuthMiddleware:
    endpoints = TikTokEndpoints(token=f"{base}/v2/oauth/token/")
    return TikTokOAuthMiddleware(
        _app, settings(endpoints=endpoints, fetch_user=False), store=MemoryStore()
    )


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answer the lifespan's startup and shutdown."""
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def authlib(base: str) -> float:
    """Return the longest stall in ms of Authlib's Starlette client."""
    from .peers import AuthlibLogin

    return await _longest(AuthlibLogin(f"{base}/v2/oauth/token/").app)


async def _longest(app: Any) -> float:
    gaps: list[float] = []

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0.05)
    gaps.clear()
    location, cookies = await _answered(app, "/auth/tiktok/login", "", "")
    state = dict(parse_qsl(urlsplit(location).query))["state"]
    query = f"code=AbC&state={state}"
    await _answered(app, "/auth/tiktok/callback", query, cookies)
    watching.cancel()
    return max(gaps) * 1000


async def _answered(app: Any, path: str, query: str, cookies: str) -> tuple[str, str]:
    heads: list[Any] = []

    async def taking(message: Any) -> None:
        heads.append(message)

    scope = scope_of(cookies, path)
    scope["query_string"] = query.encode()
    await app(scope, receive, taking)
    headers = [(k.lower(), v.decode()) for k, v in heads[0]["headers"]]
    found = [v.partition(";")[0] for k, v in headers if k == b"set-cookie"]
    return dict(headers)[b"location"], "; ".join(found)

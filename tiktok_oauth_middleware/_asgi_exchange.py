"""Requests of ASGI for the core, and the core's responses as messages of ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ._core.http import NO_CONTENT, Request, Response
from ._core.without_query import without_query
from ._web.guard import CLOSE_CODES
from .auth import TikTokAuth

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_TRY_AGAIN_LATER = 1013


def asgi_request(scope: Scope, path: str, mount: str, receive: Receive) -> Request:
    """Return the request of a scope; its body is received when it is read.

    Args:
        scope: of an HTTP request or a WebSocket.
        path: decoded, without the mount point.
        mount: the mount point.
        receive: gives the body.
    """

    async def read(limit: int) -> bytes | None:
        return await _read_body(receive, limit)

    query = scope.get("query_string", b"")

    def for_app(auth: TikTokAuth) -> Scope:
        return {**without_query(scope, query), "tiktok": auth}

    return Request(
        scope.get("method", "GET"),
        path,
        mount,
        query,
        scope["headers"],
        read,
        for_app,
        scope["type"] == "websocket",
    )


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Return the body; None if it is longer than `limit` bytes, or was cut off."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def without_body(receive: Receive) -> Receive:
    """Return `receive` without the body, if there is any.

    HTTP/2 need not state the length of a body, nor whether there is one.
    """
    has_begun = False

    async def receive_message() -> Message:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        message = await receive()
        while message["type"] == "http.request":
            message = await receive()
        return message

    return receive_message


async def no_body() -> Message:
    """Receive that the client is gone, for a request whose body is the app's."""
    return {"type": "http.disconnect"}


def _head(response: Response) -> list[tuple[bytes, bytes]]:
    """Return the headers of our response, with the length of its body."""
    head = [(k.encode(), v.encode()) for k, v in response.headers]  # they are ASCII
    if response.status == NO_CONTENT:
        return head
    return [*head, (b"content-length", str(len(response.body)).encode())]


async def send_response(scope: Scope, send: Send, response: Response) -> None:
    """Send our response; a WebSocket is refused before it is accepted."""
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            code = CLOSE_CODES.get(response.status, _TRY_AGAIN_LATER)
            await send({"type": "websocket.close", "code": code})
            return
        kind = "websocket.http"
    body = b"" if scope.get("method") == "HEAD" else response.body
    start = f"{kind}.response.start"
    await send({"type": start, "status": response.status, "headers": _head(response)})
    await send({"type": f"{kind}.response.body", "body": body})


async def send_instead(
    scope: Scope, receive: Receive, send: Send, response: Response
) -> None:
    """Send our response without calling the app."""
    if scope["type"] == "websocket":
        await receive()  # the handshake, which must be received before it is refused
    await send_response(scope, send, response)

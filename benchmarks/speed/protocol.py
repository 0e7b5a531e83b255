"""uvicorn's protocol without a socket, to measure what a server adds to a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from .world import BODY, BROWSER, head


class _Socket(asyncio.Transport):
    """A transport that discards and counts writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, _: object) -> None:
        self.writes += 1

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Do nothing, since there is no buffer."""

    def close(self) -> None:
        """Do nothing, since there is no socket."""


def served(app: Any, cookies: str) -> Callable[[], Awaitable[None]]:
    """Return a function that sends a request to an app and awaits the answer."""
    config = Config(app, http="httptools", access_log=False, log_level="warning")
    config.load()
    headers = "".join(f"{name}: {value}\r\n" for name, value in BROWSER)
    request = f"GET /app/page HTTP/1.1\r\n{headers}cookie: {cookies}\r\n\r\n".encode()
    open_connections: list[tuple[HttpToolsProtocol, _Socket]] = []

    async def ask() -> None:
        if not open_connections:  # needs the running loop
            protocol = HttpToolsProtocol(
                config=config, server_state=ServerState(), app_state={}
            )
            socket = _Socket()
            protocol.connection_made(socket)
            open_connections.append((protocol, socket))
        [(protocol, socket)] = open_connections
        before = socket.writes
        protocol.data_received(request)
        while socket.writes == before:  # noqa: ASYNC110 - an event would be counted
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # lets the request's task end

    return ask


async def private(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the two headers of a response that depends on the session."""
    message = head()
    message["headers"] += [(b"vary", b"Cookie"), (b"cache-control", b"private")]
    await send(message)
    await send(BODY)

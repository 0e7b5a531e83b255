"""Connections to TikTok: one for each call, or one for the calls of a login.

HTTP/1.1 assigns answers to requests only by their order, so on a connection that
several users share, one answer too many would reach the wrong user. These rules exclude
that:

- A connection serves one call, or one login. It is closed at the end, so an answer that
  comes late, twice or without a request reaches no other user.
- "If a client receives data on a connection that doesn't have outstanding requests, the
  client MUST NOT consider that data to be a valid response" (RFC 9112 section 9.2). A
  connection on which data has arrived before a request is closed instead of used.
- In a login the code is exchanged first. Only the request for the profile follows on
  the same connection, and its answer names its user, whom `read_user` compares.

A request with a code, a token to revoke or a refresh token is written once. Its method
is not idempotent (RFC 9110 section 9.2.2), and after a broken connection it is
unknown whether TikTok processed it (RFC 9112 section 9.3.1), so it is not sent again.
Two things are tried again: connecting, before which nothing was sent, and the request
for the profile, a GET, if the connection of the exchange ends without a byte of its
answer: the server may have closed the connection while the request was on its way.

HTTP/2 is not offered to TikTok. It would save nothing within a login, and the installed
client takes an unexpected answer for the answer to the next request.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .http_library import httpcore, httpx
from .streams import AsyncStream, BlockingStream

#: The errors of httpcore that a broken network or a faulty server causes.
_NETWORK_ERRORS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)
#: The errors of a connection that the server closed while it was idle.
_CLOSED_WHILE_IDLE = (httpcore.NetworkError, httpcore.RemoteProtocolError)
#: Seconds for which a thread reads on after its caller gave up and reported that.
_AFTER_TIMEOUT = 1.0
_NOT_CONNECTED = (httpcore.ConnectError, httpcore.ConnectTimeout)


@contextmanager
def _as_httpx_errors() -> Iterator[None]:
    """Raise the errors of httpcore as those of httpx, which have the same names."""
    try:
        yield
    except _NETWORK_ERRORS as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error


def _core_request(request: Any) -> Any:
    """Return a request of httpx as one of httpcore."""
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=url.raw_scheme,
            host=url.raw_host,
            port=url.port,
            target=url.raw_path,
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def core_origin_of(url: str) -> Any:
    """Return the origin of a URL, as httpcore compares it."""
    return _core_request(httpx.Request("GET", url)).url.origin


def _timeout_of(request: Any, name: str) -> float | None:
    """Return one of the timeouts that a request has, named as in httpx's `Timeout`."""
    seconds: float | None = request.extensions.get("timeout", {}).get(name)
    return seconds


class _Connection(NamedTuple):
    """A connection of httpcore's, and the stream below it."""

    http: Any
    stream: Any


class _Connections:
    """The part that blocking and async connections share."""

    def __init__(self, tls: Any, *, keeps: bool = False, ahead: Any = None) -> None:
        """Take the TLS settings, which must offer http/1.1 only.

        Args:
            tls: an `ssl.SSLContext`.
            keeps: whether a request for a profile may use the connection of the
                request before it. Then this object must serve one login only.
            ahead: where the first request may find an unused connection.
        """
        self._tls = tls
        self._keeps = keeps
        self._ahead = ahead
        #: The connection of the previous request.
        self._idle: _Connection | None = None
        self._is_closed = False

    def _take_ahead(self, origin: Any) -> Any:
        """Return the source of an unused connection, at the first call only."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None and ahead.origin == origin else None

    def _take_idle(self) -> _Connection | None:
        idle, self._idle = self._idle, None
        return idle

    @staticmethod
    def _may_follow(idle: Any, request: Any) -> bool:
        """Whether a request may be sent on the connection of the previous one.

        httpcore reports a connection as expired if data has arrived on it, or its end.
        """
        return bool(
            request.method == b"GET"
            and idle.can_handle_request(request.url.origin)
            and idle.is_available()
            and not idle.has_expired()
        )


class BlockingConnections(_Connections, httpx.BaseTransport):  # type: ignore[misc]
    """A transport of httpx, for threads.

    A login that has timed out leaves a thread behind that still uses the connection.
    Only the thread that uses a connection closes it: another thread that did so would
    free its descriptor, which the next connection of the process gets.
    """

    def handle_request(self, request: Any) -> Any:
        """Send a request; called by httpx."""
        core_request = _core_request(request)
        with _as_httpx_errors():
            connection, response = self._respond(core_request)
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_BlockingBody(response, lambda: self._release(connection)),
            extensions=response.extensions,
        )

    def _respond(self, request: Any) -> tuple[Any, Any]:
        idle = self._take_idle()
        if idle is not None:
            if self._may_follow(idle.http, request):
                try:
                    return idle, self._ask(idle, request)
                except _CLOSED_WHILE_IDLE:
                    if idle.stream.has_answered:
                        raise
            else:
                idle.http.close()
        connection = self._connected(request)
        return connection, self._ask(connection, request)

    @staticmethod
    def _ask(connection: _Connection, request: Any) -> Any:
        seconds = _timeout_of(request, "read")
        connection.stream.has_answered = False
        connection.stream.deadline = (
            time.monotonic() + (seconds or math.inf) + _AFTER_TIMEOUT
        )
        return connection.http.handle_request(request)

    def _connected(self, request: Any) -> _Connection:
        origin, seconds = request.url.origin, _timeout_of(request, "connect")
        ahead = self._take_ahead(origin)
        opened = None if ahead is None else ahead.take()
        if opened is None:
            try:
                opened = self.open(origin, seconds)
            except _NOT_CONNECTED:
                opened = self.open(origin, seconds)
        stream = BlockingStream(opened)
        return _Connection(httpcore.HTTP11Connection(origin, stream), stream)

    def open(self, origin: Any, seconds: float | None) -> Any:
        """Return a new stream to TikTok, on which nothing was sent."""
        host = origin.host.decode("ascii")
        stream = httpcore.SyncBackend().connect_tcp(host, origin.port, timeout=seconds)
        if origin.scheme == b"https":
            stream = stream.start_tls(self._tls, server_hostname=host, timeout=seconds)
        return stream

    def _release(self, connection: _Connection) -> None:
        """Keep a connection for the next request, or close it."""
        if not (self._keeps and connection.http.is_available()):
            connection.http.close()
            return
        self._idle = connection
        if self._is_closed:  # meanwhile, by the thread that gave up waiting
            self.close()

    def close(self) -> None:
        """Close the idle connection."""
        self._is_closed = True
        idle = self._take_idle()
        if idle is not None:
            idle.http.close()


class AsyncConnections(_Connections, httpx.AsyncBaseTransport):  # type: ignore[misc]
    """A transport of httpx, for event loops of asyncio and Trio."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; called by httpx."""
        core_request = _core_request(request)
        with _as_httpx_errors():
            connection, response = await self._respond(core_request)
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_AsyncBody(response, lambda: self._release(connection)),
            extensions=response.extensions,
        )

    async def _respond(self, request: Any) -> tuple[Any, Any]:
        idle = self._take_idle()
        if idle is not None:
            if self._may_follow(idle.http, request):
                idle.stream.has_answered = False
                try:
                    return idle, await idle.http.handle_async_request(request)
                except _CLOSED_WHILE_IDLE:
                    if idle.stream.has_answered:
                        raise
            else:
                await _close_shielded(idle.http)
        connection = await self._connected(request)
        return connection, await connection.http.handle_async_request(request)

    async def _connected(self, request: Any) -> _Connection:
        origin, seconds = request.url.origin, _timeout_of(request, "connect")
        ahead = self._take_ahead(origin)
        opened = None if ahead is None else await ahead.take()
        if opened is None:
            try:
                opened = await self.open(origin, seconds)
            except _NOT_CONNECTED:
                opened = await self.open(origin, seconds)
        stream = AsyncStream(opened)
        return _Connection(httpcore.AsyncHTTP11Connection(origin, stream), stream)

    async def open(self, origin: Any, seconds: float | None) -> Any:
        """Return a new stream to TikTok, on which nothing was sent."""
        host = origin.host.decode("ascii")
        stream = await httpcore.AnyIOBackend().connect_tcp(
            host, origin.port, timeout=seconds
        )
        if origin.scheme != b"https":
            return stream
        try:
            return await stream.start_tls(
                self._tls, server_hostname=host, timeout=seconds
            )
        except BaseException:
            await _close_shielded(stream)
            raise

    async def _release(self, connection: _Connection) -> None:
        """Keep a connection for the next request, or close it."""
        if self._keeps and connection.http.is_available():
            self._idle = connection
        else:
            await _close_shielded(connection.http)

    async def aclose(self) -> None:
        """Close the idle connection."""
        idle = self._take_idle()
        if idle is not None:
            await _close_shielded(idle.http)


async def _close_shielded(closable: Any) -> None:
    """Close a connection or stream, also while the task is being cancelled."""
    from anyio import CancelScope

    with CancelScope(shield=True):
        await closable.aclose()


class _BlockingBody(httpx.SyncByteStream):  # type: ignore[misc]
    """A response's body, which releases its connection at the end."""

    def __init__(self, response: Any, release: Callable[[], None]) -> None:
        self._response = response
        self._release = release

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors():
            yield from self._response.stream

    def close(self) -> None:
        self._response.close()
        self._release()


class _AsyncBody(httpx.AsyncByteStream):  # type: ignore[misc]
    """A response's body, which releases its connection at the end."""

    def __init__(
        self, response: Any, release: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._response = response
        self._release = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx_errors():
            async for part in self._response.stream:
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()
        await self._release()

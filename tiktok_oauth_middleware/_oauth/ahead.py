"""A connection to TikTok that is opened when a login begins, for its callback.

The TCP and TLS handshakes, two of the four round trips of a callback, are made while a
person is on TikTok's page. No request is sent on the connection until then, so it has
no data of a user, and the next callback of the process uses it, whichever user comes
back. From then on only that login uses it, as `connections` says.

These rules keep it safe:

- If data or an end of stream arrives on it before a request, it is closed (RFC 9112
  section 9.2). Therefore the process reads from it while it waits, or right before it
  is used. That also consumes TLS 1.3's session tickets, which would look like data.
- It is closed `LIFETIME` seconds after it was opened, before firewalls forget it.
- If the server closes it before that, or sends data on it, later connections wait at
  most half as long. If that is less than `SHORTEST`, none is opened.
- There is at most one at a time, and one is opened at most every `PAUSE` seconds, or
  `PAUSE_AFTER_FAILURE` if TikTok could not be reached: anonymous visitors cannot
  cause more connections, however many logins they begin.
- If it fails, it fails in the background. A callback that finds no connection opens its
  own.

Two faults cannot be recognized: a network that silently drops an idle connection, and
a server that closes it while the exchange is on its way. The login then fails as it
does if TikTok does not answer: whether the code was used is unknown, and it is not sent
again. Servers close idle connections after a fixed time, so the second fault can happen
only until the process has seen the server close one.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from tiktok_oauth_middleware._core.fork import register_after_fork

#: Seconds that a connection waits for a login.
LIFETIME = 30.0
#: Seconds from one opening to the next.
PAUSE = 2.0
PAUSE_AFTER_FAILURE = 30.0
#: The shortest time to wait, in seconds: no person is back from TikTok sooner.
SHORTEST = 1.0
#: Seconds after which the process forgets that the server closed a connection: perhaps
#: the server was only restarted.
FORGOTTEN_AFTER = 3600.0
#: Seconds after which a waiting thread checks again whether data has arrived.
CHECK_EVERY = 1.0
#: Rounds of an event loop in which data that has arrived reaches the task that reads;
#: asyncio needs three.
_LOOP_ROUNDS = 5


class _Ahead:
    """When to open a connection: the same for threads and event loops."""

    def __init__(self, origin: Any, open_stream: Callable[[], Any]) -> None:
        """Take the address of the connection, and the function that opens it.

        Args:
            origin: an `Origin` of httpcore, with the scheme https.
            open_stream: returns a stream of httpcore, under ASGI an awaitable of one.
        """
        self.origin = origin
        self._open_stream = open_stream
        #: The clock that measures `PAUSE` and how long a connection has waited.
        self.now = time.monotonic
        self._may_open_at = -math.inf
        #: Seconds that a connection waits, and when that is `LIFETIME` again.
        self._lifetime = LIFETIME
        self._forgotten_at = math.inf
        #: Whether a connection is being opened, or waits.
        self._is_under_way = False

    def may_begin(self) -> bool:
        """Whether to open a connection now; if so, call `run` or `cannot_run` next."""
        now = self.now()
        if now >= self._forgotten_at:
            self._lifetime, self._forgotten_at = LIFETIME, math.inf
        is_useless = self._lifetime < SHORTEST
        if is_useless or self._is_under_way or now < self._may_open_at:
            return False
        self._is_under_way = True
        self._may_open_at = now + PAUSE
        return True

    def cannot_run(self) -> None:
        """Note that nothing can run in the background here now."""
        self._may_open_at = self.now() + PAUSE_AFTER_FAILURE
        self._is_under_way = False

    def _ended_by_server(self, seconds: float) -> None:
        """Note that a connection was closed, or got data, after it had waited."""
        self._lifetime = min(self._lifetime, seconds / 2)
        self._forgotten_at = self.now() + FORGOTTEN_AFTER


class BlockingAhead(_Ahead):
    """The connection of a process, opened by a thread that then waits beside it."""

    def __init__(self, origin: Any, open_stream: Callable[[], Any]) -> None:
        """Take the origin, and the function that opens a connection to it."""
        super().__init__(origin, open_stream)
        # A signal's handler may close the client while its own thread has the lock.
        self._lock = threading.RLock()
        self._stream: Any = None
        self._opened_at = 0.0
        #: Ends the thread, because the connection was taken or is no longer needed.
        self._leave = [threading.Event()]
        # Also at the end of the process, before Python kills its daemon threads.
        weakref.finalize(self, _set_all, self._leave)
        register_after_fork(self)

    @property
    def is_ready(self) -> bool:
        """Whether a connection waits."""
        return self._stream is not None

    def after_fork(self) -> None:
        """Close this process's copy of the socket.

        The parent's connection stays open: no TLS message is sent, and TCP ends only
        when the last copy is closed.
        """
        stream, self._stream = self._stream, None
        self._lock = threading.RLock()
        self._leave[:] = [threading.Event()]
        self._is_under_way = False
        if stream is not None:
            _close(stream)

    def may_begin(self) -> bool:
        with self._lock:
            return super().may_begin()

    async def run(self) -> None:
        """Open a connection; unless it is taken, close it when it is useless."""
        leave = threading.Event()
        self._leave[:] = [leave]
        try:
            stream = self._open_stream()
        except Exception:  # noqa: BLE001 - a login that fails too reports it
            self.cannot_run()
            return
        self._opened_at, left = self.now(), self._lifetime
        self._stream = stream
        while left > 0 and not leave.wait(min(left, CHECK_EVERY)):
            left -= CHECK_EVERY
            with self._lock:  # so that no login takes it meanwhile
                if self._stream is not stream:
                    break
                if not self._is_useful(stream):
                    self._stream = None
                    break
        self._drop()
        self._is_under_way = False

    def _is_useful(self, stream: Any) -> bool:
        """Whether nothing has arrived on a stream; else close it."""
        if _is_silent(stream.get_extra_info("socket")):
            return True
        _close(stream)
        self._ended_by_server(self.now() - self._opened_at)
        return False

    def _pop(self) -> Any:
        with self._lock:
            stream, self._stream = self._stream, None
            return stream

    def _drop(self) -> None:
        stream = self._pop()
        if stream is not None:
            _close(stream)

    def take(self) -> Any:
        """Return the waiting stream, on which nothing has arrived; None without one."""
        stream = self._pop()
        if stream is None:
            return None
        _set_all(self._leave)
        return stream if self._is_useful(stream) else None

    async def aclose(self) -> None:
        """Close the connection."""
        self._drop()
        _set_all(self._leave)


def _close(stream: Any) -> None:
    """Close a connection; a network that is gone must not fail a login."""
    with suppress(OSError):
        stream.close()


def _set_all(events: Sequence[threading.Event]) -> None:
    for event in events:
        event.set()


def _is_silent(connection: ssl.SSLSocket) -> bool:
    """Whether only messages of TLS itself have arrived on a connection."""
    connection.settimeout(0)
    try:
        connection.recv(1)
    except ssl.SSLWantReadError:
        return True
    except OSError:
        pass
    return False


class AsyncAhead(_Ahead):
    """The connection of an event loop, opened by a task that then reads from it."""

    def __init__(self, origin: Any, open_stream: Callable[[], Awaitable[Any]]) -> None:
        """Take the origin, and the function that opens a connection to it."""
        super().__init__(origin, open_stream)
        self._waiting: _Waiting | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a connection waits."""
        return self._waiting is not None and self._waiting.stream is not None

    async def run(self) -> None:
        """Open a connection; unless it is taken, close it when it is useless."""
        waiting = self._waiting = _Waiting(self.now)
        try:
            await waiting.run(self._open_stream, self._lifetime)
        finally:
            if self._waiting is waiting:
                self._waiting = None
            self._is_under_way = False
        if waiting.has_failed:
            self.cannot_run()
        if waiting.ended_after is not None:
            self._ended_by_server(waiting.ended_after)

    async def take(self) -> Any:
        """Return the waiting stream, on which nothing has arrived; None without one."""
        waiting = self._waiting
        if waiting is None or not self.is_ready:
            return None
        self._waiting = None
        return await waiting.take()

    async def aclose(self) -> None:
        """Close the connection."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            await waiting.leave()


class _Waiting:
    """A connection that a task of an event loop opens and watches."""

    def __init__(self, now: Callable[[], float]) -> None:
        from anyio import CancelScope, Event

        self._now = now
        self._scope = CancelScope()
        self._has_left = Event()
        #: Whether a login asked for the stream, which it gets only if nothing arrived.
        self._is_wanted = False
        self.has_failed = False
        #: Seconds until the server closed the waiting connection or sent data on it;
        #: None if it did neither.
        self.ended_after: float | None = None
        #: None until it is open, and after it was closed.
        self.stream: Any = None

    async def run(
        self, open_stream: Callable[[], Awaitable[Any]], lifetime: float
    ) -> None:
        """Open the stream, and read from it until a login takes it or it is useless."""
        from anyio import move_on_after

        is_useless = False
        try:
            with self._scope:
                self.stream = await open_stream()
                opened_at = self._now()
                with move_on_after(lifetime):
                    # This ends only if data or an end of stream arrives: a fault.
                    with suppress(Exception):
                        await self.stream.read(1)
                    self.ended_after = self._now() - opened_at
                is_useless = True
        except Exception:  # noqa: BLE001 - a login that fails too reports it
            is_useless = True
            self.has_failed = self.stream is None
        finally:
            # The task may have been cancelled, at the end of the event loop.
            if is_useless or not self._is_wanted:
                await self._close()
            self._has_left.set()

    async def _close(self) -> None:
        from anyio import CancelScope

        stream, self.stream = self.stream, None
        if stream is not None:
            # A network that is gone must not fail the login; and an exception in
            # a background task would end Trio's event loop.
            with CancelScope(shield=True), suppress(Exception):
                await stream.aclose()

    async def take(self) -> Any:
        """Return the stream if nothing has arrived on it, else close it."""
        from anyio.lowlevel import checkpoint

        self._is_wanted = True
        try:
            # The event loop polls the socket, then wakes the task, which reads.
            for _ in range(_LOOP_ROUNDS):
                await checkpoint()
            await self.leave()
        except BaseException:
            self._is_wanted = False
            self._scope.cancel()
            if self._has_left.is_set():
                await self._close()
            raise
        if self.stream is not None and self.stream.get_extra_info("is_readable"):
            await self._close()
        return self.stream

    async def leave(self) -> None:
        """Make the task end; it closes the stream unless a login has taken it."""
        self._scope.cancel()
        await self._has_left.wait()

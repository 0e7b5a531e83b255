"""The streams below the connections to TikTok.

A stream writes the parts of a request at once, and records whether anything was read
since the request; a blocking one also ends in time.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

from tiktok_oauth_middleware._core.backends.base import GRACE_SECONDS, LATE_SECONDS

from .http_library import httpcore

#: The most bytes of one read. httpcore asks for 64 kB, and takes them apart in one go:
#: 0.3 s if they are 7,000 chunks of a byte, in which an event loop does nothing else.
_LONGEST_READ = 4096


class _Unsent:
    """The parts of a request until its answer is awaited, to be written at once.

    httpcore writes the head and the form of a request one after the other: two records
    of TLS and two system calls, and a server that wakes up twice.
    """

    __slots__ = ("_parts", "_timeout")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._timeout: float | None = None

    def add(self, part: bytes, timeout: float | None) -> None:
        if part:
            self._parts.append(part)
            self._timeout = timeout

    def take(self) -> tuple[bytes, float | None]:
        """Return the bytes to write now, once, and the timeout; b"" for none."""
        parts, self._parts = self._parts, []
        return b"".join(parts), self._timeout


class BlockingStream(httpcore.NetworkStream):  # type: ignore[misc]
    """A stream that records whether anything was read from it, and ends in time.

    The caller gives up at its timeout, but its thread would read on for as long as
    single bytes arrive.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._unsent = _Unsent()
        self.has_answered = False
        #: When the answer must be complete, of `time.monotonic`.
        self.deadline = math.inf

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        request, write_timeout = self._unsent.take()
        if request:
            # As in httpcore: the server may have answered before it closed.
            with suppress(httpcore.WriteError):
                self._stream.write(request, write_timeout)
        began = time.monotonic()
        if not self.has_answered:
            # The process may have been suspended since the request was written.
            self.deadline = max(self.deadline, began + GRACE_SECONDS)
        left = self.deadline - began
        if left <= 0:
            message = "the answer takes too long"
            raise httpcore.ReadTimeout(message)
        seconds = left if timeout is None else min(left, timeout)
        length = min(max_bytes, _LONGEST_READ)
        try:
            data = self._stream.read(length, seconds)
        except httpcore.ReadTimeout:
            if not self._extend_if_late(began + seconds):
                raise
            data = self._stream.read(length, GRACE_SECONDS)
        else:
            self._extend_if_late(began + seconds)
        self.has_answered = self.has_answered or bool(data)
        return bytes(data)

    def _extend_if_late(self, end: float) -> bool:
        """Give the rest of an answer more time if a read ended late; say whether so."""
        now = time.monotonic()
        if now - end <= LATE_SECONDS:
            return False
        self.deadline = max(self.deadline, now + GRACE_SECONDS)
        return True

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent.add(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class AsyncStream(httpcore.AsyncNetworkStream):  # type: ignore[misc]
    """A stream that records whether anything was read from it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._unsent = _Unsent()
        self.has_answered = False

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> bytes:
        request, write_timeout = self._unsent.take()
        if request:
            with suppress(httpcore.WriteError):
                await self._stream.write(request, write_timeout)
        length = min(max_bytes, _LONGEST_READ)
        data: bytes = await self._stream.read(length, timeout)
        self.has_answered = self.has_answered or bool(data)
        return data

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> None:
        self._unsent.add(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

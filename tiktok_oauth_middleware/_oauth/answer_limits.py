"""Limits of TikTok's answers: their length, their time, and no compression.

`limit_answer` and `alimit_answer` are response hooks of the HTTP client.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from .http_library import httpx

#: The longest answer of TikTok's that is read, in bytes.
ANSWER_LIMIT = 1024 * 1024


class LimitedBody(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
    """A response's body that raises an error if it gets too long or takes too long.

    Under WSGI, a thread would otherwise read on after the caller has given up, for as
    long as single bytes arrive.
    """

    def __init__(self, stream: Any, seconds: float) -> None:
        self._stream = stream
        self._left = ANSWER_LIMIT
        self._deadline = time.monotonic() + seconds

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if not self._has_room(chunk) or time.monotonic() > self._deadline:
                raise _limit_exceeded()
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            if self._has_room(chunk):
                yield chunk
            else:
                # The stream is closed, so that its next read ends this loop: Trio does
                # not allow a generator to be left unfinished.
                await self._stream.aclose()
        if self._left < 0:
            raise _limit_exceeded()

    def _has_room(self, chunk: bytes) -> bool:
        self._left -= len(chunk)
        return self._left >= 0

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _limit_exceeded() -> Exception:
    error: Exception = httpx.ReadError("the answer is too long, or takes too long")
    return error


def limit_answer(seconds: float, response: Any) -> None:
    """Limit the body of a response before it is read, and refuse a compressed one.

    Args:
        seconds: until the whole body must have arrived, for a blocking client. In an
            event loop the call as a whole has a deadline.
        response: of the HTTP library.

    Raises:
        DecodingError: the answer is compressed.
    """
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        message = "a compressed answer, which was not asked for"
        raise httpx.DecodingError(message, request=response.request)
    response.stream = LimitedBody(response.stream, seconds)


async def alimit_answer(seconds: float, response: Any) -> None:
    """Limit a response as `limit_answer` does, for an async client."""
    limit_answer(seconds, response)

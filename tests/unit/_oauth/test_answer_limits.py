"""The limits of TikTok's answers, in a blocking client and in an event loop."""

from __future__ import annotations

import anyio
import httpx2
import pytest

from tiktok_oauth_middleware._oauth.answer_limits import (
    ANSWER_LIMIT,
    LimitedBody,
    alimit_answer,
    limit_answer,
)

HALF = b"x" * (ANSWER_LIMIT // 2)


class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Chunks of a body; counts those that were read, and ends when it is closed."""

    def __init__(self, *chunks):
        self.waiting = list(chunks)
        self.read = 0
        self.is_closed = False

    def __iter__(self):
        while self.waiting and not self.is_closed:
            self.read += 1
            yield self.waiting.pop(0)

    async def __aiter__(self):
        for chunk in self:
            yield chunk

    def close(self):
        self.is_closed = True

    async def aclose(self):
        self.is_closed = True


def read(stream, seconds=60.0):
    """Return the body that a blocking client reads."""
    return b"".join(LimitedBody(stream, seconds))


def aread(stream):
    """Return the body that a client in an event loop reads."""

    async def read():
        return b"".join([chunk async for chunk in LimitedBody(stream, 60.0)])

    return anyio.run(read)


@pytest.mark.parametrize("read", [read, aread], ids=["blocking", "cooperative"])
class TestLength:
    def test_longest(self, read):
        """A body of exactly the limit is read whole."""
        assert len(read(Stream(HALF, HALF))) == ANSWER_LIMIT

    def test_a_byte_more(self, read):
        """A longer body is an error, and the rest of it is not read."""
        stream = Stream(HALF, HALF, b"x", b"never read")
        with pytest.raises(httpx2.ReadError, match="too long"):
            read(stream)
        assert stream.read == 3


def test_too_late():
    """A blocking client stops at the first chunk that arrives after the deadline."""
    stream = Stream(b"in time", b"never read")
    with pytest.raises(httpx2.ReadError, match="takes too long"):
        read(stream, seconds=-1.0)
    assert stream.read == 1


def test_closing():
    """To close the body closes the stream below it, in both kinds of client."""
    blocking, cooperative = Stream(), Stream()
    LimitedBody(blocking, 60.0).close()
    anyio.run(LimitedBody(cooperative, 60.0).aclose)
    assert blocking.is_closed
    assert cooperative.is_closed


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_compressed(encoding):
    """A compressed answer is refused before a byte of its body is read."""
    stream = Stream(b"never read")
    request = httpx2.Request("GET", "https://example.com/")
    response = httpx2.Response(
        200, headers={"content-encoding": encoding}, stream=stream, request=request
    )
    with pytest.raises(httpx2.DecodingError):
        limit_answer(60.0, response)
    with pytest.raises(httpx2.DecodingError):
        anyio.run(alimit_answer, 60.0, response)
    assert stream.read == 0


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "Identity"}])
def test_uncompressed(headers):
    """Any other answer gets a body with the limits."""
    response = httpx2.Response(200, headers=headers, stream=Stream(b"body"))
    limit_answer(60.0, response)
    assert isinstance(response.stream, LimitedBody)
    assert response.read() == b"body"

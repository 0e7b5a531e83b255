"""How a request is written: once, and in one piece."""

import asyncio
import time

import pytest

from tiktok_oauth_middleware._core.backends.base import LATE_SECONDS
from tiktok_oauth_middleware._oauth.http_library import httpcore
from tiktok_oauth_middleware._oauth.streams import AsyncStream, BlockingStream

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire(httpcore.NetworkStream, httpcore.AsyncNetworkStream):
    """The network below both kinds of stream: records writes, and has an answer."""

    def __init__(self, *, is_broken=False):
        self.is_broken = is_broken
        self.written = []
        self.timeouts = []
        self.lengths = []
        self.left = ANSWER

    def _write(self, data, timeout):
        self.written.append(data)
        self.timeouts.append(timeout)
        if self.is_broken:
            raise httpcore.WriteError

    def _read(self, max_bytes):
        self.lengths.append(max_bytes)
        data, self.left = self.left[:20], self.left[20:]
        return data


class Blocking(Wire):
    def write(self, buffer, timeout=None):
        self._write(buffer, timeout)

    def read(self, max_bytes, timeout=None):
        return self._read(max_bytes)

    def close(self):
        pass


class Async(Wire):
    async def write(self, buffer, timeout=None):
        self._write(buffer, timeout)

    async def read(self, max_bytes, timeout=None):
        return self._read(max_bytes)

    async def aclose(self):
        pass


def _post():
    return httpcore.Request(
        "POST",
        "http://tiktok.example/token",
        headers={"host": "tiktok.example", "content-length": "6"},
        content=b"code=1",
        extensions={"timeout": {"write": 7}},
    )


def _blocking(wire):
    request = _post()
    stream = BlockingStream(wire)
    connection = httpcore.HTTP11Connection(request.url.origin, stream)
    return connection.handle_request(request).read()


def _in_a_loop(wire):
    request = _post()

    class Body:
        async def __aiter__(self):
            yield b"code=1"

    request.stream = Body()
    stream = AsyncStream(wire)
    connection = httpcore.AsyncHTTP11Connection(request.url.origin, stream)

    async def call():
        return await (await connection.handle_async_request(request)).aread()

    return asyncio.run(call())


@pytest.mark.parametrize(("kind", "ask"), [(Blocking, _blocking), (Async, _in_a_loop)])
def test_short_reads(kind, ask):
    """An answer is read in small pieces, so that other tasks run in between."""
    wire = kind()
    assert ask(wire) == b"ok"
    assert wire.lengths
    assert max(wire.lengths) <= 4096


class TestSuspended:
    """The process is suspended while a thread waits for an answer."""

    def test_timeout_that_is_noticed_late(self):
        """The answer is read once more if a read's timeout ended late."""

        class Suspended(Blocking):
            def read(self, max_bytes, timeout=None):
                if not self.timeouts:
                    self.timeouts.append(timeout)
                    time.sleep(timeout + 2 * LATE_SECONDS)
                    raise httpcore.ReadTimeout
                return super().read(max_bytes, timeout)

        assert BlockingStream(Suspended()).read(100, 0.01) == ANSWER[:20]

    @pytest.mark.parametrize("is_late", [False, True])
    def test_deadline(self, is_late):
        """The rest of an answer is read although the deadline passed in a pause."""
        stream = BlockingStream(Blocking())
        stream.deadline = time.monotonic() - 5
        assert stream.read(100, 1) == ANSWER[:20]
        stream.deadline -= 0 if is_late else 60
        if is_late:
            assert stream.read(100, 1) == ANSWER[20:]
        else:
            with pytest.raises(httpcore.ReadTimeout):
                stream.read(100, 1)


@pytest.mark.parametrize(("wire", "call"), [(Blocking, _blocking), (Async, _in_a_loop)])
class TestWrites:
    def test_one(self, wire, call):
        """Head and form of a request go out together, and only once."""
        wire = wire()
        assert call(wire) == b"ok"
        [request] = wire.written
        assert request.startswith(b"POST /token HTTP/1.1\r\n")
        assert request.endswith(b"\r\n\r\ncode=1")
        assert wire.timeouts == [7]

    def test_early_answer(self, wire, call):
        """An answer that came before the connection broke is read, as with httpcore."""
        wire = wire(is_broken=True)
        assert call(wire) == b"ok"
        assert len(wire.written) == 1

"""A fast client of the standard library: one request for each connection.

It returns the answer, or the reason why there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from .world import Answer

_LOST = -1


def lost(answer: Answer) -> bool:
    """Return whether there was no answer: the connection was closed or refused."""
    return answer.status == _LOST


async def ask(
    port: int,
    url: str,
    cookie: str = "",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Send one request with these cookies; the status is -1 if there is no answer."""
    given = {"host": "app.example.com", "connection": "close"} | dict(headers or {})
    if cookie:
        given["cookie"] = cookie
    if body or method == "POST":
        given["content-length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    sent = f"{method} {url} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        received = await reader.read(-1)
        return _read(received)
    except (OSError, ValueError, IndexError) as error:
        return Answer(_LOST, [], repr(error).encode())
    finally:
        if writer is not None:
            writer.close()


def _read(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    headers = [(name, value.strip()) for name, _, value in pairs]
    answer = Answer(int(first.split()[1]), headers, body)
    if answer.header("transfer-encoding") != "chunked":
        return answer
    return Answer(answer.status, headers, b"".join(_chunks(body)))


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, rest = body.partition(b"\r\n")
        yield rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :] if int(size, 16) else b""

"""A token endpoint in a separate process, so that its cost is not measured.

It answers every POST with new tokens of a new user or, for a refresh, of the token's
user, over connections that are kept open; and it counts the requests.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import Any, Self
from urllib.request import urlopen

from tiktok_oauth_middleware import TikTokEndpoints

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class TokenServer:
    """The server's process, seen by the parent."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True
        )
        if self._process.stdout is None:
            raise AssertionError
        self.base = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def endpoints(self) -> TikTokEndpoints:
        """The addresses, for settings."""
        return TikTokEndpoints(
            token=f"{self.base}/v2/oauth/token/",
            revoke=f"{self.base}/v2/oauth/revoke/",
            user_info=f"{self.base}/v2/user/info/",
        )

    def calls(self) -> int:
        """Return the number of token requests so far."""
        with urlopen(f"{self.base}/count") as answer:
            return int(answer.read())


class _Server(asyncio.Protocol):
    count = 0

    def connection_made(self, transport: Any) -> None:
        self._transport, self._got = transport, b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._got) < whole:
                return
            body, self._got = self._got[end + 4 : whole], self._got[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /count"):
            answer = str(_Server.count).encode()
        else:
            _Server.count += 1
            number = _Server.count
            found = re.search(rb"rft\.([0-9a-f-]{36})", body)
            who = (
                found[1].decode()
                if found
                else f"{number:08d}-2222-4333-8444-555555555555"
            )
            answer = json.dumps(
                {
                    "access_token": f"act.{number:064d}!5259.va",
                    "expires_in": 86400,
                    "open_id": who,
                    "refresh_expires_in": 31536000,
                    "refresh_token": f"rft.{who}{number:028d}!5294.va",
                    "scope": "user.info.basic,video.list",
                    "token_type": "Bearer",
                }
            ).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
            + str(len(answer)).encode()
            + b"\r\n\r\n"
            + answer
        )


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())

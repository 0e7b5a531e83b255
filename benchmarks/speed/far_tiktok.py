"""Endpoints like TikTok's over TLS, behind a relay that delays every byte.

One process serves the token and user-info endpoints with hypercorn (ALPN: h2 and
http/1.1). The relay in front of it passes each chunk on half a round trip later, in
each direction, and delays a new connection by one round trip, like TCP's handshake. So
a request over a new connection with TLS 1.3 takes three round trips: TCP, TLS, and the
request.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from tiktok_oauth_middleware import TikTokEndpoints


class FarTikTok:
    """The server's process, seen by the parent; ``SSL_CERT_FILE`` makes it trusted."""

    def __enter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory()
        certificate = Path(self._home.name) / "certificate.pem"
        _write_certificate(certificate)
        self._trusted = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(certificate)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(certificate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._direct, self._relayed = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._home.cleanup()
        if self._trusted is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = self._trusted

    def endpoints(self, *, is_far: bool = True) -> TikTokEndpoints:
        """Return the endpoints for settings; through the relay if `is_far`."""
        port = self._relayed if is_far else self._direct
        base = f"https://127.0.0.1:{port}"
        return TikTokEndpoints(
            token=f"{base}/v2/oauth/token/",
            revoke=f"{base}/v2/oauth/revoke/",
            user_info=f"{base}/v2/user/info/",
        )

    def be_away(self, round_trip: float) -> None:
        """Set the length of a round trip, in seconds, for all later messages."""
        self._ask(round_trip)

    def counts(self) -> dict[str, float]:
        """Return the connections relayed and requests served, and CPU seconds."""
        return self._ask(None)

    def _ask(self, what: float | None) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(what)}\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer


def _write_certificate(path: Path) -> None:
    """Write a key and a certificate for 127.0.0.1, signed with the same key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a benchmark")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


# --- in the process -----------------------------------------------------------------


async def _sleep_until(due: float) -> None:
    """Return at `due`, of `time.monotonic`.

    An event loop wakes up to a millisecond late, since epoll counts in whole
    milliseconds; a callback crosses the distance eight times, so that would add a
    twentieth of a round trip of 80 ms, and a fifth of one of 20 ms.
    """
    while True:
        left = due - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(left - 0.001 if left > 0.002 else 0)


class _Relay:
    """Passes bytes on to the server, delayed by the distance."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.round_trip = 0.0
        self.connections = 0

    async def serve(self, reader: Any, writer: Any) -> None:
        """Relay one connection until either side closes it."""
        self.connections += 1
        # TCP's handshake: the first bytes leave the client one round trip from now.
        exists_at = time.monotonic() + self.round_trip
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(
            self._pass(reader, far_writer, exists_at),
            self._pass(far_reader, writer, exists_at),
        )

    async def _pass(self, reader: Any, writer: Any, exists_at: float) -> None:
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, chunk = await chunks.get()
                await _sleep_until(due)
                if not chunk:
                    writer.close()
                    return
                writer.write(chunk)

        delivering = asyncio.ensure_future(deliver())
        with contextlib.suppress(OSError):
            chunk = b"-"
            while chunk:
                chunk = await reader.read(65536)
                sent_at = max(time.monotonic(), exists_at)
                chunks.put_nowait((sent_at + self.round_trip / 2, chunk))
        if chunk:  # the connection was reset
            chunks.put_nowait((0, b""))
        with contextlib.suppress(OSError):
            await delivering


class _Endpoints:
    """An ASGI app that answers as TikTok's token and user-info endpoints do."""

    def __init__(self) -> None:
        self.requests = 0
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.requests += 1
        headers = {name: value.decode() for name, value in scope["headers"]}
        answer = json.dumps(self._answer(scope["path"], body, headers)).encode()
        head = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, body: bytes, headers: dict[bytes, str]) -> Any:
        if path == "/v2/user/info/":
            who = headers[b"authorization"].partition("act.")[2][:36]
            user = {"open_id": who, "display_name": "Example Creator"}
            return {"data": {"user": user}, "error": {"code": "ok", "message": ""}}
        sent = parse_qs(body.decode())
        number = next(self._numbers)
        who = f"{number:08d}-2222-4333-8444-555555555555"
        if "refresh_token" in sent:
            who = sent["refresh_token"][0].removeprefix("rft.")[:36]
        return {
            "access_token": f"act.{who}{number:028d}!5259.va",
            "expires_in": 86400,
            "open_id": who,
            "refresh_expires_in": 31536000,
            "refresh_token": f"rft.{who}{number:028d}!5294.va",
            "scope": "user.info.basic,video.list",
            "token_type": "Bearer",
        }


async def _serve(certificate: str) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    app = _Endpoints()
    listening = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.certfile = config.keyfile = certificate
    config.alpn_protocols = ["h2", "http/1.1"]
    config.loglevel = "CRITICAL"
    relay = _Relay(listening.getsockname()[1])
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    ports = [listening.getsockname()[1], server.sockets[0].getsockname()[1]]
    # Cancelled at the end, so nothing has to trigger a shutdown.
    forever = asyncio.Event().wait
    serving = asyncio.ensure_future(serve(app, config, shutdown_trigger=forever))  # type: ignore[arg-type]
    print(json.dumps(ports), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        round_trip = json.loads(line)
        if round_trip is not None:
            relay.round_trip = round_trip
        counts = {
            "connections": relay.connections,
            "requests": app.requests,
            "seconds": time.process_time(),
        }
        print(json.dumps(counts), flush=True)
    serving.cancel()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))

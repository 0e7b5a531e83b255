"""TikTok over real TLS sockets, with the faults of a broken server on demand.

The user of a code or a token is the part before its first dash. An unrequested answer
belongs to `STRANGER`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from tiktok_oauth_middleware import TikTokEndpoints

from .patience import HANGS

STRANGER = "stranger"

#: Faults of a connection before a request.
IDLE_FAULTS = (
    "",
    "unasked",
    "unasked crlf",
    "close idle",
    "reset idle",
    "no tls",
    "silent",
)
#: Faults in the answer to a request.
REQUEST_FAULTS = (
    "",
    "two answers",
    "two answers, apart",
    "stranger's profile",
    "close",
    "reset",
    "half",
    "hang",
    "drip",
    "close after answer",
    "say close",
    "early hints",
    "http/1.0",
)


@dataclass
class Seen:
    """A request that was read completely."""

    connection: int
    path: str
    #: The code, the refresh token or the bearer token.
    secret: str


@dataclass(eq=False)
class FaultyTikTok:
    """A server; each connection and request gets the next fault of the lists."""

    certificate: Path
    alpn: tuple[str, ...] = ()
    #: Faults of the next connections, in order; later ones have none.
    idle_faults: list[str] = field(default_factory=list)
    #: Faults of the next requests, in order.
    request_faults: list[str] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    #: Number of connections accepted.
    accepted: int = 0
    #: Connections open now.
    alive: int = 0
    #: The most connections that were open at the same time.
    most_alive: int = 0
    #: Connections whose faults before a request are completed.
    settled: int = 0
    #: Connections on which an unrequested answer has reached the client. Counted
    #: separately, since an earlier connection's thread may be late.
    unasked: int = 0

    def __post_init__(self) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.certificate)
        if self.alpn:
            self._tls.set_alpn_protocols([*self.alpn])
        self._lock = threading.Lock()
        self._ended = threading.Event()
        #: While this is not set, connections wait before their fault.
        self.released = threading.Event()
        self.released.set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def endpoints(self) -> TikTokEndpoints:
        base = f"https://127.0.0.1:{self.port}"
        return TikTokEndpoints(
            token=f"{base}/v2/oauth/token/",
            revoke=f"{base}/v2/oauth/revoke/",
            user_info=f"{base}/v2/user/info/",
        )

    def close(self) -> None:
        self._ended.set()
        self.released.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(HANGS)

    def times(self, secret: str) -> int:
        """Return how often a code or token arrived."""
        return sum(seen.secret == secret for seen in self.requests)

    def connections(self) -> list[int]:
        """Return the number of each request's connection."""
        return [seen.connection for seen in self.requests]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + HANGS
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.002)

    # --- serving -------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self.alive += 1
                self.most_alive = max(self.alive, self.most_alive)
                number = self.accepted
                fault = self.idle_faults.pop(0) if self.idle_faults else ""
            self._start(self._serve, peer, number, fault)

    def _serve(self, peer: socket.socket, number: int, fault: str) -> None:
        try:
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                stack.callback(self._settle, fault)
                stack.enter_context(peer)
                if fault == "no tls":
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
                if fault == "silent":
                    self._ended.wait(HANGS)
                    return
                with self._tls.wrap_socket(peer, server_side=True) as secure:
                    self._serve_secure(secure, number, fault)
        finally:
            with self._lock:
                self.alive -= 1

    def _settle(self, fault: str) -> None:
        """Record that a connection's fault is completed, if it ends the connection."""
        if fault in ("close idle", "reset idle", "no tls"):
            with self._lock:
                self.settled += 1

    def _serve_secure(self, peer: ssl.SSLSocket, number: int, fault: str) -> None:
        if fault:
            self.released.wait(HANGS)
        match fault:
            case "unasked":
                peer.sendall(_http(tokens(STRANGER)))
            case "unasked crlf":
                peer.sendall(b"\r\n")
            case "close idle":
                return
            case "reset idle":
                _reset(peer)
                return
        if fault.startswith("unasked"):
            _wait_until_delivered(peer)
        with self._lock:
            self.settled += 1
            self.unasked += fault.startswith("unasked")
        while True:
            # A client may keep a connection open indefinitely; a server that ends must
            # not wait for that.
            peer.settimeout(0.05)
            read = b""
            while b"\r\n\r\n" not in read:
                more = self._read(peer)
                if not more:
                    return
                read += more
            head, _, body = read.partition(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            while len(body) < length:
                more = self._read(peer)
                if not more:
                    return
                body += more
            if not self._respond(peer, number, head, body):
                return

    def _read(self, peer: ssl.SSLSocket) -> bytes:
        """Return bytes; b"" at the end of the connection, or of the server."""
        while not self._ended.is_set():
            try:
                return peer.recv(65536)
            except TimeoutError:
                continue
        return b""

    def _respond(
        self, peer: ssl.SSLSocket, number: int, head: bytes, body: bytes
    ) -> bool:
        """Answer a request; return whether another one may follow."""
        path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
        closes = b"\r\nconnection: close" in head.lower()
        if "user" in path:
            secret = head.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()
            answer = profile(user_of(secret))
        else:
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            secret = form.get("code") or form.get("refresh_token") or form["token"]
            answer = tokens(user_of(secret))
        with self._lock:
            self.requests.append(Seen(number, path, secret))
            fault = self.request_faults.pop(0) if self.request_faults else ""
        match fault:
            case "two answers":
                peer.sendall(_http(answer) + _http(tokens(STRANGER)))
            case "two answers, apart":
                peer.sendall(_http(answer))
                peer.sendall(_http(tokens(STRANGER)))
            case "stranger's profile":
                peer.sendall(_http(answer) + _http(profile(STRANGER)))
            case "close":
                return False
            case "reset":
                _reset(peer)
                return False
            case "half":
                peer.sendall(_http(answer)[:-20])
                return False
            case "hang":
                self._wait_for_the_end(peer)
                return False
            case "drip":
                peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                with contextlib.suppress(OSError):
                    while not self._ended.wait(0.05):
                        peer.sendall(b"x")
                return False
            case "close after answer":
                peer.sendall(_http(answer))
                return False
            case "say close":
                peer.sendall(_http(answer, "Connection: close"))
                return False
            case "early hints":
                peer.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" + _http(answer))
            case "http/1.0":
                peer.sendall(_http(answer).replace(b"HTTP/1.1", b"HTTP/1.0"))
                return False
            case _:
                peer.sendall(_http(answer))
        return not closes

    def _wait_for_the_end(self, peer: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError):
            while self._read(peer):
                pass


def user_of(secret: str) -> str:
    return secret.removeprefix("act.").removeprefix("rft.").partition("-")[0]


def tokens(user: str) -> object:
    return {
        "access_token": f"act.{user}-1",
        "refresh_token": f"rft.{user}-1",
        "open_id": user,
        "expires_in": 7200,
        "refresh_expires_in": 15552000,
        "scope": "user.info.basic",
        "token_type": "Bearer",
    }


def profile(user: str) -> object:
    return {
        "data": {"user": {"open_id": user, "display_name": f"name of {user}"}},
        "error": {"code": "ok", "message": ""},
    }


def _http(answer: object, *headers: str) -> bytes:
    body = json.dumps(answer).encode()
    lines = [
        "HTTP/1.1 200 OK",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _wait_until_delivered(peer: socket.socket) -> None:
    """Wait until the other side's kernel has acknowledged everything that was sent."""
    if sys.platform != "linux":
        time.sleep(0.1)
        return
    deadline = time.monotonic() + HANGS
    waiting = b"-"
    while any(waiting) and time.monotonic() < deadline:
        time.sleep(0.001)
        waiting = fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4))


def _reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

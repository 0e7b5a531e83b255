"""A server in place of TikTok that a script lets answer: late, in part, or not at all."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from tiktok_oauth_middleware import TikTokEndpoints

from .tiktok_faults import (
    GOOD,
)

NAMES = {"/v2/oauth/token/": "token", "/v2/oauth/revoke/": "revoke"}


class ScriptedTikTok:
    """A server that lets a script answer a request, or answers like TikTok
    without one.
    """

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.scripts = {}
        #: Whether connections are reset before anything is read.
        self.resets = False
        self.seen = []
        self.ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    @property
    def endpoints(self):
        return TikTokEndpoints(
            token=f"{self.url}/v2/oauth/token/",
            revoke=f"{self.url}/v2/oauth/revoke/",
            user_info=f"{self.url}/v2/user/info/",
        )

    def requests(self, endpoint):
        return [head for name, head in self.seen if name == endpoint]

    def _serve(self):
        while not self.ended.is_set():
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(peer,), daemon=True).start()

    def _answer(self, peer):
        with peer, contextlib.suppress(OSError):
            if self.resets:
                reset()(self, peer)
                return
            while head := self._request(peer):
                path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
                endpoint = NAMES.get(path, "user_info")
                self.seen.append((endpoint, head))
                script = self.scripts.get(endpoint)
                if script is None:
                    call = {"token": "exchange", "user_info": "profile"}.get(
                        endpoint, endpoint
                    )
                    peer.sendall(answer(GOOD[call]))
                elif not script(self, peer):
                    return

    @staticmethod
    def _request(peer):
        """Read a request with its body; return its head."""
        read = b""
        while b"\r\n\r\n" not in read:
            more = peer.recv(65536)
            if not more:
                return b""
            read += more
        head, _, body = read.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(body) < length:
            body += peer.recv(65536)
        return head

    def close(self):
        self.ended.set()
        # This also wakes accept(), unlike close().
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def answer(body, status="200 OK", *headers, length=None):
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if length != "none":
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def says(*parts, stay=False):
    """Return a script that sends bytes, and then closes or waits for more requests."""

    def script(server, peer):
        for part in parts:
            peer.sendall(part)
        return stay

    return script


def reset(*parts):
    """Return a script that sends bytes and then resets the connection."""

    def script(server, peer):
        for part in parts:
            peer.sendall(part)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return script


def drip(start, byte):
    """Return a script that sends single bytes without end."""

    def script(server, peer):
        peer.sendall(start)
        while not server.ended.wait(0.05):
            peer.sendall(byte)
        return False

    return script


def silent(server, peer):
    server.ended.wait(20)
    return False

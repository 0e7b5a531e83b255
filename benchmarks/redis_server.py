"""A Redis server for one figure, which can be frozen, killed and restarted.

Every write is on the disk before its answer, so that a kill loses no acknowledged
write.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from typing import Self

from tests.support.ports import free_port

_START_SECONDS = 20


class RedisServer:
    """A server on a free port of this machine, with its files in `folder`."""

    def __init__(self, folder: str) -> None:
        self._port = free_port()
        self._folder = folder
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and wait until it has read its files and answers."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._port)]
        command += ["--dir", self._folder, "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                message = "redis-server does not answer"
                raise TimeoutError(message)
            time.sleep(0.005)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """End it with kill -9, frozen or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Suspend it: connections stay open without answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

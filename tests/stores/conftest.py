"""Processes for the tests of stores: servers of their own, forked children."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ..support.patience import HANGS
from ..support.ports import free_port
from .databases import MariaDB, PostgreSQL, Server, running

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "correct-horse-battery-staple"


class RedisServer:
    """A server that can be stopped, paused and started again on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.password = PASSWORD
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--save", "", "--appendonly", "no", "--requirepass", PASSWORD]
        command += ["--hz", "1"]  # each idle server takes 0.4 % of a core otherwise
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + HANGS
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return bool(connection.recv(16))
        except OSError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def _has_redis() -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")


@pytest.fixture(scope="session")
def redis_url(_has_redis: None) -> Iterator[str]:
    """Return the URL of a server that runs for the whole session."""
    server = RedisServer()
    server.start()
    yield server.url
    server.kill()


@pytest.fixture
def redis_server(_has_redis: None) -> Iterator[RedisServer]:
    """Return a server of one test's own."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """Return a PostgreSQL that runs for the whole session."""
    yield from running(PostgreSQL)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """Return a MariaDB that runs for the whole session."""
    yield from running(MariaDB)

"""Servers of Redis in each of its kinds, and clients of both libraries."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tiktok_oauth_middleware import RedisStore
from tiktok_oauth_middleware.errors import StoreError

from ..support.ports import free_port
from .twins import Twins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


redis = pytest.importorskip("redis")
HERE = "127.0.0.1"


def soon(is_so: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition is true; an error of Redis or of a store counts as
    false.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except (OSError, redis.RedisError, StoreError):
            pass
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Servers:
    """Processes of redis-server on free ports; `kill` ends them all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.by_port: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *options: object, config: Path | None = None) -> int:
        """Start a server that listens on a free port, and return the port."""
        port = free_port()
        self.run(port, "--port", port, *options, config=config)
        return port

    def run(self, port: int, *options: object, config: Path | None = None) -> None:
        command = ["redis-server", *([str(config)] if config else [])]
        command += ["--bind", HERE, "--dir", str(self.directory), *map(str, options)]
        if "--sentinel" not in options:
            command += ["--save", "", "--appendonly", "no"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.by_port[port] = process

        def answers() -> bool:
            assert process.poll() is None, "redis-server has ended"
            with socket.create_connection((HERE, port), 1):
                return True

        soon(answers)

    def kill(self) -> None:
        for process in self.by_port.values():
            process.kill()
            process.wait()


@contextmanager
def servers_of_a_test() -> Iterator[Servers]:
    # Not in pytest's directories, whose names may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        servers = Servers(Path(directory))
        try:
            yield servers
        finally:
            servers.kill()


class Library:
    """redis-py or valkey-py, whose classes have the same names."""

    def __init__(self, name: str) -> None:
        self.blocking: Any = pytest.importorskip(name)
        self.loop: Any = pytest.importorskip(f"{name}.asyncio")
        self.sentinel: Any = pytest.importorskip(f"{name}.sentinel")
        self.loop_sentinel: Any = pytest.importorskip(f"{name}.asyncio.sentinel")
        self._blocking_retry: Any = pytest.importorskip(f"{name}.retry")
        self._loop_retry: Any = pytest.importorskip(f"{name}.asyncio.retry")
        self._backoff: Any = pytest.importorskip(f"{name}.backoff")

    def once(self, *, in_a_loop: bool = False) -> dict[str, Any]:
        """Return options for a client that tries only once."""
        retry = self._loop_retry if in_a_loop else self._blocking_retry
        return {
            "retry": retry.Retry(self._backoff.NoBackoff(), 0),
            "socket_timeout": 5.0,
            "socket_connect_timeout": 5.0,
        }


class ClientTwins(Twins):
    """The asyncio methods of a store over a client, which is closed with the store."""

    def __init__(self, client: Any, *others: Any) -> None:
        store = RedisStore(client)
        super().__init__(store)
        self.keys = store.akeys
        self._clients = [client, *others]

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

"""A failover with the old primary still running, and replies that require another
server.

A relay acts as a virtual address: open connections stay with their server, and new ones
go to the server that has the address now.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tiktok_oauth_middleware import RedisStore, StoreError
from tiktok_oauth_middleware.testing.blocking_store import in_a_loop
from tiktok_oauth_middleware.testing.store_contract import LONG

from ..support.patience import HANGS
from ..support.ports import free_port
from .redis_servers import HERE, ClientTwins, Library, soon
from .twins import Twins

redis = pytest.importorskip("redis")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Relay:
    """Forwards each new connection to the server that has the address then."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server((HERE, 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.create_connection((HERE, self.target))
            self._open += [ours, theirs]
            for one, other in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["redis-server", "valkey-server"])
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., int]]:
    """Return a function that starts a server with options and returns its port."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    processes = []
    with tempfile.TemporaryDirectory() as home:

        def run(*options: object) -> int:
            port = free_port()
            command = [program, "--bind", HERE, "--port", port, "--dir", home]
            command += ["--save", "", "--repl-diskless-sync-delay", 0, *options]
            processes.append(
                subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
            )
            with redis.Redis(port=port) as client:
                soon(client.ping, HANGS)
            return port

        yield run
        for process in processes:
            process.kill()
            process.wait()


class Pair:
    """A primary and its replica behind one address, and stores that use it."""

    def __init__(self, start: Callable[..., int]) -> None:
        self.old = start()
        self.new = start("--replicaof", HERE, self.old)
        with redis.Redis(port=self.new) as replica:
            soon(
                lambda: replica.info("replication")["master_link_status"] == "up", HANGS
            )
        self.relay = Relay(self.old)

    def fail_over(self) -> None:
        """Make the replica the primary, the primary its replica, and move the address.

        Both servers keep running, and connections to both stay open.
        """
        with redis.Redis(port=self.old) as old, redis.Redis(port=self.new) as new:
            # WAIT would cover only this connection's writes.
            soon(lambda: sorted(new.keys()) == sorted(old.keys()), HANGS)
            new.replicaof("NO", "ONE")
            self.relay.target = self.new
            old.replicaof(HERE, self.new)
            soon(lambda: old.info("replication")["master_link_status"] == "up", HANGS)


@pytest.fixture
def pair(start: Callable[..., int]) -> Iterator[Pair]:
    made = Pair(start)
    yield made
    made.relay.close()


@contextmanager
def stores_at(port: int) -> Iterator[dict[str, Any]]:
    """Return stores from a URL and from clients, blocking and asyncio."""
    url = f"redis://{HERE}:{port}/0"
    with ExitStack() as stack:
        by_url = RedisStore(url, timeout=HANGS)
        stack.callback(by_url.close)
        made: dict[str, Any] = {"url": by_url}
        twins = partial(lambda: Twins(RedisStore(url, timeout=HANGS)))
        made["url in a loop"] = stack.enter_context(in_a_loop(twins))
        for name in ("redis", "valkey"):
            library = Library(name)
            kind = "Redis" if name == "redis" else "Valkey"
            client = getattr(library.blocking, kind)(port=port)
            stack.enter_context(client)
            made[name] = RedisStore(client)
            for_loop = partial(
                lambda library, kind: ClientTwins(
                    getattr(library.loop, kind)(port=port)
                ),
                library,
                kind,
            )
            made[f"{name} in a loop"] = stack.enter_context(in_a_loop(for_loop))
        yield made


def test_a_living_old_primary(pair: Pair) -> None:
    """With every client, the first write after a failover goes to the new primary.

    The clients' pools have connections to the old primary, which refuses writes.
    """
    with stores_at(pair.relay.port) as stores, ThreadPoolExecutor(8) as threads:
        for name, store in stores.items():
            assert store.compare_and_set(name, None, b"kept", LONG) is True
            assert set(threads.map(store.get, [name] * 40)) == {b"kept"}
        pair.fail_over()
        for name, store in stores.items():
            assert store.compare_and_set(name, b"kept", b"new", LONG) is True, name
            assert store.get(name) == b"new"
            with store.lock(name, LONG) as is_held:
                assert is_held is True
            assert name in _rows(pair.new)


def test_many_writers(pair: Pair) -> None:
    """Threads that write at the same moment all reach the new primary."""
    with stores_at(pair.relay.port) as stores, ThreadPoolExecutor(8) as threads:
        for name in ("url", "url in a loop", "redis in a loop"):
            store = stores[name]
            keys = [f"{name} {number}" for number in range(8)]
            create = partial(_create, store, threading.Barrier(8))
            assert list(threads.map(create, keys)) == [True] * 8
        pair.fail_over()
        for name in ("url", "url in a loop", "redis in a loop"):
            store = stores[name]
            keys = [f"{name} again {number}" for number in range(8)]
            create = partial(_create, store, threading.Barrier(8))
            assert list(threads.map(create, keys)) == [True] * 8


def _create(store: Any, barrier: threading.Barrier, key: str) -> bool:
    barrier.wait(HANGS)
    return bool(store.compare_and_set(key, None, b"kept", LONG))


def _rows(port: int) -> set[str]:
    with redis.Redis(port=port, decode_responses=True) as client:
        return set(client.keys("*"))


def test_a_replica_at_the_address(start: Callable[..., int]) -> None:
    """If the address permanently leads to a replica, writes are errors that say so."""
    primary = start()
    replica = start("--replicaof", HERE, primary)
    with stores_at(replica) as stores:
        for name, store in stores.items():
            with pytest.raises(StoreError, match="READONLY, the server is a replica"):
                store.compare_and_set(name, None, b"kept", LONG)
            assert store.get(name) is None


# --- replies ------------------------------------------------------------------------


class Server:
    """A server for the Redis commands of a store; its first connection answers with
    errors.
    """

    def __init__(self, error: bytes, *, always: bool = False) -> None:
        self.error = error
        self.always = always
        self.connections = 0
        self._listener = socket.create_server((HERE, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            work = partial(self._serve, connection, is_first=self.connections == 1)
            threading.Thread(target=work, daemon=True).start()

    def _serve(self, connection: socket.socket, *, is_first: bool) -> None:
        with closing(connection), suppress(OSError):
            lines = connection.makefile("rb")
            has_resp3 = False
            while line := lines.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int(lines.readline()[1:])
                    words.append(lines.read(size + 2)[:-2])
                has_resp3 = has_resp3 or words[0].upper() == b"HELLO"
                answer = self._answer(words, is_first=is_first)
                if has_resp3:  # RESP3 has its own null type
                    answer = answer.replace(b"$-1", b"_")
                connection.sendall(answer)

    def _answer(self, words: list[bytes], *, is_first: bool) -> bytes:
        name = words[0].upper()
        if name == b"HELLO":
            return b"%1\r\n$5\r\nproto\r\n:3\r\n"
        if name not in (b"GET", b"EVALSHA"):
            return b"+OK\r\n"
        if is_first or self.always:
            return b"-" + self.error + b"\r\n"
        return b"$-1\r\n" if name == b"GET" else b":1\r\n"

    def close(self) -> None:
        self._listener.close()


ELSEWHERE = [
    b"READONLY You can't write against a read only replica.",
    b"ERR Error running script (call to f_0a1b): @user_script:15: @user_script: 15:"
    b" -READONLY You can't write against a read only replica.",
    b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    b"NOREPLICAS Not enough good replicas to write.",
    b"LOADING Redis is loading the dataset in memory",
    b"UNBLOCKED force unblock from blocking operation, instance state changed",
    b"CLUSTERDOWN The cluster is down",
]
OTHER = [
    (b"OOM command not allowed when used memory > 'maxmemory'.", "memory is full"),
    (b"MISCONF Redis is configured to save RDB snapshots, but it's unable to", "disk"),
    (b"MOVED 3999 127.0.0.1:6381", "RedisCluster"),
    (b"NOAUTH Authentication required.", "asks for a password"),
    (b"NOPERM this user has no permissions to run the 'get' command", "may not run"),
    (b"WRONGTYPE Operation against a key holding the wrong kind of value", "another"),
    (b"BUSY Redis is busy running a script.", "busy with a script"),
    (b"ERR unknown command", "ResponseError"),
    (b"NONSENSE secret-host", "ResponseError"),
]


@pytest.fixture
def answering() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def open_one(error: bytes, **options: Any) -> Server:
            return stack.enter_context(closing(Server(error, **options)))

        yield open_one


@pytest.mark.parametrize("error", ELSEWHERE, ids=lambda e: e.decode()[:40])
def test_another_server_is_meant(
    answering: Callable[..., Server], error: bytes
) -> None:
    """After a reply that only this server would give, the command is repeated on a new
    connection.
    """
    kinds = ["url", "url in a loop", "redis", "redis in a loop", "valkey"]
    for kind in [*kinds, "valkey in a loop"]:
        for ask, expected in (
            (lambda store: store.get("row"), None),
            (lambda store: store.compare_and_set("row", None, b"new", LONG), True),
        ):
            server = answering(error)
            with stores_at(server.port) as stores:
                assert ask(stores[kind]) is expected, kind
            # The old connection was closed: the next command uses the new one.
            assert server.connections >= 2


@pytest.mark.parametrize("error", ELSEWHERE[:3], ids=lambda e: e.decode()[:40])
def test_not_for_ever(answering: Callable[..., Server], error: bytes) -> None:
    """A server that repeats the error makes the command fail."""
    server = answering(error, always=True)
    store = RedisStore(f"redis://{HERE}:{server.port}/0", timeout=HANGS)
    with pytest.raises(StoreError):
        store.get("row")
    assert server.connections <= 6
    store.close()


@pytest.mark.parametrize(
    ("error", "message"), OTHER, ids=[e.decode()[:20] for e, _ in OTHER]
)
def test_the_cause_in_words(
    answering: Callable[..., Server], error: bytes, message: str
) -> None:
    """Any other error reply is a StoreError that explains it without quoting it."""
    server = answering(error, always=True)
    with stores_at(server.port) as stores:
        for name, store in stores.items():
            for ask in (
                partial(store.get, "row"),
                partial(store.compare_and_set, "row", None, b"new", LONG),
            ):
                with pytest.raises(StoreError, match=message) as failure:
                    ask()
                assert "secret-host" not in str(failure.value), name

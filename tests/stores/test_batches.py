"""Every store reads and writes many rows with one call as it does one by one."""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    RedisStore,
    SQLiteStore,
    SQLStore,
    StoreError,
)
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware.stores import sql_statements

from ..support.batches import check_batches

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [(f"row-{number}", b"value", 60.0) for number in range(120)]


def in_table(url: str) -> SQLStore:
    return SQLStore(url, table=f"t{uuid.uuid4().hex[:8]}", timeout=30)


def opened(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a store of a kind: "memory", "redis", or the driver of a database."""
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return SQLiteStore(tmp_path / "rows", timeout=30)
    if kind == "redis":
        return RedisStore(request.getfixturevalue("redis_url"), timeout=30)
    if kind == "pysqlite":
        return in_table(f"sqlite+pysqlite:///{tmp_path}/rows")
    is_postgresql = kind in ("psycopg", "asyncpg")
    server = request.getfixturevalue("postgresql" if is_postgresql else "mariadb")
    return in_table(server.url(kind))


@pytest.mark.parametrize(
    "kind", ["memory", "sqlite", "redis", "pysqlite", "psycopg", "pymysql"]
)
def test_many_rows_in_a_thread(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Rows are created unless they are there, and read in the order of the keys."""
    store = opened(kind, request, tmp_path)
    if isinstance(store, SQLStore):
        store.create_table()
    run(check_batches(ThreadBackend().adapt_store(store)))
    store.close()


@pytest.mark.parametrize(
    "kind", ["memory", "sqlite", "redis", "psycopg", "asyncpg", "asyncmy"]
)
def test_many_rows_in_a_loop(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The same in an event loop, also through drivers that work only there."""
    store = opened(kind, request, tmp_path)

    async def use() -> None:
        if isinstance(store, SQLStore):
            await store.acreate_table()
        await check_batches(AsyncBackend().adapt_store(store))
        await (store.aclose() if hasattr(store, "aclose") else _nothing())

    asyncio.run(use())


async def _nothing() -> None:
    """Close nothing."""


class _Counting(SQLiteStore):
    """A store that overrides one row's methods and not those of many."""

    calls = 0

    def get(self, key: str) -> bytes | None:
        self.calls += 1
        return super().get(key)

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        self.calls += 1
        return super().compare_and_set(key, old, new, ttl)


def test_an_override_is_not_bypassed(tmp_path: Path) -> None:
    """A subclass whose methods for one row do more is called for each row."""
    store = _Counting(tmp_path / "rows")
    adapter = ThreadBackend().adapt_store(store)
    assert run(adapter.create_many(ROWS[:5])) == [True] * 5
    assert run(adapter.get_many([key for key, _, _ in ROWS[:5]])) == [b"value"] * 5
    assert store.calls == 10
    store.close()


def test_sqlite_writes_a_hundred_rows_at_once(tmp_path: Path) -> None:
    """SQLite commits a hundred rows in one transaction, and the rest in another."""
    store = SQLiteStore(tmp_path / "rows")
    store.get("row")
    statements: list[str] = []
    store._connection().handle.set_trace_callback(statements.append)
    assert all(store.create_many(ROWS))
    assert [text for text in statements if text == "COMMIT"] == ["COMMIT"] * 2
    store.close()


class Cutting:
    """A proxy that closes each connection after some bytes were sent through it."""

    def __init__(self, port: int, most: int) -> None:
        self._port, self._most = port, most
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for work in (self._send, self._answer):
                    threading.Thread(target=work, args=(client, server)).start()

    def _send(self, client: socket.socket, server: socket.socket) -> None:
        left = self._most
        with suppress(OSError):
            while left and (data := client.recv(left)):
                server.sendall(data)
                left -= len(data)
            self.cuts += not left
        server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        client.close()
        server.close()

    def close(self) -> None:
        self._listening.close()


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_redis_writes_no_part_of_a_batch(redis_url: str, in_a_loop: bool) -> None:
    """If a connection is lost while rows are sent, none of them is written."""
    parts = urlsplit(redis_url)
    assert parts.port is not None
    proxy = Cutting(parts.port, 60_000)
    place = parts.netloc.replace(str(parts.port), str(proxy.port))
    name = uuid.uuid4().hex
    rows = [(f"{name}:{number}", b"v" * 1000, 60.0) for number in range(200)]
    store = RedisStore(parts._replace(netloc=place).geturl(), timeout=30)

    async def write() -> None:
        await store.acreate_many(rows)

    with pytest.raises(StoreError):
        asyncio.run(write()) if in_a_loop else store.create_many(rows)
    assert proxy.cuts
    proxy.close()
    store.close()
    server = RedisStore(redis_url)
    assert server.get_many([key for key, _, _ in rows]) == [None] * len(rows)
    server.close()


def test_a_batch_that_fails_is_not_half_written(tmp_path: Path) -> None:
    """Ctrl-C amid a transaction of SQLite leaves none of its rows, and the store works."""

    class Interrupting(bytes):
        """A value at which the user presses Ctrl-C."""

        __slots__ = ()

        def __conform__(self, _: object) -> bytes:
            raise KeyboardInterrupt

    store = SQLiteStore(tmp_path / "rows")
    rows = [*ROWS[:50], ("interrupted", Interrupting(b"value"), 60.0)]
    with pytest.raises(KeyboardInterrupt):
        store.create_many(rows)
    assert store.get_many([key for key, _, _ in rows]) == [None] * len(rows)
    assert store.create_many(ROWS) == [True] * len(ROWS)
    store.close()


@pytest.mark.parametrize("statements", ["sqlalchemy", "django"])
def test_mysql_gets_nothing_deprecated(statements: str) -> None:
    """MySQL gets no VALUES(column), and MariaDB no alias of a row, which it lacks."""
    if statements == "sqlalchemy":
        dialect = pytest.importorskip("sqlalchemy.dialects.mysql").dialect()
        table = sql_statements.make_table("app", None)
        made = sql_statements.batch_statements_for(table, dialect, 2, by_server=True)
    else:
        django_statements = pytest.importorskip(
            "tiktok_oauth_middleware.stores.django_statements"
        )
        made = django_statements.batch_statements_for("app", "mysql", 2, by_server=True)
    create = made["create_many"].text
    assert "ON DUPLICATE KEY UPDATE mark =" in create
    assert "VALUES(" not in create
    assert " AS " not in create
    assert made["make_room"].text.startswith("DELETE FROM app")

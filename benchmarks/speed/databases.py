"""Measures a read of each store, the same query made by hand, and a write.

By hand means: the driver's own connection, kept open, with the same statement, the same
parameters and the same timeouts; in an event loop with the driver for it, below
``asyncio.timeout``. Both sides are called in the same rounds, in random order, and the
median counts. All servers are on this machine, so a round trip costs almost nothing,
and the store's own cost is relatively large.

This process and the servers share one core. On two idle cores of a virtual machine a
round trip takes 35 us if the kernel runs both sides on one of them, and 105 us if it
wakes the other each time; which it does can last for a whole block of calls.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.redis_server import RedisServer
from hardening.reliability.django_store import prepare
from tests.stores.databases import MariaDB, PostgreSQL, Server
from tiktok_oauth_middleware import MemoryStore, RedisStore, SQLiteStore, SQLStore
from tiktok_oauth_middleware.stores import open_store

from .rounds import on_one_core, shuffled
from .row import Row

#: Calls in a block, and blocks of each side for each round of ``--rounds``. Blocks are
#: short, since on a busy machine another process gets the core in the middle of a long
#: one.
_CALLS, _BLOCKS = 20, 5
#: About the size of a sealed record, in bytes.
_VALUE = 700
_KEY = "tiktok:0123456789ab:grant:{0123456789abcdefghij}"
_TTL = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """A store, and a function that queries its server by hand."""

    name: str
    store: Any
    by_hand: Callable[[], object] | None = None
    goal: float | None = None


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure each store that this machine has."""
    # In a thread, since Django's connections refuse to work in an event loop.
    for row in await asyncio.to_thread(_all, rounds):
        yield row
    with on_one_core():
        for name, kind, connect in (
            ("PostgreSQL, psycopg", PostgreSQL, _psycopg),
            ("PostgreSQL, asyncpg", PostgreSQL, _asyncpg),
            ("MariaDB, asyncmy", MariaDB, _asyncmy),
        ):
            if kind.is_installed():
                async for row in _in_a_loop(name, kind, connect, rounds):
                    yield row


def _all(rounds: int) -> list[Row]:
    found: list[Row] = []
    for opened in (_memory, _sqlite, _redis, _postgresql, _mariadb, _django):
        # The servers are started here, and inherit the core.
        with on_one_core(), opened() as side:
            if side is not None:
                found += _measured(side, rounds)
    return found


def _measured(side: _Side, rounds: int) -> Iterator[Row]:
    store, value = side.store, secrets.token_bytes(_VALUE)
    assert store.compare_and_set(_KEY, None, value, _TTL)
    sides: dict[str, Callable[[], object]] = {
        "read": lambda: store.get(_KEY),
        "write": lambda: store.compare_and_set(_KEY, value, value, _TTL),
    }
    if side.by_hand is not None:
        assert value in bytes(side.by_hand())  # type: ignore[arg-type]
        sides["by hand"] = side.by_hand
    found = _compared(sides, rounds)
    hand, hand_cpu = found.get("by hand", (None, None))
    read, cpu = found["read"]
    yield Row(
        target="S3" if side.goal else "",
        what=f"{side.name}: a read, beside the same query by hand",
        figure=read if hand is None else read / hand,
        unit="us" if hand is None else "x",
        goal=side.goal,
        ours=read,
        peer=hand,
        peer_name="" if hand is None else "by hand",
    )
    if hand_cpu is not None:
        yield Row(
            what=f"{side.name}: the same, in CPU time of this process",
            figure=cpu / hand_cpu,
            unit="x",
            ours=cpu,
            peer=hand_cpu,
            peer_name="by hand",
        )
    yield Row(
        what=f"{side.name}: a write, as a refresh makes two",
        figure=found["write"][0],
        unit="us",
    )


def _compared(
    sides: dict[str, Callable[[], object]], rounds: int
) -> dict[str, tuple[float, float]]:
    """Return the median of each side in microseconds: real time, CPU time."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for name in shuffled(sides, max(3, rounds) * _BLOCKS + 1):
        call = sides[name]
        began, cpu = time.perf_counter(), time.thread_time()
        for _ in range(_CALLS):
            call()
        taken[name].append((time.perf_counter() - began, time.thread_time() - cpu))
    return _medians(taken)


def _medians(
    taken: dict[str, list[tuple[float, float]]],
) -> dict[str, tuple[float, float]]:
    # The first round connects.
    each = 1e6 / _CALLS
    return {
        name: (
            median(a for a, _ in some[1:]) * each,
            median(b for _, b in some[1:]) * each,
        )
        for name, some in taken.items()
    }


# --- in an event loop ----------------------------------------------------------------

#: A function that reads the row by hand, and one that closes the connection.
_ByHand = tuple[Callable[[], Awaitable[object]], Callable[[], object]]


async def _in_a_loop(
    name: str,
    kind: type[Server],
    connect: Callable[[int, str], Awaitable[_ByHand]],
    rounds: int,
) -> AsyncIterator[Row]:
    server = kind()
    server.start()
    store = SQLStore(server.url(name.rpartition(" ")[2]))
    await store.acreate_table()
    value = secrets.token_bytes(_VALUE)
    assert await store.acompare_and_set(_KEY, None, value, _TTL)
    query, close = await connect(server.port, _query_of(store))
    assert await query() == await store.aget(_KEY) == value

    async def by_hand() -> None:
        async with asyncio.timeout(2):
            await query()

    sides = {"read": lambda: store.aget(_KEY), "by hand": by_hand}
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for side in shuffled(sides, max(3, rounds) * _BLOCKS + 1):
        call = sides[side]
        began, cpu = time.perf_counter(), time.thread_time()
        for _ in range(_CALLS):
            await call()
        taken[side].append((time.perf_counter() - began, time.thread_time() - cpu))
    for row in _in_loop_rows(name, _medians(taken)):
        yield row
    close()
    await store.aclose()
    server.remove()


def _in_loop_rows(name: str, found: dict[str, tuple[float, float]]) -> Iterator[Row]:
    (read, cpu), (hand, hand_cpu) = found["read"], found["by hand"]
    for target, what, ours, peer in (
        ("S3", "a read in an event loop, beside the same query by hand", read, hand),
        ("", "the same, in CPU time of this process", cpu, hand_cpu),
    ):
        yield Row(
            target=target,
            what=f"{name}: {what}",
            figure=ours / peer,
            unit="x",
            goal=1.2 if target else None,
            ours=ours,
            peer=peer,
            peer_name="by hand",
        )


async def _psycopg(port: int, query: str) -> _ByHand:
    import psycopg

    hand = await psycopg.AsyncConnection.connect(
        host="127.0.0.1", port=port, user="tests", dbname="postgres", autocommit=True
    )

    async def read() -> object:
        cursor = await hand.execute(query, {"key": _KEY})  # type: ignore[arg-type]
        return (await cursor.fetchall())[0][0]

    return read, hand.pgconn.finish


async def _asyncpg(port: int, query: str) -> _ByHand:
    import asyncpg

    hand = await asyncpg.connect(
        host="127.0.0.1", port=port, user="tests", database="postgres"
    )

    async def read() -> object:
        return (await hand.fetch(query, _KEY))[0][0]

    return read, hand.terminate


async def _asyncmy(port: int, query: str) -> _ByHand:
    import asyncmy

    hand = await asyncmy.connect(
        host="127.0.0.1", port=port, user="root", database="tests", autocommit=True
    )

    async def read() -> object:
        async with hand.cursor() as cursor:
            await cursor.execute(query, (_KEY.encode(),))
            return (await cursor.fetchall())[0][0]

    return read, hand.close


# --- each store ----------------------------------------------------------------------


@contextmanager
def _memory() -> Iterator[_Side | None]:
    yield _Side(name="memory", store=MemoryStore())


@contextmanager
def _sqlite() -> Iterator[_Side | None]:
    import sqlite3

    with TemporaryDirectory(prefix="speed-") as folder:
        path = Path(folder) / "tokens.sqlite3"
        store = SQLiteStore(path)
        store.get("")
        hand = sqlite3.connect(path, isolation_level=None)
        query = "SELECT value FROM entries WHERE key = ? AND expires > ?"
        yield _Side(
            name="SQLite",
            store=store,
            by_hand=lambda: hand.execute(query, (_KEY, time.time())).fetchall()[0][0],
        )
        hand.close()
        store.close()


@contextmanager
def _redis() -> Iterator[_Side | None]:
    if shutil.which("redis-server") is None:
        yield None
        return
    import redis

    with TemporaryDirectory(prefix="speed-") as folder, RedisServer(folder) as server:
        store = RedisStore(server.url)
        client = redis.Redis.from_url(server.url, protocol=2)
        yield _Side(name="Redis", store=store, by_hand=lambda: client.get(_KEY))
        client.close()
        store.close()


@contextmanager
def _postgresql() -> Iterator[_Side | None]:
    if not PostgreSQL.is_installed():
        yield None
        return
    import psycopg

    server = PostgreSQL()
    server.start()
    store = SQLStore(server.url())
    store.create_table()
    hand = psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user="tests",
        dbname="postgres",
        autocommit=True,
        options="-c statement_timeout=2000",
    )
    query = _query_of(store)
    yield _Side(
        name="PostgreSQL, psycopg",
        store=store,
        by_hand=lambda: hand.execute(query, {"key": _KEY}).fetchall()[0][0],
        goal=1.2,
    )
    hand.close()
    store.close()
    server.remove()


@contextmanager
def _mariadb() -> Iterator[_Side | None]:
    if not MariaDB.is_installed():
        yield None
        return
    import pymysql

    server = MariaDB()
    server.start()
    store = SQLStore(server.url())
    store.create_table()
    hand = pymysql.connect(
        host="127.0.0.1",
        port=server.port,
        user="root",
        database="tests",
        autocommit=True,
        read_timeout=2,
        write_timeout=2,
    )
    query = _query_of(store)

    def by_hand() -> object:
        with hand.cursor() as cursor:
            cursor.execute(query, {"key": _KEY.encode()})
            return cursor.fetchall()[0][0]

    yield _Side(
        name="MariaDB, PyMySQL",
        store=store,
        by_hand=by_hand,
        goal=1.2,
    )
    hand.close()
    store.close()
    server.remove()


@contextmanager
def _django() -> Iterator[_Side | None]:
    if not PostgreSQL.is_installed():
        yield None
        return
    from django.db import connections

    server = PostgreSQL()
    server.start()
    url = prepare(server.port)
    store: Any = open_store(url)
    query = store._rows._statements["get"].text
    connection = connections[store.alias]

    def by_hand() -> object:
        with connection.cursor() as cursor:
            cursor.execute(query, [_KEY])
            return cursor.fetchall()[0][0]

    yield _Side(name="Django on PostgreSQL", store=store, by_hand=by_hand, goal=1.2)
    store.close()
    connection.close()
    server.remove()


def _query_of(store: SQLStore) -> str:
    """Return the statement of a read in the driver's form."""
    text: str = store._rows._statements["get"].text
    return text

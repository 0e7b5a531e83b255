"""Connections of SQLStore's own pools: which are kept, and which are closed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
import sqlalchemy as sa

from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.stores.sql import SQLStore

from ..support.patience import HANGS
from .databases import MariaDB, Server, locked, wait_until
from .sql_stores import Watched, made, some_table

if TYPE_CHECKING:
    from collections.abc import Callable

LOOP_DRIVERS = ["psycopg", "asyncpg", "asyncmy"]


def server_of(driver: str, request: pytest.FixtureRequest) -> Server:
    kind = "mariadb" if driver in ("pymysql", "asyncmy") else "postgresql"
    server: Server = request.getfixturevalue(kind)
    return server


def table_with_a_row(server: Server) -> str:
    store = made(server.url())
    store.compare_and_set("row", None, b"1", 600)
    store.close()
    return store.table.name


def is_open(server: Server, connection: int) -> bool:
    """Whether the server has a connection of this id."""
    table, column = "pg_stat_activity", "pid"
    if isinstance(server, MariaDB):
        table, column = "information_schema.processlist", "id"
    engine = sa.create_engine(server.url())
    with engine.connect() as admin:
        query = f"SELECT count(*) FROM {table} WHERE {column} = {connection}"
        found = bool(admin.exec_driver_sql(query).scalar())
    engine.dispose()
    return found


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
def test_a_connection_in_use_is_closed_with_its_store(
    driver: str, request: pytest.FixtureRequest
) -> None:
    """A statement that is under way at close() ends, and its connection then closes."""
    server = server_of(driver, request)
    store = SQLStore(server.url(driver), table=table_with_a_row(server), timeout=HANGS)
    pool = store._source.connections()
    with ThreadPoolExecutor(1) as thread:
        with locked(server, store.table.name) as waiting:
            read = thread.submit(store.get, "row")
            wait_until(waiting.ids)
            [connection] = waiting.ids()
            store.close()
        assert read.result(HANGS) == b"1"
        wait_until(lambda: not is_open(server, connection))
    assert pool is not store._source.connections()
    store.close()


@pytest.mark.parametrize("driver", LOOP_DRIVERS)
def test_a_connection_in_use_is_closed_with_its_store_in_a_loop(
    driver: str, request: pytest.FixtureRequest
) -> None:
    """The same in an event loop, at aclose()."""
    server = server_of(driver, request)
    store = SQLStore(server.url(driver), table=table_with_a_row(server), timeout=HANGS)

    async def use() -> None:
        pool = store._source.loop_connections()
        with locked(server, store.table.name) as waiting:
            read = asyncio.create_task(store.aget("row"))
            await until(waiting.ids)
            [connection] = waiting.ids()
            await store.aclose()
        assert await read == b"1"
        await until(lambda: not is_open(server, connection))
        assert pool is not store._source.loop_connections()
        await store.aclose()

    asyncio.run(use())


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(HANGS):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.02)


class Slow:
    """An engine of SQLAlchemy that connects when it may, or fails."""

    def __init__(self, engine: Any, error: Exception | None) -> None:
        self._connect = engine.raw_connection
        self._error = error
        self.may_connect = asyncio.Event()
        self.connects = 0

    async def raw_connection(self) -> Any:
        self.connects += 1
        await self.may_connect.wait()
        if self._error is not None:
            raise self._error
        return await self._connect()


@pytest.mark.parametrize("how", ["cancelled", "late"])
@pytest.mark.parametrize("driver", LOOP_DRIVERS)
def test_a_connection_whose_caller_has_gone_is_kept(
    driver: str, how: str, request: pytest.FixtureRequest
) -> None:
    """Connecting goes on after its caller was cancelled, and the next call uses it.

    Drivers that are cancelled while they connect may leave a connection at the server.
    """
    server = server_of(driver, request)
    table = table_with_a_row(server)

    async def use() -> None:
        store = SQLStore(server.url(driver), table=table, timeout=HANGS)
        pool: Any = store._source.loop_connections()
        pool.engine = slow = Slow(pool.engine, None)
        pool.timeout = 0.1 if how == "late" else HANGS
        read = asyncio.create_task(store.aget("row"))
        await until(lambda: slow.connects)
        if how == "cancelled":
            read.cancel()
        [error] = await asyncio.gather(read, return_exceptions=True)
        assert isinstance(error, (asyncio.CancelledError, StoreError))
        assert pool._idle.turns.qsize() == 7  # still one of the eight
        pool.timeout = HANGS
        slow.may_connect.set()
        await until(lambda: pool._idle.turns.qsize() == 8)
        assert await store.aget("row") == b"1"
        assert slow.connects == 1
        await store.aclose()

    asyncio.run(use())


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_connection_that_fails_frees_its_place(
    is_cancelled: bool, postgresql: Server
) -> None:
    """Refused connections do not use up the pool, whether or not a caller waits."""
    table = table_with_a_row(postgresql)

    async def use() -> None:
        store = SQLStore(postgresql.url(), table=table, timeout=HANGS)
        pool: Any = store._source.loop_connections()
        engine, pool.engine = pool.engine, Slow(pool.engine, OSError("refused"))
        reads = [asyncio.create_task(store.aget("row")) for _ in range(8)]
        await until(lambda: pool.engine.connects == 8)
        if is_cancelled:
            for read in reads:
                read.cancel()
        pool.engine.may_connect.set()
        found = await asyncio.gather(*reads, return_exceptions=True)
        kind = asyncio.CancelledError if is_cancelled else StoreError
        assert all(isinstance(each, kind) for each in found)
        await until(lambda: pool._idle.turns.qsize() == 8)
        pool.engine = engine
        assert await store.aget("row") == b"1"
        await store.aclose()

    asyncio.run(use())


def test_connecting_has_a_limit(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is never made frees its place after some time."""
    monkeypatch.setattr(
        "tiktok_oauth_middleware.stores.sql_pool._CONNECT_EXTRA_SECONDS", 0
    )

    async def use() -> None:
        store = SQLStore(postgresql.url(), table=some_table(), timeout=0.2)
        pool: Any = store._source.loop_connections()
        pool.engine = Slow(pool.engine, None)
        with pytest.raises(StoreError, match="TimeoutError"):
            await store.aget("row")
        await until(lambda: pool._idle.turns.qsize() == 8)

    asyncio.run(use())


@pytest.mark.parametrize(
    ("code", "is_kept"), [(1969, True), (1054, True), (2027, False), (5014, False)]
)
def test_only_the_servers_answer_leaves_a_connection_in_use(
    code: int, is_kept: bool, mariadb: Server
) -> None:
    """After an error of the client library more of an answer may follow."""
    store = SQLStore(mariadb.url(), table=table_with_a_row(mariadb))
    pool: Any = store._source.connections()

    def fail(*_: object) -> None:
        raise pymysql.err.OperationalError(code, "words")

    Watched(pool.engine).before = fail
    with pytest.raises(StoreError):
        store.get("row")
    assert bool(pool._idle._kept) is is_kept
    store.close()


@pytest.mark.parametrize("size", [0, 5])
def test_asyncpg_takes_the_size_of_its_cache(postgresql: Server, size: int) -> None:
    """The size is a number in the URL's text; a time, which asyncpg reads itself, may be
    a fraction.
    """
    table = table_with_a_row(postgresql)
    url = (
        f"{postgresql.url('asyncpg')}?statement_cache_size={size}&command_timeout=60.5"
    )
    store = SQLStore(url, table=table)

    async def use() -> Any:
        await store.aget("missing")
        [(connection, _)] = store._source.loop_connections()._idle._kept  # type: ignore[attr-defined]
        query = "SELECT name FROM pg_prepared_statements"
        found = await connection.driver_connection.fetch(query)
        await store.aclose()
        return found

    assert bool(asyncio.run(use())) == bool(size)


@pytest.mark.parametrize("value", ["many", "-1", "1&statement_cache_size=2"])
def test_a_size_that_is_no_number_is_refused(value: str) -> None:
    """A wrong number is reported when the store is built, not by its first read."""
    with pytest.raises(ConfigurationError, match="statement_cache_size"):
        SQLStore(f"postgresql+asyncpg://db/app?statement_cache_size={value}")

"""Statements that are ended early: by the server, or by the caller's timeout.

PostgreSQL answers a statement whose connection it ends with 57P01, MariaDB with 1927
or 1053. An administrator, a failover or a shutdown may be the reason.
"""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.stores.sql import SQLStore

from ..support.patience import HANGS
from .databases import MariaDB, Server, locked, wait_until
from .sql_stores import Watched, kept, made

if TYPE_CHECKING:
    from collections.abc import Callable

#: Kinds of stores: with a blocking or an asyncio driver, and with the store's own
#: connections or the app's engine.
KINDS = [
    "postgresql-psycopg",
    "postgresql-psycopg-engine",
    "postgresql-psycopg-loop",
    "postgresql-asyncpg-loop",
    "postgresql-asyncpg-loop-engine",
    "mariadb-pymysql",
    "mariadb-pymysql-engine",
    "mariadb-asyncmy-loop",
    "mariadb-asyncmy-loop-engine",
]


def end_in_the_middle(server: Server, table: str, call: Callable[[], Any]) -> Any:
    """Return a call's result; the server ends its connection while it waits."""
    with ThreadPoolExecutor(1) as pool, locked(server, table) as waiting:
        future: Future[Any] = pool.submit(call)
        wait_until(lambda: waiting.ids() or future.done())
        ended = waiting.end_one()
        # Until a second connection waits, or the call has failed.
        wait_until(lambda: set(waiting.ids()) - {ended} or future.done())
    return future.result(HANGS)


def calls(
    kind: str, server: Server, table: str, *, timeout: float = 4 * HANGS
) -> Callable[..., Any]:
    """Return a function that calls a method of a store with this table."""
    driver, *more = kind.split("-")[1:]
    given: dict[str, Any] = {"table": table, "timeout": timeout}
    url = server.url(driver)

    def blocking(name: str, *args: Any) -> Any:
        engine = sa.create_engine(url) if "engine" in more else None
        store = SQLStore(engine or url, **given)
        try:
            return getattr(store, name)(*args)
        finally:
            store.close()
            if engine is not None:
                engine.dispose()

    async def in_a_loop(name: str, *args: Any) -> Any:
        engine = create_async_engine(url) if "engine" in more else None
        store = SQLStore(engine or url, **given)
        try:
            return await getattr(store, f"a{name}")(*args)
        finally:
            await store.aclose()
            if engine is not None:
                await engine.dispose()

    if "loop" not in more:
        return blocking
    return lambda *args: asyncio.run(in_a_loop(*args))


@pytest.fixture
def table(kind: str, request: pytest.FixtureRequest) -> tuple[Server, str]:
    """Return a server and a table with one row."""
    server: Server = request.getfixturevalue(kind.partition("-")[0])
    store = made(server.url())
    store.compare_and_set("row", None, b"1", 600)
    store.close()
    return server, store.table.name


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_is_tried_again(kind: str, table: Any) -> None:
    """A read whose connection the server ends is sent again, on a new connection."""
    call = calls(kind, *table)
    assert end_in_the_middle(*table, lambda: call("get", "row")) == b"1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_is_tried_again(kind: str, table: Any) -> None:
    """A swap whose connection the server ends takes place once."""
    call = calls(kind, *table)
    swap = ("compare_and_set", "row", b"1", b"2", 600)
    assert end_in_the_middle(*table, lambda: call(*swap)) is True
    assert call("get", "row") == b"2"


ENDED = [
    ("postgresql", psycopg.errors.AdminShutdown()),
    ("postgresql", psycopg.errors.CrashShutdown()),
    ("mariadb", pymysql.err.OperationalError(1053, "Server shutdown in progress")),
    ("mariadb", pymysql.err.OperationalError(1927, "Connection was killed")),
]


@pytest.mark.parametrize(("kind", "error"), ENDED, ids=repr)
@pytest.mark.parametrize("is_engine", [False, True], ids=["own", "engine"])
def test_the_report_alone_is_enough(
    kind: str, error: Exception, is_engine: bool, table: Any
) -> None:
    """A connection that the server reports as ended is not used for the retry.

    A pooler between the store and the server may leave it open.
    """
    server, name = table
    errors, connects = [error], []

    def fail_once(*_: object) -> None:
        if errors:
            raise errors.pop()

    if is_engine:
        engine = sa.create_engine(server.url())
        store = SQLStore(engine, table=name)
    else:
        store = SQLStore(server.url(), table=name)
        engine = store._source.connections().engine
    sa.event.listen(engine, "do_connect", lambda *given: connects.append(given))
    if is_engine:
        sa.event.listen(engine, "do_execute", fail_once)
    else:
        Watched(engine).before = fail_once
    assert store.get("row") == b"1"
    assert not errors
    assert len(connects) == 2
    store.close()
    engine.dispose()


LIMITED = ["mariadb-pymysql", "mariadb-asyncmy-loop"]


@pytest.mark.parametrize("kind", [*LIMITED, "postgresql-psycopg"])
def test_a_statement_that_is_given_up_ends_at_the_server(kind: str, table: Any) -> None:
    """A read that waits for a lock is cancelled at the server when it times out."""
    call = calls(kind, *table, timeout=1)
    with locked(*table) as waiting:
        with pytest.raises(StoreError):
            call("get", "row")
        wait_until(lambda: not waiting.ids())


@pytest.mark.parametrize("kind", ["mariadb-pymysql"])
def test_an_init_command_of_the_url_is_kept(kind: str, table: Any) -> None:
    """The URL's own init_command is executed in place of the store's."""
    server, name = table
    url = sa.make_url(server.url())
    for more, limit in ({}, 1.5), ({"init_command": "SET @own = 1"}, 0):
        given = url.update_query_dict(more).render_as_string(hide_password=False)
        store = SQLStore(given, table=name, timeout=1.5)
        assert store.get("row") == b"1"
        cursor = kept(store).cursor()
        cursor.execute("SELECT @@max_statement_time")
        assert float(cursor.fetchone()[0]) == limit
        store.close()


def idle_ones(server: Server) -> list[int]:
    """Return the server's ids of connections that wait for a statement."""
    query = (
        "SELECT id FROM information_schema.processlist WHERE command = 'Sleep'"
        if isinstance(server, MariaDB)
        else "SELECT pid FROM pg_stat_activity WHERE state = 'idle'"
    )
    engine = sa.create_engine(server.url())
    with engine.connect() as admin:
        found = list(admin.exec_driver_sql(query).scalars())
    engine.dispose()
    return found


# SQLAlchemy leaves a connection on which AUTOCOMMIT failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "pymysql", "asyncmy"])
def test_idle_connections_of_an_engine_are_replaced(
    driver: str, request: pytest.FixtureRequest
) -> None:
    """The app's engine may have connections that the server closed while they were idle.

    MySQL does so after eight hours. SQLAlchemy sends it AUTOCOMMIT before the first
    statement, and passes on the driver's own error.
    """
    kind = "mariadb" if driver in ("pymysql", "asyncmy") else "postgresql"
    server: Server = request.getfixturevalue(kind)
    is_async = driver in ("asyncpg", "asyncmy")
    make = create_async_engine if is_async else sa.create_engine
    store = SQLStore(make(server.url(driver)), table=made(server.url()).table.name)

    async def call(method: str, *given: Any) -> Any:
        if is_async:
            return await getattr(store, f"a{method}")(*given)
        return getattr(store, method)(*given)

    async def use() -> None:
        before = set(idle_ones(server))
        assert await call("get", "row") is None
        calls = [
            (("get", "row"), None),
            (("compare_and_set", "row", None, b"1", 600), True),
            (("compare_and_set", "row", b"1", b"2", 600), True),
        ]
        for given, expected in calls:
            [own] = set(idle_ones(server)) - before
            end_connection(server, own)
            assert await call(*given) == expected
            gc.collect()
        if is_async:
            await store._source._given.engine.dispose()  # type: ignore[union-attr]

    asyncio.run(use())
    if not is_async:
        store._source._given.engine.dispose()  # type: ignore[union-attr]


def end_connection(server: Server, number: int) -> None:
    kill = f"KILL {number}"
    if not isinstance(server, MariaDB):
        kill = f"SELECT pg_terminate_backend({number})"
    engine = sa.create_engine(server.url())
    with engine.connect() as admin:
        admin.exec_driver_sql(kill)
    engine.dispose()
    wait_until(lambda: number not in idle_ones(server))

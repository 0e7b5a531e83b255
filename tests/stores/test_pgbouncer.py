"""SQLStore behind a PgBouncer, which gives a transaction any connection to the server."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.stores.sql import SQLStore

from ..support.patience import HANGS
from ..support.ports import free_port
from .databases import wait_until
from .sql_stores import kept, made

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .databases import Server

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
#: More than psycopg executes before it prepares a statement.
CALLS = 12


@pytest.fixture(scope="module")
def pooler(
    postgresql: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the URL of a PgBouncer with two connections to the server."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed")
    port = free_port()
    settings: Path = tmp_path_factory.mktemp("pgbouncer") / "settings.ini"
    settings.write_text(
        "[databases]\n"
        f"postgres = host=127.0.0.1 port={postgresql.port} user=tests\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
        "ignore_startup_parameters = options\n"
    )
    # As root it reads its settings and then becomes another user.
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([PROGRAM, "-q", *user, str(settings)])
    try:
        wait_until(lambda: answers(port, process))
        yield postgresql.url("psycopg").replace(f":{postgresql.port}/", f":{port}/")
    finally:
        process.kill()
        process.wait()


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "PgBouncer does not start"
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def prepares(store: SQLStore) -> int | None:
    """Return after how many executions the store's one connection prepares."""
    number: int | None = kept(store).prepare_threshold
    return number


def names(store: SQLStore) -> list[Any]:
    """Return the names of the statements that the store's one connection prepared."""
    query = "SELECT name FROM pg_prepared_statements"
    rows: list[Any] = kept(store).execute(query).fetchall()
    return rows


def read(store: SQLStore) -> None:
    for _ in range(CALLS):
        assert store.get("missing") is None


def in_loop(store: SQLStore) -> int | None:
    """Read in an event loop; return after how many executions that prepares."""

    async def use() -> Any:
        for _ in range(CALLS):
            assert await store.aget("missing") is None
        [(connection, _)] = store._source.loop_connections()._idle._kept  # type: ignore[attr-defined]
        found = connection.driver_connection.prepare_threshold
        await store.aclose()
        return found

    number: int | None = asyncio.run(use())
    return number


def test_nothing_is_prepared(pooler: str) -> None:
    """The same name may be another client's statement on another connection."""
    store = made(pooler)
    read(store)
    assert prepares(store) is None
    assert names(store) == []
    assert in_loop(store) is None
    store.close()


def test_callers_at_once(pooler: str) -> None:
    """Each caller's statements are its own, on whichever connection they run."""
    stores = [made(pooler) for _ in range(4)]

    def use(number: int) -> bool:
        store = stores[number % len(stores)]
        key, value = f"row{number}", b"%d" % number
        assert store.compare_and_set(key, None, value, 600)
        for _ in range(CALLS):
            assert store.get(key) == value
            assert store.compare_and_set(key, value, value, 600)
        return store.compare_and_set(key, value, None, 0)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(16), timeout=HANGS))
    for store in stores:
        store.close()


def test_tasks_at_once_through_asyncpg(pooler: str) -> None:
    """With the option that the documentation names, no statement is mixed up."""
    table = made(pooler).table.name
    url = pooler.replace("psycopg", "asyncpg") + "?statement_cache_size=0"

    async def use(store: SQLStore, number: int) -> None:
        key, value = f"row{number}", b"%d" % number
        assert await store.acompare_and_set(key, None, value, 600)
        for _ in range(CALLS):
            assert await store.aget(key) == value
            assert await store.acompare_and_set(key, value, value, 600)

    async def use_all() -> None:
        stores = [SQLStore(url, table=table) for _ in range(4)]
        async with asyncio.timeout(HANGS), asyncio.TaskGroup() as tasks:
            for number in range(16):
                tasks.create_task(use(stores[number % len(stores)], number))
        for store in stores:
            await store.aclose()

    asyncio.run(use_all())


def test_a_statement_that_is_lost(postgresql: Server) -> None:
    """The error says what to change, as behind a pooler that mixes statements up."""
    store = made(f"{postgresql.url('psycopg')}?prepare_threshold=0")
    read(store)
    kept(store).execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
    with pytest.raises(StoreError, match=r"26000; .* statement_cache_size=0 "):
        store.get("missing")
    store.close()


def test_without_it_a_statement_is_prepared(postgresql: Server) -> None:
    """A read then takes half of the time."""
    store = made(postgresql.url("psycopg"))
    read(store)
    assert len(names(store)) == 1
    assert prepares(store) == 5
    assert in_loop(store) == 5
    store.close()


@pytest.mark.parametrize(("number", "expected"), [(2, 1), (99, 0)])
def test_the_url_decides(number: int, expected: int, postgresql: Server) -> None:
    store = made(f"{postgresql.url('psycopg')}?prepare_threshold={number}")
    read(store)
    assert len(names(store)) == expected
    assert in_loop(store) == number
    store.close()


def test_no_transaction_stays_open(postgresql: Server) -> None:
    """The question whether a pooler is in between ends with its answer."""
    store = made(postgresql.url("psycopg"))
    read(store)
    assert kept(store).info.transaction_status.name == "IDLE"
    store.close()


def test_server_that_names_no_process(postgresql: Server) -> None:
    """Nothing is prepared, and nothing fails, if the question is not permitted."""
    admin = sa.create_engine(postgresql.url(), isolation_level="AUTOCOMMIT")
    given = made(postgresql.url())
    question = "EXECUTE ON FUNCTION pg_backend_pid()"
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE asks_nothing LOGIN")
        try:
            connection.exec_driver_sql(f"REVOKE {question} FROM PUBLIC")
            connection.exec_driver_sql(
                f"GRANT ALL ON {given.table.name} TO asks_nothing"
            )
            url = sa.make_url(postgresql.url("psycopg")).set(username="asks_nothing")
            store = SQLStore(str(url), table=given.table.name)
            for _ in range(CALLS):
                assert store.get("missing") is None
            assert kept(store).prepare_threshold is None
            store.close()
        finally:
            connection.exec_driver_sql(f"GRANT {question} TO PUBLIC")
            connection.exec_driver_sql("DROP OWNED BY asks_nothing")
            connection.exec_driver_sql("DROP ROLE asks_nothing")
    given.close()
    admin.dispose()

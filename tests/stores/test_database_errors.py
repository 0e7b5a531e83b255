"""The errors of databases that take no writes or no connections name the cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pymysql
import pytest
import sqlalchemy as sa

from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.stores.database_errors import (
    needs_new_connection,
    store_error,
)
from tiktok_oauth_middleware.stores.sql import SQLStore

from .databases import MariaDB, Server, locked
from .sql_stores import made, some_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


@pytest.fixture
def run(server: Server) -> Iterator[Callable[[str], object]]:
    """Return a function that executes a statement as the administrator."""
    engine = sa.create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection.exec_driver_sql
    engine.dispose()


@pytest.fixture
def user(server: Server, run: Any) -> Iterator[str]:
    """Return a database user of the test's own, as statements write it."""
    name = some_table()
    if isinstance(server, MariaDB):
        name += "@'127.0.0.1'"
        run(f"CREATE USER {name}")
        run(f"GRANT ALL ON tests.* TO {name}")
    else:
        run(f"CREATE ROLE {name} LOGIN")
        run(f"GRANT CREATE ON SCHEMA public TO {name}")
    yield name
    if not isinstance(server, MariaDB):
        run(f"DROP OWNED BY {name}")
    run(f"DROP USER {name}")


def store_of(server: Server, user: str) -> SQLStore:
    """Return a store that connects as a user."""
    whole = server.url()
    before, _, place = whole.rpartition("@")
    scheme = before.rpartition("//")[0]
    return made(f"{scheme}//{user.partition('@')[0]}@{place}")


@contextmanager
def closing(store: SQLStore) -> Iterator[None]:
    try:
        yield
    finally:
        store.close()


def test_read_only(server: Server, run: Any, user: str) -> None:
    """A server that was set to read only says so."""
    store = store_of(server, user)
    if isinstance(server, MariaDB):
        begin, end = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
    else:
        begin = f"ALTER ROLE {user} SET default_transaction_read_only = on"
        end = f"ALTER ROLE {user} RESET default_transaction_read_only"
    store.close()
    with closing(store):
        run(begin)
        try:
            with pytest.raises(StoreError, match=r"(1290|25006); it takes no writes"):
                store.compare_and_set("row", None, b"1", 60)
        finally:
            run(end)


def test_no_more_connections(server: Server, run: Any, user: str) -> None:
    """A user who has all the connections that they may have is told so."""
    store, other = store_of(server, user), store_of(server, user)
    store.close()
    other.close()
    if isinstance(server, MariaDB):
        run(f"ALTER USER {user} WITH MAX_USER_CONNECTIONS 1")
    else:
        run(f"ALTER ROLE {user} CONNECTION LIMIT 1")
    with closing(store), closing(other):
        assert other.get("row") is None  # and keeps its connection
        with pytest.raises(StoreError, match="it takes no more connections"):
            store.get("row")


def test_locked(server: Server) -> None:
    """A statement that waited too long for a lock says so.

    PyMySQL and MariaDB both end it at that time; the message is that of the first.
    """
    store = made(server.url(), timeout=1)
    meaning = r"((1969|57014); it took too long|2013; it did not answer in time)"
    with (
        closing(store),
        locked(server, store.table.name),
        pytest.raises(StoreError, match=meaning),
    ):
        store.get("row")


def test_full(tmp_path: Path) -> None:
    """A database file that may not grow says so."""
    engine = sa.create_engine(f"sqlite+pysqlite:///{tmp_path}/file")
    store = SQLStore(engine)
    store.create_table()

    @sa.event.listens_for(engine, "connect")
    def limit(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    engine.dispose()
    with pytest.raises(StoreError, match="OperationalError; its disk is full"):
        store.compare_and_set("row", None, b"1" * 100_000, 60)
    engine.dispose()


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (psycopg.errors.DiskFull(), "DiskFull 53100; its disk is full"),
        (pymysql.OperationalError(1021, "", sqlstate="HY000"), "Error 1021; its disk"),
        (pymysql.OperationalError(1114, "", sqlstate="HY000"), "Error 1114; its disk"),
        (
            psycopg.OperationalError("FATAL:  the database system is starting up"),
            "OperationalError; it is starting",
        ),
        (
            psycopg.OperationalError("FATAL:  remaining connection slots are reserved"),
            "OperationalError; it takes no more connections",
        ),
    ],
    ids=["full", "disk of MySQL", "table of MySQL", "starting", "reserved"],
)
def test_meaning(cause: Exception, message: str) -> None:
    """Errors for which a test would have to fill a disk or a server name the cause."""
    assert message in str(store_error("write", cause))


def test_node_without_cluster() -> None:
    """A node of Galera that has lost its cluster is left for another one."""
    cause = pymysql.OperationalError(1047, "WSREP has not yet prepared node")
    assert needs_new_connection(cause)
    assert "1047; this node is not a part" in str(store_error("read", cause))

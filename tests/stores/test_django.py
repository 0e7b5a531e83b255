"""DjangoStore passes the contract on the databases that Django projects have."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import sysconfig
import threading
import unittest
import uuid
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django", reason="django is not installed")

import pymysql
from asgiref.sync import sync_to_async
from django.db import connections, models, transaction
from django.test import TestCase

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.stores import open_store
from tiktok_oauth_middleware.stores.django import DjangoStore
from tiktok_oauth_middleware.testing.stores import AsyncStoreContract, StoreContract

from ..support.batches import check_batches
from ..support.django_once import configure
from ..support.ports import free_port
from .databases import MariaDB, Server
from .twins import Twins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

configure()
# The tests' threads leave connections open; Django closes only those of requests.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module", autouse=True)
def _connections_of_ended_threads() -> Iterator[None]:
    """Collect these connections here, where their warnings are expected."""
    yield
    gc.collect()


_tests = count(1)


@pytest.fixture(autouse=True)
def _connections_of_each_test() -> Iterator[None]:
    """Collect them often enough for the server, which takes a hundred connections.

    A test leaves nine at most. A free-threaded build waits until a quarter of all
    objects are new.
    """
    yield
    if next(_tests) % 5 == 0 or sysconfig.get_config_var("Py_GIL_DISABLED"):
        gc.collect()


# The tests use PyMySQL; Django checks mysqlclient's version.
pymysql.version_info = (2, 2, 1, "final", 0)
pymysql.install_as_MySQLdb()


def database(**options: Any) -> str:
    """Return the alias of another of the project's databases."""
    alias = f"d{uuid.uuid4().hex[:8]}"
    connections.settings[alias] = {
        **connections.settings["default"],
        "OPTIONS": {},
        **options,
    }
    return alias


def on(server: Server, *, is_gone: bool = False, **options: Any) -> str:
    is_mysql = isinstance(server, MariaDB)
    return database(
        ENGINE=f"django.db.backends.{'mysql' if is_mysql else 'postgresql'}",
        NAME="tests" if is_mysql else "postgres",
        USER="root" if is_mysql else "tests",
        HOST="127.0.0.1",
        PORT=free_port() if is_gone else server.port,
        **options,
    )


def made(alias: str, **options: Any) -> DjangoStore:
    """Return a store with its own table, created as by a migration."""
    from tiktok_oauth_middleware.django.models import StoredRow

    class Meta:
        app_label = f"made{uuid.uuid4().hex}"
        db_table = f"t{uuid.uuid4().hex[:8]}"

    fields = {f.name: f.clone() for f in StoredRow._meta.local_fields}
    model = type("Row", (models.Model,), {**fields, "Meta": Meta, "__module__": "x"})
    with connections[alias].schema_editor() as editor:
        editor.create_model(model)
    return DjangoStore(alias, table=Meta.db_table, **options)


def closed(alias: str) -> None:
    connections[alias].close()


class Blocking(StoreContract):
    """The contract, outside of a transaction."""

    @pytest.fixture
    def alias(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, alias: str) -> Iterator[DjangoStore]:
        store = made(alias)
        yield store
        store.close()
        closed(alias)

    def test_many_rows_at_once(self, store: DjangoStore) -> None:
        """Rows are created unless they are there, and read in the order of the keys."""
        run(check_batches(ThreadBackend().adapt_store(store)))


class OnPostgreSQL:
    @pytest.fixture
    def alias(self, postgresql: Server) -> str:
        return on(postgresql)

    @pytest.fixture
    def failing_store(self, postgresql: Server) -> DjangoStore:
        return DjangoStore(on(postgresql, is_gone=True))


class OnMariaDB:
    @pytest.fixture
    def alias(self, mariadb: Server) -> str:
        return on(mariadb)

    @pytest.fixture
    def failing_store(self, mariadb: Server) -> DjangoStore:
        return DjangoStore(on(mariadb, is_gone=True))


class OnSQLite:
    @pytest.fixture
    def alias(self, tmp_path: Any) -> str:
        return database(NAME=tmp_path / "rows.sqlite3", OPTIONS={"timeout": 30})

    @pytest.fixture
    def failing_store(self) -> DjangoStore:
        return DjangoStore(database(NAME="/no/such/directory/rows.sqlite3"))


class TestPostgreSQL(OnPostgreSQL, Blocking):
    pass


class TestMariaDB(OnMariaDB, Blocking):
    pass


class TestSQLite(OnSQLite, Blocking):
    pass


class InATransaction(Blocking):
    """The contract, inside of a transaction of the view's."""

    @pytest.fixture
    def store(self, alias: str) -> Iterator[DjangoStore]:
        store = made(alias)
        with transaction.atomic(using=alias):
            yield store
            store.close()
        closed(alias)


class TestPostgreSQLInATransaction(OnPostgreSQL, InATransaction):
    pass


class TestMariaDBInATransaction(OnMariaDB, InATransaction):
    pass


class TestSQLiteInATransaction(OnSQLite, InATransaction):
    pass


class TestPostgreSQLInALoop(AsyncStoreContract):
    """The contract, from an event loop."""

    @pytest.fixture
    def open_store(self, postgresql: Server) -> Callable[[], Any]:
        async def opened() -> Twins:
            return Twins(await sync_to_async(made)(on(postgresql)))

        return opened

    @pytest.fixture
    def open_failing_store(self, postgresql: Server) -> Callable[[], Any]:
        return lambda: Twins(DjangoStore(on(postgresql, is_gone=True)))


# --- what a transaction means --------------------------------------------------------


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def alias(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    if request.param == "sqlite":
        wal = {"init_command": "PRAGMA journal_mode=WAL;"}
        alias = database(NAME=tmp_path / "rows.sqlite3", OPTIONS=wal)
    else:
        alias = on(request.getfixturevalue(request.param))
    yield alias
    closed(alias)


def test_written_row_survives_a_rollback(alias: str) -> None:
    """A row written in a view's transaction stays when that is rolled back."""
    store = made(alias)
    with transaction.atomic(using=alias):
        assert store.compare_and_set("k", None, b"rotated", 60)
        transaction.set_rollback(True, using=alias)
    assert store.get("k") == b"rotated"
    store.close()


def test_others_writes_are_seen_in_a_transaction(alias: str) -> None:
    """In an earlier transaction, the store sees and swaps what another connection wrote
    since.
    """
    store = made(alias)
    store.compare_and_set("k", None, b"old", 60)
    with transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {store.table}")
        assert store.get("k") == b"old"

        def other() -> None:
            store.compare_and_set("k", b"old", b"new", 60)
            store.close_thread()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert store.get("k") == b"new"
        assert store.compare_and_set("k", b"new", b"newer", 60)
    assert store.get("k") == b"newer"
    store.close()


def test_sqlite_refuses_behind_a_view_that_has_written(tmp_path: Any) -> None:
    """After a view has written in its transaction, SQLite's store can read, and refuses
    to write.
    """
    alias = database(NAME=tmp_path / "rows.sqlite3")
    store, other = made(alias), made(alias)
    store.compare_and_set("k", None, b"old", 60)
    with transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DELETE FROM {other.table}")
        assert store.get("k") == b"old"
        with pytest.raises(StoreError, match="OperationalError"):
            store.compare_and_set("k", b"old", b"new", 60)
    assert store.get("k") == b"old"
    store.close()
    closed(alias)


def test_the_own_connection_is_closed_again(alias: str) -> None:
    """The extra connection for a transaction is closed at the next call outside
    of one.
    """
    store = made(alias)
    with transaction.atomic(using=alias):
        store.get("k")
        own = store._connections._own.connection
        assert own.connection is not None
    store.get("k")
    assert own.connection is None


def test_rows_of_a_test_case_go_with_it(alias: str) -> None:
    """Inside Django's TestCase rows are visible in the test, and deleted after it."""
    store = made(alias)
    seen = []

    class Case(TestCase):
        databases = frozenset({alias})

        def test(self) -> None:
            assert store.compare_and_set("k", None, b"1", 60)
            assert not store.compare_and_set("k", None, b"2", 60)
            with transaction.atomic(using=alias), store.lock("k", 60) as is_held:
                assert is_held
            seen.append(store.get("k"))

    with ExitStack() as stack:
        stack.callback(Case.doClassCleanups)
        Case.setUpClass()
        result = unittest.TestResult()
        Case("test")(result)
        Case.tearDownClass()
    assert [*result.errors, *result.failures] == []
    assert seen == [b"1"]
    assert store.get("k") is None


def test_a_lost_connection_is_replaced(postgresql: Server, mariadb: Server) -> None:
    """A connection that the server closed is replaced, for reads and for writes."""
    for server in (postgresql, mariadb):
        alias = on(server)
        store = made(alias)
        store.compare_and_set("k", None, b"1", 60)
        for step in (
            lambda: store.get("k") == b"1",
            lambda: store.compare_and_set("k", b"1", b"1", 60),
        ):
            raw = connections[alias].connection
            raw.close()
            assert step()
        closed(alias)


def test_a_server_that_became_read_only_is_left(
    postgresql: Server, mariadb: Server
) -> None:
    """A connection that refuses writes after a failover is replaced, once."""
    read_only = {
        postgresql: "SET default_transaction_read_only = on",
        mariadb: "SET SESSION TRANSACTION READ ONLY",
    }
    for server, statement in read_only.items():
        alias = on(server)
        store = made(alias)
        with connections[alias].cursor() as cursor:
            cursor.execute(statement)
        assert store.compare_and_set("k", None, b"1", 60) is True
        closed(alias)


def test_several_databases(tmp_path: Any) -> None:
    """Each alias has its own rows."""
    one = made(database(NAME=tmp_path / "one.sqlite3"))
    two = DjangoStore(database(NAME=tmp_path / "two.sqlite3"), table=one.table)
    assert one.compare_and_set("k", None, b"1", 60)
    with pytest.raises(StoreError, match=r"run manage\.py migrate"):
        two.get("k")
    closed(one.alias)
    closed(two.alias)


def test_the_url() -> None:
    """The URL names the alias; the error for an unknown one lists the existing ones."""
    store = open_store("django://other")
    assert isinstance(store, DjangoStore)
    assert store.alias == "other"
    assert repr(store) == "DjangoStore('other', table='tiktok_oauth_store')"
    with pytest.raises(ConfigurationError, match="has only default, other"):
        open_store("django://elsewhere")
    with pytest.raises(ConfigurationError, match="names no database"):
        open_store("django://")


def test_without_a_project() -> None:
    """Outside of a project the error names manage.py."""
    code = (
        "from tiktok_oauth_middleware.stores import open_store\n"
        "try:\n    open_store('django://default')\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    environment = {k: v for k, v in os.environ.items() if "DJANGO" not in k}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ConfigurationError")
    assert "manage.py tiktok check" in done.stdout

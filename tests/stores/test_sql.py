"""SQLStore passes the contract on real databases, through each driver."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import trio
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.stores.registry import open_store, store_fault
from tiktok_oauth_middleware.stores.sql import SQLStore
from tiktok_oauth_middleware.testing.stores import AsyncStoreContract, StoreContract

from ..support.patience import HANGS
from ..support.ports import free_port
from ..support.processes import context
from .databases import MariaDB, PostgreSQL, Server, running
from .sql_stores import Watched, kept, made, some_table
from .twins import Twins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def elsewhere(server: Server, driver: str) -> str:
    """Return the server's URL with a port at which no server listens."""
    return server.url(driver).replace(str(server.port), str(free_port()))


class Blocking(StoreContract):
    """The contract, through a driver that blocks."""

    driver = ""

    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    @pytest.fixture
    def store(self, server: Server) -> Iterator[SQLStore]:
        store = made(server.url(self.driver))
        yield store
        store.close()

    @pytest.fixture
    def failing_store(self, server: Server) -> SQLStore:
        return SQLStore(elsewhere(server, self.driver))


class InALoop(AsyncStoreContract):
    """The contract, through a driver for asyncio."""

    driver = ""

    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    @pytest.fixture
    def open_store(self, server: Server) -> Callable[[], Any]:
        async def opened() -> Twins:
            store = SQLStore(server.url(self.driver), table=some_table())
            await store.acreate_table()
            return Twins(store)

        return opened

    @pytest.fixture
    def open_failing_store(self, server: Server) -> Callable[[], Any]:
        return lambda: Twins(SQLStore(elsewhere(server, self.driver)))


class OnPostgreSQL:
    @pytest.fixture
    def server(self, postgresql: Server) -> Server:
        return postgresql


class OnMariaDB:
    @pytest.fixture
    def server(self, mariadb: Server) -> Server:
        return mariadb


class TestPsycopg(OnPostgreSQL, Blocking):
    driver = "psycopg"


class TestPsycopgInALoop(OnPostgreSQL, InALoop):
    driver = "psycopg"


class TestAsyncpg(OnPostgreSQL, InALoop):
    driver = "asyncpg"


class TestPyMySQL(OnMariaDB, Blocking):
    driver = "pymysql"


class TestAsyncmy(OnMariaDB, InALoop):
    driver = "asyncmy"


class TestEngine(OnPostgreSQL, Blocking):
    """The contract, on the app's Engine, which has another isolation level."""

    @pytest.fixture
    def store(self, server: Server) -> Iterator[SQLStore]:
        engine = sa.create_engine(server.url(), isolation_level="SERIALIZABLE")
        store = SQLStore(engine, table=some_table())
        store.create_table()
        yield store
        engine.dispose()

    @pytest.fixture
    def failing_store(self, server: Server) -> SQLStore:
        return SQLStore(sa.create_engine(elsewhere(server, "psycopg")))


class EngineTwins(Twins):
    """Twins of a store on the app's engine, whose connections the app closes."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.store = SQLStore(engine, table=some_table())
        super().__init__(self.store)
        self._engine = engine

    async def close(self) -> None:
        await super().close()
        await self._engine.dispose()


class TestAsyncEngine(OnMariaDB, InALoop):
    """The contract, on the app's AsyncEngine."""

    @pytest.fixture
    def open_store(self, server: Server) -> Callable[[], Any]:
        async def opened() -> Twins:
            twins = EngineTwins(create_async_engine(server.url("asyncmy")))
            await twins.store.acreate_table()
            return twins

        return opened

    @pytest.fixture
    def open_failing_store(self, server: Server) -> Callable[[], Any]:
        return lambda: Twins(
            SQLStore(create_async_engine(elsewhere(server, "asyncmy")))
        )


class TestSQLiteFile(StoreContract):
    """The contract, on a file of SQLite through SQLAlchemy."""

    @pytest.fixture
    def tick(self, clock: Any) -> Callable[[float], None]:
        return clock.advance

    @pytest.fixture
    def store(self, clock: Any, tmp_path: Path) -> Iterator[SQLStore]:
        store = made(f"sqlite:///{tmp_path}/rows.sqlite3", clock=clock, timeout=30)
        yield store
        store.close()

    @pytest.fixture
    def failing_store(self) -> SQLStore:
        return SQLStore("sqlite:////no/such/directory/rows.sqlite3")


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    """Return a server of either kind."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def store(server: Server) -> Iterator[SQLStore]:
    store = made(server.url())
    yield store
    store.close()


# --- keys, rows and times in the database --------------------------------------------


@pytest.mark.parametrize("other", ["Row", "ROW", "row ", "row\t", "r\u00f6w"])
def test_keys_are_compared_byte_for_byte(store: SQLStore, other: str) -> None:
    """A key that differs in case, blanks or accents names another row."""
    assert store.compare_and_set("row", None, b"1", 60) is True
    assert store.get(other) is None
    assert store.compare_and_set(other, None, b"2", 60) is True
    assert (store.get("row"), store.get(other)) == (b"1", b"2")


def test_a_read_is_one_statement(store: SQLStore) -> None:
    """A read sends only the SELECT, not even a ROLLBACK."""
    store.compare_and_set("row", None, b"1", 60)
    driver = kept(store)
    if store._source.dialect.driver == "pymysql":
        sent = driver._execute_command
        report = []
        driver._execute_command = lambda *args: (report.append(args), sent(*args))[1]
        assert store.get("row") == b"1"
        assert len(report) == 1
    else:
        assert store.get("row") == b"1"
        assert driver.info.transaction_status.name == "IDLE"


def test_expired_rows_are_swept(store: SQLStore) -> None:
    """A swap deletes expired rows, at most a hundred at a time."""
    for number in range(40):
        store.compare_and_set(f"old-{number}", None, b"1", 0.001)
    time.sleep(0.01)
    for number in range(40):
        store.compare_and_set(f"new-{number}", None, b"1", 60)
    with store._source.connections().engine.connect() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(store.table))
    assert 40 <= count < 80


def test_the_clock_is_the_databases(server: Server) -> None:
    """Expiry uses the database's clock: hosts whose clocks are days apart agree
    on it.
    """
    store = made(server.url())
    other = SQLStore(server.url(), table=store.table.name)
    assert store._rows._clock is None
    assert store.compare_and_set("lock", None, b"1", 60) is True
    assert other.get("lock") == b"1"
    for each in (store, other):
        each.close()


# --- failures --------------------------------------------------------------------------


def test_a_missing_table_is_named(server: Server) -> None:
    """If the table is missing, the error names it and says how to create it."""
    store = SQLStore(server.url(), table=some_table())
    with pytest.raises(StoreError, match="no such table: create it with"):
        store.get("row")
    store.create_table()
    store.create_table()
    assert store.get("row") is None
    store.close()


@pytest.fixture(params=[PostgreSQL, MariaDB], ids=["postgresql", "mariadb"])
def mortal(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Return a server that only this test uses."""
    yield from running(request.param)


def test_connections_closed_by_a_restart_are_replaced(mortal: Server) -> None:
    """Connections that a restart of the server closed are replaced without an error."""
    store = made(mortal.url())
    store.compare_and_set("row", None, b"1", 600)
    mortal.kill()
    with pytest.raises(StoreError):
        store.get("row")
    with pytest.raises(StoreError):
        store.compare_and_set("row", b"1", b"2", 600)
    mortal.start()
    assert store.compare_and_set("row", b"1", b"2", 600) is True
    mortal.kill()
    mortal.start()
    assert store.get("row") == b"2"
    store.close()


def test_a_lost_answer_is_recognized(store: SQLStore) -> None:
    """A swap whose answer is lost takes place once, and returns True."""
    answers = Watched(store._source.connections().engine)
    answers.left = 1
    assert store.compare_and_set("row", None, b"first", 60) is True
    answers.left = 1
    assert store.compare_and_set("row", b"first", b"second", 60) is True
    answers.left = 1
    assert store.get("row") == b"second"
    answers.left = 1
    assert store.compare_and_set("row", None, b"first", 60) is False
    answers.left = 2
    with pytest.raises(StoreError):
        store.get("row")


def test_a_loss_while_a_lost_answer_is_searched_is_an_error(store: SQLStore) -> None:
    """If the connection is lost again while the store checks whether a swap took place,
    it is an error.
    """
    answers = Watched(store._source.connections().engine)

    def lose_the_look(statement: str) -> None:
        if "SELECT 1" in statement:
            answers.left = 1

    answers.before = lose_the_look
    store.compare_and_set("row", None, b"1", 60)
    answers.left = 1
    with pytest.raises(StoreError):
        store.compare_and_set("row", b"1", b"2", 60)
    assert store.get("row") == b"2"


def test_a_write_that_waits_too_long_is_not_sent_again(server: Server) -> None:
    """A swap that waits for a locked row fails after one timeout, and is sent once."""
    store = made(server.url(), timeout=1)
    sent: list[str] = []
    Watched(store._source.connections().engine).before = sent.append
    store.compare_and_set("row", None, b"1", 600)
    sent.clear()
    engine = sa.create_engine(server.url())
    with engine.begin() as other:
        other.execute(sa.update(store.table).values(expires=store.table.c.expires))
        with pytest.raises(StoreError):
            store.compare_and_set("row", b"1", b"2", 600)
    assert len(sent) == 1
    engine.dispose()
    store.close()


def test_keys_beyond_ascii_are_listed(store: SQLStore) -> None:
    """Listing finds keys in which any character follows the prefix."""
    for key in ("p~", "p\x7f", "pé", "p😀", "q"):
        store.compare_and_set(key, None, b"1", 60)
    assert sorted(store.keys("p")) == sorted(["p~", "p\x7f", "pé", "p😀"])


def test_aclose_under_trio(store: SQLStore) -> None:
    """Under Trio, aclose closes the connections that were used there."""
    store.compare_and_set("row", None, b"1", 60)
    trio.run(store.aclose)
    assert store._source._by_process is None
    assert store.get("row") == b"1"


def test_a_server_that_became_read_only_is_left(server: Server) -> None:
    """A connection that refuses writes after a failover is replaced once."""
    store = made(server.url())
    store.get("row")
    cursor = kept(store).cursor()
    if server.url().startswith("postgresql"):
        cursor.execute("SET default_transaction_read_only = on")
    else:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")
    assert store.compare_and_set("row", None, b"1", 60) is True
    store.close()


@pytest.mark.parametrize("mortal", [MariaDB], indirect=True)
def test_a_silent_server_is_an_error(mortal: Server) -> None:
    """A server that stops answering is an error, and the next call works."""
    store = made(mortal.url(), timeout=1)
    assert store.get("row") is None
    mortal.pause()
    try:
        with pytest.raises(StoreError):
            store.get("row")
    finally:
        mortal.go_on()
    assert store.get("row") is None
    store.close()


def test_a_silent_server_is_an_error_in_a_loop(postgresql: Server) -> None:
    """In an event loop a statement that takes too long is an error on every driver."""
    store = made(postgresql.url())

    async def use() -> None:
        connections = store._source.loop_connections()
        statements = store._rows._statements
        slow = statements["get"]._replace(text="SELECT pg_sleep(600)", names=())
        statements["get"] = slow
        connections.timeout = 0.5
        with pytest.raises(StoreError, match="could not read: TimeoutError"):
            await store.aget("row")
        await store.aclose()

    asyncio.run(use())
    store.close()


def test_a_timeout_inside_psycopg_ends_no_statement(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout that psycopg catches itself is not taken for a cancelled caller.

    Up to 3.2 it looks for other work every 0.1 s, by a timeout of asyncio.
    """
    psycopg = pytest.importorskip("psycopg")
    store = made(postgresql.url())
    execute = psycopg.AsyncConnection.execute

    async def execute_later(*given: Any, **options: Any) -> Any:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        return await execute(*given, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", execute_later)

    async def use() -> None:
        assert await store.acompare_and_set("row", None, b"1", 60) is True
        assert await store.aget("row") == b"1"
        await store.aclose()

    asyncio.run(use())
    store.close()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_cancelled_statement_is_cancelled_at_the_server(
    postgresql: Server, driver: str
) -> None:
    """The statement of a cancelled caller ends at the server, and reaches no other."""
    store = made(postgresql.url())
    used = SQLStore(postgresql.url(driver), table=store.table.name)
    engine = sa.create_engine(postgresql.url())
    store.compare_and_set("row", None, b"1", 600)

    async def use() -> None:
        with engine.begin() as other:
            other.execute(sa.update(store.table).values(value=b"1"))
            write = asyncio.create_task(used.acompare_and_set("row", b"1", b"2", 600))
            await waiting_statements(1)
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
            await waiting_statements(0)
            assert await used.aget("row") == b"1"
        assert await used.aget("row") == b"1"
        await used.aclose()

    async def waiting_statements(number: int) -> None:
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        async with asyncio.timeout(HANGS):
            while True:
                with engine.connect() as connection:
                    if connection.scalar(waiting) == number:
                        return
                await asyncio.sleep(0.02)

    asyncio.run(use())
    engine.dispose()
    store.close()


@pytest.mark.parametrize("mortal", [PostgreSQL], indirect=True)
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_frozen_server_is_an_error_in_a_loop(mortal: PostgreSQL, driver: str) -> None:
    """A read of a frozen server ends at the store's timeout, also on a new connection.

    psycopg alone would wait ten seconds longer, to cancel the statement.
    """
    store = made(mortal.url(), timeout=1)
    store.close()
    frozen = SQLStore(mortal.url(driver), table=store.table.name, timeout=1)

    async def use() -> None:
        assert await frozen.aget("row") is None
        mortal.freeze()
        try:
            for _ in range(2):
                longer = asyncio.create_task(asyncio.sleep(8))
                read = asyncio.create_task(frozen.aget("row"))
                await asyncio.wait({longer, read}, return_when="FIRST_COMPLETED")
                assert read.done()
                assert isinstance(read.exception(), StoreError)
                longer.cancel()
        finally:
            mortal.thaw()
        assert await frozen.aget("row") is None
        await frozen.aclose()

    asyncio.run(use())


def test_deadlocks_are_tried_again(server: Server) -> None:
    """Threads that create, replace and delete the same rows see no error."""
    store = made(server.url(), timeout=30)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(40):
                key = f"row-{(number + turn) % 3}"
                found = store.get(key)
                new = None if found and turn % 5 == 0 else os.urandom(200)
                store.compare_and_set(key, found, new, 60)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS)
    assert failures == []
    store.close()


def _child(url: str, table: str, answers: Any) -> None:
    store = SQLStore(url, table=table, timeout=30)
    won = sum(store.compare_and_set(f"once-{n}", None, b"1", 60) for n in range(50))
    counted = 0
    while counted < 50:
        found = store.get("counter") or b"0"
        new = str(int(found) + 1).encode()
        old = None if found == b"0" else found
        counted += store.compare_and_set("counter", old, new, 60)
    answers.put(won)
    store.close()


def test_processes_swap_without_a_loss(store: SQLStore, server: Server) -> None:
    """Of four processes exactly one creates each row, and no increment is lost."""
    answers = context.Queue()
    arguments = (server.url(), store.table.name, answers)
    children = [context.Process(target=_child, args=arguments) for _ in range(4)]
    for child in children:
        child.start()
    won = [answers.get(timeout=HANGS) for _ in children]
    for child in children:
        child.join(HANGS)
    assert sum(won) == 50
    assert store.get("counter") == b"200"


# Threads of other tests may still be running: from 3.12 on, fork() warns of them.
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(store: SQLStore) -> None:
    """A forked child can read and write, and the parent's connection still works."""
    store.compare_and_set("row", None, b"1", 60)
    child = os.fork()
    if not child:
        done = store.get("row") == b"1" and store.compare_and_set("c", None, b"2", 60)
        os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (store.get("row"), store.get("c")) == (b"1", b"2")


# --- in an event loop ----------------------------------------------------------------


LOOP_DRIVERS = ["psycopg", "asyncpg", "asyncmy"]


@pytest.fixture
def loop_url(driver: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a server, through a driver for asyncio."""
    kind = "mariadb" if driver == "asyncmy" else "postgresql"
    return request.getfixturevalue(kind).url(driver)  # type: ignore[no-any-return]


def in_loop(url: str, use: Callable[[SQLStore], Any], **options: Any) -> None:
    """Use a store with a table of its own in an event loop."""

    async def main() -> None:
        store = SQLStore(url, table=some_table(), **options)
        await store.acreate_table()
        await store.acompare_and_set("row", None, b"1", 600)
        await use(store)
        await store.aclose()

    asyncio.run(main())


def blocking_url(url: str) -> str:
    """Return the URL of the same server, through a driver that blocks."""
    return url.replace("asyncpg", "psycopg").replace("asyncmy", "pymysql")


def kept_in_loop(store: SQLStore) -> list[Any]:
    """Return the connections that wait for their next statement."""
    pool: Any = store._source.loop_connections()
    return [connection.driver_connection for connection, _ in pool._idle._kept]


@pytest.mark.parametrize("driver", LOOP_DRIVERS)
def test_tasks_share_eight_connections(loop_url: str) -> None:
    """A hundred tasks at once each get their own row, over at most eight
    connections.
    """

    async def use(store: SQLStore) -> None:
        async def own(number: int) -> bool:
            key, value = f"own-{number}", os.urandom(300)
            await store.acompare_and_set(key, None, value, 60)
            return await store.aget(key) == value

        assert all(await asyncio.gather(*map(own, range(100))))
        assert 1 < len(kept_in_loop(store)) <= 8

    in_loop(loop_url, use, timeout=30)


@pytest.mark.parametrize("driver", LOOP_DRIVERS)
def test_a_cancelled_read_leaves_no_answer_behind(loop_url: str) -> None:
    """A connection whose answer was not read is closed, and no other task gets it."""

    async def use(store: SQLStore) -> None:
        rows = {f"row-{n}": os.urandom(50) for n in range(20)}
        for key, value in rows.items():
            await store.acompare_and_set(key, None, value, 600)
        for turn in range(60):
            tasks = {key: asyncio.ensure_future(store.aget(key)) for key in rows}
            for _ in range(turn % 6):
                await asyncio.sleep(0)
            for key in list(rows)[turn % 3 :: 3]:
                tasks[key].cancel()
            found = await asyncio.gather(*tasks.values(), return_exceptions=True)
            for value, answer in zip(rows.values(), found, strict=True):
                assert answer == value or isinstance(answer, asyncio.CancelledError)
        assert await store.aget("row-7") == rows["row-7"]

    in_loop(loop_url, use, timeout=30)


@pytest.mark.parametrize("driver", LOOP_DRIVERS)
def test_connections_closed_by_the_server_are_replaced_in_a_loop(
    driver: str, loop_url: str
) -> None:
    """Reads and writes succeed after the server has closed the connections."""

    async def use(store: SQLStore) -> None:
        await asyncio.gather(*(store.aget("row") for _ in range(4)))
        for value in (b"1", b"2"):
            _end_connections(driver, loop_url, store)
            assert await store.aget("row") == value
            _end_connections(driver, loop_url, store)
            swapped = await store.acompare_and_set("row", value, b"2", 600)
            assert swapped is True

    in_loop(loop_url, use)


def _end_connections(driver: str, url: str, store: SQLStore) -> None:
    """Close every connection that the store keeps, at the server."""
    kept = kept_in_loop(store)
    assert kept
    engine = sa.create_engine(blocking_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as admin:
        for each in kept:
            if driver == "asyncmy":
                with suppress(sa.exc.DBAPIError):  # closed already
                    admin.exec_driver_sql(f"KILL {each.thread_id()}")
                continue
            is_psycopg = driver == "psycopg"
            pid = each.info.backend_pid if is_psycopg else each.get_server_pid()
            admin.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
    engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_statement_that_is_given_up_ends_at_the_server(loop_url: str) -> None:
    """Reads that wait for a lock are cancelled at the server when they time out."""
    engine = sa.create_engine(blocking_url(loop_url))

    async def use(store: SQLStore) -> None:
        waiting = sa.text(
            "SELECT count(*) FROM pg_stat_activity"
            f" WHERE wait_event_type = 'Lock' AND query LIKE '%{store.table.name}%'"
        )
        with engine.connect() as lock, engine.connect() as admin:
            # Within a transaction the view would keep showing what it showed first.
            admin.execution_options(isolation_level="AUTOCOMMIT")
            lock.exec_driver_sql(f"LOCK TABLE {store.table.name}")
            store._source.loop_connections().timeout = 0.3
            asked = (store.aget("row") for _ in range(5))
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(each, StoreError) for each in found)
            deadline = time.monotonic() + HANGS
            while admin.execute(waiting).scalar():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    in_loop(loop_url, use)
    engine.dispose()


@pytest.mark.parametrize("driver", LOOP_DRIVERS)
def test_refused_connections_leave_the_others_in_use(
    driver: str, loop_url: str
) -> None:
    """If the server refuses further connections, reads use the one that is open."""
    table, user = some_table(), f"user{uuid.uuid4().hex[:8]}"
    owner = SQLStore(blocking_url(loop_url), table=table)
    owner.create_table()
    owner.compare_and_set("row", None, b"1", 600)
    owner.close()
    engine = sa.create_engine(blocking_url(loop_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as admin:
        if driver == "asyncmy":
            admin.exec_driver_sql(
                f"CREATE USER {user}@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1"
            )
            admin.exec_driver_sql(f"GRANT ALL ON tests.* TO {user}@'127.0.0.1'")
        else:
            admin.exec_driver_sql(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT 1")
            admin.exec_driver_sql(f"GRANT ALL ON {table} TO {user}")
    engine.dispose()
    limited = sa.make_url(loop_url).set(username=user)

    async def main() -> None:
        url = limited.render_as_string(hide_password=False)
        store = SQLStore(url, table=table, timeout=10)
        assert await store.aget("row") == b"1"
        refused = 0
        for _ in range(5):
            asked = (store.aget("row") for _ in range(4))
            found = await asyncio.gather(*asked, return_exceptions=True)
            refused += sum(isinstance(each, StoreError) for each in found)
            for _ in range(4):
                assert await store.aget("row") == b"1"
        assert refused
        await store.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("driver", LOOP_DRIVERS)
def test_a_loop_that_ended_without_closing_is_forgotten(loop_url: str) -> None:
    """A store works in the next loop even without aclose() in the previous one."""
    store = SQLStore(loop_url, table=some_table())

    async def use() -> bytes | None:
        await store.acreate_table()
        await store.acompare_and_set("row", None, b"1", 60)
        found = await store.aget("row")
        # Connections that the store leaves for the next loop are not closed here.
        for connection in kept_in_loop(store):
            connection.close() if driver_is_asyncmy else await connection.close()
        return found

    driver_is_asyncmy = "asyncmy" in loop_url
    assert [asyncio.run(use()), asyncio.run(use())] == [b"1", b"1"]
    assert len(store._source._by_loop) == 1


@pytest.mark.parametrize("name", ["file:/{}?vfs=memdb&", "file::memory:?cache=shared&"])
def test_a_shared_database_in_memory(name: str) -> None:
    """A SQLite database in memory that threads share and a URI names keeps its rows."""
    url = f"sqlite:///{name.format(some_table())}uri=true"
    store, found = made(url), []
    assert store.compare_and_set("row", None, b"1", 600)
    thread = threading.Thread(target=lambda: found.append(store.get("row")))
    thread.start()
    thread.join()
    assert [store.get("row"), *found] == [b"1", b"1"]
    store.close()


def test_a_busy_pool_is_an_error(server: Server) -> None:
    """A call that finds all connections in use gives up after its timeout.

    A signal's handler that raises between two steps of a call uses up none of them.
    """
    store = made(server.url(), timeout=0.1)
    pool: Any = store._source.connections()
    taken = [pool._idle.turns.get_nowait() for _ in range(8)]
    with pytest.raises(StoreError, match="could not read: TimeoutError"):
        store.get("row")
    taken.clear()
    gc.collect()  # for PyPy
    assert store.get("row") is None
    assert pool._idle.turns.qsize() == 8
    store.close()


# --- building a store ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("no url", "not a URL that SQLAlchemy can read"),
        ("nosuchdatabase://host/name", "not a URL that SQLAlchemy can read"),
        ("mssql+nosuchdriver://host/name", "not a URL that SQLAlchemy can read"),
        (object(), "neither a URL nor an Engine"),
    ],
)
def test_wrong_arguments_are_refused(given: Any, match: str) -> None:
    """Wrong arguments are refused when the store is built."""
    with pytest.raises(ConfigurationError, match=match):
        SQLStore(given)


def test_a_password_is_not_shown() -> None:
    """The store's repr contains no password."""
    store = SQLStore("postgresql+psycopg://me:hunter2hunter2@db/app")
    assert "hunter2" not in repr(store)


def test_blocking_call_over_an_asyncio_driver_is_refused(server: Server) -> None:
    """Blocking calls over a driver that only supports asyncio raise an error that names
    it.
    """
    driver = "asyncpg" if server.url().startswith("postgresql") else "asyncmy"
    with pytest.raises(ConfigurationError, match="name a driver that blocks"):
        SQLStore(server.url(driver)).get("row")


def test_one_url_serves_both_worlds(postgresql: Server) -> None:
    """Through psycopg the same store works in threads and in event loops."""
    store = made(postgresql.url("psycopg"))

    async def use() -> bytes | None:
        await store.acompare_and_set("row", None, b"1", 60)
        found = await store.aget("row")
        await store.aclose()
        return found

    assert asyncio.run(use()) == b"1"
    assert store.get("row") == b"1"
    assert asyncio.run(use()) == b"1"
    store.close()


def test_a_schema(postgresql: Server) -> None:
    """The table can be in another schema."""
    engine = sa.create_engine(postgresql.url())
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS apart")
    store = SQLStore(engine, table=some_table(), schema="apart")
    store.create_table()
    assert store.compare_and_set("row", None, b"1", 60) is True
    assert sa.inspect(engine).has_table(store.table.name, schema="apart")
    engine.dispose()


# --- by URL ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret-word@db/app",
        "postgresql+psycopg://me:secret-word@db:5432/app",
        "postgresql+asyncpg://db/app?ssl=require",
        "mysql+pymysql://me@db/app",
        "mariadb+pymysql://me@db/app",
        "sqlite+pysqlite:////tmp/rows.sqlite3",
    ],
)
def test_settings_name_a_database(url: str) -> None:
    """A URL of SQLAlchemy is a store's URL, and opens an SQLStore."""
    assert store_fault(url) is None
    assert isinstance(open_store(url), SQLStore)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("postgres://db/app", "begins with postgres://"),
        ("postgresql+psycopg://", "names no database"),
        ("postgresql+nosuchdriver://db/app", "not a URL that SQLAlchemy can read"),
        ("redis+psycopg://db/app", r"begins with redis\+psycopg://"),
        ("memory+x://", r"begins with memory\+x://"),
        ("sqlite+pysqlite:///:memory:", "names no SQLite file"),
        ("mssql+pyodbc://db/app", r"begins with mssql\+pyodbc://"),
        ("toy://", "begins with toy://"),
    ],
)
def test_url_without_a_store_is_refused(url: str, match: str) -> None:
    """A URL from which no store can be opened is refused; the error lists the kinds of
    store.
    """
    with pytest.raises(ConfigurationError, match=match):
        open_store(url)

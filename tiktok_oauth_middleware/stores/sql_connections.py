"""The connections of `SQLStore`: one SQLAlchemy engine per process and event loop."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.errors import ConfigurationError

from .database_errors import (
    ConflictError,
    ConnectionLostError,
    ExecutionError,
    is_conflict,
    needs_new_connection,
    store_error,
)
from .registry import missing_library
from .table import BlockingDatabaseConnections, Result, Statement

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table
    from sqlalchemy.ext.asyncio import AsyncEngine

_DATABASES = ("postgresql", "mysql", "mariadb", "sqlite")
#: Limits a statement's time at MariaDB's server. Otherwise, after its caller timed out,
#: the statement would keep waiting for a lock, with its connection, up to the server's
#: limit. MySQL can limit SELECT only; to MySQL the second half is a comment.
_LIMIT_BY_MARIADB = "SET autocommit = 1 /*M!100101 , max_statement_time = {:g} */"
#: Options of psycopg and asyncpg that must be whole numbers; SQLAlchemy passes text.
_NUMBERS = frozenset(
    {
        "prepare_threshold",
        "statement_cache_size",
        "max_cached_statement_lifetime",
        "max_cacheable_statement_size",
    }
)
#: After how many executions psycopg prepares a statement, if it may: its own default.
_PREPARE_THRESHOLD = 5
#: Names of SQLite's databases in memory; each connection has a separate one.
_IN_MEMORY = (None, "", ":memory:")


class ProcessConnections(BlockingDatabaseConnections):
    """Connections of this process, whose calls block, used through SQLAlchemy.

    An app's own engine is used in this way, because a `Connection` applies the engine's
    options and reports to the engine's listeners.
    """

    def __init__(self, engine: Engine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        from sqlalchemy.exc import IntegrityError

        try:
            with self.engine.connect() as connection:
                found = connection.exec_driver_sql(
                    statement.text, statement.parameters(values)
                )
                return (found.fetchall() if found.returns_rows else ()), found.rowcount
        except IntegrityError:
            return (), 0
        except _errors_of(self.engine) as error:
            if _is_lost(error, self.engine.dialect):
                self.engine.dispose()
            raise _execution_error(error, self.engine.dialect) from error

    async def create(self, table: Table) -> bool:
        try:
            with self.engine.connect() as connection:
                return _create_if_missing(connection, table)
        except _errors_of(self.engine) as error:
            raise store_error("create the table", driver_error(error)) from error

    def close(self) -> None:
        self.engine.dispose()


class LoopConnections:
    """Connections of one event loop of asyncio, used through SQLAlchemy."""

    def __init__(self, engine: AsyncEngine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        import asyncio

        from sqlalchemy.exc import IntegrityError

        try:
            async with (
                asyncio.timeout(self.timeout),
                self.engine.connect() as connection,
            ):
                found = await connection.exec_driver_sql(
                    statement.text, statement.parameters(values)
                )
                return (found.fetchall() if found.returns_rows else ()), found.rowcount
        except IntegrityError:
            return (), 0
        except _errors_of(self.engine) as error:
            if _is_lost(error, self.engine.dialect):
                await self.engine.dispose()
            raise _execution_error(error, self.engine.dialect) from error
        except OSError as error:  # a timeout, or asyncpg's while it connects
            raise ExecutionError(error) from error

    async def create(self, table: Table) -> bool:
        try:
            async with self.engine.connect() as connection:
                return bool(await connection.run_sync(_create_if_missing, table))
        except (*_errors_of(self.engine), OSError) as error:
            raise store_error("create the table", driver_error(error)) from error

    async def sleep(self, seconds: float) -> None:
        from asyncio import sleep

        await sleep(seconds)

    async def close(self) -> None:
        await self.engine.dispose()


def _create_if_missing(connection: Any, table: Table) -> bool:
    """Create a table if it is missing; return whether it was created."""
    from sqlalchemy import inspect
    from sqlalchemy.exc import SQLAlchemyError

    def is_there() -> bool:
        return bool(inspect(connection).has_table(table.name, schema=table.schema))

    if is_there():
        return False
    try:
        table.create(connection)
    except SQLAlchemyError:
        # Another process may have created it at the same moment.
        if not is_there():
            raise
        return False
    return True


def driver_error(error: BaseException) -> BaseException:
    """Return the driver's error in SQLAlchemy's."""
    return getattr(error, "orig", None) or error


def _errors_of(engine: Engine | AsyncEngine) -> tuple[type[Exception], type[Exception]]:
    """Return SQLAlchemy's exceptions, and the driver's, which it may not wrap."""
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, engine.dialect.loaded_dbapi.Error


def _is_lost(error: Exception, dialect: Any) -> bool:
    """Whether the engine's other connections must be dropped, too.

    SQLAlchemy drops them itself if a statement finds that a connection is lost, but not
    if that is found before the first statement: on MySQL a connection of the pool is
    first set to AUTOCOMMIT, whose errors are the driver's.
    """
    cause = driver_error(error)
    if needs_new_connection(cause):
        return True
    return cause is error and bool(dialect.is_disconnect(cause, None, None))


def _execution_error(error: Exception, dialect: Any) -> ExecutionError:
    cause = driver_error(error)
    if getattr(error, "connection_invalidated", False) or _is_lost(error, dialect):
        return ConnectionLostError(cause)
    return ConflictError(cause) if is_conflict(cause) else ExecutionError(cause)


class ConnectionSource:
    """Source of connections: one engine for each process and event loop."""

    def __init__(self, url_or_engine: Any, timeout: float) -> None:
        try:
            from sqlalchemy import Engine
            from sqlalchemy.ext.asyncio import AsyncEngine
        except ImportError as missing:
            is_url = isinstance(url_or_engine, str)
            url = url_or_engine if is_url else "sqlite+pysqlite://"
            # SQLAlchemy 2.1 no longer installs greenlet by itself, and says so by an
            # ImportError.
            is_there = not isinstance(missing, ModuleNotFoundError)
            package = "SQLAlchemy's greenlet" if is_there else None
            raise missing_library(reveal(url), package) from missing
        self._timeout = timeout
        self._url: Any = None
        self._given: Any = None
        self._by_process: ProcessConnections | None = None
        self._by_loop: dict[Any, LoopConnections] = {}
        # A signal's handler may use the store while its own thread connects.
        self._making = threading.RLock()
        self._inherited: list[object] = []
        if isinstance(url_or_engine, str):
            self._take_url(url_or_engine)
        elif isinstance(url_or_engine, (Engine, AsyncEngine)):
            self._take_engine(
                url_or_engine, is_async=isinstance(url_or_engine, AsyncEngine)
            )
        else:
            message = (
                "store is an SQLStore made from neither a URL nor an Engine or"
                f" AsyncEngine of SQLAlchemy, but from {type(url_or_engine).__name__}"
            )
            raise ConfigurationError(message)
        if self.dialect.name not in _DATABASES:
            message = (
                f"store is in {self.dialect.name}; SQLStore supports PostgreSQL, MySQL,"
                " MariaDB and SQLite"
            )
            raise ConfigurationError(message)
        register_after_fork(self)

    def _take_url(self, url: str) -> None:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        try:
            self._url = make_url(reveal(url))
            kind = self._url.get_dialect()
        except (ArgumentError, NoSuchModuleError, ValueError):
            message = "store is not a URL that SQLAlchemy can read; write it as"
            message += " postgresql+psycopg://user:password@host/database"
            raise ConfigurationError(message) from None
        self._numbers = _numbers_in(self._url)
        self.dialect = _dialect_of(self._url, is_async=kind.is_async)
        self.has_async_driver = (
            kind.is_async or kind.get_async_dialect_cls(self._url).is_async
        )
        self.has_blocking_driver = not kind.is_async
        self.shown = self._url.render_as_string(hide_password=True)

    def _take_engine(self, engine: Any, *, is_async: bool) -> None:
        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        connections = LoopConnections if is_async else ProcessConnections
        self._given = connections(autocommit, self._timeout)
        self.has_async_driver = is_async
        self.has_blocking_driver = not is_async
        self.dialect = engine.dialect
        self.shown = engine.url.render_as_string(hide_password=True)

    def after_fork(self) -> None:
        """Drop all connections: a forked worker must not use its parent's."""
        self._making = threading.RLock()
        # Kept, since some drivers send a message when garbage collection finds a
        # connection.
        self._inherited += [self._by_process, self._by_loop]
        self._by_process, self._by_loop = None, {}
        if isinstance(self._given, ProcessConnections):
            self._given.engine.dispose(close=False)
        elif isinstance(self._given, LoopConnections):
            self._given.engine.sync_engine.dispose(close=False)

    def connections(self) -> ProcessConnections:
        """Return this process's connections."""
        if isinstance(self._given, ProcessConnections):
            return self._given
        if not self.has_blocking_driver:
            message = (
                "store is an SQLStore whose driver works in an event loop of asyncio"
                " only, used where calls must block (WSGI, a thread, Trio); name a"
                " driver that blocks, such as postgresql+psycopg or mysql+pymysql"
            )
            raise ConfigurationError(message)
        if self._by_process is None:
            with self._making:
                if self._by_process is None:
                    made = self._made()
                    self._by_process = self._by_process or made
        return self._by_process

    def _made(self) -> ProcessConnections:
        from sqlalchemy import create_engine

        from .sql_pool import PooledConnections

        is_pooled = self.dialect.name != "sqlite" or _is_in_a_file(self._url)
        options = self._options(in_loop=False, is_pooled=is_pooled)
        engine = create_engine(self._url, **options)
        self._prepare_if_direct(engine)
        kind = PooledConnections if is_pooled else ProcessConnections
        return kind(engine, self._timeout)

    def loop_connections(self) -> LoopConnections:
        """Return the running event loop's connections."""
        from asyncio import get_running_loop

        if isinstance(self._given, LoopConnections):
            return self._given
        loop = get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            # A copy, made in one step: other threads with event loops also call this,
            # and without the interpreter's lock tuple() takes several.
            for old in [old for old in self._by_loop.copy() if old.is_closed()]:
                self._by_loop.pop(old, None)
            connections = self._by_loop[loop] = self._made_in_loop()
        return connections

    def _made_in_loop(self) -> LoopConnections:
        from sqlalchemy.ext.asyncio import create_async_engine

        from .loop_drivers import LOOP_DRIVERS
        from .sql_pool import PooledLoopConnections

        is_pooled = self.dialect.driver in LOOP_DRIVERS
        options = self._options(in_loop=True, is_pooled=is_pooled)
        engine = create_async_engine(self._url, **options)
        self._prepare_if_direct(engine.sync_engine)
        kind = PooledLoopConnections if is_pooled else LoopConnections
        return kind(engine, self._timeout)

    def _prepare_if_direct(self, engine: Engine) -> None:
        """Let psycopg prepare statements where no pooler is in between."""
        from sqlalchemy import event

        is_given = "prepare_threshold" in self._numbers
        if self.dialect.driver == "psycopg" and not is_given:
            event.listen(engine, "connect", _prepare_if_direct)

    def _options(self, *, in_loop: bool, is_pooled: bool) -> dict[str, Any]:
        """Return an engine's options: one round trip for each statement."""
        from sqlalchemy import NullPool

        arguments = _timeout_arguments(self.dialect, self._timeout, in_loop=in_loop)
        if "init_command" in self._url.query:  # it would be replaced
            arguments.pop("init_command", None)
        arguments |= self._numbers
        return {
            "isolation_level": "AUTOCOMMIT",
            "pool_reset_on_return": None,
            "skip_autocommit_rollback": True,
            "connect_args": arguments,
            **({"poolclass": NullPool} if is_pooled else {}),
        }

    def close(self) -> None:
        connections, self._by_process = self._by_process, None
        if connections is not None:
            connections.close()

    async def aclose(self) -> None:
        from asyncio import get_running_loop

        try:
            loop = get_running_loop()
        except RuntimeError:  # under Trio, where the blocking connections serve
            loop = None
        connections = self._by_loop.pop(loop, None)
        try:
            if connections is not None:
                await connections.close()
        finally:
            self.close()


def _prepare_if_direct(connection: Any, record: Any) -> None:
    """Let psycopg prepare statements on a new connection unless a pooler is in between.

    A pooler may send each transaction to another of its connections to the server,
    where a statement that was prepared under the same name may be another one. A client
    is told the process at the server when it connects, but a pooler has none to name.
    """
    driver = record.driver_connection
    cursor = connection.cursor()
    # A server may not know or permit the question. If the connection fails, the
    # statement for which it was made reports that.
    with contextlib.suppress(driver.Error):
        cursor.execute("SELECT pg_backend_pid()")
        if cursor.fetchone() == (driver.info.backend_pid,):
            driver.prepare_threshold = _PREPARE_THRESHOLD
    cursor.close()


def _numbers_in(url: Any) -> dict[str, int]:
    """Return the options of a URL that its driver takes as numbers, not as text."""
    found = {name: url.query[name] for name in _NUMBERS & url.query.keys()}
    for name, value in found.items():
        if not (isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value)):
            message = f"store's URL has a {name} that is not a whole number"
            raise ConfigurationError(message)
    return {name: int(value) for name, value in found.items()}


def _is_in_a_file(url: Any) -> bool:
    """Whether SQLite's database is certainly a file.

    A database in memory ends with its last connection. URIs can name it in several
    ways.
    """
    return url.database not in _IN_MEMORY and "uri" not in url.query


def _dialect_of(url: Any, *, is_async: bool) -> Any:
    """Return the dialect of a URL and import its driver; does not connect."""
    from sqlalchemy import create_engine
    from sqlalchemy.ext.asyncio import create_async_engine

    make: Any = create_async_engine if is_async else create_engine
    try:
        return make(url).dialect
    except ModuleNotFoundError as missing:
        message = f"store's driver is not installed: no module named {missing.name}"
        raise ConfigurationError(message) from missing


def _timeout_arguments(
    dialect: Any, timeout: float, *, in_loop: bool
) -> dict[str, Any]:
    """Return the driver's own arguments that limit how long it waits."""
    name, driver = dialect.name, dialect.driver
    whole = max(1, round(timeout))
    milliseconds = int(timeout * 1000)
    if name == "sqlite":
        return {"timeout": timeout}
    if driver == "asyncpg":
        return {"timeout": timeout}  # a statement is bounded by `LoopConnections`
    if driver in ("psycopg", "psycopg2"):
        # libpq's shortest timeout for a connection is two seconds.
        given: dict[str, Any] = {"connect_timeout": max(2, whole)}
        if driver == "psycopg":
            given["prepare_threshold"] = None  # before `_prepare_if_direct`
        if not in_loop:
            given["options"] = f"-c statement_timeout={milliseconds}"
            given["tcp_user_timeout"] = milliseconds
        return given
    if name not in ("mysql", "mariadb"):
        return {}
    limits: dict[str, Any] = {"connect_timeout": whole}
    if driver in ("pymysql", "mysqldb"):
        limits |= {"read_timeout": whole, "write_timeout": whole}
    if driver in ("pymysql", "mysqldb", "asyncmy"):
        limits["init_command"] = _LIMIT_BY_MARIADB.format(timeout)
    return limits

"""The connections of `SQLStore`: one engine of SQLAlchemy a process and event loop."""

from __future__ import annotations

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
    is_read_only,
    store_error,
)
from .registry import missing_library
from .table import BlockingConnections, Result, Statement

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table
    from sqlalchemy.ext.asyncio import AsyncEngine

#: Connections of one process or event loop. PostgreSQL takes a hundred as installed, so
#: that eight processes with twenty each are refused; a read holds one for 0.5 ms.
_POOL = 8
_KINDS = ("postgresql", "mysql", "mariadb", "sqlite")


class ProcessConnections(BlockingConnections):
    """Connections of this process, whose calls block."""

    def __init__(self, engine: Engine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

        try:
            with self.engine.connect() as connection:
                found = connection.exec_driver_sql(
                    statement.text, statement.parameters(values)
                )
                return (found.fetchall() if found.returns_rows else ()), found.rowcount
        except IntegrityError:
            return (), 0
        except SQLAlchemyError as error:
            if is_read_only(_cause(error)):
                self.engine.dispose()
            raise _execution_error(error) from error

    async def create(self, table: Table) -> bool:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine.connect() as connection:
                return _is_created(connection, table)
        except SQLAlchemyError as error:
            raise store_error("create the table", _cause(error)) from error


class PooledConnections(ProcessConnections):
    """Connections of this process, from an engine that the store made.

    Statements are given to the driver itself: a `Connection` of SQLAlchemy costs two
    to four times the CPU of the query. An app's own engine is left to its `Connection`,
    which applies its options and reports to its listeners.
    """

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        from sqlalchemy.exc import SQLAlchemyError

        driver: Any = self.engine.dialect.loaded_dbapi
        try:
            connection: Any = self.engine.raw_connection()
        except (SQLAlchemyError, driver.Error) as error:
            raise ExecutionError(_cause(error)) from error
        try:
            cursor = connection.cursor()
            cursor.execute(statement.text, statement.parameters(values))
            rows = cursor.fetchall() if cursor.description else ()
            count = cursor.rowcount
            cursor.close()
        except driver.IntegrityError:
            return (), 0
        except driver.Error as error:
            raise self._failure(error, connection) from error
        except BaseException:
            # The answer may still come, and would be taken for the next one.
            connection.invalidate()
            raise
        else:
            return rows, count
        finally:
            connection.close()

    def _failure(self, error: Any, connection: Any) -> ExecutionError:
        if is_read_only(error) or self.engine.dialect.is_disconnect(
            error, connection.dbapi_connection, None
        ):
            # The others are as old, and lead to the same server.
            connection.invalidate(error)
            self.engine.dispose()
            return ConnectionLostError(error)
        return ConflictError(error) if is_conflict(error) else ExecutionError(error)


class LoopConnections:
    """Connections of one event loop of asyncio."""

    def __init__(self, engine: AsyncEngine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        import asyncio

        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

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
        except SQLAlchemyError as error:
            if is_read_only(_cause(error)):
                await self.engine.dispose()
            raise _execution_error(error) from error
        except OSError as error:  # a timeout, or asyncpg's while it connects
            raise ExecutionError(error) from error

    async def create(self, table: Table) -> bool:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            async with self.engine.connect() as connection:
                return bool(await connection.run_sync(_is_created, table))
        except (SQLAlchemyError, OSError) as error:
            raise store_error("create the table", _cause(error)) from error

    async def sleep(self, seconds: float) -> None:
        from asyncio import sleep

        await sleep(seconds)


def _is_created(connection: Any, table: Table) -> bool:
    """Create a table where it is not there yet; return whether it was created."""
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


def _cause(error: BaseException) -> BaseException:
    """Return the driver's error, which SQLAlchemy's wraps."""
    return getattr(error, "orig", None) or error


def _execution_error(error: Exception) -> ExecutionError:
    cause = _cause(error)
    if getattr(error, "connection_invalidated", False) or is_read_only(cause):
        return ConnectionLostError(cause)
    return ConflictError(cause) if is_conflict(cause) else ExecutionError(cause)


class ConnectionSource:
    """Source of connections: one engine for each process and event loop."""

    def __init__(self, url_or_engine: Any, timeout: float) -> None:
        try:
            from sqlalchemy import Engine, make_url
            from sqlalchemy.exc import ArgumentError, NoSuchModuleError
            from sqlalchemy.ext.asyncio import AsyncEngine
        except ModuleNotFoundError as missing:
            raise missing_library("postgresql") from missing
        self._timeout = timeout
        self._url: Any = None
        self._given: Any = None
        self._by_process: ProcessConnections | None = None
        self._by_loop: dict[Any, LoopConnections] = {}
        self._making = threading.Lock()
        if isinstance(url_or_engine, str):
            try:
                self._url = make_url(reveal(url_or_engine))
                kind = self._url.get_dialect()
            except (ArgumentError, NoSuchModuleError, ValueError):
                message = "store is no URL that SQLAlchemy can read; write it as"
                message += " postgresql+psycopg://user:password@host/database"
                raise ConfigurationError(message) from None
            self.dialect = _dialect_of(self._url, is_async=kind.is_async)
            self.has_async_driver = (
                kind.is_async or kind.get_async_dialect_cls(self._url).is_async
            )
            self.has_blocking_driver = not kind.is_async
            self.shown = self._url.render_as_string(hide_password=True)
        elif isinstance(url_or_engine, (Engine, AsyncEngine)):
            self.has_async_driver = isinstance(url_or_engine, AsyncEngine)
            self.has_blocking_driver = not self.has_async_driver
            autocommit = url_or_engine.execution_options(isolation_level="AUTOCOMMIT")
            self._given = (
                LoopConnections(autocommit, timeout)  # type: ignore[arg-type]
                if self.has_async_driver
                else ProcessConnections(autocommit, timeout)  # type: ignore[arg-type]
            )
            self.dialect = url_or_engine.dialect
            self.shown = url_or_engine.url.render_as_string(hide_password=True)
        else:
            message = (
                "store is an SQLStore made from neither a URL nor an Engine or"
                f" AsyncEngine of SQLAlchemy, but from {type(url_or_engine).__name__}"
            )
            raise ConfigurationError(message)
        if self.dialect.name not in _KINDS:
            message = (
                f"store is in {self.dialect.name}; SQLStore supports PostgreSQL, MySQL,"
                " MariaDB and SQLite"
            )
            raise ConfigurationError(message)
        register_after_fork(self)

    def after_fork(self) -> None:
        """Drop all connections: a forked worker must not use its parent's."""
        self._making = threading.Lock()
        connections, self._by_process = self._by_process, None
        for each in (connections, self._given):
            if isinstance(each, ProcessConnections):
                each.engine.dispose(close=False)
            elif isinstance(each, LoopConnections):
                each.engine.sync_engine.dispose(close=False)
        self._by_loop = {}

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
                    self._by_process = PooledConnections(self._engine(), self._timeout)
        return self._by_process

    def _engine(self) -> Engine:
        from sqlalchemy import create_engine

        return create_engine(self._url, **_options(self.dialect, self._timeout))

    def loop_connections(self) -> LoopConnections:
        """Return the running event loop's connections."""
        from asyncio import get_running_loop

        from sqlalchemy.ext.asyncio import create_async_engine

        if isinstance(self._given, LoopConnections):
            return self._given
        loop = get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            # A copy, made in one step: other threads with event loops also call this,
            # and without the interpreter's lock tuple() takes several.
            for old in [old for old in self._by_loop.copy() if old.is_closed()]:
                self._by_loop.pop(old, None)
            options = _options(self.dialect, self._timeout, in_loop=True)
            engine = create_async_engine(self._url, **options)
            connections = self._by_loop[loop] = LoopConnections(engine, self._timeout)
        return connections

    def close(self) -> None:
        connections, self._by_process = self._by_process, None
        if connections is not None:
            connections.engine.dispose()

    async def aclose(self) -> None:
        from asyncio import get_running_loop

        try:
            loop = get_running_loop()
        except RuntimeError:  # under Trio, where the blocking connections serve
            loop = None
        connections = self._by_loop.pop(loop, None)
        if connections is not None:
            await connections.engine.dispose()
        self.close()


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


def _options(dialect: Any, timeout: float, *, in_loop: bool = False) -> dict[str, Any]:
    """Return an engine's options: one round trip for each statement."""
    options: dict[str, Any] = {
        "isolation_level": "AUTOCOMMIT",
        "pool_reset_on_return": None,
        "skip_autocommit_rollback": True,
        "connect_args": _timeout_arguments(dialect, timeout, in_loop=in_loop),
    }
    if dialect.name != "sqlite":
        options |= {"pool_size": _POOL, "max_overflow": 0, "pool_timeout": timeout}
    return options


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
        return {"timeout": timeout, "command_timeout": timeout}
    if driver in ("psycopg", "psycopg2"):
        # libpq takes no less than two seconds for a connection.
        given: dict[str, Any] = {"connect_timeout": max(2, whole)}
        if not in_loop:
            given["options"] = f"-c statement_timeout={milliseconds}"
            given["tcp_user_timeout"] = milliseconds
        return given
    if driver == "pymysql":
        return dict.fromkeys(
            ("connect_timeout", "read_timeout", "write_timeout"), whole
        )
    return {"connect_timeout": whole} if name in ("mysql", "mariadb") else {}

"""A store in a table of PostgreSQL, MySQL, MariaDB or SQLite, through SQLAlchemy 2.

A read is a single SELECT. A swap is one statement, which the database runs
as a transaction of its own (AUTOCOMMIT), so isolation levels do not affect it; the
number of rows it matched reports whether the swap took place. The exception is the
creation of a row on MySQL, which takes a second statement if the row exists.

Databases differ in how they store values, so the table fixes it: keys are compared byte
for byte (no case, no trailing blanks, whatever the database's collation), values have
room enough, and times are whole milliseconds. They are read from the database's clock,
which hosts with different clocks share.

A connection that turns out dead, or leads to a server that has become read-only after
a failover, costs one retry on a new one. A swap whose answer was lost may have taken
place: each row carries a random mark of the call that wrote it, by which the retry
recognizes the write of the first try.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

from tiktok_oauth_middleware._core import jitter
from tiktok_oauth_middleware._core.backends.base import run
from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.log import logger as log
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .base import (
    AsyncSwapLock,
    SwapLock,
    Waits,
    refuse_empty_swap,
)
from .registry import missing_library

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table
    from sqlalchemy.ext.asyncio import AsyncEngine

_MARK = 8
_KEY_LENGTH = 255
#: Swaps of a store between two sweeps; each sweep drops this many rows at most.
_SWEEP_EVERY = 32
_SWEPT = 100
#: Deadlocks and serialization failures in a row before a call gives up.
_TRIES = 5
#: Connections of one process or event loop.
_POOL = 20
#: Error codes after which the same statement may succeed if it is sent again:
#: deadlocks and serialization failures.
_AGAIN = frozenset({"40001", "40P01", 1213, 1020})
#: Error codes of a server that is no longer the primary.
_READ_ONLY = frozenset({"25006", 1290, 1792, 1836})
_NO_TABLE = frozenset({"42P01", 1146})
#: Appended to a prefix, sorts after all keys with that prefix, byte for byte in UTF-8.
_LAST = "\U0010ffff"
_KINDS = ("postgresql", "mysql", "mariadb", "sqlite")


class _Lost(Exception):
    """The connection was lost, or leads to a server that no longer takes writes."""


class _Again(Exception):
    """The statement failed and should be retried."""


class _Statement(NamedTuple):
    """A statement in the driver's form."""

    text: str
    #: Names of its parameters in their order; None where the driver takes names.
    order: Sequence[str] | None
    #: Parameters that are always the same.
    fixed: Mapping[str, object]

    def values(self, given: Mapping[str, object]) -> Any:
        """Return the parameters in the driver's form."""
        given = {**self.fixed, **given}
        return given if self.order is None else tuple(given[n] for n in self.order)


class SQLStore:
    """Rows of one table, which `create_table` makes.

    Args:
        url_or_engine: A URL of SQLAlchemy, such as ``postgresql+psycopg://host/name``,
            or an `Engine` or `AsyncEngine` of the app's own, which stays the app's to
            close and keeps its own timeouts. A URL whose driver works in both worlds
            (psycopg 3) serves both; with a driver for asyncio alone (asyncpg,
            asyncmy) the store works under ASGI on asyncio.
        table: The table's name.
        schema: The table's schema; None is the database's default.
        timeout: Seconds for a connection, and for an answer.
        clock: Seconds since 1970; None is the database's own clock.

    Raises:
        ConfigurationError: SQLAlchemy or the driver is not installed, or it is no
            such URL or engine.
    """

    waits: ClassVar[Waits] = "always"
    renews: ClassVar[bool] = True

    def __init__(
        self,
        url_or_engine: str | Engine | AsyncEngine,
        *,
        table: str = "tiktok_oauth",
        schema: str | None = None,
        timeout: float = 2.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._timeout = timeout
        self._source = _Source(url_or_engine, timeout)
        #: Whether the methods for asyncio work.
        self.has_async_methods = self._source.has_async_driver
        #: Whether the plain methods work beside them.
        self.has_blocking_methods = (
            self._source.has_blocking_driver and self.has_async_methods
        )
        dialect = self._source.dialect
        if dialect.name == "sqlite":
            clock = clock or time.time  # a file's processes share the host's clock
        self._clock = clock
        self.table = _table(table, schema)
        self._statements = _statements(self.table, dialect, by_server=clock is None)
        self._creates_at_once = dialect.name in ("postgresql", "sqlite")
        self._has_byte_keys = dialect.name in ("mysql", "mariadb")
        self._swaps = 0

    def __repr__(self) -> str:
        return f"SQLStore({self._source.shown!r}, table={self.table.fullname!r})"

    # --- blocking ------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        return run(self._get(self._source.connections(), key))

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; return whether `old` was there."""
        return run(self._swap(self._source.connections(), key, old, new, ttl))

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside, if it is free; does not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return run(self._keys(self._source.connections(), prefix))

    def create_table(self) -> None:
        """Create the table where it is not there yet.

        Raises:
            StoreError: The database failed, or refused.
        """
        run(self._source.connections().create(self.table))

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones."""
        self._source.close()

    # --- in an event loop of asyncio -------------------------------------------------

    async def aget(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        return await self._get(self._source.loop_connections(), key)

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; return whether `old` was there."""
        return await self._swap(self._source.loop_connections(), key, old, new, ttl)

    def alock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside, if it is free; does not wait."""
        return AsyncSwapLock(self, key, ttl)

    async def akeys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return await self._keys(self._source.loop_connections(), prefix)

    async def acreate_table(self) -> None:
        """Create the table where it is not there yet."""
        await self._source.loop_connections().create(self.table)

    async def aclose(self) -> None:
        """Close the connections of this event loop, and this process's others."""
        await self._source.aclose()

    # --- both ------------------------------------------------------------------------

    def _key_parameter(self, key: str) -> str | bytes:
        return key.encode() if self._has_byte_keys else key

    def _values(self, **given: object) -> dict[str, object]:
        if self._clock is not None:
            given["now"] = int(self._clock() * 1000)
        return given

    async def _get(self, connections: _Connections, key: str) -> bytes | None:
        values = self._values(key=self._key_parameter(key))
        rows, _ = await _execute_with_retries(
            connections, self._statements["get"], values, "read"
        )
        return bytes(rows[0][0]) if rows else None

    async def _keys(self, connections: _Connections, prefix: str) -> list[str]:
        # A range, not a pattern, so that no character of the prefix is special.
        values = self._values(
            key=self._key_parameter(prefix), end=self._key_parameter(prefix + _LAST)
        )
        rows, _ = await _execute_with_retries(
            connections, self._statements["keys"], values, "read"
        )
        return [k.decode() if isinstance(k, bytes) else k for (k,) in rows]

    async def _swap(
        self,
        connections: _Connections,
        key: str,
        old: bytes | None,
        new: bytes | None,
        ttl: float,
    ) -> bool:
        refuse_empty_swap(old, new)
        values = self._values(key=self._key_parameter(key))
        if new is None:
            values["old"] = old
            return await self._write(connections, "delete", values)
        life = max(0, round(ttl * 1000))
        mark = os.urandom(_MARK)
        values |= {"value": new, "life": life, "mark": mark}
        if old is not None:
            values["old"] = old
            return await self._write(connections, "replace", values)
        if self._creates_at_once:
            return await self._write(connections, "create", values)
        while True:
            if await self._write(connections, "insert", values):
                return True
            if await self._write(connections, "revive", values):
                return True
            # The row exists, or was deleted between the two statements.
            if await self._get(connections, key) is not None:
                return False

    async def _write(
        self, connections: _Connections, name: str, values: dict[str, object]
    ) -> bool:
        statement = self._statements[name]
        written_values = values
        if "mark" in values:
            written_values = {k: v for k, v in values.items() if k in ("key", "mark")}
            written = self._statements["written"]
        else:
            written = None
        rows, count = await _execute_with_retries(
            connections, statement, values, "write", written, written_values
        )
        del rows
        await self._sweep(connections)
        return count == 1

    async def _sweep(self, connections: _Connections) -> None:
        self._swaps += 1
        if self._swaps % _SWEEP_EVERY:
            return
        # The swap has succeeded; an error of the sweep must not fail it.
        try:
            await connections.execute(self._statements["sweep"], self._values())
        except (StoreError, _Lost, _Again):
            log.debug("expired rows were not swept")


async def _execute_with_retries(
    connections: _Connections,
    statement: _Statement,
    values: dict[str, object],
    what: str,
    written: _Statement | None = None,
    written_values: dict[str, object] | None = None,
) -> tuple[Sequence[Any], int]:
    """Run a statement, with retries after lost connections and deadlocks.

    Args:
        connections: The connections.
        statement: What to run.
        values: Its parameters.
        what: "read" or "write", for the error.
        written: Finds the row if an earlier try of this call wrote it.
        written_values: The parameters of `written`.
    """
    is_new = False
    began = time.monotonic()
    for tried in range(_TRIES):
        try:
            rows, count = await connections.execute(statement, values)
        except _Lost as lost:
            # Some drivers report a timeout as a lost connection. The statement may
            # still wait in the server, and a second would wait behind it.
            if is_new or time.monotonic() - began > connections.timeout / 2:
                _raise_store_error(what, lost)
            is_new = True
        except _Again:
            await connections.sleep(jitter.between(0, 0.02 * 2**tried))
        else:
            if is_new and count == 0 and written is not None:
                try:
                    rows, _ = await connections.execute(written, written_values or {})
                except (_Lost, _Again) as error:
                    _raise_store_error(what, error)
                count = len(rows)
            return rows, count
    message = f"the database could not {what}: it asked for it again and again"
    raise StoreError(message)


# --- connections ---------------------------------------------------------------------


class _Blocking:
    """Connections of this process."""

    def __init__(self, engine: Engine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout

    async def execute(
        self, statement: _Statement, values: dict[str, object]
    ) -> tuple[Sequence[Any], int]:
        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

        try:
            with self.engine.connect() as connection:
                found = connection.exec_driver_sql(
                    statement.text, statement.values(values)
                )
                return (found.fetchall() if found.returns_rows else ()), found.rowcount
        except IntegrityError:
            return (), 0
        except SQLAlchemyError as error:
            if _is_read_only(error):
                self.engine.dispose()
            _raise_by_code(error)

    async def create(self, table: Table) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            table.create(self.engine, checkfirst=True)
        except SQLAlchemyError as error:
            _raise_store_error("create the table", error)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - finished by `run`


class _InLoop:
    """Connections of one event loop of asyncio."""

    def __init__(self, engine: AsyncEngine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout

    async def execute(
        self, statement: _Statement, values: dict[str, object]
    ) -> tuple[Sequence[Any], int]:
        import asyncio

        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

        try:
            async with (
                asyncio.timeout(self.timeout),
                self.engine.connect() as connection,
            ):
                found = await connection.exec_driver_sql(
                    statement.text, statement.values(values)
                )
                return (found.fetchall() if found.returns_rows else ()), found.rowcount
        except IntegrityError:
            return (), 0
        except TimeoutError as error:
            _raise_store_error("answer in time", error)
        except SQLAlchemyError as error:
            if _is_read_only(error):
                await self.engine.dispose()
            _raise_by_code(error)
        except OSError as error:  # asyncpg's, while it connects
            _raise_store_error("be reached", error)

    async def create(self, table: Table) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            async with self.engine.begin() as connection:
                await connection.run_sync(table.create, checkfirst=True)
        except (SQLAlchemyError, OSError) as error:
            _raise_store_error("create the table", error)

    async def sleep(self, seconds: float) -> None:
        from asyncio import sleep

        await sleep(seconds)


_Connections = _Blocking | _InLoop


class _Source:
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
        self._by_process: _Blocking | None = None
        self._by_loop: dict[Any, _InLoop] = {}
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
                _InLoop(autocommit, timeout)  # type: ignore[arg-type]
                if self.has_async_driver
                else _Blocking(autocommit, timeout)  # type: ignore[arg-type]
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
                f"store is in {self.dialect.name}; SQLStore knows PostgreSQL, MySQL,"
                " MariaDB and SQLite"
            )
            raise ConfigurationError(message)
        register_after_fork(self)

    def after_fork(self) -> None:
        """Drop all connections: a forked worker must not use its parent's."""
        self._making = threading.Lock()
        connections, self._by_process = self._by_process, None
        for each in (connections, self._given):
            if isinstance(each, _Blocking):
                each.engine.dispose(close=False)
            elif isinstance(each, _InLoop):
                each.engine.sync_engine.dispose(close=False)
        self._by_loop = {}

    def connections(self) -> _Blocking:
        """Return this process's connections."""
        if isinstance(self._given, _Blocking):
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
                    self._by_process = _Blocking(self._engine(), self._timeout)
        return self._by_process

    def _engine(self) -> Engine:
        from sqlalchemy import create_engine

        return create_engine(self._url, **_options(self.dialect, self._timeout))

    def loop_connections(self) -> _InLoop:
        """Return the running event loop's connections."""
        from asyncio import get_running_loop

        from sqlalchemy.ext.asyncio import create_async_engine

        if isinstance(self._given, _InLoop):
            return self._given
        loop = get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            # Iterate over a copy: other threads with event loops also call this.
            for old in [old for old in tuple(self._by_loop) if old.is_closed()]:
                self._by_loop.pop(old, None)
            options = _options(self.dialect, self._timeout, in_loop=True)
            engine = create_async_engine(self._url, **options)
            connections = self._by_loop[loop] = _InLoop(engine, self._timeout)
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


# --- the table and its statements ----------------------------------------------------


def _table(name: str, schema: str | None) -> Table:
    from sqlalchemy import (
        BigInteger,
        Column,
        LargeBinary,
        MetaData,
        String,
        Table,
    )
    from sqlalchemy.dialects import mysql

    of_mysql = ("mysql", "mariadb")
    key = String(_KEY_LENGTH).with_variant(
        String(_KEY_LENGTH, collation="C"), "postgresql"
    )
    # VARBINARY has no collation: case and trailing blanks count.
    key = key.with_variant(mysql.VARBINARY(_KEY_LENGTH), *of_mysql)
    # BLOB ends at 65,535 bytes.
    value = LargeBinary().with_variant(mysql.MEDIUMBLOB(), *of_mysql)
    mark = LargeBinary(_MARK).with_variant(mysql.VARBINARY(_MARK), *of_mysql)
    return Table(
        name,
        MetaData(schema=schema),
        Column("key", key, primary_key=True),
        Column("value", value, nullable=False),
        # Milliseconds since 1970: a FLOAT of MariaDB holds such a number to 128 s.
        Column("expires", BigInteger, nullable=False, index=True),
        Column("mark", mark, nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )


def _statements(
    table: Table, dialect: Any, *, by_server: bool
) -> dict[str, _Statement]:
    """Return the store's statements, as the dialect's driver takes them."""
    import sqlalchemy as sa

    key, value, expires, mark = table.c
    now: Any = (
        _server_time(dialect.name)
        if by_server
        else sa.bindparam("now", type_=sa.BigInteger)
    )
    this = key == sa.bindparam("key", type_=key.type)
    old = value == sa.bindparam("old", type_=value.type)
    fresh = {
        "value": sa.bindparam("value", type_=value.type),
        "expires": now + sa.bindparam("life", type_=sa.BigInteger),
        "mark": sa.bindparam("mark", type_=mark.type),
    }
    is_named = {"key": sa.bindparam("key", type_=key.type)}
    alive, gone = expires > now, expires <= now
    found = {
        "get": sa.select(value).where(this, alive),
        "keys": sa.select(key)
        .where(
            key >= sa.bindparam("key", type_=key.type),
            key < sa.bindparam("end", type_=key.type),
            alive,
        )
        .order_by(key),
        "written": sa.select(sa.literal_column("1")).where(
            this, mark == sa.bindparam("mark", type_=mark.type)
        ),
        "replace": sa.update(table).where(this, old, alive).values(fresh),
        "delete": sa.delete(table).where(this, old, alive),
        "insert": sa.insert(table).values({**is_named, **fresh}),
        "revive": sa.update(table).where(this, gone).values(fresh),
    }
    if dialect.name in ("postgresql", "sqlite"):
        if dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql as upserts
        else:
            from sqlalchemy.dialects import sqlite as upserts  # type: ignore[no-redef]
        insert = upserts.insert(table).values({**is_named, **fresh})
        new = {c: insert.excluded[c] for c in fresh}
        found["create"] = insert.on_conflict_do_update(
            index_elements=[key], set_=new, where=gone
        )
        some = sa.select(key).where(gone).limit(_SWEPT)
        if dialect.name == "postgresql":
            some = some.with_for_update(skip_locked=True)
        found["sweep"] = sa.delete(table).where(key.in_(some))
    else:
        found["sweep"] = (
            sa.delete(table)
            .where(gone)
            .with_dialect_options(mysql_limit=_SWEPT, mariadb_limit=_SWEPT)
        )
    return {name: _compiled(each, dialect) for name, each in found.items()}


def _server_time(name: str) -> Any:
    """Return the database's own time, in milliseconds since 1970."""
    import sqlalchemy as sa

    if name == "postgresql":
        text = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
    else:  # UTC: local time repeats an hour when daylight saving ends
        text = "(timestampdiff(microsecond, '1970-01-01', utc_timestamp(3)) div 1000)"
    return sa.literal_column(text, sa.BigInteger)


def _compiled(statement: Any, dialect: Any) -> _Statement:
    made = statement.compile(dialect=dialect)
    fixed = {name: value for name, value in made.params.items() if value is not None}
    return _Statement(made.string, made.positiontup, fixed)


# --- errors --------------------------------------------------------------------------


def _codes(error: BaseException) -> list[object]:
    """Return an error's codes: an SQLSTATE, MySQL's number, or both."""
    cause = getattr(error, "orig", None) or error
    found = [getattr(cause, name, None) for name in ("sqlstate", "pgcode")]
    found += [arg for arg in cause.args[:1] if isinstance(arg, int)]
    return [code for code in found if code]


def _is_read_only(error: Exception) -> bool:
    return not _READ_ONLY.isdisjoint(_codes(error))


def _raise_by_code(error: Exception) -> NoReturn:
    """Raise `_Lost`, `_Again` or `StoreError`, by the error's code."""
    if getattr(error, "connection_invalidated", False) or _is_read_only(error):
        raise _Lost(_driver_error_name(error)) from error
    if not _AGAIN.isdisjoint(_codes(error)):
        raise _Again(_driver_error_name(error)) from error
    _raise_store_error("do what it was asked", error)


def _driver_error_name(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join([type(cause).__name__, *map(str, _codes(error)[:1])])


def _raise_store_error(what: str, error: BaseException) -> NoReturn:
    is_ours = isinstance(error, (_Lost, _Again))
    cause = error.__cause__ or error if is_ours else error
    shown = _driver_error_name(cause)
    # SQLite has no code for a missing table.
    text = str(getattr(cause, "orig", ""))
    if not _NO_TABLE.isdisjoint(_codes(cause)) or "no such table" in text:
        shown += "; there is no such table: create it with SQLStore.create_table"
    # Names and numbers only: a driver's text may quote the address and the rows.
    message = f"the database could not {what}: {shown}"
    raise StoreError(message) from cause

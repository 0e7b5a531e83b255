"""A store in a table of PostgreSQL, MySQL, MariaDB or SQLite, through SQLAlchemy 2."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from tiktok_oauth_middleware._core.backends.one_step import run

from .base import Waits
from .paging import pages_by_key, rows_by_key
from .sql_connections import ConnectionSource
from .sql_statements import batch_statements_for, make_table, statements_for
from .swap_locks import AsyncSwapLock, SwapLock
from .table import Rows

if TYPE_CHECKING:
    from sqlalchemy import Engine, MetaData, Table
    from sqlalchemy.ext.asyncio import AsyncEngine


class SQLStore:
    """Rows of one table, which `create_table` makes.

    Args:
        url_or_engine: A URL of SQLAlchemy, such as ``postgresql+psycopg://host/name``,
            or the app's own `Engine` or `AsyncEngine`, which keeps its own timeouts and
            which the app closes. With a driver for blocking and async calls (psycopg 3)
            the store works under WSGI and ASGI; with a driver only for asyncio
            (asyncpg, asyncmy) it works under ASGI on asyncio.
        table: The table's name.
        schema: The table's schema; None is the database's default.
        timeout: Seconds for a connection, and for an answer.
        clock: Seconds since 1970; None is the database's own clock.

    Raises:
        ConfigurationError: SQLAlchemy or the driver is not installed, or the first
            argument is neither such a URL nor an engine.
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
        self._source = ConnectionSource(url_or_engine, timeout)
        #: Whether the methods for asyncio work.
        self.has_async_methods = self._source.has_async_driver
        #: Whether the driver has methods for asyncio only.
        self.needs_event_loop = not self._source.has_blocking_driver
        #: Whether the plain methods work beside them.
        self.has_blocking_methods = (
            self._source.has_blocking_driver and self.has_async_methods
        )
        dialect = self._source.dialect
        #: OpenTelemetry's name of the database, for traces.
        self.db_system: str = dialect.name
        if dialect.name == "sqlite":
            clock = clock or time.time  # a file's processes share the host's clock
        self.table = make_table(table, schema)
        self._rows = Rows(
            statements_for(self.table, dialect, by_server=clock is None),
            partial(batch_statements_for, self.table, dialect, by_server=clock is None),
            clock=clock,
            has_byte_keys=dialect.name in ("mysql", "mariadb"),
            create_table=(
                "create it with python -m tiktok_oauth_middleware store create, or with"
                " SQLStore.create_table"
            ),
        )

    def __repr__(self) -> str:
        return f"SQLStore({self._source.shown!r}, table={self.table.fullname!r})"

    @staticmethod
    def add_table(
        metadata: MetaData, *, table: str = "tiktok_oauth", schema: str | None = None
    ) -> Table:
        """Add the store's table to an app's own metadata, for migrations by Alembic.

        Args:
            metadata: The metadata with which Alembic compares the database.
            table: The table's name.
            schema: The table's schema; None is the metadata's, or the database's
                default.

        Returns:
            The table; no database is connected to.
        """
        return make_table(table, schema, metadata)

    # --- blocking ------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        return run(self._rows.get(self._source.connections(), key))

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        return run(self._rows.swap(self._source.connections(), key, old, new, ttl))

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        return run(self._rows.get_many(self._source.connections(), keys))

    def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        return run(self._rows.create_many(self._source.connections(), rows))

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return run(self._rows.keys(self._source.connections(), prefix))

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """Yield the keys that continue `prefix`, a thousand at a time."""
        connections = self._source.connections()
        return pages_by_key(
            lambda key: run(self._rows.page(connections, prefix, key)), prefix
        )

    def rows(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys continue `prefix`, several at a time."""
        connections = self._source.connections()
        return rows_by_key(
            lambda key: run(self._rows.rows(connections, prefix, key)), prefix
        )

    def create_table(self) -> bool:
        """Create the table if it is missing.

        Returns:
            Whether it was created.

        Raises:
            StoreError: The database failed, or refused.
        """
        return run(self._source.connections().create(self.table))

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones."""
        self._source.close()

    # --- in an event loop of asyncio -------------------------------------------------

    async def aget(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        return await self._rows.get(self._source.loop_connections(), key)

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        return await self._rows.swap(
            self._source.loop_connections(), key, old, new, ttl
        )

    async def aget_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        return await self._rows.get_many(self._source.loop_connections(), keys)

    async def acreate_many(
        self, rows: Sequence[tuple[str, bytes, float]]
    ) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        return await self._rows.create_many(self._source.loop_connections(), rows)

    def alock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return AsyncSwapLock(self, key, ttl)

    async def akeys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return await self._rows.keys(self._source.loop_connections(), prefix)

    async def apages(self, prefix: str) -> AsyncIterator[list[str]]:
        """Yield the keys that continue `prefix`, a thousand at a time."""
        connections, page = self._source.loop_connections(), [prefix]
        while page := await self._rows.page(connections, prefix, page[-1]):
            yield page

    async def arows(self, prefix: str) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys continue `prefix`, several at a time."""
        connections, after = self._source.loop_connections(), prefix
        while page := await self._rows.rows(connections, prefix, after):
            yield page
            after = page[-1][0]

    async def acreate_table(self) -> bool:
        """Create the table, as `create_table` does, from an event loop."""
        return await self._source.loop_connections().create(self.table)

    async def aclose(self) -> None:
        """Close the connections of this event loop, and this process's others."""
        await self._source.aclose()

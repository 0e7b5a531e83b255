"""A store in a table of a Django project's own database, through its connections.

Under ASGI the calls are made in the thread that Django keeps for its database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import ClassVar

from tiktok_oauth_middleware._core.backends.one_step import run

from .base import Waits
from .django_connections import DjangoConnections
from .django_statements import batch_statements_for, statements_for
from .paging import pages_by_key, rows_by_key
from .registry import missing_library
from .swap_locks import SwapLock
from .table import Rows

try:
    from asgiref.sync import sync_to_async
except ModuleNotFoundError as missing:
    raise missing_library("django://") from missing


class DjangoStore:
    """Rows of a table that ``manage.py migrate`` creates.

    Args:
        alias: Which of the project's ``DATABASES``.
        table: The table's name.
        clock: Seconds since 1970; None is the database's own clock.

    Raises:
        ConfigurationError: Django is not installed or has no settings yet, or there
            is no such database, or the store does not support it.
    """

    waits: ClassVar[Waits] = "always"
    renews: ClassVar[bool] = True

    def __init__(
        self,
        alias: str = "default",
        *,
        table: str = "tiktok_oauth_store",
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._connections = DjangoConnections(alias)
        vendor = self._connections.vendor
        #: OpenTelemetry's name of the database, for traces.
        self.db_system: str = vendor
        if vendor == "sqlite":
            clock = clock or time.time  # a file's processes share the host's clock
        self.alias = alias
        self.table = table
        self._rows = Rows(
            statements_for(
                self._connections.quote_name(table), vendor, by_server=clock is None
            ),
            partial(
                batch_statements_for,
                self._connections.quote_name(table),
                vendor,
                by_server=clock is None,
            ),
            clock=clock,
            has_byte_keys=vendor == "mysql",
            create_table="run manage.py migrate",
        )

    def __repr__(self) -> str:
        return f"DjangoStore({self.alias!r}, table={self.table!r})"

    # --- blocking --------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        return run(self._rows.get(self._connections, key))

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        return run(self._rows.swap(self._connections, key, old, new, ttl))

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        return run(self._rows.get_many(self._connections, keys))

    def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        return run(self._rows.create_many(self._connections, rows))

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return _DjangoLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return run(self._rows.keys(self._connections, prefix))

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """Yield the keys that continue `prefix`, a thousand at a time."""
        return pages_by_key(
            lambda key: run(self._rows.page(self._connections, prefix, key)), prefix
        )

    def rows(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys continue `prefix`, several at a time."""
        return rows_by_key(
            lambda key: run(self._rows.rows(self._connections, prefix, key)), prefix
        )

    def close(self) -> None:
        """Close the store's own connection of this thread; Django closes the others."""
        self._connections.close()

    @property
    def is_bound_to_thread(self) -> bool:
        """Whether other threads do not see this thread's rows."""
        return self._connections.is_bound_to_thread()

    def close_thread(self) -> None:
        """Close both connections of this thread, which Django does not manage."""
        self._connections.close_thread()

    # --- in an event loop of asyncio -------------------------------------------------

    async def aget(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        return await sync_to_async(self.get)(key)

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        return await sync_to_async(self.compare_and_set)(key, old, new, ttl)

    async def aget_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        return await sync_to_async(self.get_many)(keys)

    async def acreate_many(
        self, rows: Sequence[tuple[str, bytes, float]]
    ) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        return await sync_to_async(self.create_many)(rows)

    def alock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return _AsyncLock(self, key, ttl)

    async def akeys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return await sync_to_async(self.keys)(prefix)

    async def apages(self, prefix: str) -> AsyncIterator[list[str]]:
        """Yield the keys that continue `prefix`, a thousand at a time."""
        found = self.pages(prefix)
        while page := await sync_to_async(lambda: next(found, None))():
            yield page

    async def arows(self, prefix: str) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys continue `prefix`, several at a time."""
        found = self.rows(prefix)
        while page := await sync_to_async(lambda: next(found, None))():
            yield page

    async def aclose(self) -> None:
        """Close the store's own connection of Django's thread."""
        await sync_to_async(self.close)()


class _DjangoLock(SwapLock):
    """A lock that another thread may renew."""

    def __init__(self, store: DjangoStore, key: str, ttl: float) -> None:
        super().__init__(store, key, ttl)
        self._connections = store._connections
        self._thread = threading.get_ident()
        self._is_in_test = False

    def __enter__(self) -> bool:
        self._thread = threading.get_ident()
        self._is_in_test = self._connections.is_in_transaction()
        return super().__enter__()

    def renew(self, ttl: float) -> bool:
        """Hold the lock for `ttl` seconds from now; False if it was lost already."""
        if threading.get_ident() == self._thread:
            return super().renew(ttl)
        if self._is_in_test:
            # No other connection can see the row, and no other process competes for it.
            return True
        try:
            return super().renew(ttl)
        finally:
            self._connections.close_thread()


class _AsyncLock:
    """`_DjangoLock`, entered and left in Django's thread."""

    def __init__(self, store: DjangoStore, key: str, ttl: float) -> None:
        self._lock = _DjangoLock(store, key, ttl)

    async def __aenter__(self) -> bool:
        return await sync_to_async(self._lock.__enter__)()

    async def renew(self, ttl: float) -> bool:
        """Hold the lock for `ttl` seconds from now; False if it was lost already."""
        return await sync_to_async(self._lock.renew)(ttl)

    @property
    def renew_blocking(self) -> Callable[[float], bool]:
        """Renews the lock from a thread, even while the event loop is busy."""
        return self._lock.renew

    async def __aexit__(self, *_: object) -> None:
        from anyio import CancelScope

        # A cancelled task must release the lock too; otherwise it stays for the lease.
        with CancelScope(shield=True):
            await sync_to_async(self._lock.__exit__)(None, None, None)

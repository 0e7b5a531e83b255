"""A store in a table of a Django project's own database, through its connections.

Where it reads and writes is decided by the transaction that the calling thread is in:

- Outside of a transaction, on the project's connection, where each statement is one of
  its own. That is where the middleware stands, also with ``ATOMIC_REQUESTS``, which
  wraps the view and nothing around it.
- Inside of one (``atomic``, ``ATOMIC_REQUESTS``), on a connection of the store's own.
  TikTok has rotated a refresh token by then, and that stays so when the view's
  transaction is rolled back: a token written in it would be lost, and the user with it.
  It reads there as well, for a transaction of REPEATABLE READ sees old rows. SQLite has
  one writer at a time: where the view has written before, or has read without WAL, the
  store can only read, and a refresh is refused before TikTok is asked.
- Inside of the transaction that Django's `TestCase` wraps around a test, on the
  project's connection, so that a test sees its rows and leaves none.

A swap is one statement, and the number of rows that it matched reports whether it took
place, but for the creation of a row on MySQL, which may take two. Each row carries a
mark of the call that wrote it: where an answer got lost with its connection, the second
try recognizes the first. Times are whole milliseconds of the database's own clock;
SQLite has none, and takes this machine's.

Under ASGI the calls are made in the thread that Django keeps for its database.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cache
from typing import Any, ClassVar

from tiktok_oauth_middleware._core import jitter
from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.log import logger as log
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .base import SwapLock, Waits, refuse_empty_swap
from .registry import missing_library

try:
    from asgiref.sync import sync_to_async
    from django.core.exceptions import ImproperlyConfigured
    from django.core.signals import request_finished
    from django.db import (
        Error,
        IntegrityError,
        InterfaceError,
        OperationalError,
        connections,
        transaction,
    )
    from django.utils.connection import ConnectionDoesNotExist
except ModuleNotFoundError as missing:
    raise missing_library("django") from missing

_MARK = 8
_SWEEP_EVERY = 32
_SWEPT = 100
_TRIES = 5
#: Deadlocks and serialization failures: the same statement, sent again, may succeed.
_AGAIN = frozenset({"40001", "40P01", 1213, 1020})
_NO_TABLE = frozenset({"42P01", 1146})
_LAST = "\U0010ffff"
_VENDORS = ("postgresql", "mysql", "sqlite")
#: How long the store's own connection waits for SQLite's one writer, in seconds: the
#: one that it waits for is the view that called it.
_SQLITE_SECONDS = 1.0
#: A statement that failed sooner than this may have met a connection that was closed
#: meanwhile; one that took longer waited for the server, and so would a second.
_LOST_SECONDS = 1.0


class DjangoStore:
    """Rows of a table that ``manage.py migrate`` makes.

    Args:
        alias: Which of the project's ``DATABASES``.
        table: The table's name.
        clock: Seconds since 1970; None is the database's own clock.

    Raises:
        ConfigurationError: Django is not installed or has no settings yet, or there
            is no such database, or it is none that the store knows.
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
        try:
            vendor: str = connections[alias].vendor
        except ConnectionDoesNotExist as unknown:
            known = ", ".join(connections)
            message = f"store is django://{alias}, and DATABASES has only {known}"
            raise ConfigurationError(message) from unknown
        except ImproperlyConfigured as error:
            message = (
                f"store is django://{alias}, and Django has no such settings here: use"
                " manage.py (manage.py tiktok check), or call django.setup() first"
            )
            raise ConfigurationError(message) from error
        if vendor not in _VENDORS:
            message = (
                f"store is django://{alias}, which is {vendor}; DjangoStore knows"
                " PostgreSQL, MySQL, MariaDB and SQLite"
            )
            raise ConfigurationError(message)
        self.alias = alias
        self.table = table
        self._vendor = vendor
        self._clock = clock if clock is not None or vendor != "sqlite" else time.time
        self._sql = _statements(
            connections[alias].ops.quote_name(table),
            vendor,
            "%(now)s" if self._clock is not None else _SERVER_TIME[vendor],
        )
        self._own = threading.local()
        self._swaps = 0
        register_after_fork(self)
        # Weakly: a store that is dropped needs no disconnecting.
        request_finished.connect(self._request_finished)

    def after_fork(self) -> None:
        """Leave the connections of the parent to it."""
        self._own = threading.local()

    def __repr__(self) -> str:
        return f"DjangoStore({self.alias!r}, table={self.table!r})"

    # --- blocking --------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        rows, _ = self._insist("get", {"key": self._text(key)}, "read")
        return bytes(rows[0][0]) if rows else None

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; return whether `old` was there."""
        refuse_empty_swap(old, new)
        values: dict[str, object] = {"key": self._text(key), "old": old}
        if new is None:
            return self._write("delete", values)
        life, mark = max(0, round(ttl * 1000)), os.urandom(_MARK)
        values |= {"value": new, "life": life, "mark": mark}
        if old is not None:
            return self._write("replace", values)
        if self._vendor != "mysql":
            return self._write("create", values)
        while True:
            if self._write("insert", values) or self._write("revive", values):
                return True
            # Taken, or gone again between the two statements.
            if self.get(key) is not None:
                return False

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside, if it is free; does not wait."""
        return _Lock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        # A range, not a pattern: nothing in a prefix means anything but itself.
        values = {"key": self._text(prefix), "end": self._text(prefix + _LAST)}
        rows, _ = self._insist("keys", values, "read")
        return [k.decode() if isinstance(k, bytes) else k for (k,) in rows]

    def close(self) -> None:
        """Close the store's own connection of this thread; Django closes its."""
        own = self._own.__dict__.pop("connection", None)
        if own is not None:
            own.close()

    def _request_finished(self, **_: object) -> None:
        self.close()

    # --- in an event loop of asyncio -------------------------------------------------

    async def aget(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        return await sync_to_async(self.get)(key)

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; return whether `old` was there."""
        return await sync_to_async(self.compare_and_set)(key, old, new, ttl)

    def alock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside, if it is free; does not wait."""
        return _AsyncLock(self, key, ttl)

    async def akeys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return await sync_to_async(self.keys)(prefix)

    async def aclose(self) -> None:
        """Close the store's own connection of Django's thread."""
        await sync_to_async(self.close)()

    # --- statements ------------------------------------------------------------------

    def _text(self, key: str) -> str | bytes:
        return key.encode() if self._vendor == "mysql" else key

    def _write(self, name: str, values: dict[str, object]) -> bool:
        _, count = self._insist(name, values, "write")
        self._sweep()
        return count == 1

    def _sweep(self) -> None:
        self._swaps += 1
        if self._swaps % _SWEEP_EVERY:
            return
        # The swap has taken place: what goes wrong here is not its failure.
        try:
            self._execute("sweep", {})
        except Error:
            log.debug("expired rows were not swept")

    def _insist(
        self, name: str, values: dict[str, Any], what: str
    ) -> tuple[Sequence[Any], int]:
        """Run a statement, on a new connection once, and again where it may succeed.

        Raises:
            StoreError: the database failed.
        """
        is_new = False
        began = time.monotonic()
        for tried in range(_TRIES):
            try:
                rows, count = self._execute(name, values)
            except IntegrityError:
                return (), 0
            except Error as error:
                if not _AGAIN.isdisjoint(_codes(error)) and not self._in_test():
                    time.sleep(jitter.between(0, 0.02 * 2**tried))
                elif (
                    is_new
                    or time.monotonic() - began > _LOST_SECONDS
                    or not self._renewed(error)
                ):
                    _fail(what, error)
                else:
                    is_new = True
            except ImproperlyConfigured as error:
                _fail(what, error)
            else:
                if is_new and count == 0 and "mark" in values:
                    try:
                        rows, _ = self._execute("written", values)
                    except Error as error:
                        _fail(what, error)
                    count = len(rows)
                return rows, count
        message = f"the database could not {what}: it asked for it again and again"
        raise StoreError(message)

    def _execute(
        self, name: str, values: dict[str, object]
    ) -> tuple[Sequence[Any], int]:
        sql, names = self._sql[name]
        if self._clock is not None:
            values = {**values, "now": int(self._clock() * 1000)}
        given = [values[each] for each in names]
        connection = self._connection()
        # Where a statement may fail inside of a test's transaction, in a savepoint.
        if connection.in_atomic_block and name not in ("get", "keys", "written"):
            savepoint: Any = transaction.atomic(using=self.alias)
            with savepoint, connection.cursor() as cursor:
                return _run(cursor, sql, given)
        with connection.cursor() as cursor:
            return _run(cursor, sql, given)

    # --- connections -----------------------------------------------------------------

    def _connection(self) -> Any:
        """Return the connection to use in the transaction that the thread is in."""
        connection: Any = connections[self.alias]
        if _is_free(connection) or _is_in_test(connection) or _is_memory(connection):
            self.close()
            return connection
        own = getattr(self._own, "connection", None)
        if own is None:
            own = connections.create_connection(self.alias)
            if own.vendor == "sqlite":
                options = own.settings_dict.get("OPTIONS", {})
                own.settings_dict = {
                    **own.settings_dict,
                    "OPTIONS": {**options, "timeout": _SQLITE_SECONDS},
                }
            self._own.connection = own
        return own

    def _in_test(self) -> bool:
        return bool(connections[self.alias].in_atomic_block)

    def _renewed(self, error: Exception) -> bool:
        """Drop a connection that may be lost; whether there is sense in another try."""
        connection = self._connection()
        is_lost = isinstance(error, OperationalError | InterfaceError)
        if not is_lost or connection.in_atomic_block or self._vendor == "sqlite":
            return False
        if connection.connection is None:  # it could not be made at all
            return False
        # PyMySQL raises where a connection is closed already; Django drops it then too.
        with contextlib.suppress(Error):
            connection.close()
        return True

    def close_thread(self) -> None:
        """Close what a thread that Django does not know has opened."""
        self.close()
        connections[self.alias].close()


def _is_free(connection: Any) -> bool:
    """Whether a statement is a transaction of its own."""
    if connection.in_atomic_block:
        return False
    return connection.connection is None or bool(connection.get_autocommit())


def _is_in_test(connection: Any) -> bool:
    """Whether all transactions that are open are inside of a `TestCase`'s."""
    blocks = connection.atomic_blocks
    return bool(blocks) and getattr(blocks[0], "_from_testcase", False)


def _is_memory(connection: Any) -> bool:
    """Whether a database lives in one connection."""
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


def _run(cursor: Any, sql: str, given: list[object]) -> tuple[Sequence[Any], int]:
    cursor.execute(sql, given)
    return (cursor.fetchall() if cursor.description else ()), cursor.rowcount


class _Lock(SwapLock):
    """A lock that another thread may renew."""

    def __init__(self, store: DjangoStore, key: str, ttl: float) -> None:
        super().__init__(store, key, ttl)
        self._django = store
        self._thread = threading.get_ident()
        self._is_in_test = False

    def __enter__(self) -> bool:
        self._thread = threading.get_ident()
        self._is_in_test = self._django._in_test()
        return super().__enter__()

    def renew(self, ttl: float) -> bool:
        """Hold the lock for `ttl` seconds from now; False if it was lost already."""
        if threading.get_ident() == self._thread:
            return super().renew(ttl)
        if self._is_in_test:
            return (
                True  # no other connection sees the row, and no other process competes
            )
        try:
            return super().renew(ttl)
        finally:
            self._django.close_thread()


class _AsyncLock:
    """`_Lock`, entered and left in Django's thread."""

    def __init__(self, store: DjangoStore, key: str, ttl: float) -> None:
        self._lock = _Lock(store, key, ttl)

    async def __aenter__(self) -> bool:
        return await sync_to_async(self._lock.__enter__)()

    async def renew(self, ttl: float) -> bool:
        """Hold the lock for `ttl` seconds from now; False if it was lost already."""
        return await sync_to_async(self._lock.renew)(ttl)

    @property
    def renew_blocking(self) -> Callable[[float], bool]:
        """What renews the lock from a thread, whatever the event loop is busy with."""
        return self._lock.renew

    async def __aexit__(self, *_: object) -> None:
        from anyio import CancelScope

        # Who is cancelled releases all the same, or the next would wait for the
        # lease to end.
        with CancelScope(shield=True):
            await sync_to_async(self._lock.__exit__)(None, None, None)


# --- SQL -----------------------------------------------------------------------------

_SERVER_TIME = {
    "postgresql": "((extract(epoch from clock_timestamp()) * 1000)::bigint)",
    # In UTC: local time has an hour twice a year that comes twice.
    "mysql": ("(timestampdiff(microsecond, '1970-01-01', utc_timestamp(3)) div 1000)"),
}
_TEXTS = {
    "get": "SELECT value FROM {t} WHERE {k} = %(key)s AND expires > {now}",
    "keys": (
        "SELECT {k} FROM {t} WHERE {k} >= %(key)s AND {k} < %(end)s"
        " AND expires > {now} ORDER BY {k}"
    ),
    "written": "SELECT 1 FROM {t} WHERE {k} = %(key)s AND mark = %(mark)s",
    "replace": (
        "UPDATE {t} SET value = %(value)s, expires = {now} + %(life)s, mark = %(mark)s"
        " WHERE {k} = %(key)s AND value = %(old)s AND expires > {now}"
    ),
    "delete": (
        "DELETE FROM {t} WHERE {k} = %(key)s AND value = %(old)s AND expires > {now}"
    ),
    "insert": (
        "INSERT INTO {t} ({k}, value, expires, mark)"
        " VALUES (%(key)s, %(value)s, {now} + %(life)s, %(mark)s)"
    ),
    "revive": (
        "UPDATE {t} SET value = %(value)s, expires = {now} + %(life)s, mark = %(mark)s"
        " WHERE {k} = %(key)s AND expires <= {now}"
    ),
    "create": (
        "INSERT INTO {t} ({k}, value, expires, mark)"
        " VALUES (%(key)s, %(value)s, {now} + %(life)s, %(mark)s)"
        " ON CONFLICT ({k}) DO UPDATE SET value = excluded.value,"
        " expires = excluded.expires, mark = excluded.mark"
        " WHERE {t}.expires <= {now}"
    ),
}
_SWEEPS = {
    "postgresql": (
        "DELETE FROM {t} WHERE {k} IN (SELECT {k} FROM {t} WHERE expires <= {now}"
        " LIMIT {most} FOR UPDATE SKIP LOCKED)"
    ),
    "mysql": "DELETE FROM {t} WHERE expires <= {now} LIMIT {most}",
    "sqlite": (
        "DELETE FROM {t} WHERE {k} IN (SELECT {k} FROM {t} WHERE expires <= {now}"
        " LIMIT {most})"
    ),
}


@cache
def _statements(table: str, vendor: str, now: str) -> dict[str, tuple[str, list[str]]]:
    """Return each statement with the names of its values, in their order."""
    import re

    key = "`key`" if vendor == "mysql" else '"key"'
    found = {}
    for name, text in {**_TEXTS, "sweep": _SWEEPS[vendor]}.items():
        sql = text.format(t=table, k=key, now=now, most=_SWEPT)
        names = re.findall(r"%\((\w+)\)s", sql)
        found[name] = re.sub(r"%\(\w+\)s", "%s", sql), names
    return found


# --- errors --------------------------------------------------------------------------


def _codes(error: BaseException) -> list[object]:
    """Return what the database calls an error: an SQLSTATE, or MySQL's number."""
    cause = error.__cause__ or error
    found = [getattr(cause, name, None) for name in ("sqlstate", "pgcode")]
    found += [arg for arg in cause.args[:1] if isinstance(arg, int)]
    return [code for code in found if code]


def _fail(what: str, error: BaseException) -> Any:
    cause = error.__cause__ or error
    shown = " ".join([type(cause).__name__, *map(str, _codes(error)[:1])])
    # SQLite has no code for it.
    if not _NO_TABLE.isdisjoint(_codes(error)) or "no such table" in str(cause):
        shown += "; there is no such table: run manage.py migrate"
    # Names and numbers only: a driver's text may quote the address and the rows.
    message = f"the database could not {what}: {shown}"
    raise StoreError(message) from error

"""A store in one file of SQLite: durable, for all the processes of one host.

Each swap is one statement, and SQLite's own locking makes it atomic between threads
and processes; ``rowcount`` shows whether it took place. The journal is a WAL, so a
read waits for no writer and costs microseconds; ``synchronous=FULL`` writes a swap to
the disk before it returns, since a lost refresh token cannot be recovered.

Every thread of every process has its own connection. A forked child neither uses nor
closes its parent's: SQLite forbids both (https://www.sqlite.org/howtocorrupt.html,
section 2.6).

A file is created once, at a store's first use. If it vanishes or is replaced later,
calls fail, and no new file is created: an empty store in its place would sign out all
users and hide the cause.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
import weakref
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.log import logger as log
from tiktok_oauth_middleware.errors import StoreError

from .base import Waits, refuse_empty_swap
from .paging import (
    PAGE,
    ROWS,
    SWEEP_EVERY,
    SWEPT_ROWS,
    in_batches,
    pages_by_key,
    rows_by_key,
)
from .sqlite_connection import SQLiteConnection
from .sqlite_file import (
    NO_SIDE_FILES,
    FileChangedError,
    Unwritable,
    error_name,
    longer_timeout,
    open_file,
    raise_store_error,
)
from .swap_locks import LOCKS_START, SwapLock, clock_of_locks, is_lock_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")


# Placeholders have no numbers: Python 3.12 warns of ?1 with a tuple, 3.14 refuses it.
_KEYS = "SELECT key FROM entries WHERE key >= ? AND key < ? AND expires > ?"
_PAGE = f"{_KEYS.replace('>=', '>', 1)} ORDER BY key LIMIT {PAGE}"
_ROWS = (
    _KEYS.replace(">=", ">", 1).replace("SELECT key", "SELECT key, value")
    + f" ORDER BY key LIMIT {ROWS}"
)
_GET = "SELECT value FROM entries WHERE key = ? AND expires > ?"
_CREATE = """
INSERT INTO entries (key, value, expires) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE
SET value = excluded.value, expires = excluded.expires WHERE entries.expires <= ?
"""
# A lock that ends later was taken before the host restarted.
_TAKE = f"{_CREATE} OR entries.expires > ?"
#: The longest lock that others may hold, in seconds; the package's own are leases of a
#: few seconds.
_LONGEST_LOCK = 60.0
_REPLACE = """
UPDATE entries SET value = ?, expires = ?
WHERE key = ? AND CAST(value AS BLOB) = ? AND expires > ?
"""
_DELETE = """
DELETE FROM entries WHERE key = ? AND CAST(value AS BLOB) = ? AND expires > ?
"""
_SWEEP = """
DELETE FROM entries
WHERE key IN (SELECT key FROM entries WHERE expires > ? AND expires <= ? LIMIT ?)
"""


class SQLiteStore:
    """Rows in a file, opened or created at the first use.

    Args:
        path: The file; its directory must exist and be writable (SQLite keeps
            ``-wal`` and ``-shm`` beside it) and be on a local disk. A new file
            gets the mode 0600.
        clock: Seconds since 1970, for expiry; the same in all processes of the file.
        timeout: Seconds that a write waits for other writes.
    """

    waits: ClassVar[Waits] = "writes"
    #: OpenTelemetry's name of the database, for traces.
    db_system: ClassVar[str] = "sqlite"
    renews: ClassVar[bool] = True
    #: Serializes the opening of files by all stores: see `_make_file`. Reentrant, since
    #: a signal's handler may close or use a store while the same thread opens one.
    _opening: ClassVar[AbstractContextManager[bool]] = threading.RLock()
    _is_creating: ClassVar[bool] = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
        timeout: float = 2.0,
    ) -> None:
        # Absolute, so that a later chdir() does not lead to another file.
        self._path = Path(path).absolute()
        self._clock = clock
        self._lock_clock = clock_of_locks(clock)
        self._timeout = timeout
        self._file: tuple[int, int] | None = None
        self._swaps = 0
        self._begin()
        register_after_fork(self)

    def _begin(self) -> None:
        self._writing = threading.Lock()
        self._local = threading.local()
        # Not a WeakSet: its iteration fails if a thread ends meanwhile.
        self._open_here: weakref.WeakKeyDictionary[SQLiteConnection, None] = (
            weakref.WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self._path)!r})"

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        rows = self._read(_GET, (key, self._clock()))
        return _as_bytes(rows[0][0]) if rows else None

    def _read(
        self, statement: str, values: tuple[Any, ...], *, is_second: bool = False
    ) -> list[Any]:
        """Return the rows of a query."""
        try:
            connection = self._local.connection
        except AttributeError:
            connection = self._connect()
        try:
            with connection.in_use:
                # fetchall, also for one row: an exhausted cursor holds no snapshot
                # open, even if it is collected late.
                rows: list[Any] = connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._drop_after(error)
            # The file has changed, or another thread has closed the store.
            is_outdated = isinstance(error, FileChangedError | sqlite3.ProgrammingError)
            if is_second or not is_outdated:
                raise_store_error("read", error)
            return self._read(statement, values, is_second=True)
        return rows

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there.

        True means that the change is on the disk.
        """
        refuse_empty_swap(old, new)
        is_lock = is_lock_row(key)
        now = self._lock_clock() if is_lock else self._clock()
        if new is None:
            return self._swap(_DELETE, (key, old, now))
        if old is None and is_lock:
            latest = now + max(ttl, _LONGEST_LOCK)
            return self._swap(_TAKE, (key, new, now + ttl, now, latest))
        if old is None:
            return self._swap(_CREATE, (key, new, now + ttl, now))
        return self._swap(_REPLACE, (new, now + ttl, key, old, now))

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        return [self.get(key) for key in keys]

    def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that does not exist; return which were written, in order.

        Each transaction, and so each write to the disk, has up to a hundred rows.
        """
        created: list[bool] = []
        for some in in_batches(rows):
            now = self._clock()
            values = [(key, value, now + ttl, now) for key, value, ttl in some]
            created += self._write(partial(_created, values))
        return created

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        return self._listed(_KEYS, prefix, prefix)

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """Yield the keys that continue `prefix`, a thousand at a time."""
        return pages_by_key(lambda key: self._listed(_PAGE, key, prefix), prefix)

    def rows(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys continue `prefix`, several at a time."""

        def page(after: str) -> list[tuple[str, bytes]]:
            rows = self._selected(_ROWS, after, prefix)
            return [
                (key.decode(errors="replace"), _as_bytes(value)) for key, value in rows
            ]

        return rows_by_key(page, prefix)

    def _listed(self, statement: str, start: str, prefix: str) -> list[str]:
        rows = self._selected(statement, start, prefix)
        return [key.decode(errors="replace") for (key,) in rows]

    def _selected(self, statement: str, start: str, prefix: str) -> list[Any]:
        # A range, not a pattern, so that no character of the prefix is special.
        return self._read(statement, (start, prefix + "\U0010ffff", self._clock()))

    def close(self) -> None:
        """Close the connections of all threads of this process.

        A statement that is being executed is finished first. A later call opens the
        same file again.
        """
        with self._opening:  # a thread that is connecting now adds its connection first
            found = [reference() for reference in self._open_here.keyrefs()]
        self._begin()
        with ExitStack() as closing_all:  # also after an error of one
            for connection in found:
                if connection is not None:
                    closing_all.callback(connection.close)

    def after_fork(self) -> None:
        """Start without connections; the parent's stay open and unused."""
        SQLiteStore._opening = threading.RLock()
        SQLiteStore._is_creating = False
        self._begin()

    def _swap(self, statement: str, values: tuple[Any, ...]) -> bool:
        return self._write(partial(_changes_row, statement, values))

    def _write(self, write: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `write`, a transaction; it may be called twice."""
        # SQLite serves waiting writers in no order and sleeps between tries, so some
        # would time out: the threads of one process queue for this lock first.
        deadline, writing = time.monotonic() + self._timeout, self._writing
        is_in_turn = writing.acquire(timeout=self._timeout)
        try:
            done = self._write_by(deadline, write, is_in_turn=is_in_turn)
        finally:
            if is_in_turn:
                writing.release()  # not `self._writing`, which `close` replaces
        if not is_in_turn:
            # The write succeeded, so no other thread was writing: a signal's handler
            # raised just before the lock's holder released it. Replace the lock.
            self._writing = threading.Lock()
        return done

    def _write_by(
        self,
        deadline: float,
        write: Callable[[sqlite3.Connection], T],
        *,
        is_in_turn: bool,
    ) -> T:
        """Return the result of `write`; wait for other writes until the deadline.

        Args:
            deadline: by the monotonic clock.
            write: as for `_write`.
            is_in_turn: whether no other thread of this process writes.
        """
        is_second = False
        done: list[T] = []
        while not done:
            try:
                connection = self._connection()
                self._check_same_file()
                # The time spent in the queue counts against the timeout.
                left = max(0.0, deadline - time.monotonic())
                handle = connection.handle
                with connection.in_use, longer_timeout(handle, left):
                    if handle.in_transaction:
                        _end_interrupted(handle, is_in_turn=is_in_turn)
                    done.append(write(handle))
                    self._sweep(handle)
            except sqlite3.Error as error:
                self._drop_after(error)
                is_over = is_second or not error_name(error).startswith(
                    _WRITE_AGAIN_AFTER
                )
                if is_over and not done:
                    raise_store_error("write", error)
                is_second = True
        return done[0]

    def _drop_after(self, error: sqlite3.Error) -> None:
        """Drop this thread's connection after an error that would persist on it.

        Such errors depend on how the file was opened, or on its content. On a full disk
        the connection stays, because a new one would need disk space.
        """
        if not error_name(error).startswith(_REOPEN_AFTER):
            return
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _sweep(self, handle: sqlite3.Connection) -> None:
        self._swaps += 1
        if self._swaps % SWEEP_EVERY:
            return
        # The swap has succeeded; an error of the sweep must not fail it, and a later
        # sweep drops the remaining rows.
        try:
            handle.execute(_SWEEP, (-math.inf, self._clock(), SWEPT_ROWS)).close()
            if self._lock_clock is not self._clock:
                now = self._lock_clock()
                handle.execute(_SWEEP, (LOCKS_START, now, SWEPT_ROWS)).close()
        except sqlite3.Error as error:
            log.debug("expired rows were not swept: %s", error_name(error))

    def _connection(self) -> SQLiteConnection:
        try:
            return self._local.connection  # type: ignore[no-any-return]
        except AttributeError:
            return self._connect()

    def _connect(self) -> SQLiteConnection:
        """Connect this thread to the file, which is created at the first use."""
        local, open_here = self._local, self._open_here
        with self._opening:
            self._make_file()
            connection = SQLiteConnection(*self._open())
            self._file = self._file or self._identity()
            open_here[connection] = None
        local.connection = connection
        return connection

    def _open(self) -> tuple[sqlite3.Connection, Callable[..., Any]]:
        """Return a connection, and the function that executes a read on it."""
        try:
            handle = open_file(self._path, self._timeout)
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, sqlite3.Error) or not error_name(cause).startswith(
                NO_SIDE_FILES
            ):
                raise
            try:
                unwritable = Unwritable(self._path, self._timeout)
            except (StoreError, OSError):
                raise error from cause
            return unwritable.handle, unwritable.execute
        return handle, handle.execute

    def _make_file(self) -> None:
        if self._file is not None:
            self._check_same_file()
            return
        # O_EXCL never opens an existing file, and no other call opens the new one
        # before it is closed here. Closing a file drops all locks of this process on
        # it, including SQLite's (howtocorrupt.html, section 2.2).
        if SQLiteStore._is_creating:
            message = "a signal's handler used a store whose file was being created"
            raise StoreError(message)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
        SQLiteStore._is_creating = True
        try:
            with suppress(FileExistsError):
                os.close(os.open(self._path, flags, 0o600))
        except OSError as error:
            message = f"the store's file {self._path} cannot be created"
            raise StoreError(message) from error
        finally:
            SQLiteStore._is_creating = False

    def _check_same_file(self) -> None:
        """Raise StoreError if the file has vanished or was replaced.

        Open connections would continue to use the old, unlinked file, and every row
        written to it would be lost with the process.
        """
        if self._identity() != self._file:
            message = (
                f"the store's file {self._path} was replaced while in use; restart to"
                " use the new one"
            )
            raise StoreError(message)

    def _identity(self) -> tuple[int, int]:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - a third of Path.stat's time
        except OSError as error:
            message = (
                f"the store's file {self._path} is gone or out of reach; bring it"
                " back, or restart to begin with an empty one"
            )
            raise StoreError(message) from error
        return found.st_dev, found.st_ino


def _end_interrupted(handle: sqlite3.Connection, *, is_in_turn: bool) -> None:
    """End a transaction of this thread that a signal's handler has interrupted.

    Raises:
        StoreError: the handler is still running.
    """
    if not is_in_turn:
        message = "SQLite could not write: a signal came during another write"
        raise StoreError(message)
    handle.rollback()


def _changes_row(
    statement: str, values: tuple[Any, ...], handle: sqlite3.Connection
) -> bool:
    """Execute a statement; return whether it changed a row."""
    cursor = handle.execute(statement, values)
    is_changed = cursor.rowcount == 1
    # A signal's handler may have closed the store since; the change is on the disk.
    with suppress(sqlite3.ProgrammingError):
        cursor.close()
    return is_changed


def _created(rows: list[tuple[Any, ...]], handle: sqlite3.Connection) -> list[bool]:
    """Create rows in one transaction; return which were not there."""
    try:
        handle.execute("BEGIN IMMEDIATE").close()
        created = [_changes_row(_CREATE, row, handle) for row in rows]
        _changes_row("COMMIT", (), handle)
    except BaseException:  # also after Ctrl-C
        if handle.in_transaction:
            handle.rollback()
        raise
    return created


def _as_bytes(value: object) -> bytes:
    # Another program may have written a number; text comes as bytes.
    return value if isinstance(value, bytes) else str(value).encode()


#: Errors after which a write is tried again on a new connection: the old one was opened
#: while the file could not be written and stays read-only, or another thread closed the
#: store.
_WRITE_AGAIN_AFTER = ("SQLITE_READONLY", "ProgrammingError")
#: Errors that persist on a connection even after the file has been repaired.
_REOPEN_AFTER = (
    "SQLITE_READONLY",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_CANTOPEN",
    "SQLITE_IOERR_READ",
    "SQLITE_IOERR_SHORT_READ",
    "ProgrammingError",
    "FileChangedError",
)

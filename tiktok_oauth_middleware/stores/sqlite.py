"""A store in one file of SQLite: durable, for all the processes of one host.

Each swap is one statement, and SQLite's own locking makes it atomic between threads
and processes; ``rowcount`` tells whether it took place. The journal is a WAL, so a
read waits for nobody and costs microseconds; ``synchronous=FULL`` has a swap on the
disk before it is answered, since a refresh token that is lost can not be had again.

Every thread of every process has a connection of its own. A forked child never
touches its parent's, not even to close it: SQLite forbids both
(https://www.sqlite.org/howtocorrupt.html, section 2.6).

A file is made once, in a store's first use. One that vanishes or is exchanged later
is an error and not a reason to make another: an empty store in its place would sign
everybody out and hide what happened.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.log import logger as log
from tiktok_oauth_middleware.errors import StoreError

from .base import SwapLock, Waits, refuse_empty_swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: "ttoa" in a file's header says that it is ours; ``user_version`` says which layout.
_APPLICATION_ID = 0x74746F61
_LAYOUT = 1

# Placeholders have no numbers: Python 3.12 warns of ?1 with a tuple, 3.14 refuses it.
_KEYS = "SELECT key FROM entries WHERE key >= ? AND key < ? AND expires > ?"
_GET = "SELECT value FROM entries WHERE key = ? AND expires > ?"
_CREATE = """
INSERT INTO entries (key, value, expires) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE
SET value = excluded.value, expires = excluded.expires WHERE entries.expires <= ?
"""
_REPLACE = """
UPDATE entries SET value = ?, expires = ?
WHERE key = ? AND CAST(value AS BLOB) = ? AND expires > ?
"""
_DELETE = """
DELETE FROM entries WHERE key = ? AND CAST(value AS BLOB) = ? AND expires > ?
"""
_SWEEP = """
DELETE FROM entries
WHERE key IN (SELECT key FROM entries WHERE expires <= ? LIMIT 100)
"""
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_expires ON entries (expires);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_LAYOUT};
COMMIT;
"""

#: A read waits for others in rare moments only (a recovery after a crash), and may
#: be made in an event loop: it gives up after this many seconds.
_READ_TIMEOUT = 0.05
#: Swaps of a store between two sweeps; each sweep drops 100 rows at most.
_SWEEP_EVERY = 32


class SQLiteStore:
    """Rows in a file; nothing is opened or made before the first use.

    Args:
        path: The file; its directory must exist and be writable (SQLite keeps
            ``-wal`` and ``-shm`` beside it) and be on a local disk. A file that is
            made gets the mode 0600.
        clock: What expiry is judged by; processes that share the file share a clock.
        timeout: Seconds that a write waits for another's.
    """

    waits: ClassVar[Waits] = "writes"
    renews: ClassVar[bool] = True
    #: One file is opened at a time, by whichever store: see `_make_file`.
    _opening: ClassVar[threading.Lock] = threading.Lock()

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
        self._timeout = timeout
        self._file: tuple[int, int] | None = None
        self._swaps = 0
        self._begin()
        register_after_fork(self)

    def _begin(self) -> None:
        self._writing = threading.Lock()
        self._local = threading.local()
        self._open_here: weakref.WeakSet[_Connection] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self._path)!r})"

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        try:
            execute = self._local.execute
        except AttributeError:
            self._connect()
            execute = self._local.execute
        try:
            # All of one row: a cursor that has seen the end holds no snapshot open,
            # even where it is collected late.
            rows = execute(_GET, (key, self._clock())).fetchall()
        except _FileChangedError as error:
            self._drop_after(error)
            rows = self._rows_again(key)
        except sqlite3.Error as error:
            self._drop_after(error)
            _fail("read", error)
        if not rows:
            return None
        value = rows[0][0]
        # What something else wrote there may be a number; text comes as bytes.
        return value if isinstance(value, bytes) else str(value).encode()

    def _rows_again(self, key: str) -> list[Any]:
        """Return what a new connection reads."""
        self._connect()
        try:
            rows: list[Any] = self._local.execute(_GET, (key, self._clock())).fetchall()
        except sqlite3.Error as error:
            self._drop_after(error)
            _fail("read", error)
        return rows

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Put `new` where `old` is; say whether `old` was there.

        True means that the change is on the disk.
        """
        refuse_empty_swap(old, new)
        now = self._clock()
        if new is None:
            return self._swap(_DELETE, (key, old, now))
        if old is None:
            return self._swap(_CREATE, (key, new, now + ttl, now))
        return self._swap(_REPLACE, (new, now + ttl, key, old, now))

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside, if nobody else does; does not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        handle = self._connection().handle
        try:
            # A range, not a pattern: nothing in a prefix means anything but itself.
            values = (prefix, prefix + "\U0010ffff", self._clock())
            with closing(handle.execute(_KEYS, values)) as rows:
                return [key.decode(errors="replace") for (key,) in rows]
        except sqlite3.Error as error:
            self._drop_after(error)
            _fail("read", error)

    def close(self) -> None:
        """Close the connections of all threads of this process.

        A later call opens the same file again.
        """
        connections = list(self._open_here)
        self._begin()
        for connection in connections:
            connection.close()

    def after_fork(self) -> None:
        """Begin anew; what the parent has open is left as it is."""
        SQLiteStore._opening = threading.Lock()
        self._begin()

    def _swap(self, statement: str, values: tuple[Any, ...]) -> bool:
        # SQLite lets those wait in no order, asleep between tries, and the unlucky run
        # out of time: threads of one process form a queue before they ask.
        deadline = time.monotonic() + self._timeout
        if not self._writing.acquire(timeout=self._timeout):
            message = "SQLite could not write: other threads took too long"
            raise StoreError(message)
        try:
            return self._swap_in_turn(statement, values, deadline)
        finally:
            self._writing.release()

    def _swap_in_turn(
        self, statement: str, values: tuple[Any, ...], deadline: float
    ) -> bool:
        is_second = False
        while True:
            try:
                handle = self._connection().handle
                self._check_same_file()
                # What was waited in the queue is not waited for the file once more.
                with (
                    _patience(handle, max(0.0, deadline - time.monotonic())),
                    closing(handle.execute(statement, values)) as cursor,
                ):
                    done = cursor.rowcount == 1
                self._sweep(handle)
            except sqlite3.Error as error:
                self._drop_after(error)
                # A connection that was opened while the file could not be written
                # stays read-only for as long as it lives.
                if is_second or not _name(error).startswith("SQLITE_READONLY"):
                    _fail("write", error)
                is_second = True
            else:
                return done

    def _drop_after(self, error: sqlite3.Error) -> None:
        """Have this thread open the file anew after an error that its connection keeps.

        That is about how the file was opened, or what was read of it. On a full disk
        the connection stays: a new one would need room of its own.
        """
        if not _name(error).startswith(_KEPT):
            return
        connection = self._local.__dict__.pop("connection", None)
        self._local.__dict__.pop("execute", None)
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _sweep(self, handle: sqlite3.Connection) -> None:
        self._swaps += 1
        if self._swaps % _SWEEP_EVERY:
            return
        # The swap has taken place: what goes wrong here is not its failure, and
        # the rows left behind are dropped another time.
        try:
            handle.execute(_SWEEP, (self._clock(),)).close()
        except sqlite3.Error as error:
            log.debug("expired rows were not swept: %s", _name(error))

    def _connection(self) -> _Connection:
        try:
            return self._local.connection  # type: ignore[no-any-return]
        except AttributeError:
            return self._connect()

    def _connect(self) -> _Connection:
        """Give this thread a connection to the file, which is made if it is new."""
        local, open_here = self._local, self._open_here
        with self._opening:
            self._make_file()
            handle, execute = self._open()
            connection = _Connection(handle)
            self._file = self._file or self._identity()
            open_here.add(connection)
        local.connection, local.execute = connection, execute
        return connection

    def _open(self) -> tuple[sqlite3.Connection, Callable[..., Any]]:
        """Return a connection, and what reads through it."""
        try:
            handle = _open(self._path, self._timeout)
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, sqlite3.Error) or not _name(cause).startswith(
                _NOTHING_BESIDE
            ):
                raise
            try:
                unwritable = _Unwritable(self._path, self._timeout)
            except (StoreError, OSError):
                raise error from cause
            return unwritable.handle, unwritable.execute
        return handle, handle.execute

    def _make_file(self) -> None:
        if self._file is not None:
            self._check_same_file()
            return
        # O_EXCL, so never a file that exists; and nobody opens the new one before it
        # is closed here. To close a file drops every lock that this process has on
        # it, SQLite's as well (howtocorrupt.html, section 2.2).
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
        try:
            with suppress(FileExistsError):
                os.close(os.open(self._path, flags, 0o600))
        except OSError as error:
            message = f"the store's file {self._path} can not be made"
            raise StoreError(message) from error

    def _check_same_file(self) -> None:
        """Refuse a file that vanished or was exchanged under our connections.

        They would go on with the old one, which has no name any more, and every row
        written to it be lost with the process.
        """
        if self._identity() != self._file:
            message = (
                f"the store's file {self._path} was exchanged while in use; restart"
                " to use the new one"
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


class _Connection:
    """Closes a connection of SQLite with the thread that it belongs to."""

    __slots__ = ("__weakref__", "_process", "handle")

    def __init__(self, handle: sqlite3.Connection) -> None:
        self.handle = handle
        self._process = os.getpid()

    def close(self) -> None:
        self.handle.close()

    def __del__(self) -> None:
        # In a forked child the parent's threads are gone, and what they had with
        # them; their connections are kept, for to let go would be to close them.
        if self._process == os.getpid():
            self.handle.close()
        else:
            _parents.append(self.handle)


#: Connections of a parent process.
_parents: list[sqlite3.Connection] = []


def _open(path: Path, timeout: float) -> sqlite3.Connection:
    """Open a file that exists; mode=rw, for SQLite would make one that all may read."""
    handle = _opened(path, timeout, "mode=rw")
    try:
        _settle(handle, path, timeout)
    except sqlite3.Error as error:
        handle.close()
        _fail("open", error)
    except StoreError:
        handle.close()
        raise
    return handle


def _opened(path: Path, timeout: float, mode: str) -> sqlite3.Connection:
    try:
        handle = sqlite3.connect(
            f"{path.as_uri()}?{mode}",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,  # `SQLiteStore.close` comes from any thread
        )
    except sqlite3.Error as error:
        _fail("open", error)
    # A row that something else wrote may hold text that is no UTF-8: no grant, but no
    # failure of the store either.
    handle.text_factory = bytes
    return handle


class _FileChangedError(sqlite3.OperationalError):
    """A file that was taken as unchanging has changed."""


class _Unwritable:
    """Reads a file beside which no WAL can be made, for as long as nothing changes it.

    SQLite reads a file with a WAL only where it may keep ``-wal`` and ``-shm`` beside
    it, unless it is told that the file does not change
    (https://www.sqlite.org/uri.html#uriimmutable). That is not taken on trust: the
    file's state is compared before and after each read.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._state = self._now()
        self.handle = _opened(path, timeout, "mode=ro&immutable=1")
        try:
            if not _is_ours(self.handle, path):
                _fail("open", sqlite3.OperationalError("empty"))
        except sqlite3.Error as error:
            self.handle.close()
            _fail("open", error)
        except StoreError:
            self.handle.close()
            raise

    def _now(self) -> tuple[int, ...]:
        if os.path.exists(f"{self._path}-wal"):  # noqa: PTH110 - 3 µs, not 8
            return ()
        found = self._path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def execute(self, statement: str, values: tuple[Any, ...]) -> Any:
        """Execute a statement; an error if the file is not as it was when opened."""
        self._refuse_changes()
        with closing(self.handle.execute(statement, values)) as cursor:
            rows = cursor.fetchall()
        self._refuse_changes()
        return _Rows(rows)

    def _refuse_changes(self) -> None:
        if not self._state or self._now() != self._state:
            raise _FileChangedError


class _Rows(list[Any]):
    """Rows that were fetched already, under the name that a cursor has for it."""

    __slots__ = ()

    def fetchall(self) -> list[Any]:
        return self


#: Errors that a connection goes on with, though the file may be as it should by now.
_KEPT = (
    "SQLITE_READONLY",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_CANTOPEN",
    "SQLITE_IOERR_READ",
    "SQLITE_IOERR_SHORT_READ",
    "ProgrammingError",
    "_FileChangedError",
)
#: What SQLite says where it can make no ``-wal`` or ``-shm``.
_NOTHING_BESIDE = (
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "SQLITE_FULL",
    "SQLITE_IOERR_SHM",
)


def _settle(handle: sqlite3.Connection, path: Path, timeout: float) -> None:
    """Make sure that the file is ours, or make it ours if it is empty."""
    if not _is_ours(handle, path):
        _lay_out(handle, path, timeout)
    _keep_wal(handle, timeout)
    _pragma(handle, "synchronous = FULL")
    _wait_for(handle, _READ_TIMEOUT)


def _keep_wal(handle: sqlite3.Connection, timeout: float) -> None:
    """Have the file keep a WAL, at every opening and not only when it is made.

    ``VACUUM INTO`` and some tools for backups write a file without one, in which each
    write keeps all readers out (https://www.sqlite.org/wal.html).
    """
    deadline = time.monotonic() + timeout
    while _pragma(handle, "journal_mode") != "wal":
        try:
            _pragma(handle, "journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _name(error).startswith("SQLITE_READONLY"):
                return  # it can be read as it is
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _pragma(handle: sqlite3.Connection, words: str) -> str:
    """Return what a PRAGMA answers, in lower case; its cursor is closed.

    PyPy closes a forgotten cursor late, and SQLite changes no journal meanwhile.
    """
    with closing(handle.execute(f"PRAGMA {words}")) as cursor:
        row = cursor.fetchone()
    if row is None:
        return ""
    value = row[0]
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.lower()


def _is_ours(handle: sqlite3.Connection, path: Path) -> bool:
    """Return False for an empty file; raise for one that is somebody else's."""
    application, layout, tables = _header(handle)
    if (application, layout) == (_APPLICATION_ID, _LAYOUT):
        return True
    if application == _APPLICATION_ID:
        message = f"the store's file {path} is of another version of this package"
        raise StoreError(message)
    if application or layout or tables:
        message = f"the store's file {path} is another application's database"
        raise StoreError(message)
    return False


def _lay_out(handle: sqlite3.Connection, path: Path, timeout: float) -> None:
    """Make an empty file ours; several processes may do so at the same time."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            # To change the journal takes the file for a moment, and SQLite does not
            # wait for it by itself while others hold it.
            _pragma(handle, "journal_mode = WAL")
            handle.executescript(_TABLES).close()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
        if handle.in_transaction:
            handle.rollback()
        if _is_ours(handle, path):
            return


def _is_busy(error: sqlite3.Error) -> bool:
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _header(handle: sqlite3.Connection) -> tuple[int, int, int]:
    """Return what says whose the file is: application, layout, number of tables."""
    # All at one moment, or a file that another worker lays out just now looks like
    # neither an empty one nor ours.
    handle.execute("BEGIN").close()
    found = (
        _number(handle, "PRAGMA application_id"),
        _number(handle, "PRAGMA user_version"),
        _number(handle, "SELECT count(*) FROM sqlite_master"),
    )
    handle.execute("COMMIT").close()
    return found


def _number(handle: sqlite3.Connection, query: str) -> int:
    with closing(handle.execute(query)) as cursor:
        return int(cursor.fetchone()[0])


@contextmanager
def _patience(handle: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Have SQLite wait longer for others inside."""
    _wait_for(handle, seconds)
    try:
        yield
    finally:
        _wait_for(handle, _READ_TIMEOUT)


def _wait_for(handle: sqlite3.Connection, seconds: float) -> None:
    handle.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").close()


def _name(error: sqlite3.Error) -> str:
    # Errors that Python itself raises (a closed connection) have no code of SQLite.
    return getattr(error, "sqlite_errorname", type(error).__name__)


def _fail(what: str, error: sqlite3.Error) -> NoReturn:
    # The name only: SQLite's text may quote the file's content.
    message = f"SQLite could not {what}: {_name(error)}"
    raise StoreError(message) from error

"""The file of a SQLite store: opened, checked, laid out, and kept in WAL mode.

A file in a directory that cannot be written is opened read-only, as long as it does not
change.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tiktok_oauth_middleware.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: "ttoa" in a file's header identifies our files; ``user_version`` is the layout.
_APPLICATION_ID = 0x74746F61
_LAYOUT = 1
# Executed one by one: PyPy prepares the statements of a script with an old function,
# which fails if another process changed the tables in between.
_TABLES = (
    "BEGIN IMMEDIATE",
    """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID
""",
    "CREATE INDEX IF NOT EXISTS entries_expires ON entries (expires)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_LAYOUT}",
    "COMMIT",
)
#: Seconds after which a read gives up. It waits for others only rarely (a recovery
#: after a crash), and may run in an event loop.
_READ_TIMEOUT = 0.05
#: Errors of SQLite if it cannot create ``-wal`` or ``-shm``.
NO_SIDE_FILES = (
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "SQLITE_FULL",
    "SQLITE_IOERR_SHM",
)
#: PyPy's errors have no name, but SQLite's own text, which quotes nothing here.
_NAME_BY_TEXT = {
    "attempt to write a readonly database": "SQLITE_READONLY",
    "database is locked": "SQLITE_BUSY",
    "database or disk is full": "SQLITE_FULL",
    "unable to open database file": "SQLITE_CANTOPEN",
}


def open_file(path: Path, timeout: float) -> sqlite3.Connection:
    """Open an existing file.

    Without mode=rw SQLite would create a missing one, readable for other users.
    """
    handle = _open_file(path, timeout, "mode=rw")
    try:
        _settle(handle, path, timeout)
    except sqlite3.Error as error:
        handle.close()
        raise_store_error("open", error)
    except StoreError:
        handle.close()
        raise
    return handle


def _open_file(path: Path, timeout: float, mode: str) -> sqlite3.Connection:
    try:
        handle = sqlite3.connect(
            f"{path.as_uri()}?{mode}",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,  # `SQLiteStore.close` comes from any thread
        )
    except sqlite3.Error as error:
        raise_store_error("open", error)
    # A row that another program wrote may hold text that is not UTF-8. It is not a
    # record of ours, but must not make the store fail.
    handle.text_factory = bytes
    return handle


class FileChangedError(sqlite3.OperationalError):
    """A file opened as immutable has changed."""


class Unwritable:
    """Reads an unchanging file in a directory in which no WAL can be created.

    SQLite reads a file with a WAL only if it may create ``-wal`` and ``-shm`` beside
    it, unless the file is declared immutable
    (https://www.sqlite.org/uri.html#uriimmutable). We verify that declaration: the
    file's state is compared before and after each read.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._state = self._now()
        self.handle = _open_file(path, timeout, "mode=ro&immutable=1")
        try:
            if not _is_ours(self.handle, path):
                raise_store_error("open", sqlite3.OperationalError("empty"))
        except sqlite3.Error as error:
            self.handle.close()
            raise_store_error("open", error)
        except StoreError:
            self.handle.close()
            raise

    def _now(self) -> tuple[int, ...]:
        if os.path.exists(f"{self._path}-wal"):  # noqa: PTH110 - 3 µs, not 8
            return ()
        found = self._path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def execute(self, statement: str, values: tuple[Any, ...]) -> Any:
        """Execute a statement; raises `FileChangedError` if the file has changed."""
        self._refuse_changes()
        with closing(self.handle.execute(statement, values)) as cursor:
            rows = cursor.fetchall()
        self._refuse_changes()
        return _Rows(rows)

    def _refuse_changes(self) -> None:
        if not self._state or self._now() != self._state:
            raise FileChangedError


class _Rows(list[Any]):
    """Rows already fetched, with a cursor's ``fetchall`` method."""

    __slots__ = ()

    def fetchall(self) -> list[Any]:
        return self


def _settle(handle: sqlite3.Connection, path: Path, timeout: float) -> None:
    """Check that the file is ours, or create the tables if it is empty."""
    if not _is_ours(handle, path):
        _lay_out(handle, path, timeout)
    _keep_wal(handle, timeout)
    _pragma(handle, "synchronous = FULL")
    _wait_for(handle, _READ_TIMEOUT)


def _keep_wal(handle: sqlite3.Connection, timeout: float) -> None:
    """Switch the file to WAL at every opening, not only at its creation.

    ``VACUUM INTO`` and some backup tools write a file that is not in WAL mode, in which
    each write blocks all readers (https://www.sqlite.org/wal.html).
    """
    deadline = time.monotonic() + timeout
    while _pragma(handle, "journal_mode") != "wal":
        try:
            _pragma(handle, "journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error_name(error).startswith("SQLITE_READONLY"):
                return  # readable without a WAL
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _pragma(handle: sqlite3.Connection, words: str) -> str:
    """Return a PRAGMA's result in lower case, and close its cursor.

    PyPy closes an unreferenced cursor late, and until then SQLite cannot change the
    journal mode.
    """
    with closing(handle.execute(f"PRAGMA {words}")) as cursor:
        row = cursor.fetchone()
    if row is None:
        return ""
    value = row[0]
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.lower()


def _is_ours(handle: sqlite3.Connection, path: Path) -> bool:
    """Return False for an empty file; raise for another application's."""
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
    """Create the tables in an empty file, also if several processes do so at once."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            # Changing the journal mode locks the file briefly, and SQLite does not
            # wait by itself for that lock.
            _pragma(handle, "journal_mode = WAL")
            for statement in _TABLES:
                handle.execute(statement).close()
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
    return error_name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _header(handle: sqlite3.Connection) -> tuple[int, int, int]:
    """Return the application id, the layout and the number of tables."""
    # In one transaction: a file that another worker is just creating would otherwise
    # seem neither empty nor ours.
    handle.execute("BEGIN").close()
    found = (
        _queried_number(handle, "PRAGMA application_id"),
        _queried_number(handle, "PRAGMA user_version"),
        _queried_number(handle, "SELECT count(*) FROM sqlite_master"),
    )
    handle.execute("COMMIT").close()
    return found


def _queried_number(handle: sqlite3.Connection, query: str) -> int:
    with closing(handle.execute(query)) as cursor:
        return int(cursor.fetchone()[0])


@contextmanager
def longer_timeout(handle: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Set a longer busy timeout inside the block."""
    _wait_for(handle, seconds)
    try:
        yield
    finally:
        _wait_for(handle, _READ_TIMEOUT)


def _wait_for(handle: sqlite3.Connection, seconds: float) -> None:
    handle.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").close()


def error_name(error: sqlite3.Error) -> str:
    """Return the name of an error, such as SQLITE_BUSY."""
    # Errors that Python itself raises (a closed connection) have no code of SQLite.
    name: str | None = getattr(error, "sqlite_errorname", None)
    return name or _NAME_BY_TEXT.get(str(error), type(error).__name__)


def raise_store_error(what: str, error: sqlite3.Error) -> NoReturn:
    """Raise the StoreError of an error of SQLite."""
    # Only the name: SQLite's text may quote the file's content.
    message = f"SQLite could not {what}: {error_name(error)}"
    raise StoreError(message) from error

"""The SQLite store in addition to the contract: files, processes, failures."""

from __future__ import annotations

import gc
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tiktok_oauth_middleware import SQLiteStore
from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.stores import sqlite as module
from tiktok_oauth_middleware.stores import sqlite_connection

from ..support.patience import HANGS
from ..support.processes import forks, in_child

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, timeout=0.2)
    yield store
    store.close()


def integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM entries").fetchone()[0]


def python(program: str, *args: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        text=True,
        stdout=subprocess.PIPE,
        cwd=Path(module.__file__).parents[2],
        **options,
    )


# --- the file ----------------------------------------------------------------------


def test_nothing_is_made_before_the_first_use(path: Path) -> None:
    """Building a store does not touch the file."""
    SQLiteStore(path)
    assert not path.exists()


def test_only_the_owner_may_read(store: SQLiteStore, path: Path) -> None:
    """The database and its two companion files have mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        store.compare_and_set("row", None, b"value", 60)
    finally:
        os.umask(before)
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    assert modes == {
        "store.sqlite3": 0o600,
        "store.sqlite3-wal": 0o600,
        "store.sqlite3-shm": 0o600,
    }


def test_writes_are_on_the_disk(store: SQLiteStore) -> None:
    """The database uses a WAL, and every commit is synchronous."""
    store.get("row")
    execute = store._local.connection.execute
    assert execute("PRAGMA journal_mode").fetchone()[0] == b"wal"
    assert execute("PRAGMA synchronous").fetchone()[0] == 2


def test_rows_outlive_the_store(store: SQLiteStore, path: Path) -> None:
    """Another store on the same file reads the rows."""
    store.compare_and_set("row", None, b"value", 60)
    store.close()
    again = SQLiteStore(path)
    assert again.get("row") == b"value"
    again.close()


def test_a_closed_store_opens_again(store: SQLiteStore) -> None:
    """A use after close() opens the same file again."""
    store.compare_and_set("row", None, b"value", 60)
    store.close()
    store.close()
    assert store.get("row") == b"value"


def test_close_closes_the_connections_of_all_threads(store: SQLiteStore) -> None:
    """close() closes the connections of other threads, which may use the store
    afterwards.
    """
    used, closed, report = threading.Event(), threading.Event(), []

    def use() -> None:
        store.get("row")
        handles.append(store._local.connection.handle)
        used.set()
        closed.wait(10)
        report.append(store.get("row"))

    handles: list[sqlite3.Connection] = []
    thread = threading.Thread(target=use)
    thread.start()
    used.wait(10)
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        handles[0].execute("SELECT 1")
    closed.set()
    thread.join()
    assert report == [None]


CLOSED_IN_USE = """
import sys, time
from contextlib import suppress
from threading import Barrier, Thread

from tiktok_oauth_middleware import SQLiteStore, StoreError

sys.setswitchinterval(1e-6)
store, go_on, failures = SQLiteStore(sys.argv[1], timeout=60), Barrier(4), []
store.compare_and_set("row", None, b"value", 60)

def use(call, times):
    go_on.wait()
    for number in range(times):
        try:
            with suppress(StoreError):  # closed twice during one call
                assert call(number)
        except Exception as error:
            failures.append(repr(error))

calls = (
    (lambda _: store.get("row") == b"value", 300),
    (lambda _: store.keys("ro") == ["row"], 300),
    (lambda number: store.compare_and_set(f"other {number}", None, b"1", 60), 30),
)
threads = [Thread(target=use, args=call) for call in calls]
for thread in threads:
    thread.start()
go_on.wait()
while any(thread.is_alive() for thread in threads):
    store.close()
    time.sleep(0.001)
print({*failures} or "ok")
"""


def test_closed_while_it_is_used(path: Path) -> None:
    """close() waits for the statements of other threads; the process goes on."""
    command = [sys.executable, "-c", CLOSED_IN_USE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_closed_during_a_call(store: SQLiteStore) -> None:
    """A call whose connection another thread closes is made on a new one."""
    store.get("row")
    store._local.connection.close()
    assert store.compare_and_set("row", None, b"value", 60)
    store._local.connection.close()
    assert store.get("row") == b"value"
    store._local.connection.close()
    assert store.keys("row") == ["row"]


@pytest.mark.parametrize("when", ["in_use", "opening"])
def test_closed_inside_a_call(store: SQLiteStore, when: str) -> None:
    """A signal's handler can close the store inside a call of the same thread."""

    def close_inside() -> None:
        store.get("row")
        held = store._local.connection.in_use if when == "in_use" else store._opening
        with held:
            store.close()

    thread = threading.Thread(target=close_inside, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert store.get("row") is None


def test_closed_at_the_end_of_a_write(store: SQLiteStore) -> None:
    """A write whose connection a signal's handler closes at its end has taken place."""
    calls = []

    def write(handle: sqlite3.Connection) -> bool:
        calls.append(handle)
        handle.execute("DELETE FROM entries").close()
        handle.close()
        return True

    assert store._write(write)
    assert len(calls) == 1
    assert store.compare_and_set("row", None, b"value", 60)


def test_lock_that_nobody_releases(store: SQLiteStore) -> None:
    """A signal's handler that raises before a lock is released stops no later write."""
    store._writing.acquire()
    assert store.compare_and_set("row", None, b"value", 60)
    assert not store._writing.locked()
    assert store.compare_and_set("row", b"value", b"new", 60)


def test_transaction_that_nobody_ends(store: SQLiteStore, path: Path) -> None:
    """A transaction that a signal's handler interrupted is rolled back.

    A write of the handler itself fails: with the transaction it might not take place.
    """
    assert store.compare_and_set("row", None, b"value", 60)
    handle = store._local.connection.handle
    handle.execute("BEGIN IMMEDIATE").close()
    handle.execute("DELETE FROM entries").close()
    with store._writing, pytest.raises(StoreError, match="signal"):
        store.compare_and_set("other", None, b"value", 60)
    assert store.create_many([("more", b"value", 60)]) == [True]
    assert store.compare_and_set("other", None, b"value", 60)
    other = SQLiteStore(path)
    assert sorted(other.keys("")) == ["more", "other", "row"]
    other.close()


@pytest.mark.parametrize("use", ["close", "get"])
def test_used_while_a_connection_is_opened(store, monkeypatch, use):
    """A signal's handler can use or close the store while its own thread opens it."""
    found: list[object] = []
    calls = {"close": store.close, "get": lambda: store.get("row")}
    usual = module.open_file

    def open_file(*arguments: Any) -> Any:
        handle = usual(*arguments)
        if not found:
            found.append(None)
            found[0] = calls[use]()
        return handle

    monkeypatch.setattr(module, "open_file", open_file)

    def swap() -> None:
        found.append(store.compare_and_set("row", None, b"value", 60))

    thread = threading.Thread(target=swap, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert found == [None, True]
    assert store.get("row") == b"value"


def test_used_while_a_file_is_created(store, monkeypatch):
    """A signal's handler that uses the store while its file is created gets an error.

    Closing the new file would drop the locks of a connection that it had opened.
    """
    errors, create = [], os.open

    def opened(*arguments: Any) -> int:
        with pytest.raises(StoreError, match="being created") as raised:
            store.get("row")
        errors.append(raised)
        return create(*arguments)

    monkeypatch.setattr(os, "open", opened)
    assert store.compare_and_set("row", None, b"value", 60)
    assert len(errors) == 1
    assert store.get("row") == b"value"


def test_connection_is_closed_with_its_thread(store: SQLiteStore) -> None:
    """A connection is closed when its thread ends."""
    for _ in range(5):
        thread = threading.Thread(target=store.get, args=["row"])
        thread.start()
        thread.join()
    gc.collect()  # for PyPy, which does not count references
    assert len(store._open_here) == 0


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later chdir() does not lead to another file."""
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("here.sqlite3")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.get("row")
    store.close()
    assert (tmp_path / "here.sqlite3").exists()


def test_a_path_is_not_a_uri(tmp_path: Path) -> None:
    """Characters with a meaning in URIs are part of the file's name."""
    path = tmp_path / "a?mode=memory#%41 b.sqlite3"
    store = SQLiteStore(path)
    store.compare_and_set("row", None, b"value", 60)
    store.close()
    assert path.exists()


def test_expired_rows_leave_the_file(path: Path, clock: Any) -> None:
    """Expired rows that are not read again are deleted by later swaps."""
    store = SQLiteStore(path, clock=clock)
    for number in range(20):
        store.compare_and_set(f"old{number}", None, b"value", 10)
    clock.advance(11)
    for number in range(32):
        store.compare_and_set(f"new{number}", None, b"value", 1000)
    store.close()
    assert rows(path) == 32


# --- files that are not ours -------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look", b"x" * 8192]
)
def test_other_file_is_an_error(store: SQLiteStore, path: Path, content: bytes) -> None:
    """A file that is not a database is an error, and is left unchanged."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match="NOTADB"):
        store.get("row")
    with pytest.raises(StoreError, match="NOTADB"):
        store.compare_and_set("row", None, b"value", 60)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE users (name)",
        "CREATE TABLE entries (id, title)",
        "PRAGMA application_id = 77",
        "PRAGMA user_version = 1",
    ],
)
def test_a_foreign_database_is_an_error(
    store: SQLiteStore, path: Path, made: str
) -> None:
    """Another application's database is an error, and is left unchanged."""
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute(made)
        foreign.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another application's"):
        store.get("row")
    with pytest.raises(StoreError, match="another application's"):
        store.compare_and_set("row", None, b"value", 60)
    assert path.read_bytes() == before


def test_another_layout_is_an_error(store: SQLiteStore, path: Path) -> None:
    """The store's own file with another version's layout is an error."""
    store.get("row")
    store.close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="another version"):
        store.get("row")


def test_a_damaged_file_is_an_error(store: SQLiteStore, path: Path) -> None:
    """Damaged pages are an error, and the file is not replaced."""
    for number in range(50):
        store.compare_and_set(f"row{number}", None, b"x" * 500, 60)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"CORRUPT|NOTADB"):
        store.get("row1")
    with pytest.raises(StoreError, match=r"CORRUPT|NOTADB"):
        store.compare_and_set("row1", b"x" * 500, b"value", 60)
    assert path.read_bytes()[4096:8192] == b"\xa5" * 4096


def test_an_empty_file_is_taken(store: SQLiteStore, path: Path) -> None:
    """An empty file, as an installer may leave it, becomes the store's."""
    path.touch(0o600)
    assert store.compare_and_set("row", None, b"value", 60) is True


def test_a_file_that_vanished_is_an_error(store: SQLiteStore, path: Path) -> None:
    """A file that is deleted while the store uses it is an error, and not created
    again.
    """
    store.compare_and_set("row", None, b"value", 60)
    for each in list(path.parent.iterdir()):
        each.unlink()
    with pytest.raises(StoreError, match="gone"):
        store.compare_and_set("other", None, b"value", 60)
    store.close()
    with pytest.raises(StoreError, match="gone"):
        store.get("row")
    assert list(path.parent.iterdir()) == []


def test_a_file_that_was_exchanged_is_an_error(store: SQLiteStore, path: Path) -> None:
    """If the file is replaced by another of the same name, nothing is written to that
    one.
    """
    store.compare_and_set("row", None, b"value", 60)
    other = SQLiteStore(path.parent / "other.sqlite3")
    other.get("row")
    other.close()
    os.replace(path.parent / "other.sqlite3", path)
    with pytest.raises(StoreError, match="replaced while in use"):
        store.compare_and_set("row", b"value", b"new", 60)


def test_a_row_of_text_reads_as_bytes(store: SQLiteStore, path: Path) -> None:
    """A row that another program wrote as text is returned as bytes."""
    store.get("row")
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("INSERT INTO entries VALUES ('row', 'text', 9e9)")
    assert store.get("row") == b"text"


# --- failures ----------------------------------------------------------------------


def test_a_locked_file_is_an_error_in_time(store: SQLiteStore, path: Path) -> None:
    """A swap fails after waiting for the timeout, and works once the file is
    unlocked.
    """
    store.compare_and_set("row", None, b"old", 60)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreError, match="SQLITE_BUSY"):
            store.compare_and_set("row", b"old", b"new", 60)
        assert 0.15 < time.monotonic() - began < HANGS
        assert store.get("row") == b"old"
    assert store.compare_and_set("row", b"old", b"new", 60) is True


def test_the_queue_and_the_file_are_waited_for_once(path: Path) -> None:
    """Threads that queue for a locked file each fail after their own timeout."""
    took = []

    def write() -> None:
        began = time.monotonic()
        with pytest.raises(StoreError):
            store.compare_and_set("key", None, b"1", 60)
        took.append(time.monotonic() - began)

    with closing(SQLiteStore(path, timeout=1.5)) as store:
        store.compare_and_set("other", None, b"1", 60)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            threads = [threading.Thread(target=write) for _ in range(20)]
            for thread in threads:
                thread.start()
                time.sleep(0.02)  # so that each still has time left when it is next
            for thread in threads:
                thread.join()
            other.execute("ROLLBACK")
    assert len(took) == 20
    assert max(took) < 15  # one after the other they would take 30


def test_a_write_waits_for_another(path: Path) -> None:
    """A swap that finds the file locked continues as soon as it is unlocked."""
    store = SQLiteStore(path, timeout=10)
    store.get("row")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, other.execute, ["COMMIT"])
        release.start()
        assert store.compare_and_set("row", None, b"value", 60) is True
        release.join()
    store.close()


def test_an_error_quotes_nothing(store: SQLiteStore, path: Path) -> None:
    """An error has a cause, and contains neither key nor value."""
    store.get("row")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as failure:
            store.compare_and_set("the-key", None, b"the-value", 60)
    assert isinstance(failure.value.__cause__, sqlite3.OperationalError)
    assert "the-" not in str(failure.value)


def test_a_failing_release_hides_no_error(
    store: SQLiteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error inside a lock is raised even if releasing fails, which logs a
    WARNING.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        with pytest.raises(sqlite3.Error), store.lock("row", 60):
            other.executescript("BEGIN IMMEDIATE; no such statement")
        other.execute("ROLLBACK")
        with store.lock("row2", 60):
            other.execute("BEGIN IMMEDIATE")
    # At most one warning a second: on a slow machine the second lock logs another.
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "expire by itself" in caplog.text


@forks
def test_a_read_only_file_is_an_error() -> None:
    """If nothing may be written, swaps are errors and the file stays unchanged."""
    with tempfile.TemporaryDirectory() as home:  # all users may enter its parents
        path = Path(home) / "store.sqlite3"
        store = SQLiteStore(path)
        store.compare_and_set("row", None, b"value", 60)
        store.close()
        path.chmod(0o444)
        Path(home).chmod(0o555)

        def swap() -> object:
            if os.geteuid() == 0:  # root may write whatever the mode
                os.setuid(65_534)
            try:
                return store.compare_and_set("row", b"value", b"new", 60)
            except StoreError as error:
                return f"StoreError: {error}"

        assert in_child(swap).startswith("StoreError: SQLite could not ")
        assert store.get("row") == b"value"
        store.close()


# --- processes ---------------------------------------------------------------------


@pytest.mark.parametrize("is_held", [True, False])
def test_a_store_that_is_collected_closes_its_connections(
    path: Path, *, is_held: bool
) -> None:
    """A store that is collected in a cycle of references is closed without a warning.

    Python 3.13 and newer warn of an unclosed connection, which fails this test.
    """
    store: Any = SQLiteStore(path)
    store.get("row")
    handles = [store._local.connection.handle] if is_held else []
    store.itself = store
    del store
    gc.collect()
    for handle in handles:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            handle.execute("SELECT 1")


@forks
def test_a_child_leaves_its_parents_connections_alone(store: SQLiteStore) -> None:
    """A forked child opens its own connection, and closes none of its parent's."""
    store.compare_and_set("row", None, b"parent", 60)
    here, entered, leave = store._local.connection, threading.Event(), threading.Event()
    theirs: list[sqlite3.Connection] = []

    def stay() -> None:
        store.get("row")
        theirs.append(store._local.connection.handle)
        entered.set()
        leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait(10)

    def use() -> object:
        seen = store.get("row")
        swapped = store.compare_and_set("row", b"parent", b"child", 60)
        store.close()
        inherited = here.handle.execute("SELECT 1").fetchone()
        gc.collect()  # PyPy does not collect the other thread's by itself
        return seen, swapped, inherited, theirs[0] in sqlite_connection._parents

    # The other thread's connection is kept; the forking thread's is in `here`.
    assert in_child(use) == "(b'parent', True, (1,), True)"
    assert store.get("row") == b"child"
    assert store.compare_and_set("row", b"child", b"parent again", 60) is True
    leave.set()
    thread.join()


@forks
def test_a_child_does_not_wait_for_its_parents_lock(store: SQLiteStore) -> None:
    """A child that is forked while its parent opens a file can open the file itself."""
    with SQLiteStore._opening:
        assert in_child(lambda: store.get("row")) == "None"


COUNT = """
import sys
from tiktok_oauth_middleware import SQLiteStore
store = SQLiteStore(sys.argv[1], timeout=30)
done = 0
while done < 250:
    count = store.get("count")
    if count is None:
        done += store.compare_and_set("count", None, b"1", 600)
    else:
        done += store.compare_and_set("count", count, b"%d" % (int(count) + 1), 600)
store.close()
"""


def test_no_increment_is_lost_between_processes(path: Path) -> None:
    """Four processes that create the file together count to 1000 by swapping."""
    workers = [python(COUNT, path) for _ in range(4)]
    for worker in workers:
        worker.communicate(timeout=120)
    assert [worker.returncode for worker in workers] == [0] * 4
    store = SQLiteStore(path)
    assert store.get("count") == b"1000"
    store.close()
    assert integrity(path) == "ok"


WRITE = """
import sys
from tiktok_oauth_middleware import SQLiteStore
store = SQLiteStore(sys.argv[1])
number = 0
while True:
    assert store.compare_and_set(f"row{number}", None, b"x" * 2000, 600)
    print(number, flush=True)
    number += 1
"""


def test_written_rows_survive_a_crash(path: Path) -> None:
    """All rows that a process wrote before it was killed are there, and the file is
    sound.
    """
    worker = python(WRITE, path)
    assert worker.stdout is not None
    for line in worker.stdout:
        if int(line) == 200:
            break
    worker.send_signal(signal.SIGKILL)
    report = 200 + len(worker.stdout.readlines())
    worker.communicate()
    store = SQLiteStore(path)
    missing = [n for n in range(report + 1) if store.get(f"row{n}") != b"x" * 2000]
    assert missing == []
    assert store.compare_and_set("after", None, b"value", 60) is True
    store.close()
    assert integrity(path) == "ok"


@pytest.mark.parametrize("name", ["_CREATE", "_REPLACE", "_DELETE", "_GET", "_KEYS"])
def test_placeholders_have_no_numbers(name):
    """No statement has numbered placeholders, which Python 3.14 refuses with a
    tuple.
    """
    from tiktok_oauth_middleware.stores import sqlite

    statement = getattr(sqlite, name)
    assert "?" in statement
    assert not re.search(r"\?\d", statement)


def test_row_of_broken_text(store, path):
    """A row of text that is not valid UTF-8, such as after a flipped bit, can be read
    and replaced.
    """
    store.compare_and_set("row", None, b"sealed", 60)
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("UPDATE entries SET value = CAST(x'ff80' AS TEXT)")
    assert store.get("row") == b"\xff\x80"
    assert store.compare_and_set("row", b"\xff\x80", b"new", 60)
    assert store.get("row") == b"new"


# --- files as backups and administrators leave them ---------------------------------


def journal(path: Path) -> str:
    with closing(sqlite3.connect(path)) as other:
        return str(other.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.fixture
def restored(path: Path) -> Path:
    """Return a file as `VACUUM INTO` writes it, with one row."""
    source = path.with_name("source.sqlite3")
    store = SQLiteStore(source)
    store.compare_and_set("row", None, b"value", 600)
    store.close()
    with closing(sqlite3.connect(source)) as other:
        other.execute("VACUUM INTO ?", (str(path),))
    assert journal(path) == "delete"
    return path


def test_a_restored_file_has_a_wal(restored: Path) -> None:
    """A file that a backup left without a WAL gets one when it is first opened."""
    store = SQLiteStore(restored)
    assert store.get("row") == b"value"
    assert journal(restored) == "wal"
    store.close()


def test_a_wal_that_was_taken_away_comes_back(store: SQLiteStore, path: Path) -> None:
    """Every opening restores a missing WAL, not only the first."""
    store.compare_and_set("row", None, b"value", 600)
    store.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    assert store.compare_and_set("row", b"value", b"new", 600)
    assert journal(path) == "wal"


def test_a_restored_file_is_read_while_another_writes(restored: Path) -> None:
    """Reads of a restored file do not wait for a writer."""
    store = SQLiteStore(restored)
    store.get("row")
    with closing(sqlite3.connect(restored, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE entries SET value = x'00'")
        assert [store.get("row") for _ in range(20)] == [b"value"] * 20
        other.execute("ROLLBACK")
    store.close()


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Act as a user who may write neither a file nor its directory."""
    user = os.geteuid()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    if user == 0:  # root may write whatever the mode
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)
        path.parent.chmod(0o755)
        path.chmod(0o644)


@pytest.fixture
def open_home() -> Iterator[Path]:
    """Return a path whose parents all users may enter."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        yield Path(home) / "store.sqlite3"


@forks
def test_an_unwritable_file_is_read(open_home: Path) -> None:
    """A file in an unwritable directory is read; swaps are errors until it is writable.

    The same connections do both, without a restart.
    """
    store = SQLiteStore(open_home)
    store.compare_and_set("row", None, b"value", 600)
    store.close()
    with unwritable(open_home):
        assert store.get("row") == b"value"
        with pytest.raises(StoreError, match="READONLY"):
            store.compare_and_set("row", b"value", b"new", 600)
        assert store.get("row") == b"value"
        assert store.get("no such row") is None
    assert store.compare_and_set("row", b"value", b"new", 600)
    assert store.get("row") == b"new"
    store.close()


@forks
def test_an_unwritable_file_is_not_believed_to_stay(open_home: Path) -> None:
    """The next read of such a file sees another process's write."""
    store = SQLiteStore(open_home)
    store.compare_and_set("row", None, b"1", 600)
    store.close()
    with unwritable(open_home):
        assert store.get("row") == b"1"
    other = SQLiteStore(open_home)
    assert other.compare_and_set("row", b"1", b"2", 600)
    assert store.get("row") == b"2"
    other.close()
    store.close()
    with unwritable(open_home):
        assert store.get("row") == b"2"
    with closing(sqlite3.connect(open_home)) as written:  # checkpointed when closed
        written.execute("UPDATE entries SET value = ?", (b"3",))
        written.commit()
    assert store.get("row") == b"3"
    store.close()


def test_a_file_that_was_repaired_is_used_again(store: SQLiteStore, path: Path) -> None:
    """A connection that read a damaged page works after the file was repaired."""
    for number in range(50):
        store.compare_and_set(f"row{number}", None, b"x" * 500, 600)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(StoreError):
        store.get("row1")
    path.write_bytes(content)
    for each in Path(f"{path}-wal"), Path(f"{path}-shm"):
        each.unlink(missing_ok=True)
    assert store.get("row1") == b"x" * 500

"""The memory store in addition to the contract: sweeps, small rows, warnings."""

from __future__ import annotations

import gc
import logging
import sys
import sysconfig
import threading
import tracemalloc
from operator import length_hint
from typing import Any

import pytest

from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.stores import MemoryStore

from ..support.patience import HANGS
from ..support.processes import in_child


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)


def test_expired_rows_are_swept_by_writes(clock: Any) -> None:
    """Later writes delete expired rows that are not read again."""
    store = MemoryStore(clock=clock)
    for number in range(1000):
        store.compare_and_set(f"old{number}", None, b"value", 10)
    clock.advance(11)
    for number in range(600):
        store.compare_and_set(f"new{number}", None, b"value", 1000)
    assert len(store._values) == 600


def test_a_write_examines_few_rows(clock: Any) -> None:
    """A write deletes only a few expired rows, however many there are."""
    store = MemoryStore(clock=clock)
    for number in range(1000):
        store.compare_and_set(f"old{number}", None, b"value", 10)
    clock.advance(11)
    store.compare_and_set("new", None, b"value", 1000)
    assert 990 < len(store._values) <= 1001


def test_a_row_that_is_written_often_is_kept_once(clock: Any) -> None:
    """Swapping one row repeatedly does not make the store larger."""
    store = MemoryStore(clock=clock)
    store.compare_and_set("row", None, b"0", 10)
    for number in range(1000):
        store.compare_and_set("row", b"%d" % number, b"%d" % (number + 1), 10)
    assert len(store._values) == 1
    assert length_hint(store._round) <= 1


def test_rows_need_little_memory_and_no_tracked_objects() -> None:
    """100,000 rows cost at most 200 bytes each besides the value, and no tracked
    objects.
    """
    keys = [
        f"tiktok:{{0123456789abcdef}}:grant:{number:032}" for number in range(10**5)
    ]
    value = b"x" * 500
    weight = sum(map(sys.getsizeof, keys))
    store = MemoryStore()
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    for key in keys:
        store.compare_and_set(key, None, value, 3600)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    gc.collect()
    # An object is larger on a build without the lock.
    limit = 300 if sysconfig.get_config_var("Py_GIL_DISABLED") else 250
    assert (used + weight) / len(keys) <= limit
    assert used / len(keys) <= 200
    assert len(gc.get_objects()) - objects < 100
    if sys.version_info < (3, 14):  # from 3.14 on every dictionary is tracked
        assert not gc.is_tracked(store._values)
        assert not gc.is_tracked(store._expires)


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_child_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    """A forked child warns at its first use that it does not share users."""
    store = MemoryStore()
    store.get("row")
    assert not caplog.records

    def use() -> list[str]:
        store.get("row")
        store.compare_and_set("row", None, b"value", 60)
        return [record.getMessage() for record in caplog.records]

    report = in_child(use)
    assert report.count("every worker would have its own users") == 1
    assert "forked" in report


def test_several_workers_are_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WEB_CONCURRENCY above one logs one WARNING at the first use."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    store = MemoryStore()
    store.get("row")
    store.get("row")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "tiktok_oauth_middleware"
    assert "WEB_CONCURRENCY is 4" in record.getMessage()


@pytest.mark.parametrize("workers", ["", "1", "many", "-2"])
def test_one_worker_logs_no_warning(
    workers: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WEB_CONCURRENCY of one, or one that is not a number, logs no warning."""
    monkeypatch.setenv("WEB_CONCURRENCY", workers)
    MemoryStore().get("row")
    assert not caplog.records


def test_rows_stay_after_close() -> None:
    """Closing the store keeps its rows."""
    store = MemoryStore()
    store.compare_and_set("row", None, b"value", 60)
    store.close()
    assert store.get("row") == b"value"


def test_used_inside_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler can read the store during a write, and is refused to write.

    The write that it interrupts has compared the row already, and would undo the other.
    """
    store, found = MemoryStore(), []

    def sweep() -> None:
        found.append(store.get("row"))
        found.append(store.keys(""))
        with pytest.raises(StoreError, match="signal"):
            store.compare_and_set("row", b"value", b"other", 60)

    monkeypatch.setattr(store, "_sweep", sweep)
    thread = threading.Thread(
        target=lambda: found.append(store.compare_and_set("row", None, b"value", 60)),
        daemon=True,
    )
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert found == [b"value", ["row"], True]
    monkeypatch.undo()
    assert store.compare_and_set("row", b"value", b"new", 60)

"""The host's clock is set while a lock is held."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tiktok_oauth_middleware import MemoryStore, SQLiteStore
from tiktok_oauth_middleware.stores import swap_locks
from tiktok_oauth_middleware.stores.paging import SWEEP_EVERY

from ..support.patience import HANGS
from ..support.processes import forks, in_child

LONG = 3600.0
YEAR = 366 * 86400.0


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: Any, tmp_path: Any) -> Any:
    """Return two stores with the same rows, as two processes or threads have them."""
    if request.param == "memory":
        yield (store := MemoryStore()), store
        return
    path = tmp_path / "store.sqlite3"
    one, other = SQLiteStore(path), SQLiteStore(path)
    yield one, other
    one.close()
    other.close()


def set_clock(stores: Any, seconds: float) -> None:
    for store in stores:
        store._clock = lambda: time.time() + seconds


def is_free(store: Any, key: str = "key") -> bool:
    with store.lock(key, LONG) as is_held:
        return bool(is_held)


@pytest.mark.parametrize("step", [2 * LONG, 60 * YEAR, -60.0])
def test_step(stores: Any, step: float) -> None:
    """A lock stays with its holder, who can renew and release it."""
    one, other = stores
    with one.lock("key", LONG) as is_held:
        assert is_held
        set_clock(stores, step)
        assert not is_free(other)
        for number in range(2 * SWEEP_EVERY):
            other.compare_and_set(f"row{number}", None, b"value", LONG)
        assert not is_free(other)
    assert is_free(other)


def test_renewal(stores: Any) -> None:
    """A holder can renew a lock after such a step, and loses it to no other."""
    one, other = stores
    lock = one.lock("key", LONG)
    with lock:
        set_clock(stores, YEAR)
        assert lock.renew(LONG)
        assert not is_free(other)


def test_end(stores: Any) -> None:
    """A lock that is not released ends after its time."""
    one, other = stores
    assert one.lock("key", 0.05).__enter__()
    set_clock(stores, -YEAR)
    deadline = time.monotonic() + HANGS
    while not is_free(other):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("clock", [None, time.time, lambda: time.time() - YEAR])
def test_sweep(clock: Any, tmp_path: Any) -> None:
    """The row of a lock that was never released, and never taken again, is dropped."""
    options = {"clock": clock} if clock else {}
    memory = MemoryStore(**options)
    sqlite = SQLiteStore(tmp_path / "store.sqlite3", **options)
    for store in (memory, sqlite):
        for number in range(5):
            assert store.lock(f"key{number}", 0.01).__enter__()
        with store.lock("held", LONG):
            deadline = time.monotonic() + HANGS
            while len(store.keys("")) > 1:
                assert time.monotonic() < deadline
                for _ in range(SWEEP_EVERY // 2):
                    assert store.compare_and_set("row", None, b"value", LONG)
                    assert store.compare_and_set("row", b"value", None, LONG)
            assert store.keys("") == ["held:lock"]
            assert not is_free(store, "held")
    sqlite.close()


def test_rows_expire_by_the_clock(stores: Any) -> None:
    """Rows that are no locks expire by the clock that was set."""
    one, other = stores
    one.compare_and_set("row", None, b"value", LONG)
    set_clock(stores, YEAR)
    assert other.get("row") is None
    assert other.compare_and_set("row", None, b"new", LONG)


class TestRestart:
    """The host restarts while a lock is held: its monotonic clock begins anew."""

    @pytest.fixture
    def monotonic(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Return a function that sets the clock of locks."""

        def set_to(seconds: float) -> None:
            monkeypatch.setattr(swap_locks.time, "monotonic", lambda: seconds)

        yield set_to
        monkeypatch.undo()

    @pytest.mark.parametrize("uptime", [100.0, 30 * 86400.0])
    def test_lock_of_before(self, uptime: float, tmp_path: Any, monotonic: Any) -> None:
        """A lock from before the restart is free, so that no user waits for days."""
        path = tmp_path / "store.sqlite3"
        monotonic(uptime)
        store = SQLiteStore(path)
        assert store.lock("key", 2.5).__enter__()
        store.close()
        monotonic(5.0)
        store = SQLiteStore(path)
        with store.lock("key", 2.5) as is_held:
            assert is_held
        store.close()


@forks
def test_child(tmp_path: Any) -> None:
    """All processes of a host have the same clock for locks."""
    store = SQLiteStore(tmp_path / "store.sqlite3")
    with store.lock("key", LONG):
        assert in_child(lambda: is_free(store)) == "False"
    assert in_child(lambda: is_free(store)) == "True"
    store.close()

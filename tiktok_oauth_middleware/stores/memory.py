"""A store in this process's memory: for development, tests and a single worker.

Values and expiry times are two dictionaries of strings, bytes and numbers, which the
garbage collector does not track: 100,000 users add no object to a full collection,
while one object for each row would add milliseconds. Up to CPython 3.13 it does not
scan the dictionaries themselves either; from 3.14 on it scans each once. Each process
has its own store, so it does not work with several workers, and logs a warning about
that.
"""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.log import logger as log
from tiktok_oauth_middleware._core.workers import several_workers
from tiktok_oauth_middleware.errors import StoreError

from .base import Waits, refuse_empty_swap
from .paging import PAGE, ROWS
from .swap_locks import SwapLock, clock_of_locks, is_lock_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

#: Rows that each write checks for expiry. A write adds at most one row, so any number
#: above one is enough; a larger one finds expired rows sooner.
_LOOKED_AT = 4


class MemoryStore:
    """Rows in memory, which are lost when the process ends.

    Args:
        clock: Seconds since 1970, for expiry.
    """

    waits: ClassVar[Waits] = "never"
    renews: ClassVar[bool] = True
    #: Whether other processes can read the same rows.
    is_shared: ClassVar[bool] = False

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock_clock = clock_of_locks(clock)
        self._values: dict[str, bytes] = {}
        self._expires: dict[str, float] = {}
        self._round: Iterator[str] = iter(())
        # A signal's handler may come while its own thread writes: it may read, but a
        # write inside another would be lost.
        self._lock = threading.RLock()
        self._is_writing = False
        self._is_forked = False
        self._has_checked_workers = False
        register_after_fork(self)

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        if not self._has_checked_workers:
            self.check_workers()
        return self._find(key, self._clock())

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        refuse_empty_swap(old, new)
        if not self._has_checked_workers:
            self.check_workers()
        now = self._now(key)
        with self._lock:
            if self._is_writing:
                message = "a signal's handler wrote to the store during another write"
                raise StoreError(message)
            self._is_writing = True
            try:
                if self._find(key, now) != old:
                    return False
                self._put(key, new, now + ttl)
                self._sweep()
                return True
            finally:
                self._is_writing = False

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        # A copy, made in one step: other threads write.
        now, rows = self._clock(), self._expires.copy().items()
        return [key for key, end in rows if end > now and key.startswith(prefix)]

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """Yield the keys that begin with `prefix`, a thousand at a time."""
        keys = iter(self.keys(prefix))
        while page := [*islice(keys, PAGE)]:
            yield page

    def rows(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys begin with `prefix`, several at a time."""
        keys = iter(self.keys(prefix))
        while page := [*islice(keys, ROWS)]:
            found = ((key, self.get(key)) for key in page)
            yield [(key, value) for key, value in found if value is not None]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        return [self.get(key) for key in keys]

    def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        swap = self.compare_and_set
        return [swap(key, None, value, ttl) for key, value, ttl in rows]

    def close(self) -> None:
        """Do nothing: there are no connections to close, and the rows stay."""

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._values)} rows)"

    def _find(self, key: str, now: float) -> bytes | None:
        expires = self._expires.get(key)
        if expires is None or expires <= now:
            return None
        return self._values.get(key)

    def _put(self, key: str, value: bytes | None, expires: float) -> None:
        # A fork or a read may come between two lines. In this order a row is always
        # either complete or counts as missing.
        if value is None:
            self._expires.pop(key, None)
            self._values.pop(key, None)
        else:
            self._values[key] = value
            self._expires[key] = expires

    def _now(self, key: str) -> float:
        """Return the time by which a row expires."""
        return self._lock_clock() if is_lock_row(key) else self._clock()

    def _sweep(self) -> None:
        """Check the next few rows, in rotation, and drop expired ones."""
        looked_at = tuple(islice(self._round, _LOOKED_AT))
        if not looked_at:
            # A tuple of strings, which the garbage collector does not track either.
            self._round = iter(tuple(self._values))
        for key in looked_at:
            if self._expires.get(key, 0) <= self._now(key):
                self._put(key, None, 0)

    def after_fork(self) -> None:
        """Make a new lock: the holder of the old one does not exist in this process."""
        self._lock = threading.RLock()
        self._is_writing = False
        self._is_forked = True
        self._has_checked_workers = False

    def check_workers(self, evidence: str | None = None) -> None:
        """Warn if this process is one of several, which do not share this store.

        Called when a middleware is built around it, and at the first use in each child
        of a fork.

        Args:
            evidence: How the caller detected several workers; None to check here.
        """
        self._has_checked_workers = True
        reason = evidence or (
            "this process was forked" if self._is_forked else several_workers()
        )
        if reason is not None:
            log.warning(
                "the memory store is not shared, and %s: every worker would have its"
                " own users, signed in at one and not at the next; set store to"
                " redis:// or a database, or on one host to sqlite:///",
                reason,
            )

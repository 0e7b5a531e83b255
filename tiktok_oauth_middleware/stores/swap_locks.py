"""Locks that are built on a store's swap: a row names the owner until it expires."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tiktok_oauth_middleware._core.log import logger as log
from tiktok_oauth_middleware.errors import StoreError

if TYPE_CHECKING:
    from .base import Store


_LOCK = ":lock"
#: Added to the monotonic clock, so that a sweep by the wall clock drops no lock's row:
#: in seconds since 1970 it is the year 2242. Rows that end later are locks.
LOCKS_START = 2.0**33


def clock_of_locks(clock: Callable[[], float]) -> Callable[[], float]:
    """Return the clock by which the locks of a store on one host end.

    If the host's clock is set forward while a token is refreshed, the lock must not be
    free, or another process would send the same refresh token. `time.monotonic` cannot
    be set, and all processes of a host share it. It begins anew at a restart of the
    host, so the end of a lock can lie further ahead than any lock is held.

    Args:
        clock: of the store's rows; if it is not the host's, locks use it too.
    """
    return _steady_time if clock is time.time else clock


def _steady_time() -> float:
    return LOCKS_START + time.monotonic()


def is_lock_row(key: str) -> bool:
    """Whether a row stands for a lock."""
    return key.endswith(_LOCK)


def lock_row(key: str) -> str:
    """Return the row that stands for the lock of `key`.

    Our keys carry a ``{hash tag}``; what is appended leaves the row in the same slot
    of a Redis cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
    """
    return f"{key}{_LOCK}"


def lock_owner() -> bytes:
    """Return a random name, unique to one holder of a lock."""
    return os.urandom(16)


class SwapLock:
    """A lock built on a store's swap: a row that names its owner until it expires."""

    def __init__(self, store: Store, key: str, ttl: float) -> None:
        self._store = store
        self._row = lock_row(key)
        self._owner = lock_owner()
        self._ttl = ttl
        self._held = False

    def __enter__(self) -> bool:
        """Return whether the lock was obtained."""
        self._held = self._store.compare_and_set(
            self._row, None, self._owner, self._ttl
        )
        return self._held

    def renew(self, ttl: float) -> bool:
        """Hold the lock for `ttl` seconds from now; False if it was lost already."""
        return self._store.compare_and_set(self._row, self._owner, self._owner, ttl)

    def __exit__(self, *_: object) -> None:
        """Release the lock, if it is still ours."""
        if not self._held:
            return
        # The work under the lock is done: a failure to release the lock must not
        # replace its result or its error. The next holder waits until the lease ends.
        try:
            self._store.compare_and_set(self._row, self._owner, None, 0)
        except StoreError as error:
            log_unreleased(error)


class SwapsInLoop(Protocol):
    """A store whose swap is awaited."""

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new` atomically; see `Store.compare_and_set`."""
        ...


class AsyncSwapLock:
    """`SwapLock`, for a store that is used in an event loop."""

    def __init__(self, store: SwapsInLoop, key: str, ttl: float) -> None:
        self._store = store
        self._row = lock_row(key)
        self._owner = lock_owner()
        self._ttl = ttl
        self._held = False

    async def __aenter__(self) -> bool:
        """Return whether the lock was obtained."""
        swap = self._store.acompare_and_set
        self._held = await swap(self._row, None, self._owner, self._ttl)
        return self._held

    async def renew(self, ttl: float) -> bool:
        """Hold the lock for `ttl` seconds from now; False if it was lost already."""
        swap = self._store.acompare_and_set
        return await swap(self._row, self._owner, self._owner, ttl)

    @property
    def renew_blocking(self) -> Callable[[float], bool] | None:
        """The function that renews the lock from a thread, while the loop is busy.

        None if the store cannot block: see its ``has_blocking_methods``.
        """
        if not getattr(self._store, "has_blocking_methods", False):
            return None
        store: Any = self._store
        row, owner = self._row, self._owner
        return lambda ttl: bool(store.compare_and_set(row, owner, owner, ttl))

    async def __aexit__(self, *_: object) -> None:
        """Release the lock, if it is still ours."""
        from anyio import CancelScope

        if not self._held:
            return
        # A cancelled task must release it, too, or the next waits until the lease ends.
        with CancelScope(shield=True):
            try:
                await self._store.acompare_and_set(self._row, self._owner, None, 0)
            except StoreError as error:
                log_unreleased(error)


def log_unreleased(error: StoreError) -> None:
    """Log that a lock stays until its lease ends."""
    log.warning("a lock could not be released and will expire by itself: %s", error)

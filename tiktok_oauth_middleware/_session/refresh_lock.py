"""The store's lock on a user's record, and refreshes that must not be waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from tiktok_oauth_middleware._core.backends.base import running_loop
from tiktok_oauth_middleware.errors import StoreError

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Meanwhile
    from tiktok_oauth_middleware._core.store_adapter import LockHandle

    from .records import Records


class LockLostError(Exception):
    """The store's lock was lost before TikTok was asked."""


class RefreshLock(NamedTuple):
    """The answer to a request for the store's lock on a record."""

    handle: LockHandle
    #: How long it lasts without a renewal, in seconds.
    lease: float
    #: Whether a thread renews it.
    is_kept: bool
    #: When it was requested, by the monotonic clock.
    requested_at: float

    @property
    def is_held(self) -> bool:
        """Whether it was obtained."""
        return bool(self.handle)

    async def check(self) -> None:
        """Renew the lock if this process was so slow that another may have it by now.

        Raises:
            LockLostError: it was lost, or not obtained.
            StoreError: the store failed.
        """
        if not self.is_held:
            raise LockLostError
        is_late = time.monotonic() - self.requested_at > self.lease / 2
        if is_late and not await self.handle.renew(self.lease):
            raise LockLostError

    @property
    def meanwhile(self) -> Meanwhile | None:
        """What to await while TikTok answers; None if a thread renews the lock."""
        return self.keep if self.is_held and not self.is_kept else None

    async def keep(self) -> None:
        """Renew the lock; if that fails or comes too late, the write notices it."""
        with contextlib.suppress(StoreError):
            await self.handle.renew(self.lease)


@contextlib.asynccontextmanager
async def try_lock(
    records: Records, record_id: str, lease: float
) -> AsyncIterator[RefreshLock]:
    """Try to take the store's lock on a record for the block, without waiting.

    Args:
        records: in the store.
        record_id: of the record.
        lease: how long the lock lasts without a renewal, in seconds.

    Raises:
        StoreError: the store failed, before the block.
    """
    requested_at = time.monotonic()
    async with records.lock(record_id, lease) as handle:
        with handle.keep_renewed(lease) as is_kept:
            yield RefreshLock(handle, lease, is_kept, requested_at)


# --- refreshes that end only when the running code has returned ------------------


class _Ongoing:
    """A refresh that has not ended."""

    __slots__ = ("is_over", "record_id")

    def __init__(self, record_id: str) -> None:
        self.record_id = record_id
        self.is_over = False


#: The refreshes that the running code is a part of: a signal's handler runs on the
#: stack of the main thread's refresh, and may call `TikTokTokens`.
_ongoing: ContextVar[tuple[_Ongoing, ...]] = ContextVar("tiktok_refresh", default=())


#: The refreshes in each event loop, which code that blocks the loop must not wait for.
_in_loops: WeakKeyDictionary[object, set[_Ongoing]] = WeakKeyDictionary()


@contextlib.contextmanager
def noted(record_id: str) -> Iterator[None]:
    """Note that code inside is a part of a user's refresh, for `is_held_up`."""
    mine, loop = _Ongoing(record_id), running_loop()
    beside = set() if loop is None else _in_loops.setdefault(loop, set())
    beside.add(mine)
    before = _ongoing.set((*_ongoing.get(), mine))
    try:
        yield
    finally:
        # A task that was begun meanwhile keeps a copy of the context.
        mine.is_over = True
        beside.discard(mine)
        _ongoing.reset(before)


def is_held_up(record_id: str, *, is_blocking: bool) -> bool:
    """Whether the running code holds up a refresh of this user's token.

    It is a part of that refresh; or it blocks the event loop in which that refresh is
    a task.

    Args:
        record_id: of the user.
        is_blocking: whether the code would wait without letting the event loop run.
    """
    ongoing = _ongoing.get()
    if is_blocking and (loop := running_loop()) is not None:
        ongoing = (*ongoing, *_in_loops.get(loop, ()))
    return any(each.record_id == record_id and not each.is_over for each in ongoing)

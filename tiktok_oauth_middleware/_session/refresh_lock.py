"""The store's lock on a user's record, and what the running code is a part of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware.errors import StoreError

if TYPE_CHECKING:
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


# --- work that is under way on this stack ----------------------------------------


class _Ongoing:
    """A refresh that has not ended."""

    __slots__ = ("is_over", "record_id")

    def __init__(self, record_id: str) -> None:
        self.record_id = record_id
        self.is_over = False


#: The refreshes that the running code is a part of: a signal's handler runs on the
#: stack of the main thread's refresh, and may call `TikTokTokens`.
_ongoing: ContextVar[tuple[_Ongoing, ...]] = ContextVar("tiktok_refresh", default=())


@contextlib.contextmanager
def noted(record_id: str) -> Iterator[None]:
    """Note in the context that code inside is a part of a user's refresh."""
    mine = _Ongoing(record_id)
    before = _ongoing.set((*_ongoing.get(), mine))
    try:
        yield
    finally:
        # A task that was begun meanwhile keeps a copy of the context.
        mine.is_over = True
        _ongoing.reset(before)


def is_part_of_refresh(record_id: str) -> bool:
    """Whether the running code is a part of a refresh of this user's token."""
    return any(
        each.record_id == record_id and not each.is_over for each in _ongoing.get()
    )

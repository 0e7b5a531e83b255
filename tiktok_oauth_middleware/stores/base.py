"""The protocols of a store, and code that our stores share.

A store keeps rows of bytes by key, each until it expires. It has four methods, chosen
so that every flow is one read and one swap: a caller replaces a row only by naming the
value that it replaces. For a missing row the result is None or False; if the store
cannot answer, it raises `StoreError`.

A store receives ciphertext and keeps no secret of its own. It may be slow, so it
declares when its calls may block (``waits``, see `Store`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
)
from typing import Any, Literal, Protocol, TypeVar

from tiktok_oauth_middleware._core.log import logger as log
from tiktok_oauth_middleware.errors import StoreError

T = TypeVar("T")

#: How long the calls of a store may block the thread they are made in.
Waits = Literal["never", "writes", "always"]


class Store(Protocol):
    """Rows of bytes by key, each with a time to live; safe to use from any thread.

    Every failure is a `StoreError`, raised ``from`` the store's own exception. A store
    must also raise it if it has no answer within about two seconds.

    A class may say in an attribute ``waits`` how long its calls block, so that an
    event loop need not send all of them to a thread: ``"never"`` (memory),
    ``"writes"`` (reads take microseconds, writes wait for a disk: SQLite) or
    ``"always"`` (a network). The protocol does not require it: a store without it
    counts as ``"always"``.

    What `lock` returns may have a method ``renew(ttl)``, which holds the lock for `ttl`
    seconds from now and returns whether it was still held. A class whose locks have one
    sets an attribute ``renews``, and is then asked for short leases.
    """

    def get(self, key: str) -> bytes | None:
        """Return the value of a row that has not expired; None if there is none."""

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new` atomically, and return whether `old` was there.

        Args:
            key: The row.
            old: The value that must be there; None: no row, or an expired one.
            new: The new value; None deletes the row.
            ttl: Seconds until the row counts as missing; zero or less is at once.
                Ignored if `new` is None.

        Raises:
            ValueError: `old` and `new` are both None: there is nothing to do.
        """
        ...

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock of `key` inside the block; False if another caller holds it.

        It does not wait. A lock is a lease of `ttl` seconds: a holder that keeps it
        longer has lost it, and its exit then does not release the next holder's lock.
        """
        ...

    def close(self) -> None:
        """Close connections and files; the rows stay."""
        ...


class Listing(Protocol):
    """An optional method of a store, for callers that process all users.

    No request needs it; `TikTokTokens.refresh_expiring` and the command line do.
    """

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        ...


class Paging(Protocol):
    """An optional method of a store, for callers that process very many rows.

    Without it `Listing.keys` is called, which returns every key at once.
    """

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """Yield the keys that begin with `prefix` in lists of a thousand or so.

        A row that exists during the whole call is in one of the lists, or in several. A
        row that is written or deleted meanwhile may be missing.
        """
        ...


class RowPaging(Protocol):
    """An optional method of a store, for callers that read very many rows.

    Without it `Paging.pages` is called for the keys, and `get` for each row. It is also
    not called on a subclass that overrides ``get``, ``keys`` or ``pages``, because
    ``rows`` may then not agree with them.
    """

    def rows(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Yield keys that begin with `prefix` with their values, in short lists.

        `Paging.pages` says which rows are in them.
        """
        ...


class Batches(Protocol):
    """Two optional methods of a store, for callers that read and write very many rows.

    Without them each row is read by `Store.get` and written by `Store.compare_and_set`.
    They are also not called on a subclass that overrides those.
    """

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys; None if missing."""
        ...

    def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that is missing; return which were written, in order.

        An expired row counts as missing. A row that another caller writes at the same
        time stays as it is. After a StoreError any of the rows may have been written.

        Args:
            rows: Keys, values and times to live in seconds, as
                `Store.compare_and_set` takes them. Each key appears once.
        """
        ...


class AsyncStore(Protocol):
    """The same four methods, for a store that is written for asyncio."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of a row that has not expired; None if there is none."""

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new` atomically; see `Store.compare_and_set`."""
        ...

    def lock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock of `key` inside the block if it is free; see `Store.lock`."""
        ...

    async def close(self) -> None:
        """Close connections and files; the rows stay."""


# --- what our stores share ---------------------------------------------------------

#: Keys in a page of `Paging.pages`.
PAGE = 1000
#: Rows in a page of `RowPaging.rows`: a record with 50 sessions has 4 kB.
ROWS = 250
#: Rows of one statement that writes many.
BATCH = 100
#: The most expired rows that a sweep deletes, and the swaps from one sweep to the next.
SWEPT_ROWS, SWEEP_EVERY = 100, 32


def pages_by_key(
    page: Callable[[str], list[str]], after: str, length: int = PAGE
) -> Iterator[list[str]]:
    """Yield the pages of a store that lists its keys in order.

    Args:
        page: Returns the next keys after one, in order; fewer than `length` at the end.
        after: The key after which to begin.
        length: Keys in a full page.
    """
    while True:
        keys = page(after)
        if keys:
            yield keys
            after = keys[-1]
        if len(keys) < length:
            return


def rows_by_key(
    page: Callable[[str], list[tuple[str, bytes]]], after: str
) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the pages of a store that lists its rows in the order of their keys.

    Args:
        page: Returns the next rows after a key, in order; fewer than `ROWS` at the end.
        after: The key after which to begin.
    """
    while True:
        rows = page(after)
        if rows:
            yield rows
            after = rows[-1][0]
        if len(rows) < ROWS:
            return


def in_batches(items: Sequence[T], length: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield a sequence in parts of `length` items; the last may be shorter."""
    for start in range(0, len(items), length):
        yield items[start : start + length]


def refuse_empty_swap(old: bytes | None, new: bytes | None) -> None:
    """Raise ValueError for a swap from nothing to nothing."""
    if old is None and new is None:
        message = "old and new are both None; a swap must create, replace or delete"
        raise ValueError(message)


def lock_row(key: str) -> str:
    """Return the row that stands for the lock of `key`.

    Our keys carry a ``{hash tag}``; what is appended leaves the row in the same slot
    of a Redis cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
    """
    return f"{key}:lock"


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
        # A cancelled task must release it, too, or the next would wait for the lease.
        with CancelScope(shield=True):
            try:
                await self._store.acompare_and_set(self._row, self._owner, None, 0)
            except StoreError as error:
                log_unreleased(error)


def log_unreleased(error: StoreError) -> None:
    """Log that a lock stays until its lease ends."""
    log.warning("a lock could not be released and will expire by itself: %s", error)

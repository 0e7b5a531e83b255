"""The protocols of a store: which methods it has, and what they promise.

A store keeps rows of bytes by key, each until it expires. It has four methods, chosen
so that every flow is one read and one swap: a caller replaces a row only by naming the
value that it replaces. For a missing row the result is None or False; if the store
cannot answer, it raises `StoreError`.

A store receives ciphertext and keeps no secret of its own. It may be slow, so it
declares when its calls may block (``waits``, see `Store`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Literal, Protocol

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


def refuse_empty_swap(old: bytes | None, new: bytes | None) -> None:
    """Raise the ValueError of `Store.compare_and_set` for a swap of None for None."""
    if old is None and new is None:
        message = "old and new are both None; a swap must create, replace or delete"
        raise ValueError(message)

"""Attempts to refresh a user's tokens, noted in the store before TikTok is asked.

If a process dies or is suspended during the call, the note tells the next process that
the only refresh token may already have been used.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware.errors import StoreError

from .record import generation_of
from .rows import row_key, swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

    from .record import UserRecord
    from .versioned_record import VersionedRecord


class Attempt(NamedTuple):
    """One process's attempt to refresh a user's tokens."""

    #: The value that marks this attempt in the store.
    note: bytes
    #: Whether an earlier attempt with the same tokens began and did not finish.
    is_second: bool


class Attempts:
    """The attempts of one app's processes."""

    def __init__(self, space: str, store: StoreAdapter) -> None:
        """Take the key prefix and the store of `Records`."""
        self._space = space
        self._store = store

    def _key(self, record_id: str) -> str:
        return row_key(self._space, "attempt", record_id)

    async def begin(self, stored: VersionedRecord, seconds: float) -> Attempt:
        """Note in the store that this process is about to refresh a user's tokens.

        This is a separate write before the call, so that a store that accepts no writes
        is noticed before the only refresh token is used.

        Args:
            stored: the user's record.
            seconds: how long the note is kept: the longest time an attempt takes.

        Raises:
            StoreError: the store failed.
        """
        key, generation = self._key(stored.record_id), generation_of(stored.record)
        note, other = generation + os.urandom(8), None
        for _ in swap_attempts():
            # There is usually no note, so the first attempt does not read one.
            if await self._store.compare_and_set(key, other, note, seconds):
                is_second = other is not None and other.startswith(generation)
                return Attempt(note, is_second=is_second)
            other = await self._store.get(key)
        raise AssertionError  # swap_attempts has raised

    async def is_under_way(self, record_id: str, record: UserRecord) -> bool:
        """Whether an attempt with a record's tokens began and did not finish.

        Raises:
            StoreError: the store failed.
        """
        note = await self._store.get(self._key(record_id))
        return note is not None and note.startswith(generation_of(record))

    async def is_alone(self, record_id: str, attempt: Attempt) -> bool:
        """Whether no other process can have the answer to the same refresh token.

        A note that is missing or was replaced means that this process was suspended
        for so long that another may have taken over.

        Raises:
            StoreError: the store failed.
        """
        found = await self._store.get(self._key(record_id))
        return not attempt.is_second and found == attempt.note

    async def end(self, record_id: str, attempt: Attempt) -> None:
        """Delete the note, if it is still ours; if the store fails, it expires."""
        with contextlib.suppress(StoreError):
            key = self._key(record_id)
            await self._store.compare_and_set(key, attempt.note, None, 0)

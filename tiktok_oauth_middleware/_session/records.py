"""The users' records in the store: named, sealed, read and swapped.

There is one record for each TikTok user of an app. Every change is a compare-and-swap
on the sealed bytes that were read: a second writer reads again and does not undo the
first write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.encryption import Box
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.errors import StoreError

from .attempts import Attempts
from .deliveries import Deliveries
from .denied_scopes import DeniedScopes
from .lifetimes import Lifetimes
from .notes import Notes
from .record import Session, UserRecord
from .rows import row_key, space_of, swap_attempts
from .versioned_record import VersionedRecord

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import LockHandle, StoreAdapter
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .cache import SessionCache
    from .cookie import Ticket
    from .copy_marks import CopyMarks
    from .record_pages import RecordPages


class Records:
    """The records of one TikTok app's users."""

    def __init__(
        self,
        settings: TikTokSettings,
        store: StoreAdapter,
        cache: SessionCache,
        clock: Callable[[], float],
    ) -> None:
        """Take the store's adapter, and the cache to remove changed sessions from."""
        self._store = store
        # Not an attribute: debuggers and reporters print attributes.
        keys = [reveal(key) for key in settings.secret_keys]
        self._box = Box(keys, settings.client_key, "grant")
        self._clock = clock
        self._cache = cache
        #: How all keys of this app begin.
        self.space = space_of(settings.client_key)
        self.lifetimes = Lifetimes(settings, clock)
        self.notes = Notes(self.space, store)
        self.denied_scopes = DeniedScopes(self.notes, self._box)
        self.deliveries = Deliveries(self.notes, self._box)
        self.attempts = Attempts(self.space, store)

    @cached_property
    def copy_marks(self) -> CopyMarks:
        """The marks of records that were copied here from another store."""
        from .copy_marks import CopyMarks

        return CopyMarks(self.space, self._store, self._box, self._clock)

    @cached_property
    def pages(self) -> RecordPages:
        """All records, for jobs and commands."""
        from .record_pages import RecordPages

        return RecordPages(self.space, self._store, self._box, self._cache, self._clock)

    def _key(self, record_id: str) -> str:
        return row_key(self.space, "grant", record_id)

    async def load(self, record_id: str) -> VersionedRecord | None:
        """Return the record; None if there is none, or it cannot be opened.

        Raises:
            StoreError: the store failed.
        """
        changes, at = self._cache.changes, self._clock()
        sealed = await self.read_sealed(record_id)
        return self.open_record(record_id, sealed, changes, at)

    async def load_if_active(self, ticket: Ticket) -> VersionedRecord | None:
        """Return the record that a session cookie names; None if the session ended.

        Raises:
            StoreError: the store failed.
        """
        stored = await self.load(ticket.record_id)
        if (
            stored is None
            or self.lifetimes.find_session(stored.record, ticket.digest) is None
        ):
            return None
        return stored

    async def inspect(self, record_id: str) -> tuple[VersionedRecord | None, bool]:
        """Return the record, and whether there is one that cannot be opened.

        Nothing is logged: the caller reports it.

        Raises:
            StoreError: the store failed.
        """
        changes, at = self._cache.changes, self._clock()
        sealed = await self.read_sealed(record_id)
        if sealed is None:
            return None, False
        record = self.unsealed(record_id, sealed)
        if record is None:
            return None, True
        return VersionedRecord(record_id, sealed, record, changes, at), False

    def read_sealed(self, record_id: str) -> Awaitable[bytes | None]:
        """Return the record as the store holds it, or None if there is none.

        Raises:
            StoreError: the store failed.
        """
        return self._store.get(self._key(record_id))

    async def read_many_sealed(self, record_ids: Sequence[str]) -> list[bytes | None]:
        """Return records as `read_sealed` does, in the order of their ids.

        Raises:
            StoreError: the store failed.
        """
        return await self._store.get_many([self._key(each) for each in record_ids])

    def open_record(
        self, record_id: str, sealed: bytes | None, changes: int, at: float
    ) -> VersionedRecord | None:
        """Return the record that was read sealed; None if it cannot be opened.

        Args:
            record_id: which record.
            sealed: the value in the store, or None if there was none.
            changes: `SessionCache.changes` before the read.
            at: when the read began, in seconds since 1970.
        """
        if sealed is None:
            return None
        record = self._unsealed_or_warn(record_id, sealed)
        return (
            None
            if record is None
            else VersionedRecord(record_id, sealed, record, changes, at)
        )

    def _unsealed_or_warn(self, record_id: str, sealed: bytes) -> UserRecord | None:
        record = self.unsealed(record_id, sealed)
        if record is None:
            # Corrupt, moved from another key, or sealed with a key no longer listed.
            logger.warning(
                "a stored record cannot be opened; its user counts as signed out"
            )
        return record

    def unsealed(self, record_id: str, sealed: bytes) -> UserRecord | None:
        """Return a record that was read sealed; None if it cannot be opened.

        Nothing is logged: the caller reports it.
        """
        packed = self._box.open(sealed, self._key(record_id))
        return None if packed is None else UserRecord.unpack(packed)

    async def create(
        self, record_id: str, record: UserRecord
    ) -> VersionedRecord | None:
        """Write a new record; None if there is one that can be opened.

        A record that cannot be opened authenticates no request, and is replaced.
        """
        written = await self._write(record_id, None, record)
        if written is not None:
            return written
        sealed = await self._store.get(self._key(record_id))
        if sealed is None or self._unsealed_or_warn(record_id, sealed) is not None:
            return None
        return await self._write(record_id, sealed, record)

    async def create_many(
        self, records: Sequence[tuple[str, UserRecord, tuple[str, bytes, float]]]
    ) -> list[tuple[bool, bool]]:
        """Write new records, each together with another new row.

        Databases write both rows or neither, since stores write rows in batches of an
        even size; a Redis cluster may stop between the two. Unlike `create`, this
        leaves a record that cannot be opened.

        Args:
            records: ids, records, and the key, value and time to live of a row.

        Returns:
            For each record, in order: whether it was written, and whether its row was.

        Raises:
            StoreError: the store failed; any of them may have been written.
        """
        rows = []
        for record_id, record, row in records:
            key = self._key(record_id)
            rows.append(
                (
                    key,
                    self._box.seal(record.pack(), key),
                    self.lifetimes.seconds_kept(record),
                )
            )
            rows.append(row)
        try:
            created = await self._store.create_many(rows)
        finally:
            for record_id, _, _ in records:
                self._cache.forget(record_id)
        return list(zip(created[::2], created[1::2], strict=True))

    async def replace(
        self, stored: VersionedRecord, record: UserRecord
    ) -> VersionedRecord | None:
        """Write `record` in place of `stored`; None if that has changed.

        Raises:
            StoreError: the store failed; nothing, or all of it, was written.
        """
        return await self._write(stored.record_id, stored.sealed, record)

    async def _write(
        self, record_id: str, old: bytes | None, record: UserRecord
    ) -> VersionedRecord | None:
        key = self._key(record_id)
        sealed = self._box.seal(record.pack(), key)
        ttl = self.lifetimes.seconds_kept(record)
        changes, at = self._cache.changes, self._clock()
        try:
            swapped = await self._store.compare_and_set(key, old, sealed, ttl)
        finally:
            self._cache.forget(record_id)
        if not swapped:
            return None
        alone = self._cache.changes == changes + 1
        return VersionedRecord(
            record_id, sealed, record, changes + 1 if alone else -1, at
        )

    async def delete(self, stored: VersionedRecord) -> bool:
        """Delete the record; False if it has changed since it was read."""
        key = self._key(stored.record_id)
        try:
            return await self._store.compare_and_set(key, stored.sealed, None, 1)
        finally:
            self._cache.forget(stored.record_id)

    async def delete_or_find_gone(self, stored: VersionedRecord) -> bool:
        """Delete the record as `delete` does; a record that is gone counts as deleted.

        The store may have lost the answer to a deletion that took place. For a caller
        that must act after the deletion it is better to act twice, if two delete the
        record at the same moment, than never.

        Raises:
            StoreError: the store failed; the record may still exist.
        """
        try:
            if await self.delete(stored):
                return True
        except StoreError:
            with contextlib.suppress(StoreError):
                if await self.read_sealed(stored.record_id) is None:
                    return True
            raise
        return await self.read_sealed(stored.record_id) is None

    async def end_session(self, record_id: str, digest: str) -> UserRecord | None:
        """End one session; return the record as it was, None if there was no session.

        The record is deleted with its last session, unless ``keep_grants`` is set or it
        is connected to a user of the app.

        Raises:
            StoreError: the store failed; the session may still exist.
        """
        return await self.end_sessions(record_id, lambda s: s.digest == digest)

    async def end_sessions(
        self, record_id: str, ends: Callable[[Session], bool]
    ) -> UserRecord | None:
        """End some sessions, in one write; return the record as it was.

        The record may be deleted with its last session, see `end_session`.

        Args:
            record_id: the user's record.
            ends: whether a session is to end.

        Returns:
            None if no session is to end; nothing was written then.

        Raises:
            StoreError: the store failed; the sessions may still exist.
        """
        for _ in swap_attempts():
            stored = await self.load(record_id)
            sessions = stored.record.sessions if stored else ()
            others = tuple(s for s in sessions if not ends(s))
            if stored is None or len(others) == len(sessions):
                # Another process ended it, so the cached sessions are outdated.
                self.forget_cached(record_id)
                return None
            if others or self.lifetimes.outlives_sessions(stored.record):
                left = stored.record._replace(sessions=others)
                done = await self.replace(stored, left) is not None
            else:
                done = await self.delete(stored)
            if done:
                return stored.record
        return None

    async def forget(self, record_id: str) -> UserRecord | None:
        """Delete a record and with it every session; return the record as it was.

        Raises:
            StoreError: the store failed; the record may still exist.
        """
        await self.denied_scopes.forget(record_id)
        for _ in swap_attempts():
            stored = await self.load(record_id)
            if stored is None:
                self.forget_cached(record_id)
                return None
            if await self.delete_or_find_gone(stored):
                return stored.record
        return None

    def forget_cached(self, record_id: str) -> None:
        """Remove a user's sessions from this process's cache."""
        self._cache.forget(record_id)

    def lock(
        self, record_id: str, seconds: float
    ) -> AbstractAsyncContextManager[LockHandle]:
        """Hold the store's lock on a record inside the block, if it is free."""
        return self._store.lock(self._key(record_id), seconds)

    @property
    def has_short_locks(self) -> bool:
        """Whether the store's locks can be renewed, so that they may be short."""
        return self._store.renews

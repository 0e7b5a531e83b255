"""The users' records in the store: named, sealed, read and swapped.

There is one record for each TikTok user of an app. Every change is a compare-and-swap
on the sealed bytes that were read: a second writer reads again and does not undo the
first write.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.encryption import Box
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal

from .attempts import Attempts
from .copy_marks import CopyMarks
from .denied_scopes import DeniedScopes
from .notes import Notes
from .record import RecordOutline, Session, UserRecord, times_of
from .rows import Row, row_key, space_of, swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import LockHandle, StoreAdapter
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .cache import SessionCache
    from .cookie import Ticket

_UNKNOWN_LIFE = 400 * 86400
#: A record stays this long after its tokens have expired, in seconds, so that a request
#: or a job can report that the grant has ended. It authenticates no request.
_NOTICE = 7 * 86400


class VersionedRecord(NamedTuple):
    """A record as it was read: opened, and sealed as the next swap expects it."""

    record_id: str
    sealed: bytes
    record: UserRecord
    #: `SessionCache.changes` before the read, or after the write of this record; -1 if
    #: there was another write during that one.
    changes: int
    #: When the read began, in seconds since 1970: the record was current then.
    at: float


class RowPage(NamedTuple):
    """Some rows and their values."""

    rows: list[tuple[Row, bytes]]
    #: When the read of them began, in seconds since 1970: they were current then.
    at: float


class SealedRecord(NamedTuple):
    """A record as it was read; it is decrypted when one of its fields is needed.

    The decrypted text is plain bytes. Do not keep it in a frame that logs, or calls the
    app's code, such as ``progress``: a reporter of exceptions would print it.
    """

    record_id: str
    sealed: bytes
    box: Box
    #: Its key in the store.
    key: str
    #: As in `VersionedRecord`.
    changes: int
    at: float

    def parsed(self) -> VersionedRecord | None:
        """Return the record; None if it cannot be opened."""
        packed = self.box.open(self.sealed, self.key)
        record = None if packed is None else UserRecord.unpack(packed)
        return record and VersionedRecord(
            self.record_id, self.sealed, record, self.changes, self.at
        )


class SealedPage:
    """Some records as they were read, without an object for each."""

    __slots__ = ("_at", "_begin", "_box", "_changes", "_rows")

    def __init__(
        self,
        rows: list[tuple[str, bytes]],
        box: Box,
        begin: int,
        changes: int,
        at: float,
    ) -> None:
        """Take rows of the store, and the position of a record's id in their keys."""
        self._rows = rows
        self._box = box
        self._begin = begin
        self._changes = changes
        self._at = at

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[SealedRecord]:
        return (self._record(key, sealed) for key, sealed in self._rows)

    def _record(self, key: str, sealed: bytes) -> SealedRecord:
        record_id = key[self._begin : -1]
        return SealedRecord(record_id, sealed, self._box, key, self._changes, self._at)

    def outlines(
        self, created_after: float, seen_after: float
    ) -> Iterator[RecordOutline | None]:
        """Yield what `RecordOutline.of` returns; None if a record cannot be opened."""
        outline_of = RecordOutline.of
        for _, _, packed in self._box.open_each(self._rows):
            if packed is None:
                yield None
            else:
                yield outline_of(packed, created_after, seen_after)

    def not_ruled_out(
        self, expires_by: float, issued_after: float
    ) -> list[SealedRecord]:
        """Return the records whose access token may be due.

        Args:
            expires_by: includes records whose access token expires by this time.
            issued_after: also includes those issued after this time.
        """
        found = []
        for key, sealed, packed in self._box.open_each(self._rows):
            times = None if packed is None else times_of(packed)
            if times is None or times[1] <= expires_by or times[0] > issued_after:
                found.append(self._record(key, sealed))
        return found


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
        self._settings = settings
        self._store = store
        # Not an attribute: debuggers and reporters print attributes.
        keys = [reveal(key) for key in settings.secret_keys]
        self._box = Box(keys, settings.client_key, "grant")
        self._clock = clock
        self._cache = cache
        #: How all keys of this app begin.
        self.space = space_of(settings.client_key)
        self.notes = Notes(self.space, store)
        self.denied_scopes = DeniedScopes(self.notes, self._box)
        self.attempts = Attempts(self.space, store)
        #: The marks of records that were copied here from another store.
        self.copy_marks = CopyMarks(self.space, store, self._box, clock)

    def _key(self, record_id: str) -> str:
        return row_key(self.space, "grant", record_id)

    async def each(
        self, after: str = ""
    ) -> AsyncGenerator[tuple[str, VersionedRecord | None], None]:
        """Yield the id of each record and the record; None if it cannot be opened.

        They are read several at a time, so a record may have changed since. Some stores
        may yield a record twice. Nothing is logged: the caller reports it.

        Args:
            after: the id of a record, to begin after it; "" for all records.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        async with aclosing(self.sealed_pages(after)) as pages:
            async for page in pages:
                for each in page:
                    yield each.record_id, each.parsed()

    async def sealed_pages(self, after: str = "") -> AsyncGenerator[SealedPage, None]:
        """Yield what `each` yields, a few hundred at a time, and still sealed.

        Parsing takes longer than reading and decrypting, and most jobs over all users
        need only a few fields.
        """
        prefix = f"{self.space}:grant:{{"
        begin, is_behind = len(prefix), not after
        last, box = f"{prefix}{after}}}", self._box
        async with aclosing(self._store.rows(prefix)) as pages:
            while True:
                changes, at = self._cache.changes, self._clock()
                page = await anext(pages, None)
                if page is None:
                    return
                if not is_behind:
                    keys = [key for key, _ in page]
                    is_behind = last in keys
                    page = page[keys.index(last) + 1 :] if is_behind else []
                # The keys of locks do not end with the brace.
                rows = [row for row in page if row[0][-1:] == "}"]
                yield SealedPage(rows, box, begin, changes, at)

    async def pages(self) -> AsyncGenerator[list[Row], None]:
        """Yield all rows of TikTok apps in the store, a thousand or so at a time.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        async with aclosing(self._store.pages("tiktok:")) as pages:
            async for keys in pages:
                yield [Row.of(key, self.space) for key in keys]

    async def row_pages(self, prefix: str = "tiktok:") -> AsyncGenerator[RowPage, None]:
        """Yield all rows whose keys begin with a prefix, with their values.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        async with aclosing(self._store.rows(prefix)) as pages:
            while True:
                at = self._clock()
                page = await anext(pages, None)
                if page is None:
                    return
                rows = [(Row.of(key, self.space), value) for key, value in page]
                yield RowPage(rows, at)

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
        if stored is None or self.find_session(stored.record, ticket.digest) is None:
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
            rows.append((key, self._box.seal(record.pack(), key), self._ttl(record)))
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
        ttl = self._ttl(record)
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
            if others or self.outlives_sessions(stored.record):
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
            if await self.delete(stored):
                return stored.record
        return None

    def forget_cached(self, record_id: str) -> None:
        """Remove a user's sessions from this process's cache."""
        self._cache.forget(record_id)

    def find_session(self, record: UserRecord, digest: str) -> Session | None:
        """Return the session whose secret has this hash, if it has not ended."""
        wanted = digest.encode()
        for session in record.sessions:
            if hmac.compare_digest(session.digest.encode(), wanted):
                return session if self.is_active(session) else None
        return None

    def session_ends_at(self, session: Session) -> float:
        """Return when a session ends, unless it is used again."""
        return min(
            session.last_seen_at + self._settings.session_idle,
            session.created_at + self._settings.session_lifetime,
        )

    def is_active(self, session: Session) -> bool:
        """Whether a session is within its idle and its absolute limit."""
        return self._clock() < self.session_ends_at(session)

    def ended_before(self) -> tuple[float, float]:
        """Return two times, that of creation and that of last use.

        A session has ended if it was created before the first, or last used before the
        second.

        This is the rule of `is_active`, for many sessions at once.
        """
        now, settings = self._clock(), self._settings
        return now - settings.session_lifetime, now - settings.session_idle

    def active_sessions(self, record: UserRecord) -> tuple[Session, ...]:
        """Return the sessions of a record that have not ended."""
        return tuple(s for s in record.sessions if self.is_active(s))

    def lock(
        self, record_id: str, seconds: float
    ) -> AbstractAsyncContextManager[LockHandle]:
        """Hold the store's lock on a record inside the block, if it is free."""
        return self._store.lock(self._key(record_id), seconds)

    @property
    def has_short_locks(self) -> bool:
        """Whether the store's locks can be renewed, so that they may be short."""
        return self._store.renews

    def outlives_sessions(self, record: UserRecord) -> bool:
        """Whether a record stays when its last session has ended: jobs use its tokens.

        It does with ``keep_grants``, and if it is connected to a user of the app.
        """
        return self._settings.keep_grants or bool(record.user_id)

    def kept_until(self, record: UserRecord) -> float:
        """Return when the store drops a record, in seconds since 1970."""
        return self._clock() + self._ttl(record)

    def _ttl(self, record: UserRecord) -> float:
        """Return how long the store keeps a record, in seconds.

        This is until `_NOTICE` after the tokens have expired, so that their expiry is
        reported. If the record does not outlive its sessions, it is at most as long as
        a session can last.
        """
        now = self._clock()
        until: float = record.expires_at
        if record.refresh_token:
            end = record.refresh_expires_at
            until = max(until, now + _UNKNOWN_LIFE if end is None else end)
        until += _NOTICE
        if not self.outlives_sessions(record):
            until = min(
                until, max(map(self.session_ends_at, record.sessions), default=now)
            )
        return max(1.0, until - now)

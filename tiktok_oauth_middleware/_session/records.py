"""The users' records in the store: named, sealed, read and swapped.

There is one record for each TikTok user of an app. Every change is a compare-and-swap
on the sealed bytes that were read: a second writer reads again and does not undo the
first write.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Literal, NamedTuple

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes
from tiktok_oauth_middleware.errors import StoreError

from .copy_marks import CopyMarks, generation_of
from .record import Session, UserRecord

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._core.store_adapter import LockHandle, StoreAdapter
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .cache import SessionCache
    from .cookie import Ticket

_UNKNOWN_LIFE = 400 * 86400
#: A record stays this long after its tokens have expired, in seconds, so that a request
#: or a job can report that the grant has ended. It authenticates no request.
_NOTICE = 7 * 86400
#: TikTok repeats a webhook for three days until it is answered with 200.
_REVOKED_SECONDS = 4 * 86400
#: How long the end of an access is noted, in seconds: a login that began before it is
#: written or has failed by then.
ENDED_SECONDS = 900
#: All 50 sessions of a user may write at once, and each round of attempts lets one of
#: them through.
_MAX_SWAPS = 100


def swap_attempts() -> Iterator[int]:
    """Count the attempts to change a record that others may change at the same time.

    Each attempt reads, changes and swaps. If another write came in between, the swap
    fails and the next attempt reads again.

    Raises:
        StoreError: after the last attempt.
    """
    yield from range(_MAX_SWAPS)
    message = f"other writers changed the record at each of {_MAX_SWAPS} attempts"
    raise StoreError(message)


class VersionedRecord(NamedTuple):
    """A record as it was read: opened, and sealed as the next swap expects it."""

    record_id: str
    sealed: bytes
    record: UserRecord
    #: `SessionCache.changes` before the read; -1 if there was a write in between.
    changes: int
    #: When the read began, in seconds since 1970: the record was true then.
    at: float


#: Every kind of row, and what a copy to another store does with it: a record is merged,
#: a note is written where there is none, and what is left belongs to the one store.
ROW_KINDS: Mapping[str, Literal["record", "note", "left"]] = {
    "grant": "record",
    # The lease of a process.
    "grant:lock": "left",
    "used": "note",
    # Of a process that is refreshing now, or died of it.
    "attempt": "left",
    # Made of the records: which accounts are connected to a user of the app.
    "user": "left",
    # What the marks say is about the store that they are in.
    "copied": "left",
    "copying": "left",
}


class Row(NamedTuple):
    """A row of a store, by its key."""

    #: Such as "grant"; "grant:lock" is the lock of one; "foreign" is another app's.
    kind: str
    #: What the braces hold: a record's id, or the name of a note.
    name: str
    #: The whole key; of a foreign row the part that names the app.
    key: str


_ROW = re.compile(r"(tiktok:[^:]+):([a-z]+):\{(.*)\}(:[a-z]+)?", re.DOTALL)


class Attempt(NamedTuple):
    """One process's attempt to refresh a user's tokens."""

    #: The value that marks this attempt in the store.
    note: bytes
    #: Whether an earlier attempt with the same tokens began and did not finish.
    is_second: bool


class Records:
    """The records of one TikTok app's users."""

    def __init__(
        self,
        settings: TikTokSettings,
        store: StoreAdapter,
        box: Box,
        cache: SessionCache,
        clock: Callable[[], float],
    ) -> None:
        """Take the store's adapter, and the cache from which each write removes."""
        self._settings = settings
        self._store = store
        self._box = box
        self._clock = clock
        self._cache = cache
        client_key = settings.client_key.encode()
        #: How all keys of this app begin.
        self.space = f"tiktok:{hashlib.sha256(client_key).hexdigest()[:12]}"
        #: The marks of records that were copied here from another store.
        self.copy_marks = CopyMarks(self.space, store, box, clock)

    def _key(self, record_id: str) -> str:
        # The braces keep a user's record and its lock in one slot of a Redis cluster.
        return f"{self.space}:grant:{{{record_id}}}"

    async def each(
        self, after: str = ""
    ) -> AsyncGenerator[tuple[str, VersionedRecord | None], None]:
        """Yield the id of each record and the record; None if it cannot be opened.

        They are read some at a time, so one that was read may have changed by now. Some
        stores repeat one at times. Nothing is logged: the caller reports it.

        Args:
            after: the id of a record; those up to it are left out.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        prefix = f"{self.space}:grant:{{"
        begin, is_behind = len(prefix), not after
        async with aclosing(self._store.rows(prefix)) as pages:
            while True:
                changes, at = self._cache.changes, self._clock()
                page = await anext(pages, None)
                if page is None:
                    return
                for key, sealed in page:
                    # The keys of locks do not end with the brace.
                    if not key.endswith("}"):
                        continue
                    name = key[begin:-1]
                    if is_behind:
                        record = self._unsealed(name, sealed)
                        yield (
                            name,
                            record
                            and VersionedRecord(name, sealed, record, changes, at),
                        )
                    is_behind = is_behind or name == after

    async def pages(self) -> AsyncGenerator[list[Row], None]:
        """Yield all rows of TikTok apps in the store, a thousand or so at a time.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        async for keys in self._store.pages("tiktok:"):
            yield [self._row(key) for key in keys]

    def _row(self, key: str) -> Row:
        found = _ROW.fullmatch(key)
        if found is None:
            return Row("unknown", "", key)
        space, kind, name, more = found.groups()
        if space != self.space:
            return Row("foreign", "", space)
        return Row(kind if not more else f"{kind}{more}", name, key)

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
        record = self._unsealed(record_id, sealed)
        if record is None:
            return None, True
        return VersionedRecord(record_id, sealed, record, changes, at), False

    def read_sealed(self, record_id: str) -> Awaitable[bytes | None]:
        """Return the record as the store holds it, or None if there is none.

        Raises:
            StoreError: the store failed.
        """
        return self._store.get(self._key(record_id))

    def open_record(
        self, record_id: str, sealed: bytes | None, changes: int, at: float
    ) -> VersionedRecord | None:
        """Return the record that was read in its sealed form; None if it cannot open.

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
        record = self._unsealed(record_id, sealed)
        if record is None:
            # Corrupt, moved from another key, or sealed with a key no longer listed.
            logger.warning(
                "a stored record cannot be opened; its user counts as signed out"
            )
        return record

    def _unsealed(self, record_id: str, sealed: bytes) -> UserRecord | None:
        packed = self._box.open(sealed, self._key(record_id))
        return None if packed is None else UserRecord.unpack(packed)

    async def create(
        self, record_id: str, record: UserRecord
    ) -> VersionedRecord | None:
        """Write a new record; None if there is one that can be opened.

        A record that cannot be opened authenticates no request, and is replaced.
        """
        sealed = await self._store.get(self._key(record_id))
        if sealed is not None and self._unsealed_or_warn(record_id, sealed) is not None:
            return None
        return await self._write(record_id, sealed, record)

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
            StoreError: the store failed; the sessions may live on.
        """
        for _ in swap_attempts():
            stored = await self.load(record_id)
            sessions = stored.record.sessions if stored else ()
            others = tuple(s for s in sessions if not ends(s))
            if stored is None or len(others) == len(sessions):
                # Another process ended it: what is cached here is outdated.
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
        await self.forget_denied(record_id)
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

    def active_sessions(self, record: UserRecord) -> tuple[Session, ...]:
        """Return the sessions of a record that have not ended."""
        return tuple(s for s in record.sessions if self.is_active(s))

    async def was_used(self, name: str) -> bool:
        """Whether `use_once` was called with this name."""
        return await self._store.get(self._used(name)) is not None

    async def use_once(self, name: str, seconds: float) -> bool:
        """Mark a login or a delivery as used; False if it was marked before."""
        return await self._store.compare_and_set(self._used(name), None, b"1", seconds)

    async def read_note(self, name: str) -> bytes | None:
        """Return the note under the name of something used once, or None."""
        return await self._store.get(self._used(name))

    async def swap_note(
        self, name: str, old: bytes | None, new: bytes, seconds: float
    ) -> bool:
        """Replace the note `old` by `new`; False if the note was another."""
        return await self._store.compare_and_set(self._used(name), old, new, seconds)

    async def note_denied(
        self,
        record_id: str,
        denied: frozenset[str],
        requested: frozenset[str] = frozenset(),
    ) -> None:
        """Store the scopes that a user denied on TikTok's page.

        They outlive the record, which is deleted with the last session, so that no
        user is asked for the same scopes at every login.

        Args:
            record_id: the user's record.
            denied: scopes that were requested and not granted.
            requested: all scopes that were requested; those not in `denied` have been
                granted, and are no longer listed as denied.

        Raises:
            StoreError: the store failed.
        """
        name = _denied(record_id)
        for _ in swap_attempts():
            row = await self.read_note(name)
            before = self._opened_scopes(name, row)
            after = (before - requested) | denied
            if after == before:
                return
            text = join_scopes(after).encode()
            sealed = self._box.seal(text, self._used(name)) if text else None
            key, ttl = self._used(name), _UNKNOWN_LIFE
            if await self._store.compare_and_set(key, row, sealed, ttl):
                return

    async def denied(self, record_id: str) -> frozenset[str]:
        """Return the scopes that a user denied on TikTok's page.

        Raises:
            StoreError: the store failed.
        """
        name = _denied(record_id)
        return self._opened_scopes(name, await self.read_note(name))

    def _opened_scopes(self, name: str, row: bytes | None) -> frozenset[str]:
        text = None if row is None else self._box.open(row, self._used(name))
        return split_scopes(text.decode()) if text else frozenset()

    async def forget_denied(self, record_id: str) -> None:
        """Forget which scopes a user denied: TikTok asks for all of them again.

        Raises:
            StoreError: the store failed.
        """
        key = self._used(_denied(record_id))
        row = await self._store.get(key)
        if row is not None:
            await self._store.compare_and_set(key, row, None, 1)

    async def note_revoked(self, record_id: str) -> None:
        """Store the time of our own call that revoked a user's access at TikTok.

        TikTok also sends a webhook about it, which may arrive after the next login.
        """
        name, now = _revoked(record_id), str(int(self._clock())).encode()
        for _ in swap_attempts():
            noted = await self.read_note(name)
            if await self.swap_note(name, noted, now, _REVOKED_SECONDS):
                return

    async def revoked_at(self, record_id: str) -> int | None:
        """Return when `note_revoked` was last called; None if not within four days."""
        noted = await self.read_note(_revoked(record_id))
        return int(noted) if noted is not None and noted.isdigit() else None

    def _used(self, name: str) -> str:
        return f"{self.space}:used:{{{name}}}"

    async def begin_attempt(self, stored: VersionedRecord, seconds: float) -> Attempt:
        """Note in the store that this process is about to refresh a user's tokens.

        This is a write of its own before the call, so that a store that accepts no
        writes is noticed before the only refresh token is spent.

        Args:
            stored: the user's record.
            seconds: how long the note is kept: the longest time an attempt takes.

        Raises:
            StoreError: the store failed.
        """
        key, generation = (
            self._attempt(stored.record_id),
            generation_of(stored.record),
        )
        note = generation + os.urandom(8)
        while not await self._store.compare_and_set(key, None, note, seconds):
            other = await self._store.get(key)
            if other is not None and await self._store.compare_and_set(
                key, other, note, seconds
            ):
                return Attempt(note, is_second=other.startswith(generation))
        return Attempt(note, is_second=False)

    async def is_alone(self, record_id: str, attempt: Attempt) -> bool:
        """Whether no other process can have the answer to the same refresh token.

        A note that is missing or was replaced means that this process was suspended
        for so long that another may have taken over.
        """
        found = await self._store.get(self._attempt(record_id))
        return not attempt.is_second and found == attempt.note

    async def end_attempt(self, record_id: str, attempt: Attempt) -> None:
        """Delete the note, if it is still ours; if the store fails, it expires."""
        with contextlib.suppress(StoreError):
            key = self._attempt(record_id)
            await self._store.compare_and_set(key, attempt.note, None, 0)

    def _attempt(self, record_id: str) -> str:
        return f"{self.space}:attempt:{{{record_id}}}"

    def lock(
        self, record_id: str, seconds: float
    ) -> AbstractAsyncContextManager[LockHandle]:
        """Hold the store's lock on a record while inside, if it is free."""
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

    def _ttl(self, record: UserRecord) -> float:
        """Return how long the store keeps a record, in seconds.

        This is until the tokens have expired and `_NOTICE` longer, so that their end is
        noticed; no longer than a session can last if the record does not outlive them.
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


_DENIED, _REVOKED, _DELIVERY, _ENDED = "declined-", "revoked-", "hook-", "ended-"
#: How long a copied note is kept, in seconds, by how its name begins. Any other is a
#: login's, and is kept for as long as a login may take.
COPIED_NOTES: Mapping[str, float] = {
    _DENIED: _UNKNOWN_LIFE,
    _REVOKED: _REVOKED_SECONDS,
    _ENDED: ENDED_SECONDS,
    _DELIVERY: _REVOKED_SECONDS,
}


def _denied(record_id: str) -> str:
    return _DENIED + record_id


def _revoked(record_id: str) -> str:
    return _REVOKED + record_id


def ended_note(record_id: str) -> str:
    """Return the name of the note that a user's access ended; see `Endings`."""
    return _ENDED + record_id


def delivery_note(digest: str) -> str:
    """Return the name of the note that a webhook was handled.

    Args:
        digest: of the delivery's body.
    """
    return _DELIVERY + digest

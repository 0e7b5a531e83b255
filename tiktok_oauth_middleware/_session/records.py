"""The users' records in the store: named, sealed, read and swapped.

One record for each TikTok user and app, the grant. Every change of one is a
compare-and-swap on the sealed bytes that were read, so whoever comes second reads
again instead of undoing the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes
from tiktok_oauth_middleware.errors import StoreError

from .record import Session, UserRecord

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._core.store_adapter import LockHandle, StoreAdapter
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .cache import SessionCache
    from .cookie import Ticket

_UNKNOWN_LIFE = 400 * 86400
#: A record stays this long after its tokens are over, in seconds, so that a request or
#: a job finds that the grant has ended and reports it; nobody is signed in by it.
_NOTICE = 7 * 86400
#: TikTok delivers for three days what is not answered with 200.
_REVOKED_SECONDS = 4 * 86400
#: Of a user's 50 sessions all may be written at once; each attempt lets one through.
_MAX_SWAPS = 100


def swap_attempts() -> Iterator[int]:
    """Count the attempts to change what other writers change at the same time.

    Each attempt reads, changes and swaps. Whoever is overtaken reads again.

    Raises:
        StoreError: after the last attempt.
    """
    yield from range(_MAX_SWAPS)
    message = f"other writers changed the record at each of {_MAX_SWAPS} attempts"
    raise StoreError(message)


class VersionedRecord(NamedTuple):
    """A record as it was read: what to swap against, and the grant in it."""

    record_id: str
    sealed: bytes
    record: UserRecord
    #: `SessionCache.changes` at the time, or -1 where something was written meanwhile.
    changes: int
    #: When it was asked for: what it says was true then.
    at: float


class Attempt(NamedTuple):
    """One process's attempt to refresh a grant's tokens."""

    #: What stands for it in the store.
    note: bytes
    #: Whether another was begun with the same tokens and did not come to an end.
    is_second: bool


def _generation(record: UserRecord) -> bytes:
    """Return what stands for a grant's tokens, which are random, and tells none."""
    tokens = f"{record.access_token.reveal()}\0{record.refresh_token.reveal()}"
    return hashlib.sha256(tokens.encode()).digest()[:16]


class Records:
    """The grants of one TikTok app."""

    def __init__(
        self,
        settings: TikTokSettings,
        store: StoreAdapter,
        box: Box,
        cache: SessionCache,
        clock: Callable[[], float],
    ) -> None:
        """Take the store's awaitable face, and the table that each write outdates."""
        self._settings = settings
        self._store = store
        self._box = box
        self._clock = clock
        self._cache = cache
        client_key = settings.client_key.encode()
        self._space = f"tiktok:{hashlib.sha256(client_key).hexdigest()[:12]}"

    def _key(self, record_id: str) -> str:
        # The braces keep a user's record and its lock in one slot of a Redis cluster.
        return f"{self._space}:grant:{{{record_id}}}"

    async def ids(self) -> list[str]:
        """Return the names of all grants of this app.

        Raises:
            StoreError: the store failed, or can not list its keys.
        """
        prefix = f"{self._space}:grant:{{"
        keys = await self._store.keys(prefix)
        # A lock's row begins in the same way, and goes on.
        return [k[len(prefix) : -1] for k in keys if k.endswith("}")]

    async def load(self, record_id: str) -> VersionedRecord | None:
        """Return the record, or None if there is none that opens.

        Raises:
            StoreError: the store could not say.
        """
        changes, at = self._cache.changes, self._clock()
        sealed = await self.read_sealed(record_id)
        return self.open_record(record_id, sealed, changes, at)

    async def load_if_active(self, ticket: Ticket) -> VersionedRecord | None:
        """Return the record with a session that has not ended; None if it has.

        Raises:
            StoreError: the store could not say.
        """
        stored = await self.load(ticket.record_id)
        if stored is None or self.find_session(stored.record, ticket.digest) is None:
            return None
        return stored

    async def inspect(self, record_id: str) -> tuple[VersionedRecord | None, bool]:
        """Return the record, and whether there is one that does not open.

        Whoever asks reports that; nothing is logged.

        Raises:
            StoreError: the store could not say.
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
            StoreError: the store could not say.
        """
        return self._store.get(self._key(record_id))

    def open_record(
        self, record_id: str, sealed: bytes | None, changes: int, at: float
    ) -> VersionedRecord | None:
        """Return the record whose sealed form was read; None if it does not open.

        Args:
            record_id: which record.
            sealed: what the store gave.
            changes: `SessionCache.changes` before it was asked.
            at: when it was asked.
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
        """Write a new record; None if there is one that opens by now.

        What does not open is nobody's and is replaced.
        """
        sealed = await self._store.get(self._key(record_id))
        if sealed is not None and self._unsealed_or_warn(record_id, sealed) is not None:
            return None
        return await self._write(record_id, sealed, record)

    async def replace(
        self, stored: VersionedRecord, record: UserRecord
    ) -> VersionedRecord | None:
        """Write `record` in place of what is held; None if that has changed.

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
        """Delete the record that is held; False if it has changed."""
        key = self._key(stored.record_id)
        try:
            return await self._store.compare_and_set(key, stored.sealed, None, 1)
        finally:
            self._cache.forget(stored.record_id)

    async def end_session(self, record_id: str, digest: str) -> UserRecord | None:
        """End one session; return its grant as it was, None if there was no such one.

        The record goes with its last session, unless ``keep_grants``.

        Raises:
            StoreError: the store failed; the session may live on.
        """
        for _ in swap_attempts():
            stored = await self.load(record_id)
            sessions = stored.record.sessions if stored else ()
            others = tuple(s for s in sessions if s.digest != digest)
            if stored is None or len(others) == len(sessions):
                # Ended by another process: nothing cached here is true any more.
                self.forget_cached(record_id)
                return None
            if others or self._settings.keep_grants:
                left = replace(stored.record, sessions=others)
                done = await self.replace(stored, left) is not None
            else:
                done = await self.delete(stored)
            if done:
                return stored.record
        return None

    async def forget(self, record_id: str) -> UserRecord | None:
        """Delete a record and with it every session; return the grant as it was.

        Raises:
            StoreError: the store failed; the record may live on.
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
        """Drop what this process remembers of a grant's sessions."""
        self._cache.forget(record_id)

    def find_session(self, record: UserRecord, digest: str) -> Session | None:
        """Return a grant's session by the hash of its secret, if it has not ended."""
        wanted = digest.encode()
        for session in record.sessions:
            if hmac.compare_digest(session.digest.encode(), wanted):
                return session if self._is_active(session) else None
        return None

    def session_ends_at(self, session: Session) -> float:
        """Return when a session ends, unless it is used again."""
        return min(
            session.last_seen_at + self._settings.session_idle,
            session.created_at + self._settings.session_lifetime,
        )

    def _is_active(self, session: Session) -> bool:
        """Whether a session is within its idle and its absolute limit."""
        return self._clock() < self.session_ends_at(session)

    def active_sessions(self, record: UserRecord) -> tuple[Session, ...]:
        """Return the sessions of a grant that have not ended."""
        return tuple(s for s in record.sessions if self._is_active(s))

    async def was_used(self, name: str) -> bool:
        """Whether `use_once` was told this name."""
        return await self._store.get(self._used(name)) is not None

    async def use_once(self, name: str, seconds: float) -> bool:
        """Mark a login or a delivery as used; False if it was marked before."""
        return await self._store.compare_and_set(self._used(name), None, b"1", seconds)

    async def read_note(self, name: str) -> bytes | None:
        """Return what is noted of something that is used once, or None."""
        return await self._store.get(self._used(name))

    async def swap_note(
        self, name: str, old: bytes | None, new: bytes, seconds: float
    ) -> bool:
        """Note `new` of something that is used once, if `old` is what was noted."""
        return await self._store.compare_and_set(self._used(name), old, new, seconds)

    async def note_denied(
        self,
        record_id: str,
        denied: frozenset[str],
        requested: frozenset[str] = frozenset(),
    ) -> None:
        """Note scopes that a user declined on TikTok's page.

        It is known longer than the record, which goes with the last session: nobody is
        to be asked the same at every login.

        Args:
            record_id: whose.
            denied: scopes that they were asked and did not grant.
            requested: all that they were asked; of these, the others are granted now.

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
        """Return the scopes that a user declined on TikTok's page.

        Raises:
            StoreError: the store failed.
        """
        name = _denied(record_id)
        return self._opened_scopes(name, await self.read_note(name))

    def _opened_scopes(self, name: str, row: bytes | None) -> frozenset[str]:
        text = None if row is None else self._box.open(row, self._used(name))
        return split_scopes(text.decode()) if text else frozenset()

    async def forget_denied(self, record_id: str) -> None:
        """Forget what a user declined: TikTok asks them everything again.

        Raises:
            StoreError: the store failed.
        """
        key = self._used(_denied(record_id))
        row = await self._store.get(key)
        if row is not None:
            await self._store.compare_and_set(key, row, None, 1)

    async def note_revoked(self, record_id: str) -> None:
        """Note that TikTok was just told to end a user's access.

        TikTok reports that by webhook, which may arrive after the next login.
        """
        name, now = _revoked(record_id), str(int(self._clock())).encode()
        for _ in swap_attempts():
            noted = await self.read_note(name)
            if await self.swap_note(name, noted, now, _REVOKED_SECONDS):
                return

    async def revoked_at(self, record_id: str) -> int | None:
        """Return when `note_revoked` was called last; None if not for days."""
        noted = await self.read_note(_revoked(record_id))
        return int(noted) if noted is not None and noted.isdigit() else None

    def _used(self, name: str) -> str:
        return f"{self._space}:used:{{{name}}}"

    async def begin_attempt(self, stored: VersionedRecord, seconds: float) -> Attempt:
        """Note in the store that TikTok is about to be asked for a grant's next token.

        It is a write of its own before the call, so a store that takes none is found
        out before the only refresh token is spent.

        Args:
            stored: whose token.
            seconds: how long the note stays: the longest that an attempt takes.

        Raises:
            StoreError: the store failed.
        """
        key, generation = (
            self._attempt(stored.record_id),
            _generation(stored.record),
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

        A note that is gone was another's to take: we were asleep for long.
        """
        found = await self._store.get(self._attempt(record_id))
        return not attempt.is_second and found == attempt.note

    async def end_attempt(self, record_id: str, attempt: Attempt) -> None:
        """Take the note back, if it is still ours; a failing store lets it expire."""
        with contextlib.suppress(StoreError):
            key = self._attempt(record_id)
            await self._store.compare_and_set(key, attempt.note, None, 0)

    def _attempt(self, record_id: str) -> str:
        return f"{self._space}:attempt:{{{record_id}}}"

    def lock(
        self, record_id: str, seconds: float
    ) -> AbstractAsyncContextManager[LockHandle]:
        """Hold the store's lock on a record inside, if nobody else does."""
        return self._store.lock(self._key(record_id), seconds)

    @property
    def has_short_locks(self) -> bool:
        """Whether the store's locks can be renewed, so that they may be short."""
        return self._store.renews

    def _ttl(self, record: UserRecord) -> float:
        """Return for how long the store shall keep a record, in seconds.

        As long as a session can last, or a job can refresh, and a while after the
        tokens are over, for their end to be noticed.
        """
        now = self._clock()
        until: float = record.expires_at
        if record.refresh_token:
            end = record.refresh_expires_at
            until = max(until, now + _UNKNOWN_LIFE if end is None else end)
        until += _NOTICE
        if not self._settings.keep_grants:
            until = min(
                until, max(map(self.session_ends_at, record.sessions), default=now)
            )
        return max(1.0, until - now)


def _denied(record_id: str) -> str:
    return f"declined-{record_id}"


def _revoked(record_id: str) -> str:
    return f"revoked-{record_id}"

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
from collections.abc import Awaitable, Callable
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

_UNKNOWN_LIFE = 400 * 86400
#: A record stays this long after its tokens are over, in seconds, so that a request or
#: a job finds that the grant has ended and reports it; nobody is signed in by it.
_NOTICE = 7 * 86400
#: TikTok delivers for three days what is not answered with 200.
_REVOKED_SECONDS = 4 * 86400
_SWAPS = 20


class VersionedRecord(NamedTuple):
    """A record as it was read: what to swap against, and the grant in it."""

    grant_id: str
    sealed: bytes
    grant: UserRecord
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


def _generation(grant: UserRecord) -> bytes:
    """Return what stands for a grant's tokens, which are random, and tells none."""
    tokens = f"{grant.access_token.reveal()}\0{grant.refresh_token.reveal()}"
    return hashlib.sha256(tokens.encode()).digest()[:16]


class Records:
    """The grants of one TikTok app."""

    def __init__(
        self,
        settings: TikTokSettings,
        port: StoreAdapter,
        box: Box,
        sights: SessionCache,
        clock: Callable[[], float],
    ) -> None:
        """Take the store's awaitable face, and the table that each write outdates."""
        self._settings = settings
        self._port = port
        self._box = box
        self._clock = clock
        self._sights = sights
        client_key = settings.client_key.encode()
        self._space = f"tiktok:{hashlib.sha256(client_key).hexdigest()[:12]}"

    def _key(self, grant_id: str) -> str:
        # The braces keep a user's record and its lock in one slot of a Redis cluster.
        return f"{self._space}:grant:{{{grant_id}}}"

    async def ids(self) -> list[str]:
        """Return the names of all grants of this app.

        Raises:
            StoreError: the store failed, or can not list its keys.
        """
        prefix = f"{self._space}:grant:{{"
        keys = await self._port.keys(prefix)
        # A lock's row begins in the same way, and goes on.
        return [k[len(prefix) : -1] for k in keys if k.endswith("}")]

    async def load(self, grant_id: str) -> VersionedRecord | None:
        """Return the record, or None if there is none that opens.

        Raises:
            StoreError: the store could not say.
        """
        changes, at = self._sights.changes, self._clock()
        sealed = await self.sealed(grant_id)
        return self.opened(grant_id, sealed, changes, at)

    async def inspect(self, grant_id: str) -> tuple[VersionedRecord | None, bool]:
        """Return the record, and whether there is one that does not open.

        Whoever asks reports that; nothing is logged.

        Raises:
            StoreError: the store could not say.
        """
        changes, at = self._sights.changes, self._clock()
        sealed = await self.sealed(grant_id)
        if sealed is None:
            return None, False
        grant = self._unsealed(grant_id, sealed)
        if grant is None:
            return None, True
        return VersionedRecord(grant_id, sealed, grant, changes, at), False

    def sealed(self, grant_id: str) -> Awaitable[bytes | None]:
        """Return the record as the store holds it, or None if there is none.

        Raises:
            StoreError: the store could not say.
        """
        return self._port.get(self._key(grant_id))

    def opened(
        self, grant_id: str, sealed: bytes | None, changes: int, at: float
    ) -> VersionedRecord | None:
        """Return the record whose sealed form was read; None if it does not open.

        Args:
            grant_id: which record.
            sealed: what the store gave.
            changes: `SessionCache.changes` before it was asked.
            at: when it was asked.
        """
        if sealed is None:
            return None
        grant = self._opened(grant_id, sealed)
        return (
            None
            if grant is None
            else VersionedRecord(grant_id, sealed, grant, changes, at)
        )

    def _opened(self, grant_id: str, sealed: bytes) -> UserRecord | None:
        grant = self._unsealed(grant_id, sealed)
        if grant is None:
            # Corrupt, moved from another key, or sealed with a key no longer listed.
            logger.warning(
                "a stored grant does not open; its user counts as signed out"
            )
        return grant

    def _unsealed(self, grant_id: str, sealed: bytes) -> UserRecord | None:
        packed = self._box.open(sealed, self._key(grant_id))
        return None if packed is None else UserRecord.unpack(packed)

    async def create(self, grant_id: str, grant: UserRecord) -> VersionedRecord | None:
        """Write a new record; None if there is one that opens by now.

        What does not open is nobody's and is replaced.
        """
        sealed = await self._port.get(self._key(grant_id))
        if sealed is not None and self._opened(grant_id, sealed) is not None:
            return None
        return await self._write(grant_id, sealed, grant)

    async def replace(
        self, held: VersionedRecord, grant: UserRecord
    ) -> VersionedRecord | None:
        """Write `grant` in place of what is held; None if that has changed.

        Raises:
            StoreError: the store failed; nothing, or all of it, was written.
        """
        return await self._write(held.grant_id, held.sealed, grant)

    async def _write(
        self, grant_id: str, old: bytes | None, grant: UserRecord
    ) -> VersionedRecord | None:
        key = self._key(grant_id)
        sealed = self._box.seal(grant.pack(), key)
        ttl = self._ttl(grant)
        changes, at = self._sights.changes, self._clock()
        try:
            swapped = await self._port.compare_and_set(key, old, sealed, ttl)
        finally:
            self._sights.forget(grant_id)
        if not swapped:
            return None
        alone = self._sights.changes == changes + 1
        return VersionedRecord(
            grant_id, sealed, grant, changes + 1 if alone else -1, at
        )

    async def delete(self, held: VersionedRecord) -> bool:
        """Delete the record that is held; False if it has changed."""
        key = self._key(held.grant_id)
        try:
            return await self._port.compare_and_set(key, held.sealed, None, 1)
        finally:
            self._sights.forget(held.grant_id)

    async def end_session(self, grant_id: str, digest: str) -> UserRecord | None:
        """End one session; return its grant as it was, None if there was no such one.

        The record goes with its last session, unless ``keep_grants``.

        Raises:
            StoreError: the store failed; the session may live on.
        """
        while True:
            held = await self.load(grant_id)
            sessions = held.grant.sessions if held else ()
            others = tuple(s for s in sessions if s.digest != digest)
            if held is None or len(others) == len(sessions):
                # Ended by another process: nothing cached here is true any more.
                self.forget_cached(grant_id)
                return None
            if others or self._settings.keep_grants:
                left = replace(held.grant, sessions=others)
                done = await self.replace(held, left) is not None
            else:
                done = await self.delete(held)
            if done:
                return held.grant

    async def forget(self, grant_id: str) -> UserRecord | None:
        """Delete a record and with it every session; return the grant as it was.

        Raises:
            StoreError: the store failed; the record may live on.
        """
        await self.forget_declined(grant_id)
        while True:
            held = await self.load(grant_id)
            if held is None:
                self.forget_cached(grant_id)
                return None
            if await self.delete(held):
                return held.grant

    def forget_cached(self, grant_id: str) -> None:
        """Drop what this process remembers of a grant's sessions."""
        self._sights.forget(grant_id)

    def find(self, grant: UserRecord, digest: str) -> Session | None:
        """Return a grant's session by the hash of its secret, if it has not ended."""
        wanted = digest.encode()
        for session in grant.sessions:
            if hmac.compare_digest(session.digest.encode(), wanted):
                return session if self._is_alive(session) else None
        return None

    def end_of(self, session: Session) -> float:
        """Return when a session ends, unless it is used again."""
        return min(
            session.seen + self._settings.session_idle,
            session.born + self._settings.session_lifetime,
        )

    def _is_alive(self, session: Session) -> bool:
        """Whether a session is within its idle and its absolute limit."""
        return self._clock() < self.end_of(session)

    def living(self, grant: UserRecord) -> tuple[Session, ...]:
        """Return the sessions of a grant that have not ended."""
        return tuple(s for s in grant.sessions if self._is_alive(s))

    async def was_used(self, name: str) -> bool:
        """Whether `use_once` was told this name."""
        return await self._port.get(self._used(name)) is not None

    async def use_once(self, name: str, seconds: float) -> bool:
        """Mark a login or a delivery as used; False if it was marked before."""
        return await self._port.compare_and_set(self._used(name), None, b"1", seconds)

    async def used(self, name: str) -> bytes | None:
        """Return what is noted of something that is used once, or None."""
        return await self._port.get(self._used(name))

    async def swap_used(
        self, name: str, old: bytes | None, new: bytes, seconds: float
    ) -> bool:
        """Note `new` of something that is used once, if `old` is what was noted."""
        return await self._port.compare_and_set(self._used(name), old, new, seconds)

    async def note_declined(
        self,
        grant_id: str,
        declined: frozenset[str],
        requested: frozenset[str] = frozenset(),
    ) -> None:
        """Note scopes that a user declined on TikTok's page.

        It is known longer than the record, which goes with the last session: nobody is
        to be asked the same at every login.

        Args:
            grant_id: whose.
            declined: scopes that they were asked and did not grant.
            requested: all that they were asked; of these, the others are granted now.

        Raises:
            StoreError: the store failed.
        """
        name = _declined(grant_id)
        for _ in range(_SWAPS):
            row = await self.used(name)
            before = self._opened_scopes(name, row)
            after = (before - requested) | declined
            if after == before:
                return
            text = join_scopes(after).encode()
            sealed = self._box.seal(text, self._used(name)) if text else None
            key, ttl = self._used(name), _UNKNOWN_LIFE
            if await self._port.compare_and_set(key, row, sealed, ttl):
                return

    async def declined(self, grant_id: str) -> frozenset[str]:
        """Return the scopes that a user declined on TikTok's page.

        Raises:
            StoreError: the store failed.
        """
        name = _declined(grant_id)
        return self._opened_scopes(name, await self.used(name))

    def _opened_scopes(self, name: str, row: bytes | None) -> frozenset[str]:
        text = None if row is None else self._box.open(row, self._used(name))
        return split_scopes(text.decode()) if text else frozenset()

    async def forget_declined(self, grant_id: str) -> None:
        """Forget what a user declined: TikTok asks them everything again.

        Raises:
            StoreError: the store failed.
        """
        key = self._used(_declined(grant_id))
        row = await self._port.get(key)
        if row is not None:
            await self._port.compare_and_set(key, row, None, 1)

    async def note_revoked(self, grant_id: str) -> None:
        """Note that TikTok was just told to end a user's access.

        TikTok reports that by webhook, which may arrive after the next login.
        """
        name, now = _revoked(grant_id), str(int(self._clock())).encode()
        for _ in range(_SWAPS):
            noted = await self.used(name)
            if await self.swap_used(name, noted, now, _REVOKED_SECONDS):
                return

    async def revoked_at(self, grant_id: str) -> int | None:
        """Return when `note_revoked` was called last; None if not for days."""
        noted = await self.used(_revoked(grant_id))
        return int(noted) if noted is not None and noted.isdigit() else None

    def _used(self, name: str) -> str:
        return f"{self._space}:used:{{{name}}}"

    async def begin_attempt(self, held: VersionedRecord, seconds: float) -> Attempt:
        """Note in the store that TikTok is about to be asked for a grant's next token.

        It is a write of its own before the call, so a store that takes none is found
        out before the only refresh token is spent.

        Args:
            held: whose token.
            seconds: how long the note stays: the longest that an attempt takes.

        Raises:
            StoreError: the store failed.
        """
        key, generation = self._attempt(held.grant_id), _generation(held.grant)
        note = generation + os.urandom(8)
        while not await self._port.compare_and_set(key, None, note, seconds):
            other = await self._port.get(key)
            if other is not None and await self._port.compare_and_set(
                key, other, note, seconds
            ):
                return Attempt(note, is_second=other.startswith(generation))
        return Attempt(note, is_second=False)

    async def is_alone(self, grant_id: str, attempt: Attempt) -> bool:
        """Whether no other process can have the answer to the same refresh token.

        A note that is gone was another's to take: we were asleep for long.
        """
        found = await self._port.get(self._attempt(grant_id))
        return not attempt.is_second and found == attempt.note

    async def end_attempt(self, grant_id: str, attempt: Attempt) -> None:
        """Take the note back, if it is still ours; a failing store lets it expire."""
        with contextlib.suppress(StoreError):
            key = self._attempt(grant_id)
            await self._port.compare_and_set(key, attempt.note, None, 0)

    def _attempt(self, grant_id: str) -> str:
        return f"{self._space}:attempt:{{{grant_id}}}"

    def lock(
        self, grant_id: str, seconds: float
    ) -> AbstractAsyncContextManager[LockHandle]:
        """Hold the store's lock on a record inside, if nobody else does."""
        return self._port.lock(self._key(grant_id), seconds)

    @property
    def has_short_locks(self) -> bool:
        """Whether the store's locks can be renewed, so that they may be short."""
        return self._port.renews

    def _ttl(self, grant: UserRecord) -> float:
        """Return for how long the store shall keep a record, in seconds.

        As long as a session can last, or a job can refresh, and a while after the
        tokens are over, for their end to be noticed.
        """
        now = self._clock()
        until: float = grant.expires_at
        if grant.refresh_token:
            end = grant.refresh_expires_at
            until = max(until, now + _UNKNOWN_LIFE if end is None else end)
        until += _NOTICE
        if not self._settings.keep_grants:
            until = min(until, max(map(self.end_of, grant.sessions), default=now))
        return max(1.0, until - now)


def _declined(grant_id: str) -> str:
    return f"declined-{grant_id}"


def _revoked(grant_id: str) -> str:
    return f"revoked-{grant_id}"

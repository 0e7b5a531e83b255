"""A fresh token, asked for once however many ask.

TikTok rotates refresh tokens strictly: the old one dies as soon as a new one is
issued, so two refreshes are one user signed out. Who finds a token due takes this
process's lock for the user, then the store's, reads again, and only then asks TikTok.
The answer is durable before anybody sees it. While the old access token is still good
nobody but the leader waits.

Only ``invalid_grant``, after one more look at the record, ends sessions. Every other
failure keeps them, backs off, and is tried again by a later request.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core import jitter
from tiktok_oauth_middleware._core.backends.base import InFlight
from tiktok_oauth_middleware._core.leases import LEASE_SECONDS
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth import user_info
from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes
from tiktok_oauth_middleware._observe.causes import reason_of
from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    StoreError,
    TikTokError,
    TikTokUnavailable,
)
from tiktok_oauth_middleware.events import Event

from .backoff import Backoff
from .record import CLOCK_SKEW, UserRecord
from .records import swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Meanwhile
    from tiktok_oauth_middleware._core.store_adapter import LockHandle
    from tiktok_oauth_middleware._oauth.token_response import TokenResponse

    from .records import Attempt, VersionedRecord
    from .shared import Shared

#: At most a minute, with the jitter and the rounding to whole seconds.
_BACKOFF = Backoff(first=1, longest=47, jitter=0.25)
_SHORTEST_LIFE = 2
_POLL_SECONDS = 0.05
#: How long TikTok's answer is tried to be written, in seconds.
_WRITE_SECONDS = 12
#: The part of its life that a token has before a sweep renews it.
_SHARE_BEFORE_SWEEPS = 0.5


class _LockLostError(Exception):
    """The store's lock was lost before TikTok was asked."""


class _Lock(NamedTuple):
    """The store's lock on a record, held."""

    hold: LockHandle
    #: Whether a thread renews it.
    is_kept: bool
    #: When it was asked for, by the monotonic clock.
    asked: float


class Demand(NamedTuple):
    """Why a token may be renewed before a request needs that."""

    #: A sweep renews what ends within so many seconds, if half of its life is over:
    #: each rotation is a chance to lose the chain, so more sweeps make no more of them.
    within: float = 0
    #: The `fingerprint` of an access token that is to be replaced, due or not.
    replacing: str = ""


#: What every request asks for: a token that has not ended and is not about to.
DUE = Demand()


class Refresh:
    """Keeps the access tokens of one TikTok app fresh."""

    def __init__(self, shared: Shared) -> None:
        self._settings = shared.settings
        self._deferred_writes = shared.deferred_writes
        self._backend = shared.backend
        self._records = shared.records
        self._client = shared.client
        self._emit = shared.emit
        self._clock = shared.clock
        #: The longest that a refresh takes, in seconds: the call and the write.
        self.longest: float = shared.settings.timeout + _WRITE_SECONDS
        # The store's lock is renewed all the while, or else outlives both, so that
        # nobody asks in between. A short one is sooner free of a holder that died.
        self._lease = (
            LEASE_SECONDS if shared.records.has_short_locks else self.longest + 3
        )

    def due_at(self, record: UserRecord) -> float:
        """Return when the access token is to be renewed, in seconds since 1970.

        A leeway before its end, or a tenth of its life if that is less, so that a
        short life makes no loop; a little earlier for some users than for others.
        """
        life = record.expires_at - record.issued_at
        leeway = min(self._settings.refresh_leeway, life / 10)
        jitter = zlib.crc32(f"{record.open_id}{record.issued_at}".encode()) / 2**32
        return record.expires_at - leeway * (1 + 0.1 * jitter)

    def is_due(self, record: UserRecord, demand: Demand = DUE) -> bool:
        """Whether something is to be done now: TikTok to be asked, or the grant ended.

        A failed refresh puts off the next one, but never the end of a grant.
        """
        now = self._clock()
        if self.has_ended(record):
            return True
        due = now >= self.due_at(record) or is_from_future(record, now)
        if demand.replacing:
            due = fingerprint(record.access_token) == demand.replacing
        elif demand.within and not due:
            life = record.expires_at - record.issued_at
            due = (
                now >= self.due_at(record) - demand.within
                and now - record.issued_at > life * _SHARE_BEFORE_SWEEPS
            )
        return due and not self._must_wait(record, now)

    def has_ended(self, record: UserRecord) -> bool:
        """Whether the access token is over, and no other can be had for it."""
        return record.expires_at <= self._clock() and not self._can_ask(record)

    @staticmethod
    def _must_wait(record: UserRecord, now: float) -> bool:
        """Whether a failure was so recent that it is too early to try again.

        A time further away than any back-off is what a clock that jumped has left.
        """
        return now < record.retry_at <= now + 2 * CLOCK_SKEW

    async def fresh(
        self, stored: VersionedRecord, demand: Demand = DUE
    ) -> VersionedRecord | None:
        """Return the record with the best token there is; None if the grant has ended.

        The token in it has expired, or is the one that was to be replaced, if TikTok
        could not be asked.

        A store that fails while the token is valid fails no request: the refresh
        waits.

        Raises:
            StoreError: the store failed, and the token has expired or more was asked
                for than what is due.
        """
        if not self.is_due(stored.record, demand):
            return stored
        usable = self._is_usable(stored.record, demand)
        if not usable or demand != DUE:
            with contextlib.suppress(InFlight):
                return await self._led(stored, demand, wait=not usable)
        elif self._deferred_writes.may_try():
            with contextlib.suppress(InFlight), self._deferred_writes.attempt():
                return await self._led(stored, demand, wait=False)
            if not self._is_usable(stored.record, demand):
                # It expired while the store was waited for, and is needed now.
                return await self._led(stored, demand, wait=True)
        return stored

    async def _led(
        self, stored: VersionedRecord, demand: Demand, *, wait: bool
    ) -> VersionedRecord | None:
        """Return what the one refresh of this process for this user gives."""
        return await self._backend.single_flight(
            _flight(stored.record_id, demand),
            lambda: self._lead(stored.record_id, demand),
            wait=wait,
        )

    def is_under_way(self, record_id: str) -> bool:
        """Whether somebody in this process is at a grant's refresh just now."""
        return self._backend.is_in_flight(_flight(record_id, DUE))

    async def result(self, record_id: str) -> VersionedRecord | None:
        """Return what the refresh that is under way gives, having waited for it.

        Raises:
            StoreError: the store failed.
        """
        return await self._backend.single_flight(
            _flight(record_id, DUE), lambda: self._lead(record_id, DUE), wait=True
        )

    def _is_usable(self, record: UserRecord, demand: Demand) -> bool:
        """Whether whoever asks can go on with the token that there is."""
        return record.expires_at > self._clock() and not demand.replacing

    async def _lead(self, record_id: str, demand: Demand) -> VersionedRecord | None:
        """Take the store's lock and refresh, or use what another process made."""
        # Whoever waits behind a slow or dead holder waits no longer than for TikTok.
        give_up = time.monotonic() + self._settings.timeout
        while True:
            stored = await self._records.load(record_id)
            if stored is None or not self.is_due(stored.record, demand):
                return stored
            if not self._can_ask(stored.record):
                if stored.record.expires_at > self._clock():
                    return stored
                return await self._end_expired(stored)
            asked = time.monotonic()
            async with self._records.lock(record_id, self._lease) as hold:
                if hold:
                    with (
                        contextlib.suppress(_LockLostError),
                        hold.kept(self._lease) as is_kept,
                    ):
                        lock = _Lock(hold, is_kept, asked)
                        return await self._refresh(record_id, demand, lock)
            # Never without the lock: a second refresh would be refused, and take the
            # first one's answer for a dead grant.
            usable = self._is_usable(stored.record, demand)
            if usable or time.monotonic() > give_up:
                return stored
            await self._backend.sleep(_POLL_SECONDS * jitter.between(0.5, 1.5))

    def _can_ask(self, record: UserRecord) -> bool:
        """Whether there is a refresh token that TikTok can still take."""
        end = record.refresh_expires_at
        return bool(record.refresh_token) and (end is None or end > self._clock())

    async def _refresh(
        self, record_id: str, demand: Demand, lock: _Lock
    ) -> VersionedRecord | None:
        """Ask TikTok once and write the answer; called with the locks held.

        Raises:
            StoreError: the store failed.
            _LockLostError: TikTok was not asked, for another process may be at it.
        """

        async def keep_the_lock() -> None:
            with contextlib.suppress(StoreError):  # the write will tell
                await lock.hold.renew(self._lease)

        stored = await self._records.load(record_id)
        if stored is None or not self.is_due(stored.record, demand):
            return stored
        client = await self._client()
        attempt = await self._records.begin_attempt(stored, self.longest)
        # A process that was slow to come here may have lost the lock, and then
        # somebody else asks.
        is_late = time.monotonic() - lock.asked > self._lease / 2
        if is_late and not await lock.hold.renew(self._lease):
            await self._records.end_attempt(record_id, attempt)
            raise _LockLostError
        try:
            answer = await client.refresh(
                stored.record.refresh_token.reveal(),
                meanwhile=None if lock.is_kept else keep_the_lock,
            )
        except GrantRevoked as error:
            return await self._revoked(stored, attempt, error)
        except TikTokError as error:
            left = await self._failed(stored, error)
            await self._records.end_attempt(record_id, attempt)
            return left
        # The note of the attempt is about tokens that the record no longer holds from
        # here on, and expires by itself.
        if answer.open_id != stored.record.open_id:
            return await self._end(stored, "other_user")
        return await self._write(stored, answer, keep_the_lock)

    async def _write(
        self,
        stored: VersionedRecord,
        answer: TokenResponse,
        keep_the_lock: Meanwhile,
    ) -> VersionedRecord | None:
        """Write what TikTok answered, over whatever else changed meanwhile.

        The old refresh token is dead by now: an answer that is not written is a user
        signed out, so a store that stumbles is asked again and again.

        Raises:
            StoreError: it failed for `_WRITE_SECONDS`.
        """
        before = stored.record.scopes
        give_up = time.monotonic() + _WRITE_SECONDS
        latest: VersionedRecord | None = stored
        is_outdated = False
        wait = _POLL_SECONDS
        while latest is not None and _takes(latest, stored, answer):
            try:
                # Each of the two is tried until it is done: where every second call
                # fails, both at once would seldom succeed.
                if is_outdated:
                    latest = await self._records.load(stored.record_id)
                    is_outdated = False
                    continue
                renewed = self._renewed(latest.record, answer)
                written = await self._records.replace(latest, renewed)
                if written is not None:
                    await self._announce(written.record, before)
                    return written
                is_outdated = True
            except StoreError:
                if time.monotonic() > give_up:
                    raise
                await self._backend.sleep(wait)
                await keep_the_lock()
                wait = min(1.0, wait * 2)
        if latest and latest.record.access_token == answer.access_token:
            # Written by a try before, whose StoreError was about the answer.
            await self._announce(latest.record, before)
        return latest  # or logged out, or logged in anew: that counts, not this answer

    def _renewed(self, record: UserRecord, answer: TokenResponse) -> UserRecord:
        now = int(self._clock())
        scopes = split_scopes(record.scopes)
        if answer.scopes is not None:
            answered = split_scopes(answer.scopes)
            if answered - scopes:
                logger.warning("a refresh answered with more scopes than were granted")
            scopes &= answered
        granted, profile = join_scopes(scopes), record.profile
        if granted != record.scopes:
            # Fields that no granted scope opens any more are not shown.
            profile = user_info.join_profiles("", profile, granted)
        tokens = answer.fields_for_record(
            now, record.refresh_token, record.refresh_expires_at
        )
        return replace(
            record,
            **tokens,
            scopes=granted,
            profile=profile,
            failures=0,
            # A life of no second must not make a loop.
            retry_at=now + 1 if answer.expires_in < _SHORTEST_LIFE else 0,
        )

    async def _announce(self, record: UserRecord, before: str) -> None:
        scopes = split_scopes(record.scopes)
        await self._emit(Event(name="refresh", open_id=record.open_id, scopes=scopes))
        if record.scopes != before:
            event = Event(name="scopes_changed", open_id=record.open_id, scopes=scopes)
            await self._emit(event)

    async def _revoked(
        self, stored: VersionedRecord, attempt: Attempt, error: GrantRevoked
    ) -> VersionedRecord | None:
        """End the sessions, unless somebody else has refreshed or logged in.

        Or may have: a process that lost its lock while it was stopped, or starved, can
        have the answer to the same refresh token. The sessions wait until it must have
        written it.
        """
        latest = await self._records.load(stored.record_id)
        if latest is None or not _is_same(latest, stored):
            return latest
        if await self._records.is_alone(stored.record_id, attempt):
            return await self._end(latest, "invalid_grant", error)
        return await self._failed(stored, error, wait=self.longest)

    async def _end_expired(self, stored: VersionedRecord) -> VersionedRecord | None:
        """End a grant whose tokens are over, unless somebody has logged in since.

        A store that cannot be written lets nobody in again: the record stays for
        another request or sweep to end.
        """
        latest: VersionedRecord | None = stored
        try:
            for _ in swap_attempts():
                if latest is None or not self.has_ended(latest.record):
                    break
                if await self._records.delete(latest):
                    await self._announce_end(latest.record, "refresh_token_expired")
                    return None
                latest = await self._records.load(stored.record_id)
        except StoreError as error:
            logger.warning("a grant that is over could not be deleted: %s", error)
            return None
        return latest

    async def _end(
        self, stored: VersionedRecord, reason: str, why: object = ""
    ) -> VersionedRecord | None:
        """Delete the record and with it every session of the user."""
        if not await self._records.delete(stored):
            latest = await self._records.load(stored.record_id)
            spent = stored.record.refresh_token
            if latest is not None and latest.record.refresh_token == spent:
                return await self._end(latest, reason, why)
            return latest
        await self._announce_end(stored.record, reason, why)
        return None

    async def _announce_end(
        self, record: UserRecord, reason: str, why: object = ""
    ) -> None:
        """Emit the end of a grant: once, by whoever deleted the record."""
        event = Event(name="session_ended", reason=reason, open_id=record.open_id)
        await self._emit(event, why=why)

    async def _failed(
        self, stored: VersionedRecord, error: TikTokError, wait: float | None = None
    ) -> VersionedRecord | None:
        """Keep everything, and note when to try again where all processes see it.

        After a back-off, unless it is said how many seconds to wait.
        """
        # An invalid_grant that ends nothing is an error of TikTok like any other.
        is_grant = isinstance(error, GrantRevoked)
        reason = TikTokError.code if is_grant else reason_of(error)
        open_id = stored.record.open_id
        event = Event(name="refresh_failed", reason=reason, open_id=open_id)
        await self._emit(event, why=error)
        failures = min(stored.record.failures + 1, 30)
        if wait is None:
            asked = error.retry_after if isinstance(error, TikTokUnavailable) else None
            wait = _BACKOFF.seconds(failures, at_least=asked)
        retry_at = int(self._clock() + wait) + 1
        latest: VersionedRecord | None = stored
        for _ in swap_attempts():
            if latest is None or not _is_same(latest, stored):
                break
            noted = replace(latest.record, failures=failures, retry_at=retry_at)
            written = await self._records.replace(latest, noted)
            if written is not None:
                return written
            latest = await self._records.load(stored.record_id)
        return latest


def _flight(record_id: str, demand: Demand) -> tuple[str, Demand]:
    # Who wants more than is due does not share what is done for the others.
    return record_id, demand


def fingerprint(access_token: str) -> str:
    """Return what stands for an access token where one must not be kept."""
    return hashlib.sha256(access_token.encode()).hexdigest()


def is_from_future(record: UserRecord, now: float) -> bool:
    """Whether the tokens were issued before the clock was set back.

    When they end is not to be believed then, and they are due.
    """
    return record.issued_at > now + CLOCK_SKEW


def _is_same(one: VersionedRecord, other: VersionedRecord) -> bool:
    """Whether two readings of a record hold the same generation of tokens.

    A provider may leave the refresh token as it is, so it alone says too little.
    """
    return (one.record.refresh_token, one.record.access_token) == (
        other.record.refresh_token,
        other.record.access_token,
    )


def _takes(
    latest: VersionedRecord, stored: VersionedRecord, answer: TokenResponse
) -> bool:
    """Whether an answer belongs into a record that may have changed since.

    It does while the record holds the tokens that were spent for it. It does as well
    where a login brought another access token and no refresh token: the one that was
    left there died with the answer.
    """
    spent = stored.record.refresh_token
    if latest.record.refresh_token != spent:
        return False
    is_rotated = answer.refresh_token not in (None, spent)
    return is_rotated or latest.record.access_token == stored.record.access_token

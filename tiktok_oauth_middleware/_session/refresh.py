"""Single-flight token refresh.

TikTok rotates refresh tokens strictly: the old one is invalid as soon as a new one is
issued, so two refreshes with the same token sign the user out. A request that finds a
token due takes this process's lock for the user, then the store's lock, reads the
record again, and only then asks TikTok. TikTok's answer is in the store before any
request uses it. While the old access token is valid, only the request that refreshes
waits. After that the others wait for it, but no longer than a refresh can take: then
they go on with the expired token, and none of them begins a second refresh. Events are
delivered when both locks are free.

Only ``invalid_grant`` ends sessions, and only after the record was read once more.
After any other failure the sessions stay, and a later request tries again after a
back-off.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core import jitter
from tiktok_oauth_middleware._core.backends.single_flight import InFlight
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
from .due import DUE, Demand, DueTimes
from .rows import swap_attempts
from .shared import Part

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Meanwhile
    from tiktok_oauth_middleware._core.store_adapter import LockHandle
    from tiktok_oauth_middleware._oauth.token_response import TokenResponse

    from .attempts import Attempt
    from .record import UserRecord
    from .shared import Shared
    from .versioned_record import VersionedRecord

#: At most a minute: 47 s and up to 25 % of jitter, rounded up to whole seconds.
_BACKOFF = Backoff(first=1, longest=47, jitter=0.25)
_SHORTEST_LIFE = 2
_POLL_SECONDS = 0.05
#: How long to retry the write of TikTok's answer, in seconds.
_WRITE_SECONDS = 12
#: How often to try it at least, also after the process was suspended for longer.
_FEWEST_WRITES = 5


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
def _noted(record_id: str) -> Iterator[None]:
    """Note in the context that code inside is a part of a user's refresh."""
    mine = _Ongoing(record_id)
    before = _ongoing.set((*_ongoing.get(), mine))
    try:
        yield
    finally:
        # A task that was begun meanwhile keeps a copy of the context.
        mine.is_over = True
        _ongoing.reset(before)


def _is_part_of_refresh(record_id: str) -> bool:
    """Whether the running code is a part of a refresh of this user's token."""
    return any(
        each.record_id == record_id and not each.is_over for each in _ongoing.get()
    )


#: Extends the store's lock; returns whether this process has it.
KeepLock = Callable[[], Awaitable[bool]]


class _LockLostError(Exception):
    """The store's lock was lost before TikTok was asked."""


class _WriteTries:
    """Decides how often the write of TikTok's answer is tried."""

    def __init__(self) -> None:
        self._give_up = time.monotonic() + _WRITE_SECONDS
        self._left = _FEWEST_WRITES

    def are_over(self) -> bool:
        """Whether to give up after one more try that failed."""
        self._left -= 1
        return self._left <= 0 and time.monotonic() > self._give_up


class _StoreLock(NamedTuple):
    """The store's lock on a record, while this process has it."""

    handle: LockHandle
    #: Whether a thread renews it.
    is_kept: bool
    #: When it was requested, by the monotonic clock.
    requested_at: float


class Refresh(Part):
    """Keeps the access tokens of one TikTok app fresh."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        #: When tokens are due.
        self.due = DueTimes(shared.settings, shared.clock)
        #: The longest time that a refresh takes, in seconds: the call and the write.
        self.longest: float = shared.settings.timeout + _WRITE_SECONDS
        #: How long a refresh may have run while others still wait for it, in seconds:
        #: it may wait as long for the store's lock as for TikTok.
        self._patience = shared.settings.timeout + self.longest
        # The store's lock is either renewed during the refresh, or lasts longer than
        # it, so that no other process asks TikTok at the same time. A lock that is
        # renewed can be short, so it expires soon if its process dies.
        self._lease = (
            LEASE_SECONDS if shared.records.has_short_locks else self.longest + 3
        )

    async def fresh(
        self, stored: VersionedRecord, demand: Demand = DUE
    ) -> VersionedRecord | None:
        """Return the record with the newest token; None if the grant has ended.

        If TikTok could not be asked, or another caller's refresh does not end, the
        record may still hold an expired token, or the token that `demand` was meant to
        replace.

        If the store fails while the token is valid, the refresh is postponed and the
        request goes on. A signal's handler that calls this during a refresh of the same
        user gets the record as it is stored.

        Raises:
            StoreError: the store failed, and either the token has expired or `demand`
                is not `DUE`.
        """
        if not self.due.is_due(stored.record, demand) or _is_part_of_refresh(
            stored.record_id
        ):
            return stored
        usable = self._is_usable(stored.record, demand)
        if not usable or demand != DUE:
            with contextlib.suppress(InFlight):
                return await self._shared_refresh(
                    stored.record_id, demand, wait=0 if usable else self._patience
                )
        elif self._deferred_writes.may_try():
            with contextlib.suppress(InFlight), self._deferred_writes.attempt():
                return await self._shared_refresh(stored.record_id, demand, wait=0)
            if not self._is_usable(stored.record, demand):
                # The token expired during the wait for the store: refresh it now.
                with contextlib.suppress(InFlight):
                    return await self._shared_refresh(
                        stored.record_id, demand, wait=self._patience
                    )
        return stored

    async def _shared_refresh(
        self, record_id: str, demand: Demand, *, wait: float
    ) -> VersionedRecord | None:
        """Return the result of the one refresh for this user in this process.

        Raises:
            InFlight: another caller's refresh has run for `wait` seconds.
            StoreError: the store failed.
        """
        key, postponed = _flight_key(record_id, demand), self._emit.postponed()
        work = partial(postponed.during, partial(self._run, record_id, demand))
        if self._traces is None:
            return await self._backend.single_flight(
                key, work, wait=wait, afterwards=postponed.deliver
            )
        return await self._traces.refresh(
            self._backend, key, work, wait=wait, afterwards=postponed.deliver
        )

    def is_under_way(self, record_id: str) -> bool:
        """Whether this process is refreshing a user's token now."""
        return self._backend.is_in_flight(_flight_key(record_id, DUE))

    async def result(self, record_id: str) -> VersionedRecord | None:
        """Wait for the running refresh; return its result.

        If it does not end, return the record as it is stored, with an expired token.

        Raises:
            StoreError: the store failed.
        """
        with contextlib.suppress(InFlight):
            return await self._shared_refresh(record_id, DUE, wait=self._patience)
        return await self._records.load(record_id)

    @contextlib.asynccontextmanager
    async def held_off(self, record_id: str, wait: float) -> AsyncIterator[KeepLock]:
        """Hold the store's lock in the block, so that no other caller refreshes.

        Without it, if a refresh does not end, the block is entered after the wait.

        Args:
            record_id: of the user whose tokens are meant.
            wait: how long to wait for the end of a refresh, in seconds.

        Yields:
            A function that extends the store's lock, to be called just before TikTok is
            asked; it returns False if the lock was not free in time, or is lost.

        Raises:
            StoreError: the store failed, before the block.
        """
        give_up = time.monotonic() + wait
        while True:
            async with self._records.lock(record_id, self._lease) as handle:
                # A refresh on this stack ends only after the block.
                is_last = _is_part_of_refresh(record_id) or time.monotonic() > give_up
                if handle or is_last:
                    with _noted(record_id), handle.keep_renewed(self._lease):
                        yield partial(self._keep, handle)
                    return
            await self._backend.sleep(_POLL_SECONDS * jitter.between(0.5, 1.5))

    async def _keep(self, handle: LockHandle) -> bool:
        """Extend the store's lock; return whether this process has it."""
        with contextlib.suppress(StoreError):
            return bool(handle) and await handle.renew(self._lease)
        return False

    def _is_usable(self, record: UserRecord, demand: Demand) -> bool:
        """Whether the present token is good enough for the caller."""
        return record.expires_at > self._clock() and not demand.replacing

    async def _run(self, record_id: str, demand: Demand) -> VersionedRecord | None:
        with _noted(record_id):
            return await self._lead(record_id, demand)

    async def _lead(self, record_id: str, demand: Demand) -> VersionedRecord | None:
        """Take the store's lock and refresh, or return another process's result."""
        # If a slow or dead process has the lock, this one waits no longer than it would
        # wait for TikTok.
        give_up = time.monotonic() + self._settings.timeout
        while True:
            stored = await self._records.load(record_id)
            if stored is None or not self.due.is_due(stored.record, demand):
                return stored
            if not self.due.can_ask(stored.record):
                if stored.record.expires_at > self._clock():
                    return stored
                return await self._end_expired(stored)
            requested_at = time.monotonic()
            async with self._records.lock(record_id, self._lease) as handle:
                if handle:
                    with (
                        contextlib.suppress(_LockLostError),
                        handle.keep_renewed(self._lease) as is_kept,
                    ):
                        lock = _StoreLock(handle, is_kept, requested_at)
                        return await self._refresh(record_id, demand, lock)
            # Never ask without the lock: TikTok would refuse the second refresh with
            # invalid_grant, which would be mistaken for the end of the grant.
            usable = self._is_usable(stored.record, demand)
            if usable or time.monotonic() > give_up:
                return stored
            await self._backend.sleep(_POLL_SECONDS * jitter.between(0.5, 1.5))

    async def _refresh(
        self, record_id: str, demand: Demand, lock: _StoreLock
    ) -> VersionedRecord | None:
        """Ask TikTok once and write the answer; the caller has both locks.

        Raises:
            StoreError: the store failed.
            _LockLostError: TikTok was not asked: another process may be asking it.
        """

        async def keep_the_lock() -> None:
            with contextlib.suppress(StoreError):  # the write reports a failure
                await lock.handle.renew(self._lease)

        stored = await self._records.load(record_id)
        if stored is None or not self.due.is_due(stored.record, demand):
            return stored
        client = await self._client()
        attempt = await self._records.attempts.begin(stored, self.longest)
        # If this process was slow, another may have the lock by now and ask TikTok.
        is_late = time.monotonic() - lock.requested_at > self._lease / 2
        if is_late and not await lock.handle.renew(self._lease):
            await self._records.attempts.end(record_id, attempt)
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
            await self._records.attempts.end(record_id, attempt)
            return left
        # The stored attempt is not deleted and expires by itself: it concerns tokens
        # that are about to leave the record.
        if answer.open_id != stored.record.open_id:
            return await self._end(stored, "other_user")
        return await self._write(stored, answer, keep_the_lock)

    async def _write(
        self,
        stored: VersionedRecord,
        answer: TokenResponse,
        keep_the_lock: Meanwhile,
    ) -> VersionedRecord | None:
        """Write TikTok's answer, and keep other changes made to the record since.

        The old refresh token is already invalid, so losing the answer would sign the
        user out. Therefore a failed write is retried, and other changes of the record
        do not end the attempts as soon as `swap_attempts` would.

        Raises:
            StoreError: it failed for `_WRITE_SECONDS`, and `_FEWEST_WRITES` times.
        """
        before = stored.record.scopes
        tries = _WriteTries()
        latest: VersionedRecord | None = stored
        is_outdated = False
        wait = _POLL_SECONDS
        while latest is not None and _may_be_written(latest, stored, answer):
            try:
                # Reading and writing are retried separately: if half of all calls fail,
                # both succeed in a row only one time in four.
                if is_outdated:
                    latest = await self._records.load(stored.record_id)
                    is_outdated = False
                    continue
                renewed = self._renewed(latest.record, answer)
                written = await self._records.replace(latest, renewed)
                if written is not None:
                    await self._announce(written.record, before)
                    user_id = written.record.user_id
                    if user_id:
                        await self._connections().keep_listed(user_id, stored.record_id)
                    return written
                is_outdated = True
            except StoreError:
                if tries.are_over():
                    raise
                await self._backend.sleep(wait)
                await keep_the_lock()
                wait = min(1.0, wait * 2)
            else:
                if tries.are_over():
                    message = "the record changed before each try to write new tokens"
                    raise StoreError(message)
        if latest and latest.record.access_token == answer.access_token:
            # An earlier try wrote it, and only the store's reply was lost.
            await self._announce(latest.record, before)
        return latest  # a logout or a login since then takes precedence

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
            # Drop the fields that no granted scope covers any more.
            profile = user_info.join_profiles("", profile, granted)
        tokens = answer.fields_for_record(
            now, record.refresh_token, record.refresh_expires_at
        )
        return record._replace(
            **tokens,
            scopes=granted,
            profile=profile,
            failures=0,
            # A lifetime of less than a second must not cause a loop.
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
        """End the sessions, unless another refresh or login has changed the tokens.

        Another process that was suspended and lost its lock may have received new
        tokens for the same refresh token. The sessions then stay for `longest` seconds,
        in which that process can write its tokens. Tokens that were copied from another
        store may be older than those of that store, so their sessions stay as well.
        """
        latest = await self._records.load(stored.record_id)
        if latest is None or not _has_same_tokens(latest, stored):
            return latest
        if not await self._records.attempts.is_alone(stored.record_id, attempt):
            return await self._failed(stored, error, wait=self.longest)
        marks = self._records.copy_marks
        if await marks.may_be_outdated(stored.record_id, latest.record):
            # The old store may have newer tokens, which the next copy brings.
            left = await self._failed(stored, error)
            await self._records.attempts.end(stored.record_id, attempt)
            return left
        return await self._end(latest, "invalid_grant", error)

    async def _end_expired(self, stored: VersionedRecord) -> VersionedRecord | None:
        """End a grant whose tokens have expired, unless the user logged in again.

        If the store cannot be written, the request is anonymous anyway, and a
        later request or sweep deletes the record.
        """
        latest: VersionedRecord | None = stored
        try:
            for _ in swap_attempts():
                if latest is None or not self.due.has_ended(latest.record):
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
        spent, latest = stored.record.refresh_token, stored
        for _ in swap_attempts():
            if await self._records.delete(latest):
                await self._announce_end(latest.record, reason, why)
                return None
            found = await self._records.load(stored.record_id)
            if found is None or found.record.refresh_token != spent:
                return found
            latest = found
        return None

    async def _announce_end(
        self, record: UserRecord, reason: str, why: object = ""
    ) -> None:
        """Emit the end of a grant; only for the caller that deleted the record."""
        event = Event(
            name="session_ended",
            reason=reason,
            open_id=record.open_id,
            user_id=record.user_id or None,
        )
        await self._emit(event, why=why)

    async def _failed(
        self, stored: VersionedRecord, error: TikTokError, wait: float | None = None
    ) -> VersionedRecord | None:
        """Keep the sessions, and store the time before which no process tries again.

        Args:
            stored: the record.
            error: the failure.
            wait: seconds until the next try; the back-off if not given.
        """
        # An invalid_grant that ends no session is reported like other TikTok errors.
        is_grant = isinstance(error, GrantRevoked)
        reason = TikTokError.code if is_grant else reason_of(error)
        open_id = stored.record.open_id
        event = Event(name="refresh_failed", reason=reason, open_id=open_id)
        await self._emit(event, why=error)
        failures = min(stored.record.failures + 1, 30)
        if wait is None:
            at_least = (
                error.retry_after if isinstance(error, TikTokUnavailable) else None
            )
            wait = _BACKOFF.seconds(failures, at_least=at_least)
        retry_at = int(self._clock() + wait) + 1
        latest: VersionedRecord | None = stored
        for _ in swap_attempts():
            if latest is None or not _has_same_tokens(latest, stored):
                break
            noted = latest.record._replace(failures=failures, retry_at=retry_at)
            written = await self._records.replace(latest, noted)
            if written is not None:
                return written
            latest = await self._records.load(stored.record_id)
        return latest


def _flight_key(record_id: str, demand: Demand) -> tuple[str, Demand]:
    # Callers with different demands do not share a refresh.
    return record_id, demand


def _has_same_tokens(one: VersionedRecord, other: VersionedRecord) -> bool:
    """Whether two reads of a record have the same tokens.

    The server may keep the refresh token (RFC 6749 section 6), so both are compared.
    """
    return (one.record.refresh_token, one.record.access_token) == (
        other.record.refresh_token,
        other.record.access_token,
    )


def _may_be_written(
    latest: VersionedRecord, stored: VersionedRecord, answer: TokenResponse
) -> bool:
    """Whether to write an answer into a record that may have changed since.

    The answer is written if the record still has the tokens from before the refresh. It
    is also written if a login has since replaced only the access token: the refresh
    token in the record became invalid when TikTok answered.
    """
    spent = stored.record.refresh_token
    if latest.record.refresh_token != spent:
        return False
    is_rotated = answer.refresh_token not in (None, spent)
    return is_rotated or latest.record.access_token == stored.record.access_token

"""One refresh of a user's tokens: TikTok is asked once, and its answer is written.

The caller has the locks, see `Refresh`. TikTok's answer is in the store before any
request uses it.

Only ``invalid_grant`` ends sessions, and only after the record was read once more.
After any other failure the sessions stay, and a later request tries again after a
back-off.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

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
from .refresh_lock import LockLostError
from .rows import swap_attempts
from .shared import Part

if TYPE_CHECKING:
    from tiktok_oauth_middleware._oauth.token_response import TokenResponse

    from .attempts import Attempt
    from .due import Demand, DueTimes
    from .record import UserRecord
    from .refresh_lock import RefreshLock
    from .shared import Shared
    from .versioned_record import VersionedRecord

#: At most a minute: 47 s and up to 25 % of jitter, rounded up to whole seconds.
_BACKOFF = Backoff(first=1, longest=47, jitter=0.25)
_SHORTEST_LIFE = 2
#: How long to retry the write of TikTok's answer, in seconds.
_WRITE_SECONDS = 12
#: How often to try it at least, also after the process was suspended for longer.
_FEWEST_WRITES = 5
#: The pause after the first failed write; each is twice as long as the one before.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class _WriteTries:
    """Decides how often the write of TikTok's answer is tried."""

    def __init__(self) -> None:
        self._give_up = time.monotonic() + _WRITE_SECONDS
        self._left = _FEWEST_WRITES

    def are_over(self) -> bool:
        """Whether to give up after one more try that failed."""
        self._left -= 1
        return self._left <= 0 and time.monotonic() > self._give_up


class RefreshRequest(Part):
    """Asks TikTok for new tokens of one app's users, and writes them."""

    def __init__(self, shared: Shared, due: DueTimes) -> None:
        """Take the times at which tokens are due."""
        super().__init__(shared)
        self._due = due
        #: The longest time that a refresh takes, in seconds: the call and the write.
        self.longest: float = shared.settings.timeout + _WRITE_SECONDS

    async def make(
        self, record_id: str, demand: Demand, lock: RefreshLock
    ) -> VersionedRecord | None:
        """Ask TikTok once and write the answer; return the record as `Refresh.fresh`.

        Args:
            record_id: of the user.
            demand: why; nothing is asked if the token is not due any more.
            lock: the store's, which this process has.

        Raises:
            StoreError: the store failed.
            LockLostError: TikTok was not asked: another process may be asking it.
        """
        began_at = self._clock()
        stored = await self._records.load(record_id)
        if stored is None or not self._due.is_due(stored.record, demand):
            return stored
        answer: TokenResponse | None = None
        client = await self._client()
        attempt = await self._records.attempts.begin(stored, self.longest)
        try:
            await lock.check()
        except LockLostError:
            await self._records.attempts.end(record_id, attempt)
            raise
        try:
            answer = await client.refresh(
                stored.record.refresh_token.reveal(),
                meanwhile=lock.meanwhile,
            )
        except GrantRevoked as error:
            return await self._revoked(stored, attempt, error)
        except TikTokError as error:
            left = await self._failed(stored, error)
            await self._records.attempts.end(record_id, attempt)
        else:
            # The stored attempt is not deleted and expires by itself: it concerns
            # tokens that are about to leave the record.
            if answer.open_id != stored.record.open_id:
                return await self._end(stored, "other_user")
            left = await self._write(stored, answer, lock)
        if left is None:
            newest = self._renewed(stored.record, answer) if answer else stored.record
            await self._revocation().revoke_dropped(record_id, newest, began_at, lock)
        return left

    async def _write(
        self, stored: VersionedRecord, answer: TokenResponse, lock: RefreshLock
    ) -> VersionedRecord | None:
        """Write TikTok's answer, and keep other changes made to the record since.

        The old refresh token is already invalid, so losing the answer would sign the
        user out. Therefore a failed write is retried, and other changes of the record
        do not end the attempts as soon as `swap_attempts` would.

        Returns:
            The record as it is then; None if it was deleted.

        Raises:
            StoreError: it failed for `_WRITE_SECONDS`, and `_FEWEST_WRITES` times.
        """
        before = stored.record.scopes
        tries = _WriteTries()
        latest: VersionedRecord | None = stored
        is_outdated = False
        wait = _FIRST_PAUSE
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
                await lock.keep()
                wait = min(_LONGEST_PAUSE, wait * 2)
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

    async def end_expired(self, stored: VersionedRecord) -> VersionedRecord | None:
        """End a grant whose tokens have expired, unless the user logged in again.

        If the store cannot be written, the request is anonymous anyway, and a
        later request or sweep deletes the record.
        """
        latest: VersionedRecord | None = stored
        try:
            for _ in swap_attempts():
                if latest is None or not self._due.has_ended(latest.record):
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

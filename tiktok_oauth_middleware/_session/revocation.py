"""Deletes a user's record, then ends the access to the user's account at TikTok."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.leases import LEASE_SECONDS
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import GrantRevoked, StoreError, TikTokError
from tiktok_oauth_middleware.events import Event

from .refresh_lock import LockLostError, try_lock
from .shared import Part

if TYPE_CHECKING:
    from .endings import Endings
    from .record import UserRecord
    from .refresh import Refresh
    from .refresh_lock import RefreshLock
    from .shared import Shared

#: How long to wait for TikTok to confirm a disconnect, in seconds: the user waits too.
REVOKE_SECONDS = 2.5
#: How long a disconnect waits for a refresh that has begun, in seconds: until the lock
#: of a process that has died is free.
LOCK_SECONDS = LEASE_SECONDS + 0.5
#: How a disconnect ended.
REVOKED, GONE, FAILED = "revoked", "gone", "failed"


class Revocation(Part):
    """Revokes the access of one TikTok app to its users' accounts."""

    def __init__(
        self,
        shared: Shared,
        refresh: Refresh,
        endings: Endings,
        forget: Callable[[str], Awaitable[UserRecord | None]],
    ) -> None:
        """Take the notes about ended access, and `SessionService.forget`."""
        super().__init__(shared)
        self._refresh = refresh
        self._endings = endings
        self._forget = forget

    async def disconnect(self, record_id: str) -> str:
        """Delete a user's record, then revoke the access at TikTok.

        A refresh that has begun is waited for, since it ends the record's tokens and
        brings the ones to revoke with.

        Returns:
            `REVOKED`; `GONE` if there was no record, or TikTok had ended the access
            before; `FAILED` if TikTok did not confirm within `REVOKE_SECONDS`, or if
            the refresh did not end within `LOCK_SECONDS`: it then ends the access, see
            `revoke_dropped`. The record is deleted in each case.

        Raises:
            StoreError: the store failed before anything was done.
        """
        # A caller that is cancelled must not stop it halfway: the record would be
        # deleted, the access not revoked, and nothing left to revoke it with.
        return await self._backend.shielded(lambda: self._disconnect(record_id))

    async def _disconnect(self, record_id: str) -> str:
        began_at = await self._endings.begin_revoke(record_id)
        async with self._held_off(record_id, LOCK_SECONDS) as lock:
            ended = await self._forget(record_id)
            if ended is None:
                await self._endings.end_revoke(record_id, [began_at], was_asked=False)
                return GONE
            result, why = await self._revoke_and_note(
                record_id, ended, [began_at], lock
            )
        await self._announce(ended.open_id, ended.user_id, result, why)
        return result

    async def are_over(self, record_id: str) -> bool:
        """Whether every revoke of a user's access that has begun is over.

        A revoke holds a lock from the deletion of the record on, see `_held_off`. So
        one that left the note of its beginning, and no lock, died. Waits for the lock
        of refreshes up to `LOCK_SECONDS`.
        """
        try:
            async with self._refresh.held_off(record_id, LOCK_SECONDS) as lock:
                if not lock.is_held:
                    return False
                async with self._lock_of_revokes(record_id, lock) as other:
                    return other.is_held
        except StoreError as error:
            logger.warning("whether a disconnect is over is unknown: %s", error)
            return False

    @contextlib.asynccontextmanager
    async def _held_off(
        self, record_id: str, wait: float
    ) -> AsyncIterator[RefreshLock]:
        """Hold refreshes off as `Refresh.held_off`, and let `are_over` notice it.

        If a refresh keeps its lock for longer, another lock is held in the block: the
        refresh may end before the revoke does, and its lock be free then.
        """
        async with contextlib.AsyncExitStack() as locked:
            lock = await locked.enter_async_context(
                self._refresh.held_off(record_id, wait)
            )
            if not lock.is_held:
                await locked.enter_async_context(self._lock_of_revokes(record_id, lock))
            yield lock

    def _lock_of_revokes(
        self, record_id: str, lock: RefreshLock
    ) -> contextlib.AbstractAsyncContextManager[RefreshLock]:
        """Try to take the lock of a revoke that is made beside a refresh."""
        return try_lock(self._records, f"revoke-{record_id}", lock.lease)

    async def revoke_refused(self, record_id: str, record: UserRecord) -> None:
        """End a user's access at TikTok with the tokens of a login that was refused.

        TikTok ends all tokens that the user has for this app, so the user's record, if
        there is one, is deleted.

        Args:
            record_id: of the user.
            record: with the new tokens; it is not stored.
        """
        await self._backend.shielded(lambda: self._revoke_refused(record_id, record))

    async def _revoke_refused(self, record_id: str, record: UserRecord) -> None:
        ended, begun, lock = None, [], None
        why: object
        async with contextlib.AsyncExitStack() as locked:
            try:
                begun = [await self._endings.begin_revoke(record_id)]
                held = await locked.enter_async_context(self._held_off(record_id, 0))
                ended = await self._forget(record_id)
                lock = held
            except StoreError as error:
                # TikTok ends the record's tokens, and the next refresh ends its
                # sessions.
                logger.warning(
                    "the record of a refused login was not deleted: %s", error
                )
            result, why = await self._revoke_and_note(record_id, record, begun, lock)
        user_id = ended.user_id if ended else ""
        await self._announce(record.open_id, user_id, result, why)

    async def revoke_dropped(
        self, record_id: str, record: UserRecord, since: float, lock: RefreshLock
    ) -> None:
        """End a user's access with tokens whose record was deleted during a refresh.

        Nothing is done if it was not deleted by a disconnect: a logout keeps the access
        at TikTok. A disconnect that did not wait for the end of the refresh has left
        the note of its beginning, and had no tokens that work.

        Args:
            record_id: of the user.
            record: with the newest tokens that are known.
            since: when the refresh began, in seconds since 1970.
            lock: the store's, under which the refresh was made.
        """
        try:
            begun = await self._endings.begun_revokes(record_id, since)
        except StoreError as error:
            logger.warning(
                "whether new tokens of a deleted user are to be revoked could not be"
                " read: %s",
                error,
            )
            return
        if begun:
            result, why = await self._revoke_and_note(record_id, record, begun, lock)
            await self._announce(record.open_id, record.user_id, result, why)

    async def _announce(
        self, open_id: str, user_id: str, result: str, why: object
    ) -> None:
        """Report a disconnect, and the app's user to whom the account was connected."""
        event = Event(
            name="disconnect", reason=result, open_id=open_id, user_id=user_id or None
        )
        await self._emit(event, why=why)

    async def _revoke_and_note(
        self,
        record_id: str,
        record: UserRecord,
        begun: Iterable[int],
        lock: RefreshLock | None,
    ) -> tuple[str, object]:
        """Revoke at TikTok, and store the time; return the result and its reason.

        Args:
            record_id: of the user.
            record: with the tokens to revoke; it is not stored, or not any more.
            begun: the notes of the beginning, see `Endings.begin_revoke`.
            lock: the store's; None if the store failed before the record was deleted.
        """
        result, why = await self._revoke(record_id, record, lock)
        if result != REVOKED and await self._may_be_refreshing(record_id, record):
            # The refresh may get other tokens. It then finds the note of the beginning,
            # and ends the access.
            result, begun = FAILED, ()
        # The record is deleted already. If this note cannot be stored, the webhook asks
        # TikTok whether the tokens still work.
        with contextlib.suppress(StoreError):
            await self._endings.end_revoke(record_id, begun)
        return result, why

    async def _revoke(
        self, record_id: str, record: UserRecord, lock: RefreshLock | None
    ) -> tuple[str, object]:
        """Revoke, if necessary with a refreshed token; return result and reason."""
        seconds = REVOKE_SECONDS / 2
        access = record.access_token
        try:
            client = await self._client()
            if record.expires_at <= self._clock() and record.refresh_token:
                if lock and not await self._may_refresh(record_id, record, lock):
                    return FAILED, "another refresh of the expired token has not ended"
                answer = await client.refresh(
                    record.refresh_token.reveal(),
                    seconds=seconds,
                    meanwhile=lock and lock.meanwhile,
                )
                access = answer.access_token
            if lock and await self._is_outdated(record_id, lock):
                return FAILED, "the user has logged in again meanwhile"
            await client.revoke(access.reveal(), seconds=seconds)
        except TikTokError as error:
            is_refused = (
                isinstance(error, GrantRevoked) or error.error == "access_token_invalid"
            )
            return GONE if is_refused else FAILED, error
        return REVOKED, ""

    async def _is_outdated(self, record_id: str, lock: RefreshLock) -> bool:
        """Whether a login has written a new record, and took this revoke for over.

        It does so if this process was suspended until its lock was free.
        """
        with contextlib.suppress(StoreError):
            try:
                await lock.check()
            except LockLostError:
                return await self._records.load(record_id) is not None
        return False

    async def _may_refresh(
        self, record_id: str, record: UserRecord, lock: RefreshLock
    ) -> bool:
        """Whether to ask TikTok for new tokens in place of those of a deleted record.

        No refresh of theirs can begin any more. One that has begun gets the new tokens,
        and waits longer for them than a person would.
        """
        try:
            await lock.check()
        except LockLostError:
            return not await self._may_be_refreshing(record_id, record)
        except StoreError as error:
            logger.warning("a lock could not be renewed during a disconnect: %s", error)
        return True

    async def _may_be_refreshing(self, record_id: str, record: UserRecord) -> bool:
        """Whether a refresh has begun that may replace a record's tokens at TikTok."""
        try:
            return await self._records.attempts.is_under_way(record_id, record)
        except StoreError:
            return True

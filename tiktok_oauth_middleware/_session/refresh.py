"""Single-flight token refresh.

TikTok rotates refresh tokens strictly: the old one is invalid as soon as a new one is
issued, so two refreshes with the same token sign the user out. A request that finds a
token due takes this process's lock for the user, then the store's lock, reads the
record again, and only then asks TikTok. TikTok's answer is in the store before any
request uses it. While the old access token is valid, only the request that refreshes
waits. After that the others wait for it, but no longer than a refresh can take: then
they go on with the expired token, and none of them begins a second refresh. Events are
delivered when both locks are free.

`RefreshRequest` asks TikTok; what is here decides who does that, and who waits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core import jitter
from tiktok_oauth_middleware._core.backends.single_flight import InFlight
from tiktok_oauth_middleware._core.leases import LEASE_SECONDS

from .due import DUE, Demand, DueTimes
from .refresh_lock import LockLostError, is_held_up, noted, try_lock
from .refresh_request import RefreshRequest
from .shared import Part

if TYPE_CHECKING:
    from .record import UserRecord
    from .refresh_lock import RefreshLock
    from .shared import Shared
    from .versioned_record import VersionedRecord

_POLL_SECONDS = 0.05


class Refresh(Part):
    """Keeps the access tokens of one TikTok app fresh."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        #: When tokens are due.
        self.due = DueTimes(shared.settings, shared.clock)
        self._request = RefreshRequest(shared, self.due)
        #: The longest time that a refresh takes, in seconds: the call and the write.
        self.longest = self._request.longest
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
        request goes on. A call that holds up a refresh of the same user, such as one of
        a signal's handler, gets the record as it is stored.

        Raises:
            StoreError: the store failed, and either the token has expired or `demand`
                is not `DUE`.
        """
        if not self.due.is_due(stored.record, demand) or self.is_held_up(
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

    def is_held_up(self, record_id: str) -> bool:
        """Whether a refresh of this user cannot end before the running code returns."""
        return is_held_up(record_id, is_blocking=self._backend.is_blocking)

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
    async def held_off(self, record_id: str, wait: float) -> AsyncIterator[RefreshLock]:
        """Hold the store's lock in the block, so that no other caller refreshes.

        If a refresh does not end, the block is entered after the wait without the lock.

        Args:
            record_id: of the user whose tokens are meant.
            wait: how long to wait for the end of a refresh, in seconds.

        Yields:
            The lock, to be checked just before TikTok is asked.

        Raises:
            StoreError: the store failed, before the block.
        """
        give_up = time.monotonic() + wait
        while True:
            async with try_lock(self._records, record_id, self._lease) as lock:
                is_last = self.is_held_up(record_id) or time.monotonic() > give_up
                if lock.is_held or is_last:
                    with noted(record_id):
                        yield lock
                    return
            await self._pause()

    def _is_usable(self, record: UserRecord, demand: Demand) -> bool:
        """Whether the present token is good enough for the caller."""
        return record.expires_at > self._clock() and not demand.replacing

    async def _run(self, record_id: str, demand: Demand) -> VersionedRecord | None:
        with noted(record_id):
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
                return await self._request.end_expired(stored)
            async with try_lock(self._records, record_id, self._lease) as lock:
                if lock.is_held:
                    with contextlib.suppress(LockLostError):
                        return await self._request.make(record_id, demand, lock)
            # Never ask without the lock: TikTok would refuse the second refresh with
            # invalid_grant, which would be mistaken for the end of the grant.
            usable = self._is_usable(stored.record, demand)
            if usable or time.monotonic() > give_up:
                return stored
            await self._pause()

    async def _pause(self) -> None:
        """Wait before the next try to take the store's lock."""
        await self._backend.sleep(_POLL_SECONDS * jitter.between(0.5, 1.5))


def _flight_key(record_id: str, demand: Demand) -> tuple[str, Demand]:
    # Callers with different demands do not share a refresh.
    return record_id, demand

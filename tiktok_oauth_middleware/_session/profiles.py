"""The user's profile: requested at login, and again when it is old.

A profile is requested again when it is `profile_max_age` old, and sooner when the
signed link of its avatar has expired and the app reads it. Only one process requests
it: that process first writes into the record, with a compare-and-swap, the time from
which another process may try. Until then the others use the old profile. A failure
therefore needs no further write: the old profile stays, and the wait doubles.

The request that finds a profile old asks TikTok itself, and waits at most
`_CALL_SECONDS` for each call. If TikTok or the store fails, the request goes on without
a new profile.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tiktok_oauth_middleware._core.backends.single_flight import InFlight
from tiktok_oauth_middleware._core.clocks import SERVER_CLOCK_SKEW, WRONG_CLOCK_SECONDS
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth import user_info
from tiktok_oauth_middleware._oauth.scopes import BASIC_SCOPE, split_scopes
from tiktok_oauth_middleware._oauth.user_info import join_profiles, links_end
from tiktok_oauth_middleware.errors import TikTokError, TikTokUnavailable

from .backoff import Backoff
from .cached_session import PROFILE, RECORD_ID, SEEN_SECONDS
from .rows import swap_attempts
from .shared import Part

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.secret import Secret
    from tiktok_oauth_middleware._oauth.client import TikTokClient

    from .cached_session import CachedSession
    from .record import UserRecord
    from .shared import Shared
    from .versioned_record import VersionedRecord

#: The timeout of each of at most two calls, in seconds. Two calls take less than the
#: shortest back-off, so no other process calls TikTok at the same time.
_CALL_SECONDS = 2.4
_PROFILE_BACKOFF = Backoff(first=5, longest=3600)
#: Shortest time between two renewals of links, in seconds, even if TikTok sends
#: links that have already expired.
_SHORTEST_LINKS = 60
#: No session stays cached for longer than this, in seconds.
_LONGEST_CACHED = SEEN_SECONDS + SERVER_CLOCK_SKEW
#: TikTok's errors for a call that it refuses because of one field.
_REFUSED_FIELD = ("invalid_params", "scope_not_authorized", "scope_permission_missed")


class Profile(NamedTuple):
    """TikTok's answer: the packed profile, and whether it has only the basic fields."""

    packed: str
    is_basic_only: bool


class Profiles(Part):
    """Keeps the profiles of one TikTok app's users recent."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        #: Ids of the records whose profile the app has read since it was requested.
        self._readers: set[str] = set()

    # --- when ----------------------------------------------------------------------

    def due_at(self, record_id: str, record: UserRecord) -> float:
        """Return when to request a profile again: seconds since 1970, or infinity."""
        if not self._settings.fetch_user or not has_profile(record.scopes):
            return math.inf
        now = self._clock()
        if record.profile_at > now + WRONG_CLOCK_SECONDS:
            due = 0.0  # the clock was set back, so the age is unknown
        else:
            due = record.profile_at + self._settings.profile_max_age
        if record_id in self._readers:
            soonest = record.profile_at + _SHORTEST_LINKS
            due = min(due, max(links_end(record.profile), soonest))
        retry_at = record.profile_retry_at
        if retry_at > now + _PROFILE_BACKOFF.longest + WRONG_CLOCK_SECONDS:
            retry_at = 0  # written under a wrong clock
        return max(due, retry_at)

    def note_read(self, cached: CachedSession) -> None:
        """Note that the app read a profile, so that its links are renewed.

        If the links have expired, the user's next request gets new ones from TikTok. If
        they expire soon, sessions that were cached before the first read are loaded
        again, because they may be cached for longer than the links are valid.
        """
        record_id = cached[RECORD_ID]
        if record_id in self._readers:
            return
        if len(self._readers) >= self._settings.remembered_sessions:
            self._readers.clear()
        self._readers.add(record_id)
        if links_end(cached[PROFILE]) <= self._clock() + _LONGEST_CACHED:
            self._cache.forget(record_id)

    # --- asking --------------------------------------------------------------------

    async def fresh(self, stored: VersionedRecord) -> VersionedRecord | None:
        """Return the record with a recent profile, or the old one if TikTok fails.

        Return None if the record has been deleted.
        """
        record, now = stored.record, self._clock()
        if (
            self.due_at(stored.record_id, record) > now
            or record.expires_at <= now
            or not self._deferred_writes.may_try()
        ):
            return stored
        try:
            return await self._backend.single_flight(
                ("profile", stored.record_id),
                lambda: self._lead(stored),
                wait=0,
            )
        except InFlight:
            return stored

    async def _lead(self, stored: VersionedRecord) -> VersionedRecord | None:
        """Call TikTok unless another process does; one request per process runs it."""
        claimed: VersionedRecord | None = None
        with self._deferred_writes.attempt():
            # A change of another field, such as "last seen", must not postpone this.
            for _ in swap_attempts():
                if self.due_at(stored.record_id, stored.record) > self._clock():
                    return stored  # another process calls TikTok, or has done so
                claimed = await self._claim(stored)
                if claimed is not None:
                    break
                latest = await self._records.load(stored.record_id)
                if latest is None:
                    return None
                stored = latest
        if claimed is None:
            return stored  # the store takes no writes
        record = stored.record
        try:
            profile = await self.ask(
                record.access_token,
                record.open_id,
                record.scopes,
                seconds=_CALL_SECONDS,
            )
        except TikTokError as error:
            logger.warning("a profile was not renewed, the old one stays: %s", error)
            return await self._put_off(claimed, error)
        with self._deferred_writes.attempt():
            return await self._write(claimed, profile)
        return claimed

    async def _claim(self, stored: VersionedRecord) -> VersionedRecord | None:
        """Store when another process may try; return None if the record has changed."""
        failures = min(stored.record.profile_failures + 1, 30)
        noted = stored.record._replace(
            profile_failures=failures,
            profile_retry_at=self._retry_at(failures),
        )
        return await self._records.replace(stored, noted)

    async def ask(
        self,
        access_token: Secret,
        open_id: str,
        scopes: str,
        *,
        seconds: float | None = None,
        client: TikTokClient | None = None,
    ) -> Profile:
        """Ask TikTok for a profile now.

        If TikTok refuses one field, it refuses the whole call. This method then asks
        once more, for the basic fields only.

        Args:
            access_token: the user's, with ``user.info.basic``.
            open_id: the user's.
            scopes: the granted scopes, comma separated.
            seconds: the timeout of a call, instead of the settings' ``timeout``.
            client: the client of a running login, whose connection is used.

        Raises:
            TikTokUnavailable, TikTokError: see `TikTokClient.profile`.
        """
        fields = user_info.fields_for(split_scopes(scopes))
        basic = user_info.FIELDS[BASIC_SCOPE]
        if client is None:
            client = await self._client()
        try:
            packed = await client.profile(
                access_token.reveal(), open_id, fields, seconds=seconds
            )
        except TikTokError as error:
            is_refused = error.error in _REFUSED_FIELD and fields != basic
            if isinstance(error, TikTokUnavailable) or not is_refused:
                raise
            logger.warning(
                "TikTok refused a profile field; asking for the basic ones: %s", error
            )
        else:
            return Profile(packed, is_basic_only=False)
        packed = await client.profile(
            access_token.reveal(), open_id, basic, seconds=seconds
        )
        return Profile(packed, is_basic_only=True)

    async def renew(self, stored: VersionedRecord) -> str | None:
        """Request a profile now, due or not; store it, and return it.

        With ``fetch_user=False`` it is not stored. Return None if the record has been
        deleted.

        Raises:
            TikTokUnavailable, TikTokError: TikTok sent no profile; the old one stays.
            StoreError: the store failed.
        """
        record = stored.record
        if not has_profile(record.scopes):
            return record.profile
        profile = await self.ask(record.access_token, record.open_id, record.scopes)
        if not self._settings.fetch_user:
            return profile.packed
        written = await self._write(stored, profile)
        return None if written is None else written.record.profile

    # --- keeping -------------------------------------------------------------------

    def after_login(
        self, scopes: str, profile: Profile | None, previous: UserRecord | None
    ) -> dict[str, Any]:
        """Return the profile fields of a record at login.

        Args:
            scopes: the granted scopes, comma separated.
            profile: TikTok's answer; None if TikTok was not asked or sent none.
            previous: the user's record before the login, for the fields that TikTok did
                not send.
        """
        if not self._settings.fetch_user or not has_profile(scopes):
            return {}
        if profile is not None:
            return self._kept(scopes, profile, previous)
        return {
            "profile": join_profiles("", previous.profile if previous else "", scopes),
            "profile_at": previous.profile_at if previous else 0,
            "profile_failures": 1,
            "profile_retry_at": self._retry_at(1),
        }

    def _kept(
        self, scopes: str, profile: Profile, previous: UserRecord | None
    ) -> dict[str, Any]:
        packed = profile.packed
        if profile.is_basic_only and previous is not None:
            packed = join_profiles(packed, previous.profile, scopes)
        return {
            "profile": packed,
            "profile_at": int(self._clock()),
            "profile_failures": 0,
            "profile_retry_at": 0,
        }

    async def _write(
        self, stored: VersionedRecord, profile: Profile
    ) -> VersionedRecord | None:
        """Write a profile into the record as it is now; None if it was deleted."""
        requested = stored.record
        latest: VersionedRecord | None = stored
        for _ in swap_attempts():
            if latest is None or not _is_unchanged(latest.record, requested):
                break
            kept = self._kept(requested.scopes, profile, latest.record)
            written = await self._records.replace(
                latest, latest.record._replace(**kept)
            )
            if written is not None:
                self._readers.discard(stored.record_id)
                return written
            latest = await self._records.load(stored.record_id)
        return latest

    async def _put_off(
        self, claimed: VersionedRecord, error: TikTokError
    ) -> VersionedRecord:
        """Postpone the next try by TikTok's Retry-After, if it exceeds the back-off."""
        after = error.retry_after if isinstance(error, TikTokUnavailable) else None
        retry_at = int(self._clock() + (after or 0)) + 1
        if retry_at <= claimed.record.profile_retry_at:
            return claimed
        written: VersionedRecord | None = None
        with self._deferred_writes.attempt():
            written = await self._records.replace(
                claimed, claimed.record._replace(profile_retry_at=retry_at)
            )
        return written or claimed

    def _retry_at(self, failures: int) -> int:
        """Return when TikTok may be asked again after `failures` failures in a row."""
        return int(self._clock() + _PROFILE_BACKOFF.seconds(failures)) + 1


def has_profile(scopes: str) -> bool:
    """Whether these granted scopes cover any field of a profile."""
    return BASIC_SCOPE in split_scopes(scopes)


def _is_unchanged(latest: UserRecord, requested: UserRecord) -> bool:
    """Whether the scopes and the stored profile are still those of the request."""
    return (
        latest.scopes == requested.scopes and latest.profile_at == requested.profile_at
    )

"""Which access tokens are due: when to ask TikTok for new ones, and when not yet."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.clocks import WRONG_CLOCK_SECONDS

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .record import UserRecord

#: A sweep refreshes a token only after this fraction of its lifetime.
_SHARE_BEFORE_SWEEPS = 0.5
#: With the random part, a token is due at the earliest this many times
#: ``refresh_leeway`` before it expires.
_MOST_JITTER = 1.1


class Demand(NamedTuple):
    """A reason to refresh a token before it is due."""

    #: A sweep refreshes tokens that expire within this many seconds, if half their
    #: lifetime is over. Each refresh risks the loss of the user's tokens, so more
    #: frequent sweeps do not refresh more often.
    within: float = 0
    #: The `fingerprint` of an access token to replace, due or not.
    replacing: str = ""


#: The demand of every request: a token that has not expired and is not about to
#: expire.
DUE = Demand()


class DueTimes:
    """The times at which the tokens of one app are due, in seconds since 1970."""

    def __init__(self, settings: TikTokSettings, clock: Callable[[], float]) -> None:
        """Take the app's ``refresh_leeway``, and a clock in seconds since 1970."""
        self._leeway = settings.refresh_leeway
        self._clock = clock

    def due_at(self, record: UserRecord) -> float:
        """Return when the access token is to be renewed, in seconds since 1970.

        The token is due ``refresh_leeway`` seconds before it expires, but at most a
        tenth of its lifetime before, so that a short lifetime causes no loop. A hash of
        the user and the time of issue lengthens this by up to a tenth, so that the
        tokens of many users are not due all at once.
        """
        life = record.expires_at - record.issued_at
        leeway = min(self._leeway, life / 10)
        jitter = zlib.crc32(f"{record.open_id}{record.issued_at}".encode()) / 2**32
        return record.expires_at - leeway * (1 + (_MOST_JITTER - 1) * jitter)

    def is_due(self, record: UserRecord, demand: Demand = DUE) -> bool:
        """Whether to act now: to ask TikTok, or to end the grant.

        A failed refresh postpones the next one, but never the end of a grant.
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

    def times_of_due(self, within: float) -> tuple[float, float]:
        """Return two points in time that rule out most tokens in a sweep.

        `is_due` is true only of tokens that expire by the first, or were issued after
        the second.
        """
        now = self._clock()
        soon = now + within + self._leeway * _MOST_JITTER
        return soon, now + WRONG_CLOCK_SECONDS

    def has_ended(self, record: UserRecord) -> bool:
        """Whether the access token has expired and cannot be refreshed."""
        return record.expires_at <= self._clock() and not self.can_ask(record)

    @staticmethod
    def _must_wait(record: UserRecord, now: float) -> bool:
        """Whether the last failure is so recent that it is too early to try again.

        A time that is further in the future than any back-off was written under a wrong
        clock, and is ignored.
        """
        return now < record.retry_at <= now + 2 * WRONG_CLOCK_SECONDS

    def can_ask(self, record: UserRecord) -> bool:
        """Whether there is a refresh token that has not expired."""
        end = record.refresh_expires_at
        return bool(record.refresh_token) and (end is None or end > self._clock())


def fingerprint(access_token: str) -> str:
    """Return a hash of an access token, for places that must not keep the token."""
    return hashlib.sha256(access_token.encode()).hexdigest()


def is_from_future(record: UserRecord, now: float) -> bool:
    """Whether the tokens were issued before the clock was set back.

    Their expiry time cannot be trusted, so they are due.
    """
    return record.issued_at > now + WRONG_CLOCK_SECONDS

"""How long sessions and records last, by the settings and the clock."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .record import Session, UserRecord

#: How long a refresh token counts as valid if TikTok named no expiry, in seconds.
_UNKNOWN_LIFE = 400 * 86400
#: A record stays this long after its tokens have expired, in seconds, so that a request
#: or a job can report that the grant has ended. It authenticates no request.
_NOTICE = 7 * 86400


class Lifetimes:
    """The limits of one app's sessions and records; times in seconds since 1970."""

    def __init__(self, settings: TikTokSettings, clock: Callable[[], float]) -> None:
        """Take the app's settings, and a clock that returns seconds since 1970."""
        self._settings = settings
        self._clock = clock

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

    def ended_before(self) -> tuple[float, float]:
        """Return two times, that of creation and that of last use.

        A session has ended if it was created before the first, or last used before the
        second.

        This is the rule of `is_active`, for many sessions at once.
        """
        now, settings = self._clock(), self._settings
        return now - settings.session_lifetime, now - settings.session_idle

    def active_sessions(self, record: UserRecord) -> tuple[Session, ...]:
        """Return the sessions of a record that have not ended."""
        return tuple(s for s in record.sessions if self.is_active(s))

    def outlives_sessions(self, record: UserRecord) -> bool:
        """Whether a record stays when its last session has ended: jobs use its tokens.

        It does with ``keep_grants``, and if it is connected to a user of the app.
        """
        return self._settings.keep_grants or bool(record.user_id)

    def kept_until(self, record: UserRecord) -> float:
        """Return when the store drops a record, in seconds since 1970."""
        return self._clock() + self.seconds_kept(record)

    def seconds_kept(self, record: UserRecord) -> float:
        """Return how long the store keeps a record, in seconds.

        This is until `_NOTICE` after the tokens have expired, so that their expiry is
        reported. If the record does not outlive its sessions, it is at most as long as
        a session can last.
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

"""The package's logger, which logs each cause of warnings at most once a minute.

If the store is down or the client secret is wrong, every request fails in the same way:
a line for each would hide other lines and fill a disk. Each cause therefore gets one
line a minute in each process, and the next line says how many were omitted.

A cause is a message template, or the cause of an event. Both are written in this
package, so the table stays small whatever is sent to the app.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass

#: Seconds between two lines about the same cause.
QUIET_SECONDS = 60.0
#: Seconds in which a reference that was returned is expected to be logged.
_PENDING_SECONDS = 5.0
_MOST_CAUSES = 512

_CauseKey = tuple[int, str, str]


@dataclass(slots=True)
class _LastLine:
    """The last line that was logged about one cause."""

    #: When the line was logged; None before the first one.
    at: float | None = None
    #: The reference in that line, or in the next one, and when it was created.
    reference: str = ""
    made_at: float = 0.0
    #: Lines omitted since.
    omitted: int = 0

    def is_recent(self, now: float) -> bool:
        return self.at is not None and now - self.at < QUIET_SECONDS


class LogRateLimiter:
    """Allows one line a minute about each cause."""

    def __init__(self) -> None:
        self._last: dict[_CauseKey, _LastLine] = {}

    def take(self, key: _CauseKey) -> int | None:
        """Return how many lines were omitted before this one; None omits this one."""
        last, now = self._last_line(key), time.monotonic()
        if last.is_recent(now):
            last.omitted += 1
            return None
        omitted, last.at, last.omitted = last.omitted, now, 0
        return omitted

    def reference(self, key: _CauseKey) -> str:
        """Return the reference by which a warning is found in the log.

        If the cause was logged within the last minute, the warning is omitted and the
        reference is that of the logged line. Otherwise it is a new one.
        """
        last, now = self._last_line(key), time.monotonic()
        is_pending = now - last.made_at < _PENDING_SECONDS
        if not last.reference or not (last.is_recent(now) or is_pending):
            last.reference, last.made_at = secrets.token_hex(4), now
        return last.reference

    def _last_line(self, key: _CauseKey) -> _LastLine:
        if key not in self._last and len(self._last) >= _MOST_CAUSES:
            self._last.clear()
        return self._last.setdefault(key, _LastLine())


class _RateLimitFilter(LogRateLimiter, logging.Filter):
    """Omits a warning whose message was logged within the last minute.

    A record with an attribute ``tiktok_cause`` was rate-limited by its cause already.
    """

    def __init__(self) -> None:
        LogRateLimiter.__init__(self)
        logging.Filter.__init__(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or hasattr(record, "tiktok_cause"):
            return True
        omitted = self.take((record.levelno, str(record.msg), ""))
        if omitted is None:
            return False
        record.msg = f"{record.msg}{omitted_note(omitted)}"
        return True


def omitted_note(omitted: int) -> str:
    """Return the note in a line about the lines that were omitted before it."""
    return f" ({omitted} more since the last such line)" if omitted else ""


logger: logging.Logger = logging.getLogger("tiktok_oauth_middleware")
logger.addFilter(_RateLimitFilter())

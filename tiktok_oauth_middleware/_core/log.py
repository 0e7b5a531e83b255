"""The package's one logger, which logs the same warning once a minute at most.

With a store that is down, or a wrong client secret, every request fails alike: a line
for each would hide what else there is to read, and fill a disk. So each cause gets one
line a minute in each process, and the next one says how many were left out.

"The same" is a message template, or the cause of an event (see `Pace`): both are
written in this package, so that the tables stay small whatever is sent to the app.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass

#: A cause is logged once in so many seconds.
SECONDS = 60.0
#: A reference that was given out is for the line that follows at once.
_PENDING_SECONDS = 5.0
_MOST_CAUSES = 512

_Key = tuple[int, str, str]


@dataclass(slots=True)
class _Said:
    """What was logged last of one cause."""

    #: When the line was logged; None before the first one.
    at: float | None = None
    #: The reference in that line, or in the one that follows, and when it was made.
    reference: str = ""
    made_at: float = 0.0
    #: Lines left out since.
    left_out: int = 0

    def is_recent(self, now: float) -> bool:
        return self.at is not None and now - self.at < SECONDS


class Pace:
    """Says which lines are due: of each cause, one a minute."""

    def __init__(self) -> None:
        self._last: dict[_Key, _Said] = {}

    def take(self, key: _Key) -> int | None:
        """Return how many lines were left out since the last one; None if not due."""
        said, now = self._said(key), time.monotonic()
        if said.is_recent(now):
            said.left_out += 1
            return None
        left_out, said.at, said.left_out = said.left_out, now, 0
        return left_out

    def reference(self, key: _Key) -> str:
        """Return the reference of a warning: that of the line which stands in the log.

        A new one, unless the cause was logged within the last minute: then what goes
        wrong now is not logged, and has the reference of what was.
        """
        said, now = self._said(key), time.monotonic()
        is_pending = now - said.made_at < _PENDING_SECONDS
        if not said.reference or not (said.is_recent(now) or is_pending):
            said.reference, said.made_at = secrets.token_hex(4), now
        return said.reference

    def _said(self, key: _Key) -> _Said:
        if key not in self._last and len(self._last) >= _MOST_CAUSES:
            self._last.clear()
        return self._last.setdefault(key, _Said())


class _Seldom(Pace, logging.Filter):
    """Lets a warning through unless its message was logged within the last minute.

    A record that was paced already, by its cause, says so and passes.
    """

    def __init__(self) -> None:
        Pace.__init__(self)
        logging.Filter.__init__(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or hasattr(record, "tiktok_cause"):
            return True
        left_out = self.take((record.levelno, str(record.msg), ""))
        if left_out is None:
            return False
        record.msg = f"{record.msg}{more(left_out)}"
        return True


def more(left_out: int) -> str:
    """Return what a line says of those that were left out before it."""
    return f" ({left_out} more since the last such line)" if left_out else ""


logger: logging.Logger = logging.getLogger("tiktok_oauth_middleware")
logger.addFilter(_Seldom())

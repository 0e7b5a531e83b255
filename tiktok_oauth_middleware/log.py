"""The package's one logger, which says the same warning once a second at most.

A store that is down meets every request: a line for each would hide what else there is
to read, and fill a disk.
"""

from __future__ import annotations

import logging
import time

_SECONDS = 1.0


class _Seldom(logging.Filter):
    """Lets a warning through if its message was not logged within the last second."""

    def __init__(self) -> None:
        super().__init__()
        # By level and message template, of which the package has a handful.
        self._last: dict[tuple[int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now = time.monotonic()
        said = record.levelno, str(record.msg)
        if now - self._last.get(said, -_SECONDS) < _SECONDS:
            return False
        self._last[said] = now
        return True


logger = logging.getLogger("tiktok_oauth_middleware")
logger.addFilter(_Seldom())

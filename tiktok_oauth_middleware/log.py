"""The package's one logger, which says the same warning once a second at most.

A store that is down meets every request: a line for each would hide what else there is
to read, and fill a disk.
"""

from __future__ import annotations

import logging
import secrets
import time

_SECONDS = 1.0


class _Seldom(logging.Filter):
    """Lets a warning through if its message was not logged within the last second."""

    def __init__(self) -> None:
        super().__init__()
        # By level and message template, of which the package has a handful.
        self._last: dict[tuple[int, str], float] = {}
        self._references: dict[tuple[int, str], str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        said = record.levelno, str(record.msg)
        if self._was_said(said):
            return False
        self._last[said] = time.monotonic()
        return True

    def _was_said(self, said: tuple[int, str]) -> bool:
        last = self._last.get(said)
        return last is not None and time.monotonic() - last < _SECONDS

    def reference(self, said: tuple[int, str]) -> str:
        if not (self._was_said(said) and said in self._references):
            self._references[said] = secrets.token_hex(4)
        return self._references[said]


_seldom = _Seldom()
logger: logging.Logger = logging.getLogger("tiktok_oauth_middleware")
logger.addFilter(_seldom)


def reference_of(level: int, message: str) -> str:
    """Return the reference of a warning: that of the line which stands in the log.

    A new one, unless the message was logged within the last second: then what goes
    wrong now is not logged, and has the reference of what was.
    """
    return _seldom.reference((level, message))

"""What genuine session cookies were found to say, for a second at most.

Only what was verified enters the table, so it can not be flooded. A write in this
process forgets the user's entries at once; a write elsewhere is seen when the second
is over. An entry that is no longer fresh still saves checking its cookie's MAC (5 us).
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any

from tiktok_oauth_middleware._core.fork import renew_after_fork

from .cached_session import RECORD_ID, CachedSession


class _SilentDict(dict[Any, Any]):
    """A dictionary that does not print what it holds: cookies and tokens."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} entries>"


class SessionCache:
    """The table, with the changes that were made while somebody was reading."""

    def __init__(self, limit: int) -> None:
        """Remember so many browser sessions; beyond, the oldest are read anew."""
        self._limit = limit
        #: Cookie value to sight; the shells look here before anything else.
        self.live: dict[bytes, CachedSession] = _SilentDict()
        #: Counts the writes of this process, whoever's grant it was.
        self.changes = 0
        self._values: dict[str, tuple[bytes, ...]] = _SilentDict()
        self._guard = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew with an open lock."""
        self._guard = threading.Lock()

    def remember(self, value: bytes, cached: CachedSession, changes: int) -> None:
        """Keep a sight, unless something was written since `changes` was read."""
        with self._guard:
            if changes != self.changes:
                return
            if value not in self.live:
                if len(self.live) >= self._limit:
                    # Many at once: each look for the oldest passes all that are gone.
                    for old in tuple(islice(self.live, 1 + self._limit // 64)):
                        self._drop(old)
                record_id = cached[RECORD_ID]
                self._values[record_id] = (*self._values.get(record_id, ()), value)
            self.live[value] = cached

    def _drop(self, value: bytes) -> None:
        cached = self.live.pop(value)
        left = tuple(v for v in self._values.pop(cached[RECORD_ID], ()) if v != value)
        if left:
            self._values[cached[RECORD_ID]] = left

    def forget(self, record_id: str) -> None:
        """Believe nothing remembered of a grant: its record was written or deleted."""
        with self._guard:
            self.changes += 1
            for value in self._values.pop(record_id, ()):
                self.live.pop(value, None)

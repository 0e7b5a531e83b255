"""Cache of the sessions behind session cookies; an entry is fresh for a second.

Only cookies that were verified get an entry, so forged ones cannot fill the cache. A
write in this process removes the user's entries at once; a write in another process is
noticed when the second is over. An entry that is no longer fresh still saves verifying
its cookie's MAC (5 us).
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any

from tiktok_oauth_middleware._core.fork import register_after_fork

from .cached_session import RECORD_ID, CachedSession


class _SilentDict(dict[Any, Any]):
    """A dictionary whose repr does not show its content: cookies and tokens."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} entries>"


class SessionCache:
    """The cached sessions by cookie, and a count of the writes that invalidate them."""

    def __init__(self, limit: int) -> None:
        """Cache at most `limit` browser sessions; the oldest are dropped first."""
        self._limit = limit
        #: Cookie value to cached session; the middlewares look here first.
        self.live: dict[bytes, CachedSession] = _SilentDict()
        #: Counts the writes of this process, to any user's record.
        self.changes = 0
        self._values: dict[str, tuple[bytes, ...]] = _SilentDict()
        self._guard = threading.RLock()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which another thread may have held during the fork."""
        self._guard = threading.RLock()

    def remember(self, value: bytes, cached: CachedSession, changes: int) -> None:
        """Cache a session, unless there was a write since `changes` was read."""
        with self._guard:
            if changes != self.changes:
                return
            if value not in self.live:
                if len(self.live) >= self._limit:
                    # Many at once: finding the oldest entry of a dictionary passes
                    # over the slots of all entries that were deleted before it.
                    for old in tuple(islice(self.live, 1 + self._limit // 64)):
                        self._drop(old)
                record_id = cached[RECORD_ID]
                self._values[record_id] = (*self._values.get(record_id, ()), value)
            self.live[value] = cached
            if changes != self.changes:  # a signal's handler has written meanwhile
                self._drop(value)

    def _drop(self, value: bytes) -> None:
        cached = self.live.pop(value, None)
        if cached is None:
            return
        left = tuple(v for v in self._values.pop(cached[RECORD_ID], ()) if v != value)
        if left:
            self._values[cached[RECORD_ID]] = left

    def forget(self, record_id: str) -> None:
        """Remove a user's sessions: their record was written or deleted."""
        with self._guard:
            self.changes += 1
            for value in self._values.pop(record_id, ()):
                self.live.pop(value, None)

"""Where recent logins lead, for the page about a callback without cookies.

A login is kept in its browser's cookies. If those are missing at the callback, because
newer logins took their place or the login began in another browser or app, the login
fails, but the error page can link to the login's return address. This table serves only
that and authenticates no one. If a login is not in it (it began in another process, or
too long ago), the page links to the start instead.

Keys are Python's 64-bit hashes of the state, so that no state is kept; a guess at one
finds an address once in 2**52. Addresses were checked when the login began.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from tiktok_oauth_middleware._core.fork import register_after_fork

#: The most entries, and the bytes that they may take together.
_LIMIT = 4096
_BYTES = 1024 * 1024
#: About what an entry takes besides its texts, in bytes.
_ENTRY = 250


class _Begun(NamedTuple):
    at: float
    return_to: str
    scopes: str
    #: The bytes that it takes, about.
    size: int


class RecentLogins:
    """A bounded table of the logins that began in this process; drops the oldest."""

    def __init__(self, lifetime: float, clock: Callable[[], float]) -> None:
        """Keep each login for `lifetime` seconds at most."""
        self._lifetime = lifetime
        self._clock = clock
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Start empty: a thread of the parent process may hold the lock."""
        self._begun: OrderedDict[int, _Begun] = OrderedDict()
        self._size = 0
        self._guard = threading.Lock()

    def remember(self, state: str, return_to: str, scopes: str) -> None:
        """Keep where a login leads, and the further scopes that it requests."""
        key, now = hash(state), self._clock()
        size = _ENTRY + len(return_to) + len(scopes)
        # Not `_Begun(...)`: binding the arguments one by one takes twice as long.
        begun = tuple.__new__(_Begun, (now, return_to, scopes, size))
        with self._guard:
            before = self._begun.pop(key, None)
            if before is not None:
                self._size -= before.size
            self._begun[key] = begun
            self._size += size
            while self._begun and (
                len(self._begun) > _LIMIT
                or self._size > _BYTES
                or abs(now - next(iter(self._begun.values())).at) > self._lifetime
            ):
                _, oldest = self._begun.popitem(last=False)
                self._size -= oldest.size

    def find(self, state: str) -> tuple[str, str] | None:
        """Return where a login leads and its scopes; None if it is not in the table."""
        with self._guard:
            begun = self._begun.get(hash(state))
        if begun is None or abs(self._clock() - begun.at) > self._lifetime:
            return None
        return begun.return_to, begun.scopes

    def __repr__(self) -> str:
        return f"<RecentLogins: {len(self._begun)}>"

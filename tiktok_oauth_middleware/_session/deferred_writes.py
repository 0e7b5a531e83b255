"""Writes that can be postponed while a store accepts none.

"Last seen", and a refresh while the access token is still valid, need a write that can
be made later. A store that is full, locked, read-only or demoted still answers reads,
so the failure of such a write must not fail its request. Nor should each request try it
again: with a locked SQLite file each try waits for the store's whole timeout. After a
failure one request at a time tries, and the pause between two tries is ten times as
long as the failed one took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import StoreError

_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
#: A failed try is followed by a pause of this many times its duration.
_PAUSE_FACTOR = 10
_WARN_EVERY = 60.0


class DeferredWrites:
    """Decides when a write that can wait is tried, and absorbs its failure."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: None after a successful write; else the times of the next try by the
        #: monotonic clock and by the app's. The earlier one counts, since clocks may be
        #: set.
        self._not_before: tuple[float, float] | None = None
        self._warned: float | None = None

    def may_try(self) -> bool:
        """Whether to try a write that can wait."""
        if self._not_before is None:
            return True
        monotonic, wall = self._not_before
        now = self._clock()
        # The pause must not get longer if the wall clock is set back.
        return (
            time.monotonic() >= monotonic
            or now >= wall
            or now < wall - 2 * _LONGEST_PAUSE
        )

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Absorb a StoreError of the write inside; the next is tried after a pause."""
        began = time.monotonic()
        if self._not_before is not None:
            self._pause(_LONGEST_PAUSE)  # other requests wait for this result
        try:
            yield
        except StoreError as error:
            took = time.monotonic() - began
            self._pause(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, took * _PAUSE_FACTOR)))
            self._warn(error)
        except BaseException:  # such as a cancellation: not the store's failure
            if self._not_before is not None:
                self._pause(0)
            raise
        else:
            self._not_before = None

    def _pause(self, seconds: float) -> None:
        self._not_before = time.monotonic() + seconds, self._clock() + seconds

    def _warn(self, error: StoreError) -> None:
        now = time.monotonic()
        if self._warned is not None and now - self._warned < _WARN_EVERY:
            return
        self._warned = now
        logger.warning(
            "the store takes no writes: %s. Requests with a session are still served;"
            " logins, logouts and refreshes of expired tokens are answered 503",
            error,
        )

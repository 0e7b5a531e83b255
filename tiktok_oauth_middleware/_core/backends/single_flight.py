"""Single flight: calls for the same work share one run of it, and its result."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tiktok_oauth_middleware.errors import StoreError


class InFlight(Exception):
    """The work is in flight elsewhere, and the caller waits for it no longer."""


class SharedCall:
    """Work that several callers wait for, and its result."""

    __slots__ = ("_began_at", "alarms", "done", "error", "is_finished", "result")

    def __init__(self, done: Any) -> None:
        #: An event of threading or anyio, set at the end.
        self.done = done
        #: On asyncio, by the seconds that callers wait: an event for those who wait
        #: equally long, set at the end or by the timer beside it.
        self.alarms: dict[float, tuple[Any, Any]] = {}
        self._began_at = time.monotonic()
        self.is_finished = False
        self.result: Any = None
        #: The arguments of a StoreError. The error itself would keep its frames alive.
        self.error: tuple[Any, ...] | None = None

    async def run(
        self,
        work: Callable[[], Coroutine[Any, Any, Any]],
        at_end: Callable[[], object],
        afterwards: Callable[[], Awaitable[None]],
    ) -> None:
        """Do the work, keep its result, and wake the waiters; then call `afterwards`.

        Args:
            work: as for `Backend.single_flight`.
            at_end: frees the key and sets `done`.
            afterwards: as for `Backend.single_flight`.
        """
        # Counted anew: the caller may first have waited for another call.
        self._began_at = time.monotonic()
        try:
            try:
                self.result = await work()
                self.is_finished = True
            except StoreError as error:
                self.error = error.args
                raise
            finally:
                at_end()
        except GeneratorExit:  # no more awaiting is allowed
            raise
        except BaseException:
            await afterwards()
            raise
        await afterwards()

    def left(self, wait: float) -> float:
        """Return how many of `wait` seconds are left since the work began."""
        return self._began_at + wait - time.monotonic()

    def has_result(self) -> bool:
        """Whether the work returned a result, rather than being cancelled or failing.

        Raises:
            StoreError: The work raised one; this one has the same arguments.
        """
        if self.error is not None:
            raise StoreError(*self.error)
        return self.is_finished

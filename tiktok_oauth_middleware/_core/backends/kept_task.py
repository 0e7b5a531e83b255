"""An asyncio task that is finished even if its event loop is about to close."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class KeptTask(asyncio.Task[T]):
    """A task that `asyncio.run` does not cancel at its end.

    `asyncio.run` cancels every task that is left when the main one has ended, as after
    an error in `asyncio.gather`, and then waits for all of them. While it cancels them,
    the loop does not run; cancel scopes and timeouts cancel tasks of a running loop.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task if its loop is running."""
        return self.get_loop().is_running() and super().cancel(msg)

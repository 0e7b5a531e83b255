"""The backend of a command: threads, or an event loop if a store needs one."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from .event_loop import AsyncBackend
from .one_step import run
from .threads import ThreadBackend

if TYPE_CHECKING:
    from .base import Backend

T = TypeVar("T")


def needs_event_loop(store: object) -> bool:
    """Whether a store's driver works in an event loop of asyncio only."""
    return bool(getattr(store, "needs_event_loop", False))


def backend_for(*stores: object) -> Backend:
    """Return the backend that all of the stores work on."""
    return AsyncBackend() if any(map(needs_event_loop, stores)) else ThreadBackend()


def finish(work: Coroutine[Any, Any, T], backend: Backend) -> T:
    """Run a command's work, in a new event loop if it needs one; return the result."""
    if backend.is_blocking:
        return run(work)
    import asyncio

    return asyncio.run(work)

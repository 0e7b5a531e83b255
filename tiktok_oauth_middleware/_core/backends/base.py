"""The backend protocol: the differences between WSGI and ASGI below the middlewares.

Every flow is written once, as ``async def``, and awaits only methods of this protocol,
of the client and of the stores. `AsyncBackend` serves ASGI: it suspends, on asyncio or
Trio. `ThreadBackend` serves WSGI: its coroutines block and never suspend, so
`one_step.run` finishes a whole flow.
"""

from __future__ import annotations

import sys
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
)
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from tiktok_oauth_middleware._core.leases import RENEW_SECONDS
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

from .outcome import Outcome

T = TypeVar("T")

#: Keeps a lock alive while TikTok answers slowly; raises nothing.
Meanwhile = Callable[[], Awaitable[None]]
#: Seconds between two calls of a `Meanwhile`.
MEANWHILE_SECONDS = RENEW_SECONDS
#: If a timeout is noticed more than this late, in seconds, the process was suspended or
#: an app kept the event loop busy. The answer may have come in that time, and only has
#: to be read.
LATE_SECONDS = 0.1
#: Seconds for which an answer is still awaited then.
GRACE_SECONDS = 1.0


async def nothing() -> None:
    """Do nothing."""


class Backend(Protocol):
    """The environment of flows: threads, or an event loop."""

    def adapt_store(self, store: Any) -> StoreAdapter:
        """Return a store's methods as coroutines."""
        ...

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Return ``work(*args)``, without blocking the event loop if there is one."""
        ...

    async def with_timeout(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        """Return the result of `call`.

        Args:
            seconds: The longest time for the whole call; `GRACE_SECONDS` are added if
                its end is noticed more than `LATE_SECONDS` late.
            call: Returns a value, or under ASGI an awaitable.
            meanwhile: Awaited every `MEANWHILE_SECONDS` until the call ends.

        Raises:
            TimeoutError: The call took longer.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def single_flight(
        self,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        wait: float,
        afterwards: Callable[[], Awaitable[None]] = nothing,
    ) -> T:
        """Return the result of `work`, which runs once for each key at a time.

        Callers that pass a key whose work is in flight get its result, or a new
        StoreError with the arguments of its StoreError. The work runs to its end even
        if its caller is cancelled, or interrupted by an exception, as by Ctrl-C; so
        does `afterwards`.

        Args:
            key: Identifies the work.
            work: Called if no work with this key is in flight.
            wait: A caller waits for another's work until that has run for this many
                seconds; 0 raises `InFlight` instead of waiting.
            afterwards: Awaited by the caller whose `work` has ended, with a result or
                with an exception, when the key is free and no other caller waits.

        Raises:
            InFlight: The work is in flight, and has run for `wait` seconds.
        """
        ...

    def is_in_flight(self, key: Hashable) -> bool:
        """Whether work with this key is in flight."""
        ...

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `work`, which runs to its end as in `single_flight`.

        Under WSGI signals wait for that end, too, and not only from an answer of
        TikTok's on.
        """
        ...

    async def get_or_create(self, make: Callable[[], T], owner: object, name: str) -> T:
        """Return the object that `make` created at the first call for a name and owner.

        Under ASGI each event loop has its own.
        """
        ...

    def expect_drain(self) -> None:
        """Note that `drain` will be called at the end of this event loop."""

    async def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for shielded work whose request was cancelled."""
        ...

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Begin `work`, which raises nothing, and return at once.

        Returns:
            False if nothing can run in the background here; `work` was not called.
        """
        ...

    def created(self, owner: object, name: str) -> Any:
        """Return the object that `get_or_create` made here, or None."""
        ...

    def pop_created(self, owner: object, name: str) -> Any:
        """Remove and return the object that `get_or_create` made here, or None."""
        ...

    async def run_all(
        self,
        works: Iterable[Callable[[], Coroutine[Any, Any, None]]],
        limit: int,
        *,
        at_thread_end: Callable[[], object],
    ) -> None:
        """Run all functions to their end, up to `limit` of them at the same time.

        If one raises or the caller is interrupted, no further one begins; those that
        have begun are finished first.

        Args:
            works: the functions to call. A function's repr shows no secret: reporters
                of exceptions record the locals of the frames here.
            limit: 1 runs one after the other, in the caller's thread or task.
            at_thread_end: called at the end of each thread that was started.
        """
        ...

    async def call_app_code(self, call: Callable[[], Any]) -> Any:
        """Return the result of an app's own code, awaited if it is awaitable.

        No frame of a flow is on the stack during the call: reporters of exceptions
        record the locals of every frame, and those of flows contain tokens.
        """
        ...

    async def ask_app(
        self, call: Callable[[], Any], seconds: float, *, is_async: bool
    ) -> Outcome:
        """Return the value or exception of an app's code, run as by `call_app_code`.

        Under ASGI a plain function runs in a thread, so that it may block. After
        `seconds` a coroutine is cancelled, and a thread is abandoned with its result.
        Under WSGI the call is made in the request's own thread, to which the app's
        database connections belong, and has no limit.

        Args:
            call: returns a value or, if `is_async`, an awaitable.
            seconds: the longest time.
            is_async: whether `call` is made in the event loop.

        Returns:
            An outcome with a value, or with an Exception whose traceback begins below
            every flow; after a timeout with neither, and `is_set` is False.
        """
        ...

    @property
    def is_blocking(self) -> bool:
        """Whether calls block, so that the HTTP client must be a blocking one."""
        ...


def running_loop() -> object | None:
    """Return what identifies the event loop that runs in this thread, if any."""
    # Neither is imported here: only a program that has imported it can run its loop.
    if asyncio := sys.modules.get("asyncio"):
        with suppress(RuntimeError):
            return asyncio.get_running_loop()  # type: ignore[no-any-return]
    if trio := sys.modules.get("trio"):
        with suppress(RuntimeError):
            return trio.lowlevel.current_trio_token()  # type: ignore[no-any-return]
    return None


def on_asyncio() -> bool:
    """Whether an asyncio task is running; False under Trio and without a loop."""
    import asyncio

    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False

"""The one place below the shells where WSGI and ASGI differ.

Every flow is written once, as ``async def``, and awaits only what is here, in the
client and in the stores. `AsyncBackend` serves ASGI: it suspends, on asyncio or Trio.
`ThreadBackend` serves WSGI: its coroutines block and never suspend, so `run` finishes a
whole flow with one ``send(None)``: no event loop, no thread for each request. (Six
steps cost 1.4 us that way; an event loop for each request 93, a portal thread 68.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from functools import partial
from typing import Any, Protocol, TypeVar

from tiktok_oauth_middleware._core.leases import RENEW_SECONDS
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter
from tiktok_oauth_middleware.errors import StoreError

T = TypeVar("T")

#: What keeps a lock alive while TikTok takes its time; it raises nothing.
Meanwhile = Callable[[], Awaitable[None]]
#: How often it is called, in seconds.
MEANWHILE_SECONDS = RENEW_SECONDS


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Finish a coroutine that never suspends, and return its result.

    Raises:
        RuntimeError: it suspended, which under WSGI is a bug; the message says where.
    """
    step: Callable[[], Any] = partial(flow.send, None)
    try:
        while isinstance(asked := step(), AppCodeCall):
            # Here, where no frame of the flow is on the stack.
            step = partial(flow.send, None)
            try:
                step = partial(flow.send, asked.call())
            except BaseException as error:  # noqa: BLE001 - raised again in the flow
                step = partial(flow.throw, error)
            del asked
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    awaited = _innermost(flow)
    flow.close()
    message = f"{awaited} suspended under WSGI, where nothing can resume it"
    raise RuntimeError(message)


class AppCodeCall:
    """Asks `run` for a call of an app's code, on a stack without the flow's frames."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __await__(self) -> Generator[AppCodeCall, Any, Any]:
        return (yield self)


def _innermost(flow: Any) -> str:
    """Return the name of the coroutine that a suspended one is waiting in."""
    while getattr(flow, "cr_await", None) is not None:
        inner = flow.cr_await
        if not hasattr(inner, "cr_await"):
            break
        flow = inner
    return getattr(flow, "__qualname__", repr(flow))


class TLSContext:
    """Holds the TLS settings of one middleware's clients, once they are made."""

    __slots__ = ("context",)

    def __init__(self) -> None:
        self.context: Any = None


class Backend(Protocol):
    """What flows need of the world they run in."""

    def adapt_store(self, store: Any) -> StoreAdapter:
        """Return a store's awaitable face."""
        ...

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Return ``work(*args)``, which may take long, without holding others up."""
        ...

    async def with_timeout(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        """Return what `call` gives; a TimeoutError if it takes longer in total.

        `meanwhile` is awaited every `MEANWHILE_SECONDS` as long as it takes.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def single_flight(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, wait: bool
    ) -> T:
        """Return what `work` gives, to its end even if we are cancelled.

        Whoever asks for the same key meanwhile gets the same result, or the same
        StoreError, when it is there.

        Raises:
            UnderWay: somebody else is at it, and we do not want to wait.
        """
        ...

    def is_in_flight(self, key: Hashable) -> bool:
        """Whether somebody is at work in `single_flight` for `key`."""
        ...

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` gives; it runs to its end even if we are cancelled."""
        ...

    async def get_or_create(self, make: Callable[[], T], owner: object, name: str) -> T:
        """Return what `make` made the first time it was asked for here."""
        ...

    async def drain(self, seconds: float) -> None:
        """Wait for shielded work whose request has gone, for so long at most."""
        ...

    def pop_created(self, owner: object, name: str) -> Any:
        """Return what `get_or_create` made and forget it; None if it made nothing."""
        ...

    async def call_app_code(self, call: Callable[[], Any]) -> Any:
        """Return what a call of an app's code gives, awaited where it is awaitable.

        No frame of a flow is on the stack meanwhile: reporters of exceptions record
        the locals of each, and flows hold tokens.
        """
        ...

    @property
    def is_blocking(self) -> bool:
        """Which family of HTTP client goes with it."""
        ...


class InFlight(Exception):
    """Somebody else is at this work, and the caller did not want to wait for them."""


class SharedCall:
    """One piece of work that several wait for: its end, and what came of it."""

    __slots__ = ("done", "error", "is_finished", "result")

    def __init__(self, done: Any) -> None:
        #: Set at the end; an event of the world it belongs to.
        self.done = done
        self.is_finished = False
        self.result: Any = None
        #: What a StoreError said; without the error, whose frames would stay with it.
        self.error: tuple[Any, ...] | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Do the work, and keep what comes of it."""
        try:
            self.result = await work()
            self.is_finished = True
        except StoreError as error:
            self.error = error.args
            raise

    def has_result(self) -> bool:
        """Whether there is a result for those who waited.

        Raises:
            StoreError: an error like that of whoever did the work.
        """
        if self.error is not None:
            raise StoreError(*self.error)
        return self.is_finished


# --- WSGI --------------------------------------------------------------------------


# --- ASGI --------------------------------------------------------------------------


def on_asyncio() -> bool:
    """Whether an asyncio task is running; otherwise it is Trio's."""
    import asyncio

    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False

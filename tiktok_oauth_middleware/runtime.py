"""The one place below the shells where WSGI and ASGI differ.

Every flow is written once, as ``async def``, and awaits only what is here, in the
client and in the stores. `Cooperative` serves ASGI: it suspends, on asyncio or Trio.
`Blocking` serves WSGI: its coroutines block and never suspend, so `run` finishes a
whole flow with one ``send(None)``: no event loop, no thread for each request. (Six
steps cost 1.4 us that way; an event loop for each request 93, a portal thread 68.)
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .errors import StoreError
from .forks import renew_after_fork
from .leases import RENEW_SECONDS
from .ports import Port

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_THREADS = 40
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
        while isinstance(asked := step(), _Outside):
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


class _Outside:
    """Asks `run` for a call of an app's code, on a stack without the flow's frames."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __await__(self) -> Generator[_Outside, Any, Any]:
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


class Runtime(Protocol):
    """What flows need of the world they run in."""

    def port(self, store: Any) -> Port:
        """Return a store's awaitable face."""
        ...

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Return ``work(*args)``, which may take long, without holding others up."""
        ...

    async def timed(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        """Return what `call` gives; a TimeoutError if it takes longer in total.

        `meanwhile` is awaited every `MEANWHILE_SECONDS` as long as it takes.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def together(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, wait: bool
    ) -> T:
        """Return what `work` gives, to its end even if we are cancelled.

        Whoever asks for the same key meanwhile gets the same result, or the same
        StoreError, when it is there.

        Raises:
            UnderWay: somebody else is at it, and we do not want to wait.
        """
        ...

    def is_under_way(self, key: Hashable) -> bool:
        """Whether somebody is at work `together` for `key`."""
        ...

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` gives; it runs to its end even if we are cancelled."""
        ...

    async def shared(self, make: Callable[[], T], owner: object, name: str) -> T:
        """Return what `make` made the first time it was asked for here."""
        ...

    async def settle(self, seconds: float) -> None:
        """Wait for shielded work whose request has gone, for so long at most."""
        ...

    def taken_back(self, owner: object, name: str) -> Any:
        """Return what `shared` made, which is then not shared any more; or None."""
        ...

    async def outside(self, call: Callable[[], Any]) -> Any:
        """Return what a call of an app's code gives, awaited where it is awaitable.

        No frame of a flow is on the stack meanwhile: reporters of exceptions record
        the locals of each, and flows hold tokens.
        """
        ...

    @property
    def is_blocking(self) -> bool:
        """Which family of HTTP client goes with it."""
        ...


class UnderWay(Exception):
    """Somebody else is at this work, and the caller did not want to wait for them."""


class _Flight:
    """One piece of work that several wait for: its end, and what came of it."""

    __slots__ = ("done", "error", "is_finished", "result")

    def __init__(self, done: Any) -> None:
        #: Set at the end; an event of the world it belongs to.
        self.done = done
        self.is_finished = False
        self.result: Any = None
        #: What a StoreError said; without the error, whose frames would stay with it.
        self.error: tuple[Any, ...] | None = None

    async def fly(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Do the work, and keep what comes of it."""
        try:
            self.result = await work()
            self.is_finished = True
        except StoreError as error:
            self.error = error.args
            raise

    def landed(self) -> bool:
        """Whether there is a result for those who waited.

        Raises:
            StoreError: an error like that of whoever did the work.
        """
        if self.error is not None:
            raise StoreError(*self.error)
        return self.is_finished


# --- WSGI --------------------------------------------------------------------------


class Blocking:
    """The world of WSGI: threads, and calls that block."""

    is_blocking = True

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew: no lock is held, and no client made."""
        self._flights: dict[Hashable, _Flight] = {}
        self._shared: weakref.WeakKeyDictionary[Any, dict[str, Any]] = (
            weakref.WeakKeyDictionary()
        )
        self._making = threading.Lock()

    def port(self, store: Any) -> Port:
        return Port(store, None, _on_asyncio)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)

    async def timed(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        """Run the call in a thread of its own: socket time-outs bound one read each.

        A peer that sends a byte now and then would hold the request for ever; here
        the thread is left behind and its result dropped. It costs about 60 us, once a
        login or refresh.
        """
        outcome: list[tuple[bool, Any]] = []

        def work() -> None:
            try:
                outcome.append((True, call()))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                outcome.append((False, error))

        thread = threading.Thread(target=work, name="tiktok-call", daemon=True)
        thread.start()
        give_up = time.monotonic() + seconds
        while thread.is_alive() and (left := give_up - time.monotonic()) > 0:
            thread.join(left if meanwhile is None else min(left, MEANWHILE_SECONDS))
            if meanwhile is not None and thread.is_alive():
                await meanwhile()
        if not outcome:
            raise TimeoutError
        succeeded, result = outcome[0]
        if succeeded:
            return result
        raise result

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this is the blocking world

    async def together(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, wait: bool
    ) -> T:
        while True:
            mine = _Flight(threading.Event())
            # Atomic: one of all threads puts its own there.
            flight = self._flights.setdefault(key, mine)
            if flight is mine:
                try:
                    await mine.fly(work)
                finally:
                    self._flights.pop(key, None)  # first: who comes now flies anew
                    mine.done.set()
                return mine.result  # type: ignore[no-any-return]
            if not wait:
                raise UnderWay
            flight.done.wait()
            if flight.landed():
                return flight.result  # type: ignore[no-any-return]

    def is_under_way(self, key: Hashable) -> bool:
        return key in self._flights

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await work()

    async def shared(self, make: Callable[[], T], owner: object, name: str) -> T:
        with self._making:
            made = self._shared.setdefault(owner, {})
            if name not in made:
                made[name] = make()
            return made[name]  # type: ignore[no-any-return]

    async def settle(self, seconds: float) -> None:
        """Return: nothing runs that nobody waits for."""

    def taken_back(self, owner: object, name: str) -> Any:
        return self._shared.get(owner, {}).pop(name, None)

    async def outside(self, call: Callable[[], Any]) -> Any:
        return await _Outside(call)


# --- ASGI --------------------------------------------------------------------------


class Cooperative:
    """The world of ASGI: one event loop, or several, of asyncio or Trio."""

    is_blocking = False

    def __init__(self) -> None:
        #: What belongs to an event loop: it dies with the loop.
        self._by_loop: weakref.WeakKeyDictionary[Any, dict[str, Any]] = (
            weakref.WeakKeyDictionary()
        )
        self._running: set[asyncio.Task[Any]] = set()

    def _here(self) -> dict[str, Any]:
        """Return what belongs to the running event loop."""
        import asyncio  # noqa: PLC0415

        # A `RunVar` of anyio does it for both, and takes four times as long: a
        # thousand requests that wait for one refresh ask twice each.
        try:
            loop: Any = asyncio.get_running_loop()
        except RuntimeError:
            loop = _trio_loop()
        here = self._by_loop.get(loop)
        if here is None:
            here = self._by_loop[loop] = {}
        return here

    def port(self, store: Any) -> Port:
        return Port(store, self.offload, _on_asyncio)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        from anyio import CapacityLimiter, to_thread  # noqa: PLC0415

        here = self._here()
        if "threads" not in here:
            # Of our own: an app whose views fill the usual ones must not hold up a
            # refreshed token on its way to the store.
            here["threads"] = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(work, *args, limiter=here["threads"])

    async def timed(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        from anyio import (  # noqa: PLC0415
            create_task_group,
            fail_after,
            move_on_after,
            sleep,
        )

        if meanwhile is None:
            with fail_after(seconds):
                return await call()
        outcome: list[tuple[bool, Any]] = []

        async def repeat() -> None:
            while True:
                await sleep(MEANWHILE_SECONDS)
                await meanwhile()

        # An answer that came in time counts, even if a slow renewal of the lock is
        # still on its way back when the time is over: it is the only answer.
        with move_on_after(seconds):
            async with create_task_group() as group:
                group.start_soon(repeat)
                try:
                    outcome.append((True, await call()))
                except Exception as error:  # noqa: BLE001 - raised below, outside the
                    outcome.append((False, error))  # group, which would wrap it
                group.cancel_scope.cancel()
        if not outcome:
            raise TimeoutError
        succeeded, result = outcome[0]
        if succeeded:
            return result
        raise result

    async def sleep(self, seconds: float) -> None:
        from anyio import sleep  # noqa: PLC0415

        await sleep(seconds)

    async def together(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, wait: bool
    ) -> T:
        from anyio import Event  # noqa: PLC0415

        flights: dict[Hashable, _Flight] = self._here().setdefault("flights", {})
        while True:
            flight = flights.get(key)
            if flight is None:
                break
            if not wait:
                raise UnderWay
            await flight.done.wait()
            if flight.landed():
                return flight.result  # type: ignore[no-any-return]
        mine = flights[key] = _Flight(Event())

        def land() -> None:
            if flights.get(key) is mine:
                del flights[key]
            mine.done.set()

        async def fly() -> None:
            try:
                await mine.fly(work)
            finally:
                land()

        # Twice, for a task that is cancelled before its first step runs no `finally`.
        await self.shielded(fly, at_end=land)
        return mine.result  # type: ignore[no-any-return]

    def is_under_way(self, key: Hashable) -> bool:
        return key in self._here().get("flights", ())

    async def shielded(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        at_end: Callable[[], object] | None = None,
    ) -> T:
        """Let `work` finish whatever happens to the request that began it.

        A cancel scope of anyio holds off anyio's cancellation, not a bare
        ``task.cancel()``; on asyncio the work is therefore a task of its own.
        """
        import asyncio  # noqa: PLC0415

        from anyio import CancelScope  # noqa: PLC0415

        if not _on_asyncio():
            with CancelScope(shield=True):
                return await work()
        task = asyncio.ensure_future(work())
        self._running.add(task)
        task.add_done_callback(self._finished)
        if at_end is not None:
            task.add_done_callback(lambda _: at_end())
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: whoever waited has it, or has gone

    async def shared(self, make: Callable[[], T], owner: object, name: str) -> T:
        made: dict[Any, Any] = self._here().setdefault("made", {})
        key = (id(owner), name)
        if key not in made:

            async def work() -> T:
                made[key] = await self.offload(make)
                return made[key]  # type: ignore[no-any-return]

            return await self.together(key, work, wait=True)
        return made[key]  # type: ignore[no-any-return]

    async def settle(self, seconds: float) -> None:
        import asyncio  # noqa: PLC0415

        if not _on_asyncio():
            return
        here = asyncio.get_running_loop()
        tasks = [task for task in self._running if task.get_loop() is here]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def taken_back(self, owner: object, name: str) -> Any:
        return self._here().get("made", {}).pop((id(owner), name), None)

    async def outside(self, call: Callable[[], Any]) -> Any:
        outcome: list[tuple[bool, Any]] = []

        async def work() -> None:
            try:
                result = call()
                if isinstance(result, Awaitable):
                    result = await result
                outcome.append((True, result))
            except Exception as error:  # noqa: BLE001 - raised again in the flow
                outcome.append((False, error))

        if _on_asyncio():
            await _in_a_task(work)
        else:
            from anyio import create_task_group  # noqa: PLC0415

            async with create_task_group() as group:
                group.start_soon(work)
        succeeded, result = outcome[0]
        if succeeded:
            return result
        raise result


async def _in_a_task(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do the work in a task of asyncio, which has a stack of its own.

    A callback that awaits what was cancelled is no cancellation of the request.
    """
    import asyncio  # noqa: PLC0415

    async def later() -> None:
        await asyncio.sleep(0)  # tasks may be eager, and begin on our stack
        await work()

    try:
        await asyncio.ensure_future(later())
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _CallbackCancelled from error


class _CallbackCancelled(Exception):
    """An app's callback raised CancelledError though nobody cancelled its task."""


def _trio_loop() -> Any:
    """Return what stands for the running event loop of Trio."""
    from trio.lowlevel import current_trio_token  # noqa: PLC0415

    return current_trio_token()


def _on_asyncio() -> bool:
    """Whether an asyncio task is running; otherwise it is Trio's."""
    import asyncio  # noqa: PLC0415

    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False

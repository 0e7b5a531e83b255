"""The backend for ASGI: event loops of asyncio and Trio."""

from __future__ import annotations

import math
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

if TYPE_CHECKING:
    import asyncio

    from anyio import CancelScope
from .base import (
    GRACE_SECONDS,
    LATE_SECONDS,
    MEANWHILE_SECONDS,
    Meanwhile,
    T,
    nothing,
    on_asyncio,
    running_loop,
)
from .outcome import Outcome
from .single_flight import InFlight, SharedCall

_MOST_THREADS = 40


class AsyncBackend:
    """ASGI: one event loop or several, of asyncio or Trio."""

    is_blocking = False

    def __init__(self) -> None:
        #: The objects of each event loop, dropped when the loop is collected.
        self._by_loop: weakref.WeakKeyDictionary[Any, dict[str, Any]] = (
            weakref.WeakKeyDictionary()
        )
        self._running: set[asyncio.Task[Any]] = set()
        #: Tasks for which no caller waits; a loop alone would not keep them alive.
        self._background: set[asyncio.Task[Any]] = set()

    def _here(self) -> dict[str, Any]:
        """Return the objects of the running event loop."""
        import asyncio

        # anyio's `RunVar` works on both, but takes four times as long, and a thousand
        # requests that wait for one refresh come here twice each.
        try:
            loop: Any = asyncio.get_running_loop()
        except RuntimeError:
            loop = running_loop()
        here = self._by_loop.get(loop)
        if here is None:
            self._forget_closed_loops()
            here = self._by_loop[loop] = {}
        return here

    def _forget_closed_loops(self) -> None:
        """Drop what belongs to loops that were closed before their tasks had ended.

        Such tasks never end, and they and the objects of a loop keep the loop alive.
        """
        for tasks in (self._running, self._background):
            # A copy, made in one step: other threads' loops add and remove tasks.
            for task in tasks.copy():
                if task.get_loop().is_closed():
                    tasks.discard(task)
        for loop in [reference() for reference in self._by_loop.keyrefs()]:
            # One of Trio cannot be asked.
            if loop is not None and getattr(loop, "is_closed", bool)():
                self._by_loop.pop(loop, None)

    def adapt_store(self, store: Any) -> StoreAdapter:
        return StoreAdapter(store, self.offload, on_asyncio)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        from anyio import CapacityLimiter, to_thread

        here = self._here()
        if "threads" not in here:
            # A separate limiter: an app whose views occupy all of anyio's default
            # threads must not delay the writing of a refreshed token.
            here["threads"] = CapacityLimiter(_MOST_THREADS)
        return await to_thread.run_sync(work, *args, limiter=here["threads"])

    async def with_timeout(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        if meanwhile is None and on_asyncio():
            return await _with_alarm(seconds, call)
        from anyio import create_task_group

        outcome = Outcome(Exception)
        # A result that came in time counts, even if a slow renewal of the lock has not
        # returned when the time is over: TikTok gives it only once.
        async with create_task_group() as group:
            group.start_soon(_give_up, seconds, group.cancel_scope)
            if meanwhile is not None:
                group.start_soon(_repeat, meanwhile)
            with outcome:  # raised below, outside the group, which would wrap it
                outcome.value = await call()
            group.cancel_scope.cancel()
        if not outcome.is_set:
            raise TimeoutError
        return outcome.get()

    async def sleep(self, seconds: float) -> None:
        from anyio import sleep

        await sleep(seconds)

    async def single_flight(
        self,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        wait: float,
        afterwards: Callable[[], Awaitable[None]] = nothing,
    ) -> T:
        calls: dict[Hashable, SharedCall] = self._here().setdefault("calls", {})
        while True:
            call = calls.get(key)
            if call is None:
                break
            if call.left(wait) <= 0:
                raise InFlight
            await _ended_or_waited(call, wait)
            if call.has_result():
                return call.result  # type: ignore[no-any-return]
        from anyio import Event  # here, so that requests that wait do not import it

        mine = calls[key] = SharedCall(Event())

        def finish() -> None:
            if calls.get(key) is mine:
                del calls[key]
            mine.done.set()
            for alarm, timer in mine.alarms.values():
                alarm.set()
                timer.cancel()
            mine.alarms.clear()

        # `finish` is called at the end of the task as well: a task that is cancelled
        # before its first step does not run its `finally`.
        await self.shielded(partial(mine.run, work, finish, afterwards), at_end=finish)
        return mine.result  # type: ignore[no-any-return]

    def is_in_flight(self, key: Hashable) -> bool:
        return key in self._here().get("calls", ())

    async def shielded(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        at_end: Callable[[], object] | None = None,
    ) -> T:
        """Let `work` finish even if the request that began it is cancelled.

        anyio's cancel scope shields from anyio's cancellation, but not from a plain
        ``task.cancel()``; on asyncio the work is therefore a task of its own, which the
        end of `asyncio.run` does not cancel either.
        """
        import asyncio

        from anyio import CancelScope

        if not on_asyncio():
            return await _in_a_child(work)
        from .kept_task import KeptTask

        task = KeptTask(work(), loop=asyncio.get_running_loop())
        self._running.add(task)
        task.add_done_callback(self._finished)
        if at_end is not None:
            task.add_done_callback(lambda _: at_end())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._here().get("is_drained"):
                # A server without a lifespan stops the loop when its requests are
                # done: tokens that TikTok is about to send would be lost, and anyio's
                # thread, which stops with this task, would keep the process alive.
                with CancelScope(shield=True):
                    await asyncio.wait([task])
            raise

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Marks it as retrieved: the caller has it, or was cancelled.
            task.exception()

    async def get_or_create(self, make: Callable[[], T], owner: object, name: str) -> T:
        made: dict[Any, Any] = self._here().setdefault("made", {})
        key = (id(owner), name)
        if key not in made:

            async def work() -> T:
                made[key] = await self.offload(make)
                return made[key]  # type: ignore[no-any-return]

            # Making an object ends by itself: it reads files, and no network.
            return await self.single_flight(key, work, wait=math.inf)
        return made[key]  # type: ignore[no-any-return]

    def expect_drain(self) -> None:
        self._here()["is_drained"] = True

    async def drain(self, seconds: float) -> None:
        import asyncio

        if not on_asyncio():
            return
        here = asyncio.get_running_loop()
        # A copy, made in one step: other threads' loops add and remove tasks.
        tasks = [task for task in self._running.copy() if task.get_loop() is here]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        # The context variables are those of a request, which the work outlives.
        if on_asyncio():
            import asyncio

            task = asyncio.get_running_loop().create_task(work(), context=Context())
            self._background.add(task)
            task.add_done_callback(self._background.discard)
            return True
        try:
            from trio.lowlevel import spawn_system_task

            spawn_system_task(work, context=Context())
        except (ImportError, RuntimeError):
            return False  # no event loop runs here: this is a thread of the app
        return True

    def created(self, owner: object, name: str) -> Any:
        try:
            here = self._here()
        except (ImportError, RuntimeError):
            return None  # no event loop runs here: this is a thread of the app
        return here.get("made", {}).get((id(owner), name))

    def pop_created(self, owner: object, name: str) -> Any:
        return self._here().get("made", {}).pop((id(owner), name), None)

    async def run_all(
        self,
        works: Iterable[Callable[[], Coroutine[Any, Any, None]]],
        limit: int,
        *,
        at_thread_end: Callable[[], object],
    ) -> None:
        from anyio import create_task_group

        del at_thread_end  # no thread is started
        waiting = iter(works)
        # An error is raised after the group, which would wrap it and cancel the others.
        errors: list[Exception] = []

        async def consume() -> None:
            for work in waiting:
                try:
                    await work()
                except Exception as error:  # noqa: BLE001 - raised below
                    errors.append(error)
                if errors:
                    return

        async with create_task_group() as group:
            for _ in range(limit):
                group.start_soon(consume)
        if errors:
            raise errors[0]

    async def call_app_code(self, call: Callable[[], Any]) -> Any:
        outcome = Outcome(Exception)

        async def work() -> None:
            with outcome:
                result = call()
                if isinstance(result, Awaitable):
                    result = await result
                outcome.value = result

        if on_asyncio():
            await _in_a_task(work)
        else:
            from anyio import create_task_group

            async with create_task_group() as group:
                group.start_soon(work)
        return outcome.get()

    async def ask_app(
        self, call: Callable[[], Any], seconds: float, *, is_async: bool
    ) -> Outcome:
        from anyio import move_on_after, to_thread

        outcome = Outcome(Exception)

        async def ask() -> None:
            with move_on_after(seconds), outcome:
                if is_async:
                    result = call()
                else:
                    # In anyio's own threads: ours are for the store. In a list, since
                    # Trio takes no coroutine from a thread.
                    [result] = await to_thread.run_sync(
                        lambda: [call()], abandon_on_cancel=True
                    )
                if isinstance(result, Awaitable):
                    result = await result
                outcome.value = result

        try:
            await self.call_app_code(ask)
        except _CallbackCancelled as error:
            outcome.error, outcome.is_set = error, True
        return outcome


async def _ended_or_waited(call: SharedCall, wait: float) -> None:
    """Wait for the end of a call, or until its work has run for `wait` seconds.

    On asyncio all callers that wait equally long share a timer: a timeout for each of
    them would double the instructions of waiting.
    """
    alarm = call.alarms.get(wait)
    if alarm is None:
        from anyio import Event, move_on_after

        if not on_asyncio():
            with move_on_after(call.left(wait)):
                await call.done.wait()
            return
        import asyncio

        def ring() -> None:
            call.alarms.pop(wait)[0].set()

        loop = asyncio.get_running_loop()
        alarm = Event(), loop.call_later(call.left(wait), ring)
        call.alarms[wait] = alarm
    await alarm[0].wait()


async def _with_alarm(seconds: float, call: Callable[[], Any]) -> Any:
    """Await a call as `_give_up` limits it; on asyncio, without a task for the limit.

    Raises:
        TimeoutError: the call took too long.
    """
    import asyncio

    from anyio import CancelScope

    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    alarm: asyncio.TimerHandle

    def give_up() -> None:
        nonlocal alarm
        if loop.time() - deadline > LATE_SECONDS:
            alarm = loop.call_later(GRACE_SECONDS, scope.cancel)
        else:
            scope.cancel()

    alarm = loop.call_at(deadline, give_up)
    try:
        with CancelScope() as scope:
            return await call()
    finally:
        alarm.cancel()
    raise TimeoutError


async def _give_up(seconds: float, scope: CancelScope) -> None:
    """Cancel a scope after some seconds, or `GRACE_SECONDS` later if that is late.

    Args:
        seconds: from now.
        scope: of the task group that this runs in.
    """
    from anyio import current_time

    deadline = current_time() + seconds
    await _sleep_until(deadline)
    if current_time() - deadline > LATE_SECONDS:
        await _sleep_until(current_time() + GRACE_SECONDS)
    scope.cancel()


async def _sleep_until(deadline: float) -> None:
    """Sleep until a time of the event loop, or until the task group is cancelled."""
    from anyio import current_time, get_cancelled_exc_class, sleep

    while (left := deadline - current_time()) > 0:
        try:
            await sleep(left)
        except get_cancelled_exc_class():
            if _is_group_cancelled():
                raise


async def _repeat(meanwhile: Meanwhile) -> None:
    """Await `meanwhile` now and then, until the task group is cancelled."""
    from anyio import get_cancelled_exc_class, sleep

    while True:
        try:
            await sleep(MEANWHILE_SECONDS)
            await meanwhile()
        except get_cancelled_exc_class():
            if _is_group_cancelled():
                raise


def _is_group_cancelled() -> bool:
    """Whether the task group of a cancelled task was cancelled.

    The end of `asyncio.run` cancels each task, but not the group. If such a task ended,
    anyio would cancel the call to TikTok too, and its answer be lost.
    """
    from anyio import current_effective_deadline

    return current_effective_deadline() == -math.inf


async def _in_a_task(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do the work in a task of asyncio, which has a separate stack.

    If an app's callback awaits something that was cancelled, the request is not
    cancelled by that.
    """
    import asyncio

    async def later() -> None:
        await asyncio.sleep(0)  # an eager task begins on the stack of its creator
        await work()

    try:
        await asyncio.ensure_future(later())
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _CallbackCancelled from error


async def _in_a_child(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return the result of work in a task of Trio that nothing cancels or interrupts.

    Trio raises KeyboardInterrupt in its main task, whatever shields that task, so the
    main task must not do the work itself. It raises it in any other task as well, if
    the signal comes while code of that task runs, unless it is protected.
    """
    from anyio import CancelScope, create_task_group
    from trio.lowlevel import enable_ki_protection

    outcome = Outcome(Exception)

    @enable_ki_protection
    async def finish() -> None:
        with CancelScope(shield=True), outcome:
            outcome.value = await work()

    try:
        with CancelScope(shield=True):
            async with create_task_group() as group:
                group.start_soon(finish)
    except BaseExceptionGroup as error:
        if len(error.exceptions) == 1:  # as if there were no group
            raise error.exceptions[0] from None
        raise
    return outcome.get()  # type: ignore[no-any-return]


class _CallbackCancelled(Exception):
    """An app's callback raised CancelledError, and its task was not cancelled."""

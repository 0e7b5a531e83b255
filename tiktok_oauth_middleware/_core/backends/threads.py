"""The backend for WSGI: threads, and calls that block."""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
)
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

from .base import (
    GRACE_SECONDS,
    LATE_SECONDS,
    MEANWHILE_SECONDS,
    Meanwhile,
    T,
    nothing,
    on_asyncio,
)
from .deferred_signals import signals
from .one_step import AppCodeCall, run
from .outcome import Outcome
from .single_flight import InFlight, SharedCall

#: A wait is interrupted this often, in seconds: a signal that arrives just before the
#: main thread blocks does not wake it.
_SIGNAL_SECONDS = 1.0
#: What a call of the store may raise itself, and what signals raise.
_NOT_KEPT = (Exception, KeyboardInterrupt, SystemExit, GeneratorExit)
#: How many exceptions are kept during one piece of work: a store whose every call ends
#: with one must not be called for ever.
_MOST_KEPT = 5
#: The longest time that the end of the process waits for work in hand, in seconds.
_LONGEST_END = 60.0
_NO_THREADS = frozenset({"uwsgi", "gevent", "eventlet"})


class _Interruption(threading.local):
    """How a thread treats an exception that interrupts it while it waits."""

    #: Whether the exception is kept until the work in hand is finished.
    is_kept = False
    #: Whether that goes for calls of the store too, and not only of TikTok.
    is_final = False
    #: The first that was kept, and how many were.
    error: BaseException | None = None
    kept = 0
    #: Set when the work is finished; None if a thread already waits for that.
    finished: threading.Event | None = None

    def defer(self) -> None:
        """Let nothing interrupt this thread any more until the work is finished."""
        if self.is_kept:
            self.is_final = True
            signals.begin()

    def keeps(self, error: BaseException) -> bool:
        """Keep what ended a call, if the call is to be made again.

        gevent and eventlet raise their timeouts, and the exception that ends a
        greenlet, in any call that waits. Signals are deferred instead; a second one
        that raises has to take effect.
        """
        if not self.is_final or self.kept == _MOST_KEPT or isinstance(error, _NOT_KEPT):
            return False
        self.kept += 1
        self.error = self.error or error
        return True


class ThreadBackend:
    """WSGI: threads, and calls that block."""

    is_blocking = True

    def __init__(self) -> None:
        self._interruption = _Interruption()
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Replace the parent's locks, calls in flight and clients."""
        self._calls: dict[Hashable, SharedCall] = {}
        self._shared: weakref.WeakKeyDictionary[Any, dict[str, Any]] = (
            weakref.WeakKeyDictionary()
        )
        # A signal's handler may need an object while its own thread makes one.
        self._making = threading.RLock()

    def adapt_store(self, store: Any) -> StoreAdapter:
        return StoreAdapter(store, None, on_asyncio, self._interruption.keeps)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)

    async def with_timeout(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        """Run the call in a new thread.

        A socket's timeout bounds a single read, so a peer that sends a byte now and
        then would block the request for ever. At the timeout the thread is left behind
        and its result dropped. A thread costs about 60 us, once per login or refresh.

        Inside `_shielding` an exception that interrupts the wait is raised later, and
        the process does not end before the work is finished.
        """
        outcome, end = Outcome(BaseException), threading.Event()
        finished, self._interruption.finished = self._interruption.finished, None
        if finished is not None:
            _delay_end_of_process(finished)
        # Taken by the thread before the call, or by this one, which makes none then.
        turn = threading.Lock()

        def work() -> None:
            if not turn.acquire(blocking=False):
                return
            with outcome:
                outcome.value = call()
            end.set()

        # With the request's context variables, which the HTTP client's tracing reads.
        thread = threading.Thread(
            target=copy_context().run, args=(work,), name="tiktok-call", daemon=True
        )
        deadline = time.monotonic() + seconds
        try:
            thread.start()
            await _wait_until(end, deadline, meanwhile)
            self._interruption.defer()
        except BaseException as error:
            if not self._interruption.keeps(error):
                # The thread may be running even if `start` was interrupted.
                if not self._interruption.is_kept or turn.acquire(blocking=False):
                    raise
                self._interruption.error = error
            await _wait_until(end, deadline, meanwhile)
            self._interruption.defer()
        if not outcome.is_set:
            raise TimeoutError
        return outcome.get()

    @contextmanager
    def _shielding(self) -> Iterator[None]:
        """At the end of the block, raise an exception that interrupted a call inside.

        A signal's handler raises in the main thread, and gevent's timeouts in any
        greenlet. TikTok sends new tokens only once, so the answer is awaited and stored
        first. A second exception ends the wait, and a second signal the writing.
        """
        interruption = self._interruption
        if interruption.is_kept:
            yield
            return
        interruption.is_kept, interruption.error = True, None
        interruption.is_final, interruption.kept = False, 0
        interruption.finished = finished = threading.Event()
        try:
            yield
        finally:
            interruption.finished = None
            finished.set()
            error, interruption.error = interruption.error, None
            interruption.is_kept = interruption.is_final = False
            signals.end()
            if error is not None:
                raise error.with_traceback(None)

    async def sleep(self, seconds: float) -> None:
        try:
            await self.offload(time.sleep, seconds)
        except BaseException as error:
            if not self._interruption.keeps(error):
                raise

    async def single_flight(
        self,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        wait: float,
        afterwards: Callable[[], Awaitable[None]] = nothing,
    ) -> T:
        mine = SharedCall(threading.Event())

        def at_end() -> None:
            # The entry goes before the waiters wake, so that a late caller starts a new
            # call.
            if self._calls.get(key) is mine:
                del self._calls[key]
                mine.done.set()

        try:
            while True:
                # setdefault is atomic: of several threads one inserts its own call.
                call = self._calls.setdefault(key, mine)
                if call is mine:
                    with self._shielding():
                        await mine.run(work, at_end, afterwards)
                    return mine.result  # type: ignore[no-any-return]
                if not _wait(call.done, time.monotonic() + call.left(wait)):
                    raise InFlight
                if call.has_result():
                    return call.result  # type: ignore[no-any-return]
        finally:
            at_end()  # a signal's handler may raise just before the work begins

    def is_in_flight(self, key: Hashable) -> bool:
        return key in self._calls

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self._shielding():
            self._interruption.defer()
            return await work()

    async def get_or_create(self, make: Callable[[], T], owner: object, name: str) -> T:
        with self._making:
            made = self._shared.setdefault(owner, {})
            if name not in made:
                made.setdefault(name, make())
            return made[name]  # type: ignore[no-any-return]

    def expect_drain(self) -> None:
        """Do nothing: a thread's work ends with its request."""

    async def drain(self, seconds: float) -> None:
        """Return at once: the thread of a request runs all its work."""

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        # uWSGI stops threads between requests unless it is told otherwise; below gevent
        # and eventlet a thread may be a greenlet, or block all greenlets.
        if any(name in sys.modules for name in _NO_THREADS):
            return False
        thread = threading.Thread(
            target=lambda: run(work()), name="tiktok-background", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            return False  # no more threads, or the interpreter ends
        return True

    def created(self, owner: object, name: str) -> Any:
        return self._shared.get(owner, {}).get(name)

    def pop_created(self, owner: object, name: str) -> Any:
        return self._shared.get(owner, {}).pop(name, None)

    async def run_all(
        self,
        works: Iterable[Callable[[], Coroutine[Any, Any, None]]],
        limit: int,
        *,
        at_thread_end: Callable[[], object],
    ) -> None:
        waiting = deque(works)
        if min(limit, len(waiting)) <= 1:
            for work in waiting:
                await work()
            return
        _run_in_threads(waiting, limit, at_thread_end)

    async def call_app_code(self, call: Callable[[], Any]) -> Any:
        with signals.allowed():
            return await AppCodeCall(call)

    async def ask_app(
        self,
        call: Callable[[], Any],
        seconds: float,
        *,
        is_async: bool,
    ) -> Outcome:
        del seconds, is_async  # nothing can stop the call, and none is async here
        outcome = Outcome(Exception)

        def ask() -> None:
            with outcome:
                outcome.value = call()

        await self.call_app_code(ask)
        return outcome


def _delay_end_of_process(finished: threading.Event) -> None:
    """Let the process end only when an event is set.

    A server whose threads are daemons may end at a signal although one of them waits
    for TikTok's answer: granian does, if the client has gone. The thread that calls
    TikTok is a daemon, since it may be left behind with a host name to look up.
    """
    thread = threading.Thread(
        target=finished.wait, args=(_LONGEST_END,), name="tiktok-end", daemon=False
    )
    with suppress(RuntimeError):  # no more threads, or the interpreter ends
        thread.start()


def _run_in_threads(
    waiting: deque[Callable[[], Coroutine[Any, Any, None]]],
    limit: int,
    at_thread_end: Callable[[], object],
) -> None:
    errors: list[BaseException] = []

    def consume(end: threading.Event) -> None:
        try:
            while True:
                try:
                    work = waiting.popleft()
                except IndexError:
                    return
                run(work())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            errors.append(error)
            waiting.clear()
        finally:
            try:
                at_thread_end()
            finally:
                end.set()

    threads: list[tuple[threading.Thread, threading.Event]] = []
    try:
        for _ in range(min(limit, len(waiting))):
            end = threading.Event()
            # Each thread has the caller's context variables, such as Flask's app
            # context, for the app's `on_event`.
            thread = threading.Thread(
                target=copy_context().run, args=(consume, end), name="tiktok"
            )
            threads.append((thread, end))
            thread.start()
        for _, end in threads:
            _wait(end)
    finally:
        waiting.clear()
        # Not by `Thread.join`: if a signal interrupts a join, the thread is marked as
        # ended although it still runs.
        for thread, end in threads:
            if thread.ident is not None:  # `start` may have raised
                _wait(end)
    if errors:
        raise errors[0]


async def _wait_until(
    end: threading.Event, deadline: float, meanwhile: Meanwhile | None
) -> None:
    """Wait for an event until a time of `time.monotonic`, and longer if it is late."""
    # Not by `Thread.join`: if a signal interrupts a join, the thread is marked as ended
    # although it still runs.
    step = _SIGNAL_SECONDS if meanwhile is None else MEANWHILE_SECONDS
    while not end.is_set() and (left := deadline - time.monotonic()) > 0:
        end.wait(min(left, step))
        if meanwhile is not None and not end.is_set():
            await meanwhile()
    if time.monotonic() - deadline > LATE_SECONDS:
        _wait(end, time.monotonic() + GRACE_SECONDS)


def _wait(event: threading.Event, deadline: float = math.inf) -> bool:
    """Wait, and notice signals; return False at a time of `time.monotonic`."""
    while not event.is_set():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        event.wait(min(left, _SIGNAL_SECONDS))
    return True

"""The backend for WSGI: threads, and calls that block."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Hashable
from contextvars import copy_context
from typing import Any

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

from .base import (
    MEANWHILE_SECONDS,
    AppCodeCall,
    InFlight,
    Meanwhile,
    Outcome,
    SharedCall,
    T,
    on_asyncio,
)


class ThreadBackend:
    """WSGI: threads, and calls that block."""

    is_blocking = True

    def __init__(self) -> None:
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's locks, calls in flight and clients."""
        self._calls: dict[Hashable, SharedCall] = {}
        self._shared: weakref.WeakKeyDictionary[Any, dict[str, Any]] = (
            weakref.WeakKeyDictionary()
        )
        self._making = threading.Lock()

    def adapt_store(self, store: Any) -> StoreAdapter:
        return StoreAdapter(store, None, on_asyncio)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)

    async def with_timeout(
        self, seconds: float, call: Callable[[], Any], meanwhile: Meanwhile | None
    ) -> Any:
        """Run the call in a thread of its own.

        A socket's timeout bounds a single read, so a peer that sends a byte now and
        then would block the request for ever. At the timeout the thread is left behind
        and its result dropped. A thread costs about 60 us, once a login or refresh.
        """
        outcome = Outcome(BaseException)

        def work() -> None:
            with outcome:
                outcome.value = call()

        # With the request's context variables, which traces of the HTTP client read.
        thread = threading.Thread(
            target=copy_context().run, args=(work,), name="tiktok-call", daemon=True
        )
        thread.start()
        deadline = time.monotonic() + seconds
        while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            thread.join(left if meanwhile is None else min(left, MEANWHILE_SECONDS))
            if meanwhile is not None and thread.is_alive():
                await meanwhile()
        if not outcome.is_set:
            raise TimeoutError
        return outcome.get()

    async def sleep(self, seconds: float) -> None:
        await self.offload(time.sleep, seconds)

    async def single_flight(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, wait: bool
    ) -> T:
        while True:
            mine = SharedCall(threading.Event())
            # setdefault is atomic: of several threads one inserts its own call.
            call = self._calls.setdefault(key, mine)
            if call is mine:
                try:
                    await mine.run(work)
                finally:
                    # The entry goes before the waiters wake, so that a late caller
                    # starts a new call.
                    self._calls.pop(key, None)
                    mine.done.set()
                return mine.result  # type: ignore[no-any-return]
            if not wait:
                raise InFlight
            call.done.wait()
            if call.has_result():
                return call.result  # type: ignore[no-any-return]

    def is_in_flight(self, key: Hashable) -> bool:
        return key in self._calls

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await work()

    async def get_or_create(self, make: Callable[[], T], owner: object, name: str) -> T:
        with self._making:
            made = self._shared.setdefault(owner, {})
            if name not in made:
                made[name] = make()
            return made[name]  # type: ignore[no-any-return]

    async def drain(self, seconds: float) -> None:
        """Return at once: the thread of a request runs all its work."""

    def pop_created(self, owner: object, name: str) -> Any:
        return self._shared.get(owner, {}).pop(name, None)

    async def call_app_code(self, call: Callable[[], Any]) -> Any:
        return await AppCodeCall(call)

    async def ask_app(
        self,
        call: Callable[[], Any],
        seconds: float,  # noqa: ARG002 - nothing can stop it
        *,
        is_async: bool,  # noqa: ARG002 - it never is
    ) -> Outcome:
        outcome = Outcome(Exception)

        def ask() -> None:
            with outcome:
                outcome.value = call()

        await AppCodeCall(ask)
        return outcome

"""The backend for WSGI: threads, and calls that block."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from tiktok_oauth_middleware._core.fork import renew_after_fork
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

from .base import (
    MEANWHILE_SECONDS,
    AppCodeCall,
    InFlight,
    Meanwhile,
    SharedCall,
    T,
    on_asyncio,
)


class ThreadBackend:
    """The world of WSGI: threads, and calls that block."""

    is_blocking = True

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew: no lock is held, and no client made."""
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

    async def single_flight(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, wait: bool
    ) -> T:
        while True:
            mine = SharedCall(threading.Event())
            # Atomic: one of all threads puts its own there.
            call = self._calls.setdefault(key, mine)
            if call is mine:
                try:
                    await mine.run(work)
                finally:
                    self._calls.pop(key, None)  # first: who comes now flies anew
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
        """Return: nothing runs that nobody waits for."""

    def pop_created(self, owner: object, name: str) -> Any:
        return self._shared.get(owner, {}).pop(name, None)

    async def call_app_code(self, call: Callable[[], Any]) -> Any:
        return await AppCodeCall(call)

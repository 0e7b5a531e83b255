"""A store that is written for asyncio, with blocking methods.

An event loop runs in a thread of its own, and each call is a task there.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

T = TypeVar("T")


class BlockingStore:
    """An asyncio store in its loop, with the plain methods that the tests call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inner: Any) -> None:
        self._loop = loop
        self.inner = inner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return _run(self._loop, work)

    def get(self, key: str) -> Any:
        return self._call(self.inner.get, key)

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> Any:
        return self._call(self.inner.compare_and_set, key, old, new, ttl)

    def __getattr__(self, name: str) -> Any:
        """Return an optional method of the store, if it has it."""
        if name not in ("get_many", "create_many", "keys", "pages", "rows"):
            raise AttributeError(name)
        method = getattr(self.inner, name)
        if name in ("pages", "rows"):
            return lambda prefix: self.run(_collected(method(prefix)))
        return partial(self._call, method)

    @contextmanager
    def _hold(self, key: str, ttl: float) -> Iterator[bool]:
        lock = self.inner.lock(key, ttl)
        held = self._call(lock.__aenter__)
        try:
            yield held
        except BaseException as error:
            if not self._call(lock.__aexit__, type(error), error, error.__traceback__):
                raise
        else:
            self._call(lock.__aexit__, None, None, None)

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        return self._hold(key, ttl)

    def close(self) -> None:
        self._call(self.inner.close)

    def _call(self, call: Callable[..., Awaitable[T]], *args: Any) -> T:
        async def called() -> T:
            return await call(*args)

        return self.run(called())


@contextmanager
def in_a_loop(open_store: Callable[[], Any]) -> Iterator[BlockingStore]:
    """Open a store in an event loop of a new thread; the context's end closes both."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="store", daemon=True)
    thread.start()
    try:
        store = _run(loop, _opened_store(open_store))
        yield BlockingStore(loop, store)
        _run(loop, store.close())
    finally:
        _run(loop, loop.shutdown_asyncgens())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _opened_store(open_store: Callable[[], Any]) -> Any:
    store = open_store()
    return await store if isawaitable(store) else store


async def _collected(pages: AsyncIterator[T]) -> list[T]:
    return [page async for page in pages]


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=60)

"""A store whose operations are measured, and are spans if a trace is recorded.

Requests wait for reads, so until the app has set a provider, each operation is called
directly (see `traces`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.store_adapter import LockHandle, StoreAdapter

if TYPE_CHECKING:
    from .metrics import Meter
    from .traces import Traces


class ObservedStore(StoreAdapter):
    """A store whose operations are measured and traced."""

    def __init__(self, store: StoreAdapter, meter: Meter, traces: Traces) -> None:
        """Observe the operations of `store`."""
        self._observed = store
        self._meter = meter
        self._traces = traces
        self._is_provided = traces.is_provided
        self._current_span = traces.current_span
        self._record = meter.record_read
        self.renews = store.renews

    # Not a coroutine function: a coroutine would cost as much as the rest.
    def get(  # pyright: ignore[reportIncompatibleMethodOverride] - as good as one
        self, key: str
    ) -> Coroutine[Any, Any, bytes | None]:
        if self._is_provided():
            return self._observed_get(key)
        return self._observed.get(key)

    async def _observed_get(self, key: str) -> bytes | None:
        # Written inline: two context managers take 24,000 instructions, this 6,000.
        if self._current_span().is_recording():
            with self._operation("get"):
                return await self._observed.get(key)
        started = time.perf_counter()
        try:
            found = await self._observed.get(key)
        except BaseException as error:
            self._record(time.perf_counter() - started, error)
            raise
        self._record(time.perf_counter() - started)
        return found

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        if not self._is_provided():
            return await self._observed.compare_and_set(key, old, new, ttl)
        with self._operation("compare_and_set"):
            return await self._observed.compare_and_set(key, old, new, ttl)

    @asynccontextmanager
    async def lock(self, key: str, ttl: float) -> AsyncIterator[LockHandle]:
        async with AsyncExitStack() as stack:
            # Only obtaining the lock is observed, not the work while it is held.
            with self._operation("lock"):
                handle = await stack.enter_async_context(self._observed.lock(key, ttl))
            yield handle

    async def keys(self, prefix: str) -> list[str]:
        with self._operation("keys"):
            return await self._observed.keys(prefix)

    async def pages(self, prefix: str) -> AsyncGenerator[list[str], None]:
        async with aclosing(self._each_observed(self._observed.pages(prefix))) as found:
            async for page in found:
                yield page

    async def rows(self, prefix: str) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        async with aclosing(self._each_observed(self._observed.rows(prefix))) as found:
            async for page in found:
                yield page

    async def _each_observed(
        self, pages: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(pages):
            while True:
                with self._operation("keys"):
                    page = await anext(pages, None)
                if page is None:
                    return
                yield page

    # A batch counts as one operation, named like that of a single row.
    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._operation("get"):
            return await self._observed.get_many(keys)

    async def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        with self._operation("compare_and_set"):
            return await self._observed.create_many(rows)

    async def close(self) -> None:
        await self._observed.close()

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        with self._traces.operation(name), self._meter.operation(name):
            yield

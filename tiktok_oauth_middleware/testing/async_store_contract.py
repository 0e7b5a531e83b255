"""The guarantees of a store that is written for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from .blocking_store import in_a_loop
from .store_contract import LONG, StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class AsyncStoreContract(StoreContract):
    """The same tests for an `AsyncStore`; override `open_store`.

    An event loop runs in a thread of its own, and each call of a test is a task
    there: eight threads of a test are eight tasks of the loop.
    """

    @pytest.fixture
    def open_store(self) -> Callable[[], Any]:
        """Return a function that makes the store, called in the event loop."""
        pytest.fail("override the fixture `open_store`")

    @pytest.fixture
    def open_failing_store(self) -> Callable[[], Any]:
        """Return a function that makes a failing store; see `failing_store`."""
        pytest.fail("override the fixture `open_failing_store`")

    @pytest.fixture
    def store(self, open_store: Callable[[], Any]) -> Iterator[Any]:
        """Return the store with blocking methods."""
        with in_a_loop(open_store) as store:
            yield store

    @pytest.fixture
    def failing_store(self, open_failing_store: Callable[[], Any]) -> Iterator[Any]:
        """Return the failing store with blocking methods."""
        with in_a_loop(open_failing_store) as store:
            yield store

    def test_a_lock_is_released_by_cancelling(self, store: Any, key: str) -> None:
        """A task that is cancelled while it holds a lock leaves it free."""

        async def hold(entered: asyncio.Event) -> None:
            async with store.inner.lock(key, LONG):
                entered.set()
                await asyncio.sleep(LONG)

        async def cancel() -> None:
            entered = asyncio.Event()
            task = asyncio.ensure_future(hold(entered))
            await entered.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        store.run(cancel())
        with store.lock(key, LONG) as held:
            assert held is True

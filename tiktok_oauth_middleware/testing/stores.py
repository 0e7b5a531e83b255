"""Tests of the guarantees of every store: for ours, and for your own.

To test a store of your own, write a class in your tests::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            store = MyStore(...)
            yield store
            store.close()

        @pytest.fixture
        def failing_store(self):
            return MyStore("an address where nothing answers")

The tests wait for real, short lifetimes. If a store takes a clock, its class overrides
`tick` as well, and the tests do not wait. A store written for asyncio uses
`AsyncStoreContract`, which runs the same tests.
"""

from __future__ import annotations

from .async_store_contract import AsyncStoreContract
from .store_contract import StoreContract

__all__ = ["AsyncStoreContract", "StoreContract"]

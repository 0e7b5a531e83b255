"""The backend for threads: one call in flight for each key."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware._core.backends.base import InFlight, run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend


async def nothing():
    """Work that gives nothing."""


class TestBlocking:
    def test_result_is_shared(self):
        """Fifty threads at once share one result."""
        backend, calls, go_on = ThreadBackend(), [], threading.Event()

        async def work():
            calls.append(1)
            go_on.wait(5)
            return "done"

        def ask():
            return run(backend.single_flight("key", work, wait=True))

        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(ask) for _ in range(50)]
            go_on.set()
            assert {future.result() for future in asked} == {"done"}
        # A thread that comes when the work is done may do it once more.
        assert 1 <= len(calls) < 50
        assert not backend.is_in_flight("key")

    def test_who_does_not_wait(self):
        """A caller that does not wait gets InFlight at once."""
        backend, began, go_on = ThreadBackend(), threading.Event(), threading.Event()

        async def work():
            began.set()
            go_on.wait(5)

        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(
                lambda: run(backend.single_flight("key", work, wait=True))
            )
            began.wait(5)
            with pytest.raises(InFlight):
                run(backend.single_flight("key", nothing, wait=False))
            go_on.set()
            leader.result()

    def test_store_error_is_shared(self):
        """A StoreError reaches who waits, as an error of their own."""
        backend, began, go_on = ThreadBackend(), threading.Event(), threading.Event()

        async def work():
            began.set()
            go_on.wait(5)
            raise StoreError("down")

        def ask():
            return run(backend.single_flight("key", work, wait=True))

        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(ask)
            began.wait(5)
            other = pool.submit(ask)
            while not other.running():
                pass
            go_on.set()
            assert isinstance(leader.exception(), StoreError)
            assert isinstance(other.exception(), StoreError)

    def test_forgets_after_a_fork(self):
        """A forked child does not wait for calls of its parent."""
        backend = ThreadBackend()
        backend._calls["key"] = object()
        backend.after_fork()
        assert not backend.is_in_flight("key")

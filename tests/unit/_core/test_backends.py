"""What several ask for at once is done once, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware._core.backends.base import InFlight, run
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend


async def nothing():
    """Work that gives nothing."""


class TestCooperative:
    async def test_result_is_shared(self):
        """Who asks while the work goes on gets its result, and it is done once."""
        runtime, calls, go_on = AsyncBackend(), [], anyio.Event()

        async def work():
            calls.append(1)
            await go_on.wait()
            return "done"

        found = []

        async def ask():
            found.append(await runtime.together("key", work, wait=True))

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert runtime.is_under_way("key")
            go_on.set()
        assert found == ["done"] * 50
        assert calls == [1]
        assert not runtime.is_under_way("key")

    async def test_who_does_not_wait(self):
        """Who does not want to wait is told at once that somebody is at it."""
        runtime, go_on = AsyncBackend(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: runtime.together("key", go_on.wait, wait=True))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(InFlight):
                await runtime.together("key", nothing, wait=False)
            go_on.set()

    async def test_store_error_is_shared(self):
        """A StoreError reaches all who wait, each with one of their own."""
        runtime, go_on = AsyncBackend(), anyio.Event()

        async def work():
            await go_on.wait()
            raise StoreError("down")

        errors = []

        async def ask():
            try:
                await runtime.together("key", work, wait=True)
            except StoreError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        assert [str(error) for error in errors] == ["down"] * 3
        assert len({id(error) for error in errors}) == 3
        # The leader's frames do not hang on what the others got.
        assert [error.__cause__ for error in errors] == [None] * 3

    async def test_next_one_leads(self):
        """If the work breaks otherwise, whoever waits does it anew."""
        runtime, go_on, calls = AsyncBackend(), anyio.Event(), []

        async def work():
            calls.append(1)
            if len(calls) == 1:
                await go_on.wait()
                raise RuntimeError
            return "done"

        found = []

        async def ask():
            try:
                found.append(await runtime.together("key", work, wait=True))
            except RuntimeError:
                found.append("broke")

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        assert sorted(found) == ["broke", "done"]

    async def test_leader_is_cancelled(self):
        """The work goes on when who began it is cancelled, and the others get it."""
        runtime, go_on = AsyncBackend(), anyio.Event()

        async def work():
            await go_on.wait()
            return "done"

        found = []

        async def ask():
            found.append(await runtime.together("key", work, wait=True))

        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def leader():
                with scope:
                    await runtime.together("key", work, wait=True)

            group.start_soon(leader)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            go_on.set()
        assert found == ["done"]

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_cancelled_before_its_first_step(self):
        """A task of the work that never ran leaves nothing that others wait for."""
        runtime, before = AsyncBackend(), asyncio.all_tasks()
        leader = asyncio.ensure_future(runtime.together("key", nothing, wait=True))
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - before:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        with anyio.fail_after(5):
            await runtime.together("key", nothing, wait=True)
        assert not runtime.is_under_way("key")


class TestBlocking:
    def test_result_is_shared(self):
        """Fifty threads at once share one result."""
        runtime, calls, go_on = ThreadBackend(), [], threading.Event()

        async def work():
            calls.append(1)
            go_on.wait(5)
            return "done"

        def ask():
            return run(runtime.together("key", work, wait=True))

        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(ask) for _ in range(50)]
            go_on.set()
            assert {future.result() for future in asked} == {"done"}
        # A thread that comes when the work is done may do it once more.
        assert 1 <= len(calls) < 50
        assert not runtime.is_under_way("key")

    def test_who_does_not_wait(self):
        """Who does not want to wait is told at once that somebody is at it."""
        runtime, began, go_on = ThreadBackend(), threading.Event(), threading.Event()

        async def work():
            began.set()
            go_on.wait(5)

        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(lambda: run(runtime.together("key", work, wait=True)))
            began.wait(5)
            with pytest.raises(InFlight):
                run(runtime.together("key", nothing, wait=False))
            go_on.set()
            leader.result()

    def test_store_error_is_shared(self):
        """A StoreError reaches who waits, as an error of their own."""
        runtime, began, go_on = ThreadBackend(), threading.Event(), threading.Event()

        async def work():
            began.set()
            go_on.wait(5)
            raise StoreError("down")

        def ask():
            return run(runtime.together("key", work, wait=True))

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
        """A child of a fork waits for nobody who lives in its parent."""
        runtime = ThreadBackend()
        runtime._flights["key"] = object()
        runtime.after_fork()
        assert not runtime.is_under_way("key")


class TestOutside:
    """An app's code is called where no frame of a flow is on the stack."""

    @staticmethod
    def names():
        frame, found = sys._getframe(1), []
        while frame is not None:
            found.append(frame.f_code.co_name)
            frame = frame.f_back
        return found

    def test_wsgi(self):
        """Under WSGI the flow is suspended meanwhile, and goes on with the result."""
        runtime = ThreadBackend()

        async def a_flow():
            return await inner_flow()

        async def inner_flow():
            return [await runtime.outside(self.names), await runtime.outside(lambda: 2)]

        names, two = run(a_flow())
        assert two == 2
        assert "test_wsgi" in names
        assert not {"a_flow", "inner_flow"} & {*names}

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_wsgi_raises(self, error):
        """What it raises is raised in the flow, which may catch it."""
        runtime = ThreadBackend()

        def fail():
            raise error

        async def catches():
            try:
                await runtime.outside(fail)
            except error:
                return await runtime.outside(lambda: "caught")

        async def does_not():
            await runtime.outside(fail)

        assert run(catches()) == "caught"
        with pytest.raises(error):
            run(does_not())

    def test_wsgi_within(self):
        """A call may run a whole flow of its own."""
        runtime = ThreadBackend()

        async def inner():
            return await runtime.outside(lambda: "within")

        async def outer():
            return await runtime.outside(lambda: run(inner()))

        assert run(outer()) == "within"

    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_asgi(self, backend, is_async):
        """Under ASGI it is a task's of its own; plain and async alike, with context."""
        runtime = AsyncBackend()
        seen = contextvars.ContextVar("seen")

        async def later():
            return self.names(), seen.get()

        def now():
            return self.names(), seen.get()

        async def a_flow():
            seen.set("by the callback")
            return await runtime.outside(later if is_async else now)

        names, value = anyio.run(a_flow, backend=backend)
        assert value == "by the callback"
        assert "a_flow" not in names

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_asgi_raises(self, backend):
        """What it raises is raised as it is, in no group."""

        def fail():
            raise ValueError("as it is")

        async def a_flow():
            with pytest.raises(ValueError, match="as it is"):
                await AsyncBackend().outside(fail)

        anyio.run(a_flow, backend=backend)

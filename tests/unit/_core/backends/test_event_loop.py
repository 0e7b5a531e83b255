"""The backend for asyncio and Trio: one call in flight for each key."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from contextlib import nullcontext
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware._core.backends import event_loop
from tiktok_oauth_middleware._core.backends.base import LATE_SECONDS
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.single_flight import InFlight

from ....support.patience import HANGS


async def nothing():
    """Work without a result."""


class TestCooperative:
    async def test_result_is_shared(self):
        """Calls during the work get its result, and it runs once."""
        backend, calls, go_on = AsyncBackend(), [], anyio.Event()

        async def work():
            calls.append(1)
            await go_on.wait()
            return "done"

        found = []

        async def ask():
            found.append(await backend.single_flight("key", work, wait=HANGS))

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert backend.is_in_flight("key")
            go_on.set()
        assert found == ["done"] * 50
        assert calls == [1]
        assert not backend.is_in_flight("key")

    async def test_caller_that_does_not_wait(self):
        """A caller that does not wait gets InFlight at once."""
        backend, go_on = AsyncBackend(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(
                lambda: backend.single_flight("key", go_on.wait, wait=HANGS)
            )
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(InFlight):
                await backend.single_flight("key", nothing, wait=0)
            go_on.set()

    async def test_callers_that_wait_long_enough(self):
        """Callers get InFlight when the work has run for as long as they wait."""
        backend, go_on, found = AsyncBackend(), anyio.Event(), []

        async def work():
            await go_on.wait()
            found.append("done")

        async def ask():
            try:
                await backend.single_flight("key", work, wait=0.001)
            except InFlight:
                found.append("in flight")

        with anyio.fail_after(HANGS):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                async with anyio.create_task_group() as others:
                    for _ in range(3):
                        others.start_soon(ask)
                assert backend.is_in_flight("key")
                go_on.set()
        assert found == ["in flight"] * 3 + ["done"]

    async def test_waiting_ends_by_the_clock(self):
        """A caller that begins to wait is woken when it has waited long enough."""
        backend, go_on = AsyncBackend(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(
                lambda: backend.single_flight("key", go_on.wait, wait=HANGS)
            )
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(HANGS), pytest.raises(InFlight):
                # A second, so that even a busy machine comes here before it is over.
                await backend.single_flight("key", nothing, wait=1)
            go_on.set()

    async def test_callers_that_wait_unequally_long(self):
        """Each caller waits as long as it wants to, whoever came first."""
        backend, go_on, found = AsyncBackend(), anyio.Event(), []

        async def ask(wait):
            try:
                found.append(await backend.single_flight("key", work, wait=wait))
            except InFlight:
                found.append("in flight")
                go_on.set()

        async def work():
            await go_on.wait()
            return "done"

        with anyio.fail_after(HANGS):
            async with anyio.create_task_group() as group:
                for wait in (HANGS, 0.1, math.inf, 2 * HANGS):
                    group.start_soon(ask, wait)
                    await anyio.wait_all_tasks_blocked()
        assert found == ["in flight", "done", "done", "done"]

    @pytest.mark.parametrize("fails", [False, True])
    async def test_afterwards(self, fails):
        """What comes afterwards runs when the key is free, also after an error."""
        backend, seen = AsyncBackend(), []

        async def work():
            if fails:
                raise StoreError("down")

        async def afterwards():
            seen.append(backend.is_in_flight("key"))
            await backend.single_flight("key", nothing, wait=HANGS)

        with pytest.raises(StoreError) if fails else nullcontext():
            await backend.single_flight("key", work, wait=HANGS, afterwards=afterwards)
        assert seen == [False]

    async def test_store_error_is_shared(self):
        """A StoreError is raised in all waiting tasks, as separate objects."""
        backend, go_on = AsyncBackend(), anyio.Event()

        async def work():
            await go_on.wait()
            raise StoreError("down")

        errors = []

        async def ask():
            try:
                await backend.single_flight("key", work, wait=HANGS)
            except StoreError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        assert [str(error) for error in errors] == ["down"] * 3
        assert len({id(error) for error in errors}) == 3
        # The others' errors do not refer to the leader's frames.
        assert [error.__cause__ for error in errors] == [None] * 3

    async def test_next_one_leads(self):
        """After another exception of the work, one of the waiting tasks starts it
        again.
        """
        backend, go_on, calls = AsyncBackend(), anyio.Event(), []

        async def work():
            calls.append(1)
            if len(calls) == 1:
                await go_on.wait()
                raise RuntimeError
            return "done"

        found = []

        async def ask():
            try:
                found.append(await backend.single_flight("key", work, wait=HANGS))
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
        """The work continues when its first caller is cancelled; the others get its
        result.
        """
        backend, go_on = AsyncBackend(), anyio.Event()

        async def work():
            await go_on.wait()
            return "done"

        found = []

        async def ask():
            found.append(await backend.single_flight("key", work, wait=HANGS))

        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def leader():
                with scope:
                    await backend.single_flight("key", work, wait=HANGS)

            group.start_soon(leader)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            go_on.set()
        assert found == ["done"]

    async def test_error_is_raised(self):
        """An error of the work is raised as it is, not in a group."""

        async def fail():
            message = "down"
            raise StoreError(message)

        with pytest.raises(StoreError, match="down"):
            await AsyncBackend().single_flight("key", fail, wait=HANGS)

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_cancelled_before_its_first_step(self):
        """If the task of the work is cancelled before it runs, nobody waits for it."""
        backend, before = AsyncBackend(), asyncio.all_tasks()
        leader = asyncio.ensure_future(
            backend.single_flight("key", nothing, wait=HANGS)
        )
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - before:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        with anyio.fail_after(5):
            await backend.single_flight("key", nothing, wait=HANGS)
        assert not backend.is_in_flight("key")

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @pytest.mark.parametrize("is_drained", [True, False], ids=["lifespan", "none"])
    async def test_cancelled_by_the_server(self, is_drained):
        """A cancelled caller waits for the work if the loop's shutdown does not."""
        backend, go_on = AsyncBackend(), anyio.Event()
        if is_drained:
            backend.expect_drain()
        leader = asyncio.ensure_future(
            backend.single_flight("key", go_on.wait, wait=HANGS)
        )
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await anyio.wait_all_tasks_blocked()
        assert leader.done() is is_drained
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await leader
        await backend.drain(60)
        assert not backend.is_in_flight("key")


class TestRunAll:
    async def test_limit(self):
        """At most the limit of works run at the same time, and all are finished."""
        running, most, done = set(), [], []

        async def work(number):
            running.add(number)
            most.append(len(running))
            await anyio.lowlevel.checkpoint()
            running.discard(number)
            done.append(number)

        works = [partial(work, number) for number in range(20)]
        await AsyncBackend().run_all(works, 3, at_thread_end=lambda: 1 / 0)
        assert max(most) == 3
        assert sorted(done) == list(range(20))

    async def test_error(self):
        """After an error no more work begins, the running work is finished, and the
        error is raised.
        """
        failed, done = anyio.Event(), []

        async def fail():
            failed.set()
            message = "not now"
            raise StoreError(message)

        async def finish():
            await failed.wait()
            await anyio.lowlevel.checkpoint()
            done.append("finished")

        async def never():
            done.append("begun")

        works = [finish, fail, *[never] * 50]
        with pytest.raises(StoreError, match="not now"):
            await AsyncBackend().run_all(works, 2, at_thread_end=lambda: None)
        assert done == ["finished"]


class TestEndOfTheLoop:
    """asyncio.run cancels all tasks that are left when the main one ends."""

    @pytest.mark.parametrize("means", ["single_flight", "shielded"])
    def test_finished(self, means):
        """Work that has begun is finished, as after an error in asyncio.gather."""
        backend, begun, done = AsyncBackend(), asyncio.Event(), []

        async def work():
            begun.set()
            for _ in range(5):
                await asyncio.sleep(0)
            with anyio.move_on_after(0) as scope:  # a timeout inside still works
                await anyio.sleep_forever()
            done.append(scope.cancelled_caught)

        async def ask():
            if means == "shielded":
                return await backend.shielded(work)
            return await backend.single_flight("key", work, wait=HANGS)

        async def fail():
            await begun.wait()
            raise ZeroDivisionError

        async def main():
            await asyncio.gather(ask(), fail())

        with pytest.raises(ZeroDivisionError):
            asyncio.run(main())
        assert done == [True]

    def test_renewal(self):
        """TikTok's answer counts although the task that renews the lock is cancelled."""
        backend, begun, done = AsyncBackend(), asyncio.Event(), []

        async def call():
            begun.set()
            for _ in range(50):
                await asyncio.sleep(0)
            return "answer"

        async def work():
            done.append(await backend.with_timeout(HANGS, call, nothing))

        async def fail():
            await begun.wait()
            raise ZeroDivisionError

        async def main():
            await asyncio.gather(backend.shielded(work), fail())

        with pytest.raises(ZeroDivisionError):
            asyncio.run(main())
        assert done == ["answer"]


def keep_busy(seconds):
    """Block the event loop, as an app's view may."""
    time.sleep(seconds)


class TestBusyLoop:
    """An app keeps the event loop busy while TikTok answers."""

    @pytest.mark.parametrize("meanwhile", [None, nothing])
    async def test_answer_is_still_read(self, meanwhile, monkeypatch):
        """A call whose time is over gets a little more, to read what has arrived."""
        monkeypatch.setattr(event_loop, "GRACE_SECONDS", HANGS)

        async def call():
            await anyio.lowlevel.checkpoint()
            keep_busy(0.1 + 2 * LATE_SECONDS)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            return "answer"

        assert await AsyncBackend().with_timeout(0.1, call, meanwhile) == "answer"

    @pytest.mark.parametrize("meanwhile", [None, nothing])
    async def test_without_an_answer(self, meanwhile, monkeypatch):
        """A call without an answer ends, also after such a pause."""
        monkeypatch.setattr(event_loop, "GRACE_SECONDS", 0.1)

        async def call():
            await anyio.lowlevel.checkpoint()
            keep_busy(0.1 + 2 * LATE_SECONDS)
            await anyio.sleep_forever()

        with anyio.fail_after(HANGS), pytest.raises(TimeoutError):
            await AsyncBackend().with_timeout(0.1, call, meanwhile)


class TestOtherLoops:
    """One backend serves the event loops of several threads."""

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_drain_while_others_work(self):
        """Draining one loop works while another loop's tasks begin."""
        backend, others = AsyncBackend(), asyncio.new_event_loop()

        class Begins(asyncio.Future):
            """Work of the other loop, which begins more work when it is inspected."""

            def get_loop(self):
                backend._running.add(Begins(loop=others))
                return others

        backend._running.update(Begins(loop=others) for _ in range(5))
        await backend.drain(1)
        others.close()
        assert len(backend._running) > 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("means", ["single_flight", "shielded", "in_background"])
def test_loop_that_is_closed_before_its_tasks_end(means):
    """The tasks and objects of a closed loop are dropped when another loop begins."""
    backend = AsyncBackend()
    begin = {
        "single_flight": lambda: backend.single_flight("key", forever, wait=HANGS),
        "shielded": lambda: backend.shielded(forever),
        "in_background": lambda: begun(backend.in_background(forever)),
    }

    async def forever():
        await asyncio.get_running_loop().create_future()

    async def begun(has_begun):
        assert has_begun

    async def use():
        await backend.get_or_create(object, backend, "made")

    async def leave():
        await use()
        left.append(asyncio.ensure_future(begin[means]()))
        for _ in range(5):
            await asyncio.sleep(0)

    left: list[object] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    found = weakref.ref(loop)
    del loop, left[:]
    gc.collect()
    assert found() is not None
    asyncio.run(use())
    gc.collect()
    assert found() is None
    assert not backend._running
    assert not backend._background

"""The backend for threads: one call in flight for each key."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError
from tiktok_oauth_middleware._core.backends import single_flight
from tiktok_oauth_middleware._core.backends import threads as in_threads
from tiktok_oauth_middleware._core.backends.base import LATE_SECONDS
from tiktok_oauth_middleware._core.backends.deferred_signals import signals
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.single_flight import InFlight
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend

from ....support.patience import HANGS


async def nothing():
    """Work that gives nothing."""


def test_waiting_counts_from_the_beginning_of_the_work(monkeypatch):
    """A call that waited for another one first is waited for as long as any."""
    at = [100.0]
    clock = SimpleNamespace(monotonic=lambda: at[0])
    monkeypatch.setattr(single_flight, "time", clock)
    call = single_flight.SharedCall(threading.Event())
    at[0] += 20  # another one's work took this long, and failed

    async def work():
        return call.left(30)

    run(call.run(work, call.done.set, nothing))
    assert call.result == 30


class TestBlocking:
    def test_result_is_shared(self):
        """Fifty threads at once share one result."""
        backend, calls, go_on = ThreadBackend(), [], threading.Event()

        async def work():
            calls.append(1)
            go_on.wait(5)
            return "done"

        def ask():
            return run(backend.single_flight("key", work, wait=HANGS))

        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(ask) for _ in range(50)]
            go_on.set()
            assert {future.result() for future in asked} == {"done"}
        # A thread that comes when the work is done may do it once more.
        assert 1 <= len(calls) < 50
        assert not backend.is_in_flight("key")

    def test_interrupted_before_the_work(self, monkeypatch):
        """If a signal's handler raises before the work begins, a later call does it."""
        backend = ThreadBackend()

        def interrupt():
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(backend, "_shielding", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(backend.single_flight("key", nothing, wait=HANGS))
        assert not backend.is_in_flight("key")
        assert run(backend.single_flight("key", nothing, wait=HANGS)) is None

    def test_caller_that_does_not_wait(self):
        """A caller that does not wait gets InFlight at once."""
        backend, began, go_on = ThreadBackend(), threading.Event(), threading.Event()

        async def work():
            began.set()
            go_on.wait(5)

        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(
                lambda: run(backend.single_flight("key", work, wait=HANGS))
            )
            began.wait(5)
            with pytest.raises(InFlight):
                run(backend.single_flight("key", nothing, wait=0))
            go_on.set()
            leader.result()

    def test_caller_that_waits_long_enough(self):
        """A caller gets InFlight when the work has run for as long as it waits."""
        backend, began, go_on = ThreadBackend(), threading.Event(), threading.Event()

        async def work():
            began.set()
            assert go_on.wait(HANGS)
            return "done"

        with ThreadPoolExecutor(2) as pool:
            try:
                leader = pool.submit(
                    lambda: run(backend.single_flight("key", work, wait=0.001))
                )
                assert began.wait(HANGS)
                other = pool.submit(
                    lambda: run(backend.single_flight("key", work, wait=0.001))
                )
                with pytest.raises(InFlight):
                    other.result(HANGS)
                assert backend.is_in_flight("key")
            finally:
                go_on.set()
            assert leader.result() == "done"

    @pytest.mark.parametrize("fails", [False, True])
    def test_afterwards(self, fails):
        """What comes afterwards runs when the key is free, also after an error."""
        backend, seen = ThreadBackend(), []

        async def work():
            if fails:
                raise StoreError("down")

        async def afterwards():
            seen.append(backend.is_in_flight("key"))
            await backend.single_flight("key", nothing, wait=HANGS)

        flight = backend.single_flight("key", work, wait=HANGS, afterwards=afterwards)
        with pytest.raises(StoreError) if fails else nullcontext():
            run(flight)
        assert seen == [False]

    def test_store_error_is_shared(self):
        """A StoreError is raised in all waiting threads, as separate objects."""
        backend, began, go_on = ThreadBackend(), threading.Event(), threading.Event()

        async def work():
            began.set()
            go_on.wait(5)
            raise StoreError("down")

        def ask():
            return run(backend.single_flight("key", work, wait=HANGS))

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


class Interrupts:
    """Interrupts the main thread, as Ctrl-C does, each time that work has begun."""

    def __init__(self, times):
        self._times = times
        self._begun = threading.Semaphore(0)
        self._handled = 0
        self.all_handled = threading.Event()

    def begin(self):
        """Say that work has begun."""
        for _ in range(self._times):
            self._begun.release()

    def send(self):
        for sent in range(self._times):
            assert self._begun.acquire(timeout=HANGS)
            while self._handled < sent:  # two pending signals count as one
                pass
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def handle(self, *_):
        self._handled += 1
        if self._handled == self._times:
            self.all_handled.set()
        raise KeyboardInterrupt


@contextmanager
def interrupting(times=1):
    made = Interrupts(times)
    thread = threading.Thread(target=made.send)
    before = signal.signal(signal.SIGINT, made.handle)
    try:
        thread.start()
        yield made
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join(HANGS)


class Ended(BaseException):
    """What gevent raises in a greenlet that it ends."""


class TestInterruptedCall:
    """The main thread is interrupted while it waits for a call's answer."""

    @pytest.mark.parametrize("means", ["single_flight", "shielded"])
    def test_finished_first(self, means):
        """Work that TikTok answers only once is finished before the interruption."""
        backend, done = ThreadBackend(), []
        with interrupting() as interrupts:

            def call():
                interrupts.begin()
                if means == "single_flight":
                    assert interrupts.all_handled.wait(HANGS)
                else:
                    deadline = time.monotonic() + HANGS
                    while not signals._pending:
                        assert time.monotonic() < deadline
                        time.sleep(0.001)
                    assert not interrupts.all_handled.is_set()
                return "answer"

            async def work():
                done.append(await backend.with_timeout(HANGS, call, None))

            def flow():
                if means == "shielded":
                    return backend.shielded(work)
                return backend.single_flight("key", work, wait=HANGS)

            with pytest.raises(KeyboardInterrupt):
                run(flow())
        assert done == ["answer"]
        # The next one is not affected.
        assert run(backend.shielded(nothing)) is None

    def test_second_time(self):
        """A second interruption does not wait for the answer."""
        backend, go_on = ThreadBackend(), threading.Event()
        with interrupting(2) as interrupts:

            def call():
                interrupts.begin()
                go_on.wait(HANGS)

            async def work():
                await backend.with_timeout(HANGS, call, None)

            with pytest.raises(KeyboardInterrupt):
                run(backend.single_flight("key", work, wait=HANGS))
        go_on.set()

    @pytest.mark.parametrize("kind", [Ended, KeyboardInterrupt, SystemExit])
    def test_store(self, kind):
        """A call of the store that a greenlet's end interrupts after the answer is made
        again; one that a signal's second exception interrupts is not.
        """
        backend, calls = ThreadBackend(), []

        class Store(MemoryStore):
            def get(self, key):
                calls.append(key)
                if len(calls) in (1, 2):
                    raise kind
                return

            def compare_and_set(self, key, *_):
                return self.get(key) is None

        store = backend.adapt_store(Store())

        async def work():
            await backend.with_timeout(HANGS, str, None)
            await store.get("read")
            assert await store.compare_and_set("written", None, b"", 1)

        with pytest.raises(kind):
            run(backend.single_flight("key", work, wait=HANGS))
        finished = ["read", "read", "read", "written"]
        assert calls == (finished if kind is Ended else ["read"])

    def test_store_before_the_answer(self):
        """Before TikTok was asked, a refresh is interrupted at once."""
        backend, calls = ThreadBackend(), []

        class Store(MemoryStore):
            def get(self, key):
                calls.append(key)
                raise Ended

        store = backend.adapt_store(Store())
        with pytest.raises(Ended):
            run(backend.single_flight("key", lambda: store.get("read"), wait=HANGS))
        assert calls == ["read"]

    def test_other_calls(self):
        """A call outside of such work is interrupted at once."""
        backend, go_on = ThreadBackend(), threading.Event()
        with interrupting() as interrupts:

            def call():
                interrupts.begin()
                go_on.wait(HANGS)

            with pytest.raises(KeyboardInterrupt):
                run(backend.with_timeout(HANGS, call, None))
        go_on.set()


#: A process whose main thread ends while another thread waits for TikTok's answer.
ENDS_MEANWHILE = """
import threading, time
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend

backend, asked = ThreadBackend(), threading.Event()

async def work():
    await backend.with_timeout(60, ask, None)
    time.sleep(0.5)
    print("written", flush=True)

def ask():
    asked.set()
    time.sleep(0.5)

def serve():
    run(backend.single_flight("key", work, wait=60))

threading.Thread(target=serve, daemon=True).start()
asked.wait()
"""
#: The same, if TikTok's host name cannot be looked up and the caller has given up.
LEFT_BEHIND = """
import contextlib, threading, time
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend

backend = ThreadBackend()

async def work():
    await backend.with_timeout(0.1, lambda: time.sleep(3600), None)

with contextlib.suppress(TimeoutError):
    run(backend.single_flight("key", work, wait=60))
"""


def test_end_of_the_process():
    """A process ends after new tokens were written, whichever thread asked for them."""
    command = [sys.executable, "-c", ENDS_MEANWHILE]
    done = subprocess.run(command, check=True, capture_output=True, timeout=HANGS)
    assert done.stdout == b"written\n"


def test_call_left_behind():
    """A call that was given up does not keep the process from ending."""
    subprocess.run([sys.executable, "-c", LEFT_BEHIND], check=True, timeout=HANGS)


def test_answer_after_a_pause(monkeypatch):
    """A call whose end is noticed late gets a little more time to read its answer."""
    monkeypatch.setattr(in_threads, "GRACE_SECONDS", HANGS)
    monkeypatch.setattr(in_threads, "MEANWHILE_SECONDS", 0.01)
    go_on = threading.Event()

    def suspend():
        time.sleep(0.1 + 2 * LATE_SECONDS)
        go_on.set()

    async def meanwhile():
        suspend()

    def call():
        assert go_on.wait(HANGS)
        time.sleep(LATE_SECONDS)
        return "answer"

    assert run(ThreadBackend().with_timeout(0.1, call, meanwhile)) == "answer"


class TestRunAll:
    def test_limit(self):
        """No more works than the limit run at the same time, and all are finished."""
        backend, barrier, most = ThreadBackend(), threading.Barrier(3), []
        running, done = set(), []

        async def work(number):
            running.add(number)
            most.append(len(running))
            if number < 3:
                barrier.wait(HANGS)
            running.discard(number)
            done.append(number)

        works = [partial(work, number) for number in range(20)]
        run(backend.run_all(works, 3, at_thread_end=lambda: None))
        assert max(most) <= 3
        assert sorted(done) == list(range(20))

    def test_one_at_a_time(self):
        """With a limit of one the work is done in the caller's thread."""
        threads = []

        async def work():
            threads.append(threading.current_thread())

        run(ThreadBackend().run_all([work] * 3, 1, at_thread_end=lambda: 1 / 0))
        assert threads == [threading.current_thread()] * 3

    def test_error(self):
        """After an error no more work begins, the running work is finished, and the
        error is raised.
        """
        both, done, ends = threading.Barrier(2), [], []

        async def fail():
            both.wait(HANGS)
            message = "not now"
            raise StoreError(message)

        async def finish():
            both.wait(HANGS)
            done.append("finished")

        async def never():
            done.append("begun")

        works = [fail, finish, *[never] * 50]
        with pytest.raises(StoreError, match="not now"):
            run(ThreadBackend().run_all(works, 2, at_thread_end=lambda: ends.append(1)))
        assert "finished" in done
        assert ends == [1, 1]

    def test_interrupted(self):
        """A caller that is interrupted first waits for the work that was begun."""
        both, go_on, done = threading.Barrier(3), threading.Event(), []

        async def work():
            both.wait(HANGS)
            go_on.wait(HANGS)
            done.append(1)

        def interrupt():
            both.wait(HANGS)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        def handle(*_):
            go_on.set()
            raise KeyboardInterrupt

        thread = threading.Thread(target=interrupt)
        before = signal.signal(signal.SIGINT, handle)
        try:
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                run(ThreadBackend().run_all([work] * 2, 2, at_thread_end=lambda: None))
        finally:
            signal.signal(signal.SIGINT, before)
        thread.join(HANGS)
        assert done == [1, 1]


class EndsEachCall(MemoryStore):
    """A store whose every call ends with an exception like gevent's timeouts."""

    calls = 0

    def get(self, *args):
        return self._end()

    def compare_and_set(self, *args):
        return self._end()

    def _end(self):
        self.calls += 1
        # An endless loop ends here, since these are not kept.
        raise (GreenletEndedError if self.calls < 100 else SystemExit)


class GreenletEndedError(BaseException):
    """What gevent raises in a greenlet."""


@pytest.mark.parametrize("method", ["get", "compare_and_set"])
def test_store_that_never_returns(method):
    """A call that is interrupted each time is given up, and its exception raised."""
    backend, store = ThreadBackend(), EndsEachCall()
    call = getattr(backend.adapt_store(store), method)
    args = ("key", None, b"value", 1)[: 1 if method == "get" else 4]
    for calls in (6, 12):  # each piece of work counts its own
        with pytest.raises(GreenletEndedError):
            run(backend.shielded(lambda: call(*args)))
        assert store.calls == calls


class TestInterruptedStart:
    """Ctrl-C comes inside `Thread.start`, when the new thread runs already."""

    @pytest.fixture
    def interrupted(self, monkeypatch):
        start = threading.Thread.start

        def interrupted(thread):
            start(thread)
            if thread.name == "tiktok-end":
                return
            monkeypatch.undo()
            assert self.has_begun.wait(HANGS)
            raise KeyboardInterrupt

        self.has_begun = threading.Event()
        monkeypatch.setattr(threading.Thread, "start", interrupted)

    def test_call(self, interrupted):
        """The call is made once, its result is used, and then Ctrl-C is raised."""
        backend, calls, results = ThreadBackend(), [], []

        def call():
            calls.append(1)
            self.has_begun.set()
            return "answer"

        async def work():
            results.append(await backend.with_timeout(HANGS, call, None))

        with pytest.raises(KeyboardInterrupt):
            run(backend.single_flight("key", work, wait=HANGS))
        assert (calls, results) == ([1], ["answer"])
        assert not backend.is_in_flight("key")

    def test_call_that_has_not_begun(self, monkeypatch):
        """Ctrl-C is raised at once, and the call is not made any more."""
        backend, calls, threads = ThreadBackend(), [], []

        def interrupted(thread):
            if thread.name == "tiktok-call":
                threads.append(thread)
                raise KeyboardInterrupt

        async def work():
            await backend.with_timeout(HANGS, lambda: calls.append(1), None)

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(backend.single_flight("key", work, wait=HANGS))
        threads[0].start()
        threads[0].join(HANGS)
        assert not calls

    def test_before_the_call(self, monkeypatch):
        """Before the thread that calls exists, Ctrl-C is raised at once."""
        backend, calls, start = ThreadBackend(), [], threading.Thread.start

        def interrupted(thread):
            start(thread)
            monkeypatch.undo()
            raise KeyboardInterrupt

        async def work():
            await backend.with_timeout(HANGS, lambda: calls.append(1), None)

        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(backend.single_flight("key", work, wait=HANGS))
        assert not calls
        for thread in threading.enumerate():  # none keeps the process from ending
            if thread.name == "tiktok-end":
                thread.join(HANGS)
                assert not thread.is_alive()
        assert not backend.is_in_flight("key")

    def test_several_works(self, interrupted):
        """Work that has begun is finished first, and no further work begins."""
        backend, begun, ended = ThreadBackend(), [], []

        def work(number):
            async def one():
                begun.append(number)
                self.has_begun.set()
                ended.append(number)

            return one

        async def all_of_them():
            await backend.run_all(
                [work(number) for number in range(50)], 2, at_thread_end=list
            )

        with pytest.raises(KeyboardInterrupt):
            run(all_of_them())
        finished = len(ended)
        assert len(begun) == finished
        for thread in threading.enumerate():
            if thread.name == "tiktok":
                thread.join(HANGS)
        assert len(begun) == finished

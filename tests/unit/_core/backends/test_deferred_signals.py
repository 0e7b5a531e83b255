"""Signals that arrive between TikTok's answer and the write of its tokens."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading

import pytest

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend

from ....support.patience import HANGS


class TimeLimit(Exception):
    """What a handler raises, as Celery's soft time limit."""


@pytest.fixture
def handled():
    """Return the frames' names in which SIGALRM was handled; its handler raises."""
    found = []

    def handle(_, frame):
        found.append(frame.f_code.co_name)
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, handle)
    yield found
    assert signal.getsignal(signal.SIGALRM) is handle
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def backend():
    return ThreadBackend()


def send():
    signal.raise_signal(signal.SIGALRM)


def after_answer(backend, *steps):
    """Do steps after TikTok's answer, in work that is finished first."""

    async def work():
        await backend.with_timeout(HANGS, str, None)
        for step in steps:
            result = step()
            if result is not None:
                await result

    return run(backend.shielded(work))


def test_handled_at_the_end(backend, handled):
    """The handler is called when the work is finished, and may raise anything."""
    done = []
    with pytest.raises(TimeLimit):
        after_answer(backend, send, lambda: done.append(1))
    assert done == [1]
    assert "send" not in handled
    assert len(handled) == 1
    # The next work is not affected.
    after_answer(backend, lambda: done.append(2))
    assert done == [1, 2]


def test_second_signal(backend, handled):
    """A second signal does not wait for the end."""
    done = []
    with pytest.raises(TimeLimit):
        after_answer(backend, send, send, lambda: done.append(1))
    assert done == []
    assert handled[0] == "send"


def test_other_signal_first(backend, handled):
    """A harmless signal, as at the end of a child, does not let the next one through.

    All of them are handled at the end, also if a handler raises.
    """
    done, children = [], []

    def child_ends():
        signal.raise_signal(signal.SIGCHLD)

    usual = signal.signal(signal.SIGCHLD, lambda *_: children.append(1))
    try:
        with pytest.raises(TimeLimit):
            after_answer(backend, child_ends, send, lambda: done.append(1))
        assert (done, children, len(handled)) == ([1], [1], 1)
        with pytest.raises(TimeLimit):
            after_answer(backend, send, child_ends, lambda: done.append(2))
    finally:
        signal.signal(signal.SIGCHLD, usual)
    assert (done, children, len(handled)) == ([1, 2], [1, 1], 2)
    assert "send" not in handled


@pytest.mark.parametrize("means", ["single_flight", "shielded"])
def test_before_the_answer(backend, handled, means):
    """Until TikTok is asked, a refresh can be interrupted, and a disconnect cannot."""
    done = []

    async def work():
        send()
        done.append(1)

    with pytest.raises(TimeLimit):
        run(
            backend.shielded(work)
            if means == "shielded"
            else backend.single_flight("key", work, wait=1)
        )
    assert len(handled) == 1
    assert (done, "send" in handled) == (
        ([1], False) if means == "shielded" else ([], True)
    )


@pytest.mark.parametrize("means", ["call_app_code", "ask_app"])
def test_code_of_the_app(backend, handled, means):
    """A signal during `on_event` is handled at once: that code may hang."""

    async def call():
        if means == "call_app_code":
            return await backend.call_app_code(send)
        return (await backend.ask_app(send, 1, is_async=False)).get()

    with pytest.raises(TimeLimit):
        after_answer(backend, call)
    assert handled == ["send"]


def test_handler_that_the_app_replaces(backend, handled):
    """A handler that `on_event` sets stays."""
    usual, mine = signal.getsignal(signal.SIGALRM), []

    def replace():
        signal.signal(signal.SIGALRM, lambda *_: mine.append(1))

    after_answer(backend, replace, send)
    send()
    assert mine == [1, 1]
    assert handled == []
    signal.signal(signal.SIGALRM, usual)


def test_handlers_that_the_app_sees(backend, handled):
    """`on_event` finds the usual handlers, as `asyncio.run` needs them; then they wait.

    `asyncio.run` catches Ctrl-C only if its handler is Python's.
    """
    usual, found, done = signal.getsignal(signal.SIGALRM), [], []

    def look():
        found.append(signal.getsignal(signal.SIGALRM))

    async def call():
        await backend.call_app_code(look)

    with pytest.raises(TimeLimit):
        after_answer(backend, call, send, lambda: done.append(1))
    assert found == [usual]
    assert done == [1]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="asks CPython")
def test_signal_that_is_caught_in_c(backend, handled, tmp_path):
    """A handler that a host has in C stays, as uWSGI's of SIGINT.

    Python does not know of it: `getsignal` gives the handler that it replaced.
    """
    with (tmp_path / "stacks").open("w") as file:
        faulthandler.register(signal.SIGALRM, file, all_threads=False)
        try:
            after_answer(backend, send)
            send()
        finally:
            faulthandler.unregister(signal.SIGALRM)
    assert (tmp_path / "stacks").read_text().count("most recent call first") == 2
    assert handled == []


class Action(ctypes.Structure):
    """``struct sigaction`` of glibc on 64-bit machines."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def restarts(number):
    """Whether a signal lets the system repeat the call that it interrupts."""
    action = Action()
    ctypes.CDLL(None).sigaction(number, None, ctypes.byref(action))
    return bool(action.flags & 0x10000000)  # SA_RESTART


@pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.platform != "linux",
    reason="asks CPython and glibc",
)
def test_interrupted_calls(backend, handled):
    """What gunicorn and asyncio choose by `signal.siginterrupt` stays."""
    signal.siginterrupt(signal.SIGALRM, 0)
    assert restarts(signal.SIGALRM)
    after_answer(backend, lambda: None)
    assert restarts(signal.SIGALRM)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_of_another_thread(backend, handled):
    """A process that another thread forks meanwhile handles its signals at once."""
    codes = []

    def fork():
        child = os.fork()
        if child == 0:
            try:
                send()
                os._exit(1)
            except TimeLimit:
                os._exit(0)
        codes.append(os.waitpid(child, 0)[1])

    def work():
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join(HANGS)

    after_answer(backend, work)
    assert codes == [0]


def test_other_threads(backend, handled):
    """In another thread no handler is replaced, since none runs there."""
    before, found = signal.getsignal(signal.SIGALRM), []

    def work():
        after_answer(backend, lambda: found.append(signal.getsignal(signal.SIGALRM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(HANGS)
    assert found == [before]
    assert handled == []


def test_sub_interpreter(backend, monkeypatch):
    """In a sub-interpreter, whose main thread may set no handler, the work goes on."""

    def refuse(*_):
        message = "signal only works in main thread of the main interpreter"
        raise ValueError(message)

    monkeypatch.setattr(signal, "signal", refuse)
    done = []
    after_answer(backend, lambda: done.append(1))
    assert done == [1]

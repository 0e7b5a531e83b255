"""Signals that arrive between TikTok's answer and the write of its tokens."""

from __future__ import annotations

import signal
import threading

import pytest

from tiktok_oauth_middleware._core.backends.base import run
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
    assert handled == ["end"]
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


def test_before_the_answer(backend, handled):
    """Until TikTok is asked, signals are handled at once."""

    async def work():
        send()

    with pytest.raises(TimeLimit):
        run(backend.shielded(work))
    assert handled == ["send"]


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

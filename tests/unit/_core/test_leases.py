"""The thread that renews a lock."""

from __future__ import annotations

import threading

import pytest

from tiktok_oauth_middleware._core import leases

from ...support.patience import HANGS


@pytest.fixture
def started(monkeypatch):
    """Let an interruption end `Thread.start` when the thread runs; return the threads."""
    threads, start = [], threading.Thread.start

    def interrupted(thread):
        start(thread)
        threads.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    return threads


def test_interrupted_while_it_starts(started):
    """If Ctrl-C comes while the thread starts, no thread goes on renewing the lock."""
    renewed = []
    with (
        pytest.raises(KeyboardInterrupt),
        leases.renewed_by_thread(renewed.append, 2.5),
    ):
        pytest.fail("the block is not entered")
    started[0].join(HANGS)
    assert not started[0].is_alive()


def test_without_threads(monkeypatch):
    """If no thread can start, the block learns that nothing renews the lock."""

    def start(thread):
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", start)
    with leases.renewed_by_thread(lambda _: True, 2.5) as is_kept:
        assert is_kept is False

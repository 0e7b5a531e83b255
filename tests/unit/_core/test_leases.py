"""The threads that renew locks."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack

import pytest

from tiktok_oauth_middleware._core import leases
from tiktok_oauth_middleware.errors import StoreError

from ...support.patience import HANGS


@pytest.fixture(autouse=True)
def watch(monkeypatch):
    """Return a watch without a thread, whose times are short."""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(leases, "_LINGER_SECONDS", 0.1)
    monkeypatch.setattr(leases, "_watch", leases._Watch())
    return leases._watch


@pytest.fixture
def started(monkeypatch):
    """Return the threads that were started."""
    threads, start = [], threading.Thread.start

    def noted(thread):
        threads.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return threads


def until(condition):
    give_up = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def ended(threads):
    for thread in threads:
        thread.join(HANGS)
    return not any(thread.is_alive() for thread in threads)


def test_many_leases_at_once(monkeypatch, started, watch):
    """Leases that end before they are due share one thread, which then ends."""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 60)
    renewed = []
    with ExitStack() as holders:
        for _ in range(50):
            assert holders.enter_context(leases.renewed_by_thread(renewed.append, 2.5))
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.02)
    assert len(started) == 1
    assert not watch._leases
    assert not renewed


def test_the_thread_ends_after_the_last_lease(started, watch):
    """A process that refreshes nothing has no thread, and starts one when it does."""
    for _ in range(2):
        with leases.renewed_by_thread(lambda _: True, 2.5):
            pass
        assert ended(started)
        assert watch._thread is None
    assert [thread.name for thread in started].count("tiktok-leases") == 2


def test_renewed_again_and_again():
    """A holder that is slow keeps its lock, also when the store fails for a while."""
    renewed = []

    def renew(ttl):
        renewed.append(ttl)
        if len(renewed) == 2:
            raise StoreError("down")
        return True

    with leases.renewed_by_thread(renew, 2.5):
        until(lambda: len(renewed) > 4)
    assert {*renewed} == {2.5}


def test_a_lost_lock(started):
    """A lock that was lost is not renewed again."""
    renewed = []

    def renew(ttl):
        renewed.append(ttl)
        return False

    with leases.renewed_by_thread(renew, 2.5):
        until(lambda: renewed)
        assert ended(started)
    assert len(renewed) == 1


def test_a_store_that_hangs():
    """The lease of a store that hangs holds up no other's."""
    is_free, renewed = threading.Event(), []
    with (
        leases.renewed_by_thread(lambda _: is_free.wait(HANGS), 2.5),
        leases.renewed_by_thread(lambda ttl: renewed.append(ttl) or True, 2.5),
    ):
        until(lambda: len(renewed) > 2)
        is_free.set()


def test_no_thread_for_a_lease_that_is_due(monkeypatch):
    """If the machine has no more threads, the one that waits renews the lock itself."""
    start = threading.Thread.start

    def first_only(thread):
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", first_only)
    renewed = []
    with leases.renewed_by_thread(lambda ttl: renewed.append(ttl) or True, 2.5):
        until(lambda: len(renewed) > 2)


def test_interrupted_while_it_starts(monkeypatch, started, watch):
    """If Ctrl-C comes while the thread starts, no thread goes on renewing the lock."""
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        if thread.name == "tiktok-leases":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    renewed = []
    with (
        pytest.raises(KeyboardInterrupt),
        leases.renewed_by_thread(renewed.append, 2.5),
    ):
        pytest.fail("the block is not entered")
    assert not watch._leases
    assert ended(started)


def test_without_threads(monkeypatch, watch):
    """If no thread can start, the block learns that nothing renews the lock."""

    def start(thread):
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", start)
    with leases.renewed_by_thread(lambda _: True, 2.5) as is_kept:
        assert is_kept is False
    assert not watch._leases


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is not there")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_a_forked_child(monkeypatch, watch):
    """A child has no thread of its parent, and starts its own."""
    monkeypatch.setattr(leases, "_LINGER_SECONDS", HANGS)
    with leases.renewed_by_thread(lambda _: True, 2.5):
        until(lambda: watch._thread)
        if not (pid := os.fork()):
            renewed = threading.Event()
            with leases.renewed_by_thread(lambda _: renewed.set(), 2.5):
                os._exit(0 if renewed.wait(HANGS) and len(watch._leases) <= 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    monkeypatch.setattr(leases, "_LINGER_SECONDS", 0)

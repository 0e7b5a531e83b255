"""Renewal of a store's lock while its holder works.

A lease is short, so that the lock of a killed process is soon free, but must not expire
while its holder is only slow. It is therefore renewed five times during its length, and
from a thread, because a task would not run while an app keeps the event loop busy. A
suspended process does not renew its lock and loses it; when it resumes, its write is a
compare-and-swap and overwrites no newer record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tiktok_oauth_middleware.errors import StoreError

#: Length of a lease that can be renewed, in seconds.
LEASE_SECONDS = 2.5
#: Seconds between two renewals.
RENEW_SECONDS = 0.5


@contextmanager
def renewed_by_thread(renew: Callable[[float], object], ttl: float) -> Iterator[bool]:
    """Renew a lock from a thread inside the block; False if no thread could start.

    Args:
        renew: Keeps the lock for the given seconds from now and returns False if it was
            lost. It is called from the thread; after a StoreError it is called again.
        ttl: The argument of `renew`, in seconds.
    """
    done = threading.Event()

    def work() -> None:
        while not done.wait(RENEW_SECONDS):
            try:
                if renew(ttl) is False:
                    return
            except StoreError:  # the next may succeed; the write reports a failure
                continue

    # A daemon, so that a store that hangs does not prevent the process from ending.
    thread = threading.Thread(target=work, name="tiktok-lease", daemon=True)
    is_kept = True
    try:
        # Inside: Ctrl-C can interrupt `start` when the thread runs already.
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            is_kept = False
        yield is_kept
    finally:
        # The thread is not joined: a renewal in flight finds the lock released, or
        # taken by the next holder, and changes nothing.
        done.set()

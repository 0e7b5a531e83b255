"""Renews a store's lock while its holder works.

A short lease is soon free of a holder that was killed, and must not run out under one
that is only slow. It is therefore renewed five times in its length, and from a thread:
an app that keeps the event loop busy for seconds, or a response that drips in, would
starve a task of the loop. A process that is stopped renews nothing and loses its lock;
what it writes when it wakes up is a compare-and-swap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tiktok_oauth_middleware.errors import StoreError

#: How long a lock lasts that can be renewed, in seconds.
LEASE_SECONDS = 2.5
#: How often it is renewed, in seconds.
RENEW_SECONDS = 0.5


@contextmanager
def renewed_by_a_thread(renew: Callable[[float], object], ttl: float) -> Iterator[bool]:
    """Renew a lock inside, from a thread of its own; False if there can be none.

    Args:
        renew: holds the lock for so many seconds from now; False if it was lost. It is
            called from the thread, and may raise StoreError, after which it is called
            again.
        ttl: what `renew` is given, in seconds.
    """
    done = threading.Event()

    def work() -> None:
        while not done.wait(RENEW_SECONDS):
            try:
                if renew(ttl) is False:
                    return
            except StoreError:  # the next may succeed, and the write will report it
                continue

    # A daemon: a store that hangs must not keep the process from ending.
    thread = threading.Thread(target=work, name="tiktok-lease", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is ending
        yield False
        return
    try:
        yield True
    finally:
        # Not waited for: a renewal that is under way finds the lock released, or the
        # next holder's, and changes nothing.
        done.set()

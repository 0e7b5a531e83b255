"""Renewal of a store's lock while its holder works.

A lease is short, so that the lock of a killed process is soon free, but must not expire
while its holder is only slow. It is therefore renewed five times during its length, and
from a thread, because a task would not run while an app keeps the event loop busy. A
suspended process does not renew its lock and loses it; when it resumes, its write is a
compare-and-swap and overwrites no newer record.

Most holders end before the first renewal, and starting a thread for each would take a
tenth of a refresh's time. So one thread waits for all of them, and a lease that has to
be renewed gets a thread of its own, since its store may hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tiktok_oauth_middleware.errors import StoreError

from .fork import register_after_fork

#: Length of a lease that can be renewed, in seconds.
LEASE_SECONDS = 2.5
#: Seconds between two renewals.
RENEW_SECONDS = 0.5
#: Seconds for which the waiting thread stays after the last lease.
_LINGER_SECONDS = 5.0


class _Lease:
    """A lock, its renewal, and the time of its first renewal (`time.monotonic`)."""

    def __init__(self, renew: Callable[[float], object], ttl: float) -> None:
        self._renew = renew
        self._ttl = ttl
        self.due_at = time.monotonic() + RENEW_SECONDS
        self.is_over = threading.Event()

    def keep(self) -> None:
        """Renew the lock until it is released or lost."""
        while not self.is_over.is_set() and self.renew():
            self.is_over.wait(RENEW_SECONDS)

    def renew(self) -> bool:
        """Renew the lock once; False if it was lost."""
        with suppress(StoreError):  # the next may succeed; the write reports a failure
            return self._renew(self._ttl) is not False
        return True


class _Watch:
    """Waits until a lease has to be renewed; free of locks, as a signal may interrupt.

    Whoever adds a lease then looks for a thread, and a thread that ends then looks for
    a lease, so no lease is left without one. There may be two threads for a moment.
    """

    def __init__(self) -> None:
        #: In the order of their times.
        self._leases: dict[_Lease, _Lease] = {}
        self._thread: threading.Thread | None = None
        register_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's thread and leases; see `Forkable`."""
        self._leases, self._thread = {}, None

    def add(self, lease: _Lease) -> None:
        """Have a lease renewed from its time on.

        Raises:
            RuntimeError: No thread can start, or the interpreter is ending.
        """
        self._leases[lease] = lease
        if self._thread is None:
            # A daemon, so that a store that hangs does not keep the process alive.
            threading.Thread(
                target=self._run, name="tiktok-leases", daemon=True
            ).start()

    def remove(self, lease: _Lease) -> None:
        """End the renewal of a lease.

        A renewal in flight is not waited for: it finds the lock released, or taken by
        the next holder, and changes nothing.
        """
        lease.is_over.set()
        self._leases.pop(lease, None)

    def _run(self) -> None:
        own = self._thread = threading.current_thread()
        try:
            leave_at = time.monotonic() + _LINGER_SECONDS
            while self._thread is own:
                now = time.monotonic()
                if self._leases:
                    leave_at = now + _LINGER_SECONDS
                elif now > leave_at:
                    self._thread = None
                    if not self._leases:
                        return
                    self._thread = own
                # A lease that is added meanwhile has its time after this sleep.
                first = next(iter([*self._leases]), None)
                time.sleep(max(0, first.due_at - now) if first else RENEW_SECONDS)
                self._start_due()
        finally:
            if self._thread is own:
                self._thread = None

    def _start_due(self) -> None:
        now = time.monotonic()
        for lease in [*self._leases]:
            if lease.due_at > now:
                return
            if not self._leases.pop(lease, None):
                continue
            thread = threading.Thread(
                target=lease.keep, name="tiktok-lease", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads
                lease.renew()
                lease.due_at = now + RENEW_SECONDS
                self._leases[lease] = lease
                if lease.is_over.is_set():
                    self._leases.pop(lease, None)


_watch = _Watch()


@contextmanager
def renewed_by_thread(renew: Callable[[float], object], ttl: float) -> Iterator[bool]:
    """Renew a lock from a thread inside the block; False if no thread could start.

    Args:
        renew: Keeps the lock for the given seconds from now and returns False if it was
            lost. It is called from the thread; after a StoreError it is called again.
        ttl: The argument of `renew`, in seconds.
    """
    lease = _Lease(renew, ttl)
    is_kept = True
    try:
        # Inside: Ctrl-C can interrupt the start of a thread that runs already.
        try:
            _watch.add(lease)
        except RuntimeError:
            is_kept = False
        yield is_kept
    finally:
        _watch.remove(lease)

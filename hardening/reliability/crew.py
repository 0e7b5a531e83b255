"""Processes that start quickly: forked from one that has imported everything.

Their clock is one number in shared memory, without a lock: if a process with the lock
were killed, time would stop for all others.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable
from typing import Any

from .world import START

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["hardening.reliability.preloaded"])


def shared_clock() -> Any:
    """Return a number in shared memory that all processes use as the time."""
    return context.RawValue("d", START)


def reading(now: Any) -> Callable[[], float]:
    """Return a clock that shows a shared number."""
    return lambda: now.value


def ticking(now: Any) -> Callable[[], float]:
    """Return a clock that also advances in real time, the same in all processes."""
    return lambda: now.value + time.monotonic()


def started(work: Callable[..., None], *given: Any) -> Any:
    """Start a process that does this work without output; return it."""
    process = context.Process(target=_quietly, args=(work, *given), daemon=True)
    process.start()
    return process


def _quietly(work: Callable[..., None], *given: Any) -> None:
    silence()
    work(*given)


def silence() -> None:
    """Log nothing: every figure causes thousands of failures."""
    logging.getLogger("tiktok_oauth_middleware").setLevel(logging.CRITICAL + 1)


def end(processes: list[Any]) -> None:
    """Wait for finished processes, and kill the others."""
    for process in processes:
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()

"""Timing several cases side by side: blocks, rounds, medians."""

from __future__ import annotations

import gc
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

#: A function that does a thing the given number of times.
Block = Callable[[int], Awaitable[None]]

_CALIBRATE_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one case, in microseconds of the thread's CPU time for one call."""

    median: float
    #: The quartiles of the rounds.
    low: float
    high: float

    def over(self, bare: Cost) -> float:
        """Return the cost above that of the bare app."""
        return self.median - bare.median


async def compare(
    cases: Mapping[str, Block],
    *,
    rounds: int = 11,
    block_seconds: float = 0.015,
    seed: int = 1,
) -> dict[str, Cost]:
    """Return the cost of one call of each case, all measured in the same rounds."""
    sizes = {name: await _calls(block, block_seconds) for name, block in cases.items()}
    spent: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    gc.disable()
    try:
        for number, name in enumerate(shuffled(cases, rounds, seed), 1):
            spent[name].append(await _timed(cases[name], sizes[name]))
            if number % len(cases) == 0:
                gc.collect()
    finally:
        gc.enable()
    return {name: cost_of(values) for name, values in spent.items()}


def shuffled(names: Iterable[str], rounds: int, seed: int = 1) -> Iterator[str]:
    """Yield each name once a round, in random order within each round."""
    draw, order = random.Random(seed), [*names]
    for _ in range(rounds):
        draw.shuffle(order)
        yield from order


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread, and the threads and processes that it starts, on one core.

    Otherwise a round trip to a server on this machine takes two or three times as long
    whenever the kernel runs the two sides on different cores.
    """
    if not hasattr(os, "sched_setaffinity"):  # only Linux has it
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


async def _calls(block: Block, seconds: float) -> int:
    """Return how many calls fill a block of this length."""
    await block(1)
    calls = 1
    while (took := await _timed(block, calls) * calls / 1e6) < _CALIBRATE_SECONDS:
        calls *= 4
    return max(1, round(calls * seconds / took))


async def _timed(block: Block, calls: int) -> float:
    began = time.thread_time_ns()
    await block(calls)
    return (time.thread_time_ns() - began) / calls / 1000


def cost_of(values: list[float]) -> Cost:
    """Return the median and the quartiles of the rounds' times."""
    if len(values) < 4:
        return Cost(statistics.median(values), min(values), max(values))
    low, median, high = statistics.quantiles(values, n=4)
    return Cost(median, low, high)

"""Measures how a call's cost grows with its input: a quadratic parser allows a DoS.

Seconds would say more about the machine and who else uses it. How long the slowest
input takes is measured by the fuzzers (``docs/evidence/hardening.md``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

#: The small input is this much smaller. What takes linear time takes so many times
#: less for it; what takes quadratic time, the square of it.
PART = 16
_SLACK = 3
#: Below this a reading is noise, in seconds.
_READABLE = 2e-4


def is_linear(call: Callable[[Any], object], large: Any) -> bool:
    """Whether a call takes, for all of `large`, as much more as that is larger.

    CPU time of the whole process, the best of five, without a tracer (coverage).
    """
    for_small, for_large = _readings(call, large)
    return for_large < PART * _SLACK * for_small


def is_constant(call: Callable[[Any], object], large: Any) -> bool:
    """Whether a call takes no longer for all of `large`: it is refused unread."""
    for_small, for_large = _readings(call, large)
    return for_large < _SLACK * for_small


def _readings(call: Callable[[Any], object], large: Any) -> tuple[float, float]:
    small = large[: len(large) // PART]
    readings = [(_seconds(call, small), _seconds(call, large)) for _ in range(5)]
    for_small, for_large = map(min, zip(*readings, strict=True))
    return max(for_small, _READABLE), for_large


def _seconds(call: Callable[[Any], object], what: Any) -> float:
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        begun = time.process_time()
        call(what)
        return time.process_time() - begun
    finally:
        sys.settrace(tracer)

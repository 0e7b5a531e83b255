"""Measures how a call's cost grows with its input: a quadratic parser allows a DoS.

Only ratios are compared, since seconds depend on the machine and on its other work. The
fuzzers measure how long the slowest input takes (``docs/evidence/hardening.md``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

#: How many times smaller the small input is. A linear call is 16 times faster for it, a
#: quadratic one 256 times.
PART = 16
_SLACK = 3
#: Seconds; a shorter measurement is noise.
_READABLE = 2e-4
#: Readings.
_LEAST, _MOST = 3, 15


def is_linear(call: Callable[[Any], object], large: Any) -> bool:
    """Whether a call's time grows only in proportion to its input, up to `large`.

    CPU time of the whole process, without a tracer (coverage): the best of a few
    readings, and of more if another thread or process disturbed those.
    """
    return _takes_at_most(PART * _SLACK, call, large)


def is_constant(call: Callable[[Any], object], large: Any) -> bool:
    """Whether a call takes no longer for all of `large`, which it refuses without reading."""
    return _takes_at_most(_SLACK, call, large)


def _takes_at_most(times: int, call: Callable[[Any], object], large: Any) -> bool:
    small = large[: len(large) // PART]
    for_small = for_large = float("inf")
    for number in range(_MOST):
        for_small = min(for_small, _seconds(call, small))
        for_large = min(for_large, _seconds(call, large))
        few = number + 1 < _LEAST
        if not few and for_large < times * max(for_small, _READABLE):
            return True
    return False


def _seconds(call: Callable[[Any], object], what: Any) -> float:
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        begun = time.process_time()
        call(what)
        return time.process_time() - begun
    finally:
        sys.settrace(tracer)

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


def is_linear(call: Callable[[Any], object], large: Any) -> bool:
    """Whether a call's time grows only in proportion to its input, up to `large`.

    CPU time of the whole process, the best of five, without a tracer (coverage).
    """
    for_small, for_large = _readings(call, large)
    return for_large < PART * _SLACK * for_small


def is_constant(call: Callable[[Any], object], large: Any) -> bool:
    """Whether a call takes no longer for all of `large`, which it refuses without reading."""
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

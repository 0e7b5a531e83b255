"""Exceptions between two lines, as a signal's handler may raise them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any


class Interrupt(BaseException):
    """What the handler raises."""


def interruptions(module: ModuleType, call: Callable[[int], object]) -> Iterator[int]:
    """Interrupt a call before its first line in a module, then before its second.

    Args:
        module: the one whose lines count.
        call: gets the number of the line; called until it ends by itself.

    Yields:
        the number of the line before which the call was interrupted.
    """
    number = 1
    while _is_interrupted(module, call, number):
        yield number
        number += 1


def _is_interrupted(
    module: ModuleType, call: Callable[[int], object], number: int
) -> bool:
    left = number

    def in_module(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if not left:
                raise Interrupt
        return in_module

    def trace(frame: FrameType, _event: str, _arg: object) -> Any:
        return in_module if frame.f_code.co_filename == module.__file__ else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(number)
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False

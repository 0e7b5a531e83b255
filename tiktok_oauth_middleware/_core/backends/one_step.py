"""Coroutines in one step: how a flow runs under WSGI, where it cannot be suspended.

A coroutine that blocks and never suspends is finished by one ``send(None)``: no event
loop, no thread for each request. (Six steps cost 1.4 us that way; an event loop for
each request 93, a portal thread 68.)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

from .outcome import Outcome

T = TypeVar("T")


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Finish a coroutine that never suspends, and return its result.

    Raises:
        RuntimeError: The coroutine suspended, which under WSGI is a bug; the message
            names the coroutine.
    """
    step: Callable[[], Any] = partial(flow.send, None)
    try:
        while isinstance(request := step(), AppCodeCall):
            # Called from here, because no frame of the flow is on the stack.
            outcome = Outcome(BaseException)
            with outcome:
                outcome.value = request.call()
            step = partial(flow.send, outcome.value)
            if outcome.error is not None:
                step = partial(flow.throw, outcome.error)
            del request, outcome
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    awaited = _innermost(flow)
    flow.close()
    message = f"{awaited} suspended under WSGI, where nothing can resume it"
    raise RuntimeError(message)


class AppCodeCall:
    """Makes `run` call an app's code, without the flow's frames on the stack."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __await__(self) -> Generator[AppCodeCall, Any, Any]:
        return (yield self)


def _innermost(flow: Any) -> str:
    """Return the name of the coroutine that a suspended one is waiting in."""
    while getattr(flow, "cr_await", None) is not None:
        inner = flow.cr_await
        if not hasattr(inner, "cr_await"):
            break
        flow = inner
    return getattr(flow, "__qualname__", repr(flow))

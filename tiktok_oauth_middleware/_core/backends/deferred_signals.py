"""Signals whose handlers run later, while new tokens are on their way to the store.

Python runs the handler of a signal in the main thread, between any two steps of the
code that runs there. A handler that raises, such as that of Ctrl-C, would lose the
tokens if it ran between TikTok's answer and the end of their write.
"""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


class DeferredSignals:
    """Defers the first signal to the main thread; a second one is handled at once."""

    def __init__(self) -> None:
        #: The handlers that `_handle` stands for, by the numbers of their signals.
        self._handlers: dict[int, Handler] = {}
        self._is_deferring = False
        self._pending: int | None = None

    def begin(self) -> None:
        """Defer signals from now on, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._is_deferring = True
        with suppress(ValueError):  # in a sub-interpreter, where no handler runs
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if callable(handler) and handler != self._handle:
                    self._handlers[number] = handler
                    signal.signal(number, self._handle)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Handle signals at once inside the block."""
        before, self._is_deferring = self._is_deferring, False
        try:
            yield
        finally:
            self._is_deferring = before

    def end(self) -> None:
        """Restore the handlers, and run that of the deferred signal.

        If another signal interrupts this, `_handle` may stay a signal's handler, and
        then calls the one that it stands for.
        """
        self._is_deferring = False
        try:
            for number, handler in self._handlers.items():
                if signal.getsignal(number) == self._handle:  # not the app's newer one
                    signal.signal(number, handler)
        finally:
            pending, self._pending = self._pending, None
            if pending is not None:
                self._handlers[pending](pending, inspect.currentframe())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_deferring and self._pending is None:
            self._pending = number
        else:
            self._handlers[number](number, frame)

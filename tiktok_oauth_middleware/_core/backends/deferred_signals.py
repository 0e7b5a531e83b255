"""Deferred signals: a handler waits until work that cannot be repeated is finished.

Python runs the handler of a signal in the main thread, between any two steps of the
code that runs there. A handler that raises, such as that of Ctrl-C, would lose new
tokens if it ran between TikTok's answer and the end of their write, or a deleted user's
tokens if it ran before their revoke.

Only signals that Python itself catches are deferred. uWSGI, bjoern and libev catch
SIGINT in C although Python has a handler for it, and `signal.signal` would take it away
from them for good: a worker of uWSGI could not be stopped any more.
"""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import FrameType
from typing import Any, NamedTuple

from tiktok_oauth_middleware._core.fork import register_after_fork

Handler = Callable[[int, FrameType | None], Any]

#: More than the size of C's ``struct sigaction`` on any platform (glibc: 152 bytes).
_ACTION_BYTES = 1024


class _Replaced(NamedTuple):
    """A signal's handler, and how C catches the signal, such as with SA_RESTART."""

    handler: Handler
    action: Any


class DeferredSignals:
    """Defers the first signal of each number; a second one is handled at once.

    Signals belong to the process, so there is one object, and only the main thread
    changes it.
    """

    def __init__(self) -> None:
        #: The handlers that `_handle` has replaced, by the numbers of the signals.
        self._replaced: dict[int, _Replaced] = {}
        #: The handlers of the deferred signals, by their numbers.
        self._pending: dict[int, Handler] = {}
        self._is_deferring = False
        register_after_fork(self)

    def begin(self) -> None:
        """Defer signals from now on, if this is the main thread."""
        if not _is_main_thread():
            return
        self._is_deferring = True
        with suppress(ValueError):  # in a sub-interpreter, where no handler runs
            for number in _signal_numbers():
                handler = signal.getsignal(number)
                if (
                    callable(handler)
                    and handler != self._handle
                    and _is_caught_by_python(number)
                ):
                    self._replaced[number] = _Replaced(handler, _action(number))
                    signal.signal(number, self._handle)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Restore the handlers inside the block; signals are handled at once there."""
        if not self._is_deferring or not _is_main_thread():
            yield
            return
        self._restore()
        try:
            yield
        finally:
            self.begin()

    def end(self) -> None:
        """Restore the handlers, and run those of the deferred signals.

        If another signal interrupts this, `_handle` may stay a signal's handler, and
        then calls the one that it has replaced.
        """
        if not _is_main_thread():
            return
        try:
            self._restore()
        finally:
            self._run_pending()

    def after_fork(self) -> None:
        """Restore the handlers in a child: its signals are its own.

        The child may be made by another thread, which becomes its main one.
        """
        self._pending.clear()
        with suppress(ValueError):  # as in `begin`
            self._restore()

    def _restore(self) -> None:
        self._is_deferring = False
        for number, (handler, action) in self._replaced.items():
            if signal.getsignal(number) == self._handle:  # not the app's newer one
                signal.signal(number, handler)
                _set_action(number, action)

    def _run_pending(self) -> None:
        """Run the handlers of all deferred signals, also if one of them raises."""
        if not self._pending:
            return
        number = next(iter(self._pending))
        handler = self._pending.pop(number)
        try:
            handler(number, inspect.currentframe())
        finally:
            self._run_pending()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        handler = self._replaced[number].handler
        if self._is_deferring and number not in self._pending:
            self._pending[number] = handler
        else:
            handler(number, frame)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@lru_cache(maxsize=1)
def _signal_numbers() -> tuple[int, ...]:
    """Return the numbers of all signals. `signal.valid_signals` takes 56 us."""
    return tuple(sorted(signal.valid_signals()))


# --- what only C shows -----------------------------------------------------------


@lru_cache(maxsize=1)
def _c_functions() -> tuple[Any, Any] | None:
    """Return CPython's PyOS_getsig and C's sigaction; None where they are missing."""
    if sys.implementation.name != "cpython":
        return None
    try:
        import ctypes

        handler_of, change = ctypes.pythonapi.PyOS_getsig, ctypes.CDLL(None).sigaction
    except (ImportError, AttributeError, OSError, TypeError):  # such as on Windows
        return None
    handler_of.argtypes, handler_of.restype = [ctypes.c_int], ctypes.c_void_p
    change.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    return handler_of, change


@lru_cache(maxsize=1)
def _pythons_handler() -> int | None:
    """Return the address of the C function by which Python catches every signal.

    Raises:
        ValueError: in a sub-interpreter.
    """
    functions = _c_functions()
    if functions is None:
        return None
    for number in reversed(_signal_numbers()):
        if signal.getsignal(number) is signal.SIG_DFL and not functions[0](number):
            # Mostly the last real-time signal, which nothing sends.
            signal.signal(number, lambda *_: None)
            address: int | None = functions[0](number)
            signal.signal(number, signal.SIG_DFL)
            return address
    return None


def _is_caught_by_python(number: int) -> bool:
    functions, address = _c_functions(), _pythons_handler()
    return functions is None or address is None or functions[0](number) == address


def _action(number: int) -> Any:
    """Return how C catches a signal, as bytes that `_set_action` takes."""
    functions = _c_functions()
    if functions is None:
        return None
    from ctypes import create_string_buffer

    action = create_string_buffer(_ACTION_BYTES)
    functions[1](number, None, action)
    return action


def _set_action(number: int, action: Any) -> None:
    """Restore what `signal.signal` resets, such as `signal.siginterrupt`."""
    functions = _c_functions()
    if functions is not None and action is not None:
        functions[1](number, action, None)


#: The one object of the process.
signals = DeferredSignals()

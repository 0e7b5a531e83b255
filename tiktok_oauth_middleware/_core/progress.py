"""Progress of a long command: one line that is rewritten on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

#: Seconds between two reports: on a terminal, and elsewhere, where each is a line.
_TERMINAL_SECONDS, _LINE_SECONDS = 0.2, 10.0


class Progress:
    """Prints how far a command has come, not too often."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._pause = _TERMINAL_SECONDS if self._is_terminal else _LINE_SECONDS
        self._next = time.monotonic() + self._pause
        self._has_open_line = False

    def show(self, sentence: Callable[[], str]) -> None:
        """Print what `sentence` returns, if the last report is old enough."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._pause
        if self._is_terminal:
            # Clears the rest of the line (ECMA-48, EL).
            self._stream.write(f"\r{sentence()}\x1b[K")
            self._has_open_line = True
        else:
            self._stream.write(f"{sentence()}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Clear the line that is rewritten, so that another can be printed."""
        if self._has_open_line:
            self._has_open_line = False
            self._stream.write("\r\x1b[K")
            self._stream.flush()

"""Output and exit codes of the commands, for the command line and for manage.py."""

from __future__ import annotations

import os
import sys
import time
from io import TextIOWrapper
from typing import NamedTuple, Protocol, TextIO

from ._core.progress import Progress

#: Exit code of a program that SIGINT ended: 128 + 2.
INTERRUPTED = 130
#: The exit code that shells report for a program that SIGPIPE ended.
_BROKEN_PIPE = 128 + 13


def escape_other_letters() -> None:
    """Let standard output escape letters that its encoding lacks.

    Paths and rules may have any letters, and the output may be in ASCII.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def after_broken_pipe() -> int:
    """Discard further output; return the exit code.

    The reader has closed the pipe, as `head` does. Without this, Python would report
    the error again when it flushes at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _BROKEN_PIPE


class Output(Protocol):
    """A stream to which lines are written, or Django's wrapper of one."""

    def write(self, text: str, /) -> object:
        """Write a text that ends with a line break."""
        ...


class Report(NamedTuple):
    """Where a command writes."""

    #: Gets the result.
    out: Output
    #: Gets the progress, and how to go on after Ctrl-C.
    err: TextIO
    #: The name by which the command's user knows the option with the keys.
    keys_option: str
    #: Whether to show progress where `err` is not a terminal.
    progress: bool = False
    #: Whether the last line counts only the users that are listed.
    is_brief: bool = False

    def line(self, text: str) -> None:
        """Write a line of the result."""
        self.out.write(f"{text}\n")

    def stopped(self, text: str) -> int:
        """Write how far a command came; return its exit code."""
        self.err.write(f"stopped: {text}\n")
        self.err.flush()
        return INTERRUPTED

    def shown(self, *, beside_lines: bool = False) -> Progress | None:
        """Return what shows progress; None if nothing is to be shown.

        Args:
            beside_lines: whether lines are printed meanwhile, which are progress enough
                if they are printed on the same terminal.
        """
        is_terminal = getattr(self.out, "isatty", bool)()
        wanted = self.err.isatty() and not (beside_lines and is_terminal)
        return Progress(self.err) if wanted or self.progress else None


def moment(seconds: float) -> str:
    """Return a time in seconds since 1970 for people, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))

"""Processes that are quick to start, and processes that Ctrl-C ends.

The first are forked from one that has imported what they need. A spawned process
imports all of it again, which takes most of a second.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

#: A shell ignores SIGINT in what it runs in the background, and programs inherit that.
_ENDS_AT_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.conftest"])


def ends_at_ctrl_c(*arguments: str) -> list[str]:
    """Return a command that runs Python, and that SIGINT ends wherever it is run.

    Args:
        arguments: Python's.
    """
    return [sys.executable, "-c", _ENDS_AT_CTRL_C, sys.executable, *arguments]


def python(code: str) -> list[str]:
    """Run a program of Python; return the words that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return done.stdout.split()

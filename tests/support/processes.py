"""Processes that are quick to start, processes that Ctrl-C ends, and forked children.

The first are forked from one that has imported what they need. A spawned process
imports all of it again, which takes most of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from .patience import HANGS

#: For tests that fork, which newer Pythons warn of in a process with threads.
forks = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")

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


def in_child(work: Callable[[], object]) -> str:
    """Run work in a forked child; return the text of its result, or its exception."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # A child that hangs must not hang the tests.
            threading.Timer(HANGS, os._exit, [1]).start()
            os.write(write, str(work()).encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        report = answer.read().decode()
    os.waitpid(child, 0)
    return report

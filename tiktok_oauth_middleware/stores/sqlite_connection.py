"""A thread's connection to the file of a SQLite store."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from typing import Any

#: Connections of a parent process, which a child keeps and does not close.
_parents: list[sqlite3.Connection] = []


class SQLiteConnection:
    """A connection of one thread, closed when the thread ends or the store closes."""

    __slots__ = ("__weakref__", "execute", "handle", "in_use")

    def __init__(self, handle: sqlite3.Connection, execute: Callable[..., Any]) -> None:
        self.handle = handle
        #: Executes a read.
        self.execute = execute
        #: Held during a statement: closing the connection in another thread meanwhile
        #: would end the process with a segmentation fault. The thread itself may close
        #: it: a signal's handler runs inside a statement of the main thread.
        self.in_use = threading.RLock()
        # Not in `__del__`: if this object and the handle are collected in one cycle,
        # Python 3.13 and newer may finalize the handle first, and warn that it was not
        # closed.
        weakref.finalize(self, _close_collected, handle, os.getpid()).atexit = False

    def close(self) -> None:
        """Close it, once no statement is being executed by another thread."""
        with self.in_use:
            self.handle.close()


def _close_collected(handle: sqlite3.Connection, process: int) -> None:
    # In a forked child the parent's threads do not exist; their connections are kept
    # referenced, because collecting them would close them.
    if process == os.getpid():
        handle.close()
    else:
        _parents.append(handle)

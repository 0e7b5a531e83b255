"""Locks and connections in a child of ``fork()``.

Servers load an app and then fork their workers. A child shares its parent's sockets,
and its copies of locks may be locked by threads that only the parent has. It replaces
both, and closes nothing, since closing would affect the parent's connections.
"""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from typing import Protocol


class Forkable(Protocol):
    """An object whose locks or connections a child of ``fork()`` must not use."""

    def after_fork(self) -> None:
        """Replace locks and forget connections, without closing them."""
        ...


_forkable: weakref.WeakSet[Forkable] = weakref.WeakSet()


def register_after_fork(forkable: Forkable) -> None:
    """Have ``forkable.after_fork()`` called in every child; keeps a weak reference."""
    _forkable.add(forkable)


def _call_all() -> None:
    """Call each ``after_fork``, also after one that raises; Python prints its error."""
    with ExitStack() as calls:
        for forkable in list(_forkable):
            calls.callback(forkable.after_fork)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_call_all)

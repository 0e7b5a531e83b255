"""What must begin anew in a child of ``fork()``: locks, sockets, connections.

Servers load an app and then fork their workers. A child shares its parent's sockets
and finds locks as other threads left them; it drops both, and closes nothing, since
what it would close is the parent's.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that a child of ``fork()`` must not use as its parent left it."""

    def after_fork(self) -> None:
        """Begin anew; what the parent holds stays as it is."""
        ...


_forkable: weakref.WeakSet[Forkable] = weakref.WeakSet()


def renew_after_fork(kept: Forkable) -> None:
    """Have ``kept.after_fork()`` called in every child process, while it lives."""
    _forkable.add(kept)


def _renew_all() -> None:
    for kept in list(_forkable):
        kept.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_all)

"""Tracebacks that must not reach an app.

Reporters of exceptions record the locals of every frame in a traceback.
"""

from __future__ import annotations

from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


def forget_causes(error: BaseException, handled: BaseException | None) -> None:
    """Remove the tracebacks of the exceptions that led to an error.

    The frames of a store's driver hold its password.

    Args:
        error: Its own traceback stays.
        handled: The exception that the caller was handling; it stays as it is.
    """
    seen, waiting = {id(error), id(handled)}, [error.__cause__, error.__context__]
    while waiting:
        cause = waiting.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            cause.__traceback__ = None
            waiting += [cause.__cause__, cause.__context__]


def without_frames(error: _Error, handled: BaseException | None) -> _Error:
    """Return an error, to be raised again, without its traceback and its causes'.

    Args:
        error: The caught one.
        handled: The exception that the caller was handling; it stays as it is.
    """
    forget_causes(error, handled)
    return error.with_traceback(None)

"""Tracebacks that are removed, and those that stay."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._core.tracebacks import forget_causes, without_frames


def raised():
    """Return an error with a cause, which has a context; all have tracebacks."""
    try:
        try:
            try:
                raise OSError
            except OSError:
                raise LookupError from None
        except LookupError as error:
            raise ValueError from error
    except ValueError as error:
        return error


def all_of(error):
    return [error, error.__cause__, error.__cause__.__context__]


def test_causes():
    """The causes lose their tracebacks, and the error keeps its own."""
    error = raised()
    forget_causes(error, None)
    assert [bool(each.__traceback__) for each in all_of(error)] == [True, False, False]


def test_without_frames():
    """The error itself is returned, and neither it nor a cause has a traceback."""
    error = raised()
    assert without_frames(error, None) is error
    assert [each.__traceback__ for each in all_of(error)] == [None, None, None]


@pytest.mark.parametrize("remove", [forget_causes, without_frames])
def test_handled(remove):
    """What the caller was handling keeps its traceback, and those of its causes."""
    handled, error = raised(), raised()
    error.__context__ = handled
    remove(error, handled)
    assert all(each.__traceback__ for each in all_of(handled))


@pytest.mark.parametrize("remove", [forget_causes, without_frames])
def test_circle(remove):
    """Errors that refer to each other in a circle are each visited once."""
    one, other = raised(), raised()
    one.__context__, other.__context__ = other, one
    remove(one, None)
    assert other.__traceback__ is None

"""The measure of `growth` itself: it distinguishes linear work from quadratic."""

from __future__ import annotations

from .growth import is_constant, is_linear


def test_quadratic_is_not_linear():
    """A call that reads the whole input for each part of it is detected."""
    assert not is_linear(lambda s: [s.count(b"x") for _ in s[::100]], b"a" * 100_000)


def test_linear_is_not_constant():
    """A call that reads the whole input once is linear, and not constant."""
    assert is_linear(lambda s: s.count(b"x"), b"a" * 16_000_000)
    assert not is_constant(lambda s: s.count(b"x"), b"a" * 16_000_000)

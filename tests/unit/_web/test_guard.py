"""A guard's challenge: its status, and the scopes that are missing."""

from __future__ import annotations

from tiktok_oauth_middleware._web.guard import Challenge

# --- Challenge and Event -----------------------------------------------------------


def test_challenge_without_missing_scopes_is_401():
    """A guard without scopes is answered with 401."""
    assert Challenge().status == 401


def test_challenge_with_missing_scopes_is_403():
    """A guard that misses a scope forbids."""
    assert Challenge(frozenset({"video.list"})).status == 403

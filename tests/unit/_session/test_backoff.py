"""The pause before the next call to TikTok after consecutive failures."""

from __future__ import annotations

import random

import pytest

from tiktok_oauth_middleware._session.backoff import Backoff
from tiktok_oauth_middleware._session.refresh_request import _BACKOFF


@pytest.mark.parametrize(
    ("failures", "low", "high"),
    [
        (1, 1, 1.25),
        (2, 1.5, 2.5),
        (3, 3, 5),
        (6, 24, 40),
        (7, 35.25, 58.75),
        (30, 35.25, 58.75),
    ],
)
def test_refresh(monkeypatch, failures, low, high):
    """A refresh waits one second to less than a minute, with up to 25 % of jitter."""
    for bound, ends in ((low, min), (high, max)):
        with monkeypatch.context() as patched:
            patched.setattr(random, "uniform", lambda *given, ends=ends: ends(given))
            assert _BACKOFF.seconds(failures) == bound


def test_requested_wait():
    """A requested wait counts only if it is longer than the computed one."""
    policy = Backoff(first=2, longest=60)
    assert policy.seconds(1, at_least=200) == 200
    assert policy.seconds(1, at_least=0.5) == 2
    assert policy.seconds(1, at_least=None) == 2


def test_without_jitter():
    """Without jitter the waits are powers of two, up to the limit."""
    policy = Backoff(first=5, longest=60)
    assert [policy.seconds(n) for n in range(1, 7)] == [5, 10, 20, 40, 60, 60]

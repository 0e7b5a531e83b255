"""Random waits, so that many who met once do not meet again."""

from __future__ import annotations

import random


def between(low: float, high: float) -> float:
    """Return a number between two, at random; no secret is made of it."""
    return random.uniform(low, high)  # noqa: S311 - spreads retries

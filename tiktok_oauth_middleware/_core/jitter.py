"""Random waits, so that callers that conflicted once do not conflict again."""

from __future__ import annotations

import random


def between(low: float, high: float) -> float:
    """Return a random number between `low` and `high`; not for secrets."""
    return random.uniform(low, high)  # noqa: S311 - spreads retries

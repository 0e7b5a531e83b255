"""How long to leave TikTok alone after failures in a row: the policy is a value."""

from __future__ import annotations

from dataclasses import dataclass

from tiktok_oauth_middleware._core import jitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A wait that doubles with each failure, up to a limit; times in seconds."""

    #: After the first failure.
    first: float
    #: Before the jitter.
    longest: float
    #: The part of the wait that is added or taken away at random, so that many who
    #: failed together do not come back together. 0 for none.
    jitter: float = 0.0

    def seconds(self, failures: int, *, at_least: float | None = None) -> float:
        """Return for how long to wait after so many failures in a row.

        Args:
            failures: how many, this one included.
            at_least: what the other side asked for, such as by Retry-After (RFC 9110
                section 10.2.3); None where it did not.
        """
        wait = min(self.longest, self.first * 2.0 ** (failures - 1))
        if self.jitter:
            spread = jitter.between(1 - self.jitter, 1 + self.jitter)
            wait = max(self.first, wait * spread)
        return max(wait, at_least or 0.0)

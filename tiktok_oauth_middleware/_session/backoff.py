"""Back-off policy: how long to wait before the next try after failures in a row."""

from __future__ import annotations

from dataclasses import dataclass

from tiktok_oauth_middleware._core import jitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A wait that doubles with each failure, up to a limit; times in seconds."""

    #: The wait after the first failure; no wait is shorter.
    first: float
    #: The longest wait, before jitter.
    longest: float
    #: The largest fraction of the wait that is randomly added or subtracted, so that
    #: callers that failed together do not retry together; 0 for no jitter.
    jitter: float = 0.0

    def seconds(self, failures: int, *, at_least: float | None = None) -> float:
        """Return the seconds to wait after a number of failures in a row.

        Args:
            failures: the number of failures, the latest included.
            at_least: the wait that the server asked for, as by Retry-After (RFC 9110
                section 10.2.3); None if it asked for none.
        """
        wait = min(self.longest, self.first * 2.0 ** (failures - 1))
        if self.jitter:
            spread = jitter.between(1 - self.jitter, 1 + self.jitter)
            wait = max(self.first, wait * spread)
        return max(wait, at_least or 0.0)

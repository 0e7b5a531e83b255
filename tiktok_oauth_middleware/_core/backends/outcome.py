"""The result of a call, a value or an exception, for another thread or task."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self


class Outcome:
    """The value or exception of a block, for another thread or task.

    ``with outcome: outcome.value = call()`` keeps an exception of the given class, and
    lets others pass.
    """

    __slots__ = ("_kept", "error", "is_set", "value")

    def __init__(self, kept: type[BaseException]) -> None:
        self._kept = kept
        self.is_set = False
        self.value: Any = None
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is not None and not isinstance(error, self._kept):
            return False
        self.error, self.is_set = error, True
        return True

    def get(self) -> Any:
        """Return the value, or raise the exception that was kept."""
        if self.error is not None:
            raise self.error
        return self.value

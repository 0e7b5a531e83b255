"""What `SQLStore` and `DjangoStore` do about conflicts, for which databases need luck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tiktok_oauth_middleware._core.backends.base import run
from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.stores.database_errors import ConflictError
from tiktok_oauth_middleware.stores.table import Rows, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiktok_oauth_middleware.stores.table import Result


class Deadlock(Exception):
    """An error of a driver."""

    sqlstate = "40P01"


class Conflicts:
    """Connections on which the first statements meet a deadlock."""

    timeout = 2.0

    def __init__(self, conflicts: int) -> None:
        self.left = conflicts
        self.waits: list[float] = []

    async def execute(self, statement: Statement, values: Mapping[str, Any]) -> Result:
        if self.left:
            self.left -= 1
            raise ConflictError(Deadlock())
        return [(b"value",)], 1

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


ROWS = Rows(
    {"get": Statement("SELECT value", ())},
    lambda size: {},
    clock=None,
    has_byte_keys=False,
    create_table="",
)


def test_a_conflict_is_retried_after_a_longer_wait_each_time() -> None:
    """A statement succeeds after four conflicts, each followed by a bounded wait."""
    connections = Conflicts(4)
    assert run(ROWS.get(connections, "key")) == b"value"
    assert all(
        0 <= wait <= 0.02 * 2**tried for tried, wait in enumerate(connections.waits)
    )
    assert len(connections.waits) == 4


def test_a_fifth_conflict_is_an_error() -> None:
    """After five tries a statement that met a conflict each time is an error."""
    with pytest.raises(StoreError, match="conflicting transactions in 5 tries"):
        run(ROWS.get(Conflicts(5), "key"))

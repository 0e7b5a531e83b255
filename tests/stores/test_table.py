"""What `SQLStore` and `DjangoStore` do about conflicts, for which databases need luck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tiktok_oauth_middleware._core.backends.one_step import run
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


class Refusing:
    """Connections to a table of MySQL with a constraint that no row satisfies."""

    timeout = 2.0

    def __init__(self) -> None:
        self.statements = 0

    async def execute(self, statement: Statement, values: Mapping[str, Any]) -> Result:
        self.statements += 1
        assert self.statements < 100
        return (), 0  # drivers raise an IntegrityError, as if the row existed

    async def sleep(self, seconds: float) -> None:
        """Do not wait."""


ROWS = Rows(
    {
        name: Statement(text, ())
        for name, text in (
            ("get", "SELECT value"),
            ("insert", "INSERT"),
            ("revive", "UPDATE"),
            ("sweep", "DELETE"),
        )
    },
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


def test_a_row_that_is_refused_each_time_is_an_error() -> None:
    """If a row can be neither inserted nor found, the swap ends with an error."""
    with pytest.raises(StoreError, match="refused in 5 tries to create a row"):
        run(ROWS.swap(Refusing(), "key", None, b"value", 60))

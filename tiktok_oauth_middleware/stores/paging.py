"""Rows in parts: how many a store reads, writes or deletes at once, and how it pages.

A call that takes thousands of rows is divided, so that neither a statement nor a list
in memory grows with the number of users, and no other caller waits for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Keys in a page of `Paging.pages`.
PAGE = 1000
#: Rows in a page of `RowPaging.rows`: a record with 50 sessions has 4 kB.
ROWS = 250
#: Rows of one statement that writes many.
BATCH = 100
#: How many expired rows one sweep deletes at most, and after how many swaps the next
#: sweep begins.
SWEPT_ROWS, SWEEP_EVERY = 100, 32


def pages_by_key(
    page: Callable[[str], list[str]], after: str, length: int = PAGE
) -> Iterator[list[str]]:
    """Yield the pages of a store that lists its keys in order.

    Args:
        page: Returns the next keys after one, in order; fewer than `length` at the end.
        after: The key after which to begin.
        length: Keys in a full page.
    """
    while True:
        keys = page(after)
        if keys:
            yield keys
            after = keys[-1]
        if len(keys) < length:
            return


def rows_by_key(
    page: Callable[[str], list[tuple[str, bytes]]], after: str
) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the pages of a store that lists its rows in the order of their keys.

    Args:
        page: Returns the next rows after a key, in order; fewer than `ROWS` at the end.
        after: The key after which to begin.
    """
    while True:
        rows = page(after)
        if rows:
            yield rows
            after = rows[-1][0]
        if len(rows) < ROWS:
            return


def in_batches(items: Sequence[T], length: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield a sequence in parts of `length` items; the last may be shorter."""
    for start in range(0, len(items), length):
        yield items[start : start + length]

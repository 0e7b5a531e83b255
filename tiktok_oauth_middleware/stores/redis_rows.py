"""Rows as Redis holds them: each value ends in the mark of the call that wrote it.

When the answer to a swap is lost, the retry runs the swap twice, and the second run
would find the new value and return False. Therefore the mark is random and sent again:
a script that finds its own mark returns True.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import Any

from .base import refuse_empty_swap

#: The length of a mark, in bytes.
MARK = 8

#: The script of a swap. Its arguments: "1" if a value is expected, else "0"; the
#: expected value; the new value with its mark, or "" to delete the row; the time to
#: live in milliseconds.
SWAP = f"""
local found = redis.call('GET', KEYS[1])
local new = ARGV[3]
if new ~= '' and found == new then
    return 1
end
if ARGV[1] == '0' then
    if found then return 0 end
elseif not found or string.sub(found, 1, -{MARK + 1}) ~= ARGV[2] then
    return 0
end
if new == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], new, 'PX', ARGV[4])
end
return 1
"""


def found_rows(keys: Sequence[str], values: list[Any]) -> list[tuple[str, bytes]]:
    """Return the rows that are still there, without the marks of their writers."""
    return [
        (key, value[:-MARK])
        for key, value in zip(keys, values, strict=True)
        if value is not None
    ]


def without_marks(values: list[Any]) -> list[bytes | None]:
    """Return values without the marks of their writers, and None as it is."""
    return [None if value is None else value[:-MARK] for value in values]


def marked_rows(
    rows: Sequence[tuple[str, bytes, float]],
) -> list[tuple[str, bytes, int]]:
    """Return key, value with its mark and milliseconds of each row.

    If the answer is lost, the call is repeated with the same marks. Rows that the first
    call created then count as not created, as if another caller had created them.
    """
    found = []
    for key, value, ttl in rows:
        milliseconds = max(1, math.ceil(ttl * 1000))
        found.append((key, value + os.urandom(MARK), milliseconds))
    return found


def pattern_of(prefix: str) -> str:
    """Return the pattern of SCAN for keys that begin with a prefix."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", prefix) + "*"


def swap_values(old: bytes | None, new: bytes | None, ttl: float) -> tuple[Any, ...]:
    """Return the arguments of `SWAP`, with a new mark.

    Raises:
        ValueError: both values are None.
    """
    refuse_empty_swap(old, new)
    # Redis rejects a time to live of zero, so such a value is not written.
    is_kept = new is not None and ttl > 0
    marked = (new or b"") + os.urandom(MARK) if is_kept else b""
    milliseconds = max(1, math.ceil(ttl * 1000)) if is_kept else 0
    return (b"0" if old is None else b"1", old or b"", marked, milliseconds)

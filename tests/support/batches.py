"""The contract of a store that reads and writes many rows with one call."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

#: More than two statements have, and a length that differs from theirs.
MANY = 230


async def check_batches(store: StoreAdapter) -> None:
    """Write and read rows that are new, one that is there, and none."""
    name = uuid.uuid4().hex
    keys = [f"batch:{{{name}}}:{number}" for number in range(MANY)]
    values = [bytes((number, 0, 255)) * 40 for number in range(MANY)]
    assert await store.compare_and_set(keys[7], None, b"there before", 600)
    rows = [(key, value, 600.0) for key, value in zip(keys, values, strict=True)]
    created = await store.create_many(rows)
    assert created == [number != 7 for number in range(MANY)]
    values[7] = b"there before"
    assert await store.get_many(keys) == values
    assert [await store.get(keys[0]), await store.get(keys[-1])] == [
        values[0],
        values[-1],
    ]
    missing = f"batch:{{{name}}}:missing"
    some: list[Any] = await store.get_many([keys[3], missing, keys[1]])
    assert some == [values[3], None, values[1]]
    assert await store.create_many(rows[:3]) == [False, False, False]
    assert await store.compare_and_set(keys[0], values[0], b"changed", 600)
    assert (await store.create_many([]), await store.get_many([])) == ([], [])

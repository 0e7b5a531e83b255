"""Inputs changed at random: as bytes, and as the JSON they are."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

_LONGEST = 4096
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**63,
    10**400,
    1e300,
    -0.0,
    float("nan"),
    float("inf"),
    "",
    "0",
    "9" * 15,
    "9" * 5000,
    "\ud800",
    "a\nb",
    "\u2028",
    "x" * 300,
    [],
    {},
    [[[]]],
    {"code": "ok"},
    {"code": None},
)


def mutated(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """Return an input with a few bytes changed, removed, doubled, moved or inserted."""
    made = bytearray(data)
    for _ in range(1 << chance.randrange(4)):
        start = chance.randint(0, len(made))
        end = min(len(made), start + chance.randint(0, 8))
        match chance.randrange(6):
            case 0:
                made[start:end] = chance.randbytes(chance.randint(0, 4))
            case 1 if start < len(made):
                made[start] ^= 1 << chance.randrange(8)
            case 2:
                made[start:start] = made[start:end]
            case 3:
                del made[start:end]
            case _:
                made[start:end] = chance.choice(words) if words else b"\x00"
    return bytes(made[:_LONGEST])


def mutated_json(data: bytes, chance: random.Random) -> bytes | None:
    """Return JSON with a value replaced, removed or nested; None if it is not JSON."""
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return None
    holders = list(_holders(root))
    if not holders:
        return None
    for _ in range(chance.randint(1, 3)):
        holder = chance.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key = chance.choice(keys)
        match chance.randrange(4):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case _:
                holder[key] = chance.choice(_VALUES)
    try:
        return json.dumps(root, ensure_ascii=chance.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    except RecursionError:
        return None


def _holders(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and depth < 10:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner, depth + 1)

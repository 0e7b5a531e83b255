"""The rows of an app in its store: their keys, their kinds, and their changes.

A key contains a hash of the app's client key, then the kind of the row, then its
subject. Every change is a compare-and-swap on the bytes that were read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from tiktok_oauth_middleware.errors import StoreError

#: All 50 sessions of a user may write at once, and one succeeds in each round of
#: attempts.
_MAX_SWAPS = 100

RowKind = Literal["grant", "used", "attempt", "user", "copied", "copying"]
#: Every kind of row, and how it is copied to another store: a record is merged, a note
#: is written if there is none, and all other rows stay in their store.
ROW_KINDS: Mapping[str, Literal["record", "note", "left"]] = {
    "grant": "record",
    # The lease of a process.
    "grant:lock": "left",
    "used": "note",
    # Of a process that is refreshing now, or died while it did.
    "attempt": "left",
    # Which accounts are connected to a user of the app; derived from the records.
    "user": "left",
    # Marks describe only the store that they are in.
    "copied": "left",
    "copying": "left",
}

_ROW_KEY = re.compile(r"(tiktok:[^:]+):([a-z]+):\{(.*)\}(:[a-z]+)?", re.DOTALL)


def space_of(client_key: str) -> str:
    """Return how the keys of an app begin."""
    return f"tiktok:{hashlib.sha256(client_key.encode()).hexdigest()[:12]}"


def row_key(space: str, kind: RowKind, name: str) -> str:
    """Return the key of a row.

    The braces keep a user's record and its lock in one slot of a Redis cluster.
    """
    return f"{space}:{kind}:{{{name}}}"


class Row(NamedTuple):
    """A row of a store, by its key."""

    #: Such as "grant"; "grant:lock" is the lock of one; "foreign" is another app's.
    kind: str
    #: The text in the braces: a record's id, or the name of a note.
    name: str
    #: The whole key; of a foreign row the part that names the app.
    key: str

    @classmethod
    def of(cls, key: str, space: str) -> Row:
        """Return the row that has a key, as the app of `space` reads it."""
        found = _ROW_KEY.fullmatch(key)
        if found is None:
            return cls("unknown", "", key)
        its_space, kind, name, more = found.groups()
        if its_space != space:
            return cls("foreign", "", its_space)
        return cls(kind if not more else f"{kind}{more}", name, key)


def swap_attempts() -> Iterator[int]:
    """Count the attempts to change a row that others may change at the same time.

    Each attempt reads, changes and swaps. If another write came in between, the swap
    fails and the next attempt reads again.

    Raises:
        StoreError: after the last attempt.
    """
    yield from range(_MAX_SWAPS)
    message = f"other writers changed the record at each of {_MAX_SWAPS} attempts"
    raise StoreError(message)

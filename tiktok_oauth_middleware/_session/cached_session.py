"""What is remembered of one browser session."""

from __future__ import annotations

from typing import (
    Final,
)

#: What one browser session may see of its user's grant, and from when until when that
#: is known to be true. An exact tuple of atoms, because the garbage collector leaves
#: those alone: 100,000 small objects cost it 12 to 29 ms at each full run, these none.
CachedSession = tuple[
    float, float, str, str, str, int, str, str, str, str, float, bytes
]


FETCHED_AT: Final = 0


FRESH_UNTIL: Final = 1


OPEN_ID: Final = 2


SCOPES: Final = 3


ACCESS_TOKEN: Final = 4


EXPIRES_AT: Final = 5


PROFILE: Final = 6


DENIED: Final = 7


RECORD_ID: Final = 8


DIGEST: Final = 9


#: Until when all of it stays true if the record does not change: nothing in it is due.
REVALIDATE_UNTIL: Final = 10


#: The record as it was read.
SEALED: Final = 11

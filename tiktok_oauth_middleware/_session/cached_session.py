"""One cached session, as a tuple: what its fields are, and where."""

from __future__ import annotations

from typing import Final

#: What one browser session may see of its user, and from when until when that is known
#: to be true. An exact tuple of atoms, because the garbage collector skips those:
#: 100,000 small objects cost it 12 to 29 ms at each full run, these cost none.
CachedSession = tuple[
    float, float, str, str, str, int, str, str, str, str, float, bytes
]
#: When the store was asked for the record, in seconds since 1970.
FETCHED_AT: Final = 0
#: Until when the session is used without asking the store.
FRESH_UNTIL: Final = 1
OPEN_ID: Final = 2
#: Granted scopes, separated by commas.
SCOPES: Final = 3
ACCESS_TOKEN: Final = 4
#: When the access token ends.
EXPIRES_AT: Final = 5
#: The profile as one line of JSON.
PROFILE: Final = 6
#: Scopes that the user declined, separated by commas.
DENIED: Final = 7
RECORD_ID: Final = 8
#: The hash of the session's secret.
DIGEST: Final = 9
#: Until when all of it stays true if the record does not change: nothing in it is due.
REVALIDATE_UNTIL: Final = 10
#: The record as it was read.
SEALED: Final = 11

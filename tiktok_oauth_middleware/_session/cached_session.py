"""A cached session as a tuple, and the index of each field."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

#: The session data that a request needs, and the times until which it is valid. It is a
#: plain tuple of strings, bytes and numbers, which the garbage collector stops
#: tracking: 100,000 small objects cost 12 to 29 ms at each full collection, and these
#: tuples nothing.
CachedSession = tuple[
    float, float, str, str, str, int, str, str, str, str, float, bytes, int
]
#: When the store was asked for the record, in seconds since 1970.
FETCHED_AT: Final = 0
#: Until when the session is used without asking the store.
FRESH_UNTIL: Final = 1
OPEN_ID: Final = 2
#: Granted scopes, separated by commas.
SCOPES: Final = 3
ACCESS_TOKEN: Final = 4
#: When the access token expires, in seconds since 1970.
EXPIRES_AT: Final = 5
#: The user's profile as one line of JSON.
PROFILE: Final = 6
#: Scopes that the user denied, separated by commas.
DENIED: Final = 7
RECORD_ID: Final = 8
#: The hash of the session's secret.
DIGEST: Final = 9
#: Until when the session stays valid as long as the stored record does not change:
#: before that time nothing in it is due for renewal.
REVALIDATE_UNTIL: Final = 10
#: The sealed record from which the session was made.
SEALED: Final = 11
#: When the user last logged in, in seconds since 1970.
LOGGED_IN_AT: Final = 12


class NoSession(Enum):
    """Why a session cookie names no session."""

    #: None of our keys signed it.
    FORGED = auto()
    #: It is genuine, and the store has no such session.
    ENDED = auto()
    #: It is genuine, and may name a session: the record cannot be opened, or users are
    #: being copied into the store, or the store took long to answer. Or a login of the
    #: same user has just replaced it, and the browser may be about to get the new one.
    UNKNOWN = auto()


#: "Last seen" is written at most this often, in seconds: most requests write nothing.
#: A cached session is loaded again by then.
SEEN_SECONDS: Final = 300.0

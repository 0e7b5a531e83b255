"""A record together with the version of it that was read."""

from __future__ import annotations

from typing import NamedTuple

from .record import UserRecord


class VersionedRecord(NamedTuple):
    """A record as it was read, and its sealed form, which the next swap replaces."""

    record_id: str
    sealed: bytes
    record: UserRecord
    #: `SessionCache.changes` before the read, or after the write of this record; -1 if
    #: there was another write during that one.
    changes: int
    #: When the read began, in seconds since 1970: the record was current then.
    at: float

"""Marks of records that were copied here from another store.

While an app moves, records are copied more than once: some users still use the old
store, others the new one. A mark describes a record at the time when it was last
copied. From it the next copy finds out which of the two stores changed the record
since, and a process on the new store finds out whether a record may be older than the
old store's.

Marks are sealed like records, and expire by themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .record import content_of, generation_of
from .rows import row_key

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

    from .lifetimes import Lifetimes
    from .record import Session, UserRecord

#: The lifetime of a mark, in seconds.
MARK_SECONDS = 7 * 86400
#: After a copy, the old store may have newer tokens for this time, in seconds.
MOVING_SECONDS = 86400
#: The longest time from writing a record to writing its mark, in seconds. A copy notes
#: after each page of rows that it is running.
_UNMARKED_SECONDS = 600
#: How far a store's clock may differ from this host's, in seconds.
_SKEW_SECONDS = 60


class CopyMark(NamedTuple):
    """The state of a record in the old store when it was copied."""

    #: Seconds since 1970.
    at: int
    #: Hash of its tokens.
    generation: str
    #: Hash of its whole content.
    content: str
    #: Seconds since 1970 until which the old store keeps it if it is not used again.
    ends_at: int
    #: The same for its browser sessions, by `session_name`.
    sessions: Mapping[str, int]

    @classmethod
    def of(cls, record: UserRecord, now: float, lifetimes: Lifetimes) -> CopyMark:
        """Return the mark of a record that is copied now.

        Args:
            record: as the old store has it.
            now: in seconds since 1970.
            lifetimes: of the app.
        """
        return cls(
            int(now),
            generation_of(record).hex(),
            content_of(record),
            int(lifetimes.kept_until(record)),
            {
                session_name(session.digest): int(lifetimes.session_ends_at(session))
                for session in record.sessions
            },
        )

    def pack(self) -> bytes:
        """Return the mark as text: a version, and a line for each field."""
        sessions = " ".join(f"{name}:{end}" for name, end in self.sessions.items())
        fields = (2, self.at, self.generation, self.content, self.ends_at, sessions)
        return "\n".join(map(str, fields)).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> CopyMark | None:
        """Return the mark that `pack` wrote; None if the bytes are not a mark."""
        try:
            version, at, generation, content, ends, named = packed.decode().split("\n")
            pairs = (each.split(":") for each in named.split())
            sessions = {name: int(end) for name, end in pairs}
            made = cls(int(at), generation, content, int(ends), sessions)
        except ValueError:
            return None
        return made if version == "2" else None

    def was_ended(self, now: float) -> bool:
        """Whether a record that is missing in its store was ended there.

        Otherwise it may have expired, because it was not used there since.
        """
        return now < self.ends_at - _SKEW_SECONDS

    def has_ended(self, session: Session, now: float) -> bool:
        """Whether a session that is missing in its store was ended there."""
        end = self.sessions.get(session_name(session.digest), 0)
        return now < end - _SKEW_SECONDS


def session_name(digest: str) -> str:
    """Return a short hash of a session, which identifies it in a mark."""
    return hashlib.sha256(digest.encode()).hexdigest()[:16]


class CopyMarks:
    """The marks in one store, of one TikTok app."""

    def __init__(
        self, space: str, store: StoreAdapter, box: Box, clock: Callable[[], float]
    ) -> None:
        """Take the same objects as `Records`."""
        self._space = space
        self._store = store
        self._box = box
        self._clock = clock

    def _key(self, record_id: str) -> str:
        return row_key(self._space, "copied", record_id)

    async def read(self, record_id: str) -> CopyMark | None:
        """Return a record's mark; None if it was not copied, or too long ago.

        Raises:
            StoreError: the store failed.
        """
        sealed = await self._store.get(self._key(record_id))
        return None if sealed is None else self.opened(record_id, sealed)

    async def read_many(self, record_ids: Sequence[str]) -> list[CopyMark | None]:
        """Return the marks of records, in the order of their ids.

        Raises:
            StoreError: the store failed.
        """
        found = await self._store.get_many([self._key(each) for each in record_ids])
        return [
            None if sealed is None else self.opened(record_id, sealed)
            for record_id, sealed in zip(record_ids, found, strict=True)
        ]

    def opened(self, record_id: str, sealed: bytes) -> CopyMark | None:
        """Return the mark in sealed bytes; None if they cannot be decrypted."""
        packed = self._box.open(sealed, self._key(record_id))
        return None if packed is None else CopyMark.unpack(packed)

    @property
    def prefix(self) -> str:
        """The common prefix of the keys of marks."""
        return self._key("").removesuffix("}")

    async def write(self, record_id: str, mark: CopyMark) -> None:
        """Write a record's mark, after the record.

        If another copy writes one at the same time, either mark is right.

        Raises:
            StoreError: the store failed.
        """
        key, sealed, seconds = self.row(record_id, mark)
        swap = self._store.compare_and_set
        if not await swap(key, None, sealed, seconds):
            before = await self._store.get(key)
            await swap(key, before, sealed, seconds)

    def row(self, record_id: str, mark: CopyMark) -> tuple[str, bytes, float]:
        """Return the key, value and time to live in seconds of a record's mark."""
        key = self._key(record_id)
        return key, self._box.seal(mark.pack(), key), float(MARK_SECONDS)

    async def drop(self, record_id: str) -> None:
        """Delete a record's mark.

        Raises:
            StoreError: the store failed.
        """
        key = self._key(record_id)
        before = await self._store.get(key)
        if before is not None:
            await self._store.compare_and_set(key, before, None, 1)

    async def may_be_outdated(self, record_id: str, record: UserRecord) -> bool:
        """Whether these tokens were copied lately, and never renewed here.

        The old store may then have newer ones, which the next copy brings. A record
        without a mark may have been copied a moment ago: its mark is written after it.

        Raises:
            StoreError: the store failed.
        """
        mark = await self.read(record_id)
        if mark is None:
            return await self.is_moving(_UNMARKED_SECONDS)
        if mark.generation != generation_of(record).hex():
            return False
        return self._clock() < mark.at + MOVING_SECONDS

    # --- all records -----------------------------------------------------------------

    @property
    def _moving(self) -> str:
        return row_key(self._space, "copying", "all")

    async def note_moving(self) -> bool:
        """Note that records are being copied here; return whether they were before.

        Raises:
            StoreError: the store failed.
        """
        before = await self._store.get(self._moving)
        now = str(int(self._clock())).encode()
        await self._store.compare_and_set(self._moving, before, now, MARK_SECONDS)
        return before is not None

    async def is_moving(self, seconds: float = MOVING_SECONDS) -> bool:
        """Whether records were copied here lately, so that some may still follow.

        Args:
            seconds: how long ago at most.

        Raises:
            StoreError: the store failed.
        """
        at = await self._store.get(self._moving)
        if at is None or not at.isdigit():
            return False
        return self._clock() < int(at) + seconds

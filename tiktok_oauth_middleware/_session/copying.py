"""Copies an app's users from one store into another, while both are in use.

Every record is decrypted, merged with the new store's record of the same user, sealed,
and written there with a time to live computed from its content. Users may log in,
refresh and log out at both stores meanwhile.

A copied record that is missing in one store has ended there and is not restored,
unless it would have expired there by now, since it may have been used only in the other
store.

A record is written before its mark. If a copy stops between the two, the record counts
as one without a mark: the newer tokens win, and the sessions of both stores stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tiktok_oauth_middleware.errors import ConfigurationError

from .copy_marks import (
    MOVING_SECONDS,
    CopyMark,
    session_name,
)
from .merging import is_disputed, merged
from .notes import seconds_of
from .record import content_of, generation_of
from .rows import ROW_KINDS, swap_attempts

if TYPE_CHECKING:
    from .connections import Connections
    from .record import UserRecord
    from .record_pages import RowPage
    from .records import Records
    from .versioned_record import VersionedRecord

#: A mark older than this, in seconds, is written again, so that it does not expire
#: while the app moves.
_REMARK_SECONDS = MOVING_SECONDS / 24
#: The number of records that are read to check the keys.
_TRIED = 100


@dataclass(slots=True)
class CopyReport:
    """Counts of the records and notes of a copy; for progress and at the end."""

    #: Records that were read.
    users: int = 0
    #: Written to the new store for the first time.
    copied: int = 0
    #: Written over an older state of the same user.
    updated: int = 0
    #: Not written, because the new store's record is the same, or newer.
    kept: int = 0
    #: Records that ended since the last copy, in the new store or in the old one.
    ended: int = 0
    #: Notes that were written: denied scopes, handled webhooks, finished logins.
    notes: int = 0
    #: Rows that none of ``secret_keys`` decrypts; they were not copied.
    unreadable: int = 0
    #: Rows of kinds that this version does not know, by kind; they were not copied.
    unknown: Counter[str] = field(default_factory=Counter)
    #: Rows of other TikTok apps in the old store.
    foreign: int = 0
    #: Records that are missing in the old store, too many to have ended normally.
    suspicious: int = 0
    #: Accounts that the two stores connect to different users of the app; they keep the
    #: user that the new store names.
    disputed: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether everything was copied."""
        return not (self.unreadable or self.unknown or self.suspicious or self.disputed)


class Copy:
    """One run of a copy between two stores."""

    def __init__(
        self,
        source: Records,
        target: Records,
        connections: Connections,
        *,
        login_seconds: float,
        clock: Callable[[], float],
        progress: Callable[[CopyReport], None],
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            source: the records of the old store.
            target: those of the new one.
            connections: of the new store, which list the accounts of the app's users.
            login_seconds: how long a finished login is remembered.
            clock: seconds since 1970.
            progress: called after each page of rows.
        """
        self._source = source
        self._target = target
        self._connections = connections
        self._login_seconds = login_seconds
        self._clock = clock
        self._progress = progress
        self.report = CopyReport()

    async def run(self) -> CopyReport:
        """Copy everything; safe to repeat, and to interrupt.

        Raises:
            StoreError: a store failed; what was written stays.
        """
        began = int(self._clock())
        is_first = not await self._target.copy_marks.note_moving()
        async for page in self._source.pages.rows():
            await self._page(page)
            await self._target.copy_marks.note_moving()
            self._progress(self.report)
        # A store without users was emptied: no record ends because of that.
        if not is_first and self.report.users:
            await self._end_what_ended(began)
        return self.report

    async def check_keys(self) -> None:
        """Compare the keys with what is stored; nothing is written.

        Raises:
            ConfigurationError: no record of the first hundred can be opened, in one of
                the stores, or the old one has records of other TikTok apps only.
            StoreError: a store failed.
        """
        for records, which in ((self._source, "FROM"), (self._target, "TO")):
            tried, foreign = await _tried(records)
            if tried:
                message = (
                    f"none of secret_keys opens the records of {which}: put the key"
                    " that sealed them at the end of TIKTOK_SECRET_KEYS; nothing was"
                    " copied"
                )
                raise ConfigurationError(message)
            if foreign and which == "FROM":
                message = (
                    "FROM has records of other TikTok apps and none of this one: check"
                    " TIKTOK_CLIENT_KEY; nothing was copied"
                )
                raise ConfigurationError(message)

    async def _page(self, page: RowPage) -> None:
        """Copy some rows; those that are new are written together."""
        # By name: some stores list a row twice at times.
        records: dict[str, bytes] = {}
        notes: dict[str, bytes] = {}
        for row, value in page.rows:
            kind = ROW_KINDS.get(row.kind)
            if row.kind == "foreign":
                self.report.foreign += 1
            elif kind is None:
                self.report.unknown[row.kind] += 1
            elif kind == "record":
                records[row.name] = value
            elif kind == "note":
                notes[row.name] = value
        await self._copy_records(records, page.at)
        await self._copy_notes(notes)

    # --- records ---------------------------------------------------------------------

    async def _copy_records(self, page: Mapping[str, bytes], at: float) -> None:
        """Copy sealed records, by their ids, as they were when they were read."""
        new: list[tuple[str, UserRecord]] = []
        for record_id, record, mark in await self._changed(page, at):
            if record.user_id:
                # Done first, since a record that is not listed would not be found.
                await self._connections.list_copied(record.user_id, record_id)
            if mark is None:
                new.append((record_id, record))
            else:
                await self._copy_one(record_id, record, mark, at)
        # Usually the new store has none of them.
        there = await self._target.read_many_sealed([name for name, _ in new])
        absent = [each for each, found in zip(new, there, strict=True) if not found]
        created = await self._create(absent, at)
        for record_id, record in new:
            if record_id not in created:
                await self._copy_one(record_id, record, None, at)

    async def _create(
        self, records: Sequence[tuple[str, UserRecord]], at: float
    ) -> set[str]:
        """Write records that the new store lacks; return the ids of those written.

        Each is written together with its mark: if the copy stopped between the two, and
        the session ended in the new store, the next copy would bring it back.
        """
        marks = self._target.copy_marks
        rows = [
            (record_id, record, marks.row(record_id, self._mark_of(record, at)))
            for record_id, record in records
        ]
        created = set()
        for (record_id, record), (is_written, is_marked) in zip(
            records, await self._target.create_many(rows), strict=True
        ):
            if is_written:
                created.add(record_id)
                if not is_marked:  # another copy wrote one at the same time
                    await marks.write(record_id, self._mark_of(record, at))
            elif is_marked:  # the user logged in there at the same time
                await marks.drop(record_id)
        self.report.copied += len(created)
        return created

    async def _changed(
        self, page: Mapping[str, bytes], at: float
    ) -> list[tuple[str, UserRecord, CopyMark | None]]:
        """Return the records of a page that have changed since the last copy."""
        marks = self._target.copy_marks
        found = []
        for (record_id, sealed), mark in zip(
            page.items(), await marks.read_many([*page]), strict=True
        ):
            record = self._source.unsealed(record_id, sealed)
            if record is None:
                self.report.unreadable += 1
                continue
            self.report.users += 1
            if mark is None or mark.content != content_of(record):
                found.append((record_id, record, mark))
                continue
            # Only the new store can have changed it since the last copy.
            self.report.kept += 1
            if mark.at < at - _REMARK_SECONDS:
                await marks.write(record_id, self._mark_of(record, at))
        return found

    async def _copy_one(
        self, record_id: str, record: UserRecord, mark: CopyMark | None, at: float
    ) -> None:
        """Copy a record that the new store has, or had."""
        stored: VersionedRecord | None = None
        for _ in swap_attempts():
            stored = None
            if mark is None:
                # Usually it is new there, so this saves a read.
                if await self._target.create(record_id, record) is not None:
                    self.report.copied += 1
                    break
                stored = await self._target.load(record_id)
            else:
                stored = await self._target.load(record_id)
            if await self._write_merged(record_id, record, stored, mark):
                break
        if stored is not None and is_disputed(record, stored.record, mark):
            self.report.disputed += 1
            return  # without a mark, so that the next copy reports it again
        # The time of the read, since later changes in the old store were not copied.
        await self._target.copy_marks.write(record_id, self._mark_of(record, at))

    async def _write_merged(
        self,
        record_id: str,
        record: UserRecord,
        stored: VersionedRecord | None,
        mark: CopyMark | None,
    ) -> bool:
        """Write the merged record; False if the new store's changed meanwhile."""
        if stored is None:
            if mark is None:
                return False  # deleted since `create` found it
            # If the record has ended there, only a later login in the old store counts.
            if mark.was_ended(self._clock()):
                known = mark.sessions
                record = record._replace(
                    sessions=tuple(
                        session
                        for session in record.sessions
                        if session_name(session.digest) not in known
                    )
                )
                if not record.sessions and record.connected_at <= mark.at:
                    self.report.ended += 1
                    return True
            written = await self._target.create(record_id, record)
            self.report.copied += written is not None
            return written is not None
        both = merged(record, stored.record, mark, self._clock())
        if both == stored.record:
            self.report.kept += 1
            return True
        if not both.sessions and not self._target.lifetimes.outlives_sessions(both):
            has_ended = await self._target.delete(stored)
            self.report.ended += has_ended
            return has_ended
        written = await self._target.replace(stored, both)
        self.report.updated += written is not None
        return written is not None

    async def _end_what_ended(self, began: int) -> None:
        """End records that the old store has ended since the last copy.

        A record is deleted only if its tokens are those that were copied. If more than
        half of them are missing, the old store has lost rows, and nothing is deleted.
        """
        missing = copied = 0
        async for stored, _ in self._copied_before(began):
            missing += stored is not None
            copied += 1
        if missing * 2 > copied:
            self.report.suspicious = missing
        if not missing or self.report.suspicious:
            return
        async for stored, record_id in self._copied_before(began):
            if stored is not None and await self._target.delete(stored):
                self.report.ended += 1
                await self._target.copy_marks.drop(record_id)

    async def _copied_before(
        self, began: int
    ) -> AsyncIterator[tuple[VersionedRecord | None, str]]:
        """Yield each record that was copied: as the new store has it, and its id.

        The record is None unless the old store has ended it and the new one still has
        it with the tokens that were copied.
        """
        marks = self._target.copy_marks
        async for page in self._target.pages.rows(marks.prefix):
            opened = {
                row.name: marks.opened(row.name, value) for row, value in page.rows
            }
            there = await self._source.read_many_sealed([*opened])
            for (record_id, mark), sealed in zip(opened.items(), there, strict=True):
                if sealed is not None or mark is None or mark.at > began:
                    yield None, record_id  # the last: copied in this run
                else:
                    yield await self._only_here(record_id, mark), record_id

    async def _only_here(
        self, record_id: str, mark: CopyMark
    ) -> VersionedRecord | None:
        if await self._source.read_sealed(record_id) is not None:
            return None  # signed in a moment ago
        stored = await self._target.load(record_id)
        if stored is None or content_of(stored.record) == mark.content:
            return stored
        # It was used here since. The old store may have dropped it because it was not
        # used there, or ended it because its refresh token was used here.
        is_renewed = mark.generation != generation_of(stored.record).hex()
        was_ended = not is_renewed and mark.was_ended(self._clock())
        return stored if was_ended else None

    def _mark_of(self, record: UserRecord, at: float) -> CopyMark:
        return CopyMark.of(record, at, self._source.lifetimes)

    # --- notes -----------------------------------------------------------------------

    async def _copy_notes(self, page: Mapping[str, bytes]) -> None:
        """Copy notes, by their names, of which the new store has none."""
        self.report.notes += await self._target.notes.create_many(
            [
                (name, value, seconds_of(name, self._login_seconds))
                for name, value in page.items()
            ]
        )


async def _tried(records: Records) -> tuple[int, int]:
    """Return how many records cannot be opened, and how many are of other apps.

    Both are 0 if a record of this app can be opened.
    """
    unreadable = foreign = 0
    async with aclosing(records.pages.row_names()) as pages:
        async for rows in pages:
            for row in rows:
                foreign += row.kind == "foreign"
                if row.kind != "grant":
                    continue
                stored, is_unreadable = await records.inspect(row.name)
                if stored is not None:
                    return 0, 0
                unreadable += is_unreadable
                if unreadable >= _TRIED:
                    return unreadable, foreign
    return unreadable, foreign

"""All rows of the store, a page at a time: for jobs and commands over all users."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from .record import RecordOutline, UserRecord, times_of
from .rows import Row
from .versioned_record import VersionedRecord

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

    from .cache import SessionCache


class RowPage(NamedTuple):
    """Some rows and their values."""

    rows: list[tuple[Row, bytes]]
    #: When the read of them began, in seconds since 1970: they were current then.
    at: float


class SealedRecord(NamedTuple):
    """A record as it was read; it is decrypted when one of its fields is needed.

    The decrypted text is plain bytes. Do not keep it in a frame that logs, or calls the
    app's code, such as ``progress``: a reporter of exceptions would print it.
    """

    record_id: str
    sealed: bytes
    box: Box
    #: Its key in the store.
    key: str
    #: As in `VersionedRecord`.
    changes: int
    at: float

    def parsed(self) -> VersionedRecord | None:
        """Return the record; None if it cannot be opened."""
        packed = self.box.open(self.sealed, self.key)
        record = None if packed is None else UserRecord.unpack(packed)
        return record and VersionedRecord(
            self.record_id, self.sealed, record, self.changes, self.at
        )


class SealedPage:
    """Some records as they were read, without an object for each."""

    __slots__ = ("_at", "_begin", "_box", "_changes", "_rows")

    def __init__(
        self,
        rows: list[tuple[str, bytes]],
        box: Box,
        begin: int,
        changes: int,
        at: float,
    ) -> None:
        """Take rows of the store, and the position of a record's id in their keys."""
        self._rows = rows
        self._box = box
        self._begin = begin
        self._changes = changes
        self._at = at

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[SealedRecord]:
        return (self._record(key, sealed) for key, sealed in self._rows)

    def _record(self, key: str, sealed: bytes) -> SealedRecord:
        record_id = key[self._begin : -1]
        return SealedRecord(record_id, sealed, self._box, key, self._changes, self._at)

    def outlines(
        self, created_after: float, seen_after: float
    ) -> Iterator[RecordOutline | None]:
        """Yield what `RecordOutline.of` returns; None if a record cannot be opened."""
        outline_of = RecordOutline.of
        for _, _, packed in self._box.open_each(self._rows):
            if packed is None:
                yield None
            else:
                yield outline_of(packed, created_after, seen_after)

    def not_ruled_out(
        self, expires_by: float, issued_after: float
    ) -> list[SealedRecord]:
        """Return the records whose access token may be due.

        Args:
            expires_by: includes records whose access token expires by this time.
            issued_after: also includes those issued after this time.
        """
        found = []
        for key, sealed, packed in self._box.open_each(self._rows):
            times = None if packed is None else times_of(packed)
            if times is None or times[1] <= expires_by or times[0] > issued_after:
                found.append(self._record(key, sealed))
        return found


class RecordPages:
    """Reads the store of one TikTok app from its first row to its last."""

    def __init__(
        self,
        space: str,
        store: StoreAdapter,
        box: Box,
        cache: SessionCache,
        clock: Callable[[], float],
    ) -> None:
        """Take the key prefix, and the same objects as `Records`."""
        self._space = space
        self._store = store
        self._box = box
        self._cache = cache
        self._clock = clock

    async def each(
        self, after: str = ""
    ) -> AsyncGenerator[tuple[str, VersionedRecord | None], None]:
        """Yield the id of each record and the record; None if it cannot be opened.

        They are read several at a time, so a record may have changed since. Some stores
        may yield a record twice. Nothing is logged: the caller reports it.

        Args:
            after: the id of a record, to begin after it; "" for all records.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        async with aclosing(self.sealed(after)) as pages:
            async for page in pages:
                for each in page:
                    yield each.record_id, each.parsed()

    async def sealed(self, after: str = "") -> AsyncGenerator[SealedPage, None]:
        """Yield what `each` yields, a few hundred at a time, and still sealed.

        Parsing takes longer than reading and decrypting, and most jobs over all users
        need only a few fields.
        """
        prefix = f"{self._space}:grant:{{"
        begin, is_behind = len(prefix), not after
        last, box = f"{prefix}{after}}}", self._box
        async with aclosing(self._store.rows(prefix)) as pages:
            while True:
                changes, at = self._cache.changes, self._clock()
                page = await anext(pages, None)
                if page is None:
                    return
                if not is_behind:
                    keys = [key for key, _ in page]
                    is_behind = last in keys
                    page = page[keys.index(last) + 1 :] if is_behind else []
                # The keys of locks do not end with the brace.
                rows = [row for row in page if row[0][-1:] == "}"]
                yield SealedPage(rows, box, begin, changes, at)

    async def row_names(self) -> AsyncGenerator[list[Row], None]:
        """Yield all rows of TikTok apps in the store, a thousand or so at a time.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        async with aclosing(self._store.pages("tiktok:")) as pages:
            async for keys in pages:
                yield [Row.of(key, self._space) for key in keys]

    async def rows(self, prefix: str = "tiktok:") -> AsyncGenerator[RowPage, None]:
        """Yield all rows whose keys begin with a prefix, with their values.

        Raises:
            StoreError: the store failed, or cannot list its keys.
        """
        async with aclosing(self._store.rows(prefix)) as pages:
            while True:
                at = self._clock()
                page = await anext(pages, None)
                if page is None:
                    return
                rows = [(Row.of(key, self._space), value) for key, value in page]
                yield RowPage(rows, at)

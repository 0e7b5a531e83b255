"""Connections: which TikTok accounts are connected to which of the app's own users.

Only the account's record decides to which user of the app it is connected. A store
finds rows only by their keys, so each user of the app also has a row that lists the ids
of records. The row is a hint: a record is listed before it is written, and deleted
before it is removed from the row. So after a crash the row may list a record that does
not exist, but it never lacks one. Entries that no record confirms are removed when the
row is read.

The row's key is a keyed hash of the user's id, so that the store does not reveal ids,
which are often small numbers. A row under an older key is found and moved to the
newest.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from tiktok_oauth_middleware._core.base64url import to_text
from tiktok_oauth_middleware._core.encryption import Box, derive
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.errors import StoreError

from .rows import row_key, swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .record import UserRecord
    from .records import Records
    from .versioned_record import VersionedRecord

#: The most TikTok accounts that one user of the app can connect.
MOST_ACCOUNTS = 50
#: The longest id of a user of the app, in bytes of UTF-8; a UUID has 36.
LONGEST_USER_ID = 255
#: A row's lifetime in seconds; its records' tokens live for at most 400 days.
_ROW_SECONDS = 500 * 86400
#: A row is written again after this time, so that it outlives its records.
_REWRITE_SECONDS = 30 * 86400
#: An entry without a record is removed after this time, since the record may be about
#: to be written.
_UNCONFIRMED_SECONDS = 600
_CONNECTIONS_VERSION = "1"
_HASH_BYTES = 16

#: How an attempt to connect ended: connected; connected before, with new tokens now;
#: connected to another user; or the user has `MOST_ACCOUNTS` already.
Status = Literal["connected", "renewed", "taken", "full"]
#: Record id to when it was listed, in seconds since 1970.
_Entries = Mapping[str, int]


class _Row(NamedTuple):
    key: str
    #: None if there is no row.
    sealed: bytes | None
    entries: _Entries


class Connection(NamedTuple):
    """How an attempt to connect ended, and the account's record after it, if any."""

    status: Status
    record: UserRecord | None


class Connections:
    """The TikTok accounts that are connected to users of one app."""

    def __init__(
        self,
        settings: TikTokSettings,
        store: StoreAdapter,
        records: Records,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        keys = [reveal(key) for key in settings.secret_keys]
        self._box = Box(keys, settings.client_key, "connections")
        # Keyed hashes, not keys: debuggers and reporters print attributes.
        self._hashes = [
            hmac.new(derive(key, settings.client_key, "app user"), digestmod="sha256")
            for key in keys
        ]

    # --- connecting --------------------------------------------------------------

    async def connect(
        self,
        user_id: str,
        record_id: str,
        make: Callable[[UserRecord | None], UserRecord],
    ) -> Connection:
        """Connect a TikTok account to a user of the app.

        An account that is connected to another user stays connected to that user. Its
        record still gets the new tokens, since TikTok may have ended the older ones.

        Args:
            user_id: of the app's user.
            record_id: of the TikTok account.
            make: returns the account's record with the new tokens, given the present
                record, whose connection it keeps.

        Raises:
            StoreError: the store failed.
        """
        if await self.is_taken(user_id, record_id):
            return await self._write(None, record_id, make)
        if not await self._list(user_id, record_id):
            done = await self._write(None, record_id, make)
            return done._replace(status="full")
        done = await self._write(user_id, record_id, make)
        if done.status == "taken":
            await self.unlist(user_id, record_id)
        else:
            # Again: a request that found no record yet may have removed the entry. The
            # row may be full by then, if two accounts were connected at once.
            with contextlib.suppress(StoreError):
                await self._list(user_id, record_id, limit=None)
        return done

    async def is_taken(self, user_id: str, record_id: str) -> bool:
        """Whether an account is connected to a user other than this one.

        Raises:
            StoreError: the store failed.
        """
        stored = await self._records.load(record_id)
        return stored is not None and not _is_connectable(stored.record, user_id)

    async def _write(
        self,
        user_id: str | None,
        record_id: str,
        make: Callable[[UserRecord | None], UserRecord],
    ) -> Connection:
        """Write new tokens into a record, and connect it if `user_id` is given."""
        for _ in swap_attempts():
            stored = await self._records.load(record_id)
            present = None if stored is None else stored.record
            is_free = user_id is not None and (
                present is None or _is_connectable(present, user_id)
            )
            if not is_free and present is None:
                return Connection("taken", None)
            record = make(present)
            status: Status = "taken"
            if user_id is not None and is_free:
                is_new = present is None or not present.user_id
                status = "connected" if is_new else "renewed"
                since = record.issued_at if is_new else record.connected_at
                record = record._replace(user_id=user_id, connected_at=since)
            elif present is not None and present.issued_at >= record.issued_at:
                return Connection("taken", present)
            try:
                written = (
                    await self._records.create(record_id, record)
                    if stored is None
                    else await self._records.replace(stored, record)
                )
            except StoreError:
                # Perhaps only the store's answer was lost.
                latest = await self._records.load(record_id)
                if latest is None or latest.record != record:
                    raise
                written = latest
            if written is not None:
                return Connection(status, record)
        raise AssertionError  # swap_attempts has raised

    # --- the accounts of a user --------------------------------------------------

    async def of_user(self, user_id: str) -> list[VersionedRecord]:
        """Return the records that are connected to a user, the oldest connection first.

        Raises:
            StoreError: the store failed.
        """
        rows = await self._rows(user_id)
        found: list[VersionedRecord] = []
        unconfirmed = set()
        for record_id in _merged(rows):
            stored, is_unreadable = await self._records.inspect(record_id)
            if stored is not None and stored.record.user_id == user_id:
                found.append(stored)
            elif not is_unreadable:
                # A record that cannot be opened may be sealed with a newer key.
                unconfirmed.add(record_id)
        oldest = self._clock() - _UNCONFIRMED_SECONDS
        listed = _merged(rows)
        kept = {
            record_id: at
            for record_id, at in listed.items()
            if record_id not in unconfirmed or at > oldest
        }
        if kept != listed or any(row.entries for row in rows[1:]):
            await self._try_to_keep(rows, kept)
        found.sort(key=lambda each: (each.record.connected_at, each.record.open_id))
        return found

    async def keep_listed(self, user_id: str, record_id: str) -> None:
        """List a record that was just renewed, if it is not listed or its row is old.

        If the store fails, the next renewal tries again.
        """
        try:
            newest, *older = await self._rows(user_id)
            at = newest.entries.get(record_id, 0)
            is_recent = self._clock() - at < _REWRITE_SECONDS
            if not is_recent or any(row.entries for row in older):
                await self._list(user_id, record_id, limit=None)
        except StoreError as error:
            logger.warning("a connected account could not be listed: %s", error)

    async def list_copied(self, user_id: str, record_id: str) -> None:
        """List a record that is about to be copied here from another store.

        Raises:
            StoreError: the store failed.
        """
        await self._list(user_id, record_id, limit=None)

    async def unlist(self, user_id: str, record_id: str) -> None:
        """Remove a record that was deleted from its user's row.

        If that fails, the row is corrected when it is read.
        """
        try:
            rows = await self._rows(user_id)
            entries = _merged(rows)
            stored, is_unreadable = await self._records.inspect(record_id)
        except StoreError:
            return
        is_connected = stored is not None and stored.record.user_id == user_id
        if record_id in entries and not is_connected and not is_unreadable:
            kept = {name: at for name, at in entries.items() if name != record_id}
            await self._try_to_keep(rows, kept)

    # --- rows --------------------------------------------------------------------

    async def _list(
        self, user_id: str, record_id: str, *, limit: int | None = MOST_ACCOUNTS
    ) -> bool:
        """Write an entry into a user's row; False if the row is full.

        The row is written even if the entry is there, so that the swap of another
        process that is about to remove the entry fails.
        """
        for _ in swap_attempts():
            rows = await self._rows(user_id)
            others = {n: at for n, at in _merged(rows).items() if n != record_id}
            if limit is not None and len(others) >= limit:
                connected = {each.record_id for each in await self.of_user(user_id)}
                if len(connected - {record_id}) >= limit:
                    return False
                others = {n: at for n, at in others.items() if n in connected}
            if await self._swap(rows, {**others, record_id: int(self._clock())}):
                return True
        raise AssertionError  # swap_attempts has raised

    async def _try_to_keep(self, rows: list[_Row], entries: _Entries) -> None:
        """Write a corrected row, unless another process has written it since."""
        with contextlib.suppress(StoreError):
            await self._swap(rows, entries)

    async def _swap(self, rows: list[_Row], entries: _Entries) -> bool:
        """Write `entries` under the newest key; False if that row has changed."""
        newest, *older = rows
        sealed = None
        if entries:
            lines = [
                _CONNECTIONS_VERSION,
                *(f"{name} {at}" for name, at in entries.items()),
            ]
            sealed = self._box.seal("\n".join(lines).encode(), newest.key)
        has_work = (sealed, newest.sealed) != (None, None)
        if has_work and not await self._store.compare_and_set(
            newest.key, newest.sealed, sealed, _ROW_SECONDS
        ):
            return False
        for row in older:
            if row.sealed is not None:
                await self._store.compare_and_set(row.key, row.sealed, None, 1)
        return True

    async def _rows(self, user_id: str) -> list[_Row]:
        """Return a user's row under each key, the newest key first."""
        rows = []
        for hashed in self._hashes:
            mac = hashed.copy()
            mac.update(user_id.encode())
            name = to_text(mac.digest()[:_HASH_BYTES])
            key = row_key(self._records.space, "user", name)
            sealed = await self._store.get(key)
            rows.append(_Row(key, sealed, self._opened(key, sealed)))
        return rows

    def _opened(self, key: str, sealed: bytes | None) -> _Entries:
        packed = None if sealed is None else self._box.open(sealed, key)
        if packed is None:
            return {}
        version, *lines = packed.decode().split("\n")
        if version != _CONNECTIONS_VERSION:
            return {}
        pairs = (line.split(" ") for line in lines)
        return {record_id: int(at) for record_id, at in pairs}


def _is_connectable(record: UserRecord, user_id: str) -> bool:
    """Whether a record is connected to no user, or to this one."""
    return not record.user_id or hmac.compare_digest(
        record.user_id.encode(), user_id.encode()
    )


def _merged(rows: list[_Row]) -> dict[str, int]:
    """Return the entries of all rows of a user."""
    merged: dict[str, int] = {}
    for row in reversed(rows):
        merged |= row.entries
    return merged


def user_id_fault(user_id: object) -> str | None:
    """Return why a value cannot be the id of a user of the app, or None."""
    if not isinstance(user_id, str):
        return f"a {type(user_id).__name__}, not a str"
    try:
        length = len(user_id.encode())
    except UnicodeEncodeError:
        return "a str that cannot be encoded in UTF-8"
    if not 0 < length <= LONGEST_USER_ID:
        return f"a str of {length} bytes; there must be 1 to {LONGEST_USER_ID}"
    return None

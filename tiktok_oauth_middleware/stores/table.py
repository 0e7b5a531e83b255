"""Rows in a table of an SQL database, independent of the library that is used.

A read is one SELECT. A swap is one statement, which the database runs as a transaction
of its own, so isolation levels do not affect it; the number of rows it matched reports
whether the swap took place. The exception is the creation of a row on MySQL, which
takes a second statement if the row exists.

A lost connection costs one retry on a new one. A swap whose answer was lost may have
taken place: each row carries a random mark of the call that wrote it, by which the
retry recognizes the write of the first try.

Times are whole milliseconds of the database's own clock, which hosts with different
clocks share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from tiktok_oauth_middleware._core import jitter
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import StoreError

from .base import refuse_empty_swap
from .database_errors import (
    ConflictError,
    ConnectionLostError,
    ExecutionError,
    store_error,
)
from .paging import BATCH, SWEEP_EVERY, in_batches

# In UTC: local time repeats an hour when daylight saving ends.
_MYSQL_TIME = "(timestampdiff(microsecond, '1970-01-01', utc_timestamp(3)) div 1000)"
#: The database's own time in milliseconds since 1970, by its name in SQLAlchemy and in
#: Django, to which MariaDB is a MySQL.
SERVER_TIME: Mapping[str, str] = {
    "postgresql": "((extract(epoch from clock_timestamp()) * 1000)::bigint)",
    "mysql": _MYSQL_TIME,
    "mariadb": _MYSQL_TIME,
}
#: Bytes of the mark that each write leaves in its row.
MARK_BYTES = 8
#: Tries of one statement before a call gives up.
_TRIES = 5
#: A prefix with this appended sorts after all keys with that prefix, as UTF-8 bytes.
_LAST = "\U0010ffff"

#: The rows of a query, and the number of rows that a statement matched.
Result = tuple[Sequence[Any], int]


class Statement(NamedTuple):
    """A statement in the driver's form."""

    text: str
    #: Its parameters' names, in their order.
    names: Sequence[str]
    #: Whether the driver takes parameters by position, rather than by name.
    is_positional: bool = True
    #: Parameters that are always the same.
    fixed: Mapping[str, object] = {}

    @property
    def is_query(self) -> bool:
        """Whether it only reads."""
        return self.text.startswith("SELECT")

    def parameters(self, values: Mapping[str, object]) -> Any:
        """Return its parameters in the driver's form; `values` may contain more."""
        if self.fixed:
            values = {**self.fixed, **values}
        if self.is_positional:
            return tuple(values[name] for name in self.names)
        return {name: values[name] for name in self.names}


class DatabaseConnections(Protocol):
    """Connections to one database."""

    #: Seconds that the database has to answer.
    timeout: float

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        """Execute a statement once; a row that exists already counts as no match.

        Raises:
            ExecutionError: It failed.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


class BlockingDatabaseConnections:
    """Connections whose calls block, for flows that `run` finishes."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251 - finished by `run`


class Rows:
    """The rows of one table.

    Args:
        statements: By name: ``get``, ``keys``, ``page``, ``rows``, ``written``,
            ``replace``, ``delete``, ``insert``, ``revive`` and ``sweep``, and
            ``create`` where one statement can create a row and replace an expired one.
        batches: Returns the statements about a number of rows: ``get_many``,
            ``create_many`` and ``written_many``, and ``make_room`` where that does not
            replace expired rows.
        clock: Returns seconds since 1970, for statements with a parameter ``now``;
            None if they read the database's clock.
        has_byte_keys: Whether keys are stored as bytes.
        create_table: How the table is created, for the error about a missing one.
    """

    def __init__(
        self,
        statements: Mapping[str, Statement],
        batches: Callable[[int], Mapping[str, Statement]],
        *,
        clock: Callable[[], float] | None,
        has_byte_keys: bool,
        create_table: str,
    ) -> None:
        self._statements = statements
        #: By number of rows; a call about more makes several statements.
        self._batches = lru_cache(maxsize=BATCH)(batches)
        self._clock = clock
        self._has_byte_keys = has_byte_keys
        self._create_table = create_table
        self._swaps = 0

    async def get(self, connections: DatabaseConnections, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        values = {"key": self._key(key)}
        rows, _ = await self._execute(connections, "get", values)
        return bytes(rows[0][0]) if rows else None

    async def get_many(
        self, connections: DatabaseConnections, keys: Sequence[str]
    ) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        found: list[bytes | None] = []
        for some in in_batches(keys):
            statement = self._batches(len(some))["get_many"]
            values = self._numbered_keys(some)
            rows, _ = await self._execute(connections, statement, values)
            by_key = {_text(key): bytes(value) for key, value in rows}
            found += [by_key.get(key) for key in some]
        return found

    async def create_many(
        self, connections: DatabaseConnections, rows: Sequence[tuple[str, bytes, float]]
    ) -> list[bool]:
        """Write each row that does not exist; return which were written, in order.

        Those that were written have this call's mark.
        """
        created: list[bool] = []
        for some in in_batches(rows):
            statements = self._batches(len(some))
            # In order, since two callers that lock rows in opposite orders block each
            # other: PostgreSQL ends such a deadlock after a second.
            in_order = sorted(some)
            values = self._numbered_keys([key for key, _, _ in in_order])
            values["its_mark"] = os.urandom(MARK_BYTES)
            for place, (_, value, ttl) in enumerate(in_order):
                values[f"value_{place}"] = value
                values[f"life_{place}"] = max(0, round(ttl * 1000))
            for name in ("make_room", "create_many"):
                if name in statements:
                    await self._execute(connections, statements[name], values)
            await self._sweep(connections)
            written, _ = await self._execute(
                connections, statements["written_many"], values
            )
            names = {_text(key) for (key,) in written}
            created += [key in names for key, _, _ in some]
        return created

    def _numbered_keys(self, keys: Sequence[str]) -> dict[str, object]:
        return {f"key_{place}": self._key(key) for place, key in enumerate(keys)}

    async def keys(self, connections: DatabaseConnections, prefix: str) -> list[str]:
        """Return the keys of rows that have not expired and begin with `prefix`."""
        # A range, not a pattern, so that no character of the prefix is special.
        values = {"key": self._key(prefix), "end": self._key(prefix + _LAST)}
        rows, _ = await self._execute(connections, "keys", values)
        return [_text(key) for (key,) in rows]

    async def page(
        self, connections: DatabaseConnections, prefix: str, after: str
    ) -> list[str]:
        """Return the next `PAGE` keys with a prefix, after a key."""
        values = {"key": self._key(after), "end": self._key(prefix + _LAST)}
        rows, _ = await self._execute(connections, "page", values)
        return [_text(key) for (key,) in rows]

    async def rows(
        self, connections: DatabaseConnections, prefix: str, after: str
    ) -> list[tuple[str, bytes]]:
        """Return the next `ROWS` rows with a prefix, after a key."""
        values = {"key": self._key(after), "end": self._key(prefix + _LAST)}
        rows, _ = await self._execute(connections, "rows", values)
        return [(_text(key), bytes(value)) for key, value in rows]

    async def swap(
        self,
        connections: DatabaseConnections,
        key: str,
        old: bytes | None,
        new: bytes | None,
        ttl: float,
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        refuse_empty_swap(old, new)
        values: dict[str, object] = {"key": self._key(key), "old": old}
        if new is None:
            return await self._write(connections, "delete", values)
        life, mark = max(0, round(ttl * 1000)), os.urandom(MARK_BYTES)
        values |= {"value": new, "life": life, "mark": mark}
        if old is not None:
            return await self._write(connections, "replace", values)
        if "create" in self._statements:
            return await self._write(connections, "create", values)
        for _ in range(_TRIES):
            if await self._write(connections, "insert", values):
                return True
            if await self._write(connections, "revive", values):
                return True
            # The row exists, or was deleted between the two statements.
            if await self.get(connections, key) is not None:
                return False
        # Others delete it all the time, or a constraint of the app's own refuses it.
        message = f"the database refused in {_TRIES} tries to create a row"
        raise StoreError(message)

    def _key(self, key: str) -> str | bytes:
        return key.encode() if self._has_byte_keys else key

    def _with_time(self, values: Mapping[str, object]) -> Mapping[str, object]:
        if self._clock is None:
            return values
        return {**values, "now": int(self._clock() * 1000)}

    async def _write(
        self, connections: DatabaseConnections, name: str, values: Mapping[str, object]
    ) -> bool:
        _, count = await self._execute(connections, name, values)
        await self._sweep(connections)
        return count == 1

    async def _sweep(self, connections: DatabaseConnections) -> None:
        self._swaps += 1
        if self._swaps % SWEEP_EVERY:
            return
        # The swap has succeeded; an error of the sweep must not fail it.
        try:
            await connections.execute(self._statements["sweep"], self._with_time({}))
        except ExecutionError as error:
            logger.debug("expired rows were not swept: %s", error)

    async def _execute(
        self,
        connections: DatabaseConnections,
        name: str | Statement,
        values: Mapping[str, object],
    ) -> Result:
        """Execute a statement, with retries after conflicts and a lost connection.

        Raises:
            StoreError: The database failed.
        """
        statement = self._statements[name] if isinstance(name, str) else name
        values = self._with_time(values)
        was_lost, began = False, time.monotonic()
        try:
            for tried in range(_TRIES):
                try:
                    rows, count = await connections.execute(statement, values)
                except ConnectionLostError:
                    # Some drivers report a timeout as a lost connection. The statement
                    # may still wait in the server, and a second would wait behind it.
                    is_timeout = time.monotonic() - began > connections.timeout / 2
                    if was_lost or is_timeout:
                        raise
                    was_lost = True
                except ConflictError:
                    await connections.sleep(jitter.between(0, 0.02 * 2**tried))
                else:
                    if was_lost and count == 0 and "mark" in values:
                        written = self._statements["written"]
                        rows, _ = await connections.execute(written, values)
                        count = len(rows)
                    return rows, count
        except ExecutionError as error:
            action = "read" if statement.is_query else "write"
            raise store_error(
                action, error.cause, self._create_table
            ) from error.__cause__
        message = f"the database met conflicting transactions in {_TRIES} tries"
        raise StoreError(message)

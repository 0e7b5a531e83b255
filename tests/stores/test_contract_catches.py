"""Each store that is broken like a real database or driver fails the contract in the
right test.

A small correct store is broken in one way at a time, as a real database or its driver
would break it.
"""

from __future__ import annotations

import fnmatch
import inspect
import os
import re
import struct
import threading
import time
from contextlib import contextmanager
from typing import Any

import pytest

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware.testing.store_contract import LONG, StoreContract

from ..conftest import Clock


class Right:
    """A correct store in a few lines, with rows in a dictionary."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.table: dict[Any, tuple[Any, float]] = {}
        self.guard = threading.RLock()

    # Methods that broken stores override.

    def name(self, key: str) -> Any:
        return key

    def kept(self, value: bytes) -> Any:
        return value

    def end(self, ttl: float) -> float:
        return self.clock() + ttl

    def now(self) -> float:
        return self.clock()

    def is_same(self, kept: Any, old: bytes) -> bool:
        return kept == self.kept(old)

    def find(self, key: str) -> Any:
        value, end = self.table.get(self.name(key), (None, 0))
        return value if end > self.now() else None

    # The four methods of a store.

    def get(self, key: str) -> Any:
        with self.guard:
            return self.find(key)

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        if old is None and new is None:
            raise ValueError("None")
        with self.guard:
            found = self.find(key)
            is_there = found is None if old is None else found is not None
            if not is_there or (old is not None and not self.is_same(found, old)):
                return False
            if new is None:
                del self.table[self.name(key)]
            else:
                self.table[self.name(key)] = self.kept(new), self.end(ttl)
            return True

    @contextmanager
    def lock(self, key: str, ttl: float) -> Any:
        owner = os.urandom(16)
        held = self.compare_and_set(f"{key}:lock", None, owner, ttl)
        try:
            yield held
        finally:
            if held:
                self.compare_and_set(f"{key}:lock", owner, None, 0)

    # The two for many rows.

    def get_many(self, keys: Any) -> list[Any]:
        return [self.get(key) for key in keys]

    def create_many(self, rows: Any) -> list[bool]:
        swap = self.compare_and_set
        return [swap(key, None, value, ttl) for key, value, ttl in rows]

    # The three that list rows.

    def begins(self, key: str, prefix: str) -> bool:
        return key.startswith(prefix)

    def keys(self, prefix: str) -> list[str]:
        with self.guard:
            found = [key for key in self.table if self.find(key) is not None]
        return [key for key in found if self.begins(key, prefix)]

    def pages(self, prefix: str) -> Any:
        keys = sorted(self.keys(prefix))
        yield from (keys[n : n + 100] for n in range(0, len(keys), 100))

    def rows(self, prefix: str) -> Any:
        for page in self.pages(prefix):
            yield [(key, self.get(key)) for key in page]

    def close(self) -> None:
        pass


class FloatOfFourBytes(Right):
    """``Float`` of MySQL and MariaDB rounds a time to 128 seconds."""

    def end(self, ttl):
        return struct.unpack("f", struct.pack("f", super().end(ttl)))[0]


class MillisecondsOfFourBytes(Right):
    """``INTEGER`` limits a long lifetime."""

    def end(self, ttl):
        return self.clock() + min(ttl, 2**31 / 1000 - 1) - (ttl > 2**31 / 1000) * 2**31


class DatesAboveThirtyDays(Right):
    """memcached takes a lifetime above 30 days for a date."""

    def end(self, ttl):
        return ttl if ttl > 30 * 86400 else super().end(ttl)


class SaysStored(Right):
    """A driver does not wait for the answer, and says that each row was created."""

    def compare_and_set(self, key, old, new, ttl):
        return super().compare_and_set(key, old, new, ttl) or old is None


class ClockAhead(Right):
    """The database uses its own clock, which is an hour ahead of the writer's."""

    def now(self):
        return self.clock() + 3600


class ClockBehind(Right):
    """The database's clock is an hour behind."""

    def now(self):
        return self.clock() - 3600


class LocksByAnotherClock(Right):
    """Locks use a clock that is a minute behind."""

    @contextmanager
    def lock(self, key, ttl):
        with super().lock(key, ttl - 60) as held:
            yield held


class NoCase(Right):
    """A collation compares keys without case."""

    def name(self, key):
        return key.lower()


class PaddedKeys(Right):
    """A collation ignores blanks at the end of a key (PAD SPACE)."""

    def name(self, key):
        return key.rstrip(" ")


class ShortKeys(Right):
    """A column truncates keys."""

    def name(self, key):
        return key[:64]


class TextValues(Right):
    """Values are stored as text, and bytes that are not UTF-8 are lost."""

    def kept(self, value):
        return value.decode("utf-8", "replace").encode()


class CStrings(Right):
    """A driver truncates a value at its first NUL."""

    def kept(self, value):
        return value.split(b"\0")[0]


class PaddedValues(Right):
    """``CHAR`` and ``BINARY`` lose trailing padding characters."""

    def kept(self, value):
        return value.rstrip(b" \0")


class ValuesWithoutCase(Right):
    """Values are compared by a collation."""

    def is_same(self, kept, old):
        return kept.lower() == old.lower()


class SmallBlob(Right):
    """``BLOB`` of MySQL holds 65,535 bytes, and truncates without strict mode."""

    def kept(self, value):
        return value[:65_535]


class SmallStrictBlob(Right):
    """In strict mode a value that is too long for ``BLOB`` is an error."""

    def kept(self, value):
        if len(value) > 65_535:
            raise StoreError("data too long")
        return value


class Deadlocks(Right):
    """One of two simultaneous writers is ended by the database, and not retried."""

    busy = 0

    def compare_and_set(self, key, old, new, ttl):
        self.busy += 1
        try:
            time.sleep(0)
            if self.busy > 1:
                raise StoreError("deadlock")
            time.sleep(0.001)
            return super().compare_and_set(key, old, new, ttl)
        finally:
            self.busy -= 1


class Snapshots(Right):
    """Each thread reads from a transaction that stays open until it writes."""

    def __init__(self, clock):
        super().__init__(clock)
        self.local = threading.local()

    def get(self, key):
        with self.guard:
            if not hasattr(self.local, "table"):
                self.local.table = dict(self.table)
            value, end = self.local.table.get(key, (None, 0))
            return value if end > self.now() else None

    def compare_and_set(self, *given):
        with self.guard:
            self.local.__dict__.clear()
            return super().compare_and_set(*given)


class NotAtomic(Right):
    """Reading and writing are two steps."""

    def compare_and_set(self, key, old, new, ttl):
        found = self.get(key)
        time.sleep(0.0005)
        with self.guard:
            if found != old:
                return False
            if new is None:
                self.table.pop(key, None)
            else:
                self.table[key] = new, self.end(ttl)
            return True


class CountsChanges(Right):
    """``rowcount`` of MySQL counts rows that changed, not rows that matched."""

    def compare_and_set(self, key, old, new, ttl):
        with self.guard:
            before = self.table.get(key)
            done = super().compare_and_set(key, old, new, ttl)
            return done and self.table.get(key) != before


class LockOutlives(Right):
    """A lock that does not expire."""

    @contextmanager
    def lock(self, key, ttl):
        with super().lock(key, LONG) as held:
            yield held


class OnlyFound(Right):
    """``SELECT ... IN`` has no row for a key that is missing, and an order of its own."""

    def get_many(self, keys):
        found = [self.get(key) for key in sorted(keys)]
        return [value for value in found if value is not None]


class EmptyIsMissing(Right):
    """A value is tested for being true."""

    def get_many(self, keys):
        return [self.get(key) or None for key in keys]


class Overwrites(Right):
    """``INSERT OR REPLACE``, or SET without NX."""

    def create_many(self, rows):
        found = [self.get(key) is None for key, _, _ in rows]
        for key, value, ttl in rows:
            self.compare_and_set(key, self.get(key), value, ttl)
        return found


class IgnoresExpired(Right):
    """``INSERT IGNORE``: an expired row is still in the table."""

    def create_many(self, rows):
        is_new = [self.name(key) not in self.table for key, _, _ in rows]
        super().create_many([row for row, new in zip(rows, is_new, strict=True) if new])
        return is_new


class OneLifetime(Right):
    """All rows of a batch get the lifetime of the first."""

    def create_many(self, rows):
        return super().create_many([(*row[:2], rows[0][2]) for row in rows])


class ReadsBefore(Right):
    """The result is read before the rows are written."""

    def create_many(self, rows):
        found = [self.get(key) is None for key, _, _ in rows]
        time.sleep(0.01)
        super().create_many(rows)
        return found


class LocksInAnyOrder(Right):
    """A database ends one of two callers that lock the same rows in opposite orders."""

    def create_many(self, rows):
        with self.guard:
            taken = self.__dict__.setdefault("taken", [])
            taken.append([key for key, _, _ in rows])
            if taken[0] != taken[-1] and set(taken[0]) == set(taken[-1]):
                raise StoreError("deadlock")
        return super().create_many(rows)


class LikePrefix(Right):
    """``LIKE`` reads % and _ of a prefix as patterns."""

    def begins(self, key, prefix):
        pattern = re.escape(prefix).replace("%", ".*").replace("_", ".")
        return re.match(pattern, key) is not None


class GlobPrefix(Right):
    """``KEYS`` of Redis reads *, ? and [ of a prefix as patterns."""

    def begins(self, key, prefix):
        return fnmatch.fnmatchcase(key, f"{prefix}*")


class PrefixWithoutCase(Right):
    """``LIKE`` of SQLite ignores case."""

    def begins(self, key, prefix):
        return key.lower().startswith(prefix.lower())


class ListsExpired(Right):
    """The list is of all rows of the table."""

    def keys(self, prefix):
        return [key for key in self.table if self.begins(key, prefix)]


class FirstPage(Right):
    """The answer of a paged API is read up to its first page."""

    def pages(self, prefix):
        yield next(super().pages(prefix), [])


class MissesAtTheEdge(Right):
    """Each page begins one row too late."""

    def pages(self, prefix):
        pages = super().pages(prefix)
        yield from [next(pages, []), *(page[1:] for page in pages)]


class ShiftedValues(Right):
    """Keys and values are read in two orders."""

    def rows(self, prefix):
        for page in super().rows(prefix):
            keys, values = zip(*page, strict=True)
            yield list(zip(keys, sorted(values, reverse=True), strict=True))


#: A broken store, and the test that must find it.
BROKEN = [
    (FloatOfFourBytes, "test_nothing_is_born_expired"),
    (MillisecondsOfFourBytes, "test_nothing_is_born_expired"),
    (DatesAboveThirtyDays, "test_nothing_is_born_expired"),
    (SaysStored, "test_create_once"),
    (ClockAhead, "test_nothing_is_born_expired"),
    (ClockBehind, "test_nothing_outlives_its_time"),
    (LocksByAnotherClock, "test_nothing_is_born_expired"),
    (NoCase, "test_keys_are_exact"),
    (PaddedKeys, "test_keys_are_exact"),
    (ShortKeys, "test_long_keys"),
    (TextValues, "test_like_values_differ"),
    (CStrings, "test_like_values_differ"),
    (PaddedValues, "test_like_values_differ"),
    (ValuesWithoutCase, "test_like_values_differ"),
    (SmallBlob, "test_large_values"),
    (SmallStrictBlob, "test_large_values"),
    (Deadlocks, "test_crossing_writers_fail_nothing"),
    (Snapshots, "test_a_read_sees_what_others_wrote"),
    (NotAtomic, "test_creating_happens_once"),
    (CountsChanges, "test_replace_by_the_same"),
    (LockOutlives, "test_nothing_outlives_its_time"),
    (OnlyFound, "test_batches_read_and_create"),
    (EmptyIsMissing, "test_batches_read_and_create"),
    (Overwrites, "test_batches_replace_nothing"),
    (IgnoresExpired, "test_batches_expire"),
    (OneLifetime, "test_batches_expire"),
    (ReadsBefore, "test_batches_create_once"),
    (LocksInAnyOrder, "test_batches_create_once"),
    (LikePrefix, "test_lists_are_complete"),
    (GlobPrefix, "test_lists_are_complete"),
    (PrefixWithoutCase, "test_lists_are_complete"),
    (ListsExpired, "test_lists_hold_no_expired_row"),
    (FirstPage, "test_lists_are_complete"),
    (MissesAtTheEdge, "test_lists_are_complete"),
    (ShiftedValues, "test_lists_are_complete"),
]


def failures(kind: type[Right], name: str) -> list[str]:
    """Return the failures of a contract test with a store, one for each case."""
    test = getattr(StoreContract, name)
    marks = getattr(test, "pytestmark", [])
    cases: list[dict[str, Any]] = [{}]
    for mark in marks:
        cases = [{mark.args[0]: value} for value in mark.args[1]]
    found = []
    for number, case in enumerate(cases):
        clock = Clock()
        given = {
            "store": kind(clock),
            "key": f"contract:{{Row{number}}}",
            "tick": clock.advance,
            **case,
        }
        wanted = list(inspect.signature(test).parameters)[1:]
        try:
            test(StoreContract(), **{each: given[each] for each in wanted})
        except (AssertionError, StoreError) as error:
            found.append(f"{case}: {type(error).__name__}")
    return found


TESTS = [
    name
    for name in dir(StoreContract)
    if name.startswith("test_") and name != "test_a_failure_is_a_store_error"
]


@pytest.mark.parametrize("name", TESTS)
def test_the_right_one_passes(name: str) -> None:
    """The correct store passes every test."""
    assert failures(Right, name) == []


@pytest.mark.parametrize(
    ("kind", "name"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN]
)
def test_a_broken_one_is_caught(kind: type[Right], name: str) -> None:
    """A broken store fails the test for its fault."""
    assert failures(kind, name) != []

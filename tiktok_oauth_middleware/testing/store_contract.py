"""The guarantees of every store, each a test; `stores` says how to use them."""

from __future__ import annotations

import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tiktok_oauth_middleware.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: A lifetime longer than any test, in seconds, for rows that must not expire.
LONG = 3600.0
#: The most characters of a key, without those added for its lock.
_LONGEST_KEY = 99
_THREADS = 8
#: Rows of a batch: more than a store of ours sends at once.
_MANY = 260
_ROUNDS = 25


class StoreContract:
    """Tests that a `Store` must pass; override `store` and other fixtures as needed."""

    #: The lifetime of rows whose expiry is tested, in seconds; more for a slow store.
    lifetime: float = 0.3

    @pytest.fixture
    def store(self) -> Any:
        """Return the store to test, which may contain other rows."""
        pytest.fail("override the fixture `store`")

    @pytest.fixture
    def tick(self) -> Callable[[float], None]:
        """Return a function that lets seconds pass; override it to move a clock."""
        return time.sleep

    @pytest.fixture
    def failing_store(self) -> Any:
        """Return a store that cannot answer.

        A store that never fails sets ``test_a_failure_is_a_store_error = None``.
        """
        pytest.fail("override the fixture `failing_store`")

    @pytest.fixture
    def key(self) -> str:
        """Return a key that no other test uses."""
        return f"contract:{{{uuid.uuid4().hex}}}"

    def _expire(self, tick: Callable[[float], None]) -> None:
        tick(self.lifetime * 1.5)

    def _in_time(self, check: Callable[[float], None]) -> None:
        """Check with a short lifetime, and again with longer ones if it was too short.

        On a busy machine a short lifetime may be over before the row is read.
        """
        for factor in (1, 5):
            with suppress(AssertionError):
                check(self.lifetime * factor)
                return
        check(self.lifetime * 25)

    # --- one row -------------------------------------------------------------------

    def test_missing_is_none(self, store: Any, key: str) -> None:
        """A row that was never written reads as None."""
        assert store.get(key) is None

    def test_create(self, store: Any, key: str) -> None:
        """A swap from None writes a row that can be read."""
        assert store.compare_and_set(key, None, b"first", LONG) is True
        assert store.get(key) == b"first"

    def test_create_once(self, store: Any, key: str) -> None:
        """A swap from None is refused if there is a row, even with the same value."""
        store.compare_and_set(key, None, b"first", LONG)
        assert store.compare_and_set(key, None, b"second", LONG) is False
        assert store.compare_and_set(key, None, b"first", LONG) is False
        assert store.get(key) == b"first"

    def test_replace(self, store: Any, key: str) -> None:
        """A swap from the value that is there replaces it."""
        store.compare_and_set(key, None, b"first", LONG)
        assert store.compare_and_set(key, b"first", b"second", LONG) is True
        assert store.get(key) == b"second"

    def test_replace_by_the_same(self, store: Any, key: str) -> None:
        """A swap from a value to itself succeeds, each time."""
        store.compare_and_set(key, None, b"same", LONG)
        assert store.compare_and_set(key, b"same", b"same", LONG) is True
        assert store.compare_and_set(key, b"same", b"same", LONG) is True

    def test_replace_only_what_is_there(self, store: Any, key: str) -> None:
        """A swap from another value is refused and changes nothing."""
        store.compare_and_set(key, None, b"first", LONG)
        for old in (b"other", b"firs", b"first ", b"First", b""):
            assert store.compare_and_set(key, old, b"second", LONG) is False
        assert store.get(key) == b"first"

    def test_replace_nothing(self, store: Any, key: str) -> None:
        """A swap from a value is refused if there is no row, and creates none."""
        assert store.compare_and_set(key, b"first", b"second", LONG) is False
        assert store.compare_and_set(key, b"", b"second", LONG) is False
        assert store.get(key) is None

    def test_delete(self, store: Any, key: str) -> None:
        """A swap to None deletes the row, which can then be created again."""
        store.compare_and_set(key, None, b"first", LONG)
        assert store.compare_and_set(key, b"first", None, 0) is True
        assert store.get(key) is None
        assert store.compare_and_set(key, None, b"again", LONG) is True

    def test_delete_only_what_is_there(self, store: Any, key: str) -> None:
        """A swap from another value to None is refused and deletes nothing."""
        assert store.compare_and_set(key, b"first", None, 0) is False
        store.compare_and_set(key, None, b"first", LONG)
        assert store.compare_and_set(key, b"other", None, 0) is False
        assert store.get(key) == b"first"

    def test_nothing_to_nothing(self, store: Any, key: str) -> None:
        """A swap from None to None is a ValueError."""
        with pytest.raises(ValueError, match="None"):
            store.compare_and_set(key, None, None, LONG)

    def test_rows_are_apart(self, store: Any, key: str) -> None:
        """A row is found by its whole key, and no character of a key is a pattern."""
        for other in (key, f"{key}x", f"{key[:-1]}", f"{key[:-1]}*", f"{key}%", "?"):
            store.compare_and_set(other, None, b"kept", LONG)
        assert store.compare_and_set(f"{key[:-1]}*", b"kept", None, 0) is True
        assert store.compare_and_set(f"{key}%", b"kept", None, 0) is True
        assert store.get(key) == store.get(f"{key}x") == b"kept"

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"\0",
            bytes(range(256)),
            "\N{SNOWMAN}'\"\\\r\n".encode(),
            b"12345678",
            b"x" * 100_000,
        ],
        ids=["empty", "nul", "every byte", "text", "eight bytes", "100 kB"],
    )
    def test_bytes_are_bytes(self, store: Any, key: str, value: bytes) -> None:
        """Any bytes are read as they were written, and compared byte for byte."""
        assert store.compare_and_set(key, None, value, LONG) is True
        assert store.get(key) == value
        assert isinstance(store.get(key), bytes)
        assert store.compare_and_set(key, value + b"!", b"other", LONG) is False
        assert store.compare_and_set(key, value, value + b"!", LONG) is True
        assert store.compare_and_set(key, value + b"!", None, 0) is True

    def test_keys_are_exact(self, store: Any, key: str) -> None:
        """Keys that differ in case, or in blanks at their ends, name different rows."""
        others = (key, key.swapcase(), f"{key} ", f"{key}  ", f" {key}", f"{key}\t")
        for number, other in enumerate(others):
            assert store.compare_and_set(other, None, b"%d" % number, LONG) is True
        for number, other in enumerate(others):
            assert store.get(other) == b"%d" % number
        assert store.compare_and_set(key.swapcase(), b"1", None, 0) is True
        assert store.get(key) == b"0"

    def test_long_keys(self, store: Any, key: str) -> None:
        """A key of the greatest length is stored whole, and so is its lock."""
        long = key.ljust(_LONGEST_KEY - 1, "x")
        for last in "ab":
            assert store.compare_and_set(long + last, None, last.encode(), LONG) is True
        for last in "ab":
            assert store.get(long + last) == last.encode()
        with (
            store.lock(long + "a", LONG) as held,
            store.lock(long + "b", LONG) as too,
        ):
            assert held is too is True

    @pytest.mark.parametrize("size", [65_535, 65_536, 70_000])
    def test_large_values(self, store: Any, key: str, size: int) -> None:
        """A value of slightly more than 64 kB is stored whole."""
        value = bytes(range(1, 251)) * (size // 250 + 1)
        value = value[:size]
        assert store.compare_and_set(key, None, value, LONG) is True
        assert store.get(key) == value
        assert store.compare_and_set(key, value[:-1], b"other", LONG) is False
        assert store.compare_and_set(key, value, value[::-1], LONG) is True
        assert store.get(key) == value[::-1]

    @pytest.mark.parametrize(
        "value",
        [
            b"a\0",
            b"a\0\0b",
            b"\0a",
            b"a ",
            b"\xff\xfe",
            b"\x80",
            b"A",
            b"a\r\n",
            b"0x61",
        ],
        ids=repr,
    )
    def test_like_values_differ(self, store: Any, key: str, value: bytes) -> None:
        """Values that are equal as text, C strings or by collation still differ."""
        assert store.compare_and_set(key, None, value, LONG) is True
        assert store.get(key) == value
        assert store.compare_and_set(key, b"a", b"other", LONG) is False
        assert store.compare_and_set(key, b"a", None, 0) is False
        assert store.compare_and_set(key, value, b"a", LONG) is True
        assert store.compare_and_set(key, value, b"other", LONG) is False
        assert store.get(key) == b"a"

    # --- expiry --------------------------------------------------------------------

    @pytest.mark.parametrize("ttl", [10, 20, 40, 80, 3600, 400 * 86400])
    def test_nothing_is_born_expired(self, store: Any, key: str, ttl: float) -> None:
        """A row or a lock exists once it was written, however short its lifetime.

        A four-byte float of a time in seconds is off by up to a minute, and a four-byte
        integer of milliseconds is too small for 400 days.
        """
        assert store.compare_and_set(key, None, b"value", ttl) is True
        assert store.get(key) == b"value"
        assert store.compare_and_set(key, b"value", b"value", ttl) is True
        assert store.get(key) == b"value"
        with store.lock(key, ttl) as held:
            assert held is True
            with store.lock(key, ttl) as held_too:
                assert held_too is False

    def test_nothing_outlives_its_time(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """Rows and locks with different lifetimes each expire at their time."""
        ttls = [self.lifetime * share for share in (0.2, 0.6, 1.0)]
        locks = [store.lock(f"{key}{n}", ttl) for n, ttl in enumerate(ttls)]
        for number, ttl in enumerate(ttls):
            store.compare_and_set(f"{key}{number}", None, b"short", ttl)
            locks[number].__enter__()
        self._expire(tick)
        for number in range(len(ttls)):
            assert store.get(f"{key}{number}") is None
            with store.lock(f"{key}{number}", LONG) as held:
                assert held is True

    def test_expiry(self, store: Any, key: str, tick: Callable[[float], None]) -> None:
        """A row reads as None once its lifetime is over, and not before."""

        def check(life: float) -> None:
            short, long = f"{key}{life}", f"{key}{life}+"
            store.compare_and_set(short, None, b"short", life)
            store.compare_and_set(long, None, b"long", LONG)
            assert store.get(short) == b"short"
            tick(life * 1.5)
            assert store.get(short) is None
            assert store.get(long) == b"long"

        self._in_time(check)

    def test_expired_is_missing_to_a_swap(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """An expired row cannot be replaced or deleted, and can be created."""
        store.compare_and_set(key, None, b"old", self.lifetime)
        self._expire(tick)
        assert store.compare_and_set(key, b"old", b"new", LONG) is False
        assert store.compare_and_set(key, b"old", None, 0) is False
        assert store.get(key) is None
        assert store.compare_and_set(key, None, b"new", LONG) is True
        assert store.get(key) == b"new"

    def test_a_swap_begins_a_new_life(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """A row lives for the time that the last swap gave it."""

        def check(life: float) -> None:
            longer, shorter = f"{key}{life}", f"{key}{life}-"
            store.compare_and_set(longer, None, b"short", life)
            assert store.compare_and_set(longer, b"short", b"long", LONG)
            store.compare_and_set(shorter, None, b"long", LONG)
            store.compare_and_set(shorter, b"long", b"short", life)
            tick(life * 1.5)
            assert store.get(longer) == b"long"
            assert store.get(shorter) is None

        self._in_time(check)

    def test_no_life(self, store: Any, key: str) -> None:
        """A row with a lifetime of zero counts as missing at once."""
        assert store.compare_and_set(key, None, b"never", 0) is True
        assert store.get(key) is None
        store.compare_and_set(key, None, b"first", LONG)
        assert store.compare_and_set(key, b"first", b"never", -1) is True
        assert store.get(key) is None

    # --- many at once --------------------------------------------------------------

    def test_no_increment_is_lost(self, store: Any, key: str) -> None:
        """Threads that count by swapping lose no increment."""
        store.compare_and_set(key, None, b"0", LONG)

        def count(_: int) -> None:
            for _ in range(_ROUNDS):
                _increment(store, key)

        _at_once(count)
        assert store.get(key) == b"%d" % (_THREADS * _ROUNDS)

    def test_creating_happens_once(self, store: Any, key: str) -> None:
        """If several threads create the same row, one succeeds."""
        keys = [f"{key}{number}" for number in range(_ROUNDS)]

        def create(_: int) -> list[bool]:
            return [store.compare_and_set(each, None, b"used", LONG) for each in keys]

        assert [sum(results) for results in zip(*_at_once(create), strict=True)] == (
            [1] * _ROUNDS
        )

    def test_taking_happens_once(self, store: Any, key: str) -> None:
        """If several threads delete the same row, one succeeds."""
        keys = [f"{key}{number}" for number in range(_ROUNDS)]
        for each in keys:
            store.compare_and_set(each, None, b"ticket", LONG)

        def take(_: int) -> list[bool]:
            return [store.compare_and_set(each, b"ticket", None, 0) for each in keys]

        assert [sum(results) for results in zip(*_at_once(take), strict=True)] == (
            [1] * _ROUNDS
        )

    def test_crossing_writers_fail_nothing(self, store: Any, key: str) -> None:
        """Threads that create and delete rows in opposite orders meet no error.

        A database may end one of them with a deadlock, after which it is to be retried.
        """
        keys = [f"{key}{number}" for number in range(10)]

        def work(number: int) -> int:
            turn = random.Random(number)
            made = 0
            for each in turn.sample(keys, len(keys)):
                made += store.compare_and_set(each, None, b"row", LONG)
            for each in turn.sample(keys, len(keys)):
                made -= store.compare_and_set(each, b"row", None, 0)
            return made

        made = sum(_at_once(work))
        assert made == sum(store.get(each) is not None for each in keys)

    def test_a_read_sees_what_others_wrote(self, store: Any, key: str) -> None:
        """A value that another thread has written is read at once, inside a lock too.

        A transaction that stays open would show the values from its beginning.
        """
        with ThreadPoolExecutor(1) as other:

            def write(old: bytes | None, new: bytes) -> None:
                swap = other.submit(store.compare_and_set, key, old, new, LONG)
                assert swap.result(60) is True

            assert store.get(key) is None
            write(None, b"1")
            assert store.get(key) == b"1"
            write(b"1", b"2")
            assert store.compare_and_set(key, b"1", b"stale", LONG) is False
            assert store.get(key) == b"2"
            with store.lock(key, LONG):
                assert store.get(key) == b"2"
                write(b"2", b"3")
                assert store.get(key) == b"3"
                assert store.compare_and_set(key, b"3", b"4", LONG) is True
                assert other.submit(store.get, key).result(60) == b"4"

    # --- lists of rows ---------------------------------------------------------------

    def _lists(self, store: Any) -> list[Callable[[str], list[str]]]:
        """Return functions that list keys, by the optional methods that a store has."""
        found: list[Callable[[str], list[str]]] = []
        if hasattr(store, "keys"):
            found.append(store.keys)
        if hasattr(store, "pages"):
            found.append(lambda prefix: [*chain(*store.pages(prefix))])
        if hasattr(store, "rows"):
            found.append(lambda prefix: [*_rows(store, prefix)])
        return found

    def test_lists_are_complete(self, store: Any, key: str) -> None:
        """A list has every row whose key begins with the prefix, and no other.

        No character of a prefix is a pattern, and its case counts. A row that a store
        of several nodes lists twice is the same row.
        """
        listed = {f"{key}{n}:{end}" for n in range(_MANY) for end in ("a", "B")}
        listed |= {f"{key}%.", f"{key}_.", f"{key}*?[a-z]"}
        for each in listed:
            assert store.compare_and_set(each, None, each.encode(), LONG) is True
        others = (key.swapcase(), f"{key[:-1]}x", f"x{key}", f"{key[:-2]}_}}")
        for each in others:
            assert store.compare_and_set(each, None, b"other", LONG) is True
        for listing in self._lists(store):
            assert set(listing(key)) == listed
            for mark in ("%", "_", "*", "*?[", "_%", "1"):
                wanted = {each for each in listed if each.startswith(f"{key}{mark}")}
                assert set(listing(f"{key}{mark}")) == wanted
        if hasattr(store, "rows"):
            assert _rows(store, key) == {each: each.encode() for each in listed}

    def test_lists_hold_no_expired_row(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """A row that has expired or was deleted is in no list."""
        short, gone, long = f"{key}short", f"{key}gone", f"{key}long"
        store.compare_and_set(short, None, b"1", self.lifetime)
        store.compare_and_set(gone, None, b"1", LONG)
        store.compare_and_set(gone, b"1", None, 0)
        store.compare_and_set(long, None, b"1", LONG)
        self._expire(tick)
        for listing in self._lists(store):
            assert set(listing(key)) == {long}

    # --- many rows with one call ---------------------------------------------------

    def _has_batches(self, store: Any) -> bool:
        """Whether a store has `get_many` and `create_many`, which are optional."""
        return hasattr(store, "get_many") and hasattr(store, "create_many")

    def test_batches_read_and_create(self, store: Any, key: str) -> None:
        """Many rows are created unless they are there, and read in the order asked.

        Keys differ in case and in blanks, and values are any bytes.
        """
        if not self._has_batches(store):
            return
        assert store.create_many([]) == store.get_many([]) == []
        assert store.compare_and_set(f"{key}7", None, b"before", LONG) is True
        keys = [key, key.swapcase(), f"{key} ", f"{key}%", f"{key[:-1]}*", f"{key}?"]
        keys += [f"{key}{number}" for number in range(_MANY)]
        values = [b"", b"\0", b"a ", bytes(range(256)), b"x" * 70_000, b"\xff\xfe"]
        values += [b"value %d" % number for number in range(_MANY)]
        rows = [(*row, LONG) for row in zip(keys, values, strict=True)]
        random.Random(7).shuffle(rows)
        created = store.create_many(rows)
        assert created == [each != f"{key}7" for each, _, _ in rows]
        values[keys.index(f"{key}7")] = b"before"
        assert store.get_many(keys) == values
        asked = [keys[9], f"{key}missing", keys[0], keys[1]]
        expected = [values[9], None, values[0], values[1]]
        assert store.get_many(asked) == expected
        assert [store.get(each) for each in asked] == expected

    def test_batches_replace_nothing(self, store: Any, key: str) -> None:
        """A row that is there keeps its value, even if the new one is the same."""
        if not self._has_batches(store):
            return
        keys = [f"{key}{number}" for number in range(3)]
        assert store.create_many([(each, b"1", LONG) for each in keys]) == [True] * 3
        assert store.create_many([(each, b"1", LONG) for each in keys]) == [False] * 3
        assert store.compare_and_set(keys[1], b"1", b"2", LONG) is True
        assert store.compare_and_set(keys[2], b"1", None, 0) is True
        again = store.create_many([(each, b"3", LONG) for each in keys])
        assert again == [False, False, True]
        assert store.get_many(keys) == [b"1", b"2", b"3"]
        assert store.compare_and_set(keys[2], b"3", b"4", LONG) is True

    def test_batches_expire(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """Each row has its own lifetime; one that has expired counts as missing."""
        if not self._has_batches(store):
            return
        short, long = f"{key}short", f"{key}long"
        store.create_many([(short, b"1", self.lifetime), (long, b"1", LONG)])
        self._expire(tick)
        assert store.get_many([long, short]) == [b"1", None]
        again = store.create_many([(short, b"2", LONG), (long, b"2", LONG)])
        assert again == [True, False]
        assert store.get_many([long, short]) == [b"1", b"2"]
        assert store.get(short) == b"2"

    def test_batches_create_once(self, store: Any, key: str) -> None:
        """If threads create the same rows in different orders, one creates each."""
        if not self._has_batches(store):
            return
        keys = [f"{key}{number}" for number in range(_MANY)]

        def create(number: int) -> set[str]:
            mixed = random.Random(number).sample(keys, len(keys))
            created = store.create_many(
                [(each, b"%d" % number, LONG) for each in mixed]
            )
            return {each for each, is_new in zip(mixed, created, strict=True) if is_new}

        found = _at_once(create)
        assert sorted(each for some in found for each in some) == sorted(keys)
        for number, some in enumerate(found):
            assert set(store.get_many([*some])) <= {b"%d" % number}

    # --- locks ---------------------------------------------------------------------

    def test_a_lock_has_one_holder(self, store: Any, key: str) -> None:
        """A lock that is held is refused without waiting; other locks are free."""
        with store.lock(key, LONG) as held:
            assert held is True
            with store.lock(key, LONG) as held_too:
                assert held_too is False
            with store.lock(f"{key}2", LONG) as other:
                assert other is True

    def test_a_refused_lock_releases_nothing(self, store: Any, key: str) -> None:
        """A caller that was refused a lock leaves it with its holder."""
        with store.lock(key, LONG):
            with store.lock(key, LONG):
                pass
            with store.lock(key, LONG) as held:
                assert held is False

    def test_a_lock_is_released(self, store: Any, key: str) -> None:
        """A lock is free once its holder has left the block."""
        for _ in range(3):
            with store.lock(key, LONG) as held:
                assert held is True

    def test_a_lock_is_released_by_an_error(self, store: Any, key: str) -> None:
        """An error inside passes through and leaves the lock free."""
        with pytest.raises(KeyError, match="inside"), store.lock(key, LONG):
            raise KeyError("inside")
        with store.lock(key, LONG) as held:
            assert held is True

    def test_a_lock_expires(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """A lock whose holder takes too long can be taken by another."""
        with store.lock(key, self.lifetime):
            self._expire(tick)
            with store.lock(key, LONG) as held:
                assert held is True

    def test_a_late_holder_releases_nothing(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """Leaving a lock that has expired does not release the next holder's."""
        late = store.lock(key, self.lifetime)
        late.__enter__()
        self._expire(tick)
        with store.lock(key, LONG):
            late.__exit__(None, None, None)
            with store.lock(key, LONG) as held:
                assert held is False

    def test_a_lock_can_be_renewed(
        self, store: Any, key: str, tick: Callable[[float], None]
    ) -> None:
        """A renewed lock stays with its holder; a lost lock cannot be renewed."""
        if not getattr(store, "renews", False):
            return  # optional: a store without it has longer leases
        lock = store.lock(key, self.lifetime)
        with lock:
            assert lock.renew(LONG) is True
            self._expire(tick)
            with store.lock(key, LONG) as held:
                assert held is False
            assert lock.renew(self.lifetime) is True
            self._expire(tick)
            with store.lock(key, LONG) as held:
                assert held is True
                assert lock.renew(LONG) is False

    def test_a_lock_is_not_the_row(self, store: Any, key: str) -> None:
        """Locking a key neither creates, hides nor changes its row."""
        with store.lock(key, LONG):
            assert store.get(key) is None
            assert store.compare_and_set(key, None, b"mine", LONG) is True
        assert store.get(key) == b"mine"

    def test_of_many_one_holds(self, store: Any, key: str) -> None:
        """If several threads try to take a lock at the same time, one gets it."""
        asked = threading.Barrier(_THREADS)

        def hold(_: int) -> bool:
            with store.lock(key, LONG) as held:
                asked.wait(timeout=30)
                return bool(held)

        assert sum(_at_once(hold)) == 1

    # --- failures ------------------------------------------------------------------

    def test_a_failure_is_a_store_error(self, failing_store: Any, key: str) -> None:
        """A store that cannot answer raises StoreError, from its own exception."""
        asks: list[Callable[[], Any]] = [
            lambda: failing_store.get(key),
            lambda: failing_store.compare_and_set(key, None, b"new", LONG),
            lambda: failing_store.compare_and_set(key, b"old", b"new", LONG),
            lambda: failing_store.compare_and_set(key, b"old", None, 0),
            lambda: failing_store.lock(key, LONG).__enter__(),
        ]
        if self._has_batches(failing_store):
            asks += [
                lambda: failing_store.get_many([key]),
                lambda: failing_store.create_many([(key, b"new", LONG)]),
            ]
        for ask in asks:
            with pytest.raises(StoreError) as failure:
                ask()
            assert failure.value.__cause__ is not None
            assert key not in str(failure.value)


def _rows(store: Any, prefix: str) -> dict[str, bytes]:
    return {key: value for page in store.rows(prefix) for key, value in page}


def _increment(store: Any, key: str) -> None:
    while True:
        count = store.get(key)
        assert count is not None
        if store.compare_and_set(key, count, b"%d" % (int(count) + 1), LONG):
            return
        # A thread whose swap failed waits for a moment, or eight threads would conflict
        # again.
        time.sleep(random.random() / 1000)


def _at_once(work: Callable[[int], T]) -> list[T]:
    """Return the results of `work` in eight threads that start together."""
    started = threading.Barrier(_THREADS)

    def run(number: int) -> T:
        started.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(run, range(_THREADS)))

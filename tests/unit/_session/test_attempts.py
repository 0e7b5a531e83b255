"""Attempts to refresh: noted once, and recognised by the next process."""

from __future__ import annotations

import os

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.attempts import Attempts
from tiktok_oauth_middleware._session.record import UserRecord
from tiktok_oauth_middleware._session.versioned_record import VersionedRecord


class WrittenByOthers(MemoryStore):
    """Another process replaces the row before each of the first swaps."""

    def __init__(self, clock, times):
        super().__init__(clock=clock)
        self.times = times
        self.calls = []

    def get(self, key):
        self.calls.append("get")
        return super().get(key)

    def compare_and_set(self, key, old, new, ttl):
        self.calls.append("swap")
        if self.times:
            self.times -= 1
            now = super().get(key)
            super().compare_and_set(key, now, os.urandom(24), ttl)
        return super().compare_and_set(key, old, new, ttl)


def stored(clock, token="act.x"):
    now = int(clock())
    record = UserRecord(
        open_id="user",
        access_token=Secret(token),
        issued_at=now,
        expires_at=now + 86400,
        refresh_token=Secret("rft.x"),
        refresh_expires_at=None,
        scopes="user.info.basic",
    )
    return VersionedRecord("user", b"sealed", record, 0, now)


def begun(store, clock, **changes):
    attempts = Attempts("tiktok:app", ThreadBackend().adapt_store(store))
    return run(attempts.begin(stored(clock, **changes), 60))


def test_first_attempt_is_one_write(clock):
    """Without a note of an earlier attempt, nothing is read."""
    store = WrittenByOthers(clock, 0)
    assert not begun(store, clock).is_second
    assert store.calls == ["swap"]


@pytest.mark.parametrize(("token", "is_second"), [("act.x", True), ("act.y", False)])
def test_unfinished_attempt_counts_for_the_same_tokens(clock, token, is_second):
    """An attempt is the second one if another with the same tokens did not finish."""
    store = MemoryStore(clock=clock)
    begun(store, clock, token=token)
    assert begun(store, clock).is_second is is_second


def test_other_processes_note_theirs_at_the_same_time(clock):
    """An attempt that others overtake reads again, and is noted in the end."""
    store = WrittenByOthers(clock, 3)
    note = begun(store, clock).note
    assert [*store.rows("tiktok:app")] == [[("tiktok:app:attempt:{user}", note)]]
    assert store.calls[:7] == ["swap", "get"] * 3 + ["swap"]


def test_note_that_always_changes_is_a_failure_of_the_store(clock):
    """A row that has changed at each attempt is given up like any other row."""
    with pytest.raises(StoreError, match="100 attempts"):
        begun(WrittenByOthers(clock, 1000), clock)

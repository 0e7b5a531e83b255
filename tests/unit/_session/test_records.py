"""Records: what a new one costs the store, and which stored one it replaces."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import MemoryStore
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import UserRecord
from tiktok_oauth_middleware._session.service import SessionService

from ...conftest import make_settings


class CountingStore(MemoryStore):
    """A store in memory that counts its reads."""

    reads = 0

    def get(self, key):
        self.reads += 1
        return super().get(key)


@pytest.fixture
def store(clock):
    return CountingStore(clock=clock)


@pytest.fixture
def records(store, clock):
    service = SessionService(
        make_settings(),
        ThreadBackend(),
        store=store,
        on_event=None,
        transport=None,
        clock=clock,
    )
    return service.records


@pytest.fixture
def record(clock):
    now = int(clock())
    return UserRecord(
        open_id="user",
        access_token=Secret("act.x"),
        issued_at=now,
        expires_at=now + 86400,
        refresh_token=Secret("rft.x"),
        refresh_expires_at=None,
        scopes="user.info.basic",
    )


def test_new_record_is_written_without_a_read(records, store, record):
    """To write a record under a free key, the store is not read first."""
    assert run(records.create("id", record)) is not None
    assert store.reads == 0
    assert run(records.load("id")).record == record


def test_readable_record_is_not_replaced(records, record):
    """A record that can be opened stays, and the new one is not written."""
    run(records.create("id", record))
    assert run(records.create("id", record._replace(scopes=""))) is None
    assert run(records.load("id")).record == record


def test_unreadable_record_is_replaced(records, store, record):
    """A record that no key opens authenticates no request, and is replaced."""
    store.compare_and_set(records._key("id"), None, b"sealed elsewhere", 60)
    assert run(records.create("id", record)) is not None
    assert run(records.load("id")).record == record

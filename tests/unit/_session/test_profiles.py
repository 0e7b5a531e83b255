"""Profiles whose stored record keeps changing."""

from __future__ import annotations

import threading

from tiktok_oauth_middleware import MemoryStore
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import UserRecord
from tiktok_oauth_middleware._session.service import SessionService

from ...conftest import make_settings
from ...support.patience import HANGS


def test_record_that_changes_at_each_attempt(clock, monkeypatch):
    """If the record changes before each attempt to claim the call, the request goes on
    with the old profile.
    """
    store, now = MemoryStore(clock=clock), int(clock())
    settings = make_settings(keep_grants=True)
    service = SessionService(settings, ThreadBackend(), store=store, clock=clock)
    record = UserRecord(
        open_id="user",
        access_token=Secret("act.old"),
        issued_at=now,
        expires_at=now + 60,
        refresh_token=Secret("rft.old"),
        refresh_expires_at=now + 600,
        scopes="user.info.basic",
    )
    run(service.records.create("id", record))
    stored, found = run(service.records.load("id")), []

    async def claim(_):
        return None

    monkeypatch.setattr(service.profiles, "_claim", claim)
    thread = threading.Thread(
        target=lambda: found.append(run(service.profiles.fresh(stored))), daemon=True
    )
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert found[0].record == record

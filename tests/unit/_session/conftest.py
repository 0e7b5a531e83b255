"""A record with a token that is about to be refreshed."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import UserRecord

DAY = 86400


@pytest.fixture
def record(clock):
    """Return a record whose last refreshes failed and may be tried again."""
    now = int(clock())
    return UserRecord(
        open_id="user",
        access_token=Secret("act.old"),
        issued_at=now,
        expires_at=now + DAY,
        refresh_token=Secret("rft.old"),
        refresh_expires_at=now + 90 * DAY,
        scopes="user.info.basic,video.list",
        failures=3,
        retry_at=now - 1,
    )

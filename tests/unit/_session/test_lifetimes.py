"""How long sessions and records last."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.lifetimes import Lifetimes
from tiktok_oauth_middleware._session.record import Session, UserRecord

from ...conftest import make_settings

IDLE, LIFETIME, NOTICE = 100, 1000, 7 * 86400


@pytest.fixture
def lifetimes(clock):
    return Lifetimes(make_settings(session_idle=IDLE, session_lifetime=LIFETIME), clock)


def record_of(clock, *sessions, **changes):
    now = int(clock())
    fields = {
        "open_id": "user",
        "access_token": Secret("act.x"),
        "issued_at": now,
        "expires_at": now + 50,
        "refresh_token": Secret("rft.x"),
        "refresh_expires_at": now + 500,
        "scopes": "user.info.basic",
        "sessions": sessions,
    }
    return UserRecord(**fields | changes)


@pytest.mark.parametrize("age", [0, LIFETIME - 1, LIFETIME, LIFETIME + 1])
@pytest.mark.parametrize("idle", [0, IDLE - 1, IDLE, IDLE + 1])
def test_both_limits_end_a_session(lifetimes, clock, age, idle):
    """A session ends at its idle or its absolute limit, by each of the three rules."""
    now = int(clock())
    session = Session("digest", now - age, now - idle)
    record = record_of(clock, session)
    is_active = age < LIFETIME and idle < IDLE
    created_after, seen_after = lifetimes.ended_before()
    assert lifetimes.is_active(session) is is_active
    assert (lifetimes.session_ends_at(session) > now) is is_active
    assert (now - age > created_after and now - idle > seen_after) is is_active
    assert lifetimes.active_sessions(record) == ((session,) if is_active else ())
    found = lifetimes.find_session(record, "digest")
    assert found == (session if is_active else None)
    assert lifetimes.find_session(record, "another") is None


@pytest.mark.parametrize(
    ("changes", "settings", "seconds"),
    [
        ({}, {}, IDLE),
        ({"user_id": "7"}, {}, 500 + NOTICE),
        ({}, {"keep_grants": True}, 500 + NOTICE),
        ({"refresh_expires_at": None}, {"keep_grants": True}, 400 * 86400 + NOTICE),
        ({"refresh_token": Secret("")}, {"keep_grants": True}, 50 + NOTICE),
        ({"sessions": ()}, {}, 1),
    ],
)
def test_record_is_kept(clock, changes, settings, seconds):
    """A record stays with its sessions, or until a week after its tokens end."""
    options = {"session_idle": IDLE, "session_lifetime": LIFETIME} | settings
    lifetimes = Lifetimes(make_settings(**options), clock)
    now = int(clock())
    record = record_of(clock, Session("digest", now, now), **changes)
    kept = lifetimes.seconds_kept(record)
    assert kept == pytest.approx(seconds, abs=1)
    assert lifetimes.kept_until(record) == pytest.approx(clock() + kept)

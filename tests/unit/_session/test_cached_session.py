"""The tuples in the session cache."""

from __future__ import annotations

from tiktok_oauth_middleware._session import cached_session

from ...support.sample_records import a_cached_session


def test_places_of_a_cached_session_are_those_of_its_type():
    """The names of a cached session's places count from zero without a gap."""
    places = [
        cached_session.FETCHED_AT,
        cached_session.FRESH_UNTIL,
        cached_session.OPEN_ID,
        cached_session.SCOPES,
        cached_session.ACCESS_TOKEN,
        cached_session.EXPIRES_AT,
        cached_session.PROFILE,
        cached_session.DENIED,
        cached_session.RECORD_ID,
        cached_session.DIGEST,
        cached_session.REVALIDATE_UNTIL,
        cached_session.SEALED,
        cached_session.LOGGED_IN_AT,
    ]
    assert places == list(range(len(a_cached_session())))

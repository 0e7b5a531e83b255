"""Events: their fields contain no secret."""

from __future__ import annotations

import dataclasses

from tiktok_oauth_middleware.events import Event


def test_event_has_no_field_for_a_secret():
    """No field of an event could contain a token."""
    names = {field.name for field in dataclasses.fields(Event)}
    answer = {"error", "error_description", "log_id", "status"}
    known = {"name", "reason", "open_id", "scopes", "reference", "details"}
    assert names - {"user", "user_id", "is_new"} == known | answer

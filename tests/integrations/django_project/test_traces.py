"""Spans of a Django project: those of the core, under WSGI and ASGI."""

from __future__ import annotations

from django.db import connection

from ...support.spans import is_below, named, ours


def test_a_login(exporter, project):
    """A login and its callback are flows; the store is the project's database."""
    project.browser().log_in()
    found = ours(exporter)
    named(found, "tiktok_oauth.login")
    callback = named(found, "tiktok_oauth.callback")
    assert callback.attributes["tiktok_oauth.outcome"] == "ok"
    assert is_below(named(found, "POST /v2/oauth/token/"), callback)
    swaps = [s for s in found if s.name == "tiktok_oauth compare_and_set"]
    assert all(is_below(span, callback) for span in swaps)
    systems = {span.attributes["db.system.name"] for span in swaps}
    assert systems == {connection.vendor}

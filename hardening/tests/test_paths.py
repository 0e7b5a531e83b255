"""`hardening.paths` with few targets, for real frameworks, bare and wrapped."""

from __future__ import annotations

import logging

import pytest

from hardening.paths import apps
from hardening.paths.run import differ
from hardening.paths.targets import targets


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("app", apps.installed(), ids=lambda app: app.name)
def test_frameworks(app, monkeypatch, caplog):
    """No target that reaches a protected view of the bare app passes the rules."""
    for name in ("tiktok_oauth_middleware", "blacksheep.server", "django"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    found = differ(app, 60, 20260101)
    assert found.leaked == []
    # The frameworks' log would hide the results.
    assert [one.name for one in caplog.records if "blacksheep" in one.name] == []
    # The targets must reach views, or the test would prove nothing.
    assert found.reached >= 20
    assert found.tried >= 500


def test_targets_are_the_same_each_time():
    """The same seed gives the same targets, and another seed gives others."""
    first = [*targets(50, 1, ("/api",))]
    assert first == [*targets(50, 1, ("/api",))]
    assert first != [*targets(50, 2, ("/api",))]

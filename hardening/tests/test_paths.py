"""`hardening.paths` with few targets: real frameworks are asked, bare and wrapped."""

from __future__ import annotations

import logging

import pytest

from hardening.paths import apps
from hardening.paths.run import differ
from hardening.paths.targets import targets


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("app", apps.installed(), ids=lambda app: app.name)
def test_frameworks(app, monkeypatch):
    """No target that reaches a protected view of a framework does so past a rule."""
    for name in ("tiktok_oauth_middleware", "blacksheep.server", "django"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    found = differ(app, 60, 20260101)
    assert found.leaked == []
    # It would show nothing if the targets reached nothing.
    assert found.reached >= 20
    assert found.tried >= 500


def test_targets_are_the_same_each_time():
    """A seed makes a run repeatable, and another one makes other targets."""
    first = [*targets(50, 1, ("/api",))]
    assert first == [*targets(50, 1, ("/api",))]
    assert first != [*targets(50, 2, ("/api",))]

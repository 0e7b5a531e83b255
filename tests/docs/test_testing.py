"""The blocks of docs/guide/testing.md are the tests of an app, and they pass."""

from __future__ import annotations

import secrets

import pytest

from ..support.recipes import blocks

pytest.importorskip("django", reason="django is not installed")

pytest_plugins = ["pytester"]
TESTS = {
    "test_starlette.py": 4,
    "test_plain.py": 1,
    "test_async.py": 1,
    "test_flask.py": 2,
    "test_django.py": 2,
    "test_videos.py": 1,
    "test_failures.py": 8,
}


@pytest.fixture
def suite(pytester, monkeypatch):
    """Write the page's files, each under its name, into an empty folder."""
    monkeypatch.setenv("TIKTOK_SECRET_KEYS", secrets.token_urlsafe(32))
    for name, code in blocks("guide/testing.md").items():
        (pytester.path / name).write_text(code)
    return pytester


def test_files(suite):
    """The page shows the tests that are run here, and an app for each of them."""
    shown = {path.name for path in suite.path.glob("test_*.py")}
    assert shown == set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_passes(suite, name):
    """The tests on the page pass unchanged in a separate process."""
    done = suite.runpytest_subprocess("-q", "-W", "error", "-p", "no:randomly", name)
    done.assert_outcomes(passed=TESTS[name])

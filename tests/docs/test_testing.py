"""The blocks of docs/guide/testing.md are the tests of an app, and they pass."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections import Counter

import pytest

from ..support.recipes import blocks

pytest.importorskip("django", reason="django is not installed")

TESTS = {
    "test_starlette.py": 4,
    "test_plain.py": 1,
    "test_async.py": 1,
    "test_flask.py": 2,
    "test_django.py": 2,
    "test_videos.py": 3,
    "test_failures.py": 8,
}


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    """Return how many tests of each file passed.

    All run in one separate process: pytest and its plugins take longer to import than
    the tests to run.
    """
    folder = tmp_path_factory.mktemp("suite")
    for name, code in blocks("guide/testing.md").items():
        (folder / name).write_text(code)
    assert {path.name for path in folder.glob("test_*.py")} == set(TESTS)
    options = ["-v", "-W", "error", "-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *TESTS],
        cwd=folder,
        env={**os.environ, "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Counter(re.findall(r"^(\w+\.py)::\S.* PASSED", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("name", TESTS)
def test_passes(passed, name):
    """The tests on the page, which are all of these files, pass unchanged."""
    assert passed[name] == TESTS[name]

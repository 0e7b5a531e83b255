"""gevent ends a greenlet while it writes to the store."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from ..support.patience import HANGS

# Not imported: below gevent the middleware starts no threads, which other tests need.
if find_spec("gevent") is None:
    pytest.skip("gevent is not installed", allow_module_level=True)

ENDS = [("timeout", "Timeout"), ("kill", "GreenletExit")]


@pytest.fixture(params=["memory", "redis"])
def url(request):
    if request.param == "memory":
        return "memory://"
    return request.getfixturevalue("empty_redis")


def run(*arguments):
    patched = [sys.executable, "-m", "gevent.monkey", "--module"]
    command = [*patched, "tests.support.ended_greenlets", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("slow", ["before", "after"])
@pytest.mark.parametrize(("ends", "raised"), ENDS)
def test_refresh(url, slow, ends, raised):
    """TikTok's new tokens are written before a timeout or a kill takes effect."""
    assert run(url, "get", slow, ends) == [raised, 1, 0, True]


@pytest.mark.parametrize("slow", ["before", "after"])
@pytest.mark.parametrize(("ends", "raised"), ENDS)
def test_disconnect(url, slow, ends, raised):
    """A disconnect that has begun revokes before a timeout or a kill takes effect."""
    assert run(url, "disconnect", slow, ends) == [raised, 0, 1, False]


@pytest.mark.parametrize("slow", ["before", "after"])
@pytest.mark.parametrize(("ends", "raised"), ENDS)
def test_login(url, slow, ends, raised):
    """A login's tokens are written before a timeout or a kill takes effect."""
    assert run(url, "log in", slow, ends) == [raised, 0, 0, True]

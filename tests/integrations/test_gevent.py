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

RAISED = {"timeout": "Timeout", "kill": "GreenletExit"}


@pytest.fixture(scope="module", params=["memory", "redis"])
def results(request):
    """Return the results of all cases on a store; see `ended_greenlets`."""
    is_redis = request.param == "redis"
    url = request.getfixturevalue("shared_redis") if is_redis else "memory://"
    patched = [sys.executable, "-m", "gevent.monkey", "--module"]
    done = subprocess.run(
        [*patched, "tests.support.ended_greenlets", url],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("slow", ["before", "after"])
@pytest.mark.parametrize("ends", RAISED)
def test_refresh(results, slow, ends):
    """TikTok's new tokens are written before a timeout or a kill takes effect."""
    assert results[f"get, {slow}, {ends}"] == [RAISED[ends], 1, 0, True]


@pytest.mark.parametrize("slow", ["before", "after"])
@pytest.mark.parametrize("ends", RAISED)
def test_disconnect(results, slow, ends):
    """A disconnect that has begun revokes before a timeout or a kill takes effect."""
    assert results[f"disconnect, {slow}, {ends}"] == [RAISED[ends], 0, 1, False]


@pytest.mark.parametrize("slow", ["before", "after"])
@pytest.mark.parametrize("ends", RAISED)
def test_login(results, slow, ends):
    """A login's tokens are written before a timeout or a kill takes effect."""
    assert results[f"log in, {slow}, {ends}"] == [RAISED[ends], 0, 0, True]

"""The programs of hardening/reliability, each at a small scale.

Their figures at full scale are in docs/evidence/reliability.md; here they must run and
reach their targets.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hardening.reliability.figure import STORES, is_installed

ROOT = Path(__file__).parents[2]


def lacking(store):
    """Return a mark that skips a test if a store's server is not installed."""
    why = f"{STORES[store]} is not installed"
    return pytest.mark.skipif(not is_installed(store), reason=why)


#: Results that need not reach their target here, besides all of slow_peers.
TIMED = (
    "kills.durable",
    "takeover[sqlite]",
    "takeover[redis]",
    "takeover[postgresql]",
    "takeover[mariadb]",
    "takeover[django]",
    "logout.seen[sqlite]",
    "logout.seen[redis]",
    "logout.disconnect",
)
#: Grouped by store, since a process for each figure would repeat all imports. `flood`
#: runs once: its logins write nothing, so that the kind of store makes no difference.
RUNS = [
    (
        "sqlite",
        "single_flight free_threads many_users callbacks kills takeover tiktok_down"
        " isolation logout flood jar slow_peers",
    ),
    pytest.param(
        "redis",
        "single_flight callbacks takeover outages isolation logout slow_peers",
        marks=lacking("redis"),
    ),
    pytest.param("postgresql", "single_flight restarts", marks=lacking("postgresql")),
    pytest.param("mariadb", "single_flight restarts", marks=lacking("mariadb")),
    pytest.param(
        "django", "single_flight restarts many_users", marks=lacking("django")
    ),
]


@pytest.mark.parametrize(("store", "names"), RUNS, ids=[*STORES])
def test_kept(store, names):
    """Every figure reaches its target at a fiftieth of its size."""
    command = [sys.executable, "-m", "hardening.reliability", *names.split()]
    done = subprocess.run(
        [*command, "--scale", "0.02", "--store", store],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    lines = done.stdout.splitlines()
    measured = {line.split()[1].partition(".")[0].partition("[")[0] for line in lines}
    assert measured == {*names.split()}, done.stderr
    # Wall-clock figures are not asserted, since they need a quiet machine.
    failed = [
        line
        for line in lines
        if not line.startswith(("PASS ", "FAIL slow_peers."))
        and line.split()[1] not in TIMED
    ]
    assert failed == [], done.stdout + done.stderr

"""The programs of `make fuzz`, `make soak` and `make mutate`, each at a small scale.

Their results at full scale are in docs/evidence/hardening.md.
"""

from __future__ import annotations

import ast
import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hardening.mutation.__main__ import TESTS
from hardening.mutation.changes import mutants
from hardening.reliability.world import Answer
from hardening.soak.load import Site
from hardening.soak.tiktok import FaultyTikTok

ROOT = Path(__file__).parents[2]


def ran(*command):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_fuzz():
    """No parser breaks its contract over a few thousand inputs changed at random."""
    code, args = ran("hardening.fuzz", "--engine", "chance", "--inputs", "3000")
    assert code == 0, args
    assert args.count("PASS ") == 15


def test_servers_of_the_soak_have_users_of_their_own():
    """TikTok, which both servers share, knows each user by another open_id."""
    fake = FaultyTikTok.made(1)
    one, other = Site("uvicorn", 1, fake, 1), Site("gunicorn", 2, fake, 1)
    assert one.person(7).open_id != other.person(7).open_id


@pytest.mark.parametrize(("meanwhile", "found"), [("a login", 0), ("nothing", 1)])
def test_logout_by_a_login_is_no_fault(monkeypatch, meanwhile, found):
    """The soak counts no user as logged out who logs in during the request."""
    site = Site("uvicorn", 1, FaultyTikTok.made(1), 1)
    site._cookies[7] = "of the session before"

    async def ask(port, url, cookie, **more):
        if meanwhile == "a login":
            site._busy.add(7)
        return Answer(200, [], b"[false, null, null]")

    monkeypatch.setattr("hardening.soak.load.ask", ask)
    asyncio.run(site._call())
    assert site.answers["call", "signed out"] == found


@pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed"
)
def test_soak():
    """Both servers run for a while, and every answer is allowed."""
    _, args = ran("hardening.soak", "--minutes", "0.3", "--rate", "10")
    assert args.count(" 0 tracebacks") == 2, args
    # Memory, descriptors and the number of answers mean nothing in such a short time.
    failed = [line for line in args.splitlines() if line.startswith("FAIL")]
    assert [s for s in failed if "ended with" in s or "rows" in s] == [], args


SOURCE = '''
"""A module."""
import re
from collections.abc import Callable
Grow = Callable[[int], int]
LIMIT = 7
WORD = re.compile("a+")
def grown(value: int, step: int = 2) -> int:
    """Return it, grown."""
    if value < LIMIT and step:
        return value + step
    logger.info("not grown")
    return 0
'''


def test_mutated_modules_have_tests():
    """Each mutated module exists, and so do its tests."""
    modules = [name.replace(".", "/") + ".py" for name in TESTS]
    files = {ROOT / "tests" / test for tests in TESTS.values() for test in tests}
    files |= {ROOT / "tiktok_oauth_middleware" / module for module in modules}
    assert [file for file in files if not file.is_file()] == []


def test_mutants():
    """Each mutant is its module with one change; no message and no type is changed."""
    found = [(m.before, m.after) for m in mutants(SOURCE)]
    assert found == [
        ("7", "8"),
        ("7", "6"),
        ("'a+'", "'a'"),
        ("WORD = re.compile('a+')", "WORD = None"),
        ("2", "3"),
        ("2", "1"),
        ("value < LIMIT", "value <= LIMIT"),
        ("value < LIMIT", "value >= LIMIT"),
        ("value < LIMIT and step", "value < LIMIT or step"),
        ("value < LIMIT and step", "step"),
        ("value < LIMIT and step", "value < LIMIT"),
        ("value < LIMIT and step", "not (value < LIMIT and step)"),
        ("value + step", "value - step"),
        ("return value + step", "return None"),
        ("0", "1"),
        ("return 0", "return None"),
    ]
    as_it_is = ast.unparse(ast.parse(SOURCE))
    assert all(ast.unparse(m.tree) != as_it_is for m in mutants(SOURCE))

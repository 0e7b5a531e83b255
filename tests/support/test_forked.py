"""Tests that run in forked workers are reported like others, and a crash is a failure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .patience import HANGS

ROOT = Path(__file__).parents[2]
#: Also a conftest.py: it runs each test function of a small suite in one worker.
CONFTEST = """
import os
from pathlib import Path
import pytest
from tests.support.forked import run

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    groups = {}
    for item in session.items:
        groups.setdefault(item.originalname, []).append(item)
    run(session, groups.values(), 2)
    return True

@pytest.fixture(scope="session", autouse=True)
def lives(tmp_path_factory):
    note = Path(__file__).parent / f"life-{os.getpid()}"
    note.write_text(str(tmp_path_factory.getbasetemp()))
    yield
    note.rename(note.with_suffix(".ended"))
"""


@pytest.fixture
def suite(tmp_path):
    """Return a function that runs a suite; it returns what pytest printed."""

    def run_suite(tests, *arguments):
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_all.py").write_text(f"import os, sys, time, pytest\n{tests}")
        usual = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:dash"]
        command += ["-p", "no:cacheprovider", "--basetemp", tmp_path / "folders"]
        done = subprocess.run(
            [*command, "--rootdir", tmp_path, *arguments, tmp_path],
            cwd=ROOT,
            env={**usual, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANGS,
        )
        return done.returncode, done.stdout + done.stderr

    run_suite.folder = tmp_path
    return run_suite


def counts(output):
    """Return the numbers of pytest's last line."""
    found = re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", output)
    return {what: int(number) for number, what in found}


TESTS = """
@pytest.mark.parametrize("n", range(30))
def test_many(n): print("printed", n); assert n != 7
def test_skipped(): pytest.skip("for a reason")
@pytest.mark.xfail(strict=True)
def test_expected(): assert False
@pytest.fixture
def late():
    yield
    raise ValueError("late")
def test_teardown(late): pass
def test_output(capfd):
    os.write(1, b"written")
    assert capfd.readouterr().out == "written"
kept = sys.stdout
@pytest.mark.parametrize("n", range(2))
def test_kept(n):
    print("kept", n, file=kept, flush=True)
    assert n != 1
"""


def test_reports(suite):
    """Each result is reported once, with a failed test's own output."""
    status, output = suite(TESTS)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert counts(output) == {
        "passed": 32,
        "failed": 2,
        "skipped": 1,
        "xfailed": 1,
        "error": 1,
    }, output
    printed = re.findall(r"^(?:printed|kept) \d+", output, re.MULTILINE)
    assert sorted(printed) == ["kept 1", "printed 7"]  # reported in either order
    assert "ValueError: late" in output


def test_fixtures_of_the_session(suite):
    """Each worker has fixtures and folders of its own, and ends them."""
    waits = "\n".join(f"def test_{n}(): time.sleep(0.5)" for n in range(2))
    status, output = suite(waits)
    assert status == 0, output
    notes = [path.read_text() for path in suite.folder.glob("life-*.ended")]
    assert not [*suite.folder.glob("life-*[0-9]")]
    assert len({*notes}) == len(notes) > 0


LEFT = """
import threading
def test_left():
    threading.Thread(target=time.sleep, args=[600]).start()
"""


def test_threads_that_are_left(suite):
    """A worker ends even if a test has left a thread that sleeps."""
    status, output = suite(LEFT)
    assert status == 0, output


CRASH = """
@pytest.mark.parametrize("n", range(5))
def test_killed(n):
    if n == 2: os.kill(os.getpid(), 9)
"""


def test_crash(suite):
    """The test in which a worker crashes has failed; all others still run."""
    status, output = suite(CRASH)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert counts(output) == {"passed": 4, "failed": 1}, output
    assert f"crashed with status {-signal.SIGKILL}" in output


def test_first_failure(suite):
    """With -x, no test begins after the first failure is known."""
    tests = "def test_a(): assert False\n" + "\n".join(
        f"def test_b{n}(): time.sleep(0.05)" for n in range(100)
    )
    status, output = suite(tests, "-x")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert counts(output).get("failed") == 1
    assert counts(output).get("passed", 0) < 100

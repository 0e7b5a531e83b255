"""What the whole run ends with: one line on what this machine lacks.

Where httpx2 is not installed, the tests' `httpx2` is httpx, its ancestor: Authlib,
Starlette and the package have made their own choice by then.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("httpx2") is None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both say that httpx is on its way out
        for chooser in (
            "tiktok_oauth_middleware._oauth.client",
            "starlette.testclient",
        ):
            import_module(chooser)
    sys.modules["httpx2"] = import_module("httpx")

_lacking: Counter[str] = Counter()

#: What CI does not install: too heavy (`make apps`), no package of the system's, or no
#: release that agrees with the other packages; and what a copy that is no
#: checkout of git cannot have. All else that is skipped there fails.
_NOT_IN_CI = ("apps", "git", "starlette_caches", "valkey-server")

#: Where tests share a server, a browser or a cluster, or start many processes and look
#: at the clock: one process runs all of a module, or of modules of one name here.
_GROUPS = {
    "tests/docs/test_site.py": "site",
    "tests/flows/test_processes.py": "crowds",
    "hardening/tests/test_reliability.py": "crowds",
    "tests/stores/test_alembic.py": "databases",
    "tests/stores/test_django.py": "databases",
    "tests/stores/test_sql.py": "databases",
    "tests/stores/test_store_command.py": "databases",
    "tests/stores/test_redis_kinds.py": "clusters",
    "tests/testing/test_pages.py": "stand-in",
}
_MODULES_AT_ONCE = ("tests/browser/", "tests/servers/")
#: It starts each of twenty servers once.
_SERVERS = "tests/servers/test_servers.py"


def pytest_configure(config: pytest.Config) -> None:
    """Keep coverage and dev mode to the processes that run tests, not to servers.

    Of several processes it is the workers that do, which inherit both first.

    And let none of them read the system's certificates, which takes 20 ms for each
    client: what the tests connect to is on this machine.
    """
    trusted = Path(__file__).parent / "tests/support/no_authority.pem"
    os.environ["SSL_CERT_FILE"] = str(trusted)
    if not config.getoption("numprocesses", None):
        for name in ("COVERAGE_PROCESS_START", "PYTHONDEVMODE"):
            os.environ.pop(name, None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep what collection makes out of the garbage collector, while and after.

    That is 700,000 objects, which live to the end: each full collection took 0.4 s, and
    those during collection a third of its time.
    """
    gc.disable()
    yield
    if hasattr(gc, "freeze"):  # PyPy has none
        gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out each test function with all of its parameters at once, or a group.

    By the names of tests: pytest 9.2 has lost the field that xdist 3.8 writes its own
    groups to. And forget what is done: xdist counts everything that it ever gave to a
    process, anew after each test, which is 70,000,000 steps for 24,000 tests.
    """
    # xdist may not be installed.
    from xdist.scheduler import LoadGroupScheduling

    class ByFunction(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            if module == _SERVERS:
                # By the first word of their names: all of gunicorn's are one group.
                return module + nodeid.partition("[")[2].partition("-")[0].rstrip("]")
            if module.startswith(_MODULES_AT_ONCE):
                return module
            return _GROUPS.get(module, nodeid.partition("[")[0])

        def _pending_of(self, workload: Any) -> int:
            for scope in [s for s, tests in workload.items() if all(tests.values())]:
                del workload[scope]
            return super()._pending_of(workload)

    is_grouped = config.getoption("dist") == "loadgroup"
    return ByFunction(config, log) if is_grouped else None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what is skipped, by reason."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _lacking[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Count the modules that are skipped whole, too."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _lacking[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing else may be skipped; and what a worker measured is written now.

    When it ends it has ten seconds, which are too few on a machine that is busy.
    """
    # Hypothesis, if first imported by its summary, looks for a reference that the
    # collector knows.
    if hasattr(gc, "freeze"):
        gc.unfreeze()
    if "PYTEST_XDIST_WORKER" in os.environ and "coverage" in sys.modules:
        measured = import_module("coverage").Coverage.current()
        if measured is not None:
            measured.stop()
            measured.save()
    if _unexpected() and os.environ.get("CI") and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unexpected() -> list[str]:
    return [why for why in _lacking if why.split(" ", 1)[0] not in _NOT_IN_CI]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name what was skipped, in one line."""
    if _lacking:
        reasons = "; ".join(f"{why} ({n} tests)" for why, n in sorted(_lacking.items()))
        terminalreporter.write_line(f"Skipped on this machine: {reasons}")
    if _unexpected() and os.environ.get("CI"):
        terminalreporter.write_line(
            f"In CI these may not be skipped: {'; '.join(_unexpected())}", red=True
        )

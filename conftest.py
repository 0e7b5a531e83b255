"""Settings of the whole test run, and a last line on what this machine lacks.

If httpx2 is not installed, the tests' `httpx2` is httpx, its predecessor: Authlib,
Starlette and the package have chosen theirs before.
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
        warnings.simplefilter("ignore")  # both announce the end of httpx
        for chooser in (
            "tiktok_oauth_middleware._oauth.client",
            "starlette.testclient",
        ):
            import_module(chooser)
    sys.modules["httpx2"] = import_module("httpx")

_lacking: Counter[str] = Counter()

#: Skips that are allowed in CI: too heavy (`make apps`), no package of the system, no
#: release compatible with the other packages, or not possible outside of a git
#: checkout. Any other skip fails the run.
_NOT_IN_CI = ("apps", "git", "starlette_caches", "valkey-server")

#: Tests that share a server, a browser or a cluster, or start many processes and
#: measure time: one worker runs the whole module, or all modules under one name here.
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
#: The tests of these mostly wait. Together in one worker, they leave the processor to
#: the others; at the same time in all workers, they would leave it idle.
_WAITING = (
    "tests/flows/test_outages.py",
    "tests/flows/test_takeover.py",
    "tests/security/test_cwe488_connection",
    "tests/security/test_cwe754_connection_faults.py",
    "tests/stores/test_redis_failover.py",
)
_MODULES_AT_ONCE = ("tests/browser/", "tests/servers/", *_WAITING)
#: These start first, since they run longest: whatever is left to one worker at the end
#: must be short.
_LONGEST = (
    "hardening/tests/test_reliability.py",
    "tests/stores/test_sql.py",
    "tests/security/test_cwe754_connection_faults.py",
    "tests/docs/test_site.py",
    "tests/browser/",
    "tests/flows/test_takeover.py",
    "hardening/",
    "tests/servers/",
    "tests/flows/test_outages.py",
    "tests/stores/test_redis_kinds.py",
    "tests/stores/test_redis_failover.py",
    "tests/unit/_core/test_workers.py",
    "tests/integrations/django_project/test_full_project.py",
    "tests/security/test_cwe488_connection",
    "examples/",
)
#: This module starts each of twenty servers once.
_SERVERS = "tests/servers/test_servers.py"


def pytest_configure(config: pytest.Config) -> None:
    """Keep coverage and dev mode to the processes that run tests, not to servers.

    With several processes, the workers run tests; they have inherited both settings by
    then.

    No process reads the system's certificates, which takes 20 ms for each client, since
    tests connect only to this machine.
    """
    trusted = Path(__file__).parent / "tests/support/no_authority.pem"
    os.environ["SSL_CERT_FILE"] = str(trusted)
    if not config.getoption("numprocesses", None):
        for name in ("COVERAGE_PROCESS_START", "PYTHONDEVMODE"):
            os.environ.pop(name, None)
    if find_spec("hypothesis") is not None:
        # On a busy machine any example may take longer than Hypothesis's 200 ms.
        settings = import_module("hypothesis").settings
        settings.register_profile("any machine", settings.default, deadline=None)
        settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exclude the objects of test collection from garbage collection.

    There are 700,000, which live to the end: each full garbage collection took 0.4 s,
    and those during test collection took a third of its time.
    """
    gc.disable()
    yield
    if hasattr(gc, "freeze"):  # PyPy has none
        gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let workers begin with the longest modules; all others keep their order."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return

    def place(item: pytest.Item) -> int:
        starts = map(item.nodeid.startswith, _LONGEST)
        return next((n for n, found in enumerate(starts) if found), len(_LONGEST))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker a test function with all of its parameters at once, or a group.

    Groups are found by the names of tests, since pytest 9.2 lacks the field that xdist
    3.8 writes its groups to. Finished tests are removed, since xdist counts all tests
    of a worker again after each one, which takes 70,000,000 steps for 24,000 tests.
    """
    # xdist may not be installed.
    from xdist.scheduler import LoadGroupScheduling

    class ByFunction(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            if module == _SERVERS:
                # Grouped by the first word of their names, such as gunicorn.
                return module + nodeid.partition("[")[2].partition("-")[0].rstrip("]")
            if module.startswith(_MODULES_AT_ONCE):
                return module
            return _GROUPS.get(module, nodeid.partition("[")[0])

        def _pending_of(self, workload: Any) -> int:
            for scope in [s for s, tests in workload.items() if all(tests.values())]:
                del workload[scope]
            return super()._pending_of(workload)

    # Else xdist begins with the groups of the most tests.
    config.option.loadscopereorder = False
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
    """In CI fail on any other skip; in a worker write the coverage now.

    At its end a worker has only ten seconds, which is too short on a busy machine.
    """
    # If Hypothesis is first imported for its summary, it searches the collector's
    # objects.
    if hasattr(gc, "freeze"):
        gc.collect()  # the garbage of the tests alone
        gc.unfreeze()
    if "PYTEST_XDIST_WORKER" in os.environ and "coverage" in sys.modules:
        measured = import_module("coverage").Coverage.current()
        if measured is not None:
            measured.stop()
            measured.save()
    if _unexpected() and os.environ.get("CI") and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Exclude the same objects again: pytest now collects garbage several times."""
    if hasattr(gc, "freeze"):
        gc.freeze()


def _unexpected() -> list[str]:
    return [why for why in _lacking if why.split(" ", 1)[0] not in _NOT_IN_CI]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the skipped tests in one line."""
    if _lacking:
        reasons = "; ".join(f"{why} ({n} tests)" for why, n in sorted(_lacking.items()))
        terminalreporter.write_line(f"Skipped on this machine: {reasons}")
    if _unexpected() and os.environ.get("CI"):
        terminalreporter.write_line(
            f"In CI these may not be skipped: {'; '.join(_unexpected())}", red=True
        )

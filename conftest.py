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
    "tests/flows/test_processes.py": "processes",
    "tests/integrations/test_gevent.py": "gevent",
    "tests/stores/test_alembic.py": "databases",
    "tests/stores/test_batches.py": "databases",
    "tests/stores/test_django.py": "databases",
    "tests/stores/test_ended_connections.py": "databases",
    "tests/stores/test_loop_drivers.py": "databases",
    "tests/stores/test_sql.py": "databases",
    "tests/stores/test_sql_pool.py": "databases",
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
    "tests/flows/test_processes.py",
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
#: Each test waits for minutes, for servers of its own.
_RELIABILITY = "hardening/tests/test_reliability.py"
#: This module starts each of twenty servers once.
_SERVERS = "tests/servers/test_servers.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs tests in several processes."""
    parser.addoption(
        "--workers", type=int, default=0, help="processes that run tests; 0 for none"
    )


def pytest_configure() -> None:
    """Keep coverage and dev mode to the processes that run tests, not to servers.

    No process reads the system's certificates, which takes 20 ms for each client, since
    tests connect only to this machine.
    """
    trusted = Path(__file__).parent / "tests/support/no_authority.pem"
    os.environ["SSL_CERT_FILE"] = str(trusted)
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
    and those during test collection took a third of its time. The tests' own garbage is
    collected less often than usual, which halves the 7 % of the time that it took.
    """
    gc.disable()
    yield
    if hasattr(gc, "freeze"):  # PyPy has none
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
    gc.enable()


def group_of(nodeid: str) -> str:
    """Return the name of a test's group, which one worker runs.

    A test function with all of its parameters is one, or a module, or several.
    """
    module = nodeid.partition("::")[0]
    if module == _SERVERS:
        # Grouped by the first word of their names, such as gunicorn.
        return module + nodeid.partition("[")[2].partition("-")[0].rstrip("]")
    if module == _RELIABILITY:
        return nodeid
    if module.startswith(_MODULES_AT_ONCE):
        return module
    return _GROUPS.get(module, nodeid.partition("[")[0])


def _place(group: list[pytest.Item]) -> int:
    """Return when a group starts: the longest modules first, then all others."""
    modules = {item.nodeid.partition("::")[0] for item in group}
    found = (
        n for n, start in enumerate(_LONGEST) for m in modules if m.startswith(start)
    )
    return next(found, len(_LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in as many processes as are asked for."""
    option = session.config.option
    if not option.workers or option.collectonly or option.usepdb or session.testsfailed:
        return None  # as usual
    groups: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        groups.setdefault(group_of(item.nodeid), []).append(item)
    ordered = sorted(groups.values(), key=_place)
    import_module("tests.support.forked").run(session, ordered, option.workers)
    return True


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what is skipped, by reason."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _lacking[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Count the modules that are skipped whole, too."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _lacking[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI fail on any other skip."""
    # If Hypothesis is first imported for its summary, it searches the collector's
    # objects.
    if hasattr(gc, "freeze"):
        gc.collect()  # the garbage of the tests alone
        gc.unfreeze()
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

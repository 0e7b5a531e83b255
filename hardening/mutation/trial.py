"""A plugin of pytest that runs the collected tests once for each mutant.

A mutant is installed after all imports: the code and defaults of existing functions are
replaced, so that other modules that imported them have the mutant, too, and module
constants are set again.
"""

from __future__ import annotations

import ast
import copy
import gc
import importlib
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest

from .changes import Mutant, mutants

PACKAGE = "tiktok_oauth_middleware"
LEAST = 85.0
_FURTHER_SECONDS = 30
_SURVIVED, _NOTICED, _BROKEN, _HANGS = range(4)


class Seen(NamedTuple):
    """The known facts about one test."""

    number: int
    seconds: float
    #: Line numbers of the changed module.
    lines: frozenset[int]


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run the tests once unchanged, then for every mutant."""
    name = os.environ["MUTATION_MODULE"]
    jobs, every = (int(os.environ[f"MUTATION_{n}"]) for n in ("JOBS", "EVERY"))
    module = importlib.import_module(f"{PACKAGE}.{name}")
    path = Path(str(module.__file__))
    _build_flask_once()
    # Tests must not report, and a garbage collection would copy memory shared by
    # fork().
    session.config.pluginmanager.unregister(name="terminalreporter")
    gc.freeze()
    seen = _as_it_is(session, path)
    if seen is None:
        print(f"FAIL {name}: a test fails without any change", flush=True)
        session.testsfailed = 1
        return True
    began = time.monotonic()
    chosen = list(mutants(path.read_text(), every))
    survived = 0
    for mutant in _survivors(session, module, chosen, seen, jobs):
        survived += 1
        print(f"  SURVIVED {name}.py:{mutant.line} #{mutant.number}")
        print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
    killed = len(chosen) - survived
    score = 100 * killed / max(1, len(chosen))
    session.testsfailed = int(score < LEAST)
    print(
        f"{'FAIL' if session.testsfailed else 'PASS'} {name} tests={len(seen)}"
        f" mutants={len(chosen)} killed={killed} score={score:.1f}"
        f" took={time.monotonic() - began:.0f}s",
        flush=True,
    )
    return True


# --- unchanged ---------------------------------------------------------------------


def _as_it_is(session: pytest.Session, path: Path) -> list[Seen] | None:
    """Run every test once; return the lines that each ran, or None if one failed."""
    reading, writing = os.pipe()

    def work() -> int:
        os.close(reading)
        found = [
            (i, *_traced(item, following, str(path)))
            for i, (item, following) in enumerate(_pairs(session.items))
        ]
        with os.fdopen(writing, "w") as pipe:
            json.dump(found, pipe)
        return _NOTICED if session.testsfailed else _SURVIVED

    child = _Child(work)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        tests = json.loads(pipe.read() or "[]")
    if child.wait() != _SURVIVED:
        return None
    return [Seen(i, seconds, frozenset(lines)) for i, seconds, lines in tests]


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return itertools.zip_longest(items, items[1:])


def _traced(item: Any, following: Any, path: str) -> tuple[float, list[int]]:
    lines: set[int] = set()

    def trace(frame: Any, _: str, __: object) -> Any:
        if frame.f_code.co_filename != path:
            return None
        lines.add(frame.f_lineno)
        return trace

    began = time.monotonic()
    sys.settrace(trace)
    threading.settrace(trace)
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    return time.monotonic() - began, sorted(lines)


# --- changed -----------------------------------------------------------------------


def _survivors(
    session: pytest.Session,
    module: Any,
    chosen: list[Mutant],
    seen: list[Seen],
    jobs: int,
) -> Iterator[Mutant]:
    waiting, running = list(reversed(chosen)), []
    noticed: Counter[int] = Counter()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            tests = _tests_of(mutant, seen, noticed)
            longest = 10 * sum(test.seconds for test in tests) + _FURTHER_SECONDS
            reading, writing = os.pipe()
            child = _Child(_trial(session, module, mutant, tests, writing), longest)
            os.close(writing)
            running.append((mutant, child, reading))
        time.sleep(0.005)
        for mutant, child, reading in list(running):
            ended = child.poll()
            if ended is None:
                continue
            running.remove((mutant, child, reading))
            with os.fdopen(reading) as pipe:
                noticed.update(int(number) for number in pipe.read().split())
            if ended == _SURVIVED:
                yield mutant
            elif ended == _BROKEN:
                print(f"  BROKEN {module.__name__} #{mutant.number}", flush=True)
            elif ended == _HANGS:
                print(f"  HANGS {module.__name__} #{mutant.number}", flush=True)


def _tests_of(mutant: Mutant, seen: list[Seen], noticed: Counter[int]) -> list[Seen]:
    """Return the tests that run a mutant's lines, the most successful first.

    Code that runs only at import, such as a constant, may affect every test.
    """
    lines = set(mutant.lines)
    found = [test for test in seen if test.lines & lines]
    if not found and not _is_in_function(mutant):
        found = seen
    return sorted(found, key=lambda t: t.seconds / (1 + noticed[t.number]))


def _is_in_function(mutant: Mutant) -> bool:
    functions = (
        node
        for node in ast.walk(mutant.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return any(f.lineno <= mutant.line <= (f.end_lineno or 0) for f in functions)


def _trial(
    session: pytest.Session,
    module: Any,
    mutant: Mutant,
    tests: list[Seen],
    telling: int,
) -> Callable[[], int]:
    def work() -> int:
        try:
            _put_in_place(module, mutant)
        except Exception:
            return _NOTICED  # it cannot even be imported
        items = [session.items[test.number] for test in tests]
        for test, (item, following) in zip(tests, _pairs(items), strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                os.write(telling, str(test.number).encode())
                return _NOTICED
        return _SURVIVED

    return work


def _put_in_place(module: Any, mutant: Mutant) -> None:
    """Replace a module's code with its mutant's, also in modules that import it."""
    changed = {"__name__": module.__name__, "__package__": module.__package__}
    changed["__file__"] = module.__file__
    exec(compile(mutant.tree, str(module.__file__), "exec"), changed)
    own = vars(module)
    for name, value in changed.items():
        was = own.get(name)
        if isinstance(value, type) and value.__module__ == module.__name__:
            _exchange(vars(was), vars(value))
        elif not (
            name.startswith("__")
            or isinstance(value, type | ModuleType)
            or _swap(was, value)
        ):
            own[name] = value


def _exchange(own: Any, changed: Any) -> None:
    for name, value in changed.items():
        _swap(own.get(name), value)


def _swap(was: Any, changed: Any) -> bool:
    """Give a function the code of another; return whether it is a function."""
    for inner in ("fget", "__func__", "__wrapped__"):
        if hasattr(was, inner) and not isinstance(was, FunctionType):
            if hasattr(was, "cache_clear"):
                was.cache_clear()
            return _swap(getattr(was, inner), getattr(changed, inner, None))
    if not isinstance(was, FunctionType) or not isinstance(changed, FunctionType):
        return False
    if len(was.__code__.co_freevars) == len(changed.__code__.co_freevars):
        was.__code__ = changed.__code__
    was.__defaults__ = changed.__defaults__
    was.__kwdefaults__ = changed.__kwdefaults__
    return True


def _build_flask_once() -> None:
    """Give every test a copy of one Flask app: building it takes half of the time."""
    conftest = next((m for n, m in sys.modules.items() if n == "tests.conftest"), None)
    if conftest is not None:
        app = conftest.flask_app()
        conftest.flask_app = lambda: copy.copy(app)


# --- processes ---------------------------------------------------------------------


class _Child:
    """A process that does some work without output, and returns its result."""

    def __init__(self, work: Callable[[], int], longest: float = 600) -> None:
        self._give_up = time.monotonic() + longest
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid:
            return
        ended = _BROKEN
        try:
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            ended = work()
        except BaseException:
            ended = _BROKEN
        finally:
            os._exit(ended)

    def poll(self) -> int | None:
        """Return the result; None while it runs."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() < self._give_up:
            return None
        os.killpg(self._pid, signal.SIGKILL)  # it hangs, which counts as noticed
        os.waitpid(self._pid, 0)
        return _HANGS

    def wait(self) -> int:
        """Wait for the process, and return the result."""
        while (ended := self.poll()) is None:
            time.sleep(0.02)
        return ended

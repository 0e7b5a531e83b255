"""The whole suite of this checkout on other Pythons, one after the other.

Each has its own environment in `.venv-pythons`, which is kept, and rebuilt when
pyproject.toml has changed. It has the packages of `make test`, with compiled servers if
they can be built. `pythons.py` finds the Pythons, and lists the packages that cannot be
installed on one of them. On PyPy most of the other libraries do not build: there
`matrix.py` runs the quick tests.

    python .ci/whole.py python3.13 python3.14      these
    python .ci/whole.py python3.13 -- tests/flows  with arguments for pytest

It ends with a table of the Pythons, with the numbers of passed and skipped tests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pythons import INSTEAD, KNOWN, WITHOUT, Missing, Python, find

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-pythons"
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A line of the table at the end."""

    name: str
    python: Python | None
    is_passed: bool
    #: pytest's last line, or why nothing ran.
    summary: str
    seconds: float = 0


def environment(python: Python) -> Path:
    """Return the Python in this Python's environment, which is rebuilt if outdated.

    Raises:
        CalledProcessError: a package could not be installed.
    """
    folder = FOLDER / python.name
    there = folder / "bin" / "python"
    ready = folder / "ready"
    pyproject = ROOT / "pyproject.toml"
    if ready.exists() and ready.stat().st_mtime > pyproject.stat().st_mtime:
        return there
    command = [python.path, "-m", "venv", "--clear", "--without-pip", folder]
    subprocess.run(command, check=True)
    pip = [sys.executable, "-m", "pip", "--python", there, "install", "--quiet"]
    without = WITHOUT.get(python.name, {})
    wanted = [
        line
        for group in ("test", "lint")
        for line in requirements(group)
        if not line.startswith(tuple(without))
    ]
    wanted += INSTEAD.get(python.name, [])
    command = [*pip, "--prefer-binary", "--editable", ".[all]", *wanted]
    subprocess.run(command, cwd=ROOT, check=True)
    # Their tests are skipped without a compiler.
    subprocess.run([*pip, "--group", "compiled"], cwd=ROOT, check=False)
    ready.touch()
    return there


def requirements(group: str) -> Iterator[str]:
    """Yield the requirements of a group and of the groups that it includes."""
    for line in GROUPS[group]:
        if isinstance(line, str):
            yield line
        else:
            yield from requirements(line["include-group"])


def whole(name: str, given: list[str], workers: str, arguments: list[str]) -> Run:
    """Run the tests on one Python; show their output."""
    try:
        python = find(name, given)
    except Missing as missing:
        return Run(name=name, python=None, is_passed=False, summary=str(missing))
    print(f"== {name}: {python.path}", flush=True)
    began = time.monotonic()
    try:
        there = environment(python)
    except (OSError, subprocess.CalledProcessError) as error:
        return Run(name=name, python=python, is_passed=False, summary=str(error))
    variables = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    command = [there, "-m", "pytest", "--workers", workers, *arguments]
    tests = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    last = ""
    with tests:
        for line in tests.stdout or ():
            print(line, end="", flush=True)
            if re.search(r"\d+ (passed|failed|errors?)\b.* in [0-9.]+s", line):
                last = re.sub(r"\x1b\[[0-9;]*m", "", line).strip("= \n")
    return Run(
        name=name,
        python=python,
        is_passed=tests.returncode == 0,
        summary=last or f"pytest ended with {tests.returncode}",
        seconds=time.monotonic() - began,
    )


def table(runs: list[Run]) -> str:
    """Return a table with a line for each Python."""
    lines = []
    for run in runs:
        python = run.python
        result = "passed" if run.is_passed else "FAILED" if python else "NOT RUN"
        what = f"{python.implementation} {python.version}" if python else "none"
        origin = f", {python.source}, lock {python.lock} at first" if python else ""
        took = f" ({run.seconds:.0f} s in all)" if run.seconds else ""
        lines.append(f"{run.name:12}{result:8} {what}{origin}: {run.summary}{took}")
        lines += [
            f"{'':12}without {package}, which {reason}"
            for package, reason in WITHOUT.get(run.name, {}).items()
        ]
    return "\n".join(lines)


def main() -> int:
    """Return 1 if a Python was not available, or a test failed."""
    arguments = sys.argv[1:]
    ours, theirs = arguments, list[str]()
    if "--" in arguments:
        dashes = arguments.index("--")
        ours, theirs = arguments[:dashes], arguments[dashes + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [name for name in KNOWN if not name.startswith("pypy")]
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME")
    parser.add_argument("--python", action="append", default=[], help="one more Python")
    parser.add_argument("--workers", default="2", help="how many processes run tests")
    asked = parser.parse_args(ours)
    runs = [whole(name, asked.python, asked.workers, theirs) for name in asked.names]
    print(table(runs))
    return int(not all(run.is_passed for run in runs))


if __name__ == "__main__":
    sys.exit(main())

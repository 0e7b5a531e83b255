"""Findings about installed packages: missing, too old, or twice."""

from __future__ import annotations

import sys

from tiktok_oauth_middleware._check import dependencies


def codes():
    return [finding.code for finding in dependencies.findings()]


def old(*requirements):
    return [(f.level, f.message) for f in dependencies.too_old([*requirements])]


def test_new_enough():
    """The installed packages satisfy the declared requirements."""
    assert old("anyio>=4", "pytest>=8.0.0", "anyio") == []


def test_too_old():
    """A package that is too old is an error, with the version to install."""
    [finding] = dependencies.too_old(["anyio>=400.1", "anyio>=4; extra == 'x'"])
    assert finding.level == "wrong"
    assert finding.fix == 'pip install "anyio>=400.1"'


def test_missing():
    """A missing package is an error, except one of an extra."""
    nothing = "surely-nothing-of-this-name"
    assert old(f"{nothing}>=1") == [("wrong", f"{nothing} is not installed")]
    assert old(f"{nothing}>=1; extra == 'x'") == []


def test_another_python():
    """A requirement for another implementation of Python is ignored."""
    here = sys.implementation.name
    ours = f"anyio>=400; implementation_name == '{here}'"
    theirs = f"anyio>=500; implementation_name != '{here}'"
    [finding] = dependencies.too_old([theirs, ours])
    assert finding.message.endswith(" is older than 400")
    assert not [*dependencies.too_old(["anyio>=400; implementation_name == 'none'"])]


def test_extra_too_old():
    """An extra's package that is too old is noted: another project may need it."""
    [(level, _)] = old("flask>=300; extra == 'flask'")
    assert level == "note"


def test_same_version():
    """Zeros at the end of a version are ignored."""
    assert dependencies._release("2.0.0rc1") == dependencies._release("2") == (2,)
    assert dependencies._release("1.10") > dependencies._release("1.9.9")


def test_httpx_twice():
    """It is noted if both httpx and httpx2 are installed."""
    both = dependencies.version("httpx") and dependencies.version("httpx2")
    assert ("httpx_twice" in codes()) is bool(both)


def test_httpx_alone():
    """If only httpx is installed, the note says that httpx2 is missing."""
    alone = dependencies.version("httpx") and not dependencies.version("httpx2")
    assert ("httpx_alone" in codes()) is bool(alone)

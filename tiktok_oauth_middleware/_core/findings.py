"""A finding about a deployment: its level, the option it is about, and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A result of ``check``, without secrets."""

    #: Stable, for programs.
    code: str
    #: ``good``; ``note``: allowed, but seldom intended; ``wrong``: it will not work.
    level: Level
    #: The option of `TikTokSettings` that it is about, or "" for the machine.
    option: str
    #: One sentence, without a full stop.
    message: str
    #: What to do, or "" where nothing is to be done.
    fix: str = ""


def good(code: str, option: str, message: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(code=code, level="good", option=option, message=message)


def note(code: str, option: str, message: str, fix: str) -> Finding:
    """Return a finding about a choice that may be intended."""
    return Finding(code=code, level="note", option=option, message=message, fix=fix)


def wrong(code: str, option: str, message: str, fix: str) -> Finding:
    """Return a finding about a setting that will not work, or is not safe."""
    return Finding(code=code, level="wrong", option=option, message=message, fix=fix)

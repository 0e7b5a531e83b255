"""One finding: what was looked at, how bad it is, and how it is fixed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tiktok_oauth_middleware.errors import ConfigurationError

Level = Literal["good", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What ``check`` found; no secret in it."""

    #: Stable, for programs.
    code: str
    #: ``good``; ``note``: allowed, and seldom meant; ``wrong``: it will not work.
    level: Level
    #: The option of `TikTokSettings` that it is about, or "" for the machine.
    option: str
    #: One sentence, without a full stop.
    message: str
    #: What to do, or "" where nothing is to be done.
    fix: str = ""


def good(code: str, option: str, message: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(code=code, level="good", option=option, message=message)


def note(code: str, option: str, message: str, fix: str) -> Finding:
    """Return a finding that may be meant."""
    return Finding(code=code, level="note", option=option, message=message, fix=fix)


def wrong(code: str, option: str, message: str, fix: str) -> Finding:
    """Return a finding that will not work, or is not safe."""
    return Finding(code=code, level="wrong", option=option, message=message, fix=fix)


#: Each fault begins with the option, or its variable in the environment.
_OPTION = re.compile(r"(TIKTOK_)?([A-Za-z_]+)")


def of_faults(error: ConfigurationError) -> Iterator[Finding]:
    """Return a finding for each fault of settings that could not be built."""
    for fault in error.faults:
        message, _, fix = fault.partition("; ")
        named = _OPTION.match(fault)
        option = named[2].lower() if named else ""
        if named and named[1] and option.startswith("endpoints"):
            option = "endpoints"
        code = "unknown_variable" if " is no option" in message else f"bad_{option}"
        yield wrong(code, option, message, fix)

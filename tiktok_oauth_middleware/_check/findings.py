"""A finding of ``check``: its level, the option it is about, and the fix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tiktok_oauth_middleware.settings import TikTokSettings
from tiktok_oauth_middleware.settings.environment import variables_of

if TYPE_CHECKING:
    from tiktok_oauth_middleware.errors import ConfigurationError

Level = Literal["good", "note", "wrong"]
#: The option of each variable; ``endpoints.token`` and the like for an address.
_OPTIONS = variables_of(TikTokSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What ``check`` found; no secret in it."""

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
    """Return a finding that is as it should be."""
    return Finding(code=code, level="good", option=option, message=message)


def note(code: str, option: str, message: str, fix: str) -> Finding:
    """Return a finding that may be intended."""
    return Finding(code=code, level="note", option=option, message=message, fix=fix)


def wrong(code: str, option: str, message: str, fix: str) -> Finding:
    """Return a finding that will not work, or is not safe."""
    return Finding(code=code, level="wrong", option=option, message=message, fix=fix)


def of_faults(error: ConfigurationError) -> Iterator[Finding]:
    """Return a finding for each fault of settings that could not be built.

    A fault begins with the name of its option or of its variable.
    """
    for fault in error.faults:
        message, _, fix = fault.partition("; ")
        named = re.match("[A-Za-z_]+", fault)
        name = named[0] if named else ""
        option = _OPTIONS.get(name, name.removeprefix("TIKTOK_").lower())
        if option.startswith("endpoints"):
            option = "endpoints"
        code = "unknown_variable" if " is no option" in message else f"bad_{option}"
        yield wrong(code, option, message, fix)

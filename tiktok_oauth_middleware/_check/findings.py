"""The findings about settings that could not be built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.findings import Finding, wrong
from tiktok_oauth_middleware.settings import TikTokSettings
from tiktok_oauth_middleware.settings.environment import variables_of

if TYPE_CHECKING:
    from tiktok_oauth_middleware.errors import ConfigurationError

#: The option of each variable; ``endpoints.token`` and the like for an address.
_OPTIONS = variables_of(TikTokSettings)


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
        is_unknown = " is not an option" in message
        code = "unknown_variable" if is_unknown else f"bad_{option}"
        yield wrong(code, option, message, fix)

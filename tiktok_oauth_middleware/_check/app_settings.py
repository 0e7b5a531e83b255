"""The settings to check: those in the environment, or those of the app itself."""

from __future__ import annotations

import importlib
import sys
import traceback
from contextlib import redirect_stdout
from typing import Any

from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.options import TikTokSettings


class Misused(Exception):
    """The command line names something that does not exist."""


def settings_to_check(named: str | None) -> TikTokSettings:
    """Return the settings in the environment, or those at ``module:object``.

    Raises:
        ConfigurationError: they are wrong.
        Misused: there are no settings.
    """
    if named is None:
        return TikTokSettings.from_env()
    module, _, path = named.partition(":")
    try:
        # Text that the app prints when it is imported must not mix with our output.
        with redirect_stdout(sys.stderr):
            found: Any = importlib.import_module(module)
            for name in filter(None, path.split(".")):
                found = _attribute(found, name)
            if callable(found):
                found = found()
    except ConfigurationError:
        raise
    except Exception as error:
        message = f"--settings {named}: {_why(error)} while it was imported"
        raise Misused(message) from error
    if not isinstance(found, TikTokSettings):
        message = (
            f"--settings {named}: a {type(found).__name__}; name a TikTokSettings, or"
            " a function that returns one, as module:object"
        )
        raise Misused(message)
    return found


def _attribute(found: object, name: str) -> object:
    try:
        return getattr(found, name)
    except AttributeError as error:
        error.name = error.name or name  # PyPy does not set it for modules
        raise


def _why(error: Exception) -> str:
    """Return the error that stopped an import, and where; never the app's own text."""
    words = type(error).__name__
    # These are Python's own texts, about names.
    if isinstance(error, ModuleNotFoundError):
        words += f" (there is no module {error.name!r} here)"
    elif isinstance(error, ImportError | AttributeError) and error.name:
        words += f" (there is no {error.name!r} in it)"
    place = None
    for frame in traceback.extract_tb(error.__traceback__):
        if "importlib" not in frame.filename and frame.filename != __file__:
            place = frame
    return words if place is None else f"{words} at {place.filename}:{place.lineno}"

"""What the command `sandbox` prints: settings for an app, with a key that is kept."""

from __future__ import annotations

import os
import secrets
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tiktok_oauth_middleware.settings.validate import SHORTEST_KEY

if TYPE_CHECKING:
    from .server import StandIn

#: Makes a key in the shell, if no file can keep it.
_NEW_KEY = '$(python -c "import secrets; print(secrets.token_urlsafe(32))")'


def settings_lines(stand_in: StandIn, scopes: str) -> list[str]:
    """Return the lines to print: variables that point an app at a stand-in.

    Args:
        stand_in: the server that the app is to use.
        scopes: the value of ``TIKTOK_SCOPES``; none if it is empty.
    """
    variables = stand_in.environment("http://127.0.0.1:8000/auth/tiktok/callback")
    if scopes:
        variables["TIKTOK_SCOPES"] = scopes
    variables["TIKTOK_SECRET_KEYS"], is_kept = _secret_key()
    lines = [
        f"Stand-in for TikTok on {stand_in.url}; Ctrl-C ends it.",
        "Point your app here with:",
        *(f"  export {name}={value}" for name, value in variables.items()),
    ]
    if not is_kept:
        lines.append(
            "(The key could not be kept. Each paste makes another key, which cannot"
            " read the tokens that were stored with an earlier one.)"
        )
    lines += [
        "(If your app is on another port than 8000, write its port into"
        " TIKTOK_REDIRECT_URI. TIKTOK_OPTIONAL_SCOPES=video.list is for"
        " pages that need that scope.)",
        "Then start your app, and open http://127.0.0.1:8000/",
    ]
    return lines


def _secret_key() -> tuple[str, bool]:
    """Return a shell expression for the sandbox's key, and whether the key is kept.

    With a new key each time, records from the last run could not be read. So the key is
    made once for each user of the machine. The shell reads it from its file, so that it
    does not appear in the terminal's history.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = (
            Path(state) if Path(state).is_absolute() else Path.home() / ".local/state"
        )
        path = base / "tiktok-oauth-middleware" / "sandbox-key"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32))
        is_whole = len(path.read_text(encoding="ascii")) >= SHORTEST_KEY
    except (OSError, RuntimeError, ValueError):  # no home directory, or not writable
        return _NEW_KEY, False
    return (
        (f'"$(cat {shlex.quote(str(path))})"', True) if is_whole else (_NEW_KEY, False)
    )

"""Where the examples' settings come from: the environment, or the stand-in.

With TikTok's credentials in the environment an example uses TikTok; with none, it
starts the stand-in for TikTok beside itself, and ends it with itself.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn


@contextmanager
def settings_in_environment(port: int) -> Iterator[None]:
    """See to it that `TikTokSettings.from_env` works inside."""
    usual = {
        "TIKTOK_REDIRECT_URI": f"http://127.0.0.1:{port}/auth/tiktok/callback",
        "TIKTOK_OPTIONAL_SCOPES": "video.list",
    }
    if "TIKTOK_CLIENT_KEY" in os.environ:
        os.environ |= {**usual, **os.environ}
        yield
        return
    with tempfile.TemporaryDirectory() as folder, StandIn(FakeTikTok()) as stand_in:
        os.environ |= {
            **stand_in.environment(usual["TIKTOK_REDIRECT_URI"]),
            **usual,
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_STORE": f"sqlite:///{Path(folder) / 'tokens.sqlite3'}",
        }
        print(f"The stand-in for TikTok is on {stand_in.url}")
        yield

"""The settings of the examples: from the environment, or for the stand-in.

With TikTok's credentials in the environment an example uses TikTok. Without them, it
starts the stand-in for TikTok, which ends with the example.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn


@contextmanager
def settings_in_environment(port: int) -> Iterator[None]:
    """Make `TikTokSettings.from_env` work inside; print the app's address.

    Raises:
        SystemExit: the port is taken.
    """
    _check(port)
    usual = {
        "TIKTOK_REDIRECT_URI": f"http://127.0.0.1:{port}/auth/tiktok/callback",
        "TIKTOK_OPTIONAL_SCOPES": "video.list",
    }
    if "TIKTOK_CLIENT_KEY" in os.environ:
        os.environ |= {**usual, **os.environ}
        _invite(port)
        yield
        return
    with tempfile.TemporaryDirectory() as folder, StandIn(FakeTikTok()) as stand_in:
        os.environ |= {
            **stand_in.environment(usual["TIKTOK_REDIRECT_URI"]),
            **usual,
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_STORE": f"sqlite:///{Path(folder) / 'tokens.sqlite3'}",
            # TikTok shows no page to a user who consented before; here another person
            # may want to log in.
            "TIKTOK_ALWAYS_ASK_CONSENT": "true",
        }
        print(f"The stand-in for TikTok is on {stand_in.url}")
        _invite(port)
        yield


def _check(port: int) -> None:
    with socket.socket() as probe:
        # As servers do, so that closing connections of the last run do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            print(f"Port {port} cannot be used: {error}", file=sys.stderr)
            print("Take another: make demo PORT=9000, or --port 9000", file=sys.stderr)
            sys.exit(1)


def _invite(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    print(
        f"Open {url} in a browser (not at localhost); Ctrl-C ends it.",
        flush=True,
    )

"""An app that a process of its own builds from plain values, and a login to it."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from tiktok_oauth_middleware import SQLiteStore, TikTokOAuthWSGIMiddleware

from ..conftest import LOGIN, ORIGIN, make_settings

#: Seconds: eight processes on a busy machine wait for one file, and for TikTok.
PATIENCE = 60


def app(environ, start_response):
    """Answer whether the user is signed in, and the access token."""
    auth = environ["tiktok.auth"]
    token = auth.token
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps([auth.is_authenticated, token and token.access_token]).encode()]


def wrap(options: dict[str, Any], path: str, clock: Any) -> Any:
    """Return the middleware around `app`, with a store in a file."""
    from tiktok_oauth_middleware import TikTokEndpoints

    endpoints = TikTokEndpoints(**options["endpoints"])
    settings = make_settings(**{**options, "endpoints": endpoints})
    store = SQLiteStore(path, clock=clock, timeout=PATIENCE)
    return TikTokOAuthWSGIMiddleware(app, settings, store=store, clock=clock)


def options_for(stand_in) -> dict[str, Any]:
    """Return settings that can be sent to a process."""
    endpoints = stand_in.endpoints
    return {
        "secret_keys": ["gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo"],
        "session_idle": 30 * 86400,
        "timeout": PATIENCE,
        "endpoints": {
            "authorize": endpoints.authorize,
            "token": endpoints.token,
            "revoke": endpoints.revoke,
            "user_info": endpoints.user_info,
        },
    }


def log_in(wrapped, fake) -> str:
    """Log in through the interface; return the Cookie header of the session."""
    with httpx2.Client(
        transport=httpx2.WSGITransport(wrapped), base_url=ORIGIN
    ) as client:
        url = client.get(LOGIN).headers["location"]
        response = client.get(fake.consent(url))
        assert response.status_code == 303, response.text
        return "; ".join(f"{c.name}={c.value}" for c in client.cookies.jar)

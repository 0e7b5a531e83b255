"""Valid options of the settings, which tests change."""

from __future__ import annotations

from tiktok_oauth_middleware.settings.options import TikTokSettings

KEY = "mX2cV6bN0aS4dF8gH1jK5lP9oI3uY7tR"
OLDER = "Zr4u7x0A3DfGhKjMnPqTsVwYbEeHiLkO"
CLIENT_SECRET = "pQ7wE2rT5yU8iO1aS4dF6gH9jK3lZ0xC"

GIVEN = {
    "client_key": "awexampleclientkey",
    "client_secret": CLIENT_SECRET,
    "redirect_uri": "https://app.example.com/auth/tiktok/callback",
    "secret_keys": [KEY],
}

ENVIRON = {
    "TIKTOK_CLIENT_KEY": GIVEN["client_key"],
    "TIKTOK_CLIENT_SECRET": GIVEN["client_secret"],
    "TIKTOK_REDIRECT_URI": GIVEN["redirect_uri"],
    "TIKTOK_SECRET_KEYS": KEY,
}


def make(**changes):
    return TikTokSettings(**(GIVEN | changes))

"""Answers of TikTok as its documentation shows them, to be changed by tests."""

from __future__ import annotations

import json

from tiktok_oauth_middleware._oauth.token_response import (
    read_token,
)

OPEN_ID = "11111111-2222-4333-8444-555555555555"
OLD_LIVES = {"expires_in": 86400, "refresh_expires_in": 31536000}
NEW_LIVES = {"expires_in": 7200, "refresh_expires_in": 15552000}

SUCCESS = {
    "access_token": "act.exampleA1b2C3d4E5f6G7h8!5259.va",
    "open_id": OPEN_ID,
    "refresh_token": "rft.exampleZ9y8X7w6V5u4T3s2!5294.va",
    "scope": "user.info.basic,video.list",
    "token_type": "Bearer",
} | OLD_LIVES

MALFORMED = {
    "error": "invalid_request",
    "error_description": "The request parameters are malformed.",
    "log_id": "202601010101010101301300620725FFA2",
}

PROFILE = {
    "data": {
        "user": {
            "open_id": OPEN_ID,
            "display_name": "Example Creator",
            "union_id": "99999999-8888-4777-8666-555555555555",
            "avatar_url": "https://p16-sign.tiktokcdn.example/avatar.jpeg?x-expires=1",
        }
    },
    "error": {"code": "ok", "message": "", "log_id": "20260101000000AAAA59D524E727021"},
}


class MISSING:
    """In place of a field that is not there."""


def body_of(answer, **changes):
    """Return an answer's JSON; a field that is MISSING is left out."""
    changed = {k: v for k, v in (answer | changes).items() if v is not MISSING}
    return json.dumps(changed).encode()


def token_of(status=200, **changes):
    return read_token(status, body_of(SUCCESS, **changes))

"""Answers as TikTok, or what stands before it, was seen to give them, details replaced.

Each row is a whole answer and what the readers make of it. They were collected from
public reports of 2022 to 2026; shapes are kept, names, tokens and ids are made up.
"""

from __future__ import annotations

import json

import pytest

from tiktok_oauth_middleware._oauth.authorize import read_callback
from tiktok_oauth_middleware._oauth.token_response import read_revoke, read_token
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware._oauth.user_info import read_user
from tiktok_oauth_middleware._oauth.webhook_delivery import read_webhook
from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    TikTokError,
    TikTokUnavailable,
)
from tiktok_oauth_middleware.testing.wire import signature as sign_webhook

OPEN_ID = "-000kZ3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo"
TOKEN = {
    "access_token": "act.Zk3vXq9LwR2tYb7N!5021.va",
    "expires_in": 86400,
    "open_id": OPEN_ID,
    "refresh_expires_in": 31536000,
    "refresh_token": "rft.H5cJd8GsPmA1eUoQ!5077.va",
    "scope": "user.info.basic,video.list",
    "token_type": "Bearer",
}


def without(name):
    return {key: value for key, value in TOKEN.items() if key != name}


TOKENS = {
    "EU data centre": (200, {**TOKEN, "access_token": "act.Zk3vXq9L!6125.e1"}),
    "US data centre": (200, {**TOKEN, "access_token": "act.Zk3vXq9L!4411.u1"}),
    "open_id with underscores": (200, {**TOKEN, "open_id": "-000uab_c9d_e0f"}),
    "open_id of old": (200, {**TOKEN, "open_id": "_000Qab100cd"}),
    "a refresh, two hours after the consent": (
        200,
        {**TOKEN, "refresh_expires_in": 31536000 - 7292},
    ),
    "lives since November 2026": (
        200,
        {**TOKEN, "expires_in": 7200, "refresh_expires_in": 15552000},
    ),
    "no token_type": (200, without("token_type")),
    "no scope": (200, without("scope")),
    "no lives": (200, {**without("expires_in"), "refresh_expires_in": None}),
    "scopes with blanks": (200, {**TOKEN, "scope": "user.info.basic video.list"}),
    "scopes with comma and blank": (
        200,
        {**TOKEN, "scope": "user.info.basic, video.list"},
    ),
    "numbers as text": (200, {**TOKEN, "expires_in": "7200"}),
    "a log_id beside": (200, {**TOKEN, "log_id": "20261102"}),
    "an empty error beside": (200, {**TOKEN, "error": "", "error_description": ""}),
    "status 201": (201, TOKEN),
}


@pytest.mark.parametrize(("status", "body"), TOKENS.values(), ids=TOKENS.keys())
def test_token(status, body):
    """An answer that grants tokens is read, whichever of its fields are missing."""
    answer = read_token(status, json.dumps(body).encode())
    assert answer.open_id == body["open_id"]
    assert answer.access_token == body["access_token"]
    scopes = None if "scope" not in body else "user.info.basic,video.list"
    assert answer.scopes == scopes


WORDS = "Client key or secret is incorrect."
V1 = {
    "access_token": "act.v1!6393",
    "captcha": "",
    "desc_url": "",
    "description": "",
    "error_code": 0,
    "open_id": OPEN_ID,
    "scope": "user.info.basic",
}
#: Status, body, error, TikTok's own error, a part of its words.
REFUSED = {
    "dead refresh token, status 400": (
        400,
        {
            "error": "invalid_grant",
            "error_description": "Refresh token is invalid or expired.",
            "log_id": "20250907123053",
        },
        GrantRevoked,
        "invalid_grant",
        "invalid or expired",
    ),
    "dead refresh token, status 200": (
        200,
        {"error": "invalid_grant", "error_description": "x"},
        GrantRevoked,
        "invalid_grant",
        "x",
    ),
    "wrong secret, status 200": (
        200,
        {"error": "invalid_client", "error_description": WORDS},
        TikTokError,
        "invalid_client",
        WORDS,
    ),
    "wrong secret, status 401": (
        401,
        {"error": "invalid_client", "error_description": WORDS, "log_id": "7"},
        TikTokError,
        "invalid_client",
        WORDS,
    ),
    "no final slash": (404, "Unsupported path(Janus)", TikTokUnavailable, "", "Janus"),
    "gateway": (
        502,
        "<html>Bad gateway</html>",
        TikTokUnavailable,
        "",
        "Bad gateway",
    ),
    "edge": (
        403,
        "<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD></HTML>",
        TikTokUnavailable,
        "",
        "Access Denied",
    ),
    "first API, a success": (
        200,
        {"data": V1, "message": "success"},
        TikTokError,
        "",
        "first API",
    ),
    "first API, an error": (
        200,
        {
            "data": {
                "captcha": "",
                "description": "Authorization code expired",
                "error_code": 10007,
                "log_id": "2022",
            },
            "message": "error",
        },
        TikTokError,
        "10007",
        "Authorization code expired",
    ),
    "err_code in data": (
        200,
        {"data": {"err_code": 10002, "err_msg": "param error"}, "message": "error"},
        TikTokError,
        "10002",
        "param error",
    ),
    "a numeric code": (
        200,
        {"error": {"code": 10003, "message": "client_key"}},
        TikTokError,
        "10003",
        "client_key",
    ),
    "a numeric error": (
        400,
        {"error": 10003, "error_description": "client_key"},
        TikTokError,
        "10003",
        "client_key",
    ),
    "errCode beside": (
        200,
        {"errCode": 10003, "errMsg": "client_key", "logId": "2026"},
        TikTokError,
        "10003",
        "client_key",
    ),
    "error_code beside": (
        400,
        {"error_code": 10014, "error_msg": "no such code", "log_id": "2026"},
        TikTokError,
        "10014",
        "no such code",
    ),
    "trouble, status 200": (
        200,
        {"error": {"code": "internal_error", "message": "later", "log_id": "1"}},
        TikTokUnavailable,
        "internal_error",
        "later",
    ),
    "too many, status 200": (
        200,
        {"error": {"code": "rate_limit_exceeded", "message": "slower"}},
        TikTokUnavailable,
        "rate_limit_exceeded",
        "slower",
    ),
    "neither token nor error": (200, {}, TikTokError, "", "access_token"),
}


@pytest.mark.parametrize(
    ("status", "body", "error", "code", "words"), REFUSED.values(), ids=REFUSED.keys()
)
def test_refused(status, body, error, code, words):
    """An answer that grants nothing is the error that it is, with TikTok's words."""
    raw = body if isinstance(body, str) else json.dumps(body)
    with pytest.raises(TikTokError) as refused:
        read_token(status, raw.encode())
    assert type(refused.value) is error
    assert refused.value.error == code
    assert words in refused.value.description
    assert refused.value.http_status == status
    for name in ("log_id", "logId"):
        if isinstance(body, dict) and name in body:
            assert refused.value.log_id == body[name]


@pytest.mark.parametrize("body", ["{}", "", " ", "{ }", '{"log_id": "1"}'])
@pytest.mark.parametrize("status", [200, 204])
def test_revoked(status, body):
    """A revoke that worked is empty, or an object without an error."""
    read_revoke(status, body.encode())


def test_revoked_before():
    """A revoke of an invalid token is an error with status 200."""
    body = {"error": "invalid_grant", "error_description": "Access token is invalid."}
    with pytest.raises(GrantRevoked, match="Access token is invalid"):
        read_revoke(200, json.dumps(body).encode())


LINK = (
    "https://p19-sign.tiktokcdn-us.example/tos-avt/d3~c5_168x168.jpeg?lk3s=a5&nonce=9"
    "&refresh_token=c399&x-expires=1738854000&x-signature=cHVV%3D&shp=a5"
)
#: User, and what the profile holds of it.
USERS = {
    "a signed link": (
        {"avatar_url": LINK, "display_name": "Name", "union_id": "9-9"},
        {"avatar_url": LINK, "display_name": "Name", "union_id": "9-9"},
    ),
    "a blank at the end": ({"display_name": "name "}, {"display_name": "name "}),
    "no union_id": ({"follower_count": 7}, {"follower_count": 7, "union_id": None}),
    "numbers as text": (
        {"follower_count": "427682", "likes_count": "11907467940", "video_count": -1},
        {"follower_count": 427682, "likes_count": 11907467940, "video_count": None},
    ),
    "null": (
        {"profile_web_link": None, "is_verified": None, "bio_description": ""},
        {"profile_web_link": None, "is_verified": None, "bio_description": ""},
    ),
    "a field that is new": ({"display_name": "N", "new": [1]}, {"display_name": "N"}),
}


@pytest.mark.parametrize(("user", "profile"), USERS.values(), ids=USERS.keys())
@pytest.mark.parametrize(
    "error",
    [
        {"code": "ok", "message": "", "log_id": "20250204154510"},
        {"code": "ok", "message": ""},
        {"code": 0},
        None,
    ],
)
def test_user(user, profile, error):
    """A profile is read field by field; one that is of another type is left out."""
    body = {"data": {"user": {"open_id": OPEN_ID, **user}}, "error": error}
    packed = read_user(200, json.dumps(body).encode(), open_id=OPEN_ID)
    read = read_profile(OPEN_ID, packed)
    assert {name: getattr(read, name) for name in profile} == profile


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (
            200,
            {"error": {"code": "access_token_invalid", "message": "detail"}},
            TikTokError,
            "access_token_invalid",
        ),
        (
            401,
            {"code": "access_token_invalid", "message": "invalid", "log_id": "2022"},
            TikTokError,
            "access_token_invalid",
        ),
        (
            429,
            {"error": {"code": "rate_limit_exceeded", "message": "m"}},
            TikTokUnavailable,
            "rate_limit_exceeded",
        ),
        (
            200,
            {"data": {}, "error": {"code": "internal_error", "message": "x"}},
            TikTokUnavailable,
            "internal_error",
        ),
        (
            401,
            {"data": {}, "error": {"code": "scope_not_authorized", "message": "x"}},
            TikTokError,
            "scope_not_authorized",
        ),
    ],
)
def test_user_refused(status, body, error, code):
    """A profile that is refused is the error that it is, in either shape."""
    with pytest.raises(TikTokError) as refused:
        read_user(status, json.dumps(body).encode(), open_id=OPEN_ID)
    assert type(refused.value) is error
    assert refused.value.error == code


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (
            "code=2-vF-hq%2A1%214608.va&scopes=user.info.basic&state=zYVW",
            {"code": "2-vF-hq*1!4608.va", "state": "zYVW"},
        ),
        (
            "code=80-wN4_hEo%2A1%216299.e1&scopes=user.info.basic%2Cvideo.list&state=x",
            {"code": "80-wN4_hEo*1!6299.e1"},
        ),
        (
            "error=access_denied&error_description=access_denied",
            {"error": "access_denied", "description": "access_denied", "state": ""},
        ),
        (
            "error=invalid_scope&error_type=scope&state=x",
            {"error": "invalid_scope", "details": {"error_type": "scope"}},
        ),
        (
            "error=unauthorized_client&error_type=client_key&errCode=10003&state=x",
            {
                "error": "unauthorized_client",
                "details": {"errCode": "10003", "error_type": "client_key"},
            },
        ),
        (
            "errCode=10007&error_type=code_challenge&logid=2026",
            {
                "error": "",
                "details": {
                    "errCode": "10007",
                    "error_type": "code_challenge",
                    "logid": "2026",
                },
            },
        ),
    ],
)
def test_callback(query, fields):
    """A callback is decoded once, and none of it is lost."""
    callback = read_callback(query.encode())
    for name, value in fields.items():
        assert getattr(callback, name) == value


@pytest.mark.parametrize(
    ("event", "at", "user", "content"),
    [
        (
            "tiktok.ping",
            1752894700622,
            "7528370655977505848",
            '{"reason":"testing Webhook"}',
        ),
        ("video.publish.completed", 1615338610, "act.ex12345", '{"share_id":"v.69"}'),
        ("im_receive_msg", 1700000000, "open-1", '{"text":{"body":"hi"}}'),
    ],
)
def test_webhook(event, at, user, content):
    """A delivery of any event is read; its time is in seconds, in whichever unit."""
    body = {
        "client_key": "awkey",
        "event": event,
        "create_time": at,
        "user_openid": user,
        "content": content,
    }
    raw = json.dumps(body).encode()
    header = sign_webhook(raw, "the-secret", 1752894705).encode()
    delivery = read_webhook(
        header, raw, client_key="awkey", secrets=["the-secret"], now=1752894705
    )
    assert (delivery.event, delivery.open_id) == (event, user)
    assert delivery.create_time == (at if at < 10**11 else at // 1000)
    assert delivery.content == json.loads(content)

"""A table of faults of TikTok's endpoints, and the client's result for each.

A row has a fault's answer and the client's result at each endpoint. `FLOWS` has the
effect of each result on a user, which is the same for all rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    TikTokError,
    TikTokUnavailable,
)
from tiktok_oauth_middleware.testing.people import PEOPLE

OPEN_ID = PEOPLE[0].open_id
#: The client's result: a value, or exactly this error.
OK, DEAD, ERROR, AWAY = "ok", GrantRevoked, TikTokError, TikTokUnavailable
#: The calls to TikTok.
CALLS = ("exchange", "refresh", "revoke", "profile")
ENDPOINT = {
    "exchange": "token",
    "refresh": "token",
    "revoke": "revoke",
    "profile": "user_info",
}
#: The effect on a user, by call and by the client's result.
FLOWS = {
    # The callback's status, and whether a user is signed in afterwards.
    "exchange": {
        OK: (303, True),
        DEAD: (400, False),
        ERROR: (502, False),
        AWAY: (503, False),
    },
    # Whether the user is still signed in, and has a token after the old one expired.
    "refresh": {
        OK: (True, True),
        DEAD: (False, False),
        ERROR: (True, False),
        AWAY: (True, False),
    },
    # The disconnect's status; the user is signed out in every case.
    "revoke": {
        OK: (303, False),
        DEAD: (303, False),
        ERROR: (502, False),
        AWAY: (502, False),
    },
    # Whether the user is signed in, and has a name.
    "profile": {
        OK: (True, True),
        DEAD: (True, False),
        ERROR: (True, False),
        AWAY: (True, False),
    },
}
TOKEN: dict[str, Any] = {
    "access_token": "act.answered!5259.va",
    "expires_in": 7200,
    "open_id": OPEN_ID,
    "refresh_expires_in": 15552000,
    "refresh_token": "rft.answered!5294.va",
    "scope": "user.info.basic,video.list",
    "token_type": "Bearer",
}
PROFILE: dict[str, Any] = {
    "data": {"user": {"open_id": OPEN_ID, "display_name": "A name"}},
    "error": {"code": "ok", "message": "", "log_id": "L"},
}
GOOD = {
    "exchange": json.dumps(TOKEN).encode(),
    "refresh": json.dumps(TOKEN).encode(),
    "revoke": b"{}",
    "profile": json.dumps(PROFILE).encode(),
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One answer, and the client's results."""

    name: str
    status: int = 200
    #: The body; None for the endpoint's usual success.
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    #: The result by call; calls that are not named do not get this answer.
    means: dict[str, Any]

    def body_for(self, call: str) -> bytes:
        return GOOD[call] if self.body is None else self.body


def alike(kind: Any, **others: Any) -> dict[str, Any]:
    """Return the same result for every call, except `others`."""
    return {**dict.fromkeys(CALLS, kind), **others}


def token(kind: Any) -> dict[str, Any]:
    return {"exchange": kind, "refresh": kind}


def error(code: Any, **more: Any) -> bytes:
    return json.dumps(
        {"error": code, "error_description": "D", "log_id": "L", **more}
    ).encode()


# --- status ------------------------------------------------------------------------

SUCCESSES = (200, 201, 204, 299)
REDIRECTS = (300, 301, 302, 303, 304, 307, 308)
REFUSALS = (400, 401, 403, 404, 405, 410, 418)
OUTAGES = (429, 500, 502, 503, 504, 599)
ELSEWHERE = {"location": "https://elsewhere.example/v2/oauth/token/"}


def of_status() -> list[Fault]:
    rows = []
    for status in (*SUCCESSES, *REDIRECTS, *REFUSALS, *OUTAGES):
        headers = ELSEWHERE if status in REDIRECTS else {}
        away = status in OUTAGES
        answered = OK if status in SUCCESSES else AWAY if away else ERROR
        rows += [
            Fault(
                name=f"{status} with a success",
                status=status,
                headers=headers,
                means=alike(answered),
            ),
            Fault(
                name=f"{status} with nothing",
                status=status,
                body=b"",
                headers=headers,
                means=alike(AWAY, revoke=OK if status in SUCCESSES else AWAY),
            ),
            Fault(
                name=f"{status} with invalid_grant",
                status=status,
                body=error("invalid_grant"),
                headers=headers,
                means=alike(AWAY if away else DEAD),
            ),
            Fault(
                name=f"{status} with invalid_client",
                status=status,
                body=error("invalid_client"),
                headers=headers,
                means=alike(AWAY if away else ERROR),
            ),
            Fault(
                name=f"{status} with server_error",
                status=status,
                body=error("server_error"),
                headers=headers,
                means=alike(AWAY),
            ),
        ]
    return rows


# --- shape and size ----------------------------------------------------------------

DEEP = 100_000
MEGABYTE = 1024 * 1024
NO_OBJECT = {
    "null": b"null",
    "true": b"true",
    "a string": b'"act.answered"',
    "a number": b"7200",
    "a list": b"[]",
    "an object in a list": b"[" + GOOD["exchange"] + b"]",
    "lists 100,000 deep": b"[" * DEEP + b"]" * DEEP,
    "objects 100,000 deep": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "lists left open 100,000 deep": b"[" * DEEP,
    "half an answer": GOOD["exchange"][:60],
    "an answer less its end": GOOD["exchange"][:-1],
    "an answer and more": GOOD["exchange"] + b"x",
    "two answers": GOOD["exchange"] * 2,
    "HTML": b"<!doctype html><html><body>Bad gateway</body></html>",
    "the text of a wrong path": b"Unsupported path(Janus)",
    "a form": b"access_token=a&open_id=b",
    "JSON with a comment": b'{"a":1 /* b */}',
    "JSON with a comma too many": b'{"a":1,}',
    "single quotes": b"{'access_token':'a'}",
    "another encoding (UTF-16)": GOOD["exchange"].decode().encode("utf-16"),
    "another encoding (UTF-16 without a mark)": GOOD["exchange"]
    .decode()
    .encode("utf-16-be"),
    "another encoding (UTF-32)": GOOD["exchange"].decode().encode("utf-32"),
    "another encoding (Latin-1)": b'{"access_token":"\xe9"}',
    "a byte order mark": b"\xef\xbb\xbf" + GOOD["exchange"],
    "a surrogate in UTF-8": b'{"access_token":"\xed\xa0\x80"}',
    "NUL in front": b"\x00" + GOOD["exchange"],
    "NUL inside a text": GOOD["exchange"].replace(b"act.", b"act\x00."),
    "NULs": b"\x00" * 64,
    "gzip without the header": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "NaN": b'{"expires_in":NaN}',
    "Infinity": b'{"expires_in":Infinity}',
    "minus Infinity": b'{"expires_in":-Infinity}',
    "a number of 5,000 digits": b'{"expires_in":' + b"9" * 5000 + b"}",
    "an error twice": b'{"error":"","error":"invalid_grant"}',
    "an error twice, by an escape": b'{"error":"","\\u0065rror":"invalid_grant"}',
    "a token twice": GOOD["exchange"][:-1] + b',"access_token":"act.other"}',
    "a name twice, deep inside": b'{"data":{"user":{"open_id":"a","open_id":"b"}}}',
    "1 MB of text": b'"' + b"x" * (MEGABYTE - 2) + b'"',
    "more than 1 MB": b'{"a":"' + b"x" * MEGABYTE + b'"}',
    "5 MB of spaces": b" " * (5 * MEGABYTE),
}


def of_shape() -> list[Fault]:
    rows = [
        Fault(name=f"{name}, {status}", status=status, body=body, means=alike(AWAY))
        for name, body in NO_OBJECT.items()
        for status in (200, 401, 500)
    ]
    blank = alike(AWAY, revoke=OK)
    rows += [
        Fault(name="spaces", body=b" \t\r\n", means=blank),
        Fault(name="an empty object", body=b"{}", means=alike(ERROR, revoke=OK)),
        Fault(
            name="an answer of almost 1 MB",
            means=alike(OK, revoke=OK),
            body=json.dumps(
                {**TOKEN, **PROFILE, "x": "x" * (MEGABYTE - 2000)}
            ).encode(),
        ),
        Fault(
            name="unknown fields",
            body=json.dumps({**TOKEN, **PROFILE, "new": [1]}).encode(),
            means=alike(OK),
        ),
        Fault(
            name="a cookie", headers={"set-cookie": "sid=1; Path=/"}, means=alike(OK)
        ),
        Fault(
            name="another content type",
            headers={"content-type": "image/png"},
            means=alike(OK),
        ),
        Fault(
            name="content declared as gzip",
            headers={"content-encoding": "gzip"},
            means=alike(AWAY),
        ),
        Fault(
            name="content declared as br",
            headers={"content-encoding": "br"},
            means=alike(AWAY),
        ),
        Fault(
            name="content declared as identity",
            headers={"content-encoding": "Identity"},
            means=alike(OK),
        ),
    ]
    return rows


# --- errors ------------------------------------------------------------------------


def of_errors() -> list[Fault]:
    codes = {
        "invalid_grant": DEAD,
        "Invalid_grant": ERROR,
        " invalid_grant": ERROR,
        "invalid_grant\x00": ERROR,
        "invalid_grant\ud800": ERROR,
        "invalid_request": ERROR,
        "unauthorized_client": ERROR,
        "temporarily_unavailable": AWAY,
        "access_denied": ERROR,
        "never heard of": ERROR,
        "x" * 5000: ERROR,
    }
    rows = [
        Fault(name=f"the error {code[:20]!r}", body=error(code), means=alike(kind))
        for code, kind in codes.items()
    ]
    shapes: dict[str, Any] = {"a number": 7, "true": True, "a list": ["invalid_grant"]}
    rows += [
        Fault(name=f"an error that is {name}", body=error(shape), means=alike(ERROR))
        for name, shape in shapes.items()
    ]
    rows += [
        Fault(
            name="an error beside a success",
            means=alike(ERROR),
            body=json.dumps({**TOKEN, **PROFILE, "error": "invalid_request"}).encode(),
        ),
        Fault(
            name="an error object",
            body=error({"code": "invalid_grant"}),
            means=alike(DEAD),
        ),
        Fault(
            name="a bare error",
            body=b'{"code":"rate_limit_exceeded","message":"m"}',
            means=alike(AWAY),
        ),
        Fault(
            name="a dead access token",
            status=401,
            body=error({"code": "access_token_invalid"}),
            means=alike(ERROR),
        ),
        Fault(
            name="a scope that was not granted",
            status=401,
            body=error({"code": "scope_not_authorized"}),
            means=alike(ERROR),
        ),
    ]
    return rows


# --- fields of a token answer ------------------------------------------------------

MISSING = "missing"
#: JSON texts in the answer.
FIELDS: dict[str, dict[str, Any]] = {
    "access_token": {
        MISSING: ERROR,
        "null": ERROR,
        '""': ERROR,
        "7": ERROR,
        "true": ERROR,
        "[]": ERROR,
        "{}": ERROR,
        '" "': ERROR,
        '"a b"': ERROR,
        '"a\\n"': ERROR,
        '"a\\u0000"': ERROR,
        '"\\ud800"': ERROR,
        '"é"': ERROR,
        '"\\uff11"': ERROR,
        '"' + "a" * 4096 + '"': OK,
        '"' + "a" * 4097 + '"': ERROR,
    },
    "refresh_token": {
        MISSING: OK,
        "null": OK,
        '""': ERROR,
        "7": ERROR,
        "false": ERROR,
        "[]": ERROR,
        '"a b"': ERROR,
        '"\\u0000"': ERROR,
        '"\\udfff"': ERROR,
        '"' + "a" * 4096 + '"': OK,
        '"' + "a" * 4097 + '"': ERROR,
    },
    "open_id": {
        MISSING: ERROR,
        "null": ERROR,
        '""': ERROR,
        "7": ERROR,
        "true": ERROR,
        "[]": ERROR,
        "{}": ERROR,
        '"a\\u0000"': ERROR,
        '"a\\u0085"': ERROR,
        '"\\ud800"': ERROR,
        '"' + "a" * 257 + '"': ERROR,
    },
    "token_type": {
        MISSING: OK,
        "null": ERROR,
        '"bearer"': OK,
        '"BEARER"': OK,
        '"mac"': ERROR,
        '"Bearer "': ERROR,
        '"\\uff22earer"': ERROR,
        "1": ERROR,
        "[]": ERROR,
    },
    "scope": {
        MISSING: OK,
        "null": OK,
        '""': OK,
        '","': OK,
        '"user.info.basic, video.list"': OK,
        '"user.info.basic video.list"': OK,
        '"a\\uff0cb"': ERROR,
        '"a\\nb"': ERROR,
        "7": ERROR,
        "[]": ERROR,
        '["user.info.basic"]': ERROR,
        "true": ERROR,
        '"' + "a" * 4097 + '"': ERROR,
    },
}
#: Numbers are limited to between 0 and 400 days; other values are refused.
NUMBERS: dict[str, Any] = {
    MISSING: OK,
    "null": OK,
    "7200": OK,
    "7200.9": OK,
    '"7200"': OK,
    "1e300": OK,
    "9" * 4000: OK,
    "-1": OK,
    "0": OK,
    '"0"': OK,
    "1e400": ERROR,
    "-1e400": ERROR,
    "true": ERROR,
    "false": ERROR,
    '""': ERROR,
    '"-1"': ERROR,
    '"1e3"': ERROR,
    '" 7200"': ERROR,
    '"7200.0"': ERROR,
    '"\\uff17\\uff12"': ERROR,
    '"٧٢"': ERROR,
    '"NaN"': ERROR,
    '"' + "9" * 5000 + '"': ERROR,
    "[]": ERROR,
    "{}": ERROR,
}
FIELDS["expires_in"] = FIELDS["refresh_expires_in"] = NUMBERS


def of_fields() -> list[Fault]:
    return [
        Fault(
            name=f"{name} {shown(raw)}", body=with_field(name, raw), means=token(kind)
        )
        for name, values in FIELDS.items()
        for raw, kind in values.items()
    ]


def shown(raw: str) -> str:
    return raw if len(raw) < 30 else f"{raw[:3]}... of {len(raw)}"


def with_field(name: str, raw: str) -> bytes:
    others = {k: v for k, v in TOKEN.items() if k != name}
    if raw == MISSING:
        return json.dumps(others).encode()
    return (json.dumps({**others, name: "@"})).replace('"@"', raw).encode()


# --- profiles ----------------------------------------------------------------------


def of_profiles() -> list[Fault]:
    def user(**fields: Any) -> bytes:
        return json.dumps({"data": {"user": {"open_id": OPEN_ID, **fields}}}).encode()

    bodies = {
        "no data": (b'{"data":null}', ERROR),
        "data that is a list": (b'{"data":[]}', ERROR),
        "no user": (b'{"data":{}}', ERROR),
        "a user that is a list": (b'{"data":{"user":[]}}', ERROR),
        "a user that is a text": (b'{"data":{"user":"x"}}', ERROR),
        "a user without an id": (b'{"data":{"user":{"display_name":"x"}}}', ERROR),
        "somebody else": (
            b'{"data":{"user":{"open_id":"other","display_name":"x"}}}',
            ERROR,
        ),
        "the id in capitals": (
            json.dumps({"data": {"user": {"open_id": OPEN_ID + " "}}}).encode(),
            ERROR,
        ),
        "a profile without an error": (user(display_name="A name"), OK),
    }
    return [
        Fault(name=name, body=body, means={"profile": kind})
        for name, (body, kind) in bodies.items()
    ]


def of_revokes() -> list[Fault]:
    bodies = {
        "nothing": (b"", OK),
        "braces": (b"{}", OK),
        "a line": (b"\n", OK),
        "ok": (b'{"error":{"code":"ok"}}', OK),
        "an empty error": (b'{"error":""}', OK),
    }
    return [
        Fault(
            name=f"revoked: {name}, {status}",
            status=status,
            body=body,
            means={"revoke": kind},
        )
        for name, (body, kind) in bodies.items()
        for status in (200, 204)
    ]


FAULTS: list[Fault] = [
    *of_status(),
    *of_shape(),
    *of_errors(),
    *of_fields(),
    *of_profiles(),
    *of_revokes(),
]
LIFE = 7200

"""TikTok's errors: every shape and status, and which exception each becomes."""

from __future__ import annotations

import json

import pytest

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.answer import read_answer
from tiktok_oauth_middleware._oauth.token_response import (
    read_revoke,
    read_token,
)
from tiktok_oauth_middleware._oauth.user_info import read_user
from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    TikTokError,
    TikTokOAuthError,
    TikTokUnavailable,
)

from ...support.tiktok_answers import (
    MALFORMED,
    MISSING,
    OPEN_ID,
    SUCCESS,
    body_of,
    token_of,
)

BODIES = [
    b"null",
    b"true",
    b"1",
    b'"access_token"',
    b"[]",
    b"[{}]",
    b"{",
    b"{}}",
    b"{'a': 1}",
    b"<html></html>",
    b"Unsupported path(Janus)",
    b"access_token=a&open_id=b",
    b"\xff\xfe\xfd",
    b"\x00" * 10,
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"\x1f\x8b\x08\x00",
]


@pytest.mark.parametrize("status", [200, 302, 400, 404, 500])
@pytest.mark.parametrize("body", BODIES, ids=[repr(b[:20]) for b in BODIES])
@pytest.mark.parametrize("reader", [read_token, read_revoke], ids=["token", "revoke"])
def test_body_that_is_not_an_object_is_not_an_answer(reader, body, status):
    """A body that is not a JSON object is TikTokUnavailable, whatever its status."""
    with pytest.raises(TikTokUnavailable, match="not a JSON object") as refused:
        reader(status, body)
    assert refused.value.http_status == status
    assert refused.value.error == ""


# --- errors in answers -------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize("reader", [read_token, read_revoke], ids=["token", "revoke"])
def test_error_is_read_at_any_status(reader, status):
    """An error counts even with status 200, and has TikTok's fields."""
    with pytest.raises(TikTokError) as refused:
        reader(status, body_of(MALFORMED))
    error = refused.value
    assert type(error) is TikTokError
    assert error.error == "invalid_request"
    assert error.description == "The request parameters are malformed."
    assert error.log_id == "202601010101010101301300620725FFA2"
    assert error.http_status == status


def test_error_beside_a_token_wins():
    """An answer with both an error and a token is an error."""
    with pytest.raises(TikTokError, match="invalid_request"):
        token_of(error="invalid_request")


@pytest.mark.parametrize(
    "error",
    [MISSING, None, "", {"code": "ok"}, {"code": "ok", "message": "", "log_id": "x"}],
    ids=["missing", "null", "empty", "ok", "whole ok"],
)
def test_no_error_is_none(error):
    """A missing, null or empty error, or an error object with the code "ok", means
    success.
    """
    assert token_of(error=error).open_id == OPEN_ID


@pytest.mark.parametrize(
    "error",
    [True, 1.5, [], ["invalid_grant"], [[]], {"code": 1.5}, {"code": ["ok"]}],
    ids=repr,
)
def test_error_of_another_shape_is_an_error(error):
    """An unreadable error is an error, but does not end a grant."""
    with pytest.raises(TikTokError) as refused:
        token_of(error=error)
    assert type(refused.value) is TikTokError
    assert refused.value.error == "unreadable"


ERROR_SHAPES = {
    "string": {"error": "CODE", "error_description": "TEXT", "log_id": "LOG"},
    "object": {"error": {"code": "CODE", "message": "TEXT", "log_id": "LOG"}},
    "object with data": {
        "data": {},
        "error": {"code": "CODE", "message": "TEXT", "log_id": "LOG"},
    },
    "flat": {"code": "CODE", "message": "TEXT", "log_id": "LOG"},
}


@pytest.mark.parametrize("shape", ERROR_SHAPES.values(), ids=ERROR_SHAPES.keys())
@pytest.mark.parametrize(
    "read",
    [read_token, read_revoke, lambda s, b: read_user(s, b, open_id=OPEN_ID)],
    ids=["token", "revoke", "user"],
)
@pytest.mark.parametrize("status", [200, 400, 401])
def test_every_shape_of_error_is_understood(read, shape, status):
    """Code, description and log_id are read from all three forms of errors."""
    with pytest.raises(TikTokError) as refused:
        read(status, json.dumps(shape).encode())
    error = refused.value
    assert (error.error, error.description, error.log_id) == ("CODE", "TEXT", "LOG")


STATUSES = [
    (200, "invalid_grant", GrantRevoked),
    (400, "invalid_grant", GrantRevoked),
    (401, "invalid_grant", GrantRevoked),
    (499, "invalid_grant", GrantRevoked),
    (500, "invalid_grant", TikTokUnavailable),
    (503, "invalid_grant", TikTokUnavailable),
    (429, "invalid_grant", TikTokUnavailable),
    (200, "INVALID_GRANT", TikTokError),
    (200, "invalid_grant ", TikTokError),
    (200, " invalid_grant", TikTokError),
    (200, "invalid_grants", TikTokError),
    (200, "invalid_client", TikTokError),
    (401, "invalid_client", TikTokError),
    (400, "unauthorized_client", TikTokError),
    (400, "unheard_of", TikTokError),
    (401, "access_token_invalid", TikTokError),
    (401, "scope_not_authorized", TikTokError),
    (400, "invalid_request", TikTokError),
    (302, "", TikTokError),
    (100, "", TikTokError),
    (400, "", TikTokError),
    (404, "", TikTokError),
    (429, "", TikTokUnavailable),
    (429, "rate_limit_exceeded", TikTokUnavailable),
    (500, "", TikTokUnavailable),
    (500, "internal_error", TikTokUnavailable),
    (502, "", TikTokUnavailable),
    (599, "invalid_client", TikTokUnavailable),
    (200, "server_error", TikTokUnavailable),
    (400, "server_error", TikTokUnavailable),
    (200, "temporarily_unavailable", TikTokUnavailable),
]


@pytest.mark.parametrize(("status", "code", "kind"), STATUSES)
@pytest.mark.parametrize("reader", [read_token, read_revoke], ids=["token", "revoke"])
def test_status_and_code_decide(reader, status, code, kind):
    """Only an exact invalid_grant with a status below 500 is permanent."""
    with pytest.raises(TikTokOAuthError) as refused:
        reader(status, body_of(SUCCESS, error=code))
    assert type(refused.value) is kind
    assert refused.value.http_status == status


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("0", 0),
        ("1", 1),
        ("120", 120),
        ("300", 300),
        ("301", 300),
        ("999999999", 300),
        ("9999999999", 300),
        ("9" * 400, 300),
        ("0" * 400 + "7", 7),
        ("-1", None),
        ("1.5", None),
        (" 1", None),
        ("1\n", None),
        ("٣", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("nan", None),
    ],
)
def test_retry_after_is_heeded_up_to_five_minutes(header, seconds):
    """TikTok's Retry-After is used up to 300 s; one that is not a number is ignored."""
    with pytest.raises(TikTokUnavailable) as refused:
        read_token(503, b"", retry_after=header)
    assert refused.value.retry_after == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120),
        ("Thursday, 01-Jan-26 00:02:00 GMT", 120),
        ("Thu Jan  1 00:02:00 2026", 120),
        ("Thu, 01 Jan 2026 00:05:00 GMT", 300),
        ("Thu, 01 Jan 2026 00:05:01 GMT", 300),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0),
        ("Wed, 31 Dec 2025 23:59:59 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 25:02:00 GMT", None),
        ("Thu, 32 Jan 2026 00:02:00 GMT", None),
        ("Thu, 01 Xan 2026 00:02:00 GMT", None),
        ("Thu, 01 Jan 99999999999 00:02:00 GMT", None),
        ("Thu, 01 Jan 2026 00:02:00 +0900", None),
        ("Thu, 01 Jan 2026 00:02:00 GMT" + " " * 12, None),
        ("Thu, ٠١ Jan 2026 00:02:00 GMT", None),
        ("tomorrow", None),
    ],
)
def test_retry_after_may_be_a_date(header, seconds):
    """Retry-After may be a date in any of HTTP's three forms."""
    with pytest.raises(TikTokUnavailable) as refused:
        read_token(503, b"", retry_after=header, now=1_767_225_600.0)
    assert refused.value.retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"","error":"invalid_grant"}',
        b'{"error":"invalid_grant","error":""}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":1,"\\u0061":1}',
        json.dumps(SUCCESS).encode("utf-16"),
        json.dumps(SUCCESS).encode("utf-16-le"),
        json.dumps(SUCCESS).encode("utf-32"),
        json.dumps(SUCCESS).encode("utf-8-sig"),
        json.dumps({**SUCCESS, "x": "é"}, ensure_ascii=False).encode("latin-1"),
    ],
)
def test_ambiguous_body_is_not_an_answer(body):
    """A body with a repeated name, or in another encoding than UTF-8, is not an
    answer.
    """
    with pytest.raises(TikTokUnavailable, match="not a JSON object"):
        read_token(200, body)


def test_retry_after_goes_with_an_error_too():
    """Retry-After is used whether or not the answer can be read."""
    with pytest.raises(TikTokUnavailable) as refused:
        read_token(429, body_of(MALFORMED), retry_after="7")
    assert refused.value.retry_after == 7


SECRET = "act.SECRETTOKEN!1"

REPEATING = {
    "error": f"bad {SECRET}",
    "error_description": f"token {SECRET} and {SECRET}",
    "log_id": f"id-{SECRET}",
}


@pytest.mark.parametrize(
    "answer",
    [
        REPEATING,
        {"error": {"code": f"x {SECRET}", "message": SECRET, "log_id": SECRET}},
        {"code": f"x {SECRET}", "message": SECRET, "log_id": SECRET},
    ],
    ids=["string", "object", "flat"],
)
@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize(
    "read",
    [
        read_token,
        read_revoke,
        lambda s, b, **more: read_user(s, b, open_id=OPEN_ID, **more),
    ],
    ids=["token", "revoke", "user"],
)
def test_secret_in_an_error_is_masked(read, answer, status):
    """No part of an error contains a secret that TikTok repeats."""
    with pytest.raises(TikTokError) as refused:
        read(status, json.dumps(answer).encode(), secrets=[Secret(SECRET)])
    assert "SECRETTOKEN" not in str(refused.value) + str(vars(refused.value))
    assert "***" in str(refused.value)


def test_refused_answer_shows_no_token():
    """An answer refused for one field shows none of its tokens."""
    with pytest.raises(TikTokError) as refused:
        token_of(open_id="", access_token="act.VISIBLE", refresh_token="rft.VISIBLE")
    assert "VISIBLE" not in str(refused.value) + str(vars(refused.value))


@pytest.mark.parametrize("field", ["error", "error_description", "log_id"])
def test_text_of_an_error_is_one_short_line(field):
    """TikTok's description is shortened to 200 characters, with control characters
    escaped.
    """
    answer = MALFORMED | {field: "a\r\nb\u202e" + "x" * 5000}
    with pytest.raises(TikTokError) as refused:
        read_token(400, json.dumps(answer).encode())
    name = {"error_description": "description"}.get(field, field)
    text = getattr(refused.value, name)
    assert text.startswith("a\\u000d\\u000ab\\u202e")
    assert len(text) == 201


def test_secret_across_the_cut_is_masked():
    """A secret that crosses the 200th character is masked completely."""
    answer = MALFORMED | {"error_description": "x" * 195 + SECRET}
    with pytest.raises(TikTokError) as refused:
        read_token(400, json.dumps(answer).encode(), secrets=[SECRET])
    assert "act." not in refused.value.description


@pytest.mark.parametrize("value", [1, None, [], {"x": "y"}, True])
def test_text_of_another_type_is_left_out(value):
    """A description or log_id that is not a text is left out."""
    answer = MALFORMED | {"error_description": value, "log_id": value}
    with pytest.raises(TikTokError) as refused:
        read_token(400, json.dumps(answer).encode())
    assert (refused.value.description, refused.value.log_id) == ("", "")


NEW_TOKENS = b'{"access_token": "act.live!1.va", "refresh_token": "rft.live!1.va"'


@pytest.mark.parametrize(
    "body",
    [
        NEW_TOKENS,
        b"\xef\xbb\xbf" + NEW_TOKENS + b"}",
        NEW_TOKENS + b', "expires_in": NaN}',
        b"[" + NEW_TOKENS,
        b"answer: " + NEW_TOKENS,
        b"act.live!1.va",
        b"key_act.live!1.va",
        b"access%5Ftoken=act%2Elive%211.va",
        b"a=act%2elive%211.va",
        b"<access_token>act.live!1.va</access_token>",
        NEW_TOKENS.decode().encode("utf-16"),
        NEW_TOKENS.decode().encode("utf-16-be"),
    ],
    ids=repr,
)
def test_broken_token_answer_is_not_shown(body):
    """Tokens that the reader has not seen yet cannot be masked."""
    with pytest.raises(TikTokUnavailable) as raised:
        read_answer(200, body, [], None)
    assert "live" not in f"{raised.value!r} {raised.value}".replace("\\x00", "")
    assert "begins" not in str(raised.value)


def test_secret_at_the_end_of_an_excerpt():
    """A secret that the excerpt would cut is masked as a whole."""
    secret = "the-client-secret-of-tests"
    body = f"Bad request {'.' * 55} {secret} was sent".encode()
    with pytest.raises(TikTokUnavailable) as raised:
        read_answer(400, body, [secret], None)
    assert "begins: Bad request" in str(raised.value)
    assert secret[:5] not in str(raised.value)

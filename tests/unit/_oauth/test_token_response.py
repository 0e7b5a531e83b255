"""The answers of TikTok's token and revoke endpoints."""

from __future__ import annotations

import math

import pytest

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.token_response import (
    TokenResponse,
    read_revoke,
    read_token,
)
from tiktok_oauth_middleware.errors import (
    TikTokError,
    TikTokUnavailable,
)

from ...support.tiktok_answers import (
    MISSING,
    NEW_LIVES,
    OLD_LIVES,
    OPEN_ID,
    SUCCESS,
    body_of,
    token_of,
)

DAY = 86400


def with_raw(field, raw):
    """Return the success answer with `raw` JSON text as the value of `field`."""
    return body_of(SUCCESS, **{field: "@@"}).replace(b'"@@"', raw.encode())


# --- the token answer --------------------------------------------------------------


@pytest.mark.parametrize("lives", [OLD_LIVES, NEW_LIVES], ids=["old", "new"])
def test_token_answer_of_the_contract_is_read(lives):
    """Both sets of lifetimes that TikTok documents are taken from the answer."""
    assert token_of(**lives) == TokenResponse(
        open_id=OPEN_ID,
        access_token=Secret("act.exampleA1b2C3d4E5f6G7h8!5259.va"),
        refresh_token=Secret("rft.exampleZ9y8X7w6V5u4T3s2!5294.va"),
        scopes="user.info.basic,video.list",
        expires_in=lives["expires_in"],
        refresh_expires_in=lives["refresh_expires_in"],
    )


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_2xx_is_a_success(status):
    """A success may have any status from 200 to 299."""
    assert token_of(status).open_id == OPEN_ID


def test_unknown_fields_are_ignored():
    """Unknown fields are ignored."""
    assert token_of(refresh_token_expires_in=1, data={}, x=[{}]) == token_of()


def test_tokens_are_secrets():
    """Tokens of an answer are Secret objects."""
    assert type(token_of().access_token) is Secret
    assert type(token_of().refresh_token) is Secret


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_token_type_is_bearer_in_any_case(kind):
    """The token type may be in any case."""
    assert token_of(token_type=kind)


def test_missing_token_type_is_bearer():
    """An answer without a token type counts as one with a bearer token."""
    assert token_of(token_type=MISSING).access_token


@pytest.mark.parametrize("kind", [None, "", "mac", "Bearer ", 1, ["Bearer"]])
def test_other_token_type_is_refused(kind):
    """A token of another type than bearer is refused."""
    with pytest.raises(TikTokError, match="token_type"):
        token_of(token_type=kind)


def test_missing_expires_in_is_an_hour():
    """A token without expires_in is taken to last an hour."""
    assert token_of(expires_in=MISSING).expires_in == 3600
    assert token_of(expires_in=None).expires_in == 3600


def test_missing_refresh_expires_in_is_unknown():
    """A refresh token of unknown lifetime has an unknown end, not an expired one."""
    assert token_of(refresh_expires_in=MISSING).refresh_expires_in is None
    assert token_of(refresh_expires_in=None).refresh_expires_in is None


def test_usual_name_of_the_refresh_life_is_not_tiktoks():
    """TikTok's refresh_expires_in is read, not other providers'
    refresh_token_expires_in.
    """
    answer = token_of(refresh_expires_in=MISSING, refresh_token_expires_in=5)
    assert answer.refresh_expires_in is None


LIVES = [
    ("0", 0),
    ("1", 1),
    ("7200", 7200),
    ("7200.5", 7200.5),
    ('"7200"', 7200),
    ('"0"', 0),
    ("-1", 0),
    ("-1e300", 0),
    ("1e300", 400 * DAY),
    ("1" + "0" * 400, 400 * DAY),
    ("-1" + "0" * 400, 0),
    ("34560000", 400 * DAY),
    ("34560001", 400 * DAY),
    ('"999999999999999"', 400 * DAY),
    ("1e-300", 1e-300),
]


@pytest.mark.parametrize("field", ["expires_in", "refresh_expires_in"])
@pytest.mark.parametrize(("raw", "seconds"), LIVES, ids=[raw[:20] for raw, _ in LIVES])
def test_lifetime_is_clamped(field, raw, seconds):
    """A lifetime is limited to between 0 and 400 days, whatever number TikTok sends."""
    life = getattr(read_token(200, with_raw(field, raw)), field)
    assert life == pytest.approx(seconds)
    assert type(life) is float
    assert math.isfinite(life)


NO_LIVES = [
    "true",
    "false",
    "1e999",
    "-1e999",
    '""',
    '"-1"',
    '" 1"',
    '"1.5"',
    '"1e3"',
    '"nan"',
    '"inf"',
    '"٣"',
    '"1_0"',
    '"9999999999999999"',
    "[]",
    "[1]",
    "{}",
]


@pytest.mark.parametrize("field", ["expires_in", "refresh_expires_in"])
@pytest.mark.parametrize("raw", NO_LIVES)
def test_invalid_lifetime_is_refused(field, raw):
    """A lifetime that is not a finite number of seconds makes the answer invalid."""
    with pytest.raises(TikTokError, match="lifetime") as refused:
        read_token(200, with_raw(field, raw))
    assert type(refused.value) is TikTokError


@pytest.mark.parametrize(
    "raw", ["NaN", "Infinity", "-Infinity", "1" * 5000, "01", "0x1"]
)
def test_invalid_number_is_not_an_answer(raw):
    """Numbers that are not valid JSON, or too long, make the answer unreadable."""
    with pytest.raises(TikTokUnavailable, match="not a JSON object"):
        read_token(200, with_raw("expires_in", raw))


@pytest.mark.parametrize("field", ["access_token", "open_id"])
@pytest.mark.parametrize("value", [MISSING, None, "", 1, True, [], {}, ["x"]], ids=repr)
def test_field_that_must_be_there_is(field, value):
    """An answer without a token or without a user is refused."""
    with pytest.raises(TikTokError, match=f"unusable {field}"):
        token_of(**{field: value})


@pytest.mark.parametrize("field", ["access_token", "refresh_token"])
@pytest.mark.parametrize(
    "value",
    ["a b", "a\n", "a\r\nx: y", "a\x00", "\x7f", "ü", "\ud800", "x" * 4097, " ", ""],
    ids=ascii,
)
def test_token_is_visible_ascii(field, value):
    """An answer whose token is not valid in a header is refused."""
    with pytest.raises(TikTokError, match=f"unusable {field}"):
        token_of(**{field: value})


@pytest.mark.parametrize("field", ["access_token", "refresh_token"])
def test_longest_token_is_taken(field):
    """A token may have 4096 characters."""
    assert getattr(token_of(**{field: "x" * 4096}), field).reveal() == "x" * 4096


@pytest.mark.parametrize("value", [1, True, [], {}])
def test_refresh_token_of_another_type_is_refused(value):
    """An answer whose refresh token is not a text is refused."""
    with pytest.raises(TikTokError, match="unusable refresh_token"):
        token_of(refresh_token=value)


@pytest.mark.parametrize("value", [MISSING, None])
def test_refresh_token_may_be_absent(value):
    """An answer without a refresh token is accepted."""
    assert token_of(refresh_token=value).refresh_token is None


@pytest.mark.parametrize("open_id", ["x", "-000abc", "ü", "日本", "x" * 256, "a b"])
def test_open_id_is_any_encodable_text(open_id):
    """An open_id is any text of up to 256 characters, and is not changed."""
    assert token_of(open_id=open_id).open_id == open_id


@pytest.mark.parametrize(
    "open_id",
    ["x" * 257, "a\nb", "a\x00", "\x7f", "\x85", "\ud800", "a\udfff"],
    ids=ascii,
)
def test_open_id_without_an_encoding_is_refused(open_id):
    """An answer whose open_id has control characters, lone surrogates or too many
    characters is refused.
    """
    with pytest.raises(TikTokError, match="unusable open_id"):
        token_of(open_id=open_id)


def test_raw_surrogate_bytes_are_refused():
    """A surrogate encoded in the body itself, which JSON forbids, is refused."""
    body = body_of(SUCCESS).replace(OPEN_ID.encode(), b"\xed\xa0\x80")
    with pytest.raises(TikTokError):
        read_token(200, body)


@pytest.mark.parametrize(
    "pair", [("AbC", "abc"), ("e\u0301", "\u00e9"), ("K", "\u212a"), ("a", "a ")]
)
def test_open_ids_are_never_made_equal(pair):
    """Ids that differ in case, normal form or a space are different users."""
    one, other = (token_of(open_id=open_id).open_id for open_id in pair)
    assert one != other


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("video.list,user.info.basic", "user.info.basic,video.list"),
        (" user.info.basic , video.list,", "user.info.basic,video.list"),
        ("a,a", "a"),
        ("", ""),
        (",", ""),
    ],
)
def test_granted_scopes_are_tidied(scope, granted):
    """Granted scopes are split at commas, trimmed and sorted."""
    assert token_of(scope=scope).scopes == granted


@pytest.mark.parametrize("scope", [MISSING, None])
def test_missing_scope_field_is_none(scope):
    """An answer without a scope field is distinguished from one with scopes."""
    assert token_of(scope=scope).scopes is None


@pytest.mark.parametrize(
    "scope",
    [
        1,
        True,
        ["user.info.basic"],
        {},
        "a\nb",
        "ü",
        "\ud800",
        "x" * 4097,
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_scope_of_another_shape_is_refused(scope):
    """An answer whose scopes are not a comma-separated list is refused."""
    with pytest.raises(TikTokError, match="unusable scope"):
        token_of(scope=scope)


@pytest.mark.parametrize("body", [b"", b" \r\n"])
@pytest.mark.parametrize("status", [200, 204, 400, 503])
def test_empty_body_is_not_a_token_answer(body, status):
    """An empty body is not a token answer, whatever its status."""
    with pytest.raises(TikTokUnavailable, match="not a JSON object"):
        read_token(status, body)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_empty_object_is_not_a_success(status):
    """An object without an error is a failure if the status is one."""
    with pytest.raises(TikTokError):
        read_token(status, b"{}")
    with pytest.raises(TikTokError):
        token_of(status)


def test_answer_with_neither_error_nor_token_is_refused():
    """A 200 with neither an error nor a token is an error."""
    with pytest.raises(TikTokError, match="unusable access_token"):
        read_token(200, b'{"log_id": "x"}')


# --- revoke ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize(
    "body", [b"", b" \r\n", b"{}", b'{"error": ""}', b'{"data":{}}']
)
def test_revoke_is_done(status, body):
    """An empty body, blanks and an empty object all mean success."""
    assert read_revoke(status, body) is None


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_revoke_with_an_empty_failure_is_not_done(status):
    """An empty body means success only with a status of success."""
    with pytest.raises(TikTokUnavailable):
        read_revoke(status, b"")

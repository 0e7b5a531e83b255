"""TikTok's wire format, by the contract: what goes out, what comes in, what it means."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from base64 import urlsafe_b64encode
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware._core.http import BadQuery
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth import protocol, user_info
from tiktok_oauth_middleware._oauth.authorize import (
    authorize_url,
    challenge,
    read_callback,
)
from tiktok_oauth_middleware._oauth.protocol import is_scope, is_visible
from tiktok_oauth_middleware._oauth.token_response import (
    TokenResponse,
    read_revoke,
    read_token,
)
from tiktok_oauth_middleware._oauth.user_info import fields_for, read_user
from tiktok_oauth_middleware._oauth.webhook_delivery import read_webhook, sign_webhook
from tiktok_oauth_middleware.auth import read_profile
from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    TikTokError,
    TikTokOAuthError,
    TikTokUnavailable,
    WebhookRejected,
)

OPEN_ID = "11111111-2222-4333-8444-555555555555"
DAY = 86400

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


def with_raw(field, raw):
    """Return the success answer with `raw` JSON text as the value of `field`."""
    return body_of(SUCCESS, **{field: "@@"}).replace(b'"@@"', raw.encode())


def profile_of(**fields):
    user = PROFILE["data"]["user"] | fields
    body = body_of({"data": {"user": user}, "error": PROFILE["error"]})
    return read_profile(OPEN_ID, read_user(200, body, open_id=OPEN_ID))


# --- addresses ---------------------------------------------------------------------


def test_addresses_are_tiktoks():
    """The four addresses are those of TikTok's documents."""
    assert protocol.AUTHORIZE == "https://www.tiktok.com/v2/auth/authorize/"
    assert protocol.TOKEN == "https://open.tiktokapis.com/v2/oauth/token/"
    assert protocol.REVOKE == "https://open.tiktokapis.com/v2/oauth/revoke/"
    assert protocol.USER_INFO == "https://open.tiktokapis.com/v2/user/info/"


def test_form_has_no_charset():
    """The media type of a form is sent bare."""
    assert protocol.FORM == "application/x-www-form-urlencoded"


# --- PKCE --------------------------------------------------------------------------

VERIFIER = "gaeCq5mVvbhA8Ce6w5O9XBVIKMkySgv-_9A-rnhm9Ns"
CHALLENGE = "e6a178b120743d08509508f269652b0bdf91e29332921bc9e9744fd3dd41bfef"


def test_challenge_is_tiktoks_own_vector():
    """TikTok's published verifier gives TikTok's published challenge."""
    assert challenge(VERIFIER) == CHALLENGE


@given(st.text("abcXYZ019-._~", min_size=43, max_size=128))
@settings(deadline=None, derandomize=True)
def test_challenge_is_hex_and_never_base64url(verifier):
    """A challenge is 64 lowercase hex digits, never what RFC 7636 writes."""
    digest = hashlib.sha256(verifier.encode()).digest()
    assert challenge(verifier) == digest.hex()
    assert challenge(verifier) != urlsafe_b64encode(digest).rstrip(b"=").decode()


# --- the authorize URL -------------------------------------------------------------


def a_url(**changes):
    given = {
        "client_key": "awexampleclientkey",
        "redirect_uri": "https://app.example.com/auth/tiktok/callback",
        "scopes": ["user.info.basic", "video.list"],
        "state": "9f1c-state",
        "verifier": VERIFIER,
        "ask_again": False,
    }
    return authorize_url(protocol.AUTHORIZE, **(given | changes))


def sent(url):
    return parse_qsl(urlsplit(url).query, strict_parsing=True)


def test_authorize_url_is_these_fields_and_nothing_else():
    """A login asks for exactly seven things, each once, in TikTok's names."""
    assert a_url().startswith(protocol.AUTHORIZE + "?")
    assert sent(a_url()) == [
        ("client_key", "awexampleclientkey"),
        ("response_type", "code"),
        ("scope", "user.info.basic,video.list"),
        ("redirect_uri", "https://app.example.com/auth/tiktok/callback"),
        ("state", "9f1c-state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]


def test_authorize_url_without_pkce_sends_neither_field():
    """Without a verifier there is neither challenge nor method."""
    assert set(dict(sent(a_url(verifier=None)))) == {
        "client_key",
        "response_type",
        "scope",
        "redirect_uri",
        "state",
    }


def test_authorize_url_never_carries_the_verifier():
    """The verifier itself is in no URL."""
    assert VERIFIER not in a_url()


def test_authorize_url_asks_again_only_when_told():
    """The consent page is forced by disable_auto_auth=1, and by nothing else."""
    assert dict(sent(a_url(ask_again=True)))["disable_auto_auth"] == "1"
    assert "disable_auto_auth" not in a_url(ask_again=False)


def test_authorize_url_keeps_the_order_of_scopes():
    """Scopes stand in the order given, with commas and without spaces."""
    url = a_url(scopes=["video.list", "user.info.basic"])
    assert dict(sent(url))["scope"] == "video.list,user.info.basic"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://127.0.0.1:8000/cb",
        "https://app.example.com:8443/a/b/",
        "https://app.example.com/a&state=evil",
        "https://app.example.com/a+b~c",
    ],
)
def test_authorize_url_carries_the_redirect_uri_byte_for_byte(redirect_uri):
    """What TikTok decodes is the configured address, and no field beside it."""
    url = a_url(redirect_uri=redirect_uri)
    assert dict(sent(url))["redirect_uri"] == redirect_uri
    assert len(sent(url)) == 7


def test_value_can_not_add_a_field():
    """Whatever stands in a value stays in that value."""
    url = a_url(state="x&client_key=evil#y", scopes=["a&b=c"])
    assert dict(sent(url))["client_key"] == "awexampleclientkey"
    assert dict(sent(url))["state"] == "x&client_key=evil#y"
    assert len(sent(url)) == 7
    assert not urlsplit(url).fragment


# --- profile fields by scope -------------------------------------------------------


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["video.list"],
        ["user.info.profile", "user.info.stats"],
        ["user.info.basic,video.list"],
        ["USER.INFO.BASIC"],
    ],
)
def test_nothing_is_asked_for_without_basic(scopes):
    """Without user.info.basic there is no field to ask for."""
    assert fields_for(scopes) == ()


def test_open_id_is_always_asked_for():
    """TikTok returns the id only when asked, so it is among the fields."""
    assert "open_id" in fields_for(["user.info.basic"])


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        ("user.info.profile", "username"),
        ("user.info.profile", "is_verified"),
        ("user.info.stats", "follower_count"),
    ],
)
def test_field_is_asked_for_with_its_scope_only(scope, field):
    """One field of a scope that was not granted would fail the whole call."""
    assert field not in fields_for(["user.info.basic", "video.list"])
    assert field in fields_for(["user.info.basic", scope])


def test_all_scopes_open_all_fields():
    """The three scopes together open fifteen fields, each once."""
    fields = fields_for(user_info.FIELDS)
    assert len(fields) == len(set(fields)) == 15


# --- is_visible and is_scope -------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "!", "~", "act.x!5259.va", "x" * 10])
def test_visible_ascii_is_visible(text):
    """One to ten visible characters are what they must be."""
    assert is_visible(text, 10 if len(text) <= 10 else 99)


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "a\n", "\na", "a\x00", "\x7f", "ü", "\u2028", "\ud800", "x" * 11],
)
def test_other_text_is_not_visible(text):
    """Nothing, a space, a control, another alphabet or too much is refused."""
    assert not is_visible(text, 10)


@pytest.mark.parametrize(
    "text", ["user.info.basic", "portability.all.single", "a", "A-_9"]
)
def test_scope_is_letters_digits_and_dots(text):
    """A scope is one word."""
    assert is_scope(text)


@pytest.mark.parametrize("text", ["", "a,b", "a b", "a\n", "ü", "a&b", "a%20", "a/b"])
def test_list_of_scopes_is_no_scope(text):
    """What holds a comma, a space or anything odd names no scope."""
    assert not is_scope(text)


# --- the callback ------------------------------------------------------------------


def test_callback_of_the_contract_is_read():
    """A callback gives its state and its code, decoded once."""
    callback = read_callback(
        b"code=AbC-1_xyz%2A1%214608.va&scopes=user.info.basic%2Cvideo.list&state=9f1c"
    )
    assert callback.code.reveal() == "AbC-1_xyz*1!4608.va"
    assert callback.state == "9f1c"
    assert (callback.error, callback.description) == ("", "")


def test_code_goes_out_as_it_came_in():
    """The decoded code, encoded as a form, is what TikTok wrote."""
    code = read_callback(b"code=AbC-1_xyz%2A1%214608.va").code
    assert urlencode({"code": code.reveal()}) == "code=AbC-1_xyz%2A1%214608.va"


def test_code_is_decoded_once():
    """A percent sign in a code stays one."""
    assert read_callback(b"code=a%252Ab").code.reveal() == "a%2Ab"


def test_callback_with_an_error_is_read():
    """An error comes with its description."""
    callback = read_callback(
        b"error=access_denied&error_description=User%20cancelled&state=9f1c"
    )
    assert callback.error == "access_denied"
    assert callback.description == "User cancelled"
    assert callback.code.reveal() == ""


def test_callback_with_nothing_is_empty():
    """A callback without a parameter is empty, not an exception."""
    callback = read_callback(b"")
    assert (callback.state, callback.code.reveal(), callback.error) == ("", "", "")


def test_callback_does_not_believe_scopes():
    """What the browser says was granted is not even read."""
    callback = read_callback(b"state=s&code=c&scopes=video.publish&next=/x&errCode=1")
    assert "video.publish" not in repr(callback)
    assert callback.details == {}
    fields = {"state", "code", "error", "description", "details"}
    assert {*callback.__slots__} == fields


@pytest.mark.parametrize("name", ["state", "code", "error", "error_description"])
def test_repeated_parameter_is_refused(name):
    """A parameter of the callback that comes twice is refused."""
    read_callback(f"{name}=a".encode())
    with pytest.raises(BadQuery):
        read_callback(f"{name}=a&{name}=a".encode())


@pytest.mark.parametrize(
    ("name", "longest"),
    [("state", protocol.LONGEST_STATE), ("code", protocol.LONGEST_CODE)],
)
def test_parameter_has_a_longest_length(name, longest):
    """State and code are taken up to their limits, and not beyond."""
    assert getattr(read_callback(f"{name}={'x' * longest}".encode()), name)
    with pytest.raises(BadQuery):
        read_callback(f"{name}={'x' * (longest + 1)}".encode())


def test_limits_are_those_of_the_requirements():
    """A code has up to 2048 characters, a state up to 512."""
    assert (protocol.LONGEST_CODE, protocol.LONGEST_STATE) == (2048, 512)


@pytest.mark.parametrize("name", ["state", "code"])
@pytest.mark.parametrize("raw", ["a%20b", "a+b", "a%00", "a%0d%0a", "%C3%BC", "%7F"])
def test_parameter_is_visible_ascii(name, raw):
    """A state or code with a space, a control or another alphabet is refused."""
    with pytest.raises(BadQuery):
        read_callback(f"{name}={raw}".encode())


@pytest.mark.parametrize("name", ["error", "error_description"])
def test_error_of_a_callback_is_one_short_line(name):
    """What TikTok or anybody says of an error is cut, its controls spelled out."""
    said = read_callback(f"{name}=a%0d%0ab{'x' * 500}".encode())
    text = said.error or said.description
    assert text.startswith("a\\u000d\\u000ab")
    assert len(text) == 201


def test_callback_shows_neither_code_nor_state():
    """The repr of a callback holds no secret of the login."""
    shown = repr(read_callback(b"code=THECODE&state=THESTATE"))
    assert "THECODE" not in shown
    assert "THESTATE" not in shown


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
    """Fields we do not know change nothing."""
    assert token_of(refresh_token_expires_in=1, data={}, x=[{}]) == token_of()


def test_tokens_are_secrets():
    """Tokens come out of an answer as secrets."""
    assert type(token_of().access_token) is Secret
    assert type(token_of().refresh_token) is Secret


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_token_type_is_bearer_in_any_case(kind):
    """The case of the token type does not count."""
    assert token_of(token_type=kind)


def test_missing_token_type_is_bearer():
    """An answer that names no token type is taken for what TikTok always gives."""
    assert token_of(token_type=MISSING).access_token


@pytest.mark.parametrize("kind", [None, "", "mac", "Bearer ", 1, ["Bearer"]])
def test_other_token_type_is_refused(kind):
    """A token that is no bearer token is refused."""
    with pytest.raises(TikTokError, match="token_type"):
        token_of(token_type=kind)


def test_missing_expires_in_is_an_hour():
    """An answer that does not say how long it lasts is taken to last an hour."""
    assert token_of(expires_in=MISSING).expires_in == 3600
    assert token_of(expires_in=None).expires_in == 3600


def test_missing_refresh_expires_in_is_unknown():
    """A refresh token of unknown life has no end, rather than none left."""
    assert token_of(refresh_expires_in=MISSING).refresh_expires_in is None
    assert token_of(refresh_expires_in=None).refresh_expires_in is None


def test_usual_name_of_the_refresh_life_is_not_tiktoks():
    """TikTok's refresh_expires_in counts, not the usual refresh_token_expires_in."""
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
    """A lifetime is between nothing and 400 days, whatever number TikTok sends."""
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
def test_lifetime_that_is_none_is_refused(field, raw):
    """What is no finite number of seconds refuses the whole answer."""
    with pytest.raises(TikTokError, match="lifetime") as refused:
        read_token(200, with_raw(field, raw))
    assert type(refused.value) is TikTokError


@pytest.mark.parametrize(
    "raw", ["NaN", "Infinity", "-Infinity", "1" * 5000, "01", "0x1"]
)
def test_number_that_is_no_json_is_no_answer(raw):
    """Numbers that JSON does not know, or nobody can read, make no answer at all."""
    with pytest.raises(TikTokUnavailable, match="no JSON object"):
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
    """A token that could not stand in a header refuses the answer."""
    with pytest.raises(TikTokError, match=f"unusable {field}"):
        token_of(**{field: value})


@pytest.mark.parametrize("field", ["access_token", "refresh_token"])
def test_longest_token_is_taken(field):
    """A token may have 4096 characters."""
    assert getattr(token_of(**{field: "x" * 4096}), field).reveal() == "x" * 4096


@pytest.mark.parametrize("value", [1, True, [], {}])
def test_refresh_token_of_another_type_is_refused(value):
    """A refresh token that is no text refuses the answer."""
    with pytest.raises(TikTokError, match="unusable refresh_token"):
        token_of(refresh_token=value)


@pytest.mark.parametrize("value", [MISSING, None])
def test_refresh_token_may_be_absent(value):
    """Without a refresh token in the answer there is none, and nothing is wrong."""
    assert token_of(refresh_token=value).refresh_token is None


@pytest.mark.parametrize("open_id", ["x", "-000abc", "ü", "日本", "x" * 256, "a b"])
def test_open_id_is_any_encodable_text(open_id):
    """An open_id is opaque, up to 256 characters, and kept as it is."""
    assert token_of(open_id=open_id).open_id == open_id


@pytest.mark.parametrize(
    "open_id",
    ["x" * 257, "a\nb", "a\x00", "\x7f", "\x85", "\ud800", "a\udfff"],
    ids=ascii,
)
def test_open_id_without_an_encoding_is_refused(open_id):
    """Controls, lone surrogates and too much of it refuse the answer."""
    with pytest.raises(TikTokError, match="unusable open_id"):
        token_of(open_id=open_id)


def test_raw_surrogate_bytes_are_refused():
    """A surrogate encoded in the body itself, which JSON forbids, does not pass."""
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
def test_missing_scope_is_not_what_was_asked_for(scope):
    """An answer that names no scope is told apart from one that names some."""
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
    """Scopes that are no list by commas refuse the answer."""
    with pytest.raises(TikTokError, match="unusable scope"):
        token_of(scope=scope)


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
def test_body_that_is_no_object_is_no_answer(reader, body, status):
    """A body that is no JSON object says nothing, whatever its status: try later."""
    with pytest.raises(TikTokUnavailable, match="no JSON object") as refused:
        reader(status, body)
    assert refused.value.http_status == status
    assert refused.value.error == ""


@pytest.mark.parametrize("body", [b"", b" \r\n"])
@pytest.mark.parametrize("status", [200, 204, 400, 503])
def test_empty_body_is_no_token_answer(body, status):
    """Nothing at all is no answer about a token, whatever its status."""
    with pytest.raises(TikTokUnavailable, match="no JSON object"):
        read_token(status, body)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_empty_object_is_no_success(status):
    """An object without an error does not succeed with the status of a failure."""
    with pytest.raises(TikTokError):
        read_token(status, b"{}")
    with pytest.raises(TikTokError):
        token_of(status)


def test_answer_with_neither_error_nor_token_is_refused():
    """A 200 that holds neither an error nor a token is an error all the same."""
    with pytest.raises(TikTokError, match="unusable access_token"):
        read_token(200, b'{"log_id": "x"}')


# --- errors in answers -------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize("reader", [read_token, read_revoke], ids=["token", "revoke"])
def test_error_is_read_at_any_status(reader, status):
    """An error counts even with status 200, and keeps what TikTok said."""
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
    """A missing, null or empty error, and an error object that says ok, are none."""
    assert token_of(error=error).open_id == OPEN_ID


@pytest.mark.parametrize(
    "error",
    [True, 1.5, [], ["invalid_grant"], [[]], {"code": 1.5}, {"code": ["ok"]}],
    ids=repr,
)
def test_error_of_another_shape_is_an_error(error):
    """An error that we can not read is one, and not the death of a token."""
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
    """A flat error, an error object and a bare one all give code, text and log_id."""
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
    """Only invalid_grant to the letter, below 500, is for good; outages pass."""
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
        ("9999999999", None),
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
    """TikTok's wish to wait is kept, at most 300 s; what is no number is none."""
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
    """A date in any of HTTP's three forms is waited for, by the given time."""
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
def test_ambiguous_body_is_no_answer(body):
    """A name twice, or another encoding than JSON's own UTF-8, makes no answer."""
    with pytest.raises(TikTokUnavailable, match="no JSON object"):
        read_token(200, body)


def test_retry_after_goes_with_an_error_too():
    """A wait is kept whether or not the answer could be read."""
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
    """A secret that TikTok repeats is in no part of the error."""
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
    """What TikTok says of an error is cut at 200, its controls spelled out."""
    answer = MALFORMED | {field: "a\r\nb\u202e" + "x" * 5000}
    with pytest.raises(TikTokError) as refused:
        read_token(400, json.dumps(answer).encode())
    name = {"error_description": "description"}.get(field, field)
    text = getattr(refused.value, name)
    assert text.startswith("a\\u000d\\u000ab\\u202e")
    assert len(text) == 201


def test_secret_across_the_cut_is_masked():
    """A secret that stands across the 200th character leaves no part of it."""
    answer = MALFORMED | {"error_description": "x" * 195 + SECRET}
    with pytest.raises(TikTokError) as refused:
        read_token(400, json.dumps(answer).encode(), secrets=[SECRET])
    assert "act." not in refused.value.description


@pytest.mark.parametrize("value", [1, None, [], {"x": "y"}, True])
def test_text_of_another_type_is_none(value):
    """A description or log_id that is no text is left out."""
    answer = MALFORMED | {"error_description": value, "log_id": value}
    with pytest.raises(TikTokError) as refused:
        read_token(400, json.dumps(answer).encode())
    assert (refused.value.description, refused.value.log_id) == ("", "")


# --- revoke ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize(
    "body", [b"", b" \r\n", b"{}", b'{"error": ""}', b'{"data":{}}']
)
def test_revoke_is_done(status, body):
    """Nothing, blanks and an empty object all mean that it is done."""
    assert read_revoke(status, body) is None


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_revoke_with_an_empty_failure_is_not_done(status):
    """An empty body means done only with a status that says so."""
    with pytest.raises(TikTokUnavailable):
        read_revoke(status, b"")


# --- user info ---------------------------------------------------------------------


def test_profile_of_the_contract_is_read():
    """The example of the documents gives its user."""
    user = profile_of()
    assert user.open_id == OPEN_ID
    assert user.display_name == "Example Creator"
    assert user.union_id == "99999999-8888-4777-8666-555555555555"
    assert user.avatar_url.endswith("x-expires=1")
    assert user.username is None


def test_profile_needs_no_error_object():
    """A profile without the error object beside it is one too."""
    body = body_of({"data": PROFILE["data"]})
    assert read_user(200, body, open_id=OPEN_ID)


def test_unknown_profile_fields_are_left_out():
    """Fields we do not know are not kept."""
    assert profile_of(email="x@example.com", phone="1") == profile_of()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", "ü 日本 🎵"),
        ("display_name", "<script>"),
        ("display_name", ""),
        ("bio_description", "line\nline"),
        ("bio_description", "x" * 4096),
        ("is_verified", True),
        ("is_verified", False),
        ("follower_count", 0),
        ("likes_count", 2**63 - 1),
    ],
)
def test_profile_field_of_the_right_type_is_kept(field, value):
    """A field of its type is kept as it is; escaping is for who makes HTML."""
    assert getattr(profile_of(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", 1),
        ("display_name", None),
        ("display_name", ["x"]),
        ("display_name", {"x": 1}),
        ("display_name", "\ud800"),
        ("bio_description", "x" * 4097),
        ("is_verified", 1),
        ("is_verified", "true"),
        ("follower_count", True),
        ("follower_count", -1),
        ("follower_count", 1.5),
        ("follower_count", "-1"),
        ("follower_count", "1.0"),
        ("follower_count", "9" * 20),
        ("likes_count", 2**63),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_profile_field_of_a_wrong_type_is_left_out(field, value):
    """A field that is not what it must be is left out, and the rest is kept."""
    user = profile_of(**{field: value})
    assert getattr(user, field) is None
    assert user.union_id


@pytest.mark.parametrize(
    "open_id", ["another", "", None, 1, MISSING, OPEN_ID.upper() + "A", OPEN_ID + " "]
)
def test_profile_of_somebody_else_is_refused(open_id):
    """A profile whose open_id is not the token's is refused."""
    user = PROFILE["data"]["user"] | {"open_id": open_id}
    user = {k: v for k, v in user.items() if v is not MISSING}
    with pytest.raises(TikTokError, match="somebody else"):
        read_user(200, body_of({"data": {"user": user}}), open_id=OPEN_ID)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": "user"},
        {"data": {}},
        {"data": {"user": None}},
        {"data": {"user": [OPEN_ID]}},
        {"data": [{"user": {"open_id": OPEN_ID}}]},
        {"user": {"open_id": OPEN_ID}},
    ],
    ids=repr,
)
def test_answer_without_a_user_is_refused(answer):
    """An answer of another shape has no user in it."""
    with pytest.raises(TikTokError, match="no user"):
        read_user(200, json.dumps(answer).encode(), open_id=OPEN_ID)


def test_error_example_of_the_contract_is_read():
    """The documents' example of a dead token gives its code and log_id."""
    answer = {
        "data": {},
        "error": {
            "code": "access_token_invalid",
            "message": "The access token is invalid or not found in the request.",
            "log_id": "20260101000000BBBB",
        },
    }
    with pytest.raises(TikTokError) as refused:
        read_user(401, json.dumps(answer).encode(), open_id=OPEN_ID)
    assert type(refused.value) is TikTokError
    assert refused.value.error == "access_token_invalid"
    assert refused.value.log_id == "20260101000000BBBB"


# --- webhooks ----------------------------------------------------------------------

CLIENT_KEY = "awexampleclientkey"
CLIENT_SECRET = "example_client_secret"
SIGNED_AT = 1767225605
BODY = (
    b'{"client_key":"awexampleclientkey","event":"authorization.removed",'
    b'"create_time":1767225600,"user_openid":"11111111-2222-4333-8444-555555555555",'
    b'"content":"{\\"reason\\": 1 }"}'
)
MAC = "ea91a09fc8107f33887230e2286243a871f3ad4dfe0f4ba0b2fa675ab72b66d7"
HEADER = f"t={SIGNED_AT},s={MAC}"


def deliver(header=HEADER, body=BODY, **changes):
    given = {
        "client_key": CLIENT_KEY,
        "client_secret": CLIENT_SECRET,
        "now": SIGNED_AT,
    }
    if isinstance(header, str):
        header = header.encode()
    return read_webhook(header, body, **(given | changes))


def deliver_signed(delivery, **changes):
    body = delivery if isinstance(delivery, bytes) else json.dumps(delivery).encode()
    return deliver(sign_webhook(body, CLIENT_SECRET, SIGNED_AT), body, **changes)


DELIVERY = json.loads(BODY)
#: Of the kind that TikTok may as well never deliver: nobody's access hangs on it.
PUBLISHED = DELIVERY | {"event": "video.publish.completed"}


def test_webhook_vector_of_the_contract_verifies():
    """The computed vector is taken, and says who withdrew."""
    delivery = deliver()
    assert delivery.event == "authorization.removed"
    assert delivery.open_id == OPEN_ID
    assert delivery.create_time == 1767225600
    assert delivery.content == {"reason": 1}


def test_webhook_is_signed_as_the_contract_says():
    """Signing the vector's body gives the vector's header."""
    assert sign_webhook(BODY, CLIENT_SECRET, SIGNED_AT) == HEADER


def test_webhook_parts_may_come_in_either_order():
    """The header's two parts are known by their names."""
    assert deliver(f"s={MAC},t={SIGNED_AT}") == deliver()


@pytest.mark.parametrize(
    "header",
    [
        f"t={SIGNED_AT},s={MAC.upper()}",
        f"t={SIGNED_AT},s={MAC.title()}",
        f"t={SIGNED_AT}, s={MAC}",
        f" t={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},\ts={MAC} ",
        f"t={SIGNED_AT} , s = {MAC}",
        f"t={SIGNED_AT},s={MAC},",
        f",t={SIGNED_AT},,s={MAC}",
        f"t={SIGNED_AT},s={MAC},v=1",
        f"v0=abc,t={SIGNED_AT},s={MAC},ts=1,sig=2",
        f"t={SIGNED_AT},T=1,s={MAC},S=2",
        f"t={SIGNED_AT},s={MAC},v=a=b=c",
        f"t={SIGNED_AT},s={MAC},novalue",
        f"t={SIGNED_AT},s={MAC}" + ",v=1" * 14,
    ],
)
def test_webhook_header_is_split_as_tiktok_says(header):
    """Commas, then the first "="; spaces, unknown names and the case of hex are free."""
    assert deliver(header) == deliver()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=,s=",
        f"t={SIGNED_AT}",
        f"s={MAC}",
        f"t={SIGNED_AT},s=",
        f"t={SIGNED_AT},s={MAC[:-1]}",
        f"t={SIGNED_AT},s={MAC}0",
        f"t={SIGNED_AT},s={MAC}\n",
        f"\u00a0t={SIGNED_AT},s={MAC}".encode(),
        f"t={SIGNED_AT},s={MAC}\x0b",
        f"t={SIGNED_AT},t={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},s={MAC},s={MAC}",
        f"t={SIGNED_AT}, t ={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},s={MAC},s=",
        f"t={SIGNED_AT},s={MAC}" + ",v=1" * 15,
        f"t={SIGNED_AT},s={MAC},v={'1' * 1024}",
        f"t={SIGNED_AT},s={MAC}=",
        f"t=={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},s={'0' * 64},s={MAC}",
        f"t=+{SIGNED_AT},s={MAC}",
        f"t=-{SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT}.0,s={MAC}",
        f"t=0x1,s={MAC}",
        f"t={'9' * 5000},s={MAC}",
        f"T={SIGNED_AT},S={MAC}",
        f"t={SIGNED_AT};s={MAC}",
        f"t:{SIGNED_AT},s:{MAC}",
        f"t=\u0661\u0667\u0666\u0667\u0662\u0662\u0665\u0666\u0660\u0665,s={MAC}",
        f"t={SIGNED_AT},s=sha256={MAC}",
        MAC,
        b"\xff\xfe",
        b"\x00",
        "," * 10_000,
        "=" * 10_000,
    ],
    ids=lambda header: repr(header)[:40],
)
def test_odd_webhook_header_is_refused(header):
    """A header of any other form is refused, though the signature in it be right."""
    with pytest.raises(WebhookRejected, match="TikTok-Signature"):
        deliver(header)


@pytest.mark.parametrize("place", range(64))
def test_webhook_signature_counts_to_the_last_digit(place):
    """A signature with any one digit changed is refused."""
    digit = "0" if MAC[place] != "0" else "1"
    with pytest.raises(WebhookRejected, match="does not fit"):
        deliver(f"t={SIGNED_AT},s={MAC[:place]}{digit}{MAC[place + 1 :]}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        BODY + b" ",
        BODY[:-1],
        BODY.replace(b": 1 ", b": 2 "),
        BODY.replace(b"}", b" }"),
    ],
    ids=["empty", "longer", "shorter", "changed", "respaced"],
)
def test_webhook_body_is_signed_byte_for_byte(body):
    """A body that differs in one byte from what was signed is refused."""
    with pytest.raises(WebhookRejected, match="does not fit"):
        deliver(body=body)


def test_webhook_time_is_signed():
    """A fresh time with an old signature is refused."""
    with pytest.raises(WebhookRejected, match="does not fit"):
        deliver(f"t={SIGNED_AT + 1000},s={MAC}", now=SIGNED_AT + 1000)


@pytest.mark.parametrize(
    "secret", ["", "example_client_secre", "EXAMPLE_CLIENT_SECRET"]
)
def test_webhook_of_another_secret_is_refused(secret):
    """Whoever does not know our secret can not sign for us."""
    with pytest.raises(WebhookRejected, match="does not fit"):
        deliver(client_secret=secret)


def test_webhook_signature_of_the_body_alone_is_refused():
    """A signature that leaves out the time is not TikTok's."""
    mac = hmac.new(CLIENT_SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    with pytest.raises(WebhookRejected, match="does not fit"):
        deliver(f"t={SIGNED_AT},s={mac}")


def test_webhook_secret_may_be_wrapped():
    """The settings' own Secret signs like its text."""
    assert deliver(client_secret=Secret(CLIENT_SECRET)) == deliver()


@pytest.mark.parametrize("late", [-300, -299, 0, 299, 300, 300.0])
def test_webhook_is_fresh_for_five_minutes(late):
    """A delivery is taken up to 300 s after it was signed, or before."""
    assert deliver_signed(PUBLISHED, now=SIGNED_AT + late)


@pytest.mark.parametrize("late", [-301, -300.1, 300.1, 301, 86400, -SIGNED_AT])
def test_webhook_is_stale_after_five_minutes(late):
    """A delivery signed too long ago, or in the future, is refused."""
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver_signed(PUBLISHED, now=SIGNED_AT + late)


@pytest.mark.parametrize("late", [-300, 301, 86400, 3 * 86400, 3 * 86400 + 300])
def test_webhook_of_a_withdrawal_counts_as_long_as_it_is_retried(late):
    """TikTok delivers a withdrawal again for 72 hours, and it counts for as long."""
    assert deliver(now=SIGNED_AT + late)


@pytest.mark.parametrize("late", [-301, -86400, 3 * 86400 + 301, 30 * 86400])
def test_webhook_of_a_withdrawal_is_stale_after_three_days(late):
    """A withdrawal signed longer ago, or in the future, is refused."""
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver(now=SIGNED_AT + late)


def test_webhook_tolerance_may_be_set():
    """The tolerance is the caller's."""
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver_signed(PUBLISHED, now=SIGNED_AT + 11, tolerance=10)


def test_webhook_signature_is_judged_before_its_age():
    """Who can not sign does not learn our clock."""
    with pytest.raises(WebhookRejected, match="does not fit"):
        deliver(f"t=1,s={'0' * 64}")


@pytest.mark.parametrize("key", ["", "another", "AWEXAMPLECLIENTKEY", None, 1, MISSING])
def test_webhook_of_another_app_is_refused(key):
    """A delivery must name our client_key, byte for byte."""
    delivery = {
        k: v for k, v in (DELIVERY | {"client_key": key}).items() if v is not MISSING
    }
    with pytest.raises(WebhookRejected, match="another client_key"):
        deliver_signed(delivery)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"{",
        b"\xff",
        b"[" * 60_000,
        b'{"a": NaN}',
        b"x" * 60_000,
    ],
    ids=lambda body: repr(body)[:20],
)
def test_webhook_body_that_is_no_object_is_refused(body):
    """A signed body that is no JSON object is refused with our error."""
    with pytest.raises(WebhookRejected, match="no JSON object"):
        deliver_signed(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event", None),
        ("event", 1),
        ("event", ["authorization.removed"]),
        ("user_openid", 1.5),
        ("user_openid", True),
        ("user_openid", 10**300),
        ("user_openid", ["x"]),
        ("user_openid", "a\nb"),
        ("user_openid", "x" * 257),
        ("user_openid", "\ud800"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_webhook_without_a_usable_event_is_refused(field, value):
    """An event that is no text, or a user who is none, is refused."""
    with pytest.raises(WebhookRejected, match="usable event"):
        deliver_signed(DELIVERY | {field: value})


def test_webhook_reads_user_openid_only():
    """The user is in user_openid; an open_id beside it is not believed."""
    delivery = deliver_signed(
        {k: v for k, v in DELIVERY.items() if k != "user_openid"}
        | {"open_id": "another"}
    )
    assert delivery.open_id is None


@pytest.mark.parametrize(
    "event", ["portability.download.ready", "video.x", "unheard.of"]
)
def test_webhook_about_no_user_is_taken(event):
    """Events without a user, and events we do not know, are deliveries too."""
    delivery = deliver_signed({"client_key": CLIENT_KEY, "event": event})
    assert (delivery.event, delivery.open_id, delivery.content) == (event, None, {})


@pytest.mark.parametrize(
    "content",
    [
        MISSING,
        None,
        "",
        "reason",
        "[1]",
        "1",
        "null",
        '"x"',
        "{",
        '{"a": NaN}',
        "1" * 5000,
        "[" * 20_000,
        ["reason"],
        5,
        True,
    ],
    ids=lambda content: repr(content)[:20],
)
def test_webhook_content_that_is_unreadable_is_empty(content):
    """Content that is no JSON object is empty; the event still counts."""
    delivery = {
        k: v for k, v in (DELIVERY | {"content": content}).items() if v is not MISSING
    }
    assert deliver_signed(delivery).content == {}
    assert deliver_signed(delivery).open_id == OPEN_ID


@pytest.mark.parametrize(
    "content", ['{"reason": 5}', {"reason": 5}, '{"reason": "5"}', {"reason": "5"}]
)
def test_webhook_content_is_an_object_or_json_in_a_string(content):
    """Content is read whether TikTok packs it into a string or not."""
    delivery = deliver_signed(DELIVERY | {"content": content})
    assert delivery.content == (
        json.loads(content) if isinstance(content, str) else content
    )
    assert delivery.reason == 5


@pytest.mark.parametrize("reason", [None, True, 1.5, "", "five", "-5", "5" * 9, [5]])
def test_webhook_reason_that_is_no_number_is_none(reason):
    """A reason is a small whole number, or there is none."""
    assert deliver_signed(DELIVERY | {"content": {"reason": reason}}).reason is None


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        (1767225600, 1767225600),
        (1767225600622, 1767225600),
        ("1767225600", 1767225600),
        ("1767225600622", 1767225600),
        (1767225600.5, 1767225600),
        (1767225600622.9, 1767225600),
        (99_999_999_999, 99_999_999_999),
        (100_000_000_000, 100_000_000),
    ],
)
def test_webhook_time_may_be_in_milliseconds(at, seconds):
    """A time is in seconds or in milliseconds, and its size says which."""
    assert deliver_signed(DELIVERY | {"create_time": at}).create_time == seconds


@pytest.mark.parametrize(
    "at",
    [None, "", "now", "1e9", "+5", 0, -1, True, 10**14, 1.7e18, 10**400, [], MISSING],
    ids=lambda at: repr(at)[:20],
)
def test_webhook_time_that_is_none_is_zero(at):
    """A time of the event that can not be one is 0: nothing is judged by it."""
    delivery = {
        k: v for k, v in (DELIVERY | {"create_time": at}).items() if v is not MISSING
    }
    assert deliver_signed(delivery).create_time == 0


@pytest.mark.parametrize("late", [-300, 0, 300])
def test_webhook_may_be_signed_in_milliseconds(late):
    """A signature's time may be in milliseconds, and the MAC covers it as it was sent."""
    header = sign_webhook(BODY, CLIENT_SECRET, SIGNED_AT * 1000)
    assert deliver(header, now=SIGNED_AT + late) == deliver()


@pytest.mark.parametrize("late", [-301, 72 * 3600 + 301])
def test_webhook_in_milliseconds_is_as_fresh_as_one_in_seconds(late):
    """A time in milliseconds is judged like one in seconds."""
    header = sign_webhook(BODY, CLIENT_SECRET, SIGNED_AT * 1000)
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver(header, now=SIGNED_AT + late)


@pytest.mark.parametrize("openid", ["7528370655977505848", 7528370655977505848])
def test_webhook_of_the_portals_button_is_taken(openid):
    """The portal's test: milliseconds, a numeric user, and a reason in words."""
    delivery = deliver_signed(
        {
            "client_key": CLIENT_KEY,
            "event": "tiktok.ping",
            "create_time": 1752894700622,
            "user_openid": openid,
            "content": '{"reason": "testing Webhook"}',
        }
    )
    assert delivery.event == "tiktok.ping"
    assert delivery.create_time == 1752894700
    assert delivery.open_id == "7528370655977505848"
    assert delivery.content == {"reason": "testing Webhook"}
    assert delivery.reason is None


@pytest.mark.parametrize("secret", [CLIENT_SECRET, Secret(CLIENT_SECRET)])
def test_webhook_of_the_previous_secret_is_taken(secret):
    """While the secret is rotated, either of the two may have signed."""
    changes = {"client_secret": "the-new-one", "previous_secret": secret}
    assert deliver(**changes) == deliver()
    assert deliver(previous_secret="the-old-one") == deliver()


@pytest.mark.parametrize("previous", [None, "", "another"])
def test_webhook_of_neither_secret_is_refused(previous):
    """A secret that is none of the two signs nothing."""
    with pytest.raises(WebhookRejected, match="does not fit"):
        deliver(client_secret="the-new-one", previous_secret=previous)


def test_webhook_event_is_one_short_line():
    """The name of an event, which goes into logs, is one short line."""
    event = deliver_signed(DELIVERY | {"event": "a\r\nb" + "x" * 500}).event
    assert event.startswith("a\\u000d\\u000ab")
    assert len(event) == 201


def test_webhook_error_shows_no_secret():
    """A refused delivery shows neither our secret nor the right signature."""
    with pytest.raises(WebhookRejected) as refused:
        deliver(f"t={SIGNED_AT},s={'0' * 64}")
    assert CLIENT_SECRET not in str(refused.value)
    assert MAC not in str(refused.value)

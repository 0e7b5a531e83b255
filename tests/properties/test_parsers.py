"""Every parser of foreign bytes returns a value or raises one of our errors.

Each parser gets random bytes, and genuine input with small changes, which reaches more
of its code. The suite uses a few hundred of each, always the same;
``HYPOTHESIS_PROFILE=long`` makes a long run with new inputs every time.
"""

from __future__ import annotations

import json
import math
import os
import string
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._core.encryption import Box
from tiktok_oauth_middleware._core.http import BadQuery, Request, Response, read_query
from tiktok_oauth_middleware._core.redact import mask, one_line
from tiktok_oauth_middleware._core.return_to import (
    LONGEST_RETURN_TO,
    return_to_of,
    safe_return_to,
)
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.authorize import read_callback
from tiktok_oauth_middleware._oauth.protocol import (
    LONGEST_OPEN_ID,
    LONGEST_TOKEN,
    is_visible,
)
from tiktok_oauth_middleware._oauth.scopes import is_scope, split_scopes
from tiktok_oauth_middleware._oauth.token_response import (
    TokenResponse,
    read_revoke,
    read_token,
)
from tiktok_oauth_middleware._oauth.user import User, read_profile
from tiktok_oauth_middleware._oauth.user_info import read_user
from tiktok_oauth_middleware._oauth.webhook_delivery import (
    WebhookDelivery,
    read_webhook,
)
from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
from tiktok_oauth_middleware._session.record import Session, UserRecord, record_id
from tiktok_oauth_middleware._web.cookie_header import find, find_all
from tiktok_oauth_middleware._web.navigation import (
    is_page_visit,
    is_prefetch,
    is_same_origin,
)
from tiktok_oauth_middleware._web.response_headers import keep_private
from tiktok_oauth_middleware.errors import (
    TikTokError,
    TikTokOAuthError,
    WebhookRejected,
)
from tiktok_oauth_middleware.testing.wire import signature as sign_webhook

# There is no wheel for PyPy, and none yet for the newest Python.
ada_url = pytest.importorskip("ada_url", reason="ada_url is not installed")

settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=200, database=None
)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=100_000,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

OPEN_ID = "11111111-2222-4333-8444-555555555555"
CLIENT_KEY = "awexampleclientkey"
CLIENT_SECRET = "example_client_secret"
NOW = 1_767_225_605
#: No single input may take longer than this, in seconds.
SLOWEST = 0.1


@pytest.fixture(autouse=True)
def _no_parser_is_slow():
    """Assert that the slowest input of each test stayed within the limit."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < SLOWEST * PROFILE.max_examples


# --- inputs ------------------------------------------------------------------------


@st.composite
def changed(draw, genuine):
    """Return genuine bytes of which a few are changed, lost, doubled or moved."""
    data = bytearray(
        draw(genuine) if isinstance(genuine, st.SearchStrategy) else genuine
    )
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        data[start:end] = draw(
            st.binary(max_size=4)
            | st.just(bytes(data[start:end] * 2))
            | st.sampled_from(
                [b"\x00", b"\r\n", b"\xff", b'"', b"\\", b"%", b"&", b";"]
            )
        )
    return bytes(data)


any_text = st.text(st.characters(codec=None), max_size=300)
numbers = st.one_of(
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.booleans(),
    st.sampled_from([0, -1, 86400, 2**31, 2**63, 1e300, -1e300, 10**4000]),
)
scalars = st.one_of(st.none(), numbers, any_text)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4)
    ),
    max_leaves=8,
)


def answers(*fields):
    """Return JSON objects whose fields are right, wrong, or missing."""
    known = {name: value | json_values for name, value in fields}
    return st.builds(
        dict.__or__,
        st.dictionaries(any_text, json_values, max_size=2),
        st.fixed_dictionaries({}, optional=known),
    )


def as_json(values):
    return st.builds(
        lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode(
            "utf-8", "surrogatepass"
        ),
        values,
        st.booleans(),
    )


errors = st.sampled_from(
    ["", "ok", "invalid_grant", "invalid_request", "server_error", None, {"code": "ok"}]
) | st.fixed_dictionaries(
    {}, optional={"code": scalars, "message": scalars, "log_id": scalars}
)
token_objects = answers(
    ("access_token", st.just("act.x!1.va")),
    ("refresh_token", st.just("rft.x!1.va")),
    ("open_id", st.just(OPEN_ID)),
    ("expires_in", numbers | st.just(7200)),
    ("refresh_expires_in", numbers | st.just(15552000)),
    ("scope", st.just("user.info.basic,video.list")),
    ("token_type", st.sampled_from(["Bearer", "bearer"])),
    ("error", errors),
    ("error_description", any_text),
    ("log_id", any_text),
)
good_token = {
    "access_token": "act.x!1.va",
    "open_id": OPEN_ID,
    "token_type": "Bearer",
    "scope": "user.info.basic",
    "expires_in": 7200,
}
almost_tokens = st.builds(
    lambda name, value: good_token | {name: value},
    st.sampled_from([*good_token, "refresh_token", "refresh_expires_in", "error"]),
    json_values,
)
bodies = st.one_of(
    st.binary(max_size=300),
    changed(as_json(token_objects)),
    as_json(token_objects),
    as_json(almost_tokens),
    as_json(json_values),
)
statuses = st.sampled_from(
    [200, 201, 204, 302, 400, 401, 404, 429, 500, 503, 0, -1, 999]
)
retries = st.sampled_from(["", "5", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT"]) | any_text

cookie_parts = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"__Host-tiktok=good",
                b"__Host-tiktok=evil",
                b"__Host-tiktok",
                b"__Host-tiktok-login-a=1",
                b"\xe2\x80\x83__Host-tiktok=evil",
                b'a="',
                b"a=b",
                b"=",
                b"",
            ]
        ),
    ),
    max_size=12,
)
cookie_headers = st.lists(
    st.tuples(
        st.sampled_from([b"cookie", b"host", b"cookies"]),
        st.builds(bytes.join, st.sampled_from([b";", b"; ", b","]), cookie_parts),
    ),
    max_size=4,
)
queries = st.one_of(
    st.binary(max_size=300),
    changed(
        b"code=AbC-1_xyz%2A1%214608.va&scopes=user.info.basic%2Cx&state=9f1c&next=%2Fx"
    ),
    st.lists(
        st.sampled_from(
            [
                b"state",
                b"code",
                b"=",
                b"&",
                b"%",
                b"%2",
                b"%73tate",
                b"+",
                b"a",
                b"\xff",
            ]
        ),
        max_size=40,
    ).map(b"".join),
)


# --- queries -----------------------------------------------------------------------


@PROFILE
@given(queries)
@example(b"state=a&state=b")
@example(b"&=&%&")
def test_query_gives_texts_or_bad_query(query):
    """Parsing a query returns encodable texts under our keys, or raises BadQuery."""
    try:
        values = read_query(query, ["state", "code"])
    except BadQuery:
        return
    assert values.keys() <= {"state", "code"}
    for value in values.values():
        value.encode()


@PROFILE
@given(queries)
def test_callback_gives_visible_text_or_bad_query(query):
    """Parsing a callback returns a visible state and code and one-line errors, or
    raises BadQuery.
    """
    try:
        callback = read_callback(query)
    except BadQuery:
        return
    assert callback.state == "" or is_visible(callback.state, 512)
    assert callback.code == "" or is_visible(callback.code.reveal(), 2048)
    for text in (callback.error, callback.description):
        assert len(text) <= 201
        assert len(text.splitlines()) <= 1
        text.encode()


# --- headers -----------------------------------------------------------------------


@PROFILE
@given(cookie_headers)
@example([(b"cookie", b"a; __Host-tiktok=\tw8;-")])
def test_cookie_header_gives_a_value_or_none(headers):
    """A Cookie header gives None, or a valid value that is in the header."""
    value = find(headers, b"__Host-tiktok")
    if value is not None:
        assert set(value) <= set(range(0x21, 0x7F)) - set(b'",;\\')
        parts = [
            p.strip(b" \t") for k, h in headers if k == b"cookie" for p in h.split(b";")
        ]
        assert b"__Host-tiktok=" + value in parts
        given = {p for p in parts if p.startswith(b"__Host-tiktok=")}
        assert given == {b"__Host-tiktok=" + value}


@PROFILE
@given(cookie_headers)
def test_cookie_header_gives_login_cookies(headers):
    """A Cookie header gives login cookies only under ids of the right form."""
    letters = set(string.ascii_letters + string.digits + "-_")
    for login_id, value in find_all(headers, b"__Host-tiktok-login-").items():
        assert login_id
        assert set(login_id) <= letters
        assert isinstance(value, bytes)


names = st.sampled_from(
    [b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"]
    + [b"accept", b"purpose", b"sec-purpose", b"x-moz", b"x-requested-with"]
)
header_values = st.binary(max_size=60) | st.sampled_from(
    [b"same-origin", b"https://app.example.com", b"navigate", b"document", b"text/html"]
)


async def _no_body(limit):
    return b""


@PROFILE
@given(
    st.lists(st.tuples(names, header_values), max_size=8),
    st.sampled_from(["GET", "HEAD", "POST", ""]),
)
def test_rules_of_headers_give_a_verdict(headers, method):
    """Every check of the sender returns True or False for any headers."""
    request = Request(
        method=method, path="/", mount="", query=b"", headers=headers, read=_no_body
    )
    for verdict in (
        is_same_origin(request, "https://app.example.com"),
        is_page_visit(request),
        is_prefetch(request),
    ):
        assert type(verdict) is bool


@PROFILE
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["vary", "Vary", "cache-control", "Cache-Control", "x"]),
            any_text,
        ),
        max_size=6,
    )
)
def test_any_headers_become_private(headers):
    """Any caching headers of an app become private."""
    private = {name.lower(): value for name, value in keep_private(headers)}
    control = {item.strip().lower() for item in private["cache-control"].split(",")}
    vary = {item.strip().lower() for item in private["vary"].split(",")}
    assert control & {"private", "no-store"}
    assert "public" not in control
    assert vary & {"cookie", "*"}


# --- next --------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        "/",
        "//",
        "\\",
        ".",
        "..",
        "%2e",
        "%2f",
        "%5c",
        "\t",
        "\n",
        "\r",
        "\x00",
        " ",
        "@",
    ]
    + [":", "?", "#", ";", "https:", "javascript:", "evil.example", "app.example.com"]
    + ["ü", "\u2028", "\u3002", "\uff0f", "\ud800", "a", "%", "%00", "[", "]", "login"]
)
targets = st.one_of(any_text, st.lists(pieces, max_size=12).map("".join))
targets |= targets.map("/".__add__)
OWN = frozenset({"/login", "/callback"})


@PROFILE
@given(targets)
@example("//evil.example")
@example("/\\evil.example")
@example("/\t/evil.example")
@example("/.//evil.example")
def test_next_never_leaves_the_origin(value):
    """An accepted target is unchanged, and keeps a browser on the site."""
    target = safe_return_to(value, OWN)
    if target is None:
        return
    Response(303, (("location", target),))
    url = ada_url.URL(target, base="https://app.example.com/callback?code=x")
    assert url.origin == "https://app.example.com"
    assert url.pathname not in OWN
    assert len(target) <= LONGEST_RETURN_TO
    assert safe_return_to(target, OWN) == target


@PROFILE
@given(queries | targets.map(lambda t: b"next=" + t.encode("utf-8", "surrogatepass")))
def test_next_of_any_query_lands_on_the_site(query):
    """Any query leads to a target on this site."""
    target = return_to_of(query, "/usual", OWN)
    url = ada_url.URL(target, base="https://app.example.com/login")
    assert url.origin == "https://app.example.com"


# --- TikTok's answers --------------------------------------------------------------


@PROFILE
@given(statuses, bodies, retries)
@example(200, json.dumps(good_token).encode(), "")
@example(200, b'{"expires_in": ' + b"9" * 5000 + b"}", "")
@example(200, b"[" * 100_000, "")
def test_token_answer_gives_tokens_or_our_error(status, body, retry_after):
    """A token answer gives complete, usable tokens, or raises a TikTok error."""
    try:
        answer = read_token(
            status, body, secrets=[CLIENT_SECRET], retry_after=retry_after
        )
    except TikTokError as error:
        assert_harmless(error)
        return
    assert isinstance(answer, TokenResponse)
    assert 200 <= status < 300
    assert is_visible(answer.access_token.reveal(), LONGEST_TOKEN)
    assert answer.refresh_token is None or is_visible(
        answer.refresh_token.reveal(), LONGEST_TOKEN
    )
    assert 0 < len(answer.open_id) <= LONGEST_OPEN_ID
    assert "\n" not in answer.open_id
    answer.open_id.encode()
    assert 0 <= answer.expires_in <= 400 * 86400
    assert answer.refresh_expires_in is None or math.isfinite(answer.refresh_expires_in)
    assert all(is_scope(scope) for scope in split_scopes(answer.scopes or ""))


def assert_harmless(error):
    """Assert that an error's texts are short lines that logs and pages can encode."""
    for text in (error.error, error.description, error.log_id, str(error)):
        text.encode()
        assert len(text) <= 700
        assert len(text.splitlines()) <= 1


@PROFILE
@given(statuses, bodies | st.just(b"") | st.just(b"{}"), retries)
def test_revoke_answer_gives_nothing_or_our_error(status, body, retry_after):
    """A revoke's answer counts as success, or raises a TikTok error."""
    try:
        assert read_revoke(status, body, retry_after=retry_after) is None
    except TikTokError as error:
        assert_harmless(error)
    else:
        assert 200 <= status < 300


profiles = answers(
    ("open_id", st.just(OPEN_ID)),
    ("display_name", any_text),
    ("avatar_url", any_text),
    ("is_verified", st.booleans()),
    ("follower_count", numbers),
)
profile_bodies = st.one_of(
    bodies,
    changed(
        as_json(
            st.fixed_dictionaries({"data": st.fixed_dictionaries({"user": profiles})})
        )
    ),
    as_json(
        st.builds(
            lambda user: {"data": {"user": user | {"open_id": OPEN_ID}}, "error": None},
            profiles,
        )
    ),
    as_json(answers(("data", answers(("user", profiles))), ("error", errors))),
)


@PROFILE
@given(statuses, profile_bodies)
def test_profile_answer_gives_a_profile_or_our_error(status, body):
    """A user-info answer gives a profile of that user, or raises a TikTok error."""
    try:
        packed = read_user(status, body, open_id=OPEN_ID)
    except TikTokError as error:
        assert_harmless(error)
        return
    assert "\n" not in packed
    user = read_profile(OPEN_ID, packed)
    assert isinstance(user, User)
    assert user.open_id == OPEN_ID
    assert type(user.display_name) in (str, type(None))
    assert type(user.is_verified) in (bool, type(None))
    assert type(user.follower_count) in (int, type(None))


# --- webhooks ----------------------------------------------------------------------

DELIVERY = {
    "client_key": CLIENT_KEY,
    "event": "authorization.removed",
    "create_time": NOW,
    "user_openid": OPEN_ID,
    "content": '{"reason": 1}',
}
BODY = json.dumps(DELIVERY).encode()
SIGNED = sign_webhook(BODY, CLIENT_SECRET, NOW).encode()


def read_delivery(header, body):
    return read_webhook(
        header, body, client_key=CLIENT_KEY, secrets=[CLIENT_SECRET], now=NOW
    )


@PROFILE
@given(st.binary(max_size=120) | changed(SIGNED))
@example(SIGNED)
def test_webhook_header_gives_a_delivery_or_our_error(header):
    """Any header but the right signature is refused."""
    try:
        read_delivery(header, BODY)
    except WebhookRejected:
        return
    assert sorted(header.split(b",")) == sorted(SIGNED.split(b","))


@PROFILE
@given(st.binary(max_size=300) | changed(BODY))
def test_webhook_body_that_was_not_signed_is_refused(body):
    """A body that differs from the signed one is refused."""
    try:
        read_delivery(SIGNED, body)
        taken = True
    except WebhookRejected:
        taken = False
    assert taken is (body == BODY)


deliveries = st.one_of(
    st.binary(max_size=300),
    changed(BODY),
    as_json(json_values),
    as_json(
        st.builds(
            lambda name, value: DELIVERY | {name: value},
            st.sampled_from([*DELIVERY]),
            json_values,
        )
    ),
    as_json(
        st.builds(
            lambda text: DELIVERY | {"content": text}, as_json(json_values).map(repr)
        )
    ),
)


@PROFILE
@given(deliveries)
@example(b"[" * 50_000)
def test_signed_webhook_gives_a_delivery_or_our_error(body):
    """A body that TikTok signed gives a delivery, or is refused with our error."""
    header = sign_webhook(body, CLIENT_SECRET, NOW).encode()
    try:
        delivery = read_delivery(header, body)
    except WebhookRejected:
        return
    assert isinstance(delivery, WebhookDelivery)
    assert isinstance(delivery.content, dict)
    assert isinstance(delivery.create_time, int)
    assert len(delivery.event.splitlines()) <= 1
    assert delivery.open_id is None or 0 < len(delivery.open_id) <= LONGEST_OPEN_ID


# --- sealed and signed values ------------------------------------------------------

SECRET_KEY = "mX2cV6bN0aS4dF8gH1jK5lP9oI3uY7tR"
BOX = Box([SECRET_KEY], CLIENT_KEY, "grant")
SEALED = BOX.seal(b"genuine", "name")
JAR = SessionCookies("tiktok", [b"k" * 32], secure=True)
COOKIE, TICKET = JAR.issue(record_id(CLIENT_KEY, OPEN_ID))


@PROFILE
@given(st.binary(max_size=200) | changed(SEALED), st.sampled_from(["name", "Name", ""]))
@example(SEALED, "name")
def test_sealed_value_opens_or_is_none(sealed, name):
    """A sealed value opens only under its name; anything else gives None."""
    opened = BOX.open(sealed, name)
    assert opened == (b"genuine" if (sealed, name) == (SEALED, "name") else None)


@PROFILE
@given(st.binary(max_size=500), st.text(st.characters(codec="utf-8")))
def test_sealing_is_undone_by_opening(plain, name):
    """Any bytes sealed under any name can be opened under that name."""
    assert BOX.open(BOX.seal(plain, name), name) == plain


@PROFILE
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(min_size=87, max_size=87),
        changed(COOKIE.encode()),
        st.text("ABCabc019-_.=+/ ", min_size=87, max_size=87).map(str.encode),
    )
)
@example(COOKIE.encode())
def test_session_cookie_is_ours_or_none(value):
    """Only a session cookie that was issued is read; anything else gives None."""
    ticket = JAR.read(value)
    assert ticket == (TICKET if value == COOKIE.encode() else None)
    assert ticket is None or isinstance(ticket, Ticket)


@PROFILE
@given(st.binary(max_size=100) | changed(to_text(SEALED).encode()))
def test_cookie_text_has_one_spelling(value):
    """Decoding a cookie's text gives bytes that encode to the same text, or None."""
    raw = from_text(value)
    assert raw == b"" or to_text(raw).encode() == value


@PROFILE
@given(st.binary(max_size=200))
def test_cookie_text_round_trips(raw):
    """Bytes are unchanged after encoding and decoding."""
    assert from_text(to_text(raw).encode()) == raw


# --- grants ------------------------------------------------------------------------

RECORD = UserRecord(
    open_id=OPEN_ID,
    access_token=Secret("act.x"),
    issued_at=NOW,
    expires_at=NOW + 7200,
    refresh_token=Secret("rft.x"),
    refresh_expires_at=None,
    scopes="user.info.basic",
    profile='{"display_name": "Example"}',
    sessions=(Session("digest", 1, 2), Session("other", 3, 4, 1)),
)
CONNECTED = RECORD._replace(user_id="user 1\n%", connected_at=NOW)


@PROFILE
@given(
    st.one_of(
        st.binary(max_size=300),
        changed(RECORD.pack()),
        st.lists(any_text, max_size=14).map(
            lambda lines: "\n".join(["1", *lines]).encode("utf-8", "surrogatepass")
        ),
        st.lists(any_text, max_size=14).map(
            lambda lines: "\n".join(["2", *lines]).encode("utf-8", "surrogatepass")
        ),
        changed(CONNECTED.pack()),
    )
)
@example(RECORD.pack())
@example(CONNECTED.pack())
def test_bytes_unpack_to_a_record_or_none(packed):
    """Any bytes unpack to a record that can be packed again, or to None."""
    record = UserRecord.unpack(packed)
    if record is None:
        return
    assert UserRecord.unpack(record.pack()) == record
    assert type(record.access_token) is Secret
    assert type(record.refresh_token) is Secret


# --- text --------------------------------------------------------------------------


@PROFILE
@given(any_text, st.lists(any_text, max_size=4))
def test_masked_text_contains_no_secret(text, secrets):
    """A masked text contains no secret of sufficient length."""
    masked = mask(text + "".join(secrets), secrets)
    for secret in secrets:
        if len(secret) >= 4 and "*" not in secret:
            assert secret not in masked
    one_line(masked).encode()


def test_every_error_of_a_parser_is_ours():
    """The parsers raise errors of two classes only."""
    assert issubclass(TikTokError, TikTokOAuthError)
    assert issubclass(WebhookRejected, TikTokOAuthError)
    assert issubclass(BadQuery, ValueError)

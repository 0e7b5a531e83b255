"""The parsers of bytes from outside: their calls, seeds and permitted results.

`Parser.call` gets any bytes and does not catch our own errors. It raises `Wrong` if the
parser returns a value that it must not return.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._core.encryption import Box
from tiktok_oauth_middleware._core.http import BadQuery, Request, Response, read_query
from tiktok_oauth_middleware._core.return_to import (
    LONGEST_RETURN_TO,
    return_to_of,
    safe_return_to,
)
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.authorize import read_callback
from tiktok_oauth_middleware._oauth.protocol import is_visible
from tiktok_oauth_middleware._oauth.scopes import is_scope, split_scopes
from tiktok_oauth_middleware._oauth.token_response import read_revoke, read_token
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware._oauth.user_info import read_user
from tiktok_oauth_middleware._oauth.webhook_delivery import read_webhook
from tiktok_oauth_middleware._session.cookie import SessionCookies
from tiktok_oauth_middleware._session.record import Session, UserRecord, record_id
from tiktok_oauth_middleware._web.cookie_header import find, find_all, value_of
from tiktok_oauth_middleware._web.messages import LANGUAGES, Messages
from tiktok_oauth_middleware._web.navigation import (
    is_document,
    is_page_visit,
    is_prefetch,
    is_same_origin,
    language_ranges,
)
from tiktok_oauth_middleware._web.response_headers import keep_private
from tiktok_oauth_middleware._web.transaction import LoginTransaction
from tiktok_oauth_middleware.errors import TikTokError, TikTokOAuthError
from tiktok_oauth_middleware.testing.wire import signature as sign_webhook

try:  # in the test group: a run without it checks less
    import ada_url
except ImportError:
    ada_url = None  # type: ignore[assignment]

#: The only exceptions that a parser may raise.
OURS = (BadQuery, TikTokOAuthError)
#: An input that ends in `_AGAIN` is repeated to this length, but only one in this many
#: such inputs, since long ones take a thousand times as long.
_LONG = 64 * 1024
_AGAIN = 0xFE
_ONE_IN = 64

_OPEN_ID = "11111111-2222-4333-8444-555555555555"
_CLIENT_KEY = "awexampleclientkey"
_CLIENT_SECRET = "example_client_secret"
_ORIGIN = "https://app.example.com"
_NOW = 1_767_225_605
_STATUSES = (200, 201, 204, 302, 400, 401, 404, 429, 500, 503)


class Wrong(Exception):
    """A parser returned a value that it must not return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser:
    """One parser of foreign bytes."""

    name: str
    call: Callable[[bytes], object]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()
    #: The number of bytes before the JSON in an input; None if inputs are not JSON.
    json_from: int | None = None


def longer(data: bytes) -> bytes:
    """Return an input unchanged, or repeated if it ends in `_AGAIN`."""
    if len(data) < 2 or data[-1] != _AGAIN or sum(data) % _ONE_IN:
        return data
    return (data[:-1] * (_LONG // len(data)))[:_LONG]


def _must(is_right: object, what: str) -> None:
    if not is_right:
        raise Wrong(what)


# --- queries -----------------------------------------------------------------------


def _query(data: bytes) -> None:
    keys = {"state", "code", "next", "scopes"}
    values = read_query(longer(data), keys)
    _must(values.keys() <= keys, "a key that nobody asked for")
    for value in values.values():
        value.encode()


def _callback(data: bytes) -> None:
    callback = read_callback(longer(data))
    code = callback.code.reveal()
    _must(not callback.state or is_visible(callback.state, 512), "state")
    _must(not code or is_visible(code, 2048), "code")
    for text in (callback.error, callback.description):
        _must(len(text) <= 201 and len(text.splitlines()) <= 1, "more than a line")
        text.encode()


_OWN = frozenset({"/auth/tiktok/login", "/auth/tiktok/callback", "/login"})


def _next(data: bytes) -> None:
    data = longer(data)
    text = data.decode("utf-8", "surrogateescape")
    found = [safe_return_to(text, _OWN), return_to_of(b"next=" + data, "/usual", _OWN)]
    for target in filter(None, found):
        Response(303, (("location", target),))
        _must(len(target) <= LONGEST_RETURN_TO, "longer than the longest")
        _must(safe_return_to(target, _OWN) == target, "not the same when checked again")
        if ada_url is not None:
            url = ada_url.URL(target, base=_ORIGIN + "/auth/tiktok/callback?code=x")
            _must(url.origin == _ORIGIN, "another origin")
            _must(url.pathname not in _OWN, "a path of ours")


# --- headers -----------------------------------------------------------------------

_NAME = b"__Host-tiktok"
_LOGIN = b"__Host-tiktok-login-"
_START = _NAME + b"="
#: The most headers in a request of 64 kB: each needs "cookie:" and a line end.
_MOST_HEADERS = 64 * 1024 // 9


def _cookies(data: bytes) -> None:
    lines = longer(data).split(b"\n", _MOST_HEADERS)
    headers = [(b"cookie", line) for line in lines]
    parts = [p.strip(b" \t") for _, header in headers for p in header.split(b";")]
    value = find(headers, _NAME)
    if value is not None:
        _must(value.isascii() and len(value) <= 4096, "no value of a cookie")
        same = {part for part in parts if part.startswith(_NAME + b"=")}
        _must(same == {_NAME + b"=" + value}, "a cookie that is not there")
    for login_id, login in find_all(headers, _LOGIN).items():
        sent = {p for p in parts if p.startswith(_LOGIN + login_id.encode() + b"=")}
        _must(not login or sent == {_LOGIN + login_id.encode() + b"=" + login}, "login")
    for _, header in headers:
        value_of(header.partition(_START), None)


_NAMES = (b"accept", b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode")
_NAMES += (b"sec-fetch-dest", b"sec-purpose", b"purpose", b"x-moz")
_NAMES += (b"x-requested-with", b"accept", b"cookie", b"accept-language")
_METHODS = ("GET", "HEAD", "POST", "PUT")
_MESSAGES = Messages()


async def _no_body(_: int) -> bytes:
    return b""


def _headers(data: bytes) -> None:
    lines = longer(data).split(b"\n")
    headers = [(_NAMES[line[0] % len(_NAMES)], line[1:]) for line in lines if line]
    method = _METHODS[len(lines) % len(_METHODS)]
    request = Request(
        method=method, path="/", mount="", query=b"", headers=headers, read=_no_body
    )
    for rule in (is_page_visit, is_document, is_prefetch):
        _must(type(rule(request)) is bool, "no verdict")
    language = _MESSAGES.language("login_denied", language_ranges(request))
    _must(language in LANGUAGES, "a language that there is not")
    if is_same_origin(request, _ORIGIN):
        origins = [v.strip(b" \t") for n, v in headers if n == b"origin"]
        _must(origins in ([], [_ORIGIN.encode()]), "a foreign origin")
    text = [
        ("Cache-Control" if line[0] % 2 else "Vary", line[1:].decode("latin-1"))
        for line in lines
        if line
    ]
    control = dict(keep_private(text))["cache-control"]
    items = {item.strip().lower() for item in control.split(",")}
    _must(items & {"private", "no-store"} and "public" not in items, "not private")


# --- TikTok's answers --------------------------------------------------------------


def _split(data: bytes) -> tuple[int, bytes]:
    return _STATUSES[data[0] % len(_STATUSES)] if data else 200, longer(data[1:])


def _harmless(error: TikTokError) -> None:
    for text in (error.error, error.description, error.log_id, str(error)):
        text.encode()
        _must(len(text) <= 700 and len(text.splitlines()) <= 1, "more than a line")
        _must(_CLIENT_SECRET not in text, "a secret")


def _token(data: bytes) -> None:
    status, body = _split(data)
    retry_after = body[:12].decode("latin-1")
    try:
        answer = read_token(
            status, body, secrets=[_CLIENT_SECRET], retry_after=retry_after
        )
    except TikTokError as error:
        _harmless(error)
        raise
    _must(200 <= status < 300, "a token of an answer that is no success")
    _must(is_visible(answer.access_token.reveal(), 4096), "access token")
    refresh = answer.refresh_token
    _must(refresh is None or is_visible(refresh.reveal(), 4096), "refresh token")
    _must(0 < len(answer.open_id) <= 256 and "\n" not in answer.open_id, "open_id")
    for seconds in (answer.expires_in, answer.refresh_expires_in or 0.0):
        _must(0 <= seconds <= 400 * 86400, "a life without end")
    _must(all(map(is_scope, split_scopes(answer.scopes or ""))), "scope")


def _revoke(data: bytes) -> None:
    try:
        read_revoke(*_split(data), secrets=[_CLIENT_SECRET])
    except TikTokError as error:
        _harmless(error)
        raise


def _profile(data: bytes) -> None:
    status, body = _split(data)
    try:
        packed = read_user(status, body, open_id=_OPEN_ID, secrets=[_CLIENT_SECRET])
    except TikTokError as error:
        _harmless(error)
        raise
    _must("\n" not in packed, "more than a line")
    _must(read_profile(_OPEN_ID, packed).open_id == _OPEN_ID, "somebody else")


# --- webhooks ----------------------------------------------------------------------

_DELIVERY = json.dumps(
    {
        "client_key": _CLIENT_KEY,
        "event": "authorization.removed",
        "create_time": _NOW,
        "user_openid": _OPEN_ID,
        "content": '{"reason": 1}',
    }
).encode()
_SIGNATURE = sign_webhook(_DELIVERY, _CLIENT_SECRET, _NOW).encode()


def _read_webhook(header: bytes, body: bytes) -> Any:
    return read_webhook(
        header, body, client_key=_CLIENT_KEY, secrets=[_CLIENT_SECRET], now=_NOW
    )


def _webhook_header(data: bytes) -> None:
    header = longer(data)
    _read_webhook(header, _DELIVERY)
    # Blanks around a name or a value, letters of the MAC in upper case, and parts with
    # other names are all that may differ from what TikTok signed.
    parts = [
        re.split(rb"[ \t]*=[ \t]*", part.strip(b" \t"), maxsplit=1)
        for part in header.split(b",")
    ]
    signed = [b"=".join(part).lower() for part in parts if part[0] in {b"t", b"s"}]
    _must(sorted(signed) == sorted(_SIGNATURE.split(b",")), "forged")


def _webhook_body(data: bytes) -> None:
    body = longer(data)
    delivery = _read_webhook(sign_webhook(body, _CLIENT_SECRET, _NOW).encode(), body)
    _must(isinstance(delivery.content, dict), "content")
    _must(isinstance(delivery.create_time, int), "create_time")
    _must(len(delivery.event.splitlines()) <= 1, "more than a line")


# --- sealed, signed, packed --------------------------------------------------------

_KEYS = ["mX2cV6bN0aS4dF8gH1jK5lP9oI3uY7tR", "pQ7wE3rT9yU1iO5aS0dF6gH2jK8lZ4xC"]
_BOX = Box(_KEYS, _CLIENT_KEY, "grant")
_SEALED = _BOX.seal(b"genuine", "name")
_JAR = SessionCookies("tiktok", [b"k" * 32, b"o" * 32], secure=True)
_COOKIE = _JAR.issue(record_id(_CLIENT_KEY, _OPEN_ID))[0].encode()


def _over(genuine: bytes, data: bytes) -> bytes:
    """Return the input, or the genuine value with the input written over it."""
    if not data or data[0] % 2:
        return longer(data[1:])
    start = data[1] % (len(genuine) + 1) if data[1:] else 0
    patch = data[2:]
    laid = bytearray(genuine)
    for i, byte in enumerate(patch[: len(genuine) - start]):
        laid[start + i] ^= byte
    return bytes(laid)


def _sealed(data: bytes) -> None:
    value = _over(_SEALED, data)
    opened = _BOX.open(value, "name")
    _must(opened == (b"genuine" if value == _SEALED else None), "opened")
    _must(_BOX.open(value, "other") is None, "opened under another name")


def _session_cookie(data: bytes) -> None:
    value = _over(_COOKIE, data)
    _must((_JAR.read(value) is not None) == (value == _COOKIE), "not as it was issued")


def _cookie_text(data: bytes) -> None:
    value = longer(data)
    raw = from_text(value)
    _must(not raw or to_text(raw).encode() == value, "two spellings")


_RECORD = UserRecord(
    open_id=_OPEN_ID,
    access_token=Secret("act.x"),
    issued_at=_NOW,
    expires_at=_NOW + 7200,
    refresh_token=Secret("rft.x"),
    refresh_expires_at=None,
    scopes="user.info.basic",
    profile='{"display_name": "Example"}',
    sessions=(Session("digest", 1, 2), Session("other", 3, 4, 1)),
).pack()


def _packed_user_record(data: bytes) -> None:
    record = UserRecord.unpack(longer(data))
    if record is not None:
        _must(
            UserRecord.unpack(record.pack()) == record, "not the same when packed again"
        )


def _packed_login(data: bytes) -> None:
    bound = {"state": "s", "created_at": _NOW}
    login = LoginTransaction.unpack(longer(data), **bound)
    if login is not None:
        again = LoginTransaction.unpack(login.pack(), **bound)
        _must(again == login, "not the same when packed again")


# --- the table ---------------------------------------------------------------------

_GOOD_TOKEN = json.dumps(
    {
        "access_token": "act.example!1.va",
        "refresh_token": "rft.example!1.va",
        "open_id": _OPEN_ID,
        "expires_in": 7200,
        "refresh_expires_in": 15552000,
        "scope": "user.info.basic,video.list",
        "token_type": "Bearer",
    }
).encode()
_BAD_GRANT = b"""{"error": "invalid_grant", "log_id": "2",
"error_description": "example_client_secret"}"""
_API_ERROR = (
    b'{"data":{},"error":{"code":"access_token_invalid","message":"m","log_id":"2"}}'
)
_GOOD_USER = json.dumps(
    {
        "data": {
            "user": {
                "open_id": _OPEN_ID,
                "display_name": "\u00fc",
                "is_verified": True,
                "follower_count": 12,
                "avatar_url": "https://p16.example/a.jpg",
            }
        },
        "error": {"code": "ok", "message": "", "log_id": "2"},
    }
).encode()
_FIELDS = [b'"' + f + b'"' for f in b"error data user open_id scope code".split()]
_JSON = [
    b"[",
    b"]",
    b"{",
    b"}",
    b"null",
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"-0",
    b"9" * 40,
]
_ODD = [b"\x00", b"\r\n", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"%00", b"+"]
_QUERY = [b"state=", b"&code=", b"&error=", b"next=", b"%2", b"%73tate", b"&&", b";"]
_PATHS = [b"//", b"/\\", b"/.", b"%2e", b"%2f", b"%5c", b"\t", b"@", b"https:", b"#"]
_PATHS += [b"?", b"[", b"evil.example", b"/auth/tiktok/login", b"\xe3\x80\x82"]
_COOKIES = [_NAME + b"=", _LOGIN + b"a=", b"; ", b";", b'"', b"\t", b"\xc2\xa0", b"="]
_DEEP = [b"\x00" + b"[" * 3000 + bytes([_AGAIN]), b'\x00{"a":' + bytes([_AGAIN])]

PARSERS = (
    Parser(
        name="query",
        call=_query,
        seeds=[b"state=a&code=b%2A&next=%2Fx&scopes=video.list", b"&=&%&\xfe"],
        words=_QUERY + _ODD,
    ),
    Parser(
        name="callback",
        call=_callback,
        seeds=[
            b"code=AbC-1_x%2A1%214608.va&scopes=user.info.basic%2Cx&state=9f1c",
            b"error=access_denied&error_description=User+cancelled&state=9f1c",
        ],
        words=_QUERY + _ODD,
    ),
    Parser(
        name="next",
        call=_next,
        seeds=[
            b"/a/b?c=d&e=https://x.example/#f",
            b"/%C3%A4/\xc3\xa4",
            b"/.//x",
            b"//x",
            b"&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&&@&%2E\xfe",
        ],
        words=_PATHS + _ODD,
    ),
    Parser(
        name="cookie_header",
        call=_cookies,
        seeds=[
            b"a=b; __Host-tiktok=good; __Host-tiktok-login-a=1; c",
            b'__Host-tiktok=a; __Host-tiktok="b"\n__Host-tiktok=c',
            b";\xfe",
        ],
        words=_COOKIES + _ODD,
    ),
    Parser(
        name="request_headers",
        call=_headers,
        seeds=[
            b"\x00text/html,application/xhtml+xml;q=0.9,*/*;q=0\n\x03same-origin",
            b"\x01https://app.example.com\n\x02https://app.example.com/x\n\x04navigate",
            b"\x05document\n\x06prefetch;prerender\n\x09XMLHttpRequest",
            b"\x00,;\xfe",
        ],
        words=[b";q=0.000", b"*/*", b"text/*", b"same-origin", b"public", b"private"],
    ),
    Parser(
        name="token_answer",
        call=_token,
        seeds=[b"\x00" + _GOOD_TOKEN, b"\x00" + _BAD_GRANT, b"\x08", *_DEEP],
        words=_JSON + _FIELDS + _ODD,
        json_from=1,
    ),
    Parser(
        name="revoke_answer",
        call=_revoke,
        seeds=[b"\x00{}", b"\x00", b"\x00" + _BAD_GRANT, *_DEEP],
        words=_JSON + _FIELDS + _ODD,
        json_from=1,
    ),
    Parser(
        name="profile_answer",
        call=_profile,
        seeds=[b"\x00" + _GOOD_USER, b"\x05" + _API_ERROR, *_DEEP],
        words=_JSON + _FIELDS + _ODD,
        json_from=1,
    ),
    Parser(
        name="webhook_header",
        call=_webhook_header,
        seeds=[
            _SIGNATURE,
            b",".join(reversed(_SIGNATURE.split(b","))),
            _SIGNATURE.upper().replace(b"T=", b" t =\t").replace(b"S=", b"v=1,s = "),
        ],
        words=[b"t=", b",s=", b"s=", b",t=", b"0" * 64, b" "],
    ),
    Parser(
        name="webhook_body",
        call=_webhook_body,
        seeds=[_DELIVERY, _DELIVERY.replace(b"1}", b"[" * 500), b"[" * 3000 + b"\xfe"],
        words=_JSON + _ODD + [b'"event"', b'"client_key"', b'"content"'],
        json_from=0,
    ),
    Parser(
        name="sealed",
        call=_sealed,
        seeds=[b"\x00\x00\x00", b"\x00\x05\x01", b"\x01" + _SEALED],
    ),
    Parser(
        name="session_cookie",
        call=_session_cookie,
        seeds=[b"\x00\x00\x00", b"\x00\x56\x01", b"\x01" + _COOKIE],
    ),
    Parser(
        name="cookie_text",
        call=_cookie_text,
        seeds=[to_text(_SEALED).encode(), b"A", b"AA==", b"+/"],
    ),
    Parser(
        name="packed_user_record",
        call=_packed_user_record,
        seeds=[_RECORD, b"1" + b"\n" * 9 + b"0 0"],
        words=[
            b"\n",
            b" ",
            b"-1",
            b"9" * 5000,
            b"\xd9\xa1",
            b"_",
            b"\r",
            b"\xe2\x80\xa8",
        ],
    ),
    Parser(
        name="packed_login",
        call=_packed_login,
        seeds=[b"2\nverifier\n/target\nvideo.list"],
        words=[b"\n", b" ", b"-1", b"9" * 5000, b"\xd9\xa1", b"_", b"\r"],
    ),
)
BY_NAME = {parser.name: parser for parser in PARSERS}

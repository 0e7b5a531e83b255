"""An anonymous request with 64 kB costs no more than one with 4 kB.

Most servers accept at most 64 kB. These tests run the whole middleware under both
interfaces; the parsers' own tests use a megabyte.
"""

from __future__ import annotations

import asyncio
import io
import logging
from wsgiref.util import setup_testing_defaults

import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)

from ..conftest import CALLBACK, LOGIN, LOGOUT, make_settings
from ..support.growth import is_constant

SIZE = 64 * 1024
NAME = b"__Host-tiktok"
#: A path, the beginning of its query, and the text that is repeated after it.
QUERIES = [
    (path, head, unit)
    for path in (LOGIN, CALLBACK, LOGOUT, "/members/x")
    for head, unit in [
        (b"", b"&"),
        (b"", b"a=b&"),
        (b"next=/", b"%41"),
        (b"next=/", b"x&next="),
        (b"scopes=", b"video.list,"),
        (b"state=x&code=", b"%25"),
        (b"state=x&error=", b"e"),
    ]
]
HEADERS = [
    (b"cookie", b";"),
    (b"cookie", NAME + b"=a;"),
    (b"cookie", NAME + b"-login-1=x;"),
    (b"cookie", b"a=b; "),
    (b"accept", b"a/b,"),
    (b"accept", b"text/html;q=0."),
    (b"accept-language", b"a-"),
    (b"accept-language", b"de,"),
    (b"sec-purpose", b"x;"),
    (b"referer", b"https://app.example.com/,"),
    (b"origin", b"https://app.example.com"),
    (b"x-forwarded-prefix", b"/members"),
    (b"tiktok-signature", b"t=1,s="),
]
PATHS = ["/", "a", "/x/", "//", "/.", ";/", "%41", "%2541", "\xff", "\xc3\xbc", "..."]


def an_asgi_app(settings):
    async def app(scope, receive, send):
        bool(scope["tiktok"].is_authenticated)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    wrapped = TikTokOAuthMiddleware(app, settings, store=MemoryStore())
    loop = asyncio.new_event_loop()

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    def call(method, path, query=b"", headers=()):
        raw = path.encode("latin-1")
        scope = {
            "type": "http",
            "method": method,
            "path": raw.decode("utf-8", "replace"),
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": [*headers],
            "extensions": {},
        }
        loop.run_until_complete(wrapped(scope, receive, send))

    return call, loop.close


def a_wsgi_app(settings):
    def app(environ, start_response):
        bool(environ["tiktok.auth"].is_authenticated)
        start_response("200 OK", [])
        return [b""]

    wrapped = TikTokOAuthWSGIMiddleware(app, settings, store=MemoryStore())

    def call(method, path, query=b"", headers=()):
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query.decode("latin-1"),
            "wsgi.input": io.BytesIO(),
        }
        for name, value in headers:
            key = "HTTP_" + name.decode().upper().replace("-", "_")
            environ[key] = value.decode("latin-1")
        setup_testing_defaults(environ)
        list(wrapped(environ, lambda *_: lambda _: None))

    return call, lambda: None


@pytest.fixture(params=[an_asgi_app, a_wsgi_app], ids=["asgi", "wsgi"])
def call(request, monkeypatch):
    # Logging is not measured: pytest keeps every record.
    monkeypatch.setattr(logging.getLogger("tiktok_oauth_middleware"), "disabled", True)
    settings = make_settings(
        protect=["/members"],
        public=["/members/open"],
        disconnect_path="/leave",
        webhook_path="/hook",
    )
    made, close = request.param(settings)
    yield made
    close()


def filled(unit):
    return (unit * (SIZE // len(unit) + 1))[:SIZE]


@pytest.mark.parametrize(("path", "head", "unit"), QUERIES, ids=repr)
def test_query(call, path, head, unit):
    """A long query costs no more than a short one, on any path."""
    room = SIZE - len(head)
    assert is_constant(lambda q: call("GET", path, head + q), filled(unit)[:room])


@pytest.mark.parametrize(("name", "unit"), HEADERS, ids=repr)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/members/x"),
        ("POST", "/members/x"),
        ("GET", "/members/open"),
        ("GET", LOGIN),
        ("GET", CALLBACK),
        ("POST", LOGOUT),
        ("POST", "/leave"),
        ("POST", "/hook"),
    ],
)
def test_header(call, method, path, name, unit):
    """A long header costs no more than a short one."""
    html = [] if name == b"accept" else [(b"accept", b"text/html")]
    assert is_constant(
        lambda value: call(method, path, headers=[*html, (name, value)]), filled(unit)
    )


@pytest.mark.parametrize("unit", PATHS, ids=ascii)
def test_path(call, unit):
    """A long path costs no more than a short one, since only its beginning is read."""
    assert is_constant(lambda path: call("GET", "/" + path), filled(unit))

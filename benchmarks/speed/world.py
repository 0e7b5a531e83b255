"""The measured requests: a browser's request, apps, and signed-in users.

Sessions are written with the package's own parts, as by a login, since a hundred
thousand logins would take longer than all measurements here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from tiktok_oauth_middleware import (
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import Session, UserRecord, record_id

ORIGIN = "https://app.example.com"
SCOPES = ("user.info.basic", "video.list")
COOKIE = "__Host-tiktok"
KEY = "gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo"
#: As long as TikTok's.
TOKEN = "act." + "x" * 64 + "!5259.va"
REFRESH_TOKEN = "rft." + "y" * 64 + "!5294.va"

#: Path rules, which leave /app/page open.
RULES = {"protect": ["/members", "/account"], "public": ["/members/list"]}

#: Four typical cookies of a site's analytics.
FOREIGN = (
    "_ga=GA1.1.1234567890.1767225600; _ga_ABCDEF1234=GS1.1.1767225600.1.1.1767225660"
    ".0.0.0; csrftoken=Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo; theme=dark"
)
BROWSER = (
    ("host", "app.example.com"),
    ("connection", "keep-alive"),
    ("cache-control", "max-age=0"),
    ("sec-ch-ua", '"Chromium";v="142", "Not?A_Brand";v="24"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.9"),
)


def settings(**more: Any) -> TikTokSettings:
    """Return the settings of the app that is measured."""
    return TikTokSettings(
        client_key="awexampleclientkey",
        client_secret="the-client-secret-of-benchmarks",
        redirect_uri=f"{ORIGIN}/auth/tiktok/callback",
        secret_keys=[KEY],
        scopes=SCOPES,
        **more,
    )


def scope_of(cookies: str, path: str = "/app/page") -> dict[str, Any]:
    """Return a browser's request as an ASGI scope; "" sends no cookies."""
    headers = [(name.encode(), value.encode()) for name, value in BROWSER]
    if cookies:
        headers.append((b"cookie", cookies.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "https",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "state": {},
    }


def environ_of(cookies: str, path: str = "/app/page") -> dict[str, Any]:
    """Return the same request as a WSGI environ."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": None,
        "wsgi.errors": None,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in BROWSER:
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    if cookies:
        environ["HTTP_COOKIE"] = cookies
    return environ


async def receive() -> dict[str, Any]:
    """Return the empty body of a GET."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_: Any) -> None:
    """Discard an app's message."""


def start_response(*_: Any) -> Callable[[bytes], object]:
    """Discard the head of a WSGI response."""
    return _ignore


def _ignore(_: bytes) -> None:
    """Discard a chunk."""


_HEADERS = ((b"content-type", b"text/plain"), (b"content-length", b"2"))


def head() -> dict[str, Any]:
    """Return a new head of a response, since some middlewares modify it."""
    return {"type": "http.response.start", "status": 200, "headers": [*_HEADERS]}


BODY = {"type": "http.response.body", "body": b"ok"}
WSGI_HEAD = (("Content-Type", "text/plain"), ("Content-Length", "2"))

#: What the last handler read; this shows that a benchmark does its work.
seen: list[Any] = [None, None]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer, and read nothing of the request."""
    await send(head())
    await send(BODY)


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """Read the access token and the scopes, and answer."""
    auth = scope["tiktok"]
    token = auth.token
    seen[0] = token.access_token if token is not None else None
    seen[1] = auth.scopes
    await send(head())
    await send(BODY)


def bare_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Answer, and read nothing of the request."""
    start_response("200 OK", [*WSGI_HEAD])
    return [b"ok"]


def reading_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Read the access token and the scopes, and answer."""
    auth = environ["tiktok.auth"]
    token = auth.token
    seen[0] = token.access_token if token is not None else None
    seen[1] = auth.scopes
    start_response("200 OK", [*WSGI_HEAD])
    return [b"ok"]


Middleware = TikTokOAuthMiddleware | TikTokOAuthWSGIMiddleware


def login_record(open_id: str, digest: str, now: float) -> UserRecord:
    """Return the record that a login of one browser writes."""
    at = int(now)
    return UserRecord(
        open_id=open_id,
        access_token=Secret(TOKEN + open_id),
        issued_at=at,
        expires_at=at + 86400,
        refresh_token=Secret(REFRESH_TOKEN),
        refresh_expires_at=at + 365 * 86400,
        scopes=",".join(SCOPES),
        # Fetched just now, with a link for a day: no new profile is due.
        profile='{"avatar_url": "https://p16-sign.tiktokcdn.example/avatar.jpeg?x-exp'
        f'ires={at + 86400}&x-signature=abc", "display_name": "Example Creator"}}',
        profile_at=at,
        sessions=(Session(digest, at, at),),
    )


def sign_in(
    middleware: Middleware, store: Any, people: int, now: float | None = None
) -> list[str]:
    """Sign users in; return the Cookie header of each, with foreign cookies in it."""
    core = middleware._core
    now = time.time() if now is None else now
    cookies = []
    for number in range(people):
        open_id = f"{number:08d}-2222-4333-8444-{secrets.token_hex(6)}"
        named = record_id(core.settings.client_key, open_id)
        value, ticket = core.cookies.issue(named)
        record = login_record(open_id, ticket.digest, now)
        key = core.service.records._key(named)
        sealed = core.service.records._box.seal(record.pack(), key)
        store.compare_and_set(key, None, sealed, 1e6)
        cookies.append(f"{FOREIGN}; {COOKIE}={value}")
    return cookies


def forget(middleware: Middleware, value: bytes) -> None:
    """Remove a cookie from the cache of verified cookies.

    Its entry in the list of the user's cookies is removed, too: it would be added again
    each time, and the list would grow.
    """
    cache = middleware._core.service.cache
    if value in cache.live:
        cache._drop(value)

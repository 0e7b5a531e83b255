"""The parts of every figure: users, a recording stand-in, an app, and clients.

An app is called in-process, as ASGI or WSGI says, so that the middleware and its
store are measured, and no server. A `Plan` has plain values, so that it can be sent to
processes that build the same app.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import redis

from tiktok_oauth_middleware import (
    RedisStore,
    SQLiteStore,
    SQLStore,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)
from tiktok_oauth_middleware.stores import open_store
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.fake import Reply
from tiktok_oauth_middleware.testing.people import Person
from tiktok_oauth_middleware.testing.server import StandIn

from .django_store import set_up

ORIGIN = "https://app.example.com"
LOGIN = "/auth/tiktok/login"
CALLBACK = "/auth/tiktok/callback"
LOGOUT = "/auth/tiktok/logout"
DISCONNECT = "/auth/tiktok/disconnect"
WEBHOOK = "/auth/tiktok/webhook"
#: A fixed time in 2026, so that clocks show the same time in every run.
START = 1_767_225_600.0
#: The default lifetime of access tokens, in seconds.
LIFE = 7200
_DAY = 86400
_SAME_ORIGIN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An app, in plain values."""

    store: str
    endpoints: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 10
    #: The stores' own default; a `DjangoStore` has no such option.
    store_timeout: float = 2.0

    def settings(self) -> TikTokSettings:
        """Return its settings."""
        return TikTokSettings(
            client_key="awexampleclientkey",
            client_secret="the-client-secret-of-hardening",
            redirect_uri=ORIGIN + CALLBACK,
            secret_keys=["gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo"],
            scopes=["user.info.basic", "video.list"],
            disconnect_path=DISCONNECT,
            webhook_path=WEBHOOK,
            session_idle=30 * _DAY,
            timeout=self.timeout,
            endpoints=TikTokEndpoints(**self.endpoints),
        )

    def open_store(self, clock: Callable[[], float]) -> Any:
        """Return its store, which is not connected yet."""
        if self.store.startswith("redis:"):
            return RedisStore(self.store, timeout=self.store_timeout)
        if "+" in self.store:
            return SQLStore(self.store, timeout=self.store_timeout, clock=clock)
        if self.store.startswith("django:"):
            set_up(self.store)
            return open_store(self.store, clock=clock)
        path = self.store.removeprefix("sqlite:///")
        return SQLiteStore(path, timeout=self.store_timeout, clock=clock)


def rows(store: str) -> int:
    """Return the number of rows in a store, of any kind."""
    if store.startswith("redis:"):
        with redis.Redis.from_url(store) as client:
            return int(client.dbsize())
    if "+" in store or store.startswith("django:"):
        kept: Any = open_store(store)
        try:
            return len(kept.keys(""))
        finally:
            kept.close()
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as file:
        tables = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return sum(
            int(file.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])
            for (name,) in tables.fetchall()
        )


def plan_for(store: str, stand_in: StandIn, **timeouts: float) -> Plan:
    """Return the plan of an app whose TikTok is this stand-in."""
    found = stand_in.endpoints
    endpoints = {
        "authorize": found.authorize,
        "token": found.token,
        "revoke": found.revoke,
        "user_info": found.user_info,
    }
    return Plan(store=store, endpoints=endpoints, **timeouts)


class Clock:
    """A clock that a figure sets, in one process."""

    def __init__(self) -> None:
        self.value = START

    def __call__(self) -> float:
        return self.value


class Watcher(FakeTikTok):
    """A stand-in that records each token's user and its predecessor.

    It stores tokens, which the journal of the package's own stand-in must not.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: The successors of each refresh token; several only with grace.
        self.successors: dict[str, list[str]] = {}
        #: The user of each access token.
        self.owners: dict[str, str] = {}
        #: The times at which each refresh token was presented.
        self.presented: dict[str, list[float]] = {}
        #: Set when a refresh was committed, just before the answer is sent.
        self.committed = threading.Event()
        self._noting = threading.Lock()

    def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Answer like TikTok, and record the tokens."""
        spent = dict(parse_qsl(body.decode("latin-1"))).get("refresh_token", "")
        if spent:
            with self._noting:
                times = self.presented.setdefault(spent, [])
                times.append(self.provider.clock())
        reply = super().handle(method, url, headers, body)
        if b'"access_token"' in reply.body:
            self._note(spent, json.loads(reply.body))
        return reply

    def _note(self, spent: str, answer: Mapping[str, str]) -> None:
        with self._noting:
            self.owners[answer["access_token"]] = answer["open_id"]
            if spent:
                found = self.successors.setdefault(spent, [])
                found.append(answer["refresh_token"])
        if spent:
            self.committed.set()

    @property
    def refreshes(self) -> int:
        """The number of refresh requests."""
        return self.count("token", grant_type="refresh_token")


def watcher(clock: Callable[[], float] = time.time, *, life: int = LIFE) -> Watcher:
    """Return a stand-in with the app of every plan, and strict rotation."""
    made = Watcher.for_settings(Plan(store="").settings(), clock=clock)
    made.access_lifetime = life
    return made


def person(number: int) -> Person:
    """Return the person with a number, who can log in."""
    return Person(
        open_id=f"user-{number:06d}",
        display_name=f"User {number}",
        username=f"user.{number}",
    )


# --- the app -----------------------------------------------------------------------


def _auth_text(auth: Any) -> bytes:
    token = auth.token
    facts = [auth.is_authenticated, auth.open_id, token and token.access_token]
    return json.dumps(facts).encode()


def _wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "application/json")])
    return [_auth_text(environ["tiktok.auth"])]


async def _asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": _auth_text(scope["tiktok"])})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the app, as a browser receives it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's value, or ""."""
        return next((v for n, v in self.headers if n.lower() == name), "")

    @property
    def cookies(self) -> str:
        """The cookies that are set and not deleted, as a Cookie header."""
        pairs = [v.split(";")[0] for n, v in self.headers if n.lower() == "set-cookie"]
        return "; ".join(pair for pair in pairs if not pair.endswith("="))

    @property
    def who(self) -> tuple[bool, str | None, str | None]:
        """Whether a user is signed in, the user's id and the token; only for a 200."""
        signed_in, open_id, token = json.loads(self.body)
        return signed_in, open_id, token


class Wsgi:
    """The app behind the WSGI middleware."""

    def __init__(self, plan: Plan, clock: Callable[[], float], **options: Any) -> None:
        self.store = options.pop("store", None) or plan.open_store(clock)
        self.wrapped = TikTokOAuthWSGIMiddleware(
            _wsgi_app, plan.settings(), store=self.store, clock=clock, **options
        )

    def ask(self, cookie: str, url: str = "/", *, post: bool = False) -> Answer:
        """Ask once, as this browser."""
        parts = urlsplit(url)
        environ = {
            "REQUEST_METHOD": "POST" if post else "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "SERVER_NAME": "app.example.com",
            "SERVER_PORT": "443",
            "wsgi.url_scheme": "https",
            "wsgi.input": BytesIO(),
            "HTTP_HOST": "app.example.com",
            "HTTP_COOKIE": cookie,
        }
        if post:
            for name, value in _SAME_ORIGIN.items():
                environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        head: list[Any] = []
        body = b"".join(self.wrapped(environ, lambda *given: head.append(given)))
        return Answer(int(head[0][0][:3]), head[0][1], body)

    def close(self) -> None:
        """Close connections."""
        self.wrapped.close()
        self.store.close()


class Asgi:
    """The app behind the ASGI middleware."""

    def __init__(self, plan: Plan, clock: Callable[[], float], **options: Any) -> None:
        self.store = options.pop("store", None) or plan.open_store(clock)
        self.wrapped = TikTokOAuthMiddleware(
            _asgi_app, plan.settings(), store=self.store, clock=clock, **options
        )

    async def ask(self, cookie: str, url: str = "/", *, post: bool = False) -> Answer:
        """Ask once, as this browser."""
        parts = urlsplit(url)
        headers = {"host": "app.example.com", "cookie": cookie}
        headers |= _SAME_ORIGIN if post else {}
        scope = {
            "type": "http",
            "method": "POST" if post else "GET",
            "path": parts.path,
            "root_path": "",
            "query_string": parts.query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
        sent: list[Any] = []
        await self.wrapped(scope, _no_body, _into(sent))
        head = [(k.decode(), v.decode("latin-1")) for k, v in sent[0]["headers"]]
        return Answer(sent[0]["status"], head, sent[1]["body"])

    async def close(self) -> None:
        """Close connections."""
        await self.wrapped.aclose()
        if isinstance(self.store, RedisStore):
            await self.store.aclose()
        else:
            self.store.close()


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _into(sent: list[Any]) -> Callable[[Any], Any]:
    async def send(message: Any) -> None:
        sent.append(message)
        await asyncio.sleep(0)  # lets other tasks run, like a server's send

    return send


# --- steps of users ----------------------------------------------------------------


def begin(app: Wsgi, fake: FakeTikTok, who: Person) -> tuple[str, str]:
    """Go to TikTok and consent; return the browser's cookies and the callback."""
    begun = app.ask("", LOGIN)
    callback = urlsplit(fake.consent(begun.header("location"), person=who))
    return begun.cookies, f"{callback.path}?{callback.query}"


def log_in(app: Wsgi, fake: FakeTikTok, who: Person) -> str:
    """Log in; return the browser's cookies."""
    cookies, callback = begin(app, fake, who)
    done = app.ask(cookies, callback)
    if done.status != 303:
        message = f"a login ended with {done.status}: {done.body!r}"
        raise RuntimeError(message)
    return done.cookies

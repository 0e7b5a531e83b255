"""Shared fixtures: settings, a clock, the stand-in, stores, and browsers.

`world` builds an app for one combination of interface and store; a test that uses it runs
on all combinations.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import secrets
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    RedisStore,
    SQLiteStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.service import SessionService
from tiktok_oauth_middleware._web.app import Core
from tiktok_oauth_middleware._web.misuse import _served
from tiktok_oauth_middleware.testing import FakeTikTok

from .stores.conftest import RedisServer
from .support.combinations import left_out
from .support.patience import HANGS

ORIGIN = "https://app.example.com"
CALLBACK = "/auth/tiktok/callback"
LOGIN = "/auth/tiktok/login"
LOGOUT = "/auth/tiktok/logout"
#: A fixed time in 2026, so that failures look the same every time.
START = 1_767_225_600.0

PAGE = {
    "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}
API = {
    "accept": "application/json",
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
}
SAME_ORIGIN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def no_earlier_warnings() -> None:
    """Reset the limit of one log line a minute, and forget the middlewares of other
    tests, so that each test sees its own warnings.
    """
    for limiter in logger.filters:
        limiter._last.clear()
    _served.clear()


@pytest.fixture(scope="session", autouse=True)
def own_databases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each process its own databases, if Django is set up before it is forked."""
    if django_once := sys.modules.get("tests.support.django_once"):
        django_once.move_databases(tmp_path_factory.mktemp("django"))


class Clock:
    """A clock that tests set."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


_folders = count()


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new folder.

    pytest's own fixture reads the names of all earlier folders for each new one, and
    makes a link to it.
    """
    return tmp_path_factory.mktemp(f"test{next(_folders)}", numbered=False)


def make_settings(**options: Any) -> TikTokSettings:
    """Return settings of an app at `ORIGIN`, with a random key."""
    given: dict[str, Any] = {
        "client_key": "awexampleclientkey",
        "client_secret": "the-client-secret-of-tests",
        "redirect_uri": ORIGIN + CALLBACK,
        "secret_keys": [secrets.token_urlsafe(32)],
        "scopes": ["user.info.basic", "video.list"],
        "optional_scopes": ["user.info.stats", "video.upload"],
        "store": "memory://",
    }
    return TikTokSettings(**{**given, **options})


@pytest.fixture
def settings() -> TikTokSettings:
    return make_settings()


class Browser:
    """One browser: a client with its own cookies that follows no redirects."""

    def __init__(self, client: httpx2.Client, world: World) -> None:
        self.client = client
        self.world = world

    def get(self, url: str, headers: Any = PAGE, **options: Any) -> httpx2.Response:
        return self.client.get(url, headers=headers, follow_redirects=False, **options)

    def post(
        self, url: str, headers: Any = SAME_ORIGIN, **options: Any
    ) -> httpx2.Response:
        return self.client.post(url, headers=headers, follow_redirects=False, **options)

    def begin(self, query: str = "") -> str:
        """Open the login path; return the address at TikTok."""
        response = self.get(LOGIN + query)
        assert response.status_code == 303, response.text
        return response.headers["location"]

    def consent(self, authorize: str, **choice: Any) -> str:
        """Consent at TikTok; return the callback's path and query."""
        callback = urlsplit(self.world.tiktok.consent(authorize, **choice))
        assert f"{callback.scheme}://{callback.netloc}" == ORIGIN
        return f"{callback.path}?{callback.query}"

    def log_in(self, query: str = "", **choice: Any) -> httpx2.Response:
        """Log in at TikTok; return the callback's answer."""
        return self.get(self.consent(self.begin(query), **choice))

    def log_out(self, query: str = "") -> httpx2.Response:
        return self.post(LOGOUT + query)

    def me(self) -> dict[str, Any]:
        """Return the app's view of this browser."""
        response = self.get("/who", headers=API)
        assert response.status_code == 200, response.text
        return response.json()

    @property
    def signed_in(self) -> bool:
        return self.me()["signed_in"]

    def cookies(self) -> dict[str, str]:
        return {c.name: c.value or "" for c in self.client.cookies.jar}


@dataclass
class World:
    """An app with a stand-in and a store; `browser` opens a new browser."""

    #: WSGI, or ASGI on the event loop of this name: "wsgi", "asyncio" or "trio".
    interface: str
    settings: TikTokSettings
    tiktok: FakeTikTok
    store: Any
    clock: Clock
    events: list[Any]
    stack: ExitStack
    app: Any = field(default=None)
    #: Further options of the middleware.
    further: dict[str, Any] = field(default_factory=dict)

    @property
    def middleware(self) -> Any:
        """The middleware; under WSGI it is inside of the app, which is Flask's."""
        return self.app.wsgi_app if self.interface == "wsgi" else self.app

    def start(self) -> World:
        """Build the middleware and the app again, as a restart does."""
        options: dict[str, Any] = {
            "store": self.store,
            "on_event": self.events.append,
            "transport": self.tiktok.transport,
            "clock": self.clock,
            **self.further,
        }
        if self.interface == "wsgi":
            # Building one takes longer than a login.
            flask = copy.copy(_built_flask_app())
            flask.wsgi_app = TikTokOAuthWSGIMiddleware(
                flask.wsgi_app, self.settings, **options
            )
            self.app = flask
        else:
            self.app = TikTokOAuthMiddleware(starlette_app(), self.settings, **options)
        return self

    def browser(self, **cookies: str) -> Browser:
        if self.interface == "wsgi":
            transport = httpx2.WSGITransport(app=self.app.wsgi_app)
            client = httpx2.Client(transport=transport, base_url=ORIGIN)
            self.stack.enter_context(client)
        else:
            from .support.asgi_client import AppClient

            client = self.stack.enter_context(
                AppClient(self.app, base_url=ORIGIN, backend=self.interface)
            )
        client.cookies.update(cookies)
        return Browser(client, self)

    def with_settings(self, **changes: Any) -> World:
        self.settings = replace(self.settings, **changes)
        return self.start()

    def reported(self, name: str) -> list[Any]:
        """Return the events of this name."""
        return [event for event in self.events if event.name == name]

    def count(self, grant_type: str) -> int:
        return self.tiktok.count("token", grant_type=grant_type)


def who(auth: Any) -> dict[str, Any]:
    """Return everything that an app can see of the session."""
    token, user = auth.token, auth.user
    return {
        "signed_in": auth.is_authenticated,
        "open_id": auth.open_id,
        "scopes": sorted(auth.scopes),
        "token": token.access_token if token else None,
        "expires_at": token.expires_at if token else None,
        "name": user.display_name if user else None,
        "followers": user.follower_count if user else None,
        "logout_url": auth.logout_url,
    }


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route

    from tiktok_oauth_middleware.starlette import requires_tiktok, tiktok_auth

    async def home(request: Any) -> Any:
        return PlainTextResponse("home")

    async def show(request: Any) -> Any:
        return JSONResponse(who(tiktok_auth(request)))

    @requires_tiktok
    async def private(request: Any) -> Any:
        return JSONResponse(who(tiktok_auth(request)))

    @requires_tiktok("video.list")
    async def videos(request: Any) -> Any:
        return PlainTextResponse("videos")

    @requires_tiktok("video.upload", "user.info.stats")
    async def upload(request: Any) -> Any:
        return PlainTextResponse("upload")

    return Starlette(
        routes=[
            Route("/", home),
            Route("/who", show),
            Route("/private/{rest:path}", private),
            Route("/private", private, methods=["GET", "POST"]),
            Route("/videos", videos),
            Route("/upload", upload),
            Route("/ruled/{rest:path}", home, methods=["GET", "POST"]),
        ]
    )


def flask_app() -> Any:
    from flask import Flask, jsonify

    from tiktok_oauth_middleware.flask import requires_tiktok, tiktok_auth

    app = Flask(__name__)

    @app.get("/")
    def home() -> Any:
        return "home"

    @app.route("/ruled/<path:rest>", methods=["GET", "POST"])
    def ruled(rest: str) -> Any:
        return "home"

    @app.get("/who")
    def show() -> Any:
        return jsonify(who(tiktok_auth))

    @app.route("/private", methods=["GET", "POST"])
    @app.get("/private/<path:rest>", endpoint="deep")
    @requires_tiktok
    def private(rest: str = "") -> Any:
        return jsonify(who(tiktok_auth))

    @app.get("/videos")
    @requires_tiktok("video.list")
    def videos() -> Any:
        return "videos"

    @app.get("/upload")
    @requires_tiktok("video.upload", "user.info.stats")
    def upload() -> Any:
        return "upload"

    return app


@cache
def _built_flask_app() -> Any:
    return flask_app()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[str]:
    """Return the URL of a server that runs for the whole session."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer()
    server.start()
    yield server.url
    server.kill()


class RedisOfManyLoops(RedisStore):
    """A store that closes an event loop's connections with the loop.

    The middleware does not close a store that it was given, and in these tests every
    browser has its own event loop. A loop that ends closes the async generators that
    were started in it, which this class uses.
    """

    def __init__(self, url: str, *, timeout: float = 15) -> None:
        # Longer than usual: a hundred connections at once take long on a busy machine.
        super().__init__(url, timeout=timeout)
        self._ends: dict[Any, Any] = {}

    async def aget(self, key: str) -> bytes | None:
        await self._tie()
        return await super().aget(key)

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        await self._tie()
        return await super().acompare_and_set(key, old, new, ttl)

    async def _tie(self) -> None:
        loop = asyncio.get_running_loop()
        if loop not in self._ends:
            self._ends[loop] = self._until_the_end()
            await anext(self._ends[loop])

    async def _until_the_end(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.aclose()


@pytest.fixture
def empty_redis(shared_redis: str) -> str:
    """Return the URL of an empty database."""
    import redis

    with redis.Redis.from_url(shared_redis) as client:
        client.flushdb()
    return shared_redis


#: Tests that wait for expiry in the store, for which Redis uses its own clock.
STORES_OWN_EXPIRY = (
    "test_tokens.py::TestNotSignedIn::test_idle",
    "test_tokens.py::TestNotSignedIn::test_not_kept_for_ever",
)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Deselect tests that need a clock that Redis lacks, and redundant combinations."""
    out = {i for i in items if "redis" in i.name and _waits_for_the_store(i.nodeid)}
    if os.environ.get("COMBINATIONS") != "all":
        out |= {*left_out(item for item in items if item not in out)}
    if out:
        config.hook.pytest_deselected(items=[*out])
        items[:] = [item for item in items if item not in out]


def _waits_for_the_store(nodeid: str) -> bool:
    return nodeid.partition("[")[0].endswith(STORES_OWN_EXPIRY)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Any, clock: Clock) -> Iterator[Any]:
    """Return a store; Redis computes expiry by its own clock.

    Tests set `clock`, which decides whether a record is valid. A test of expiry in the store
    itself names the stores that it needs.
    """
    made: Any
    if request.param == "memory":
        made = MemoryStore(clock=clock)
    elif request.param == "sqlite":
        made = SQLiteStore(tmp_path / "tokens.sqlite3", clock=clock)
    else:
        made = RedisOfManyLoops(request.getfixturevalue("empty_redis"))
    yield made
    made.close()


class MeddledTikTok(FakeTikTok):
    """A stand-in whose answers to refreshes tests can change and hold back.

    They are changed after the refresh took place: the old refresh token has ended.
    """

    #: A function that changes an answer's fields in place.
    change: Callable[[dict[str, Any]], object] | None = None
    #: A function that is called when an answer is ready, before it is sent.
    answered: Callable[[], object] | None = None

    def handle(self, method: str, url: str, headers: Any, body: bytes) -> Any:
        reply = super().handle(method, url, headers, body)
        if b"grant_type=refresh_token" not in body:
            return reply
        if self.change is not None:
            answer = json.loads(reply.body)
            self.change(answer)
            reply = replace(reply, body=json.dumps(answer).encode())
        if self.answered is not None:
            self.answered()
        return reply


class Gate:
    """Blocks each caller until it is opened; `arrived` is set when the first
    arrives.
    """

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> None:
        self.arrived.set()
        assert self.opened.wait(20), "nobody opened the gate"

    def wait(self) -> None:
        assert self.arrived.wait(20), "nobody came to the gate"

    def open(self) -> None:
        self.opened.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a gate that is opened when the test ends."""
    made = Gate()
    yield made
    made.open()


def another_service(world: World) -> SessionService:
    """Return the service of another process of this app, with the same store."""
    return SessionService(
        world.settings,
        ThreadBackend(),
        store=world.store,
        on_event=None,
        transport=None,
        clock=world.clock,
    )


def another_core(world: World) -> Core:
    """Return the core of another process of this app, with the same store."""
    return Core(another_service(world))


def kept(world: World, open_id: str | None = None) -> Any:
    """Return a user's record, or None."""
    open_id = world.tiktok.people[0].open_id if open_id is None else open_id
    service = another_service(world)
    versioned = run(service.records.load(record_id(world.settings.client_key, open_id)))
    return versioned and versioned.record


@pytest.fixture(params=["asyncio", "trio", "wsgi"])
def interface(request: pytest.FixtureRequest) -> str:
    """Return how the server calls the app, see `World.interface`."""
    return request.param


@pytest.fixture
def tiktok(settings: TikTokSettings, clock: Clock) -> FakeTikTok:
    return MeddledTikTok.for_settings(settings, clock=clock)


@pytest.fixture
def world(
    interface: str,
    store: Any,
    settings: TikTokSettings,
    tiktok: FakeTikTok,
    clock: Clock,
) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(interface, settings, tiktok, store, clock, [], stack).start()


@pytest.fixture
def browser(world: World) -> Browser:
    return world.browser()


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    browser.log_in()
    return browser


@pytest.fixture
def visitors() -> Iterator[Any]:
    """Return what opens visitors: clients that send requests byte for byte."""
    from .support.raw_requests import Visitors

    with Visitors() as opened:
        yield opened


@pytest.fixture
def raw(world: World, visitors: Any) -> Any:
    """Return a visitor of the world, without a browser."""
    return visitors.visit(world)


@pytest.fixture(scope="module")
def provided() -> Iterator[tuple[Any, Any]]:
    """Return the SDK's exporter and a faulty processor; a process has one provider."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
        InMemorySpanExporter,
    )

    from .support.spans import Faulty

    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    exporter, faulty = InMemorySpanExporter(), Faulty()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(faulty)
    yield exporter, faulty
    # The provider stays, and would collect the spans of all later tests.
    exporter.shutdown()
    exporter.clear()


@pytest.fixture
def exporter(provided: tuple[Any, Any]) -> Iterator[Any]:
    """Return an exporter without spans, which collects those of this test."""
    made, faulty = provided
    made.clear()
    yield made
    faulty.raises = ""


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: Headless Chromium, which takes half as long for a page.
HEADLESS = shutil.which("chromium-headless-shell") or CHROMIUM
#: Milliseconds for which Playwright waits.
PATIENCE = 1000 * HANGS


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return Debian's Chromium, driven by Playwright."""
    if HEADLESS is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import expect, sync_playwright

    # Five seconds and half a minute, as usual, would fail tests on a busy machine.
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=HEADLESS,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        browser.on("context", lambda context: context.set_default_timeout(PATIENCE))
        yield browser
        browser.close()


def query_of(url: str) -> dict[str, str]:
    """Return a URL's query; each key must appear once."""
    query = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values()), url
    return {name: values[0] for name, values in query.items()}

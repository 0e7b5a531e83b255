"""Caches that an app keeps inside the middleware: the recipes of docs/integrations/caches.md."""

from __future__ import annotations

import itertools
import json

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._web.request_auth import auth_in
from tiktok_oauth_middleware.caching import (
    PrivateResponses,
    depends_on_session,
    session_key,
)
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import API, ORIGIN, make_settings
from ..support.recipes import blocks, in_environment, run


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def environment(fake, monkeypatch):
    with in_environment(fake, monkeypatch):
        yield


def visitors(client, fake):
    """Return clients of two users and an anonymous one, by open_id."""
    found = {}
    for person in fake.people[:2]:
        found[person.open_id] = client()
        assert login_as(found[person.open_id], fake, person).status_code == 303
    return {**found, None: client()}


def visit(everybody, path, clear):
    """Request a path as each user, in every order; each must get their own, private
    page.
    """
    for order in itertools.permutations(everybody):
        clear()
        for open_id in (*order, *order):
            response = everybody[open_id].get(path)
            assert response.json() == {"open_id": open_id}, order
            assert "private" in response.headers["cache-control"]
            assert "cookie" in response.headers["vary"].lower()


# --- middlewares that read headers --------------------------------------------------


class HeaderCache:
    """A shared cache of RFC 9111 for ASGI, with the path as the key."""

    def __init__(self, app, kept):
        self.app, self.kept = app, kept

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] in self.kept:
            for message in self.kept[scope["path"]]:
                await send(message)
            return
        messages = []

        async def keeping(message):
            messages.append(message)
            await send(message)

        await self.app(scope, receive, keeping)
        head = {k.decode().lower(): v.decode() for k, v in messages[0]["headers"]}
        control = head.get("cache-control", "")
        if "private" not in control and "no-store" not in control:
            self.kept[scope["path"]] = messages


ran = []


async def mine(request):
    return JSONResponse({"open_id": auth_in(request).open_id})


async def stream(request):
    async def chunks():
        yield json.dumps({"open_id": auth_in(request).open_id})

    return StreamingResponse(chunks(), media_type="application/json")


async def public(request):
    ran.append(request.url.path)
    return PlainTextResponse("for everybody", headers={"cache-control": "max-age=60"})


async def socket(websocket):
    await websocket.accept()
    await websocket.send_text(f"{auth_in(websocket).open_id}")
    await websocket.close()


ROUTES = [
    Route("/mine", mine),
    Route("/stream", stream),
    Route("/public", public),
    WebSocketRoute("/ws", socket),
]


class TestPrivateResponses:
    @pytest.fixture(params=["plain", "starlette-caches"])
    def site(self, request, environment):
        ran.clear()
        build = run("integrations/caches.md", "asgi")["build"]
        if request.param == "plain":
            kept = {}
            app = build(ROUTES, HeaderCache, kept=kept)
            clear = kept.clear
        else:
            # It requires Starlette 0.x, so it is not a dependency of the tests;
            # installed without its dependencies it works with 1.x.
            pytest.importorskip(
                "starlette_caches", reason="starlette_caches is not installed"
            )
            from aiocache import Cache
            from starlette_caches.middleware import CacheMiddleware

            cache = Cache(Cache.MEMORY)
            app = build(ROUTES, CacheMiddleware, cache=cache)
            clear = cache._cache.clear
        return lambda: TestClient(app, base_url=ORIGIN), clear

    @pytest.mark.parametrize("path", ["/mine", "/stream"])
    def test_no_user_gets_anothers_page(self, site, fake, path):
        """Each visitor sees their own page, in whatever order they ask."""
        client, clear = site
        visit(visitors(client, fake), path, clear)

    def test_pages_for_everybody_are_cached(self, site, fake):
        """A page that does not read the session is rendered once, with unchanged
        headers.
        """
        client, _ = site
        for visitor in visitors(client, fake).values():
            response = visitor.get("/public")
            assert response.text == "for everybody"
            assert "private" not in response.headers["cache-control"]
        assert ran == ["/public"]

    def test_without_the_middleware(self):
        """Without the TikTok middleware the recipe changes nothing."""
        app = Starlette(routes=[Route("/public", public)])
        app.add_middleware(PrivateResponses)
        response = TestClient(app).get("/public")
        assert response.headers["cache-control"] == "max-age=60"

    def test_websocket(self, site, fake):
        """The recipe passes WebSockets on."""
        client = site[0]()
        url = ORIGIN.replace("https", "wss") + "/ws"
        with client.websocket_connect(url, headers={"origin": ORIGIN}) as opened:
            assert opened.receive_text() == "None"


# --- caches that call functions -------------------------------------------------------


class TestFastAPICache:
    @pytest.fixture
    def site(self, environment):
        pytest.importorskip("fastapi_cache", reason="fastapi-cache2 is not installed")
        from fastapi_cache import FastAPICache
        from fastapi_cache.backends.inmemory import InMemoryBackend

        FastAPICache.reset()
        backend = InMemoryBackend()
        FastAPICache.init(backend)
        left = run("integrations/caches.md", "fastapi")
        yield lambda: TestClient(left["app"], base_url=ORIGIN), backend._store.clear
        FastAPICache.reset()

    def test_no_user_gets_anothers_page(self, site, fake):
        """Each visitor sees their own page, in whatever order they ask."""
        client, clear = site
        everybody = visitors(client, fake)
        visit(everybody, "/mine", clear)
        hit = everybody[None].get("/mine")
        assert hit.headers["x-fastapi-cache"] == "HIT"

    def test_pages_for_everybody_are_cached(self, site, fake):
        """A page that does not read the session is served from the cache to all
        users.
        """
        client, _ = site
        marks = []
        for visitor in visitors(client, fake).values():
            response = visitor.get("/numbers")
            assert response.json() == [1, 2, 3]
            assert "private" not in response.headers["cache-control"]
            marks.append(response.headers["x-fastapi-cache"])
        assert marks == ["MISS", "HIT", "HIT"]


class TestFlaskCaching:
    @pytest.fixture
    def site(self, environment):
        pytest.importorskip("flask_caching", reason="Flask-Caching is not installed")
        left = run("integrations/caches.md", "flask")
        app = left["app"]

        def client():
            transport = httpx2.WSGITransport(app)
            return httpx2.Client(transport=transport, base_url=ORIGIN)

        yield client, left
        app.wsgi_app.close()

    def clear(self, left):
        with left["app"].app_context():
            left["cache"].clear()

    def test_no_user_gets_anothers_page(self, site, fake):
        """Each visitor sees their own page, in whatever order they ask."""
        client, left = site
        everybody = visitors(client, fake)
        visit(everybody, "/page", lambda: self.clear(left))
        del everybody[None]
        visit(everybody, "/mine", lambda: self.clear(left))

    def test_guard_stands_before_the_cache(self, site, fake):
        """A cached page of a user is not shown to an anonymous visitor."""
        client, _ = site
        everybody = visitors(client, fake)
        for open_id in everybody:
            response = everybody[open_id].get("/mine", headers=API)
            assert response.status_code == (200 if open_id else 401)

    def test_pages_for_everybody_are_cached(self, site, fake):
        """A page that does not read the session is stored, and stays public."""
        client, left = site
        response = client().get("/numbers")
        assert response.json() == [1, 2, 3]
        assert "private" not in response.headers.get("cache-control", "")
        assert len(left["cache"].cache._cache) == 1


# --- by hand ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_wsgi", [False, True])
class TestKeys:
    @pytest.fixture
    def keys(self, is_wsgi):
        """Return a function that logs in and returns the key that the app gets."""
        settings = make_settings(always_ask_consent=True)
        fake = FakeTikTok.for_settings(settings)
        seen = []

        def look(connection):
            before = depends_on_session(connection)
            key = session_key(connection)
            seen.append((before, key, depends_on_session(connection)))

        def wsgi(environ, start_response):
            look(environ)
            start_response("200 OK", [])
            return [b""]

        async def asgi(scope, receive, send):
            look(scope)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        options = {"store": MemoryStore(), "transport": fake.transport}
        if is_wsgi:
            wrapped = TikTokOAuthWSGIMiddleware(wsgi, settings, **options)
        else:
            wrapped = TikTokOAuthMiddleware(asgi, settings, **options)

        def ask(person=None, scopes=None):
            if is_wsgi:
                transport = httpx2.WSGITransport(wrapped)
                client = httpx2.Client(transport=transport, base_url=ORIGIN)
            else:
                client = TestClient(wrapped, base_url=ORIGIN)
            if person is not None:
                login_as(client, fake, fake.people[person], scopes=scopes)
            assert "private" in client.get("/").headers["cache-control"]
            before, key, after = seen[-1]
            assert (before, after) == (False, True)
            return key

        ask.fake = fake
        return ask

    def test_no_two_users_share_one(self, keys):
        """Keys differ by user and granted scopes, and show neither."""
        basic, more = ["user.info.basic"], ["user.info.basic", "video.list"]
        found = [keys(), keys(0, basic), keys(0, more), keys(1, basic), keys(1, more)]
        assert len(set(found)) == len(found)
        assert found[0] == keys() == "anonymous"
        assert found[4] == keys(1, more)
        for person in keys.fake.people:
            assert person.open_id not in "".join(found)

    def test_without_the_middleware(self, is_wsgi):
        """Without the middleware, computing a key is an error that says so."""
        with pytest.raises(ConfigurationError, match="no TikTok middleware"):
            session_key({})
        assert not depends_on_session({})


def test_keys_recipe():
    """The recipe for an app's own dictionary keeps an entry for each user."""
    settings = make_settings()
    fake = FakeTikTok.for_settings(settings)
    greeting = run("integrations/caches.md", "keys")["greeting"]

    async def hello(request):
        return PlainTextResponse(greeting(request, auth_in(request)))

    app = TikTokOAuthMiddleware(
        Starlette(routes=[Route("/", hello)]),
        settings,
        store=MemoryStore(),
        transport=fake.transport,
    )
    everybody = visitors(lambda: TestClient(app, base_url=ORIGIN), fake)
    names = {person.open_id: person.display_name for person in fake.people}
    for open_id in (*everybody, *everybody):
        name = names.get(open_id, "stranger")
        assert everybody[open_id].get("/").text == f"Hello {name}"


def test_all_blocks_are_run():
    """The tests above run every code block of the page."""
    assert set(blocks("integrations/caches.md")) == {"asgi", "fastapi", "flask", "keys"}

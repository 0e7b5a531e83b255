"""Mangum, which starts and ends the app around each request (docs/integrations/serverless.md)."""

from __future__ import annotations

import asyncio
import json
import re
import secrets

import pytest

pytest.importorskip("mangum", reason="mangum is not installed")

from mangum import Mangum
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tiktok_oauth_middleware import MemoryStore, SQLiteStore, TikTokOAuthMiddleware
from tiktok_oauth_middleware._oauth import http_library
from tiktok_oauth_middleware.starlette import tiktok_auth
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CALLBACK, LOGIN, ORIGIN, make_settings
from ..support.recipes import blocks, in_environment, run


@pytest.fixture(autouse=True)
def loop():
    """Give Mangum the one event loop that an instance has."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    made.run_until_complete(made.shutdown_default_executor())
    made.close()
    asyncio.set_event_loop(None)


class Visitor:
    """A browser behind an API gateway: it keeps cookies and follows nothing."""

    def __init__(self, handler):
        self.handler, self.cookies = handler, {}

    def get(self, url):
        path, _, query = url.removeprefix(ORIGIN).partition("?")
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            "cookies": [f"{name}={value}" for name, value in self.cookies.items()],
            "headers": {"host": "app.example.com", "accept": "text/html"},
            "requestContext": {
                "http": {"method": "GET", "path": path, "sourceIp": "192.0.2.1"},
                "stage": "$default",
            },
            "isBase64Encoded": False,
        }
        answer = self.handler(event, {})
        for line in answer.get("cookies", []):
            name, value = line.partition(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer

    def log_in(self, fake):
        authorize = self.get(LOGIN)["headers"]["location"]
        return self.get(fake.consent(authorize))


async def who(request):
    return PlainTextResponse(tiktok_auth(request).open_id or "nobody")


@pytest.mark.parametrize("lifespan", ["auto", "on", "off"])
def test_tls_settings_are_made_once(monkeypatch, lifespan):
    """However often the app starts, the certificates of the system are read once."""
    made = []
    original = http_library.httpx.create_ssl_context

    def counting(*args, **options):
        made.append(True)
        return original(*args, **options)

    monkeypatch.setattr(http_library.httpx, "create_ssl_context", counting)
    fake = FakeTikTok()
    with StandIn(fake) as stand_in:
        settings = make_settings(
            **stand_in_options(stand_in), scopes=["user.info.basic"]
        )
        wrapped = TikTokOAuthMiddleware(
            Starlette(routes=[Route("/who", who)]), settings, store=MemoryStore()
        )
        visitor = Visitor(Mangum(wrapped, lifespan=lifespan))
        assert visitor.get("/who")["body"] == "nobody"
        for _ in range(3):
            assert visitor.log_in(fake)["statusCode"] == 303
            assert visitor.get("/who")["body"] == fake.people[0].open_id
    assert made == [True]


def stand_in_options(stand_in):
    """Return the settings that the stand-in has for an app, as options."""
    from tiktok_oauth_middleware import TikTokSettings

    environ = {
        **stand_in.environment(ORIGIN + CALLBACK),
        "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
    }
    made = TikTokSettings.from_env(environ)
    return {
        "client_key": made.client_key,
        "client_secret": made.client_secret,
        "redirect_uri": made.redirect_uri,
        "endpoints": made.endpoints,
    }


def test_another_middleware_has_its_own():
    """Two middlewares share no TLS settings, and so no trust."""
    one, other = (
        TikTokOAuthMiddleware(who, make_settings(), store=MemoryStore())
        for _ in range(2)
    )
    assert one._core.service._tls is not other._core.service._tls


def test_recipe(monkeypatch):
    """The handler on the page signs a user in and keeps the session."""
    fake = FakeTikTok()
    with in_environment(fake, monkeypatch):
        visitor = Visitor(run("integrations/serverless.md", "lambda")["handler"])
        assert visitor.get("/who")["body"] == "anonymous"
        assert visitor.log_in(fake)["statusCode"] == 303
        assert visitor.get("/who")["body"] == fake.people[0].open_id
        json.dumps(visitor.get("/who"))


def test_what_a_reloader_ignores(tmp_path):
    """The pattern on the page matches each file that the default store leaves."""
    store = SQLiteStore(tmp_path / "tiktok-oauth.sqlite3")
    store.compare_and_set("key", None, b"value", 60)
    pattern = re.search(r"'(.*)'", blocks("operations/deploying.md")["granian"])[1]
    names = {path.name for path in tmp_path.iterdir()}
    store.close()
    assert "tiktok-oauth.sqlite3-wal" in names
    assert all(re.search(pattern, name) for name in names)
    assert not re.search(pattern, "app.py")

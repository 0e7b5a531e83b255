"""Connecting accounts in Starlette and FastAPI, inside the app's session middleware."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware, TikTokTokens
from tiktok_oauth_middleware.starlette import tiktok_auth
from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import ORIGIN, SAME_ORIGIN, make_settings

CONNECT = "/auth/tiktok/connect"


def current_user(scope):
    return scope["session"].get("user_id")


async def enter(request: Request):
    """Sign in to the app itself, or sign out."""
    user_id = request.query_params.get("user_id")
    request.session.update({"user_id": user_id})
    return PlainTextResponse(tiktok_auth(request).connect_url(next="/done"))


@pytest.fixture(params=[Starlette, FastAPI])
def site(request, clock):
    """Return a browser of an app, the stand-in, and the tokens of its users."""
    settings = make_settings(connect_path=CONNECT)
    fake = FakeTikTok.for_settings(settings, clock=clock)
    given = {"store": MemoryStore(clock=clock), "clock": clock}
    given["transport"] = fake.transport
    app = request.param()
    app.add_route("/enter", enter)
    app.add_middleware(
        TikTokOAuthMiddleware, settings=settings, current_user=current_user, **given
    )
    # Added later, so that it wraps the others.
    app.add_middleware(SessionMiddleware, secret_key="of this test", https_only=True)
    tokens = TikTokTokens(settings, **given)
    with TestClient(app, base_url=ORIGIN, follow_redirects=False) as client:
        yield client, fake, tokens
    tokens.close()


def test_session_of_the_app(site):
    """An app's user connects an account, but not if another user signs in meanwhile."""
    client, fake, tokens = site
    assert client.post(CONNECT, headers=SAME_ORIGIN).status_code == 401
    url = client.get("/enter?user_id=7").text
    there = client.post(url, headers=SAME_ORIGIN).headers["location"]
    back = client.get(fake.consent(there))
    assert (back.status_code, back.headers["location"]) == (303, "/done")
    assert [a.open_id for a in tokens.accounts("7")] == [fake.people[0].open_id]
    there = client.post(url, headers=SAME_ORIGIN).headers["location"]
    client.get("/enter?user_id=8")
    assert client.get(fake.consent(there)).status_code == 403
    assert tokens.accounts("8") == []

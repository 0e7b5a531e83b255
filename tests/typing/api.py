"""Never run: the public API as a user writes it, for mypy and pyright to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, assert_type

import httpx2
import pytest
from fastapi import FastAPI, Security
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.testclient import TestClient
from werkzeug.test import TestResponse

import tiktok_oauth_middleware
import tiktok_oauth_middleware.django
from tiktok_oauth_middleware import (
    Action,
    ConnectedAccount,
    Event,
    Login,
    LoginRefused,
    MemoryStore,
    NotSignedIn,
    Problem,
    RedisStore,
    SessionInfo,
    SQLiteStore,
    StoredUser,
    TikTokAuth,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
    TikTokTokens,
    Token,
    User,
)
from tiktok_oauth_middleware.caching import depends_on_session, session_key
from tiktok_oauth_middleware.fastapi import (
    MaybeSignedIn,
    SignedIn,
    SignedInAuth,
    tiktok_auth,
    tiktok_responses,
)
from tiktok_oauth_middleware.flask import requires_tiktok as flask_requires
from tiktok_oauth_middleware.flask import signed_in_auth as flask_signed_in
from tiktok_oauth_middleware.flask import tiktok_auth as flask_auth
from tiktok_oauth_middleware.starlette import requires_tiktok, signed_in_auth
from tiktok_oauth_middleware.starlette import tiktok_auth as starlette_auth
from tiktok_oauth_middleware.testing import (
    FakeTikTok,
    Person,
    TikTokLogin,
    alogin_as,
    login_as,
)
from tiktok_oauth_middleware.testing.django import wrap_client

settings = TikTokSettings(
    client_key="key",
    client_secret="secret",
    redirect_uri="https://app.example.com/auth/tiktok/callback",
    secret_keys=["newest", "older"],
    scopes=["user.info.basic", "video.list"],
    protect=("/app",),
    session_idle=3600,
    endpoints=TikTokEndpoints(token="https://open.tiktokapis.com/v2/oauth/token/"),
)
assert_type(TikTokSettings.from_env(), TikTokSettings)


def on_event(event: Event) -> None:
    names: list[str] = [event.name]
    if event.name == "login_rejected":
        assert_type(event.name, Literal["login_rejected"])
    assert_type(names, list[str])
    assert_type(event.error, str)
    assert_type(event.status, int)
    assert_type(event.open_id, str | None)


async def on_event_async(event: Event) -> None:
    on_event(event)


def on_login(login: Login) -> str | None:
    assert_type(login.open_id, str)
    assert_type(login.scopes, frozenset[str])
    assert_type(login.user, User)
    assert_type(login.next, str)
    assert_type(login.carried, Mapping[str, str])
    assert_type(login.is_new, bool)
    if "invite" not in login.carried:
        refused = LoginRefused("Only with an invitation.", revoke=login.is_new)
        assert_type((refused.text, refused.revoke), tuple[str, bool])
        raise refused
    return "/welcome" if login.is_new else None


def current_user(environ: Mapping[str, Any]) -> str | None:
    auth: TikTokAuth = environ["tiktok.auth"]
    assert_type(auth.connect_url(next="/x", scopes=["video.list"]), str)
    return auth.open_id


async def current_user_async(scope: Mapping[str, Any]) -> str | None:
    return current_user(scope)


async def on_login_async(login: Login) -> None:
    on_login(login)


def page(problem: Problem) -> str | None:
    assert_type(problem.code, str)
    assert_type(problem.status, int)
    assert_type(problem.texts, tuple[str, ...])
    assert_type(problem.actions, tuple[Action, ...])
    assert_type([action.method == "POST" for action in problem.actions], list[bool])
    return None if problem.code == "store_error" else problem.title


texts = {"de": {"login_denied": ["Nicht angemeldet", "..."], "back": "Zur Startseite"}}
starlette = Starlette()
asgi = TikTokOAuthMiddleware(starlette, settings, on_event=on_event_async)
starlette.add_middleware(TikTokOAuthMiddleware, settings=settings)
flask = Flask(__name__)
asgi = TikTokOAuthMiddleware(starlette, settings, page=page, texts=texts)
wsgi = TikTokOAuthWSGIMiddleware(
    flask.wsgi_app, settings, store=SQLiteStore("tokens.sqlite3"), on_event=on_event
)
asgi = TikTokOAuthMiddleware(
    starlette, settings, on_login=on_login_async, current_user=current_user_async
)
wsgi = TikTokOAuthWSGIMiddleware(
    flask.wsgi_app, settings, on_login=on_login, current_user=current_user
)
starlette.add_middleware(TikTokOAuthMiddleware, settings=settings, on_login=on_login)
stores = [MemoryStore(), RedisStore("redis://localhost")]
tokens = TikTokTokens(settings, MemoryStore())


@requires_tiktok
async def profile(request: Request) -> Response:
    auth = starlette_auth(request)
    assert_type(auth, TikTokAuth)
    assert_type(auth.is_authenticated, bool)
    assert_type(auth.open_id, str | None)
    assert_type(auth.scopes, frozenset[str])
    assert_type(auth.token, Token | None)
    assert_type(auth.user, User | None)
    assert_type(auth.missing_scopes("video.list"), frozenset[str])
    assert_type(auth.logged_in_at, int | None)
    assert_type(auth.logged_in_within(300), bool)
    assert_type(auth.session_id, str | None)
    assert_type(auth.login_url(next="/x", scopes=["video.list"]), str)
    assert_type(auth.login_url(carry={"invite": "abc"}, choose_account=True), str)
    html: str = auth.login_button(next="/x", look="outline", carry={"invite": "abc"})
    assert html
    assert_type(auth.logout_url, str)
    if auth.token is not None:
        assert_type(auth.token.access_token, str)
        assert_type(auth.token.expires_at, float)
    if auth.user is not None:
        assert_type(auth.user.display_name, str | None)
    return JSONResponse({})


@requires_tiktok("video.list", "video.upload")
async def videos(request: Request) -> Response:
    return JSONResponse({})


view: Callable[[Request], Any] = videos


@requires_tiktok("video.list", max_age=300)
async def danger(request: Request) -> Response:
    auth = signed_in_auth(request)
    assert_type(auth.logged_in_at, int)
    assert_type(auth.session_id, str)
    found = await tokens.asessions(auth.open_id)
    assert_type(found, list[SessionInfo])
    assert_type(found[0].session_id, str)
    assert_type(found[0].created_at, int)
    assert_type(await tokens.aend_session(auth.open_id, auth.session_id), bool)
    assert_type(await tokens.aend_other_sessions(auth.open_id, auth.session_id), int)
    return JSONResponse({})


async def bare(request: Request) -> Response:
    return JSONResponse({})


recent: Callable[[Request], Any] = requires_tiktok(danger, max_age=300)
unguarded: Callable[[Request], Any] = requires_tiktok(bare, max_age=300)

fastapi = FastAPI()


@fastapi.get("/me", responses=tiktok_responses)
async def me(tiktok: SignedIn) -> dict[str, str]:
    assert_type(tiktok.open_id, str)
    assert_type(tiktok.user, User)
    assert_type(tiktok.token, Token | None)
    return {"open_id": tiktok.open_id}


@fastapi.get("/maybe")
async def maybe(tiktok: MaybeSignedIn) -> str | None:
    assert_type(tiktok.open_id, str | None)
    return tiktok.open_id


WithVideos = Annotated[SignedInAuth, Security(tiktok_auth, scopes=["video.list"])]


@fastapi.get("/narrow")
async def narrow(tiktok: WithVideos) -> str:
    return tiktok.open_id


@requires_tiktok
async def starlette_narrow(request: Request) -> Response:
    assert_type(signed_in_auth(request), SignedInAuth)
    assert_type(signed_in_auth(request).open_id, str)
    assert_type(depends_on_session(request), bool)
    assert_type(session_key(request), str)
    return JSONResponse({"open_id": signed_in_auth(request).open_id})


@fastapi.get("/videos")
async def fastapi_videos(
    tiktok: Annotated[TikTokAuth, Security(tiktok_auth, scopes=["video.list"])],
) -> list[str]:
    return sorted(tiktok.scopes)


@flask.get("/videos")
@flask_requires("video.list")
def flask_videos() -> str:
    assert_type(flask_auth.open_id, str | None)
    assert_type(flask_signed_in.open_id, str)
    assert_type(flask_signed_in.user, User)
    return "videos"


async def job() -> None:
    tokens = TikTokTokens(settings, MemoryStore())
    try:
        assert_type(tokens.get("open_id"), Token)
        assert_type(await tokens.aget("open_id"), Token)
        assert_type(tokens.renew("open_id", rejected="act.x"), Token)
        assert_type(tokens.profile("open_id"), User)
        assert_type(await tokens.aprofile("open_id"), User)
        assert_type(tokens.ending(within=30 * 86400), list[StoredUser])
        for user in tokens.iter_users(after="open_id"):
            assert_type(user, StoredUser)
        async for user in tokens.aiter_users():
            assert_type(user, StoredUser)
        tokens.refresh_expiring(3600, progress=print)
        assert_type(tokens.accounts("user"), list[ConnectedAccount])
        [account] = await tokens.aaccounts("user")
        assert_type(account.user, User)
        assert_type(account.scopes, frozenset[str])
        assert_type((account.connected_at, account.expires_at), tuple[int, int | None])
    except NotSignedIn:
        pass


def my_wrap(app: Any) -> TikTokOAuthWSGIMiddleware:
    fake = FakeTikTok.for_settings(settings)
    return TikTokOAuthWSGIMiddleware(
        app, settings, transport=fake.transport, clock=fake.clock
    )


@pytest.fixture
def fake_tiktok() -> FakeTikTok:
    return FakeTikTok.for_settings(settings)


def test_mine(fake_tiktok: FakeTikTok, tiktok_login: TikTokLogin) -> None:
    me: Person = fake_tiktok.people[0]
    client = TestClient(asgi)
    assert_type(login_as(client, fake_tiktok), httpx2.Response)
    assert_type(login_as(flask.test_client(), fake_tiktok, me), TestResponse)
    assert_type(
        tiktok_login(client, me, scopes=["video.list"], next="/x"), httpx2.Response
    )
    fake_tiktok.fail("token", status=500, times=2)
    fake_tiktok.slow_down("token")
    fake_tiktok.deny_next_login()
    fake_tiktok.expire_next_login()
    fake_tiktok.rotate_away(me)
    assert_type(fake_tiktok.disconnect(me), tuple[dict[str, str], bytes])
    fake_tiktok.advance(3600)
    assert_type(fake_tiktok.clock(), float)


async def test_mine_async(fake_tiktok: FakeTikTok) -> None:
    client = httpx2.AsyncClient()
    assert_type(await alogin_as(client, fake_tiktok), httpx2.Response)


def test_mine_django() -> None:
    from django.test import Client

    assert_type(wrap_client(Client(), my_wrap), Client)


def misspelt() -> None:
    """A name that does not exist: mypy reports an ignored error that is none."""
    print(tiktok_oauth_middleware.TikTokEvent)  # type: ignore[attr-defined]
    print(tiktok_oauth_middleware.django.TikTokBackends)  # type: ignore[attr-defined]

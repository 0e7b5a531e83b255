"""A small Starlette app whose users log in with TikTok.

The middleware wraps the app; views find the user in ``request.scope["tiktok"]``, and
`requires_tiktok` says what a view needs. Settings come from the environment.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from tiktok_oauth_middleware import (
    TikTokAuth,
    TikTokOAuthMiddleware,
    TikTokSettings,
    TikTokTokens,
)
from tiktok_oauth_middleware.starlette import (
    requires_tiktok,
    signed_in_auth,
    tiktok_auth,
)

settings = replace(TikTokSettings.from_env(), connect_path="/auth/tiktok/connect")
#: The middleware's store, for use outside of a request.
tokens = TikTokTokens(settings)
#: At TikTok, or at its stand-in, depending on the settings.
VIDEO_LIST = settings.endpoints.user_info.replace("/user/info/", "/video/list/")

templates = Jinja2Templates(
    directory=Path(__file__).parent.parent / "templates",
    context_processors=[lambda request: {"auth": tiktok_auth(request)}],
)
templates.env.filters["moment"] = lambda seconds: datetime.fromtimestamp(
    seconds, UTC
).strftime("%d %b %Y, %H:%M")


async def home(request: Request) -> Response:
    """The public home page; it shows the signed-in user, if there is one."""
    return templates.TemplateResponse(request, "home.html")


@requires_tiktok
async def profile(request: Request) -> Response:
    """A page for signed-in users; others are redirected to the login and return."""
    return templates.TemplateResponse(request, "profile.html")


@requires_tiktok("video.list")
async def videos(request: Request) -> Response:
    """A page that needs a further scope, which opening it requests."""
    token = tiktok_auth(request).token
    found = await list_videos(token.access_token) if token else None
    return templates.TemplateResponse(request, "videos.html", {"videos": found})


async def list_videos(access_token: str) -> list[dict[str, Any]] | None:
    """Return a user's newest videos; None if TikTok returns an error."""
    try:
        async with httpx2.AsyncClient(timeout=10) as http:
            response = await http.post(
                VIDEO_LIST,
                params={"fields": "title,share_url,cover_image_url,view_count"},
                headers={"authorization": f"Bearer {access_token}"},
                json={"max_count": 12},
            )
        answer = response.json()
        # TikTok's body always has an error object, whose code is "ok" after a success.
        if answer["error"]["code"] != "ok":
            return None
        videos: list[dict[str, Any]] = answer["data"]["videos"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None
    return videos


@requires_tiktok
async def sessions(request: Request) -> Response:
    """List the browsers in which the user is signed in."""
    found = await tokens.asessions(signed_in_auth(request).open_id)
    return templates.TemplateResponse(request, "sessions.html", {"sessions": found})


@requires_tiktok(max_age=600)
async def end_session(request: Request) -> Response:
    """Log the request's user out in one browser; ids of other users have no effect."""
    if not is_from_this_site(request):
        return PlainTextResponse("This works from a page of this site only.", 403)
    auth = signed_in_auth(request)
    await tokens.aend_session(auth.open_id, request.path_params["session_id"])
    return RedirectResponse("/sessions", 303)


@requires_tiktok(max_age=600)
async def end_other_sessions(request: Request) -> Response:
    """Log the user out in all other browsers."""
    if not is_from_this_site(request):
        return PlainTextResponse("This works from a page of this site only.", 403)
    auth = signed_in_auth(request)
    await tokens.aend_other_sessions(auth.open_id, auth.session_id)
    return RedirectResponse("/sessions", 303)


@requires_tiktok
async def accounts(request: Request) -> Response:
    """List the TikTok accounts that the user has connected, besides their own."""
    found = await tokens.aaccounts(signed_in_auth(request).open_id)
    return templates.TemplateResponse(request, "accounts.html", {"accounts": found})


@requires_tiktok
async def disconnect(request: Request) -> Response:
    """Disconnect an account, if it is the user's."""
    if not is_from_this_site(request):
        return PlainTextResponse("This works from a page of this site only.", 403)
    open_id = request.path_params["open_id"]
    found = await tokens.aaccounts(signed_in_auth(request).open_id)
    if open_id in [account.open_id for account in found]:
        await tokens.adisconnect(open_id)
    return RedirectResponse("/accounts", 303)


def current_user(scope: MutableMapping[str, Any]) -> str | None:
    """Return the user for a connected account: here the logged-in TikTok user.

    An app with its own users returns the id of one of those.
    """
    auth: TikTokAuth = scope["tiktok"]
    return auth.open_id


def is_from_this_site(request: Request) -> bool:
    """Return whether a form is of this site, by the headers of browsers' POSTs."""
    return request.headers.get("origin") == settings.origin


@requires_tiktok
async def me(request: Request) -> Response:
    """Answer a program: 401 in JSON if it is not signed in."""
    auth = tiktok_auth(request)
    return JSONResponse(
        {
            "open_id": auth.open_id,
            "display_name": auth.user.display_name if auth.user else None,
            "scopes": sorted(auth.scopes),
            "token_expires_at": auth.token.expires_at if auth.token else None,
        }
    )


app = TikTokOAuthMiddleware(
    Starlette(
        routes=[
            Route("/", home),
            Route("/profile", profile),
            Route("/videos", videos),
            Route("/sessions", sessions),
            Route("/sessions/end-others", end_other_sessions, methods=["POST"]),
            Route("/sessions/{session_id}/end", end_session, methods=["POST"]),
            Route("/accounts", accounts),
            Route("/accounts/{open_id}/disconnect", disconnect, methods=["POST"]),
            Route("/api/me", me),
        ]
    ),
    settings,
    current_user=current_user,
)

"""A small Starlette app whose users log in with TikTok.

The middleware wraps the app; views see who is signed in as ``request.scope["tiktok"]``,
and `requires_tiktok` says what a view needs. Settings come from the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokSettings
from tiktok_oauth_middleware.starlette import requires_tiktok, tiktok_auth

settings = TikTokSettings.from_env()
#: At TikTok, or at the stand-in for it that the settings lead to.
VIDEO_LIST = settings.endpoints.user_info.replace("/user/info/", "/video/list/")

templates = Jinja2Templates(
    directory=Path(__file__).parent.parent / "templates",
    context_processors=[lambda request: {"auth": tiktok_auth(request)}],
)


async def home(request: Request) -> Response:
    """For everybody; says who is signed in, if somebody is."""
    return templates.TemplateResponse(request, "home.html")


@requires_tiktok
async def profile(request: Request) -> Response:
    """For who is signed in; anybody else is sent to log in and comes back."""
    return templates.TemplateResponse(request, "profile.html")


@requires_tiktok("video.list")
async def videos(request: Request) -> Response:
    """Needs a scope that the login does not ask for: TikTok is asked when opened."""
    token = tiktok_auth(request).token
    found = await list_videos(token.access_token) if token else None
    return templates.TemplateResponse(request, "videos.html", {"videos": found})


async def list_videos(access_token: str) -> list[dict[str, Any]] | None:
    """Return somebody's newest videos; None where TikTok does not say."""
    try:
        async with httpx2.AsyncClient(timeout=10) as http:
            response = await http.post(
                VIDEO_LIST,
                params={"fields": "title,share_url,cover_image_url,view_count"},
                headers={"authorization": f"Bearer {access_token}"},
                json={"max_count": 12},
            )
        answer = response.json()
        # TikTok says in the body whether it went well, and "ok" is an error too.
        if answer["error"]["code"] != "ok":
            return None
        videos: list[dict[str, Any]] = answer["data"]["videos"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None
    return videos


@requires_tiktok
async def me(request: Request) -> Response:
    """Answer a program: 401 in JSON if nobody is signed in."""
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
            Route("/api/me", me),
        ]
    ),
    settings,
)

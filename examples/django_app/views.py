"""The pages' views; ``request.tiktok`` says who is signed in with TikTok."""

from __future__ import annotations

from typing import Any

import httpx2
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from tiktok_oauth_middleware import TikTokError, raise_for_tiktok
from tiktok_oauth_middleware.django import installation, requires_tiktok


def home(request: HttpRequest) -> HttpResponse:
    """The public home page; it shows the signed-in user, if there is one."""
    return render(request, "home.html")


@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """A page for Django users: LOGIN_URL leads to TikTok and back."""
    return render(request, "profile.html")


@requires_tiktok("video.list")
def videos(request: Any) -> HttpResponse:
    """A page that needs a further scope, which opening it requests."""
    token = request.tiktok.token
    found = list_videos(token.access_token) if token else None
    return render(request, "videos.html", {"videos": found})


def list_videos(access_token: str) -> list[dict[str, Any]] | None:
    """Return a user's newest videos; None if TikTok returns an error."""
    endpoint = installation().settings.endpoints.user_info
    try:
        answer = httpx2.post(
            endpoint.replace("/user/info/", "/video/list/"),
            params={"fields": "title,share_url,cover_image_url,view_count"},
            headers={"authorization": f"Bearer {access_token}"},
            json={"max_count": 12},
            timeout=10,
        )
        raise_for_tiktok(answer)
        found: list[dict[str, Any]] = answer.json()["data"]["videos"]
    except (TikTokError, httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None
    return found


@requires_tiktok
def me(request: Any) -> HttpResponse:
    """Answer a program: 401 in JSON if it is not signed in."""
    auth = request.tiktok
    return JsonResponse(
        {
            "open_id": auth.open_id,
            "display_name": auth.user.display_name,
            "scopes": sorted(auth.scopes),
            "user": request.user.get_username(),
        }
    )

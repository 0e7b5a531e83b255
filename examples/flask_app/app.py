"""A small Flask app whose users log in with TikTok.

The middleware wraps the app's WSGI side; views see who is signed in as ``tiktok_auth``,
and `requires_tiktok` says what a view needs. Settings come from the environment.
"""

from __future__ import annotations

from typing import Any

import httpx2
from flask import Flask, jsonify, render_template
from flask.typing import ResponseReturnValue

from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings
from tiktok_oauth_middleware.flask import requires_tiktok, tiktok_auth

settings = TikTokSettings.from_env()
#: At TikTok, or at the stand-in for it that the settings lead to.
VIDEO_LIST = settings.endpoints.user_info.replace("/user/info/", "/video/list/")

app = Flask(__name__, template_folder="../templates")
app.wsgi_app = TikTokOAuthWSGIMiddleware(  # type: ignore[method-assign]
    app.wsgi_app, settings
)


@app.context_processor
def who_is_signed_in() -> dict[str, object]:
    """Give every template the word `auth`."""
    return {"auth": tiktok_auth}


@app.get("/")
def home() -> ResponseReturnValue:
    """For everybody; says who is signed in, if somebody is."""
    return render_template("home.html")


@app.get("/profile")
@requires_tiktok
def profile() -> ResponseReturnValue:
    """For who is signed in; anybody else is sent to log in and comes back."""
    return render_template("profile.html")


@app.get("/videos")
@requires_tiktok("video.list")
def videos() -> ResponseReturnValue:
    """Needs a scope that the login does not ask for: TikTok is asked when opened."""
    token = tiktok_auth.token
    found = list_videos(token.access_token) if token else None
    return render_template("videos.html", videos=found)


def list_videos(access_token: str) -> list[dict[str, Any]] | None:
    """Return somebody's newest videos; None where TikTok does not say."""
    try:
        answer = httpx2.post(
            VIDEO_LIST,
            params={"fields": "title,share_url,cover_image_url,view_count"},
            headers={"authorization": f"Bearer {access_token}"},
            json={"max_count": 12},
            timeout=10,
        ).json()
        # TikTok says in the body whether it went well, and "ok" is an error too.
        if answer["error"]["code"] != "ok":
            return None
        videos: list[dict[str, Any]] = answer["data"]["videos"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None
    return videos


@app.get("/api/me")
@requires_tiktok
def me() -> ResponseReturnValue:
    """Answer a program: 401 in JSON if nobody is signed in."""
    user, token = tiktok_auth.user, tiktok_auth.token
    return jsonify(
        open_id=tiktok_auth.open_id,
        display_name=user.display_name if user else None,
        scopes=sorted(tiktok_auth.scopes),
        token_expires_at=token.expires_at if token else None,
    )

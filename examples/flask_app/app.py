"""A small Flask app whose users log in with TikTok.

The middleware wraps the app's WSGI side; views see who is signed in as ``tiktok_auth``,
and `requires_tiktok` says what a view needs. Settings come from the environment.
"""

from __future__ import annotations

from flask import Flask, jsonify, render_template
from flask.typing import ResponseReturnValue

from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings
from tiktok_oauth_middleware.flask import requires_tiktok, tiktok_auth

app = Flask(__name__)
app.wsgi_app = TikTokOAuthWSGIMiddleware(  # type: ignore[method-assign]
    app.wsgi_app, TikTokSettings.from_env()
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
    return render_template("videos.html")


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

"""A small Flask app whose users log in with TikTok.

The middleware wraps the app's WSGI side; views find the user in ``tiktok_auth``, and
`requires_tiktok` says what a view needs. Settings come from the environment.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
from flask import Flask, abort, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue

from tiktok_oauth_middleware import (
    Login,
    LoginRefused,
    TikTokAuth,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
    TikTokTokens,
)
from tiktok_oauth_middleware.flask import requires_tiktok, signed_in_auth, tiktok_auth

settings = replace(TikTokSettings.from_env(), connect_path="/auth/tiktok/connect")
#: The middleware's store, for use outside of a request.
tokens = TikTokTokens(settings)
#: At TikTok, or at its stand-in, depending on the settings.
VIDEO_LIST = settings.endpoints.user_info.replace("/user/info/", "/video/list/")

#: Invitation codes; a real app keeps them in its database.
INVITATIONS = {"moon"}
#: Anyone can write an address, and a login carries 512 bytes at most.
LONGEST_CODE = 64


def on_login(login: Login) -> str | None:
    """Accept or refuse a login that TikTok has confirmed, before anything is stored."""
    if "invite" not in login.carried:
        return None  # accepted
    if login.carried["invite"] not in INVITATIONS:
        # A new user does not stay connected at TikTok either.
        text = "This invitation is not valid any more. Ask for another one."
        raise LoginRefused(text, revoke=login.is_new)
    return "/welcome"


def current_user(environ: dict[str, Any]) -> str | None:
    """Return the user for a connected account: here the logged-in TikTok user.

    An app with its own users returns the id of one of those.
    """
    auth: TikTokAuth = environ["tiktok.auth"]
    return auth.open_id


app = Flask(__name__, template_folder="../templates")
app.wsgi_app = TikTokOAuthWSGIMiddleware(  # type: ignore[method-assign]
    app.wsgi_app, settings, on_login=on_login, current_user=current_user
)


@app.context_processor
def who_is_signed_in() -> dict[str, object]:
    """Give every template the variable `auth`."""
    return {"auth": tiktok_auth}


@app.template_filter()
def moment(seconds: int) -> str:
    """Format seconds since 1970 as a date and a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M")


@app.get("/")
def home() -> ResponseReturnValue:
    """The public home page; it shows the signed-in user, if there is one."""
    return render_template("home.html")


@app.get("/invitation/<code>")
def invitation(code: str) -> ResponseReturnValue:
    """A public page whose login link carries the code, sealed."""
    if len(code) > LONGEST_CODE:
        abort(404)
    return render_template("invitation.html", code=code)


@app.get("/welcome")
@requires_tiktok
def welcome() -> ResponseReturnValue:
    """The page to which a login with an invitation leads."""
    return render_template("welcome.html")


@app.get("/profile")
@requires_tiktok
def profile() -> ResponseReturnValue:
    """A page for signed-in users; others are redirected to the login and return."""
    return render_template("profile.html")


@app.get("/videos")
@requires_tiktok("video.list")
def videos() -> ResponseReturnValue:
    """A page that needs a further scope, which opening it requests."""
    token = tiktok_auth.token
    found = list_videos(token.access_token) if token else None
    return render_template("videos.html", videos=found)


def list_videos(access_token: str) -> list[dict[str, Any]] | None:
    """Return a user's newest videos; None if TikTok returns an error."""
    try:
        answer = httpx2.post(
            VIDEO_LIST,
            params={"fields": "title,share_url,cover_image_url,view_count"},
            headers={"authorization": f"Bearer {access_token}"},
            json={"max_count": 12},
            timeout=10,
        ).json()
        # TikTok's body always has an error object, whose code is "ok" after a success.
        if answer["error"]["code"] != "ok":
            return None
        videos: list[dict[str, Any]] = answer["data"]["videos"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None
    return videos


@app.get("/sessions")
@requires_tiktok
def sessions() -> ResponseReturnValue:
    """List the browsers in which the user is signed in."""
    found = tokens.sessions(signed_in_auth.open_id)
    return render_template("sessions.html", sessions=found)


@app.post("/sessions/<session_id>/end")
@requires_tiktok(max_age=600)
def end_session(session_id: str) -> ResponseReturnValue:
    """Log the request's user out in one browser; ids of other users have no effect."""
    check_origin()
    tokens.end_session(signed_in_auth.open_id, session_id)
    return redirect("/sessions", 303)


@app.post("/sessions/end-others")
@requires_tiktok(max_age=600)
def end_other_sessions() -> ResponseReturnValue:
    """Log the user out in all other browsers."""
    check_origin()
    tokens.end_other_sessions(signed_in_auth.open_id, signed_in_auth.session_id)
    return redirect("/sessions", 303)


@app.get("/accounts")
@requires_tiktok
def accounts() -> ResponseReturnValue:
    """List the TikTok accounts that the user has connected, besides their own."""
    found = tokens.accounts(signed_in_auth.open_id)
    return render_template("accounts.html", accounts=found)


@app.post("/accounts/<open_id>/disconnect")
@requires_tiktok
def disconnect(open_id: str) -> ResponseReturnValue:
    """Disconnect an account, if it is the user's."""
    check_origin()
    found = tokens.accounts(signed_in_auth.open_id)
    if open_id in [account.open_id for account in found]:
        tokens.disconnect(open_id)
    return redirect("/accounts", 303)


def check_origin() -> None:
    """Refuse a form of another site, by the headers that browsers send with a POST."""
    if request.headers.get("Origin") != settings.origin:
        abort(403)


@app.get("/api/me")
@requires_tiktok
def me() -> ResponseReturnValue:
    """Answer a program: 401 in JSON if it is not signed in."""
    user, token = tiktok_auth.user, tiktok_auth.token
    return jsonify(
        open_id=tiktok_auth.open_id,
        display_name=user.display_name if user else None,
        scopes=sorted(tiktok_auth.scopes),
        token_expires_at=token.expires_at if token else None,
    )

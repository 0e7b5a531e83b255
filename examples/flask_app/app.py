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
#: The store of the middleware below, seen from outside of a request.
tokens = TikTokTokens(settings)
#: At TikTok, or at the stand-in for it that the settings lead to.
VIDEO_LIST = settings.endpoints.user_info.replace("/user/info/", "/video/list/")

#: Codes that invite people; an app keeps them in its database.
INVITATIONS = {"moon"}


def on_login(login: Login) -> str | None:
    """Decide about a login that TikTok has confirmed, before anything is stored."""
    if "invite" not in login.carried:
        return None  # goes on
    if login.carried["invite"] not in INVITATIONS:
        # Who is new here does not stay connected at TikTok either.
        text = "This invitation is not valid any more. Ask for another one."
        raise LoginRefused(text, revoke=login.is_new)
    return "/welcome"


def current_user(environ: dict[str, Any]) -> str | None:
    """Return the user to whom an account is connected: here the logged-in TikTok user.

    An app with users of its own returns the id of one of those.
    """
    auth: TikTokAuth = environ["tiktok.auth"]
    return auth.open_id


app = Flask(__name__, template_folder="../templates")
app.wsgi_app = TikTokOAuthWSGIMiddleware(  # type: ignore[method-assign]
    app.wsgi_app, settings, on_login=on_login, current_user=current_user
)


@app.context_processor
def who_is_signed_in() -> dict[str, object]:
    """Give every template the word `auth`."""
    return {"auth": tiktok_auth}


@app.template_filter()
def moment(seconds: int) -> str:
    """Write seconds since 1970 as a date and a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M")


@app.get("/")
def home() -> ResponseReturnValue:
    """Open to everybody; shows the signed-in user, if there is one."""
    return render_template("home.html")


@app.get("/invitation/<code>")
def invitation(code: str) -> ResponseReturnValue:
    """Open to everybody; the login's link carries the code, sealed."""
    return render_template("invitation.html", code=code)


@app.get("/welcome")
@requires_tiktok
def welcome() -> ResponseReturnValue:
    """The page to which a login with an invitation leads."""
    return render_template("welcome.html")


@app.get("/profile")
@requires_tiktok
def profile() -> ResponseReturnValue:
    """For signed-in users; others are sent to log in and come back."""
    return render_template("profile.html")


@app.get("/videos")
@requires_tiktok("video.list")
def videos() -> ResponseReturnValue:
    """Needs a scope that the login does not request; opening the page requests it."""
    token = tiktok_auth.token
    found = list_videos(token.access_token) if token else None
    return render_template("videos.html", videos=found)


def list_videos(access_token: str) -> list[dict[str, Any]] | None:
    """Return a user's newest videos; None if TikTok gives none."""
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


@app.get("/sessions")
@requires_tiktok
def sessions() -> ResponseReturnValue:
    """List the browsers in which the user is signed in."""
    found = tokens.sessions(signed_in_auth.open_id)
    return render_template("sessions.html", sessions=found)


@app.post("/sessions/<session_id>/end")
@requires_tiktok(max_age=600)
def end_session(session_id: str) -> ResponseReturnValue:
    """Log the user out in one browser; the id may be any, the user is the request's."""
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
    """Refuse a form that no page of this site sent: browsers say so of every POST."""
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

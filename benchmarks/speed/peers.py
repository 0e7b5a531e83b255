"""Other packages that do the same work, as an app would use them.

Each reads the user's access token and scopes, or runs a login, a callback or a refresh
by hand with the clients of Authlib and httpx-oauth.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from authlib.integrations.starlette_client import OAuth
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse

from .world import BODY, FOREIGN, KEY, REFRESH_TOKEN, SCOPES, TOKEN, head, seen

AUTHORIZE = "https://www.tiktok.com/v2/auth/authorize/"


def token_of(open_id: str) -> dict[str, Any]:
    """Return a token as Authlib keeps it in a session."""
    return {
        "access_token": TOKEN + open_id,
        "refresh_token": REFRESH_TOKEN,
        "open_id": open_id,
        "expires_at": int(time.time()) + 86400,
        "scopes": list(SCOPES),
    }


# --- Starlette's session ------------------------------------------------------------


async def reading_session(scope: Any, receive: Any, send: Any) -> None:
    """Read the access token and the scopes, and answer."""
    session = scope["session"]
    seen[0], seen[1] = session.get("access_token"), session.get("scopes")
    await send(head())
    await send(BODY)


async def reading_user(scope: Any, receive: Any, send: Any) -> None:
    """Read the access token, the scopes and the user, and answer."""
    seen[0] = scope["session"].get("access_token")
    seen[1] = scope["auth"].scopes if scope["user"].is_authenticated else None
    await send(head())
    await send(BODY)


class _FromSession(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        open_id = conn.session.get("open_id")
        if open_id is None:
            return None
        return AuthCredentials(conn.session["scopes"]), SimpleUser(open_id)


def session_app() -> SessionMiddleware:
    """Return an app behind Starlette's SessionMiddleware."""
    return SessionMiddleware(reading_session, KEY, https_only=True)


def session_and_user_app() -> SessionMiddleware:
    """Return the same with AuthenticationMiddleware inside."""
    inner = AuthenticationMiddleware(reading_user, backend=_FromSession())
    return SessionMiddleware(inner, KEY, https_only=True)


def session_value(app: SessionMiddleware, data: dict[str, Any]) -> str:
    """Return the value of a session cookie of Starlette's."""
    return app.signer.sign(base64.b64encode(json.dumps(data).encode())).decode()


def session_cookies(app: SessionMiddleware, open_id: str) -> str:
    """Return the Cookie header of a signed-in user, with foreign cookies in it."""
    return f"{FOREIGN}; session={session_value(app, token_of(open_id))}"


# --- logins by hand on Authlib ------------------------------------------------------


class AuthlibLogin:
    """An app that logs in with Authlib's client for Starlette, as in its manual."""

    def __init__(
        self, token_url: str, user_info_url: str = "", **client_options: Any
    ) -> None:
        """Take the endpoints; without `user_info_url` no profile is loaded."""
        self._user_info_url = user_info_url
        self._oauth = OAuth()
        self._oauth.register(
            "tiktok",
            client_id="awexampleclientkey",
            client_secret="the-client-secret-of-benchmarks",
            authorize_url=AUTHORIZE,
            access_token_url=token_url,
            client_kwargs={
                "scope": ",".join(SCOPES),
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "client_secret_post",
                **client_options,
            },
        )
        self.app = SessionMiddleware(self._serve, KEY, https_only=True)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        client = self._oauth.tiktok
        if scope["path"].endswith("/login"):
            back = "https://app.example.com/auth/tiktok/callback"
            response = await client.authorize_redirect(request, back)
        else:
            token = await client.authorize_access_token(request)
            request.session["access_token"] = token["access_token"]
            request.session["refresh_token"] = token["refresh_token"]
            request.session["open_id"] = token["open_id"]
            request.session["expires_at"] = token["expires_at"]
            request.session["scopes"] = token["scope"].split(",")
            if self._user_info_url:
                url = f"{self._user_info_url}?fields=open_id,display_name"
                profile = await client.get(url, token=token)
                user = profile.json()["data"]["user"]
                request.session["name"] = user["display_name"]
            response = RedirectResponse("/", 303)
        await response(scope, receive, send)

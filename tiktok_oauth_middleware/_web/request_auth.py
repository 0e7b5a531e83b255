"""Finds the `TikTokAuth` of a request: in its scope, its environ, or the context."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal, cast, overload

from tiktok_oauth_middleware.auth import SignedInAuth, TikTokAuth
from tiktok_oauth_middleware.errors import ConfigurationError, NotSignedIn

#: The current request's object, set under ASGI if a WSGI app may be inside: asgiref's
#: WsgiToAsgi and Starlette's WSGIMiddleware do not pass the scope on.
asgi_auth: ContextVar[TikTokAuth | None] = ContextVar("tiktok_auth", default=None)


@overload
def auth_in(connection: Any, *, required: Literal[True]) -> TikTokAuth: ...
@overload
def auth_in(connection: Any) -> TikTokAuth | None: ...
def auth_in(connection: Any, *, required: bool = False) -> TikTokAuth | None:
    """Return the `TikTokAuth` that the middleware put into a request.

    If a WSGI app runs in an ASGI middleware, below an adapter such as a2wsgi, the
    object is in the scope, which the adapter puts into the environ.

    Args:
        connection: a request object, its ``scope`` or ``environ``, or a `TikTokAuth`.
        required: whether to raise if there is none.

    Raises:
        ConfigurationError: it is required and there is no middleware around the app.
    """
    if isinstance(connection, TikTokAuth):
        return connection
    container = connection
    if not isinstance(container, Mapping):
        own = getattr(connection, "tiktok", None)  # Django's, by its own middleware
        if isinstance(own, TikTokAuth):
            return own
        container = getattr(
            connection, "scope", None
        )  # Starlette's; Django's under ASGI
        if not isinstance(container, Mapping):
            container = getattr(
                connection, "environ", None
            )  # Flask's; Django's under WSGI
    auth: Any = None
    if isinstance(container, Mapping):
        auth = container.get("tiktok") or container.get("tiktok.auth")
        if auth is None and "asgi.scope" in container:
            auth = container["asgi.scope"].get("tiktok")
    if auth is None:
        auth = asgi_auth.get()
    if isinstance(auth, TikTokAuth):
        return auth
    if not required:
        return None
    message = (
        "there is no TikTok middleware around this app: wrap it in"
        " TikTokOAuthMiddleware (ASGI) or TikTokOAuthWSGIMiddleware (WSGI), or in"
        " Django add TikTokMiddleware to MIDDLEWARE. A middleware that needs the user"
        " is inside it: with add_middleware, add the TikTok middleware last"
    )
    raise ConfigurationError(message)


def signed_in_auth_in(connection: Any) -> SignedInAuth:
    """Return the `TikTokAuth` of a request that is authenticated.

    Raises:
        ConfigurationError: there is no middleware around the app.
        NotSignedIn: the request is anonymous, and no guard has refused it.
    """
    auth = auth_in(connection, required=True)
    if auth.is_authenticated:
        return cast("SignedInAuth", auth)
    message = (
        "the request is anonymous, and no guard refused it: put requires_tiktok before"
    )
    raise NotSignedIn(message)

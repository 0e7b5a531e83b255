"""`requires_tiktok` for Starlette: functions, endpoint classes and WebSockets.

The guard ends the view with Starlette's own 401 or 403; the middleware around the app
replaces that response with a redirect to log in, or with JSON that says what is
missing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar, overload

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from ._web.guard import (
    CLOSE_CODES,
    NOT_A_DEPENDENCY,
    Challenge,
    Requirements,
    decorate,
    guard,
)
from ._web.misuse import not_for_fastapi
from ._web.request_auth import auth_in, signed_in_auth_in
from .auth import SignedInAuth, TikTokAuth
from .settings.arguments import is_async

__all__ = ["SignedInAuth", "requires_tiktok", "signed_in_auth", "tiktok_auth"]

V = TypeVar("V", bound=Callable[..., Any])


def tiktok_auth(connection: HTTPConnection) -> TikTokAuth:
    """Return the request's `TikTokAuth`: ``request.scope["tiktok"]``, typed.

    Takes a request, a WebSocket or another HTTPConnection. It cannot be a dependency in
    FastAPI: use those of `tiktok_oauth_middleware.fastapi`.

    Raises:
        ConfigurationError: there is no middleware around the app.
    """
    return auth_in(connection, required=True)


def signed_in_auth(connection: HTTPConnection) -> SignedInAuth:
    """Return the `TikTokAuth` of a guarded request: ``open_id`` and ``user`` are set.

    Raises:
        ConfigurationError: there is no middleware around the app.
        NotSignedIn: the request is anonymous, so no guard protects the caller.
    """
    return signed_in_auth_in(connection)


# As dependencies these would check no scopes, even inside FastAPI's Security.
for _reader in (tiktok_auth, signed_in_auth):
    _reader.__annotations__["connection"] = not_for_fastapi(
        f"{_reader.__name__} of tiktok_oauth_middleware.starlette reads a request, and"
        " checks no scopes: as a dependency use SignedIn, MaybeSignedIn or tiktok_auth"
        " of tiktok_oauth_middleware.fastapi"
    )


@overload
def requires_tiktok(view: V, /, *, max_age: float | None = None) -> V: ...
@overload
def requires_tiktok(*scopes: str, max_age: float | None = None) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any, max_age: float | None = None) -> Any:
    """Let a view be called only for users who are signed in and granted the scopes.

    Works on ``def`` and ``async def`` views, on methods and classes of endpoints, and
    on WebSocket views; with scopes or without, and without parentheses too.

    Args:
        given: a view, or scopes that the user must have granted.
        max_age: the most seconds since the login; a user who logged in longer ago is
            sent to TikTok's page once more. Fewer than 10 count as 10.

    Raises:
        ConfigurationError: at a request, if there is no middleware around the app; when
            the app starts, if the guard is above a route's decorator.
        TypeError: the argument is not a view, or `max_age` is not a number.
        ValueError: a scope is not the name of one, or `max_age` is negative or not
            finite.
    """
    return decorate(given, max_age, _with_guard)


requires_tiktok.__annotations__["given"] = NOT_A_DEPENDENCY


def _with_guard(view: Any, required: Requirements) -> Any:
    if inspect.isclass(view):
        return _guarded_endpoint(view, required)
    if is_async(view):

        @functools.wraps(view)
        async def aguarded(*args: Any, **kwargs: Any) -> Any:
            connection = _connection(args, kwargs)
            challenge = guard(connection, *required)
            if challenge is None:
                return await view(*args, **kwargs)
            if isinstance(connection, WebSocket):
                # Before it is accepted: the middleware sends an HTTP response instead.
                await connection.close(CLOSE_CODES[challenge.status])
                return None
            return _refusal_response(challenge)

        return aguarded

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        challenge = guard(_connection(args, kwargs), *required)
        if challenge is not None:
            return _refusal_response(challenge)
        return view(*args, **kwargs)

    return guarded


def _guarded_endpoint(endpoint: Any, required: Requirements) -> Any:
    """Return the endpoint class with the guard before its dispatch."""
    if not callable(getattr(endpoint, "dispatch", None)):
        message = (
            f"requires_tiktok guards endpoint classes of Starlette; {endpoint.__name__}"
            " has no dispatch() to put a guard before"
        )
        raise TypeError(message)

    class Guarded(endpoint):  # type: ignore[misc]
        async def dispatch(self) -> None:
            challenge = guard(self.scope, *required)
            if challenge is None:
                await super().dispatch()
                return
            if self.scope["type"] == "websocket":
                await self.receive()
                socket = WebSocket(self.scope, self.receive, self.send)
                await socket.close(CLOSE_CODES[challenge.status])
                return
            await _refusal_response(challenge)(self.scope, self.receive, self.send)

    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(Guarded, name, getattr(endpoint, name))
    return Guarded


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    """Return the request or WebSocket among a view's arguments."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, HTTPConnection):
            return value
    message = (
        "requires_tiktok of tiktok_oauth_middleware.starlette guards a view that takes"
        " the request or the WebSocket; .fastapi and .flask have their own"
    )
    raise TypeError(message)


def _refusal_response(challenge: Challenge) -> PlainTextResponse:
    """Return Starlette's own refusal, which the middleware recognises by its status."""
    status = HTTPStatus(challenge.status)
    return PlainTextResponse(status.phrase, status)

"""`requires_tiktok` for Starlette: functions, endpoint classes and WebSockets.

The guard ends the view with Starlette's own 401 or 403; the middleware around the app
replaces that answer by a redirect to log in, or by JSON that says what is missing.
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

from .core import checked_auth, guard
from .models import CLOSE_CODES, Challenge, TikTokAuth

__all__ = ["requires_tiktok", "tiktok_auth"]

V = TypeVar("V", bound=Callable[..., Any])


def tiktok_auth(connection: HTTPConnection) -> TikTokAuth:
    """Return who is signed in: ``request.scope["tiktok"]``, typed.

    Raises:
        ConfigurationError: there is no middleware around the app.
    """
    return checked_auth(connection.scope.get("tiktok"))


@overload
def requires_tiktok(view: V, /) -> V: ...
@overload
def requires_tiktok(*scopes: str) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any) -> Any:
    """Let a view be called only for who is signed in and granted the scopes.

    Works on ``def`` and ``async def`` views, on methods and classes of endpoints, and
    on WebSocket views; with scopes or without, and without parentheses too.

    Raises:
        ConfigurationError: at a request, if there is no middleware around the app.
    """
    if len(given) == 1 and not isinstance(given[0], str):
        return _guarded(given[0], ())
    return functools.partial(_guarded, scopes=given)


def _guarded(view: Any, scopes: tuple[str, ...]) -> Any:
    if inspect.isclass(view):
        return _guarded_endpoint(view, scopes)
    called = getattr(view, "__call__", None)  # noqa: B004 - of an object that is a view
    if inspect.iscoroutinefunction(view) or inspect.iscoroutinefunction(called):

        @functools.wraps(view)
        async def aguarded(*args: Any, **kwargs: Any) -> Any:
            connection = _connection(args, kwargs)
            challenge = _challenge(connection, scopes)
            if challenge is None:
                return await view(*args, **kwargs)
            return await _refused(connection, challenge)

        return aguarded

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        challenge = _challenge(_connection(args, kwargs), scopes)
        if challenge is not None:
            return _answer(challenge)
        return view(*args, **kwargs)

    return guarded


def _guarded_endpoint(endpoint: Any, scopes: tuple[str, ...]) -> Any:
    """Return the endpoint class with the guard before its dispatch."""
    if not callable(getattr(endpoint, "dispatch", None)):
        message = (
            f"requires_tiktok guards endpoint classes of Starlette; {endpoint.__name__}"
            " has no dispatch() that a guard could stand before"
        )
        raise TypeError(message)

    class Guarded(endpoint):  # type: ignore[misc]
        async def dispatch(self) -> None:
            connection = HTTPConnection(self.scope)
            challenge = _challenge(connection, scopes)
            if challenge is None:
                await super().dispatch()
                return
            if self.scope["type"] == "websocket":
                await self.receive()
                socket = WebSocket(self.scope, self.receive, self.send)
                await socket.close(CLOSE_CODES[challenge.status])
                return
            await _answer(challenge)(self.scope, self.receive, self.send)

    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(Guarded, name, getattr(endpoint, name))
    return Guarded


def _challenge(connection: HTTPConnection, scopes: tuple[str, ...]) -> Challenge | None:
    return guard(connection.scope.get("tiktok"), scopes)


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    """Return the request or WebSocket among a view's arguments."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, HTTPConnection):
            return value
    message = "requires_tiktok guards a view that takes the request or the WebSocket"
    raise TypeError(message)


async def _refused(connection: HTTPConnection, challenge: Challenge) -> Any:
    if isinstance(connection, WebSocket):
        # Before it was accepted; the middleware turns this into an HTTP answer.
        await connection.close(CLOSE_CODES[challenge.status])
        return None
    return _answer(challenge)


def _answer(challenge: Challenge) -> PlainTextResponse:
    """Return Starlette's own refusal, which the middleware knows by its status."""
    status = HTTPStatus(challenge.status)
    return PlainTextResponse(status.phrase, status)

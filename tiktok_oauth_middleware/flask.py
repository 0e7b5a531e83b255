"""`requires_tiktok` for Flask views, plain or ``async def``.

The guard ends the view with Flask's own 401 or 403; the middleware around the app
replaces that answer by a redirect to log in, or by JSON that says what is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

from flask import abort, current_app, request
from werkzeug.local import LocalProxy

from .core import checked_auth, guard
from .models import TikTokAuth

__all__ = ["requires_tiktok", "tiktok_auth"]

V = TypeVar("V", bound=Callable[..., Any])


def _auth() -> TikTokAuth:
    return checked_auth(request.environ.get("tiktok.auth"))


#: Who is signed in: ``request.environ["tiktok.auth"]`` of the request at hand.
tiktok_auth: TikTokAuth = LocalProxy(_auth)  # type: ignore[assignment]


@overload
def requires_tiktok(view: V, /) -> V: ...
@overload
def requires_tiktok(*scopes: str) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any) -> Any:
    """Let a view be called only for who is signed in and granted the scopes.

    With scopes or without, and without parentheses too. For a class-based view, list
    it among its ``decorators``.

    Raises:
        ConfigurationError: at a request, if there is no middleware around the app.
    """
    if len(given) == 1 and not isinstance(given[0], str):
        return _guarded(given[0], ())
    return functools.partial(_guarded, scopes=given)


def _guarded(view: Callable[..., Any], scopes: tuple[str, ...]) -> Callable[..., Any]:
    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        challenge = guard(request.environ.get("tiktok.auth"), scopes)
        if challenge is not None:
            abort(challenge.status)
        return current_app.ensure_sync(view)(*args, **kwargs)

    return guarded

"""`requires_tiktok` for Flask views, plain or ``async def``.

The guard ends the view with Flask's own 401 or 403; the middleware around the app
replaces that response with a redirect to log in, or with JSON that says what is
missing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, overload

from flask import abort, current_app, request
from werkzeug.local import LocalProxy

from ._web.guard import Requirements, decorate, guard
from ._web.request_auth import auth_in, signed_in_auth_in
from .auth import SignedInAuth, TikTokAuth

__all__ = ["SignedInAuth", "requires_tiktok", "signed_in_auth", "tiktok_auth"]

V = TypeVar("V", bound=Callable[..., Any])


class _Proxy(LocalProxy[TikTokAuth]):
    """A proxy for the current request's object, like Flask's own ``request``."""

    __slots__ = ()

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Raise: unlike Starlette's ``tiktok_auth``, this is not a function."""
        message = (
            "tiktok_auth of tiktok_oauth_middleware.flask is not called: write"
            " tiktok_auth.open_id; that of tiktok_oauth_middleware.starlette is a"
            " function of the request"
        )
        raise TypeError(message)


#: The current request's `TikTokAuth`: ``request.environ["tiktok.auth"]``, or the
#: scope's object if the app is called by an ASGI middleware.
tiktok_auth: TikTokAuth = _Proxy(  # type: ignore[assignment]
    lambda: auth_in(request.environ, required=True)
)
#: The same in a guarded view, where ``open_id`` and ``user`` are set; raises
#: NotSignedIn for an anonymous request.
signed_in_auth: SignedInAuth = _Proxy(  # type: ignore[assignment]
    lambda: signed_in_auth_in(request.environ)
)


@overload
def requires_tiktok(view: V, /, *, max_age: float | None = None) -> V: ...
@overload
def requires_tiktok(*scopes: str, max_age: float | None = None) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any, max_age: float | None = None) -> Any:
    """Let a view be called only for users who are signed in and granted the scopes.

    With scopes or without, and without parentheses too. For a class-based view, list
    it among its ``decorators``.

    Args:
        given: a view, or scopes that the user must have granted.
        max_age: the most seconds since the login; a user who logged in longer ago is
            sent to TikTok's page once more. Fewer than 10 count as 10.

    Raises:
        ConfigurationError: at a request, if there is no middleware around the app, or
            if the guard is above a route's decorator.
        TypeError: the argument is not a view, or a class; or `max_age` is not a number.
        ValueError: a scope is not the name of one, or `max_age` is negative or not
            finite.
    """
    return decorate(given, max_age, _with_guard)


def _with_guard(view: Callable[..., Any], required: Requirements) -> Any:
    if inspect.isclass(view):
        message = (
            f"requires_tiktok got the class {view.__name__}: list it among the class's"
            " decorators: decorators = [requires_tiktok]"
        )
        raise TypeError(message)

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        challenge = guard(request.environ, *required)
        if challenge is not None:
            abort(challenge.status)
        return current_app.ensure_sync(view)(*args, **kwargs)

    return guarded

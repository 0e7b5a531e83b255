"""`requires_tiktok` for FastAPI: a decorator, and a dependency that OpenAPI shows.

::

    @app.get("/videos")
    async def videos(tiktok: Annotated[
        TikTokAuth, Security(tiktok_auth, scopes=["video.list"])
    ]): ...

The dependency raises FastAPI's own 401 or 403; the middleware around the app replaces
that response with a redirect to log in, or with JSON that says what is missing. OpenAPI
shows those responses if the operation has `tiktok_responses`: FastAPI takes no
responses from a dependency.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, TypeVar, overload

from fastapi import Depends, HTTPException, Security
from fastapi.openapi.models import APIKey
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, Field

from ._web.guard import NOT_A_DEPENDENCY, Requirements, decorate, guard
from ._web.misuse import check_max_age, not_for_fastapi
from ._web.request_auth import auth_in
from .auth import SignedInAuth, TikTokAuth
from .settings.arguments import is_async

__all__ = [
    "LoginRequired",
    "MaybeSignedIn",
    "ReauthenticationRequired",
    "ScopeRequired",
    "SignedIn",
    "SignedInAuth",
    "maybe_tiktok_auth",
    "recent_tiktok_auth",
    "recent_tiktok_responses",
    "requires_tiktok",
    "tiktok_auth",
    "tiktok_responses",
]

V = TypeVar("V", bound=Callable[..., Any])

if sys.version_info >= (3, 12):
    from inspect import markcoroutinefunction
else:
    from asyncio import coroutines

    def markcoroutinefunction(function: Any) -> None:
        """Mark a function as one that returns an awaitable."""
        mark = vars(coroutines)["_is_coroutine"]  # as asgiref marks them
        vars(function)["_is_coroutine"] = mark


class _TikTokScheme(SecurityBase):
    """The session cookie in OpenAPI; the middleware checks it."""

    def __init__(self) -> None:
        self.model = APIKey.model_validate(
            {
                "in": "cookie",
                "name": "__Host-tiktok",
                "description": (
                    "The session of a user who logged in with TikTok. The browser sends"
                    " it by itself: open the login path in another tab. There is"
                    " nothing to enter here."
                ),
            }
        )
        self.scheme_name = "TikTok"

    async def __call__(self) -> None:
        """Do nothing: `tiktok_auth` checks the session."""


async def _tiktok_auth(
    connection: HTTPConnection,
    required: SecurityScopes,
    _: Annotated[None, Security(_TikTokScheme())] = None,
) -> TikTokAuth:
    return _guarded_auth(connection, required, None)


def _guarded_auth(
    connection: HTTPConnection, required: SecurityScopes, max_age: float | None
) -> TikTokAuth:
    auth = auth_in(connection.scope, required=True)
    challenge = guard(auth, required.scopes, max_age)
    if challenge is not None:
        raise HTTPException(challenge.status)
    return auth


@functools.wraps(_tiktok_auth, assigned=())
def tiktok_auth(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, TikTokAuth]:
    """Return the `TikTokAuth` of a user who granted the scopes of ``Security``.

    A dependency, which FastAPI calls: ``Security(tiktok_auth, scopes=[...])``.

    Raises:
        HTTPException: 401 or 403, which the middleware replaces.
        ConfigurationError: there is no middleware around the app.
        TypeError: it was called as a function.
    """
    if "required" not in kwargs:  # FastAPI passes everything by name
        message = (
            "tiktok_auth of tiktok_oauth_middleware.fastapi is a dependency: let the"
            " operation take auth: SignedIn, or Security(tiktok_auth, scopes=[...]); to"
            " read a request there is tiktok_auth of tiktok_oauth_middleware.starlette"
        )
        raise TypeError(message)
    return _tiktok_auth(*args, **kwargs)


# FastAPI awaits functions that are marked so, and runs others in threads.
markcoroutinefunction(tiktok_auth)


def recent_tiktok_auth(
    max_age: float,
) -> Callable[..., Coroutine[Any, Any, TikTokAuth]]:
    """Return a dependency: the `TikTokAuth` of a user who logged in recently.

    ``Security(recent_tiktok_auth(300), scopes=[...])``; with scopes or without. A user
    who logged in longer ago is sent to TikTok's page once more. Each age has one
    dependency, so that tests can override it: ``recent_tiktok_auth(300)`` is a key of
    FastAPI's ``dependency_overrides``.

    Args:
        max_age: the most seconds since the login. Fewer than 10 count as 10.

    Raises:
        TypeError: `max_age` is not a number.
        ValueError: it is negative or not finite.
    """
    # None would mean no limit, and may come from a misspelt setting.
    check_max_age("None" if max_age is None else max_age)
    return _recent_tiktok_auth(max_age)


@functools.lru_cache(maxsize=256)
def _recent_tiktok_auth(
    max_age: float,
) -> Callable[..., Coroutine[Any, Any, TikTokAuth]]:
    async def recent(
        connection: HTTPConnection,
        required: SecurityScopes,
        _: Annotated[None, Security(_TikTokScheme())] = None,
    ) -> TikTokAuth:
        return _guarded_auth(connection, required, max_age)

    return recent


async def maybe_tiktok_auth(connection: HTTPConnection) -> TikTokAuth:
    """Return the `TikTokAuth` of any request; none is refused.

    Raises:
        ConfigurationError: there is no middleware around the app.
    """
    return auth_in(connection.scope, required=True)


#: The `TikTokAuth` of a signed-in user, for a handler that needs no further scope. Type
#: checkers know that ``open_id`` and ``user`` are set.
SignedIn = Annotated[SignedInAuth, Security(tiktok_auth)]

#: The `TikTokAuth` of any request: see its ``is_authenticated``.
MaybeSignedIn = Annotated[TikTokAuth, Depends(maybe_tiktok_auth)]

# With Depends() FastAPI calls these types, which checks nothing; so it refuses them.
for _annotation in (TikTokAuth, SignedIn, MaybeSignedIn):
    _annotation.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                "given",
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                annotation=not_for_fastapi(
                    "TikTokAuth, SignedInAuth, SignedIn and MaybeSignedIn are types:"
                    " let the operation take auth: SignedIn or auth: MaybeSignedIn, or"
                    " Annotated[SignedInAuth, Security(tiktok_auth, scopes=[...])]"
                ),
            )
        ]
    )


class LoginRequired(BaseModel):
    """The JSON of a 401."""

    error: Literal["login_required"]
    login_url: str = Field(
        description="Where a browser logs in; a path of this site.",
        examples=["/auth/tiktok/login"],
    )


class ReauthenticationRequired(BaseModel):
    """The JSON of a 401 for a user who is signed in by a login that is too old."""

    error: Literal["reauthentication_required"]
    max_age: float = Field(
        description="The most seconds since the login.", examples=[300]
    )
    login_url: str = Field(
        description="Where a browser logs in once more; a path of this site.",
        examples=["/auth/tiktok/login?choose_account=1"],
    )


class ScopeRequired(BaseModel):
    """The JSON of a 403."""

    error: Literal["scope_required"]
    missing: list[str] = Field(
        description="The scopes that the user has not granted.",
        examples=[["video.list"]],
    )
    login_url: str | None = Field(
        None,
        description="Where a browser requests them; absent if the app never does.",
        examples=["/auth/tiktok/login?scopes=video.list"],
    )


#: Further responses of a guarded operation, for OpenAPI: ``responses=tiktok_responses``
#: of an operation, a router or the app.
tiktok_responses: dict[int | str, dict[str, Any]] = {
    401: {
        "model": LoginRequired,
        "description": "The request is anonymous. A browser that opens this address as"
        " a page is sent to log in instead.",
    },
    403: {
        "model": ScopeRequired,
        "description": "The user has not granted a scope. A browser that opens this"
        " address as a page is sent to TikTok to grant it, once.",
    },
}

#: The same for an operation that requires a recent login.
recent_tiktok_responses: dict[int | str, dict[str, Any]] = {
    **tiktok_responses,
    401: {
        "model": LoginRequired | ReauthenticationRequired,
        "description": "The request is anonymous, or the login is too old. A browser"
        " that opens this address as a page is sent to log in instead.",
    },
}


@overload
def requires_tiktok(view: V, /, *, max_age: float | None = None) -> V: ...
@overload
def requires_tiktok(*scopes: str, max_age: float | None = None) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any, max_age: float | None = None) -> Any:
    """Let a path operation be called only for users who granted the scopes.

    The operation need not take the request; OpenAPI shows that it needs a login.

    Args:
        given: a view, or scopes that the user must have granted.
        max_age: the most seconds since the login; a user who logged in longer ago is
            sent to TikTok's page once more. Fewer than 10 count as 10.

    Raises:
        ConfigurationError: at a request, if there is no middleware around the app; when
            the app starts, if the guard is above the route's decorator.
        TypeError: the argument is not an operation, or `max_age` is not a number.
        ValueError: a scope is not the name of one, or `max_age` is negative or not
            finite.
    """
    return decorate(given, max_age, _with_guard)


_PARAMETER = "tiktok_login"


def _with_guard(view: Any, required: Requirements) -> Any:
    """Return the view with the dependency among its parameters."""
    signature = _signature(view)
    name = _PARAMETER
    while name in signature.parameters:
        name += "_"  # the view has two guards

    if is_async(view):

        @functools.wraps(view)
        async def aguarded(*args: Any, **kwargs: Any) -> Any:
            _remove_login(kwargs, name)
            return await view(*args, **kwargs)

        guarded: Any = aguarded
    else:

        @functools.wraps(view)
        def plain(*args: Any, **kwargs: Any) -> Any:
            _remove_login(kwargs, name)
            return view(*args, **kwargs)

        guarded = plain
    scopes, max_age = required
    dependency = tiktok_auth if max_age is None else recent_tiktok_auth(max_age)
    needed = Annotated[TikTokAuth, Security(dependency, scopes=list(scopes))]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    login = inspect.Parameter(name, kind, annotation=needed)
    # FastAPI calls dependencies in order: for a refused request it calls none of the
    # view's.
    parameters = [login, *signature.parameters.values()]
    guarded.__signature__ = signature.replace(parameters=parameters)
    return guarded


requires_tiktok.__annotations__["given"] = NOT_A_DEPENDENCY


def _remove_login(kwargs: dict[str, Any], name: str) -> None:
    """Remove the guard's own argument, which FastAPI has checked.

    Raises:
        TypeError: there is none, so FastAPI did not call the operation.
    """
    if name not in kwargs:
        message = (
            "requires_tiktok of tiktok_oauth_middleware.fastapi guards operations that"
            " FastAPI calls; .starlette and .flask have their own"
        )
        raise TypeError(message)
    del kwargs[name]


def _signature(view: Any) -> inspect.Signature:
    """Return a view's signature, its annotations evaluated where they can be."""
    try:
        return inspect.signature(view, eval_str=True)
    except NameError:
        # A name is imported for type checkers only, which FastAPI accepts.
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            return inspect.signature(view, annotation_format=Format.FORWARDREF)
        return inspect.signature(view)

"""`requires_tiktok` for FastAPI: a decorator, and a dependency that OpenAPI shows.

::

    @app.get("/videos")
    async def videos(tiktok: Annotated[
        TikTokAuth, Security(tiktok_auth, scopes=["video.list"])
    ]): ...

The dependency raises FastAPI's own 401 or 403; the middleware around the app replaces
that answer by a redirect to log in, or by JSON that says what is missing. OpenAPI
learns of those answers from `tiktok_responses`: FastAPI takes none from a dependency.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, overload

from fastapi import HTTPException, Security
from fastapi.openapi.models import APIKey
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, Field

from .core import guard
from .models import TikTokAuth

__all__ = [
    "LoginRequired",
    "ScopeRequired",
    "SignedIn",
    "requires_tiktok",
    "tiktok_auth",
    "tiktok_responses",
]

V = TypeVar("V", bound=Callable[..., Any])


class _TikTokScheme(SecurityBase):
    """The session cookie, as OpenAPI names it; checking it is the middleware's work."""

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
        """Demand nothing: `tiktok_auth` does."""


async def tiktok_auth(
    connection: HTTPConnection,
    required: SecurityScopes,
    _: Annotated[None, Security(_TikTokScheme())] = None,
) -> TikTokAuth:
    """Return who is signed in, with the scopes that ``Security`` asks for.

    Raises:
        HTTPException: 401 or 403, which the middleware replaces.
        ConfigurationError: there is no middleware around the app.
    """
    auth = connection.scope.get("tiktok")
    challenge = guard(auth, required.scopes)
    if challenge is not None or not isinstance(auth, TikTokAuth):
        raise HTTPException(challenge.status if challenge else 401)
    return auth


#: Who is signed in, for a handler that asks for no further scope.
SignedIn = Annotated[TikTokAuth, Security(tiktok_auth)]


class LoginRequired(BaseModel):
    """What a program is told with a 401."""

    error: Literal["login_required"]
    login_url: str = Field(
        description="Where a browser logs in; a path of this site.",
        examples=["/auth/tiktok/login"],
    )


class ScopeRequired(BaseModel):
    """What a program is told with a 403."""

    error: Literal["scope_required"]
    missing: list[str] = Field(
        description="The scopes that the user has not granted.",
        examples=[["video.list"]],
    )
    login_url: str | None = Field(
        None,
        description="Where a browser asks for them; absent if the app never asks.",
        examples=["/auth/tiktok/login?scopes=video.list"],
    )


#: What a guarded operation answers besides, for OpenAPI: ``responses=tiktok_responses``
#: of an operation, a router or the app.
tiktok_responses: dict[int | str, dict[str, Any]] = {
    401: {
        "model": LoginRequired,
        "description": "Nobody is signed in. A browser that opens this address as a"
        " page is sent to log in instead.",
    },
    403: {
        "model": ScopeRequired,
        "description": "The user has not granted a scope. A browser that opens this"
        " address as a page is sent to TikTok to grant it, once.",
    },
}


@overload
def requires_tiktok(view: V, /) -> V: ...
@overload
def requires_tiktok(*scopes: str) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any) -> Any:
    """Let a path operation be called only for who is signed in and granted the scopes.

    The operation need not take the request; OpenAPI shows that it needs a login.
    """
    if len(given) == 1 and not isinstance(given[0], str):
        return _guarded(given[0], ())
    return functools.partial(_guarded, scopes=given)


_PARAMETER = "tiktok_login"


def _guarded(view: Any, scopes: tuple[str, ...]) -> Any:
    """Return the view with the dependency among its parameters."""
    signature = _signature(view)
    name = _PARAMETER
    while name in signature.parameters:
        name += "_"  # guarded twice

    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def aguarded(*args: Any, **kwargs: Any) -> Any:
            kwargs.pop(name)
            return await view(*args, **kwargs)

        guarded: Any = aguarded
    else:

        @functools.wraps(view)
        def plain(*args: Any, **kwargs: Any) -> Any:
            kwargs.pop(name)
            return view(*args, **kwargs)

        guarded = plain
    needed = Annotated[TikTokAuth, Security(tiktok_auth, scopes=list(scopes))]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    login = inspect.Parameter(name, kind, annotation=needed)
    # FastAPI asks dependencies in order: who is refused meets none of the view's own.
    parameters = [login, *signature.parameters.values()]
    guarded.__signature__ = signature.replace(parameters=parameters)
    return guarded


def _signature(view: Any) -> inspect.Signature:
    """Return a view's signature, its annotations evaluated where they can be."""
    try:
        return inspect.signature(view, eval_str=True)
    except NameError:
        # A name is imported for type checkers only. FastAPI bears that, so we do.
        if sys.version_info >= (3, 14):
            from annotationlib import Format  # noqa: PLC0415 - new in 3.14

            return inspect.signature(view, annotation_format=Format.FORWARDREF)
        return inspect.signature(view)

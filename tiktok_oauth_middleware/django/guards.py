"""`requires_tiktok` for Django's views, and `TikTokRequiredMixin` for their classes.

A guard answers with a bare 401 or 403, which the middleware replaces by a redirect to
log in, or by JSON that says what is missing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from typing import Any, TypeVar, overload

from asgiref.sync import markcoroutinefunction
from django.http import HttpResponse

from tiktok_oauth_middleware._web.guard import guard
from tiktok_oauth_middleware._web.misuse import check_scopes, check_view

V = TypeVar("V", bound=Callable[..., Any])


@overload
def requires_tiktok(view: V, /) -> V: ...
@overload
def requires_tiktok(*scopes: str) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any) -> Any:
    """Let a view be called only for who is signed in and granted the scopes.

    With scopes or without, and without parentheses too; for plain and ``async def``
    views. For a method of a class-based view use Django's ``method_decorator``, for
    the whole class `TikTokRequiredMixin`.

    Raises:
        ConfigurationError: at a request, if there is no TikTok middleware.
        TypeError: what is to be guarded is no view.
        ValueError: a scope is not the name of one.
    """
    if len(given) == 1 and callable(given[0]):
        return _guarded(given[0], ())
    check_scopes(given)
    return functools.partial(_guarded, scopes=given)


def _guarded(view: Callable[..., Any], scopes: tuple[str, ...]) -> Callable[..., Any]:
    if inspect.isclass(view):
        message = (
            f"requires_tiktok got the class {view.__name__}: derive it from"
            " TikTokRequiredMixin, or decorate its dispatch with method_decorator"
        )
        raise TypeError(message)
    check_view(view)
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def guarded_async(request: Any, *args: Any, **kwargs: Any) -> Any:
            refusal = refused(request, scopes)
            if refusal is not None:
                return refusal
            return await view(request, *args, **kwargs)

        return guarded_async

    @functools.wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
        refusal = refused(request, scopes)
        return view(request, *args, **kwargs) if refusal is None else refusal

    # An object with an async __call__ that is marked as Django marks its own.
    return markcoroutinefunction(guarded) if _is_marked(view) else guarded


def _is_marked(view: Any) -> bool:
    if inspect.isroutine(view):
        return False
    own = getattr(view, "__call__", None)  # noqa: B004 - a mark on it is asked for
    return iscoroutinefunction(own)


def refused(request: Any, scopes: Iterable[str]) -> HttpResponse | None:
    """Return the answer to a request that may not pass, or None.

    Raises:
        ConfigurationError: there is no TikTok middleware.
    """
    challenge = guard(request, scopes)
    return None if challenge is None else HttpResponse(status=challenge.status)


class TikTokRequiredMixin:
    """Lets a class-based view be called only for who is signed in with TikTok.

    It stands before Django's own base classes.
    """

    #: Scopes that the view needs as well.
    required_scopes: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if isinstance(cls.required_scopes, str):
            message = f"{cls.__name__}.required_scopes is a tuple of scopes"
            raise TypeError(message)
        check_scopes(tuple(cls.required_scopes))

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer the request, or refuse it before the view sees it."""
        refusal = refused(request, self.required_scopes)
        if refusal is None:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        if getattr(self, "view_is_async", False):
            return _given(refusal)
        return refusal


async def _given(response: HttpResponse) -> HttpResponse:
    return response

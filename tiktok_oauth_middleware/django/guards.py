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
from django.views import View

from tiktok_oauth_middleware._web.guard import Requirements, guard
from tiktok_oauth_middleware._web.misuse import (
    check_max_age,
    check_scopes,
    check_view,
)

V = TypeVar("V", bound=Callable[..., Any])


@overload
def requires_tiktok(view: V, /, *, max_age: float | None = None) -> V: ...
@overload
def requires_tiktok(*scopes: str, max_age: float | None = None) -> Callable[[V], V]: ...
def requires_tiktok(*given: Any, max_age: float | None = None) -> Any:
    """Let a view be called only for users who are signed in and granted the scopes.

    With scopes or without, and without parentheses too; for plain and ``async def``
    views. For a method of a class-based view use Django's ``method_decorator``, for
    the whole class `TikTokRequiredMixin`.

    Args:
        given: a view, or scopes that the user must have granted.
        max_age: the most seconds since the login; a user who logged in longer ago is
            sent to TikTok's page once more. Fewer than 10 count as 10.

    Raises:
        ConfigurationError: at a request, if there is no TikTok middleware.
        TypeError: the guarded object is no view, or `max_age` is no number.
        ValueError: a scope is not the name of one, or `max_age` is negative or not
            finite.
    """
    check_max_age(max_age)
    if len(given) == 1 and callable(given[0]):
        return _guarded(given[0], Requirements(max_age=max_age))
    check_scopes(given)
    return functools.partial(_guarded, required=Requirements(given, max_age))


def _guarded(view: Callable[..., Any], required: Requirements) -> Callable[..., Any]:
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
            refusal = refused(request, *required)
            if refusal is not None:
                return refusal
            return await view(request, *args, **kwargs)

        return guarded_async

    @functools.wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
        refusal = refused(request, *required)
        if refusal is None:
            return view(request, *args, **kwargs)
        return _given(refusal) if _is_dispatch_of_async(view) else refusal

    # A view may be an object with an async __call__, which Django marks in this way.
    return markcoroutinefunction(guarded) if _is_marked(view) else guarded


def _is_dispatch_of_async(view: Any) -> bool:
    """Whether a view is the method ``dispatch`` of a class with async handlers.

    Such a method is no coroutine function, but Django awaits its result.
    """
    method = view.func if isinstance(view, functools.partial) else view
    is_dispatch = getattr(method, "__name__", "") == "dispatch"
    owner = getattr(method, "__self__", None)
    return is_dispatch and bool(getattr(owner, "view_is_async", False))


def _is_marked(view: Any) -> bool:
    if inspect.isroutine(view):
        return False
    own = getattr(view, "__call__", None)  # noqa: B004 - it may be marked
    return iscoroutinefunction(own)


def refused(
    request: Any, scopes: Iterable[str], max_age: float | None = None
) -> HttpResponse | None:
    """Return the response to a request that may not pass; None if it may.

    Raises:
        ConfigurationError: there is no TikTok middleware.
    """
    challenge = guard(request, scopes, max_age)
    return None if challenge is None else HttpResponse(status=challenge.status)


class TikTokRequiredMixin:
    """Lets a class-based view be called only for users who are signed in with TikTok.

    List it before Django's own base classes.
    """

    #: Scopes that the view needs as well.
    required_scopes: tuple[str, ...] = ()
    #: The most seconds since the login; None sets no limit.
    login_max_age: float | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        order = cls.__mro__
        if View in order and order.index(View) < order.index(TikTokRequiredMixin):
            message = (
                f"TikTokRequiredMixin does not guard {cls.__name__}: list it before"
                " Django's own base classes"
            )
            raise TypeError(message)
        if isinstance(cls.required_scopes, str):
            message = f"{cls.__name__}.required_scopes must be a tuple of scopes"
            raise TypeError(message)
        check_scopes(tuple(cls.required_scopes))
        check_max_age(cls.login_max_age)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer the request, or refuse it before the view sees it."""
        refusal = refused(request, self.required_scopes, self.login_max_age)
        if refusal is None:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        if getattr(self, "view_is_async", False):
            return _given(refusal)
        return refusal


async def _given(response: HttpResponse) -> HttpResponse:
    return response

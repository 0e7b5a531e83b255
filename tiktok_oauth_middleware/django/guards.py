"""`requires_tiktok` for Django's views, and `TikTokRequiredMixin` for their classes.

A guard answers with a bare 401 or 403, which the middleware replaces with a redirect to
log in, or with JSON that says what is missing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.http import HttpResponse

from tiktok_oauth_middleware._web.guard import Requirements, decorate, guard
from tiktok_oauth_middleware._web.misuse import check_max_age, check_scopes

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
        TypeError: the guarded object is not a view, or, at a request, is a method; or
            `max_age` is not a number.
        ValueError: a scope is not the name of one, or `max_age` is negative or not
            finite.
    """
    return decorate(given, max_age, _with_guard, is_recorded=False)


def _with_guard(view: Any, required: Requirements) -> Callable[..., Any]:
    if inspect.isclass(view):
        message = (
            f"requires_tiktok got the class {view.__name__}: derive it from"
            " TikTokRequiredMixin, or decorate its dispatch with method_decorator"
        )
        raise TypeError(message)
    # As `View.as_view` marks views; an object may also have an async __call__.
    if iscoroutinefunction(view) or iscoroutinefunction(view.__call__):

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
        return _awaitable(refusal) if _is_dispatch_of_async(view) else refusal

    return guarded


def _is_dispatch_of_async(view: Any) -> bool:
    """Whether a view is the method ``dispatch`` of a class with async handlers.

    Such a method is not a coroutine function, but Django awaits its result. Other
    decorators may be around it.
    """
    while view is not None:
        owner = getattr(view, "__self__", None)
        if owner is not None:
            is_async = bool(getattr(owner, "view_is_async", False))
            return is_async and getattr(view, "__name__", "") == "dispatch"
        is_partial = isinstance(view, functools.partial)
        view = view.func if is_partial else getattr(view, "__wrapped__", None)
    return False


def refused(
    request: Any, scopes: Iterable[str], max_age: float | None = None
) -> HttpResponse | None:
    """Return the response to a request that may not pass; None if it may.

    Raises:
        ConfigurationError: there is no TikTok middleware.
        TypeError: `request` is no request.
    """
    if not hasattr(request, "META"):
        message = (
            "requires_tiktok of tiktok_oauth_middleware.django guards a view that takes"
            " the request; for a method write @method_decorator(requires_tiktok)"
        )
        raise TypeError(message)
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
        bases = cls.__mro__[: cls.__mro__.index(TikTokRequiredMixin)]
        if any(_ends_dispatch(base) for base in bases):
            message = (
                f"TikTokRequiredMixin does not guard {cls.__name__}: list it before"
                " the base classes that answer requests, such as Django's"
            )
            raise TypeError(message)
        if isinstance(cls.required_scopes, str):
            message = f"{cls.__name__}.required_scopes must be a tuple of scopes"
            raise TypeError(message)
        if not _is_computed(cls.required_scopes):
            check_scopes(tuple(cls.required_scopes))
        if not _is_computed(cls.login_max_age):
            check_max_age(cls.login_max_age)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer the request, or refuse it before the view sees it."""
        refusal = refused(request, self.required_scopes, self.login_max_age)
        if refusal is None:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        if getattr(self, "view_is_async", False):
            return _awaitable(refusal)
        return refusal


def _ends_dispatch(base: type) -> bool:
    """Whether a base class has a ``dispatch`` that does not call the next class's.

    Not if it derives from the mixin: its author knows what it replaces. A ``dispatch``
    that is no function, or that mentions no ``super().dispatch``, counts as one that
    ends: a wrong guess is an error here, and not an open view.
    """
    method = vars(base).get("dispatch")
    if method is None or issubclass(base, TikTokRequiredMixin):
        return False
    code = getattr(inspect.unwrap(method), "__code__", None)
    return code is None or not _names_in(code) >= {"super", "dispatch"}


def _names_in(code: CodeType) -> set[object]:
    """Return the names and texts in a function, and in the functions inside it."""
    found: set[object] = {*code.co_names}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names_in(constant)
        elif isinstance(constant, str):
            found.add(constant)
    return found


def _is_computed(value: object) -> bool:
    """Whether a class's attribute is computed for each request, as by a property."""
    return hasattr(type(value), "__get__") and not callable(value)


async def _awaitable(response: HttpResponse) -> HttpResponse:
    return response

"""Checks for wrong uses of the middlewares, and wrong arguments of the guards."""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.arguments import is_async
from tiktok_oauth_middleware.settings.options import TikTokSettings

if TYPE_CHECKING:
    from tiktok_oauth_middleware._session.cookie import SessionCookies


def check_app(app: object, *, is_wsgi: bool) -> None:
    """Refuse an object that is not an app, or an app of the other kind.

    Raises:
        ConfigurationError: the message says which class or object is needed.
    """
    if isinstance(app, TikTokSettings):
        message = "app and settings are in the wrong order: the app comes first"
        raise ConfigurationError(message)
    if inspect.isclass(app):
        message = f"app is the class {app.__name__}; pass an instance of it"
        raise ConfigurationError(message)
    if not callable(app):
        kind = "WSGI" if is_wsgi else "ASGI"
        message = f"app is a {type(app).__name__}, which is no {kind} app"
        raise ConfigurationError(message)
    wanted = 2 if is_wsgi else 3  # environ, start_response; scope, receive, send
    if _takes(app, wanted) or not _takes(app, 5 - wanted):
        return  # correct, or the signature does not show it
    if is_wsgi:
        message = "app is an ASGI app: wrap it in TikTokOAuthMiddleware"
    else:
        message = (
            "app is a WSGI app: wrap it in TikTokOAuthWSGIMiddleware, and a Flask app's"
            " app.wsgi_app rather than the app itself"
        )
    raise ConfigurationError(message)


def _takes(app: Any, count: int) -> bool:
    """Whether an app takes `count` arguments, as far as its signature shows."""
    try:
        _unevaluated_signature(app).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _unevaluated_signature(call: Any) -> inspect.Signature:
    """Return a function's signature, whose annotations may name what is not imported.

    Raises:
        TypeError: the object has none.
        ValueError: it is a built-in without one.
    """
    if sys.version_info >= (3, 14):  # which evaluates annotations
        from annotationlib import Format

        return inspect.signature(call, annotation_format=Format.FORWARDREF)
    return inspect.signature(call)


def callback_fault(
    name: str, call: object, argument: str, *, is_blocking: bool
) -> str | None:
    """Return what is wrong with a function that the app passed, or None.

    Args:
        name: of the option.
        call: as the app passed it.
        argument: what the function is called with, in words.
        is_blocking: whether it is called under WSGI.
    """
    if not callable(call):
        return f"{name} is a {type(call).__name__}; it must be a function"
    if is_blocking and is_async(call):
        return (
            f"{name} is an async def; under WSGI it must be a plain function, which may"
            " block (under ASGI it may be either)"
        )
    with contextlib.suppress(ValueError):  # a built-in without a signature
        try:
            _unevaluated_signature(call).bind(None)
        except TypeError:
            return f"{name} must take one argument: {argument}"
    return None


def check_wrapping(middleware: object, app: object) -> None:
    """Refuse an app whose own entry point is the middleware that wraps it.

    Raises:
        ConfigurationError: the message says what to wrap.
    """
    for name in ("wsgi_app", "asgi_app"):
        if getattr(app, name, None) is middleware:
            message = (
                f"app.{name} is this middleware, and it wraps the app: write"
                f" app.{name} = ...(app.{name}, settings)"
            )
            raise ConfigurationError(message)


#: The session cookies of the first of this process's middlewares that was used, by the
#: host and the cookie's name.
_served: WeakValueDictionary[tuple[str | None, str], SessionCookies] = (
    WeakValueDictionary()
)


def report_shared_cookie(origin: str, cookies: SessionCookies) -> None:
    """Log an error if another middleware has a cookie of the same name on this host.

    Unless both accept each other's cookies, each takes the other's for forged and
    deletes it.

    Args:
        origin: of the site.
        cookies: the middleware's.
    """
    # A browser has one cookie of a name for all ports of a host.
    host, name = urlsplit(origin).hostname, cookies.session_name
    other = _served.setdefault((host, name), cookies)
    if other is cookies:
        return
    if not (other.accepts(cookies) and cookies.accepts(other)):
        logger.error(
            "two TikTok middlewares of this process use the cookie %s on %s, with"
            " different client keys or secret_keys: a login at one ends the session at"
            " the other; give both the same keys, or each its own cookie_name",
            name,
            host,
        )


def is_inside_a_route(scope: Mapping[str, Any]) -> bool:
    """Whether a router has found the view of a request that reaches the middleware.

    It has if the middleware is one of a route, or of Litestar's ``middleware=``, which
    runs for routes only. Below a mount the view is an app.

    Args:
        scope: of the request, as the middleware gets it.
    """
    handler = scope.get("route_handler")  # of Litestar
    if handler is not None:
        return not getattr(handler, "is_mount", False)
    view = scope.get("endpoint")  # of Starlette and FastAPI
    return inspect.isroutine(view) and not _takes(view, 3)


def check_scopes(scopes: tuple[Any, ...]) -> None:
    """Refuse arguments that are not names of scopes: no user could grant them.

    Raises:
        TypeError: a scope is not a string.
        ValueError: a scope is empty, or one string holds several scopes.
    """
    for scope in scopes:
        if not isinstance(scope, str):
            message = (
                "requires_tiktok takes a view, or scopes as strings; got a"
                f" {type(scope).__name__}"
            )
            raise TypeError(message)
        if not scope or any(char.isspace() or char == "," for char in scope):
            message = (
                f"{scope!r} is not the name of one scope: give each as an argument of"
                ' its own, requires_tiktok("user.info.stats", "video.list")'
            )
            raise ValueError(message)


def check_max_age(max_age: object) -> None:
    """Refuse a `max_age` that is not a number of seconds.

    Raises:
        TypeError: it is neither a number nor None.
        ValueError: it is negative, infinite or not a number.
    """
    if max_age is None:
        return
    # True and False are numbers in Python, but not durations.
    if isinstance(max_age, bool) or not isinstance(max_age, int | float):
        message = (
            "max_age must be a number of seconds, such as 300; got a"
            f" {type(max_age).__name__}"
        )
        raise TypeError(message)
    if not math.isfinite(max_age) or max_age < 0:
        message = (
            f"max_age must be a finite number of seconds, 0 or more; got {max_age}"
        )
        raise ValueError(message)


def check_view(view: object) -> None:
    """Refuse objects that are not views, such as routes.

    Raises:
        TypeError: the message says where a guard belongs.
    """
    is_route = hasattr(view, "matches") or hasattr(view, "endpoint")
    if not callable(view) or (is_route and not inspect.isroutine(view)):
        message = (
            f"requires_tiktok got a {type(view).__name__}: it guards the view, so put"
            " it below the route's decorator"
        )
        raise TypeError(message)


# --- dependencies ----------------------------------------------------------------


def not_for_fastapi(message: str) -> Any:
    """Return an annotation with which FastAPI refuses a function as a dependency.

    Without it FastAPI would turn the argument into a query parameter. FastAPI raises
    the TypeError when the operation is declared.
    """

    def refuse(*_: object) -> Any:
        raise TypeError(message)

    refusing: dict[str, Callable[..., Any]] = {"__get_pydantic_core_schema__": refuse}
    return type("NotADependency", (), refusing)

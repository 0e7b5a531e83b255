"""Guards without effect: views that a route calls without the guard put around them.

A guard above a route's decorator has no effect, because the decorator has already
registered the unguarded view. All routes must exist for the check, so it is made when
the app starts, or at the first request.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import weakref
from collections.abc import Iterator
from typing import Any

from tiktok_oauth_middleware._core.app_parts import parts_of
from tiktok_oauth_middleware.errors import ConfigurationError

#: Each unguarded view that was given to a guard, with the guarded views made from it. A
#: guarded view that no route uses and that was a local variable is often
#: garbage-collected before the app starts; its unguarded view is still listed here.
_guards: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Any, None]] = (
    weakref.WeakKeyDictionary()
)


def guarded_by(view: Any, guarded: Any) -> Any:
    """Record that a guard was put around a view, and return the guarded view."""
    # An object that cannot be hashed or weakly referenced is not recorded.
    with contextlib.suppress(TypeError):
        _guards.setdefault(view, weakref.WeakKeyDictionary())[guarded] = None
    return guarded


def check_guards(app: object) -> None:
    """Refuse an app with a route to the unguarded form of a guarded view.

    An app that has both forms is accepted, and so is one whose view another app may
    have with the guard.

    Raises:
        ConfigurationError: the message names the views.
    """
    if not _guards:
        return
    direct: dict[int, Any] = {}
    for part in parts_of(app, guess=True):
        for view in _views(part):
            direct[id(view)] = view
    reached = {id(inner) for view in direct.values() for inner in _layers(view)}
    open_views = [
        view
        for view in _alive(_guards)
        if any(id(inner) in direct for inner in _layers(view))
        and not any(id(one) in reached for one in _alive(_guards[view]))
        and not _may_be_guarded_elsewhere(view)
    ]
    if open_views:
        names = ", ".join(sorted({_view_name(view) for view in open_views}))
        message = (
            f"requires_tiktok does not guard {names}: it is above the route's"
            " decorator, which has registered the unguarded view; put it below, next"
            " to the view"
        )
        raise ConfigurationError(message)


def _may_be_guarded_elsewhere(view: Any) -> bool:
    """Whether an app may have the guarded view on purpose, beside the unguarded one.

    A decorator gives the view's name to the guarded view. If the module has the
    unguarded one by that name, the guard was called, and its result may be a view of
    another app, unless nothing keeps it.
    """
    named: Any = sys.modules.get(getattr(view, "__module__", None) or "")
    for name in getattr(view, "__qualname__", "").split("."):
        named = getattr(named, name, None)
    return named is view and bool(_alive(_guards[view]))


def _alive(keys: weakref.WeakKeyDictionary[Any, Any]) -> list[Any]:
    """Return a dictionary's keys, which other threads may change meanwhile."""
    found = [reference() for reference in keys.keyrefs()]
    return [key for key in found if key is not None]


def _views(part: Any) -> Iterator[Any]:
    """Yield the views that a route or a Flask app calls."""
    attributes = getattr(part, "__dict__", None)
    if not isinstance(attributes, dict):
        return
    if attributes.get("endpoint") is not None:
        yield attributes["endpoint"]
    views = attributes.get("view_functions")
    if isinstance(views, dict):
        yield from [*views.values()]


def _layers(view: Any) -> Iterator[Any]:
    """Yield a view, and the views that it wraps or derives from."""
    if inspect.isclass(view):
        yield from view.__mro__
        return
    seen: set[int] = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
        inner = getattr(view, "__wrapped__", None)
        view = inner if inner is not None else getattr(view, "func", None)


def _view_name(view: Any) -> str:
    module = getattr(view, "__module__", "")
    return f"{module}.{getattr(view, '__qualname__', type(view).__qualname__)}"

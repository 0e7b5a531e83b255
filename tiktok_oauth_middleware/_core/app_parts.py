"""The parts of an app: what it wraps, mounts and routes to.

A middleware is given one callable. It may wrap Starlette, Django or Flask, further
middlewares, routers and mounted apps. Each keeps what it wraps in one of a few
attributes, which can be followed without importing any of those libraries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

#: Attributes in which wrappers and routers keep what they call.
_NAMES = (
    "app",  # Starlette's middlewares and mounts, and most others
    "application",  # Django's static files handler, WhiteNoise
    "inner",  # Channels
    "wsgi_app",  # Flask; asgiref and Werkzeug have it too
    "asgi_app",  # Quart
    "application_mapping",  # Channels' ProtocolTypeRouter
    "callback",  # Channels' routes are Django's
    "routes",
    "router",
    "original_router",  # of a router that FastAPI includes
    "mounts",  # Werkzeug's DispatcherMiddleware
)
#: Most parts that are examined: more than any site has, and an end to a cycle.
_MOST_PARTS = 2000


def parts_of(app: object) -> Iterator[object]:
    """Yield an app and what it wraps, mounts and routes to, each once."""
    seen: set[int] = set()
    waiting: list[object] = [app]
    while waiting and len(seen) < _MOST_PARTS:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += _within(part)


def _within(part: object) -> Iterator[object]:
    owner = getattr(part, "__self__", None)  # of a bound method, such as wsgi_app
    if owner is not None and not isinstance(owner, type):
        yield owner
    attributes = getattr(part, "__dict__", None)
    if not isinstance(attributes, dict):
        attributes = {}
    for name in _NAMES:
        # Not by getattr, which would run properties of foreign classes.
        found = attributes.get(name)
        if found is None and name in ("routes", "router"):
            found = _property(part, name)
        if found is None or isinstance(found, str | bytes):
            continue
        if isinstance(found, dict):
            yield from found.values()
        elif isinstance(found, list | tuple):
            yield from found
        else:
            yield found


def _property(part: object, name: str) -> Any:
    """Return a property of a Starlette app, such as ``routes``; None of other apps."""
    if not comes_from(part, ("starlette", "fastapi")):
        return None
    with suppress(Exception):  # foreign code: one that fails has no parts to follow
        return getattr(part, name, None)
    return None


def comes_from(part: object, libraries: Iterable[str]) -> bool:
    """Whether an object's class, or one that it derives from, is of these libraries."""
    wanted = frozenset(libraries)
    return any(
        kind.__module__.partition(".")[0] in wanted for kind in type(part).__mro__
    )

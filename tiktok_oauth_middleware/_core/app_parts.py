"""What an app is made of, as far as it can be seen from outside.

A middleware is given one callable. Behind it there may be Starlette, Django or Flask,
further middlewares, routers, mounted apps. Each keeps what it wraps under one of a few
names; following them needs none of those libraries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

#: Where wrappers and routers keep what they call.
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
#: Apps looked at: more than any site has, fewer than a cycle.
_MOST = 2000


def parts_of(app: object) -> Iterator[object]:
    """Yield an app and what it wraps, mounts and routes to, each once."""
    seen: set[int] = set()
    waiting: list[object] = [app]
    while waiting and len(seen) < _MOST:
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
    held = getattr(part, "__dict__", None)
    if not isinstance(held, dict):
        held = {}
    for name in _NAMES:
        # Not by getattr alone: a property may do anything.
        found = held.get(name)
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
    """Return a Starlette app's ``routes``, which is a property; None of others."""
    if not comes_from(part, ("starlette", "fastapi")):
        return None
    try:
        return getattr(part, name, None)
    except Exception:  # noqa: BLE001 - foreign code; there is nothing to see then
        return None


def comes_from(part: object, libraries: Iterable[str]) -> bool:
    """Whether an object's class, or one that it derives from, is of these libraries."""
    wanted = frozenset(libraries)
    return any(
        kind.__module__.partition(".")[0] in wanted for kind in type(part).__mro__
    )

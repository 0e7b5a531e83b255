"""The parts of an app: what it wraps, mounts and routes to.

A middleware is given one callable. It may wrap Starlette, Django or Flask, further
middlewares, routers and mounted apps. Each keeps what it wraps in one of a few
attributes, which can be followed without importing any of those libraries. No route is
called.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import Any

#: Attributes in which wrappers and routers keep what they call.
_PART_NAMES = (
    "app",  # Starlette's middlewares and mounts, and most others
    "application",  # Django's static files handler, WhiteNoise
    "inner",  # Channels
    "wsgi_app",  # Flask; asgiref and Werkzeug have it too
    "asgi_app",  # Quart
    "wrapped",
    "_app",
    "__wrapped__",
    "__self__",  # of a bound method, such as wsgi_app
    "func",
    "application_mapping",  # Channels' ProtocolTypeRouter
    "callback",  # Channels' routes are Django's
    "routes",
    "router",
    "original_router",  # of a router that FastAPI includes
    "mounts",  # Werkzeug's DispatcherMiddleware
)
#: The most parts to examine, and entries of one container: more than any site has.
_MOST_PARTS = 2000
_STARLETTE = ("starlette", "fastapi")
#: Objects of these libraries keep no app under a name that is not listed above.
_FRAMEWORKS = (*_STARLETTE, "django", "flask", "werkzeug")
#: Made once, since it has no state, and `attribute_of` is called at requests.
_ANY_FAILURE = suppress(Exception)


def parts_of(app: object, *, guess: bool = False) -> Iterator[Any]:
    """Yield an app and the parts that it wraps, mounts and routes to, each once.

    Args:
        app: The app.
        guess: Whether to follow also the objects that functions refer to, and every
            attribute of objects outside the known frameworks. This finds apps inside
            the project's own wrappers, and also objects that are not part of the app.
            It may run properties of foreign classes.
    """
    seen: set[int] = set()
    waiting: deque[Any] = deque([app])
    while waiting and len(seen) < _MOST_PARTS:
        part = waiting.popleft()  # breadth first, in case there are too many
        # Werkzeug's proxies (`request`) are not apps, and raise outside a request.
        if id(part) in seen or type(part).__name__ == "LocalProxy":
            continue
        if part is None or isinstance(part, str | bytes | int):
            continue
        seen.add(id(part))
        yield part
        waiting += _within(part)
        if guess:
            waiting += _guesses(part)


def comes_from(part: object, libraries: Iterable[str]) -> bool:
    """Whether an object's class, or one that it derives from, is of these libraries."""
    wanted = frozenset(libraries)
    return any(library_of(kind) in wanted for kind in type(part).__mro__)


def library_of(kind: object) -> str:
    """Return the top-level package that defines a class."""
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def attribute_of(part: object, name: str) -> Any:
    """Return an attribute; None if there is none, or its property raises."""
    with _ANY_FAILURE:  # a property is foreign code
        return getattr(part, name, None)
    return None


def _within(part: object) -> Iterator[Any]:
    """Yield the objects that a part keeps under one of `_PART_NAMES`."""
    attributes = getattr(part, "__dict__", None)
    has_known_properties = isinstance(part, MethodType | partial) or comes_from(
        part, _STARLETTE
    )
    if has_known_properties:
        yield from _attributes(part)
    elif isinstance(attributes, dict):
        # Not by getattr, which would run properties of foreign classes.
        for name in _PART_NAMES:
            if name in attributes:
                yield from _values(attributes[name])


def _guesses(part: Any) -> Iterator[Any]:
    """Yield further objects to which a part may pass requests."""
    yield from _attributes(part)
    code = attribute_of(part, "__code__")
    if isinstance(code, CodeType):
        found = _mentioned(part, code)
    elif isinstance(part, type) or library_of(type(part)) in _FRAMEWORKS:
        return
    else:
        found = _attribute_values(part)
    for inner in itertools.chain.from_iterable(map(_values, found)):
        if callable(inner) and not isinstance(inner, type):
            yield inner


def _attributes(part: object) -> Iterator[Any]:
    """Yield the attributes named in `_PART_NAMES`; may run their properties."""
    for name in _PART_NAMES:
        value = attribute_of(part, name)
        if value is not None:  # as most are
            yield from _values(value)


def _values(value: Any) -> Iterable[Any]:
    """Return a value, or the values in a container."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set | frozenset):
        return (value,)
    # A copy, since other threads may change the container meanwhile.
    return [*itertools.islice(value, _MOST_PARTS)]


def _mentioned(function: Any, code: CodeType) -> Iterator[Any]:
    """Yield the objects that a function refers to: closure cells and globals."""
    for cell in attribute_of(function, "__closure__") or ():
        with suppress(ValueError):  # an empty cell
            yield cell.cell_contents
    outside = attribute_of(function, "__globals__")
    if isinstance(outside, dict):
        for name in code.co_names:
            yield outside.get(name)


def _attribute_values(part: Any) -> Iterator[Any]:
    """Yield the values of an object's attributes and slots; calls no property."""
    attributes = attribute_of(part, "__dict__")
    if isinstance(attributes, dict):
        yield from [*attributes.values()]
    for kind in type(part).__mro__:
        for member in [*vars(kind).values()]:
            if isinstance(member, MemberDescriptorType):  # a slot
                with suppress(AttributeError):
                    yield member.__get__(part)
    call = vars(type(part)).get("__call__")
    if isinstance(call, FunctionType):
        yield call

"""The structure of an app: the apps inside it, its routes, the prefixes it strips.

Only attributes are read; no route is called, and no framework is imported. What cannot
be seen is left out.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, MemberDescriptorType
from typing import Any, NamedTuple

from .path_readings import fold

#: Attributes under which wrappers and routers keep the app that they call.
_WRAPPERS = (
    "app",
    "application",
    "asgi_app",
    "wsgi_app",
    "wrapped",
    "_app",
    "__wrapped__",
    "__self__",
    "func",
    "router",
    "inner",  # Channels
    "callback",  # Channels' routes are Django's
    "original_router",  # of a router that FastAPI includes
)
#: Most apps, and most entries of one container, that are looked at.
_MAX_APPS = 500
#: In objects of these only the attributes above are followed: others hold no apps.
_FRAMEWORKS = frozenset({"starlette", "fastapi", "django", "flask", "werkzeug"})
#: Frameworks that find their views by ``raw_path``.
_ROUTE_RAW_PATHS = frozenset({"blacksheep", "sanic"})
#: Frameworks whose routes are read.
_KNOWN = frozenset({"starlette", "fastapi", "flask"})
#: A path parameter that matches slashes too.
_CATCH_ALL = re.compile(r"\{[^}]*:path\}|<path:")


class AppStructure(NamedTuple):
    """What the apps inside the middleware do to a path before they route it.

    The fields hold functions, called at each request, since an app may change both.
    """

    #: Prefixes that the apps strip: FastAPI's ``root_path=`` and Django's
    #: ``FORCE_SCRIPT_NAME``, which the middleware does not see in the scope.
    prefixes: list[Callable[[], str]]
    #: Paths behind which a route requires no slash: BlackSheep's ``/files/*`` also
    #: serves ``/filesecret``.
    stems: list[Callable[[], list[str]]]
    #: Whether an app finds its views by ``raw_path``, which is not decoded.
    routes_raw_path: bool = False


def inspect_app(app: object) -> AppStructure:
    """Return what an app, and the apps to which it passes requests, do to a path."""
    found = AppStructure([], [])
    for each in apps_in(app):
        prefix = _prefix_of(each)
        if prefix is not None and prefix not in found.prefixes:
            found.prefixes.append(prefix)
        if _library(type(each)) in _ROUTE_RAW_PATHS:
            found = found._replace(routes_raw_path=True)
            found.stems.append(functools.partial(_stems, each))
    return found


def apps_in(app: object) -> Iterator[Any]:
    """Yield an app, and every app to which it may pass requests, each once."""
    seen: set[int] = set()
    waiting: deque[Any] = deque([app])
    while waiting and len(seen) < _MAX_APPS:
        each = waiting.popleft()  # breadth first, in case there are too many
        # Werkzeug's proxies (`request`) are no apps, and raise outside of a request.
        if type(each).__name__ == "LocalProxy" or id(each) in seen:
            continue
        if each is None or isinstance(each, str | bytes | int):
            continue
        seen.add(id(each))
        yield each
        waiting += _inside(each)


def _inside(app: Any) -> Iterator[Any]:
    """Yield what an app may pass requests to, as far as its attributes show it."""
    for name in _WRAPPERS:
        yield _attribute(app, name)
    for name in ("routes", "application_mapping", "mounts"):
        yield from _callables(_attribute(app, name), is_any=True)
    code = _attribute(app, "__code__")
    if isinstance(code, CodeType):
        for inner in _mentioned(app, code):
            yield from _callables(inner)
    elif not isinstance(app, type) and _library(type(app)) not in _FRAMEWORKS:
        # A wrapper of the project's own may keep its app under any name.
        for inner in _fields(app):
            yield from _callables(inner)


def _callables(value: Any, *, is_any: bool = False) -> Iterator[Any]:
    """Yield a value that may be an app, or the values in a container."""
    values: Iterable[Any] = (value,)
    if isinstance(value, dict):
        values = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        values = value
    for each in itertools.islice(values, _MAX_APPS):
        if is_any or (callable(each) and not isinstance(each, type)):
            yield each


def _mentioned(function: Any, code: CodeType) -> Iterator[Any]:
    """Yield what a function refers to: closure cells and globals."""
    for cell in _attribute(function, "__closure__") or ():
        with contextlib.suppress(ValueError):  # an empty cell
            yield cell.cell_contents
    outside = _attribute(function, "__globals__")
    if isinstance(outside, dict):
        for name in code.co_names:
            yield outside.get(name)


def _fields(app: Any) -> Iterator[Any]:
    """Yield the values of an object's attributes and slots; calls no property."""
    attributes = _attribute(app, "__dict__")
    if isinstance(attributes, dict):
        yield from [*attributes.values()]
    for kind in type(app).__mro__:
        for member in vars(kind).values():
            if isinstance(member, MemberDescriptorType):  # a slot
                with contextlib.suppress(AttributeError):
                    yield member.__get__(app)
    call = vars(type(app)).get("__call__")
    if isinstance(call, FunctionType):
        yield call


def _attribute(app: Any, name: str) -> Any:
    with contextlib.suppress(Exception):  # a property of foreign code may raise
        return getattr(app, name, None)
    return None


def _prefix_of(app: Any) -> Callable[[], str] | None:
    """Return a function that gives the prefix an app strips; None if it strips none."""
    modules = {str(kind.__module__).partition(".")[0] for kind in type(app).__mro__}
    if "django" in modules:
        return _script_name
    root = _attribute(app, "root_path")
    if not isinstance(root, str):
        return None
    # In Flask and Quart this is the folder of the app.
    is_folder = not {"fastapi", "starlette"} & modules and Path(root).is_dir()
    return None if is_folder else lambda: str(_attribute(app, "root_path") or "")


def _stems(app: Any) -> list[str]:
    """Return the parts before the star in BlackSheep's routes."""
    routes = _attribute(_attribute(app, "router"), "routes")
    if not isinstance(routes, dict):
        return []
    patterns = {r.pattern for of_method in routes.values() for r in of_method}
    return [
        p.partition(b"*")[0].rstrip(b"/").decode("utf-8", "replace")
        for p in patterns
        if b"*" in p
    ]


def _script_name() -> str:
    """Return Django's FORCE_SCRIPT_NAME, if the app has imported Django; else ""."""
    conf = sys.modules.get("django.conf")
    settings = None if conf is None else conf.settings
    if settings is None or not settings.configured:
        return ""
    return str(settings.FORCE_SCRIPT_NAME or "")


def rules_without_route(protect: Iterable[str], app: object) -> list[str]:
    """Return the rules that fit no route of an app.

    Only objects of Starlette, FastAPI and Flask are read. Where anything else may
    answer a path, no rule is reported.
    """
    routes = _routes(app)
    if routes is None:
        return []
    return [r for r in protect if not any(_may_fit(r, route) for route in routes)]


def _routes(app: Any) -> list[tuple[str, bool]] | None:
    """Return an app's routes, and whether each covers all below it; None if unknown."""
    for _ in range(_MAX_APPS):
        if not {str(type(app).__module__).partition(".")[0]} <= {*_KNOWN, "builtins"}:
            return None
        url_map = _attribute(app, "url_map")
        if url_map is not None:
            return [(rule.rule, False) for rule in url_map.iter_rules()]
        layers = _attribute(app, "user_middleware") or ()
        if any(_library(layer.cls) not in _KNOWN for layer in layers):
            return None
        routes = _attribute(app, "routes")
        if isinstance(routes, list):
            return _flat(routes, "")
        app = _attribute(app, "app") or _attribute(app, "__self__")
        if app is None:
            return None
    return None


def _library(kind: Any) -> str:
    """Return the top-level package that defines a class."""
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def _flat(routes: list[Any], prefix: str) -> list[tuple[str, bool]] | None:
    """Return nested routes as `_routes` does, each path with its prefix."""
    found: list[tuple[str, bool]] = []
    for route in routes:
        path = _attribute(route, "path")
        if not isinstance(path, str) or _library(type(route)) not in _KNOWN:
            return None
        inner = _attribute(route, "routes")
        if isinstance(inner, list) and inner:
            nested = _flat(inner, prefix + path)
            if nested is None:
                return None
            found += nested
        is_mount = type(route).__name__ == "Mount"
        found.append((prefix + path, is_mount and not inner))
    return found


def _may_fit(rule: str, route: tuple[str, bool]) -> bool:
    """Whether some path fits both a route and a rule."""
    path, covers_all_below = route
    wanted = [s for s in fold(rule).split("/") if s]
    given = [s for s in path.split("/") if s]
    for segment, template in zip(wanted, given, strict=False):
        if _CATCH_ALL.search(template):
            return True
        if not ("{" in template or "<" in template or fold(template) == segment):
            return False
    return covers_all_below or len(given) >= len(wanted)

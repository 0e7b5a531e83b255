"""The structure of an app: its routes, and the prefixes that it strips from paths.

Only attributes are read; no route is called, and no framework is imported. Routes and
prefixes that no attribute shows are not found.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tiktok_oauth_middleware._core.app_parts import (
    attribute_of,
    comes_from,
    library_of,
    parts_of,
)

from .path_spellings import fold

#: Frameworks that find their views by ``raw_path``.
_ROUTE_RAW_PATHS = frozenset({"blacksheep", "sanic"})
#: Frameworks whose routes are read.
_KNOWN = frozenset({"starlette", "fastapi", "flask"})
#: The most layers around the routes that are followed, in case of a cycle.
_MAX_LAYERS = 500
#: A path parameter that matches slashes too.
_CATCH_ALL = re.compile(r"\{[^}]*:path\}|<path:")


class AppStructure(NamedTuple):
    """The changes that the apps inside the middleware make to a path before routing.

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
    """Return how an app, and the apps to which it passes requests, change a path."""
    found = AppStructure([], [])
    for each in parts_of(app, guess=True):
        prefix = _prefix_of(each)
        if prefix is not None and prefix not in found.prefixes:
            found.prefixes.append(prefix)
        if library_of(type(each)) in _ROUTE_RAW_PATHS:
            found = found._replace(routes_raw_path=True)
            found.stems.append(functools.partial(_stems, each))
    return found


def _prefix_of(app: Any) -> Callable[[], str] | None:
    """Return a function that gives the prefix an app strips; None if it strips none."""
    if comes_from(app, ("django",)):
        return _script_name
    root = attribute_of(app, "root_path")
    if not isinstance(root, str):
        return None
    # In Flask and Quart this is the folder of the app.
    is_starlette = comes_from(app, ("fastapi", "starlette"))
    is_folder = not is_starlette and Path(root).is_dir()
    return None if is_folder else lambda: str(attribute_of(app, "root_path") or "")


def _stems(app: Any) -> list[str]:
    """Return the parts before the star in BlackSheep's routes."""
    routes = attribute_of(attribute_of(app, "router"), "routes")
    if not isinstance(routes, dict):
        return []
    patterns = {r.pattern for each in list(routes.values()) for r in list(each)}
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
    """Return the rules that match no route of an app.

    Only objects of Starlette, FastAPI and Flask are read. If any other object may
    answer a path, no rule is reported.
    """
    routes = _routes(app)
    if routes is None:
        return []
    return [r for r in protect if not any(_may_fit(r, route) for route in routes)]


def _routes(app: Any) -> list[tuple[str, bool]] | None:
    """Return an app's routes, each with whether it is a prefix; None if unknown."""
    for _ in range(_MAX_LAYERS):
        if library_of(type(app)) not in {*_KNOWN, "builtins"}:
            return None
        url_map = attribute_of(app, "url_map")
        if url_map is not None:
            return [(rule.rule, False) for rule in url_map.iter_rules()]
        layers = attribute_of(app, "user_middleware") or ()
        if any(library_of(layer.cls) not in _KNOWN for layer in layers):
            return None
        routes = attribute_of(app, "routes")
        if isinstance(routes, list):
            has_frontend = _has_frontend(app) or _has_frontend(
                attribute_of(app, "router")
            )
            return None if has_frontend else _flat(routes, "")
        app = attribute_of(app, "app") or attribute_of(app, "__self__")
        if app is None:
            return None
    return None


def _has_frontend(router: Any) -> bool:
    """Whether a router of FastAPI serves files below a path that no route shows."""
    return bool(attribute_of(router, "_low_priority_routes"))


def _included(route: Any, prefix: str) -> list[tuple[str, bool]] | None:
    """Return the routes of a router that a FastAPI app has included.

    From FastAPI 0.137 such a router is one route without a path.
    """
    router = attribute_of(route, "original_router")
    routes = attribute_of(router, "routes")
    given = attribute_of(attribute_of(route, "include_context"), "prefix")
    if (
        not isinstance(routes, list)
        or not isinstance(given, str)
        or _has_frontend(router)
    ):
        return None
    return _flat(routes, prefix + given)


def _flat(routes: list[Any], prefix: str) -> list[tuple[str, bool]] | None:
    """Return nested routes as `_routes` does, each path with its prefix."""
    found: list[tuple[str, bool]] = []
    for route in routes:
        if attribute_of(route, "original_router") is not None:
            included = _included(route, prefix)
            if included is None:
                return None
            found += included
            continue
        path = attribute_of(route, "path")
        if not isinstance(path, str) or library_of(type(route)) not in _KNOWN:
            return None
        inner = attribute_of(route, "routes")
        if isinstance(inner, list) and inner:
            nested = _flat(inner, prefix + path)
            if nested is None:
                return None
            found += nested
        is_mount = type(route).__name__ == "Mount"
        found.append((prefix + path, is_mount and not inner))
    return found


def _may_fit(rule: str, route: tuple[str, bool]) -> bool:
    """Whether some path matches both a route and a rule."""
    path, covers_all_below = route
    wanted = [s for s in fold(rule).split("/") if s]
    given = [s for s in path.split("/") if s]
    for segment, template in zip(wanted, given, strict=False):
        if _CATCH_ALL.search(template):
            return True
        if not ("{" in template or "<" in template or fold(template) == segment):
            return False
    return covers_all_below or len(given) >= len(wanted)

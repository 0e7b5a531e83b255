"""What an app is made of: its routes, its mounted apps, its own prefixes."""

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

from .rules import fold

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


_MOST_APPS = 500


#: Of these only the names above are followed: what else they hold are no apps.
_FRAMEWORKS = frozenset({"starlette", "fastapi", "django", "flask", "werkzeug"})


_READ_TARGETS = frozenset({"blacksheep", "sanic"})


class Inner(NamedTuple):
    """What the apps in the middleware do to a path by themselves.

    Both are asked for at each request, since both may be changed.
    """

    #: Prefixes that they take off: FastAPI's ``root_path=`` and Django's
    #: ``FORCE_SCRIPT_NAME`` come into the scope where the middleware never sees them.
    prefixes: list[Callable[[], str]]
    #: Paths behind which they need no slash: ``/files/*`` of BlackSheep is
    #: ``/filesecret``, too.
    stems: list[Callable[[], list[str]]]
    #: Whether one finds its views by ``raw_path``, which is not decoded.
    reads_target: bool = False


def look_inside(app: object) -> Inner:
    """Return what an app, and the apps that it hands requests on to, do to a path."""
    found = Inner([], [])
    for each in apps_in(app):
        prefix = _prefix_of(each)
        if prefix is not None and prefix not in found.prefixes:
            found.prefixes.append(prefix)
        if _top(type(each)) in _READ_TARGETS:
            found = found._replace(reads_target=True)
            found.stems.append(functools.partial(_stems, each))
    return found


def apps_in(app: object) -> Iterator[Any]:
    """Yield an app, and what it may hand requests on to, each once."""
    seen: set[int] = set()
    waiting: deque[Any] = deque([app])
    while waiting and len(seen) < _MOST_APPS:
        each = waiting.popleft()  # the nearest first, where there are too many
        # A proxy of Werkzeug (`request`) is no app, and raises outside of a request.
        if type(each).__name__ == "LocalProxy" or id(each) in seen:
            continue
        if each is None or isinstance(each, str | bytes | int):
            continue
        seen.add(id(each))
        yield each
        waiting += _inside(each)


def _inside(app: Any) -> Iterator[Any]:
    """Return the apps that an app may hand requests on to, as far as it shows them."""
    for name in _WRAPPERS:
        yield _attribute(app, name)
    for name in ("routes", "application_mapping", "mounts"):
        yield from _callables(_attribute(app, name), is_any=True)
    code = _attribute(app, "__code__")
    if isinstance(code, CodeType):
        for inner in _mentioned(app, code):
            yield from _callables(inner)
    elif not isinstance(app, type) and _top(type(app)) not in _FRAMEWORKS:
        # A wrapper of the project's own keeps its app under whatever name it likes.
        for inner in _fields(app):
            yield from _callables(inner)


def _callables(value: Any, *, is_any: bool = False) -> Iterator[Any]:
    """Return a value that may be an app, or those in a container."""
    values: Iterable[Any] = (value,)
    if isinstance(value, dict):
        values = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        values = value
    for each in itertools.islice(values, _MOST_APPS):
        if is_any or (callable(each) and not isinstance(each, type)):
            yield each


def _mentioned(function: Any, code: CodeType) -> Iterator[Any]:
    """Return what a function has of the functions and modules around it."""
    for cell in _attribute(function, "__closure__") or ():
        with contextlib.suppress(ValueError):  # an empty cell
            yield cell.cell_contents
    outside = _attribute(function, "__globals__")
    if isinstance(outside, dict):
        for name in code.co_names:
            yield outside.get(name)


def _fields(app: Any) -> Iterator[Any]:
    """Return the values of an object's fields; no property of it is called."""
    held = _attribute(app, "__dict__")
    if isinstance(held, dict):
        yield from [*held.values()]
    for kind in type(app).__mro__:
        for member in vars(kind).values():
            if isinstance(member, MemberDescriptorType):  # a slot
                with contextlib.suppress(AttributeError):
                    yield member.__get__(app)
    call = vars(type(app)).get("__call__")
    if isinstance(call, FunctionType):
        yield call


def _attribute(app: Any, name: str) -> Any:
    try:
        return getattr(app, name, None)
    except Exception:  # noqa: BLE001 - a property of somebody else's
        return None


def _prefix_of(app: Any) -> Callable[[], str] | None:
    """Return what gives an app's own prefix, or None if it has none to give."""
    modules = {str(kind.__module__).partition(".")[0] for kind in type(app).__mro__}
    if "django" in modules:
        return _script_name
    root = _attribute(app, "root_path")
    if not isinstance(root, str):
        return None
    # Flask and Quart call the folder that they are in so.
    is_folder = not {"fastapi", "starlette"} & modules and Path(root).is_dir()
    return None if is_folder else lambda: str(_attribute(app, "root_path") or "")


def _stems(app: Any) -> list[str]:
    """Return what stands before the star in the routes of BlackSheep."""
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
    """Return Django's FORCE_SCRIPT_NAME; Django is imported by whoever uses it."""
    conf = sys.modules.get("django.conf")
    settings = None if conf is None else conf.settings
    if settings is None or not settings.configured:
        return ""
    return str(settings.FORCE_SCRIPT_NAME or "")


_KNOWN = frozenset({"starlette", "fastapi", "flask"})


_ANYTHING = re.compile(r"\{[^}]*:path\}|<path:")


def unmatched(protect: Iterable[str], app: object) -> list[str]:
    """Return the rules that fit no route of an app, as far as the app shows its routes.

    Only Starlette's, FastAPI's and Flask's own objects are read; where anything else
    might answer a path, no rule is said to be wrong.
    """
    routes = _routes(app)
    if routes is None:
        return []
    return [r for r in protect if not any(_may_meet(r, route) for route in routes)]


def _routes(app: Any) -> list[tuple[str, bool]] | None:
    """Return an app's routes, and whether each covers all below; None if not known."""
    for _ in range(_MOST_APPS):
        if not {str(type(app).__module__).partition(".")[0]} <= {*_KNOWN, "builtins"}:
            return None
        url_map = _attribute(app, "url_map")
        if url_map is not None:
            return [(rule.rule, False) for rule in url_map.iter_rules()]
        layers = _attribute(app, "user_middleware") or ()
        if any(_top(layer.cls) not in _KNOWN for layer in layers):
            return None
        routes = _attribute(app, "routes")
        if isinstance(routes, list):
            return _flat(routes, "")
        app = _attribute(app, "app") or _attribute(app, "__self__")
        if app is None:
            return None
    return None


def _top(kind: Any) -> str:
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def _flat(routes: list[Any], before: str) -> list[tuple[str, bool]] | None:
    found: list[tuple[str, bool]] = []
    for route in routes:
        path = _attribute(route, "path")
        if not isinstance(path, str) or _top(type(route)) not in _KNOWN:
            return None
        inner = _attribute(route, "routes")
        if isinstance(inner, list) and inner:
            below_it = _flat(inner, before + path)
            if below_it is None:
                return None
            found += below_it
        is_mount = type(route).__name__ == "Mount"
        found.append((before + path, is_mount and not inner))
    return found


def _may_meet(rule: str, route: tuple[str, bool]) -> bool:
    """Whether a path may fit a route and a rule."""
    path, is_all_below = route
    wanted = [s for s in fold(rule).split("/") if s]
    given = [s for s in path.split("/") if s]
    for segment, template in zip(wanted, given, strict=False):
        if _ANYTHING.search(template):
            return True
        if not ("{" in template or "<" in template or fold(template) == segment):
            return False
    return is_all_below or len(given) >= len(wanted)

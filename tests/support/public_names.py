"""The public modules of the package and their names, read from the source.

Nothing is imported, so this works where a framework is missing.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(str(find_spec("tiktok_oauth_middleware").origin)).parent
#: By their names in the package; "" is the package itself.
MODULES = (
    "",
    "starlette",
    "fastapi",
    "flask",
    "django",
    "django.signals",
    "django.channels",
    "django.ninja",
    "django.rest_framework",
    "caching",
    "events",
    "testing",
    "testing.plugin",
    "testing.django",
    "testing.server",
    "testing.stores",
)


def source_of(module: str) -> ast.Module:
    """Return the syntax tree of a module of the package."""
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def exported(module: str) -> list[str]:
    """Return the names in a module's ``__all__``."""
    for node in source_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    message = f"{module} has no __all__"
    raise LookupError(message)


def full_name(module: str, name: str = "") -> str:
    """Return the name by which an app imports a module or a name in it."""
    return ".".join(filter(None, ["tiktok_oauth_middleware", module, name]))

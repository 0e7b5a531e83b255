"""The public surface: complete, sorted, and cheap to import."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tiktok_oauth_middleware

from ..support.public_names import MODULES, PACKAGE, exported, source_of

ROOT = Path(__file__).parents[2]
IMPORT = re.compile(
    r"from tiktok_oauth_middleware((?:\.[a-z_]+)*) import ([A-Za-z_, ]+)"
)

HEAVY = (
    "anyio",
    "asyncio",
    "authlib",
    "cryptography",
    "fastapi",
    "flask",
    "httpx",
    "httpx2",
    "itsdangerous",
    "redis",
    "sqlite3",
    "ssl",
    "starlette",
)


def test_sorted():
    """`__all__` is sorted, and has each name once."""
    names = tiktok_oauth_middleware.__all__
    assert names == sorted(set(names))


@pytest.mark.parametrize("name", tiktok_oauth_middleware.__all__)
def test_importable(name):
    """Every public name can be imported, and has a docstring."""
    assert getattr(tiktok_oauth_middleware, name).__doc__


def names_of(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the functions, classes and constants that a module defines."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return found


def defined_in(tree: ast.Module) -> set[str]:
    """Return a module's names without a leading underscore, except TypeVars."""
    return {
        name
        for name, node in names_of(tree).items()
        if not name.startswith("_") and " = TypeVar(" not in ast.unparse(node)
    }


def imported_by(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


#: Names of public modules that only other modules of the package use.
SHARED = {"caching": {"keep_out_of_djangos_caches", "watched_request"}}


@pytest.mark.parametrize("module", MODULES)
def test_public_module(module):
    """`__all__` has exactly the names that a public module defines or re-exports."""
    names = set(exported(module))
    tree = source_of(module)
    defined = defined_in(tree)
    assert defined - SHARED.get(module, set()) <= names
    assert names <= defined | imported_by(tree) | {"__version__"}


@pytest.mark.parametrize("module", [m for m in MODULES if "django" not in m])
def test_public_module_can_be_imported(module):
    """Every name in a module's `__all__` can be imported, and is there once."""
    found = importlib.import_module(f"tiktok_oauth_middleware.{module}".rstrip("."))
    assert len(found.__all__) == len(set(found.__all__))
    assert [name for name in found.__all__ if not hasattr(found, name)] == []


def test_documents_import_public_names():
    """All names that the documents and examples import are public."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    pages += (ROOT / "examples").rglob("*.py")
    found = {
        (module[1:], name.strip())
        for page in pages
        for module, names in IMPORT.findall(page.read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    assert len(found) > 20
    for module, name in found:
        is_module = f"{module}.{name}".strip(".") in MODULES
        assert module in MODULES, (module, name)
        assert is_module or name in exported(module), (module, name)


#: Names that several modules define, because each says the same in its own terms.
TWINS = {
    # The middlewares of ASGI and WSGI, the stores of SQLAlchemy and Django, and what
    # protects a seal from being moved.
    "_WatchedAuth",
    "_deleting_cookie",
    "_read_body",
    "_associated_data",
    "batch_statements_for",
    "statements_for",
    # Each integration's.
    "_with_guard",
    "requires_tiktok",
    "signed_in_auth",
    "tiktok_auth",
    "tiktok_login",
    # Each module of `check`, each endpoint of the stand-in, each command of manage.py.
    "findings",
    "_refuse",
    "Command",
    # The pages' and the stand-in's: each set of pages has a style sheet of its own.
    "_STYLE",
    "_STYLE_HASH",
    # The stand-in's, which judges by constants of its own.
    "AUTHORIZE",
    "FORM",
    "REVOKE",
    "TOKEN",
    "USER_INFO",
    "_LONGEST_REDIRECT_URI",
    "_MILLISECONDS",
    # Types that a function is generic over.
    "T",
    "V",
    # Python's own, and the modules of names that are imported when they are used.
    "_HOMES",
    "__all__",
    "__dir__",
}


def test_a_name_has_one_meaning():
    """No two modules give one name to different functions, classes or constants."""
    homes: dict[str, set[Path]] = {}
    for path in PACKAGE.rglob("*.py"):
        for name in names_of(ast.parse(path.read_text(encoding="utf-8"))):
            homes.setdefault(name, set()).add(path.relative_to(PACKAGE))
    several = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert {name: several[name] for name in several.keys() - TWINS} == {}
    assert several.keys() >= TWINS


def test_unit_tests_mirror_the_package():
    """Each file of tests/unit is named after a module or folder of the package."""
    unit = Path(__file__).parent
    for path in unit.rglob("test_*.py"):
        folder = PACKAGE / path.relative_to(unit).parent
        name = path.stem.removeprefix("test_")
        homes = [folder / f"{under}{name}" for under in ("", "_", "__")]
        homes += [
            folder / f"{home.name}{end}.py" for home in homes for end in ("", "__")
        ]
        assert path == Path(__file__) or any(home.exists() for home in homes), path


def test_unknown():
    """An unknown name is an AttributeError."""
    with pytest.raises(AttributeError, match="nothing"):
        _ = tiktok_oauth_middleware.nothing


def test_version():
    """The version in the package is the one in the metadata."""
    from importlib.metadata import version

    assert version("tiktok-oauth-middleware") == tiktok_oauth_middleware.__version__


def loaded_by(code: str) -> set[str]:
    script = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_nothing_heavy():
    """Importing the package loads no framework, HTTP client or cryptography."""
    assert not loaded_by("import tiktok_oauth_middleware") & set(HEAVY)


def test_no_framework_for_the_middleware():
    """Neither middleware loads a framework or an HTTP client."""
    loaded = loaded_by(
        "from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware"
    )
    assert not loaded & {"starlette", "fastapi", "flask", "authlib", "httpx2", "ssl"}


def test_modules_for_connecting_are_not_loaded_without_need():
    """An app that connects no accounts loads none of the modules that do that."""
    code = (
        "from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings;"
        "TikTokOAuthWSGIMiddleware(print, TikTokSettings(client_key='awkey',"
        " client_secret='a-secret-of-tests', redirect_uri='https://a.example/cb',"
        " secret_keys=['Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo'], store='memory://'));"
        "assert not [m for m in sys.modules if 'connect' in m and 'tiktok' in m]"
    )
    assert loaded_by(code)


def test_layers():
    """Every module imports only from the layers below it."""
    # In another process, since it configures logging globally.
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout

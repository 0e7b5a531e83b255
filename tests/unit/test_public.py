"""The public surface: complete, sorted, and cheap to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tiktok_oauth_middleware

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
    """`__all__` is sorted, and says each name once."""
    names = tiktok_oauth_middleware.__all__
    assert names == sorted(set(names))


@pytest.mark.parametrize("name", tiktok_oauth_middleware.__all__)
def test_importable(name):
    """Every public name can be had, documented."""
    assert getattr(tiktok_oauth_middleware, name).__doc__


def test_unknown():
    """A name that is none is an AttributeError."""
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


def test_layers():
    """Every module imports only from the layers below it."""
    # In a process of its own: it configures logging for all that is loaded.
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout

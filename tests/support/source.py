"""The package's own source."""

from __future__ import annotations

import ast
from pathlib import Path

import tiktok_oauth_middleware

HOME = Path(tiktok_oauth_middleware.__file__).parent
SOURCES = sorted(path for path in HOME.rglob("*.py") if "testing" not in path.parts)


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))

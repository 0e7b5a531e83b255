"""The code blocks of the README and docs/*.md, run unchanged."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CALLBACK, ORIGIN

DOCS = Path(__file__).parents[2] / "docs"
#: The language, the name if there is one, and the code.
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@contextmanager
def in_environment(
    fake: FakeTikTok, monkeypatch: pytest.MonkeyPatch, **further: str
) -> Iterator[None]:
    """Set the environment variables that a page uses, with a stand-in's addresses.

    Args:
        fake: the stand-in to serve.
        monkeypatch: sets the variables.
        further: variables besides the usual ones, or other values.
    """
    with StandIn(fake) as stand_in:
        values = {
            **stand_in.environment(ORIGIN + CALLBACK),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_STORE": "memory://",
            **further,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield


def blocks(document: str) -> dict[str, str]:
    """Return the named blocks of a document, each at its own line numbers.

    Blocks with the same name form one program.
    """
    text = (DOCS / document).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for match in _BLOCK.finditer(text):
        if match[2] is not None:
            before = found.get(match[2], "")
            line = text.count("\n", 0, match.start(3))
            found[match[2]] = before + "\n" * (line - before.count("\n")) + match[3]
    return found


def programs(document: str) -> list[Any]:
    """Return the compiled Python blocks without a name, at their own line numbers."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return [
        compile("\n" * text.count("\n", 0, match.start(3)) + match[3], document, "exec")
        for match in _BLOCK.finditer(text)
        if match[1] == "python" and match[2] is None
    ]


def run(document: str, name: str) -> dict[str, Any]:
    """Run a block as a new module ``recipe_NAME``; return its namespace."""
    code = compile(blocks(document)[name], str(DOCS / document), "exec")
    module = ModuleType(f"recipe_{name}")
    # Some frameworks look up the calling module.
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module.__dict__

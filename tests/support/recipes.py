"""The code blocks of docs/*.md, found by name and run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(document: str) -> dict[str, str]:
    """Return the named blocks of a document, moved down to the lines they stand on.

    Blocks of one name go on where the last one ended.
    """
    text = (DOCS / document).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for match in _BLOCK.finditer(text):
        before = found.get(match[2], "")
        line = text.count("\n", 0, match.start(3))
        found[match[2]] = before + "\n" * (line - before.count("\n")) + match[3]
    return found


def run(document: str, name: str) -> dict[str, Any]:
    """Run a block as a new module ``recipe_NAME``; return what it leaves behind."""
    code = compile(blocks(document)[name], str(DOCS / document), "exec")
    module = ModuleType(f"recipe_{name}")
    # Some frameworks look their caller up.
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module.__dict__

"""The code blocks of the README and docs/*.md, run as they are written."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
#: The language, the name if there is one, and the code.
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


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
    """Run a block as a new module ``recipe_NAME``; return what it leaves behind."""
    code = compile(blocks(document)[name], str(DOCS / document), "exec")
    module = ModuleType(f"recipe_{name}")
    # Some frameworks look their caller up.
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module.__dict__

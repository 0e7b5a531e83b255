"""The documents tell the truth: their code runs, their tables are whole."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from tiktok_oauth_middleware.pages import PROBLEMS
from tiktok_oauth_middleware.wording import NOTES, WAYS

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def environment(monkeypatch):
    values = {
        "CLIENT_KEY": "awexampleclientkey",
        "CLIENT_SECRET": "the-client-secret-of-tests",
        "REDIRECT_URI": "https://app.example.com/auth/tiktok/callback",
        "SECRET_KEYS": secrets.token_urlsafe(32),
        "STORE": "memory://",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"TIKTOK_{name}", value)


def run(name):
    """Run the blocks of a document in one fresh namespace, which is returned."""
    text = (DOCS / name).read_text()
    found = {"__name__": "docs"}
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start(1))
        exec(compile("\n" * line + match[1], name, "exec"), found)
    return found


class TestPages:
    def test_blocks_run(self, environment):
        """The blocks run, and the page in them writes every problem."""
        found = run("pages.md")
        for problem in PROBLEMS.values():
            made = found["page"](problem)
            assert made is None or problem.title in made

    def test_names(self):
        """Every name and text that there is, is listed."""
        rows = (DOCS / "pages.md").read_text().splitlines()
        for code, problem in PROBLEMS.items():
            said = f"**{problem.title}** {' '.join(problem.texts)}"
            assert f"| `{code}` | {problem.status} | {said} |" in rows
        for name, text in (*WAYS.items(), *NOTES.items()):
            assert f"| `{name}` | {text} |" in rows

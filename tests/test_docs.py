"""The documents tell the truth: their code runs, their tables are whole."""

from __future__ import annotations

import json
import logging
import re
import secrets
from pathlib import Path

import pytest

from tiktok_oauth_middleware import Event
from tiktok_oauth_middleware._core.backends import base, threads
from tiktok_oauth_middleware._observe.emit import REASONS, Emitter
from tiktok_oauth_middleware._observe.metrics import HISTOGRAMS
from tiktok_oauth_middleware._web.messages import NOTES, WAYS
from tiktok_oauth_middleware._web.pages import PROBLEMS
from tiktok_oauth_middleware.events import COUNTERS, EVENTS

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


class TestMetrics:
    @pytest.fixture
    def rows(self):
        """Return the rows of the document's tables, as lists of cells."""
        lines = (DOCS / "metrics.md").read_text().splitlines()
        return {
            cells[0].strip("`"): cells
            for line in lines
            if line.startswith("| ")
            for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
        }

    def test_events(self, rows):
        """Every event is listed with its level and its reasons."""
        for name, reasons in REASONS.items():
            _, level, said = rows[name]
            usual = EVENTS[name].level
            assert level.startswith(logging.getLevelName(usual).lower())
            assert {*re.findall(r"`([\w.]+)`", said)} == reasons

    def test_instruments(self, rows):
        """Every counter and histogram is listed."""
        assert {*COUNTERS, *HISTOGRAMS} <= set(rows)

    def test_fields(self, rows, caplog):
        """Every field of a record is listed, and no other."""
        event = Event(name="logout", open_id="someone")
        with caplog.at_level("INFO", "tiktok_oauth_middleware"):
            base.run(Emitter(threads.ThreadBackend(), b"key", None, None)(event))
        [record] = caplog.records
        fields = {name for name in vars(record) if name.startswith("tiktok_")}
        assert {row for row in rows if row.startswith("tiktok_")} - {
            row for row in rows if "." in row
        } == fields

    def test_dashboard(self):
        """The dashboard asks for every metric under the name Prometheus gives it."""
        board = json.loads((DOCS / "grafana-dashboard.json").read_text())
        queries = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
        asked = {name for q in queries for name in re.findall(r"tiktok_oauth\w+", q)}
        counters = {f"{name.replace('.', '_')}_total" for name in COUNTERS}
        histograms = {f"{name.replace('.', '_')}_seconds" for name in HISTOGRAMS}
        assert {re.sub("_(bucket|count)$", "", name) for name in asked} == (
            counters | histograms
        )
        document = (DOCS / "metrics.md").read_text()
        for query in queries:
            assert f"`{query.replace('$__rate_interval', '5m')}`" in document


class TestCheck:
    def test_codes(self):
        """Every code of a finding that the source makes is listed, and no other."""
        package = DOCS.parent / "tiktok_oauth_middleware" / "diagnosis"
        source = "".join(path.read_text() for path in package.glob("*.py"))
        made = set(re.findall(r'(?:good|note|wrong|level)\(\s*"([a-z_]+)"', source)) | {
            "unknown_variable"
        }
        table = (DOCS / "check.md").read_text().partition("\n## Findings\n")[2]
        cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        listed = {code for cell in cells for code in re.findall(r"`([a-z_]+)`", cell)}
        assert listed == made
        assert len(made) > 40

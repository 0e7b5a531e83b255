"""What holds for every page below docs/: links, purpose, dates of figures, code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..support.recipes import DOCS

ROOT = Path(__file__).parents[2]
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [*ROOT.glob("[CRS]*.md"), *PAGES]
DOCUMENTS += (ROOT / "examples").glob("*/README.md")
LINK = re.compile(r"\]\(([^):]*?)(?:#([^)]*))?\)")
PYTHON = re.compile(r"^```python\b.*$", re.MULTILINE)


def test_all_run():
    """Each page with Python code is named by a test that runs it."""
    tests = "\n".join(
        test.read_text(encoding="utf-8") for test in (ROOT / "tests").rglob("test_*.py")
    )
    for page in PAGES:
        if PYTHON.search(page.read_text(encoding="utf-8")):
            name = page.relative_to(DOCS).as_posix()
            assert f'"{name}"' in tests, name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_compiles(page):
    """Blocks marked py, which are only shown, compile."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```py\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        compile(match[1], page.name, "exec")


@pytest.mark.parametrize("name", ["performance.md", "reliability.md", "hardening.md"])
def test_figures_have_a_date(name):
    """Each section with a table of figures says when they were measured, with which code."""
    text = (DOCS / "evidence" / name).read_text(encoding="utf-8")
    sections = re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]
    measured = [part for part in sections if re.search(r"^\|", part, re.MULTILINE)]
    assert len(measured) > 1
    for part in measured:
        title = part.partition("\n")[0]
        date = r"\d\s\w+\s20\d\d,\s+at\s+commits?\s+[0-9a-f]{7}"
        assert re.search(date, part), title


#: Packages that the README and the page of comparisons name with a version.
COMPARED = ("django-allauth", "Flask-Dance", "social-auth-core", "httpx-oauth")
COMPARED += ("better-auth", "@auth/core", "Authlib")


def test_compared_versions():
    """All comparisons with a package name the same version of it."""
    texts = [ROOT / "README.md", DOCS / "guide" / "comparison.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in texts)
    found = {
        name: set(re.findall(rf"{name}[`)\]]*(?:\(http[^)]+\))? (\d[\d.]*\d)", text))
        for name in COMPARED
    }
    assert {name for name, versions in found.items() if len(versions) != 1} == set()


def test_lower_bounds():
    """The page about installing names the lower bounds of pyproject.toml."""
    page = (DOCS / "guide" / "install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d[\d.]*) \|", page, re.MULTILINE)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert len(rows) > 5
    for library, bound in rows:
        assert re.search(rf'"{library.lower()}>={re.escape(bound)}(?![\d.])', project)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_begins_with_its_purpose(page):
    """A page begins with a sentence, before its contents, tables and sections."""
    first = page.read_text(encoding="utf-8").split("\n\n")[1]
    assert re.match(r"(?!Contents|```)[A-Z`\[]", first)
    assert first.rstrip().endswith((".", ":"))


def test_index():
    """The index links to every page except itself and the front page."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", index))
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES}
    assert pages - {"README.md", "index.md"} <= listed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links(document):
    """Links between the documents lead to files and headings that exist."""
    for target, heading in LINK.findall(document.read_text(encoding="utf-8")):
        found = (document.parent / target).resolve() if target else document
        assert found.exists(), target
        if heading:
            text = found.read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            slugs = [
                re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles
            ]
            assert heading in slugs, heading

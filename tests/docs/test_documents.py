"""The pages below docs/: their code is run, their links and their reference are true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from ..support.recipes import DOCS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("[CRS]*.md"), *DOCS.glob("*.md")]
DOCUMENTS += (ROOT / "examples").glob("*/README.md")
LINK = re.compile(r"\]\(([^):]*?)(?:#([^)]*))?\)")
PYTHON = re.compile(r"^```python\b.*$", re.MULTILINE)


def test_all_run():
    """Every page with Python to run is named by a test that runs it."""
    tests = "\n".join(
        test.read_text(encoding="utf-8") for test in (ROOT / "tests").rglob("test_*.py")
    )
    for page in DOCS.glob("*.md"):
        if PYTHON.search(page.read_text(encoding="utf-8")):
            assert f'"{page.name}"' in tests, page.name


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_compiles(page):
    """Blocks that are only shown, marked py, are Python too."""
    if page.name == "reference.md":
        return  # signatures, which no parser takes
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```py\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        compile(match[1], page.name, "exec")


def test_reference_is_current():
    """The reference is what `make reference` writes now."""
    written = runpy.run_path(str(DOCS / "make_reference.py"))["reference"]()
    kept = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert kept == written, "run `make reference`"


def test_everything_public_is_in_the_reference():
    """The reference has every public name of the package."""
    import tiktok_oauth_middleware

    kept = (DOCS / "reference.md").read_text(encoding="utf-8")
    for name in tiktok_oauth_middleware.__all__:
        assert f"### `{name}`" in kept


def test_index():
    """The index leads to every page."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w-]+\.md)\)", index))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links(document):
    """Links between the documents lead to files and headings that are there."""
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

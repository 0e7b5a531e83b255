"""The site's pages: navigation, front page, links that leave docs/, and llms.txt.

The list in docs/README.md is the only list of pages: it is the index that a reader on a
forge sees, and navigation and ``llms.txt`` are made from it. A page that it does not
list makes the build fail.

The front page is the project's README, and what else stands at the top of the checkout
has a page below ``project/``. The files there hold a link only; their text is read from
the file itself, so that it exists once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
#: Pages whose text is a file at the top of the checkout.
FROM_THE_TOP = {
    "index": "README.md",
    "project/changelog": "CHANGELOG.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/security": "SECURITY.md",
}
_LOG = logging.getLogger(__name__)
_SHELF = re.compile(r"^## (.+)$", re.MULTILINE)
_ITEM = re.compile(r"^- (.+(?:\n  .+)*)", re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^]]*)\]\(([^()\s:#]+)(#[^()\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


class Page(NamedTuple):
    """A page as docs/README.md lists it."""

    #: The path below docs/ without ``.md``.
    name: str
    title: str
    #: What the list says about it.
    about: str


def shelves() -> dict[str, list[Page]]:
    """Return the pages of docs/README.md by the headings above them."""
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    parts = _SHELF.split(text)[1:]
    return {
        shelf: list(_pages(items))
        for shelf, items in zip(parts[::2], parts[1::2], strict=True)
    }


def _pages(items: str) -> Iterator[Page]:
    for item in _ITEM.findall(items):
        words = " ".join(item.split())
        for match in _LINK.finditer(words):
            if match[3].endswith(".md"):
                about = _LINK.sub(lambda found: found[2], words[match.end() :])
                yield Page(match[3].removesuffix(".md"), match[2], about.strip(" :"))


# --- the source of a page ----------------------------------------------------------


def _read(_: Sphinx, name: str, source: list[str]) -> None:
    """Complete a page's Markdown before it is parsed."""
    home = DOCS / f"{name}.md"
    if name in FROM_THE_TOP:
        home = ROOT / FROM_THE_TOP[name]
        source[0] = home.read_text(encoding="utf-8")
    source[0] = "".join(
        part if part.startswith("```") else _LINK.sub(_relinked(name, home), part)
        for part in _FENCE.split(source[0])
    )
    if name == "index":
        source[0] += "".join(_navigation())


def _relinked(name: str, home: Path) -> Callable[[re.Match[str]], str]:
    """Return what rewrites the links of a file for the page that shows it."""
    page_of = {ROOT / path: page for page, path in FROM_THE_TOP.items()}
    folder = (DOCS / name).parent

    def rewrite(match: re.Match[str]) -> str:
        image, words, path, anchor = match.groups("")
        target = (home.parent / path).resolve()
        if target in page_of:
            target = DOCS / f"{page_of[target]}.md"
        if target.is_relative_to(DOCS):
            to = os.path.relpath(target, folder)
            return f"{image}[{words}]({to}{anchor})"
        if not target.exists():
            _LOG.warning("link to a missing file: %s", path, location=name)
        place = target.relative_to(ROOT).as_posix()
        return words if words.strip("`") == place else f"{words} (`{place}`)"

    return rewrite


def _navigation() -> Iterator[str]:
    yield "\n\n```{toctree}\n:hidden:\n\nREADME\n```\n"
    for shelf, pages in shelves().items():
        names = "\n".join(page.name for page in pages)
        yield f"\n\n```{{toctree}}\n:hidden:\n:caption: {shelf}\n\n{names}\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The site's pages: navigation, front page, links that leave docs/, and llms.txt.

The list in docs/README.md is the only list of pages: it is the index that a reader on a
forge sees, and navigation and ``llms.txt`` are made from it. A page that it does not
list makes the build fail.

The front page is the project's README, and what else is at the top of the checkout has
a page below ``project/``. The files there hold a link only; their text is read from the
file itself, so that it exists once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from docutils.io import StringOutput
from pygments.lexers.special import TextLexer
from sphinx.builders.text import TextBuilder
from sphinx.util import logging
from sphinx.writers.text import TextWriter

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
#: Languages of code that Pygments does not know.
_WITHOUT_COLOURS = ("haproxy",)
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


#: The front page, which the list need not have.
_FRONT = Page("index", "README", "what the package is, a quick start, and its limits")


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
    source[0] = _markdown(name, source[0])
    if name == "index":
        source[0] += "".join(_navigation())


def _markdown(name: str, text: str) -> str:
    """Return a page's Markdown with links that lead somewhere on the site."""
    home = DOCS / f"{name}.md"
    if name in FROM_THE_TOP:
        home = ROOT / FROM_THE_TOP[name]
        text = home.read_text(encoding="utf-8")
    return "".join(
        part if part.startswith("```") else _LINK.sub(_relinked(name, home), part)
        for part in _FENCE.split(text)
    )


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


# --- after the build ---------------------------------------------------------------

#: What axe finds wrong in the HTML of Sphinx and Furo, and what is right: a level for
#: the headings of the navigation, names for its two columns, no headings without text.
_CORRECTIONS = (
    (re.compile(r'class="caption" role="heading"'), r'\g<0> aria-level="2"'),
    (re.compile(r'<aside class="sidebar-drawer"'), r'\g<0> aria-label="Pages"'),
    (
        re.compile(r'<aside class="toc-drawer'),
        r'<aside aria-label="This page" class="toc-drawer',
    ),
    (
        re.compile(
            r"<thead>\s*<tr[^>]*>(\s*<th[^>]*><p></p></th>)+\s*</tr>\s*</thead>"
        ),
        "",
    ),
    (re.compile(r"<th([^>]*)><p></p></th>"), r"<td\1></td>"),
)
#: Code that is too long for a column of a table, such as the path of a test; and the
#: characters after which it may be broken there.
_LONG_CODE = re.compile(r'(?<=<span class="pre">)[^<]{28,}(?=</span>)')
_BREAKS = re.compile(r"(?:[/_:=?,]|\.(?!py))(?=\w)")


def _finish(app: Sphinx, failure: Exception | None) -> None:
    """Correct the pages' HTML, and write ``llms.txt`` and ``llms-full.txt``."""
    if failure or app.builder.name != "html":
        return
    site = Path(app.outdir)
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for wrong, right in _CORRECTIONS:
            text = wrong.sub(right, text)
        text = _LONG_CODE.sub(lambda found: _BREAKS.sub(r"\g<0><wbr>", found[0]), text)
        page.write_text(text, encoding="utf-8")
    whole = dict(_texts(app))
    for name, text in whole.items():
        (site / f"{name}.md").write_text(text, encoding="utf-8")
    (site / "llms.txt").write_text("".join(_index(app)), encoding="utf-8")
    full = "\n\n".join(f"<!-- {name}.md -->\n\n{text}" for name, text in whole.items())
    (site / "llms-full.txt").write_text(full, encoding="utf-8")


def _index(app: Sphinx) -> Iterator[str]:
    """Yield the lines of ``llms.txt``, as https://llmstxt.org/ describes them."""
    summary = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
    yield f"# {app.config.project}\n\n> {' '.join(summary.split())}\n"
    yield "\nThe text of all pages is in `llms-full.txt` beside this file.\n"
    site = app.config.html_baseurl
    for shelf, pages in {"Start": [_FRONT], **shelves()}.items():
        yield f"\n## {shelf}\n\n"
        for page in pages:
            about = f": {page.about}" if page.about else ""
            yield f"- [{page.title}]({site}{page.name}.md){about}\n"


def _texts(app: Sphinx) -> Iterator[tuple[str, str]]:
    """Yield each page's name and text; of the reference, what its docstrings say."""
    names = [page.name for pages in shelves().values() for page in pages]
    for name in ["index", *names]:
        if name.startswith("reference/"):
            yield name, _rendered(app, name)
        else:
            text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
            yield name, _markdown(name, text)


def _rendered(app: Sphinx, name: str) -> str:
    """Return a page as text, with its headings in Markdown."""
    builder = TextBuilder(app, app.env)
    builder.init()
    builder.prepare_writing({name})
    writer = TextWriter(builder)
    tree = app.env.get_and_resolve_doctree(name, builder)
    writer.write(tree, StringOutput(encoding="unicode"))
    text = re.sub(r"^(.+)\n\*{3,}$", r"# \1", writer.output, flags=re.MULTILINE)
    return re.sub(r"^(.+)\n={3,}$", r"## \1", text, flags=re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    for language in _WITHOUT_COLOURS:
        app.add_lexer(language, TextLexer)
    app.connect("source-read", _read)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Diagrams: Mermaid in the pages' Markdown, drawn once and kept as SVG.

A forge draws the ``mermaid`` blocks of a page itself. The site shows the SVG that
``make diagrams`` has drawn of each, with Mermaid's own program in Chromium, so that
building and reading the site need neither JavaScript nor a network. The SVG is part of
the page itself and takes the site's colours, light and dark. Its first bytes hold the
hash of its source: a diagram that was changed and not drawn again fails the build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
DRAWN = DOCS / "images" / "diagrams"
#: The package on npm that draws.
MERMAID = "mermaid@12.3.0"
_BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r"^ *accTitle: (.+)$", re.MULTILINE)
_LOG = logging.getLogger(__name__)
#: Colours of the site's theme in place of Mermaid's; the others are for other readers.
_COLOURS = """
text, tspan, .label text, .edgeLabel text, .cluster-label text {
  fill: var(--color-foreground-primary, #111) !important; stroke: none !important;
}
.node rect, .node polygon, .node path,
rect.actor, rect.note, .labelBkg, .edgeLabel rect {
  fill: var(--color-background-secondary, #f4f5f7) !important;
  stroke: var(--color-foreground-border, #878787) !important; opacity: 1 !important;
  filter: none !important;
}
.edgeLabel rect { stroke: none !important; }
.cluster rect {
  fill: none !important; stroke: var(--color-foreground-border, #878787) !important;
}
.flowchart-link, .messageLine0, .messageLine1, .actor-line {
  stroke: var(--color-foreground-muted, #555) !important;
}
.actor-line { stroke-width: 1px !important; }
marker path, marker polygon {
  fill: var(--color-foreground-muted, #555) !important;
  stroke: var(--color-foreground-muted, #555) !important;
}
"""
_DRAW = """
async ([source, name, colours]) => {
  mermaid.initialize({
    startOnLoad: false, theme: "neutral", htmlLabels: false, themeCSS: colours,
    fontFamily: "Arial, Helvetica, sans-serif", deterministicIds: true,
    flowchart: {htmlLabels: false, padding: 12, wrappingWidth: 260},
    sequence: {
      mirrorActors: false, wrap: true, width: 130, height: 40, actorMargin: 110,
    },
  });
  return (await mermaid.render(name, source)).svg;
}
"""


def _digest(source: str) -> str:
    return sha256(source.strip().encode()).hexdigest()[:16]


def _drawing(source: str) -> Path:
    """Return where a diagram's SVG is: a file named after its title."""
    title = _TITLE.search(source)
    name = title[1] if title else "without a title"
    return DRAWN / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.svg"


class Mermaid(SphinxDirective):
    """Shows the SVG of a diagram, in place of its source."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the SVG, if it is of this source."""
        source = "\n".join(self.content)
        path = _drawing(source)
        self.env.note_dependency(str(path))
        svg = path.read_text(encoding="utf-8") if path.exists() else ""
        if not svg.startswith(f"<!-- {_digest(source)} -->"):
            _LOG.warning(
                "%s is not drawn from this diagram: run make diagrams",
                path.relative_to(DOCS),
                location=self.get_location(),
            )
        html = f'<div class="mermaid">{svg.partition("-->")[2].strip()}</div>'
        return [nodes.raw("", html, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# --- make diagrams -----------------------------------------------------------------


def _sources() -> Iterator[str]:
    for page in sorted(DOCS.rglob("*.md")):
        yield from _BLOCK.findall(page.read_text(encoding="utf-8"))


def draw() -> None:
    """Draw every diagram of the pages, and remove drawings that no page has."""
    from playwright.sync_api import sync_playwright

    npm = shutil.which("npm") or "npm"
    kept = set()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        subprocess.run(  # noqa: S603 - npm, for a package that this file names
            [npm, "pack", "--silent", MERMAID], cwd=folder, check=True
        )
        (archive,) = Path(folder).glob("*.tgz")
        shutil.unpack_archive(archive, folder, filter="data")
        # The page is our own; root cannot have Chromium's sandbox.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page(viewport={"width": 760, "height": 900})
        page.set_content("<!doctype html><title>Diagrams</title>")
        page.add_script_tag(path=Path(folder, "package", "dist", "mermaid.min.js"))
        DRAWN.mkdir(exist_ok=True)
        for source in _sources():
            path = _drawing(source)
            svg = page.evaluate(_DRAW, [source, f"diagram-{path.stem}", _COLOURS])
            path.write_text(f"<!-- {_digest(source)} -->\n{svg}\n", encoding="utf-8")
            kept.add(path)
            sys.stdout.write(f"{path.relative_to(DOCS)}\n")
        browser.close()
    for path in set(DRAWN.glob("*.svg")) - kept:
        path.unlink()


if __name__ == "__main__":
    draw()

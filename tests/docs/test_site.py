"""The documentation's site builds without a warning, and is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from ..support.public_names import MODULES, exported, full_name
from ..support.screenshots import shoot

pytest.importorskip("sphinx", reason="sphinx is not installed")

from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the site, built as by `make docs`."""
    target = tmp_path_factory.mktemp("site")
    flags = ["-q", "-E", "-W", "--keep-going", "-b", "html", "-d", target / "doctrees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *flags, DOCS, target / "html"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target / "html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Leave requests out of the tests' output."""


@contextmanager
def serving(folder):
    """Serve a folder on loopback, and yield its address."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


#: Marks one element of each look: colours, font and the backgrounds behind it. The rule
#: of contrast reads nothing else, and took most of axe's time: 2,600 elements on a page
#: have 40 looks.
MARK_LOOKS = """
() => {
    const seen = new Set();
    for (const element of document.querySelectorAll("body *")) {
        const texts = [...element.childNodes].filter(n => n.nodeType === Node.TEXT_NODE);
        if (!texts.some(n => n.data.trim())) continue;
        const own = getComputedStyle(element);
        const look = [own.color, own.fontSize, own.fontWeight, own.textShadow];
        for (let each = element; each; each = each.parentElement) {
            const style = getComputedStyle(each);
            look.push(style.backgroundColor, style.backgroundImage, style.opacity);
        }
        const key = look.join();
        if (!seen.has(key)) element.dataset.look = "";
        seen.add(key);
    }
    return seen.size;
}
"""
CONTRAST = "{resultTypes: ['violations'], runOnly: ['color-contrast']}"
ALL_ELSE = "{resultTypes: ['violations'], rules: {'color-contrast': {enabled: false}}}"


def violations(tab):
    """Return axe's findings: each rule with the first place.

    Contrast is measured on one element of each look, everything else on all.
    """
    import axe_playwright_python

    axe = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    tab.evaluate(axe.read_text(encoding="utf-8"))
    assert tab.evaluate(MARK_LOOKS) > 10
    contrast = tab.evaluate(f"axe.run('[data-look]', {CONTRAST})")
    found = tab.evaluate(f"axe.run(document, {ALL_ELSE})")
    assert len(contrast["passes"]) == 1
    assert len(found["passes"]) > 10
    return [
        (result["id"], result["nodes"][0]["html"])
        for result in contrast["violations"] + found["violations"]
        # Sphinx writes a long signature as a list of definitions without terms.
        if result["id"] != "definition-list"
    ]


def test_every_page_is_built(site):
    """Every page below docs/ is a page of the site."""
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert len(pages) > 40
    assert pages <= built


@pytest.mark.parametrize("module", MODULES)
def test_reference_has_every_public_name(site, module):
    """Each public name has an entry in the reference, under the name apps import."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    entries = {name for found in inventory.data.values() for name in found}
    shared = {"SignedInAuth": full_name("starlette", "SignedInAuth")}
    missing = [
        name
        for name in exported(module)
        if shared.get(name, full_name(module, name)) not in entries
    ]
    assert missing == []


#: The addresses that a browser fetches by itself, in HTML and in style sheets.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|input)\b[^>]*?\ssrc="([^"]*)"
    |<link\b(?![^>]*\brel="(?:author|search|next|prev|index|canonical)")[^>]*?\shref="([^"]*)"
    |@import\s+["']?([^"';)]+)
    |\burl\(\s*["']?([^"')]+)
    |\b(?:import|fetch|importScripts)\(\s*["'`]([^"'`]+)
    |\bfrom\s+["'](https?:[^"']+)""",
    re.VERBOSE,
)


def elsewhere(text):
    """Return the addresses on other hosts that a page or style sheet fetches."""
    found = ("".join(match.groups("")) for match in FETCHED.finditer(text))
    return [address for address in found if re.match(r"(https?:)?//", address)]


def test_site_fetches_nothing_from_elsewhere(site):
    """No page, style sheet or script of the site fetches anything from another host."""
    files = [path for kind in ("html", "css", "js") for path in site.rglob(f"*.{kind}")]
    assert len(files) > 70
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    assert [
        (path.name, found) for path in files if (found := elsewhere(texts[path]))
    ] == []


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://cdn.example/mermaid.js"></script>',
        '<link rel="stylesheet" href="//cdn.example/a.css">',
        '<script type="module">import m from "https://cdn.example/m.mjs";</script>',
        "@font-face { src: url(https://fonts.example/a.woff2) }",
        '@import "https://fonts.example/a.css";',
        '<script>await import("https://cdn.example/m.mjs")</script>',
    ],
)
def test_other_hosts_are_recognised(text):
    """Scripts, modules, styles and fonts of another host are recognised."""
    assert len(elsewhere(text)) == 1


def test_diagrams_are_in_the_pages(site):
    """Each diagram is SVG within its page, with a title and a description."""
    page = (site / "guide" / "concepts.html").read_text(encoding="utf-8")
    source = (DOCS / "guide" / "concepts.md").read_text(encoding="utf-8")
    drawn = re.findall(r'<div class="mermaid"><svg.*?</svg></div>', page, re.DOTALL)
    assert len(drawn) == source.count("```mermaid") > 3
    for svg in drawn:
        assert re.search(r"<title [^>]+>[^<]+</title><desc [^>]+>[^<]+</desc>", svg)


def test_llms_lists_every_page(site):
    """`llms.txt` has a title, a summary and a link to the text of every page."""
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# tiktok-oauth-middleware\n\n> \S.*\n", text)
    linked = re.findall(r"^- \[[^]]+\]\(([^)]+)\)", text, re.MULTILINE)
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(linked) == sorted(pages - {"README.md"})
    for page in linked:
        assert len((site / page).read_text(encoding="utf-8")) > 200, page


def test_llms_has_the_docstrings(site):
    """The texts for language models contain the rendered reference."""
    whole = (site / "llms-full.txt").read_text(encoding="utf-8")
    assert "autoclass::" not in whole
    assert "The access token; None if anonymous" in whole


#: Pages with wide tables, long signatures, pictures and code.
LOOKED_AT = (
    "index.html",
    "guide/concepts.html",
    "guide/settings.html",
    "guide/button.html",
    "integrations/frameworks.html",
    "reference/guards.html",
    "evidence/performance.html",
    "evidence/browsers.html",
)
#: Tables with sentences, which must not need horizontal scrolling.
SCROLLED_CARDS = """
[...document.querySelectorAll("table.rows-as-cards")].map(table => table.parentElement)
    .filter(box => box.scrollWidth > box.clientWidth + 1).length
"""
LOOKS = {
    "desk-light": {"width": 1280, "height": 900},
    "phone-dark": {"width": 390, "height": 844},
}


@pytest.mark.parametrize("look", LOOKS)
def test_pages_in_a_browser(site, chromium, look):
    """Pages fit a large and a phone's window, axe finds nothing, and no other host is
    used.
    """
    context = chromium.new_context(
        viewport=LOOKS[look], color_scheme=look.rpartition("-")[2]
    )
    tab = context.new_page()
    requested = set()
    tab.on("request", lambda request: requested.add(urlsplit(request.url).netloc))
    with serving(site) as address:
        for page in LOOKED_AT:
            tab.goto(address + page)
            name = page.removesuffix(".html").replace("/", "-")
            shoot(tab, f"site-{name}-{look}", full_page=False)
            wide = "document.documentElement.scrollWidth > innerWidth"
            assert not tab.evaluate(wide), page
            assert violations(tab) == [], page
            assert tab.evaluate(SCROLLED_CARDS) == 0, page
    assert requested == {urlsplit(address).netloc}
    context.close()


def test_axe_finds(site, chromium):
    """axe, as it is run here, finds faint text on a page, and a picture without a text."""
    tab = chromium.new_page()
    tab.goto((site / "index.html").as_uri())
    tab.add_style_tag(content="article p { color: #eee !important; background: #fff }")
    tab.evaluate("document.querySelector('article').append(new Image())")
    assert {"color-contrast", "image-alt"} <= {rule for rule, _ in violations(tab)}
    tab.close()


def test_search(site, chromium):
    """The search finds a page by a word in it, without a server."""
    tab = chromium.new_page()
    tab.goto(f"{(site / 'search.html').as_uri()}?q=rotation")
    found = tab.wait_for_selector("#search-results a[href*='deploying.html']")
    assert "Deploying" in found.text_content()
    tab.close()


#: What a newcomer searches for, and the page that must come first.
FIRST_HITS = {
    "logout": "guide/auth.html#logout",
    "redirect uri": "portal/tiktok-app.html#redirect-uris",
    "localhost": "portal/tiktok-app.html",
    "scopes": "guide/concepts.html",
    "Celery": "guide/jobs.html",
    "PostgreSQL": "stores/databases.html",
    "SQLite": "stores/which-store.html",
    "Redis": "stores/which-store.html",
    "pytest": "guide/testing.html",
    "session": "guide/sessions.html",
    "CSP": "guide/button.html",
    "test": "guide/testing.html",
}


def test_search_puts_guides_first(site, chromium):
    """What a newcomer searches for leads to a guide, not to evidence or a name."""
    tab = chromium.new_page()
    found = {}
    for words in FIRST_HITS:
        tab.goto(f"{(site / 'search.html').as_uri()}?q={words.replace(' ', '+')}")
        tab.wait_for_selector(".search-summary:has-text('Search finished')")
        first = tab.wait_for_selector("#search-results ul.search > li a")
        found[words] = first.get_attribute("href").partition("?")[0]
    tab.close()
    assert found == FIRST_HITS

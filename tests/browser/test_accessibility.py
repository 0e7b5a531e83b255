"""Every page in Chromium, light and dark, in a wide window and a phone's: axe finds
nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tiktok_oauth_middleware._core.http import Request
from tiktok_oauth_middleware._web.messages import LANGUAGES
from tiktok_oauth_middleware._web.pages import (
    PROBLEMS,
    ErrorPage,
    Note,
    Pages,
    button,
    link,
)

from ..conftest import CHROMIUM
from ..support.screenshots import shoot
from .axe import violations

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

ADDRESS = "https://app.example.com/page"
LOOKS = {
    "wide-light": {"width": 1280, "height": 800},
    "phone-dark": {"width": 320, "height": 640},
}
#: The horizontal middle of an element.
CENTRE = "(e => (r => (r.left + r.right) / 2)(e.getBoundingClientRect()))"


def whole(code):
    """Return a page with all possible elements."""
    return ErrorPage(
        code=code,
        actions=[
            link("try_again", "#a"),
            button("log_out", "#b"),
            link("back", "#c"),
        ],
        notes=[
            Note("address", "https://app.example.com"),
            Note(
                "missing",
                "video.list, portability.postsandprofile.ongoing",
            ),
            Note("tiktok_reference", "202601010101010101301300620725FFA2" * 2),
        ],
        reference="0a1b2c3d",
    )


def response(page, texts=None, language="en"):
    headers = [(b"accept-language", language.encode())]
    request = Request(
        method="GET", path="/", mount="", query=b"", headers=headers, read=None
    )
    return Pages(texts=texts).render(page, request)


@pytest.fixture(scope="module", params=sorted(LOOKS))
def tab(chromium, request):
    """Return a tab for all tests of one look, since opening a new one takes long."""
    context = chromium.new_context(
        viewport=LOOKS[request.param], color_scheme=request.param.rpartition("-")[2]
    )
    tab = context.new_page()
    tab.look = request.param
    yield tab
    context.close()


@pytest.fixture
def opened(tab):
    """Return a function that opens an answer in the browser; page errors fail
    the test.
    """
    complaints = []

    def listen(message):
        if message.type == "error":
            complaints.append(message.text)

    tab.on("console", listen)

    def open_(answer, name):
        body, headers = answer.body, dict(answer.headers)
        tab.unroute_all()
        tab.route("**/*", lambda r: r.fulfill(status=200, headers=headers, body=body))
        tab.goto(ADDRESS)
        shoot(tab, f"page-{name}-{tab.look}")
        return tab

    yield open_
    tab.remove_listener("console", listen)
    assert complaints == []


@pytest.fixture
def written(tab):
    """Return a function that writes an answer's HTML into the tab's empty document.

    axe is loaded once for all, so a page takes half as long as one that is opened. The
    answer's headers do nothing here.
    """

    def write(answer, name):
        if tab.url != "about:blank":
            tab.unroute_all()
            tab.goto("about:blank")
        tab.set_content(answer.body.decode())
        shoot(tab, f"page-{name}-{tab.look}")
        return tab

    return write


def test_every_page(tab, written):
    """axe finds nothing on any page, and none is wider than the window."""
    for code in PROBLEMS:
        written(response(whole(code)), code)
        assert violations(tab) == [], code
        assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth"), (
            code
        )


def test_written(opened, written):
    """A page that is written looks like one that is opened."""
    answer = response(whole("login_denied"))
    style = "(s => [s.color, s.backgroundColor, s.borderTopStyle, s.padding])"
    of_button = f"{style}(getComputedStyle(document.querySelector('.primary')))"
    shown = opened(answer, "opened").evaluate(of_button)
    assert shown[2] == "solid"
    assert written(answer, "written").evaluate(of_button) == shown


def test_one_style():
    """All pages have the same style and headers, so that one that is opened shows that
    the headers do not forbid the style of any page.
    """
    pages = [response(whole(code)) for code in PROBLEMS]
    styles = {re.search(b"<style.*</style>", page.body, re.DOTALL)[0] for page in pages}
    assert len(styles) == 1
    headers = {tuple(sorted(page.headers)) for page in pages}
    assert len(headers) == 1
    assert "content-security-policy" in dict(*headers)


def test_axe_finds(opened):
    """axe finds faults when it is run like in these tests."""
    made = response(whole("login_denied"))
    bad = replace(
        made, body=made.body.replace(b'lang="en"', b"").replace(b"<h1", b"<h4")
    )
    assert {"html-has-lang"} <= {name for name, _ in violations(opened(bad, "bad"))}


#: Pages with the longest texts, a question, and the shortest.
IN_EVERY_LANGUAGE = ("state_mismatch", "confirm_disconnect", "query_too_long")


@pytest.mark.parametrize("tab", ["phone-dark"], indirect=True)
@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_language(written, language):
    """axe finds nothing in any language, and no page is wider than a phone."""
    for code in IN_EVERY_LANGUAGE:
        tab = written(response(whole(code), language=language), f"{language}-{code}")
        assert violations(tab) == [], code
        assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth"), (
            code
        )


@pytest.mark.parametrize("code", ["state_mismatch", "tiktok_unavailable"])
def test_right_to_left(opened, code):
    """A page in Arabic is shown from right to left, and so are its buttons."""
    tab = opened(response(whole(code), language="ar-EG"), "arabic")
    assert (
        tab.evaluate("getComputedStyle(document.querySelector('main')).direction")
        == "rtl"
    )
    middle, first = (
        tab.evaluate(f"{CENTRE}(document.querySelector('{what}'))")
        for what in ("main", ".primary")
    )
    assert first > middle
    reference = "getComputedStyle(document.querySelector('footer code')).direction"
    assert tab.evaluate(reference) == "ltr"


def test_name_before_hebrew(opened):
    """In a right-to-left language, a sentence that begins with TikTok is right
    to left.
    """
    texts = {"he": {"tiktok_unavailable": ["TikTok לא עונה", "TikTok לא עונה כרגע."]}}
    tab = opened(response(whole("tiktok_unavailable"), texts, "he"), "hebrew")
    directions = tab.evaluate(
        "[...document.querySelectorAll('h1, p')].map(e => getComputedStyle(e).direction)"
    )
    assert directions[:2] == ["rtl", "rtl"]


def test_english_sentence_on_a_hebrew_page(opened):
    """An English sentence is left to right on a page in Hebrew."""
    texts = {"he": {"state_mismatch": ["זה שייך למקום אחר", "נסו שוב."]}}
    tab = opened(response(whole("state_mismatch"), texts, "he"), "mixed")
    actions = tab.evaluate(
        "[...document.querySelectorAll('h1, .primary')].map(e => getComputedStyle(e).direction)"
    )
    assert actions == ["rtl", "ltr"]


def test_forced_colours(chromium):
    """With forced colours a button still has a border."""
    context = chromium.new_context(forced_colors="active")
    tab = context.new_page()
    tab.set_content(response(whole("login_denied")).body.decode())
    edge = tab.evaluate(
        "getComputedStyle(document.querySelector('.primary')).borderTopStyle"
    )
    assert edge == "solid"
    context.close()


def test_keyboard(opened):
    """The keyboard reaches every link and button in order, with a visible focus."""
    tab = opened(response(whole("confirm_logout")), "keyboard")
    reached = []
    for _ in range(3):
        tab.keyboard.press("Tab")
        reached.append(
            tab.evaluate(
                "[document.activeElement.textContent,"
                " getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert reached == [
        ["Try again", "solid"],
        ["Log out", "solid"],
        ["Back to the site", "solid"],
    ]


def test_own_page(chromium):
    """An app's own page shows its styles and image, and runs no script."""

    def page(problem):
        return (
            f'<!doctype html><title>x</title><style nonce="{problem.nonce}">'
            "h1 { color: rgb(1, 2, 3) }</style>"
            '<link rel="stylesheet" href="/site.css"><img src="/logo.svg" alt="">'
            "<h1>Own</h1><p>text</p>"
            f'<script nonce="{problem.nonce}">document.title = "run"</script>'
        )

    files = {
        "/site.css": ("text/css", "p { color: rgb(4, 5, 6) }"),
        "/logo.svg": (
            "image/svg+xml",
            '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        ),
    }
    request = Request(
        method="GET", path="/", mount="", query=b"", headers=[], read=None
    )
    answer = Pages(page).render(whole("login_denied"), request)

    def serve(route):
        kind, text = files.get(urlsplit(route.request.url).path, (None, None))
        if text is None:
            route.fulfill(headers=dict(answer.headers), body=answer.body)
        else:
            route.fulfill(content_type=kind, body=text)

    context = chromium.new_context()
    tab = context.new_page()
    tab.route("**/*", serve)
    tab.goto(ADDRESS, wait_until="load")
    colour = "e => getComputedStyle(document.querySelector(e)).color"
    assert tab.evaluate(colour, "h1") == "rgb(1, 2, 3)"
    assert tab.evaluate(colour, "p") == "rgb(4, 5, 6)"
    assert tab.evaluate("document.querySelector('img').naturalWidth") == 9
    assert tab.title() == "x"
    context.close()

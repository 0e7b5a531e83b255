"""The button in Chromium: axe, sizes, the focus ring, colour schemes, right to left."""

from __future__ import annotations

import itertools

import pytest

from tiktok_oauth_middleware._web.messages import Messages

from ..conftest import CHROMIUM
from ..support.sample_records import a_mount_point, an_auth
from ..support.screenshots import shoot
from .axe import violations

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

ADDRESS = "https://app.example.com/page"
LOOKS = ("black", "white", "outline")
SCHEMES = ("light", "dark")
#: A strict content policy: no scripts, styles only with a nonce.
POLICY = (
    "default-src 'none'; style-src 'nonce-cGFnZQ'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html><html lang="{lang}" dir="{dir}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Site</title><style nonce="cGFnZQ">{css}</style></head>
<body><main><h1>{title}</h1>{buttons}</main></body></html>"""
#: A site's styles, with both colour schemes and rules that affect other buttons.
CSS = """
html { color-scheme: light dark; font-size: 62.5% }
body { margin: 1rem; font: 1.6rem sans-serif; background: #fff; color: #111 }
h1 { font-size: 2rem }
p { background: #4a4f5c; padding: 1rem }
p + p + p { background: none }
main a:hover, main a:visited { color: red; text-decoration: underline }
a { letter-spacing: .3em; text-transform: uppercase }
button { padding: 0; border: 0; background: none; font-size: 8px }
@media (prefers-color-scheme: dark) { body { background: #131417; color: #f1f1f4 } }
"""
ARABIC = {"ar": {"log_in_with_tiktok": "تسجيل الدخول عبر TikTok"}}
BOX = "e => (r => [r.width, r.height])(e.getBoundingClientRect())"


def page(*, posted=False, nonce="cGFnZQ", lang="en", css=CSS, **options):
    """Return a page with every `look` of the button."""
    auth = an_auth(
        None, a_mount_point(is_login_posted=posted, messages=Messages(ARABIC))
    )
    buttons = "".join(
        f"<p>{auth.login_button('/x', look, nonce=nonce, language=lang, **options)}</p>"
        if not posted
        else f"<div>{auth.login_button('/x', look, nonce=nonce, language=lang, **options)}</div>"
        for look in LOOKS
    )
    direction = "rtl" if lang == "ar" else "ltr"
    title = "الصفحة" if lang == "ar" else "Site"
    return PAGE.format(lang=lang, dir=direction, title=title, css=css, buttons=buttons)


@pytest.fixture(scope="module")
def tabs(chromium):
    """Return tabs by the options of their windows, to be reused, since opening one
    takes long.
    """
    opened = {}
    yield opened
    for tab in opened.values():
        tab.context.close()


@pytest.fixture
def open_(chromium, tabs):
    """Return a function that opens a page with a strict policy."""
    complaints, used = [], set()

    def listen(message):
        complaints.append(message.text)

    def open_page(html, *, policy=POLICY, **options):
        key = str(options)
        if key not in tabs:
            tabs[key] = chromium.new_context(**options).new_page()
        tab = tabs[key]
        if tab not in used:
            tab.on("console", listen)
            used.add(tab)
        tab.unroute_all()
        tab.mouse.move(0, 0)  # away from the buttons
        headers = {"content-type": "text/html; charset=utf-8"}
        if policy:
            headers["content-security-policy"] = policy
        tab.route("**/*", lambda r: r.fulfill(status=200, headers=headers, body=html))
        tab.goto(ADDRESS)
        return tab

    open_page.complaints = complaints
    yield open_page
    for tab in used:
        tab.remove_listener("console", listen)


def buttons(tab):
    found = tab.query_selector_all(".tiktok-login")
    assert len(found) == len(LOOKS)
    return found


def luminance(colour):
    """Return the relative luminance of an rgb() colour (WCAG 2.2)."""
    assert colour.startswith("rgb("), colour
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("posted", "lang"), [(False, "en"), (False, "ar"), (True, "ar")]
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe(open_, scheme, lang, posted):
    """axe finds no fault on a page with the button and a strict policy."""
    html = page(posted=posted, lang=lang)
    tab = open_(html, color_scheme=scheme, viewport={"width": 640, "height": 420})
    kind = "form" if posted else "link"
    shoot(tab, f"button-{kind}-{lang}-{scheme}", full_page=False)
    assert open_.complaints == []
    # axe is a script, which the page's policy forbids.
    free = open_(html, policy="", color_scheme=scheme)
    assert violations(free) == []


@pytest.mark.parametrize("posted", [False, True], ids=["link", "form"])
@pytest.mark.parametrize("width", [320, 1280])
def test_size(open_, width, posted):
    """A button fits the window and is at least 44 px high, even with a root font size
    of 10 px.
    """
    label = "Continue with TikTok, and come back to the page that you came from"
    for options in ({}, {"label": label}, {"label": "TikTok"}):
        html = page(posted=posted, **options)
        tab = open_(html, viewport={"width": width, "height": 700})
        for element in buttons(tab):
            wide, high = element.evaluate(BOX)
            assert high >= 44
            assert 44 <= wide <= width
            size = element.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
            assert size >= 16
        assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_larger_letters(open_):
    """A larger font size in the browser makes the button larger."""
    tab = open_(page(css="html { font-size: 32px }"))
    for element in buttons(tab):
        assert element.evaluate(BOX)[1] >= 88


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("is_over", [False, True], ids=["rest", "hover"])
def test_contrast(open_, scheme, is_over):
    """Text has a contrast of 12:1 in every look, also under the pointer."""
    tab = open_(page(), color_scheme=scheme)
    for element in buttons(tab):
        if is_over:
            element.hover()
        ink, ground = element.evaluate(
            "e => (s => [s.color, s.backgroundColor])(getComputedStyle(e))"
        )
        assert contrast(ink, ground) >= 12


def test_site_rules_do_not_win(open_):
    """A site's rules for links do not change the button's text."""
    tab = open_(page())
    for element in buttons(tab):
        element.hover()
        style = element.evaluate(
            "e => (s => [s.textTransform, s.textDecorationLine, s.letterSpacing])(getComputedStyle(e))"
        )
        assert style == ["none", "none", "normal"]
        assert element.inner_text() == "Log in with TikTok"


def test_outline_follows_the_scheme(open_):
    """The outline look is light in a light scheme, and dark in a dark one."""
    grounds = []
    for scheme in SCHEMES:
        tab = open_(page(), color_scheme=scheme)
        ground = "e => getComputedStyle(e).backgroundColor"
        grounds.append(luminance(buttons(tab)[2].evaluate(ground)))
    assert grounds[0] > 0.9
    assert grounds[1] < 0.1


@pytest.mark.parametrize("posted", [False, True], ids=["link", "form"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_focus(open_, scheme, posted):
    """The keyboard reaches each button in order; its focus ring is visible."""
    tab = open_(page(posted=posted), color_scheme=scheme)
    for element in buttons(tab):
        plain = element.evaluate("e => getComputedStyle(e).outlineStyle")
        assert plain == "none"
        tab.keyboard.press("Tab")
        assert element.evaluate("e => e === document.activeElement")
        ring = element.evaluate(
            "e => (s => [s.outlineStyle, s.outlineWidth, s.outlineColor,"
            " s.boxShadow])(getComputedStyle(e))"
        )
        assert ring[:2] == ["solid", "3px"]
        gap = ring[3].partition(")")[0] + ")"
        assert ring[3].endswith("0px 0px 0px 7px")
        # One of the two colours is visible on any colour of the page.
        assert contrast(ring[2], gap) >= 9
    kind = "form" if posted else "link"
    shoot(tab, f"button-focus-{kind}-{scheme}", full_page=False)


def test_click_shows_no_focus_ring(open_):
    """After a click no focus ring is shown."""
    tab = open_(page(posted=True))
    element = buttons(tab)[0]
    tab.evaluate("void(document.forms[0].onsubmit = e => e.preventDefault())")
    element.click()
    assert element.evaluate("e => getComputedStyle(e).outlineStyle") == "none"


@pytest.mark.parametrize("posted", [False, True], ids=["link", "form"])
def test_forced_colours(open_, posted):
    """With forced colours a button has a visible border."""
    tab = open_(page(posted=posted), forced_colors="active")
    for element in buttons(tab):
        edge, width, ground = element.evaluate(
            "e => (s => [s.borderTopColor, s.borderTopWidth, s.backgroundColor])"
            "(getComputedStyle(e))"
        )
        assert width == "1px"
        assert contrast(edge, ground) >= 3


def test_right_to_left(open_):
    """A label in Arabic is right to left, on a page of either direction."""
    for html in (page(lang="ar"), page(lang="ar").replace('dir="rtl"', 'dir="ltr"')):
        tab = open_(html)
        for element in buttons(tab):
            assert element.evaluate("e => getComputedStyle(e).direction") == "rtl"
            assert element.get_attribute("lang") == "ar"


@pytest.mark.parametrize("posted", [False, True], ids=["link", "form"])
def test_blocked_style_sheet(open_, posted):
    """Without the nonce a strict policy blocks the style sheet, and the button works."""
    tab = open_(page(posted=posted, nonce=""))
    assert any("style" in text for text in open_.complaints)
    first = buttons(tab)[0]
    assert first.evaluate("e => getComputedStyle(e).borderRadius") != "4px"
    assert first.is_visible()
    with tab.expect_request("**/auth/tiktok/login**") as caught:
        first.click()
    assert caught.value.method == ("POST" if posted else "GET")
    assert caught.value.url.endswith("/auth/tiktok/login?next=/x")


def test_name_and_role(open_):
    """A screen reader gets one name, and a link or a button."""
    for posted, role in itertools.product([False, True], ["link", "button"]):
        tab = open_(page(posted=posted))
        named = tab.get_by_role(role, name="Log in with TikTok", exact=True)
        assert named.count() == (3 if posted is (role == "button") else 0)

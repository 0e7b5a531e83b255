"""The stand-in's pages, as HTML and in Chromium."""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware._oauth import authorize
from tiktok_oauth_middleware.testing import FakeTikTok, Person
from tiktok_oauth_middleware.testing.provider import SCOPE_TEXTS
from tiktok_oauth_middleware.testing.server import StandIn

from ..support.screenshots import shoot

SIZES = {"phone": (390, 844), "desk": (1280, 800)}
MARKUP = '"><script>alert(1)</script><b x="'
NASTY = Person(open_id="nasty", display_name=MARKUP, username="nasty")


class _App(BaseHTTPRequestHandler):
    """An app that shows the requests that return to it."""

    def do_GET(self):
        body = b"<title>App</title>back"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def app():
    """Return an app's address on another port, to which the login returns."""
    server = HTTPServer(("127.0.0.1", 0), _App)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/callback"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def stand_in():
    with StandIn(FakeTikTok()) as stand_in:
        yield stand_in


@pytest.fixture
def ask(stand_in, app):
    """Return a function that returns the address of an authorize request."""

    def ask(**changes):
        query = {
            "client_key": "awstandinclientkey",
            "response_type": "code",
            "scope": "user.info.basic,user.info.stats,video.list",
            "redirect_uri": app,
            "state": "a-state",
            "code_challenge": authorize.challenge_of("x" * 43),
            "code_challenge_method": "S256",
            **changes,
        }
        return f"{stand_in.endpoints.authorize}?{urlencode(query)}"

    return ask


def get(url):
    return httpx2.get(url, trust_env=False)


class TestText:
    @pytest.mark.parametrize("changes", [{"scope": MARKUP}, {"client_key": MARKUP}])
    def test_escaped(self, ask, changes):
        """Foreign text of requests is escaped."""
        self.plain(get(ask(**changes)).text)

    def test_escaped_person(self, ask):
        """Foreign text of people is escaped."""
        with StandIn(FakeTikTok(people=[NASTY])) as stand_in:
            text = get(f"{stand_in.endpoints.authorize}?{urlsplit(ask()).query}").text
        assert "alert(1)" in text
        self.plain(text)

    @staticmethod
    def plain(text):
        assert "<script" not in text
        assert "<b x" not in text

    @pytest.mark.parametrize("changes", [{}, {"scope": "nonsense"}])
    def test_policy(self, ask, changes):
        """The policy forbids scripts, frames and other sites; it allows the style by
        its hash.
        """
        response = get(ask(**changes))
        policy = response.headers["content-security-policy"]
        [style] = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in policy
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert rule in policy
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"

    def test_form_may_redirect(self, ask, app):
        """The policy lets the form redirect to the app, since browsers apply
        form-action to redirects.
        """
        parts = urlsplit(app)
        policy = get(ask()).headers["content-security-policy"]
        assert f"form-action 'self' {parts.scheme}://{parts.netloc};" in policy

    @pytest.mark.parametrize("changes", [{}, {"scope": "nonsense"}])
    def test_page_says_that_it_is_a_stand_in(self, ask, changes):
        """Every page says that it is a stand-in, not TikTok."""
        text = get(ask(**changes)).text
        assert "stand-in" in text
        assert "not TikTok" in text

    def test_form(self, ask, stand_in):
        """The form has every person and exactly the requested scopes."""
        text = get(ask()).text
        assert len(re.findall('name="person"', text)) == len(stand_in.fake.people)
        scopes = re.findall('name="scope" value="([^"]+)"', text)
        assert scopes == ["user.info.basic", "user.info.stats", "video.list"]
        for scope in scopes:
            assert SCOPE_TEXTS[scope] in text

    def test_error_fields(self, ask):
        """The error page has the fields of TikTok's."""
        text = get(ask(client_key="awother")).text
        for field in ("param_error", "errCode", "10003", "error_type", "client_key"):
            assert field in text


@pytest.fixture
def open_page(chromium):
    """Return a function that opens a page in a new browser; console errors fail the
    test.
    """
    with ExitStack() as stack:

        def open_page(url, size="phone", scheme="light", **options):
            width, height = SIZES[size]
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                **options,
            )
            stack.callback(context.close)
            page = context.new_page()
            page.complaints = []
            page.on(
                "console",
                # Chromium sometimes requests an icon by itself.
                lambda request: (
                    request.location["url"].endswith("/favicon.ico")
                    or page.complaints.append(request.text)
                ),
            )
            page.goto(url)
            return page

        yield open_page


def callback(page, app):
    """Wait until the browser is at the app; return the query."""
    page.wait_for_url(f"{app}?*")
    return dict(parse_qsl(urlsplit(page.url).query))


class TestChromium:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("kind", ["consent", "error"])
    def test_appearance(self, open_page, ask, size, scheme, kind):
        """A page fits its window, in light and dark, and does not violate its
        policy.
        """
        url = ask() if kind == "consent" else ask(client_key="awother")
        page = open_page(url, size, scheme)
        shoot(page, f"stand-in-{kind}-{size}-{scheme}")
        wide, window = page.evaluate(
            "[document.documentElement.scrollWidth, window.innerWidth]"
        )
        assert wide <= window
        assert page.complaints == []
        broken = "[...document.images].filter(i => !i.naturalWidth).length"
        assert page.evaluate(broken) == 0

    def test_continue(self, open_page, ask, app):
        """Continue redirects to the app, with the scopes that are still ticked."""
        page = open_page(ask())
        page.get_by_text("Second creator").click()
        page.get_by_text(SCOPE_TEXTS["user.info.stats"]).click()
        page.get_by_role("button", name="Continue").click()
        query = callback(page, app)
        assert query["scopes"] == "user.info.basic,video.list"
        assert query["state"] == "a-state"
        assert "*" in query["code"]
        assert page.complaints == []

    def test_cancel(self, open_page, ask, app):
        """Cancel redirects to the app, too."""
        page = open_page(ask(), "desk")
        page.get_by_role("button", name="Cancel").click()
        assert callback(page, app)["error"] == "access_denied"

    def test_without_script(self, open_page, ask, app):
        """Everything works without script."""
        page = open_page(ask(), java_script_enabled=False)
        page.get_by_role("button", name="Continue").click()
        assert "code" in callback(page, app)

    def test_by_keyboard(self, open_page, ask, app):
        """Tab, arrows and space are enough, and the focus is visible."""
        page = open_page(ask(), "desk")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        focused = "document.activeElement.closest('label')"
        assert page.evaluate(f"{focused}.textContent").startswith("Second creator")
        style = page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert style == "solid"
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        page.get_by_role("button", name="Continue").focus()
        page.keyboard.press("Enter")
        assert callback(page, app)["scopes"] == "user.info.stats,video.list"

    def test_groups_have_names(self, open_page, ask):
        """Accounts and scopes are groups with names, and each input has a label."""
        page = open_page(ask())
        for name in ("Account", "The app would like to"):
            assert page.get_by_role("group", name=name).count() == 1
        unlabelled = (
            "[...document.querySelectorAll('input:not([type=hidden])')]"
            ".filter(i => !i.labels.length).length"
        )
        assert page.evaluate(unlabelled) == 0
        assert page.evaluate("document.documentElement.lang") == "en"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast(self, open_page, ask, scheme):
        """Text has a contrast of 4.5 and more."""
        page = open_page(ask(), scheme=scheme)
        pairs = page.evaluate(_COLOURS)
        assert len(pairs) > 10
        weak = [pair for pair in pairs if contrast(*pair[1:]) < 4.5]
        assert weak == []

    def test_right_to_left(self, open_page, ask):
        """A page also fits its window from right to left."""
        page = open_page(ask())
        page.evaluate("document.documentElement.dir = 'rtl'")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= SIZES["phone"][0]


#: Text, its colour, and the first background behind it that is not transparent.
_COLOURS = """
[...document.querySelectorAll("h1, p, legend, b, small, button, .note")].map(e => {
  let back = e;
  while (back && getComputedStyle(back).backgroundColor === "rgba(0, 0, 0, 0)")
    back = back.parentElement;
  return [e.textContent, getComputedStyle(e).color,
          back ? getComputedStyle(back).backgroundColor : "rgb(255, 255, 255)"];
})
"""


def contrast(one, two):
    """Return the contrast of two colours (WCAG 2.2, 1.4.3)."""
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

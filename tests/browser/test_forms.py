"""Forms on an app's own pages in Chromium, with every Referrer-Policy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from flask import Flask
from playwright.sync_api import expect

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokEndpoints,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.flask import tiktok_auth
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CALLBACK, CHROMIUM, LOGIN, LOGOUT, make_settings

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PAGE = """<!doctype html><title>Site</title>
<p>{who}</p>
<form method="post" action="{login}?next=/no-referrer"><button>Log in</button></form>
<form method="post" action="{logout}"><button>Log out</button></form>
<a href="{login}?next=/no-referrer">Log in by a link</a>
"""
#: Another site's page, whose forms lead here.
FOREIGN = """<!doctype html><title>Elsewhere</title>
<form method="post" action="{site}{login}"><button>Log in</button></form>
<form method="post" action="{site}{logout}"><button>Log out</button></form>
"""


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args):
        """Write nothing to the tests' output."""


class Threads(WSGIServer):
    """A server whose connections do not wait for each other."""

    request_queue_size = 20


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Return the address of a site whose logins are posted."""
    app = Flask(__name__)
    server = make_server("127.0.0.1", 0, app, Threads, Quiet)
    url = f"http://127.0.0.1:{server.server_port}"

    def page(policy):
        who = (
            tiktok_auth.user.display_name if tiktok_auth.is_authenticated else "nobody"
        )
        text = PAGE.format(who=f"Hello, {who}", login=LOGIN, logout=LOGOUT)
        return text, {"referrer-policy": policy}

    for policy in POLICIES:
        app.add_url_rule(f"/{policy}", policy, lambda policy=policy: page(policy))

    @app.get("/foreign/<policy>")
    def foreign(policy):
        text = FOREIGN.format(site=url, login=LOGIN, logout=LOGOUT)
        return text, {"referrer-policy": policy}

    @app.get("/framed")
    def framed():
        frame = (
            f"<iframe sandbox='allow-forms' src='{url}/foreign/no-referrer'></iframe>"
        )
        return f"<!doctype html><title>Frame</title>{frame}"

    with StandIn(FakeTikTok()) as stand_in:
        names = stand_in.environment(url + CALLBACK)
        endpoints = {
            name.removeprefix("TIKTOK_ENDPOINTS_").lower(): value
            for name, value in names.items()
            if name.startswith("TIKTOK_ENDPOINTS_")
        }
        settings = make_settings(
            client_key=names["TIKTOK_CLIENT_KEY"],
            client_secret=names["TIKTOK_CLIENT_SECRET"],
            redirect_uri=url + CALLBACK,
            login_methods=["POST"],
            optional_scopes=[],
            endpoints=TikTokEndpoints(**endpoints),
        )
        middleware = TikTokOAuthWSGIMiddleware(
            app.wsgi_app, settings, store=MemoryStore()
        )
        server.set_app(middleware)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join(30)
            server.server_close()
            middleware.close()


POLICIES = ["no-referrer", "same-origin", "strict-origin", "origin", "unsafe-url"]


@pytest.fixture
def page(chromium):
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def log_in(page, site, policy="no-referrer"):
    page.goto(f"{site}/{policy}")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(f"{site}/no-referrer")
    expect(page.get_by_text("Hello, Demo creator")).to_be_visible()


@pytest.mark.parametrize("policy", POLICIES)
def test_forms(page, site, policy):
    """A page's forms log in and out with every Referrer-Policy."""
    log_in(page, site, policy)
    page.goto(f"{site}/{policy}")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{site}/")
    page.goto(f"{site}/{policy}")
    expect(page.get_by_text("Hello, nobody")).to_be_visible()


def test_page_with_the_form(page, site):
    """If logins are posted, a link shows our page with a form that begins the login."""
    page.goto(f"{site}/no-referrer")
    page.get_by_role("link", name="Log in by a link").click()
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(f"{site}/no-referrer")
    expect(page.get_by_text("Hello, Demo creator")).to_be_visible()


@pytest.mark.parametrize("policy", ["no-referrer", "unsafe-url"])
def test_other_site(page, site, policy):
    """Forms of another site do neither, with any Referrer-Policy."""
    log_in(page, site)
    elsewhere = site.replace("127.0.0.1", "localhost")
    for button in ("Log in", "Log out"):
        page.goto(f"{elsewhere}/foreign/{policy}")
        page.get_by_role("button", name=button).click()
        expect(
            page.get_by_role("heading", name="This did not come from this site")
        ).to_be_visible()
    page.goto(f"{site}/no-referrer")
    expect(page.get_by_text("Hello, Demo creator")).to_be_visible()


def test_sandboxed_frame(page, site):
    """A form of a sandboxed frame, whose Origin is null, ends no session."""
    log_in(page, site)
    page.goto(f"{site}/framed")
    with page.expect_response(lambda response: LOGOUT in response.url) as caught:
        page.frame_locator("iframe").get_by_role("button", name="Log out").click()
    assert caught.value.status == 403
    assert caught.value.request.all_headers()["origin"] == "null"
    page.goto(f"{site}/no-referrer")
    expect(page.get_by_text("Hello, Demo creator")).to_be_visible()

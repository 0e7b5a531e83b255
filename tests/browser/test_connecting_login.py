"""Django users and a hostile page in Chromium: no account is connected without a click.

Alice is signed in to Django with a password. A TikTok user is signed in at TikTok in
her browser and consented to this app before, so that TikTok shows no page.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest

pytest.importorskip("sqlparse", reason="django is not installed")

from playwright.sync_api import expect

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CHROMIUM, LOGIN
from ..support.patience import HANGS
from ..support.ports import free_port
from ..support.quick_start import run, start

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

MAKE_DATABASE = """
import django; django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
get_user_model().objects.create_superuser("alice", password="password")
"""
FIRST = FakeTikTok().people[0].open_id
QUESTION = "Connect a TikTok account?"
ATTACKS = {
    "script": "<script>location = '{target}'</script>",
    "replace": "<script>location.replace('{target}')</script>",
    "refresh": "<meta http-equiv=refresh content='0;url={target}'>",
    "form": "<form action='{target}'></form><script>document.forms[0].submit()</script>",
    "link": "<a href='{target}'>click</a><script>document.links[0].click()</script>",
    "no referrer": "<meta name=referrer content=no-referrer>"
    "<script>location = '{target}'</script>",
}


class Hostile(BaseHTTPRequestHandler):
    """Pages of another site, whose content the query chooses."""

    def do_GET(self):
        url = urlsplit(self.path)
        asked = {key: value for key, [value] in parse_qs(url.query).items()}
        if url.path == "/redirect":
            self.send_response(302)
            self.send_header("location", asked["target"])
            self.end_headers()
            return
        page = ATTACKS[asked["how"]].format(target=asked["target"])
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>Hostile</title>{page}".encode())

    def log_message(self, *_args):
        """Write nothing to the tests' output."""


@pytest.fixture(scope="module")
def hostile() -> Iterator[int]:
    """Return the port of the hostile pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join(HANGS)
    server.server_close()


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def site(request, tmp_path_factory) -> Iterator[str]:
    """Return the address of the project, on a WSGI or an ASGI server."""
    origin = f"http://127.0.0.1:{free_port()}"
    port = origin.rpartition(":")[2]
    with StandIn(FakeTikTok()) as stand_in:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")},
            **stand_in.environment(f"{origin}/auth/tiktok/callback"),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "DJANGO_SETTINGS_MODULE": "tests.support.members_project",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_DATABASE": str(tmp_path_factory.mktemp("db") / "db.sqlite3"),
        }
        done = run(["-c", MAKE_DATABASE], env=environment)
        assert done.returncode == 0, done.stderr
        if request.param == "wsgi":
            words = ["-m", "django", "runserver", "--noreload", "--insecure", port]
        else:
            words = ["-m", "uvicorn", "examples.django_app.asgi:application"]
            words += ["--port", port, "--log-level", "warning"]
        with Path(os.devnull).open("w") as nowhere:
            process = start(words, stdout=nowhere, env=environment)
        try:
            wait_for(f"{origin}/admin/login/", process)
            yield origin
        finally:
            process.terminate()
            process.wait(HANGS)


def wait_for(url, process):
    deadline = time.monotonic() + HANGS
    while True:
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.HTTPError:
            assert process.poll() is None
            assert time.monotonic() < deadline
        time.sleep(0.1)


def alice(chromium, site):
    """Return a page of Alice's browser, in which TikTok shows no page."""
    page = chromium.new_context(base_url=site).new_page()
    page.goto(f"{LOGIN}?next=/login&choose_account=1")
    page.get_by_text("Demo creator").check()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{site}/login")
    for cookie in page.context.cookies(site):
        # The consent stays, but the account is not connected.
        if not cookie["value"].startswith("-000"):
            page.context.clear_cookies(name=cookie["name"])
    sign_in(page, "/admin/login/?next=/forget")
    page.goto("/accounts")
    expect(page.get_by_text("alice has 0 accounts")).to_be_visible()
    return page


@pytest.fixture(scope="module")
def attacked(chromium, site):
    """Return Alice's page for attacks that must have no effect."""
    page = alice(chromium, site)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def cookies(attacked):
    """Return the cookies of Alice's browser; to get them again takes five pages."""
    return attacked.context.storage_state()


@pytest.fixture
def page(chromium, site, cookies):
    """Return Alice's page for a test that connects accounts."""
    page = chromium.new_context(base_url=site, storage_state=cookies).new_page()
    page.goto("/accounts")
    expect(page.get_by_text("alice has 0 accounts")).to_be_visible()
    yield page
    page.goto("/forget")
    page.context.close()


def sign_in(page, path):
    """Sign in to Django with the password."""
    page.goto(path)
    page.get_by_label(re.compile("Username", re.IGNORECASE)).fill("alice")
    page.get_by_label(re.compile("Password", re.IGNORECASE)).fill("password")
    page.get_by_role("button", name="Log in").click()


def attack(hostile, how, target, host="localhost"):
    """Return the address of a hostile page that sends its visitor to `target`."""
    return f"http://{host}:{hostile}/?how={quote(how)}&target={quote(target, safe='')}"


def assert_asked(page, site):
    """Assert that the question is shown and nothing is connected."""
    expect(page.get_by_role("heading", name=QUESTION)).to_be_visible()
    assert page.url.startswith(f"{site}{LOGIN}")
    page.goto("/accounts")
    expect(page.get_by_text("alice has 0 accounts")).to_be_visible()
    assert not [c for c in page.context.cookies(site) if "-login-" in c["name"]]


def test_hostile_page(attacked, site, hostile, request):
    """A link of another site, or of another port, only leads to the question."""
    host = {"wsgi": "localhost", "asgi": "127.0.0.1"}[request.node.callspec.id]
    paths = (LOGIN, "/member", f"{LOGIN}?choose_account=1")
    # Each attack is tried with two of the paths, one from each host: all are decided by
    # one check of the same headers.
    turns = enumerate(ATTACKS, start=int(host == "localhost"))
    for how, path in [(how, paths[turn % len(paths)]) for turn, how in turns]:
        attacked.goto(attack(hostile, how, site + path, host))
        attacked.wait_for_url(f"{site}{LOGIN}**")
        assert_asked(attacked, site)


def test_redirect_of_another_site(attacked, site, hostile):
    """A redirect of another site back to this one does not count as our link."""
    there = f"http://localhost:{hostile}/redirect?target={quote(site + LOGIN, safe='')}"
    attacked.evaluate("url => { location = url }", there)
    attacked.wait_for_url(f"{site}{LOGIN}")
    assert_asked(attacked, site)


def test_typed_address(attacked, site):
    """A typed address, or one from an email, also leads to the question."""
    attacked.goto(LOGIN)
    assert_asked(attacked, site)
    attacked.goto("/member")
    assert_asked(attacked, site)


def test_frame(attacked, site, hostile):
    """In a frame of another site no login begins, and no question can be clicked."""
    attacked.goto(attack(hostile, "script", "about:blank"))
    attacked.evaluate(
        """url => {
            const frame = document.createElement("iframe");
            frame.src = url;
            document.body.append(frame);
            return new Promise(done => { frame.onload = () => done() });
        }""",
        site + LOGIN,
    )
    attacked.goto("/accounts")
    expect(attacked.get_by_text("alice has 0 accounts")).to_be_visible()


def test_link_to_the_password_form(page, site, hostile):
    """A hostile link to the password form connects nothing without TikTok's page."""
    page.context.clear_cookies(name="sessionid")
    target = f"{site}/login?next={quote(LOGIN, safe='')}"
    page.goto(attack(hostile, "script", target))
    sign_in(page, page.url)
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    page.goto("/accounts")
    expect(page.get_by_text("alice has 0 accounts")).to_be_visible()


@pytest.mark.parametrize("link", ["Connect TikTok", "Members with TikTok"])
def test_link_of_this_site(page, site, link):
    """A link of this site, or one that a guard redirects, needs no question."""
    page.get_by_role("link", name=link).click()
    page.get_by_text("Demo creator").check()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{site}/**")
    page.goto("/accounts")
    expect(page.get_by_text("alice has 1 accounts")).to_be_visible()


def test_button(page, site, hostile):
    """The question's button leads to TikTok's page; the chosen account is connected."""
    page.goto(attack(hostile, "script", f"{site}{LOGIN}?next=/accounts"))
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Second creator").check()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(f"{site}/accounts")
    expect(page.get_by_text("alice has 1 accounts")).to_be_visible()


def test_other_account_silently(page, site, hostile):
    """A login without TikTok's page does not give a user another account."""
    test_button(page, site, hostile)
    for cookie in page.context.cookies():
        if cookie["value"].startswith("-000"):  # the user at the stand-in
            page.context.add_cookies([{**cookie, "value": FIRST}])
    page.goto(attack(hostile, "script", f"{site}{LOGIN}"))
    expect(page.get_by_role("heading", name=QUESTION)).to_be_visible()
    assert "/auth/tiktok/callback" in page.url
    page.goto("/accounts")
    expect(page.get_by_text("alice has 1 accounts")).to_be_visible()
    page.goto(attack(hostile, "script", f"{site}{LOGIN}"))
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Demo creator").check()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{site}/**")
    page.goto("/accounts")
    expect(page.get_by_text("alice has 2 accounts")).to_be_visible()

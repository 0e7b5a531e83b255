"""The whole login in Chromium, with both examples started like a user does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tiktok_oauth_middleware._web.login_results import SHOWN_SECONDS

from ..conftest import CHROMIUM
from ..support.patience import HANGS
from ..support.ports import free_port, wait_for
from ..support.processes import ends_at_ctrl_c
from ..support.screenshots import shoot
from .axe import violations

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

ROOT = Path(__file__).parents[2]
EXAMPLES = {"starlette": "examples.starlette_app", "flask": "examples.flask_app"}
#: Both examples and both window sizes, but not all four combinations.
IN_PAIRS = pytest.mark.parametrize(
    ("example", "window"), [("flask", "phone"), ("starlette", "desk")], indirect=True
)
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 800}}


@contextmanager
def started(name: str) -> Iterator[str]:
    """Start an example in a process, without TikTok credentials; yield its address."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")}
    process = subprocess.Popen(
        ends_at_ctrl_c("-m", EXAMPLES[name], "--port", str(port)),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=HANGS)
    assert f"Open {url}/ in a browser" in output
    assert "Traceback" not in output, output
    with pytest.raises(ProcessLookupError):
        # Ctrl-C ends everything that was started.
        os.killpg(process.pid, 0)


@pytest.fixture(scope="module")
def examples() -> Iterator[dict[str, str]]:
    """Return the addresses of examples, each of which is started once."""
    with ExitStack() as stack:

        class Examples(dict):
            def __missing__(self, name):
                self[name] = stack.enter_context(started(name))
                return self[name]

        yield Examples()


@pytest.fixture(params=sorted(EXAMPLES))
def example(request, examples) -> tuple[str, str]:
    """Return an example's name and address."""
    return request.param, examples[request.param]


@pytest.fixture(scope="module")
def windows(chromium) -> Iterator[dict[tuple[str, str], Any]]:
    """Return the pages that were opened; a new one takes longer than a login."""
    opened: dict[tuple[str, str], Any] = {}
    yield opened
    for page in opened.values():
        page.context.close()


@pytest.fixture(params=list(SIZES))
def window(chromium, example, windows, request):
    """Return a page for all tests of one example and size."""
    name, url = example
    key = (name, request.param)
    if key not in windows:
        windows[key] = chromium.new_context(
            base_url=url,
            viewport=SIZES[request.param],
            color_scheme="dark" if request.param == "phone" else "light",
        ).new_page()
    page = windows[key]
    page.base = url
    page.shoot = lambda what: shoot(page, f"{name}-{request.param}-{what}")
    return page


@pytest.fixture
def page(window):
    """Return a page without cookies; an error on its console fails the test."""
    window.context.clear_cookies()
    window.goto("about:blank")
    complaints: list[str] = []
    requested: list[str] = []
    listeners = {
        "pageerror": lambda error: complaints.append(str(error)),
        "console": lambda m: complaints.append(m.text) if m.type == "error" else None,
        "request": lambda request: requested.append(request.url),
    }
    for name, listener in listeners.items():
        window.on(name, listener)
    window.requested = requested
    yield window
    for name, listener in listeners.items():
        window.remove_listener(name, listener)
    for other in window.context.pages:
        if other != window:
            other.close()
    # Chromium reports a 403 page as a failed load; any other message is an error.
    assert [c for c in complaints if "status of 40" not in c] == []


def test_journey(page):
    """Log in without a scope, reach the page, grant the scope, log out, and see the
    page closed.
    """
    page.goto("/")
    page.shoot("1-home")
    expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()

    # The profile needs a login: the stand-in asks for the user and the scopes.
    page.goto("/profile?from=test")
    assert "/v2/auth/authorize/" in page.url
    expect(page.get_by_text("It is not TikTok")).to_be_visible()
    page.shoot("2-consent")
    page.get_by_text("Demo creator").check()
    page.get_by_role("button", name="Continue").click()

    # Back at the requested page, signed in.
    expect(page).to_have_url(page.base + "/profile?from=test")
    expect(page.get_by_text("Demo creator")).to_be_visible()
    page.wait_for_load_state("load")
    assert page.evaluate("document.querySelector('.person img').naturalWidth") > 0
    assert not page.evaluate("document.cookie")
    page.shoot("3-profile")

    # A page that needs a scope requests it from TikTok; if it is unticked, the page
    # stays closed.
    page.get_by_role("link", name="Videos", exact=True).click()
    assert "/v2/auth/authorize/" in page.url
    page.get_by_label(re.compile("video.list")).uncheck()
    page.shoot("4-untick")
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/videos")
    expect(page.get_by_text("What is missing is: video.list")).to_be_visible()
    page.shoot("5-denied")

    # The person requests the scope again with a click, and grants it.
    page.get_by_role("link", name="Ask TikTok again").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/videos")
    expect(page.get_by_role("heading", name="Your videos")).to_be_visible()
    page.shoot("6-videos")

    # A program in the page gets JSON.
    answer = page.evaluate("fetch('/api/me').then(r => r.json())")
    assert answer["scopes"] == ["user.info.basic", "video.list"]

    # Log out: the old page is closed, and Back does not open it.
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(page.base + "/")
    status = page.evaluate("fetch('/api/me').then(r => r.status)")
    assert status == 401
    page.go_back()
    expect(page.get_by_role("heading", name="Your videos")).not_to_be_visible()
    page.shoot("7-closed")


@pytest.mark.parametrize(("example", "window"), [("flask", "phone")], indirect=True)
def test_invitation(page, chromium):
    """A login carries an invitation; a page explains a refused one."""
    page.goto("/invitation/guessed")
    link = page.get_by_role("link", name="Log in with TikTok")
    address = page.base + link.get_attribute("href")
    link.click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("This invitation is not valid any more.")).to_be_visible()
    assert violations(page) == []
    page.shoot("8-refused")
    page.get_by_role("link", name="Back to the site").click()
    expect(page).to_have_url(page.base + "/")
    expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()

    other = chromium.new_context().new_page()
    other.goto(address)
    heading = other.get_by_role("heading", name="Please open that link again")
    expect(heading).to_be_visible()
    assert violations(other) == []
    other.context.close()

    page.goto("/invitation/moon")
    page.get_by_role("link", name="Log in with TikTok").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/welcome")
    page.shoot("9-welcome")


def test_port_taken(example):
    """If its port is taken, an example says so in one line, and ends at once."""
    name, url = example
    done = subprocess.run(
        [sys.executable, "-m", EXAMPLES[name], "--port", url.rpartition(":")[2]],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "Open" not in done.stdout


@IN_PAIRS
def test_another_user_after_logout(page):
    """After a logout another user can log in: the demo asks for the user each time."""
    page.goto("/profile")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in with TikTok").click()
    page.get_by_text("Second creator").check()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Hello, Second creator")).to_be_visible()


@IN_PAIRS
def test_localhost(page):
    """A login that begins at localhost is redirected to the site's own address."""
    page.goto(page.base.replace("127.0.0.1", "localhost") + "/profile?a=b%20c")
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/profile?a=b%20c")
    expect(page.get_by_text("Demo creator")).to_be_visible()


@IN_PAIRS
def test_cancel(page):
    """After Cancel a page has a link that keeps the login's target."""
    page.goto("/profile")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("link", name="Try again").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/profile")
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in", exact=True).click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="You did not log in")).to_be_visible()
    page.shoot("8-cancelled")
    page.get_by_role("link", name="Try again").click()
    page.get_by_text("Second creator").check()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/")
    expect(page.get_by_role("heading", name="Hello, Second creator")).to_be_visible()
    page.shoot("9-home-signed-in")


@IN_PAIRS
def test_sessions(chromium, page):
    """A user sees both of their browsers, and logs the other one out; axe finds no
    fault.
    """
    other = chromium.new_context(base_url=page.base).new_page()
    for each in (other, page):
        each.goto("/sessions")
        # No other test leaves sessions of this user.
        each.get_by_text("Second creator").check()
        each.get_by_role("button", name="Continue").click()
        expect(each.get_by_text("you are here")).to_be_visible()
    expect(page.get_by_text("Another browser").first).to_be_visible()
    page.shoot("d-sessions")
    assert violations(page) == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")

    # Every button's label for screen readers names its browser.
    button = page.get_by_role("button", name=re.compile("Log out the browser")).first
    button.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(page.base + "/sessions")
    others = page.get_by_role("button", name="Log out all other browsers")
    while others.count():
        others.click()
    expect(page.get_by_text("Another browser")).to_have_count(0)
    expect(page.get_by_text("you are here")).to_be_visible()
    page.shoot("e-sessions-one")

    # The other browser is logged out within a second, and its next page needs a login.
    other.wait_for_timeout(1100)
    other.goto("/sessions")
    assert "/v2/auth/authorize/" in other.url
    other.context.close()


@IN_PAIRS
def test_tabs(page):
    """Two tabs that log in at once both succeed."""
    other = page.context.new_page()
    other.base = page.base
    page.goto("/profile")
    other.goto("/profile?tab=2")
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/profile")
    other.get_by_role("button", name="Continue").click()
    expect(other).to_have_url(other.base + "/profile?tab=2")


@IN_PAIRS
def test_callback_from_the_history(page):
    """A callback opened again from the history redirects to its login's target."""
    page.goto("/profile")
    began = time.monotonic()
    page.get_by_role("button", name="Continue").click()
    callback = [url for url in page.requested if "code=" in url][-1]
    page.goto(callback)
    expect(page).to_have_url(page.base + "/profile")
    page.get_by_role("button", name="Log out").click()
    # Opening the next page too early would interrupt the logout.
    expect(page).to_have_url(page.base + "/")
    # The callback does not sign in, and its page has a link.
    response = page.goto(callback)
    assert response is not None
    assert response.status == 400
    # A busy machine may take longer than the middleware knows the login's target.
    is_known = time.monotonic() - began < SHOWN_SECONDS
    page.shoot("a-history")
    page.get_by_role("link", name="Try again").click()
    page.get_by_role("button", name="Continue").click()
    if is_known:
        expect(page).to_have_url(page.base + "/profile")


@IN_PAIRS
def test_address_of_a_callback(page):
    """A page at the callback's address sends only its origin as Referer."""
    page.goto("/profile")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("link", name="Back to the site").click()
    expect(page).to_have_url(page.base + "/")
    assert page.evaluate("document.referrer") == page.base + "/"


@IN_PAIRS
def test_logout_asks(page):
    """The logout path, opened by hand, shows a question first."""
    page.goto("/profile")
    page.get_by_role("button", name="Continue").click()
    page.goto("/auth/tiktok/logout")
    page.shoot("b-logout")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(page.base + "/")
    expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()


@IN_PAIRS
def test_refused_at_tiktok(page):
    """A request that TikTok refuses ends on the stand-in's page, like at TikTok."""
    page.goto("/auth/tiktok/login")
    page.goto(page.url.replace("client_key=", "client_id="))
    expect(page.get_by_text("Something went wrong").first).to_be_visible()
    expect(page.get_by_text("client_key", exact=True)).to_be_visible()
    page.shoot("c-refused")


@pytest.mark.parametrize("window", ["phone"], indirect=True)
def test_fits_the_phone(page):
    """No page is wider than the window of a small phone, logged in or not."""
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    size = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 640})
    for where in ("/", "/auth/tiktok/login", "/auth/tiktok/logout"):
        page.goto(where)
        assert not page.evaluate(wide), where
    page.goto("/profile")
    page.get_by_text("Demo creator").check()
    page.get_by_role("button", name="Continue").click()
    for where in ("/", "/profile", "/videos", "/sessions", "/accounts"):
        page.goto(where)
        assert not page.evaluate(wide), where
    page.set_viewport_size(size)


@IN_PAIRS
def test_accounts(chromium, page):
    """Connect an account, check that another user cannot connect it, and
    disconnect it.
    """
    page.goto("/accounts")
    page.get_by_text("Demo creator").check()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/accounts")
    page.get_by_role("button", name="Connect a TikTok account").click()
    page.get_by_text("Second creator").check()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(page.base + "/accounts")
    expect(page.get_by_text("Second creator")).to_be_visible()
    page.shoot("f-accounts")
    assert violations(page) == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")

    # Another user tries to connect the same account; the page says that it is taken.
    other = chromium.new_context(base_url=page.base).new_page()
    other.goto("/accounts")
    other.get_by_text("Second creator").check()
    other.get_by_role("button", name="Continue").click()
    other.get_by_role("button", name="Connect a TikTok account").click()
    other.get_by_text("Second creator").check()
    other.get_by_role("button", name="Continue").click()
    heading = "This TikTok account belongs to another user"
    expect(other.get_by_role("heading", name=heading)).to_be_visible()
    assert violations(other) == []
    shoot(other, f"connect-taken-{page.viewport_size['width']}")
    other.get_by_role("link", name="Back to the site").click()
    expect(other.get_by_role("heading", name=re.compile("Hello"))).to_be_visible()
    other.context.close()

    # From another site there is a question first; its button leads to TikTok.
    page.goto("/auth/tiktok/connect?next=/accounts")
    heading = "Connect a TikTok account?"
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    page.shoot("g-connect-question")
    assert violations(page) == []
    page.get_by_role("button", name="Connect", exact=True).click()
    assert "/v2/auth/authorize/" in page.url

    page.goto("/accounts")
    page.get_by_role("button", name="Disconnect Second creator").click()
    expect(page.get_by_text("None yet.")).to_be_visible()

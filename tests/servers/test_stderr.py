"""Lines that a server without configured logging shows an operator."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CALLBACK, LOGIN
from ..support.ports import free_port
from .conftest import Browser, Kind, Server

ASGI = """
from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokSettings

async def plain(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})

def on_event(event):
    if event.name == "login":
        raise ValueError("act.a-token-of-somebody")

app = TikTokOAuthMiddleware(plain, TikTokSettings.from_env(), on_event=on_event)
"""
WSGI = """
from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings

def plain(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b""]

def on_event(event):
    if event.name == "login":
        raise ValueError("act.a-token-of-somebody")

app = TikTokOAuthWSGIMiddleware(plain, TikTokSettings.from_env(), on_event=on_event)
"""
KINDS = {
    "uvicorn": (ASGI, Kind("-m uvicorn plain_app:app --port {port}", ("uvicorn",))),
    "gunicorn": (WSGI, Kind("-m gunicorn --bind {url} plain_app:app", ("gunicorn",))),
}


@pytest.fixture(params=KINDS)
def start(request, tmp_path):
    """Return what starts a server as it comes, with changes of its environment."""
    text, kind = KINDS[request.param]
    if kind.missing:
        pytest.skip(f"{kind.missing} is not installed")
    (tmp_path / "plain_app.py").write_text(text)
    started, opened, stand_in = [], [], StandIn(FakeTikTok())
    stand_in.__enter__()

    def start(**changes):
        server = Server(request.param, kind, tmp_path, stand_in)
        server.environment |= {"PYTHONPATH": str(tmp_path), **changes}
        started.append(server)
        server.start()
        opened.append(Browser(server))
        return server, opened[-1]

    try:
        yield start
    finally:
        for browser in opened:
            browser.client.close()
        for server in started:
            server.stop()
        stand_in.__exit__(None, None, None)


def lines(server, word):
    return [line for line in server.log.read_text().splitlines() if word in line]


def reference(response):
    [found] = re.findall("Reference <code>([0-9a-f]{8})", response.text)
    return found


def test_wrong_secret(start):
    """A wrong client secret is one line, however many log in: cause, page, remedy."""
    server, browser = start(TIKTOK_CLIENT_SECRET="the-secret-of-another-app")
    shown = {reference(browser.log_in()) for _ in range(3)}
    [line] = lines(server, "login refused")
    assert "TikTok: invalid_client" in line
    assert "sandbox" in line
    assert [*shown] == re.findall(r"\[([0-9a-f]{8})\]", line)
    assert "the-secret-of-another-app" not in server.log.read_text()


def test_unreachable(start):
    """TikTok that is not reached is a line with the cause and what to check."""
    url = f"http://127.0.0.1:{free_port()}/v2/oauth/token/"
    server, browser = start(TIKTOK_ENDPOINTS_TOKEN=url)
    shown = {reference(browser.log_in()) for _ in range(3)}
    [line] = lines(server, "login refused")
    assert "the connection was refused" in line
    assert "firewall" in line
    assert shown == {*re.findall(r"\[([0-9a-f]{8})\]", line)}


def test_scope_and_cancelled(start):
    """A scope that is not approved is a line; a person who cancels is none."""
    server, browser = start()
    assert browser.log_in(deny=True).status_code == 403
    begun = browser.get(LOGIN).headers["location"]
    [state] = parse_qs(urlsplit(begun).query)["state"]
    response = browser.get(f"{CALLBACK}?error=invalid_scope&state={state}")
    [line] = lines(server, "login refused")
    assert "invalid_scope" in line
    assert "optional_scopes" in line
    assert reference(response) in line


def test_store(start, tmp_path):
    """A store that fails is a line with the reference of the page."""
    store = f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.sqlite3'}"
    server, browser = start(TIKTOK_STORE=store)
    shown = {reference(browser.log_in()) for _ in range(3)}
    [line] = lines(server, "store failed")
    assert "tiktok_oauth_middleware check" in line
    assert shown == {*re.findall(r"\[([0-9a-f]{8})\]", line)}


def test_on_event(start):
    """An on_event that fails is a line that says where, and breaks no login."""
    server, browser = start()
    for _ in range(3):
        assert browser.log_in().status_code == 303
    [line] = lines(server, "on_event raised")
    assert "ValueError at login" in line
    assert "plain_app.py" in line
    assert "act.a-token" not in server.log.read_text()

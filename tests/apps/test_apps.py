"""The apps of docs/integrations/apps.md: real servers, a real login, and Chromium.

Each app runs in its own environment below ``.venv-apps``, which ``make apps`` creates.
They are not installed for the suite, since together they need more than a gigabyte.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import API, CALLBACK, CHROMIUM, LOGIN, LOGOUT, PAGE
from ..servers.conftest import until
from ..support.ports import free_port
from ..support.recipes import blocks

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-apps"
PAGE_OF_APPS = "integrations/apps.md"
NAME = "Demo creator"
SOCKET_IO = "socket.io/?EIO=4&transport="
EVENT = {"data": [0], "fn_index": 1, "session_hash": "abc", "event_data": None}
CALL = {
    "output": "answer.children",
    "outputs": {"id": "answer", "property": "children"},
    "inputs": [{"id": "count", "property": "n_clicks", "value": 3}],
    "changedPropIds": ["count.n_clicks"],
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@dataclass(frozen=True)
class Kind:
    """One app of the page."""

    #: Its page and the requests for the page's content: a method and a path each.
    page: str
    content: tuple[tuple[str, str], ...]
    #: The path of its WebSocket, and whether the page itself opens it.
    socket: str = ""
    has_page_socket: bool = True
    #: Whether its page's events still work after a logout.
    goes_on: bool = False
    #: Whether its page reopens a socket that the server closed.
    opens_again: bool = False
    #: Files beside app.py, and their blocks in the page of the docs.
    files: tuple[tuple[str, str], ...] = ()
    server: str = "uvicorn app:app --log-level warning --port {port}"
    #: The text that its page shows first; "" if it has no such page.
    greeting: str = f"Hello, {NAME}"


HEADERS = ("user_headers.py", "user_headers")
KINDS = {
    "chainlit": Kind(
        "/chat/",
        (
            ("GET", "/chat/project/settings"),
            ("GET", "/chat/user"),
            ("POST", "/chat/project/file?session_id=abc"),
            ("GET", "/chat/public/theme.json"),
            ("GET", f"/chat/ws/{SOCKET_IO}polling"),
        ),
        socket=f"/chat/ws/{SOCKET_IO}websocket",
        opens_again=True,
        goes_on=True,
        files=(("chat.py", "chat"),),
        greeting="",
    ),
    "dash": Kind(
        "/",
        (
            ("GET", "/_dash-layout"),
            ("GET", "/_dash-dependencies"),
            ("POST", "/_dash-update-component"),
        ),
        server="waitress --listen 127.0.0.1:{port} app:app",
    ),
    "datasette": Kind(
        "/",
        (
            ("GET", "/_memory"),
            ("GET", "/_memory.json?sql=select+1"),
            ("GET", "/-/databases.json"),
            ("GET", "/-/actor.json"),
        ),
        greeting="",
    ),
    "fasthtml": Kind("/", (("POST", "/count"),), socket="/live", has_page_socket=False),
    "gradio": Kind(
        "/",
        (
            ("GET", "/config"),
            ("GET", "/gradio_api/info"),
            ("GET", "/gradio_api/startup-events"),
            ("POST", "/gradio_api/queue/join"),
            ("POST", "/gradio_api/upload"),
            ("GET", "/gradio_api/file=app.py"),
        ),
    ),
    "marimo": Kind(
        "/",
        (
            ("GET", "/health"),
            ("GET", "/api/status/connections"),
            ("POST", "/api/kernel/run"),
            ("POST", "/api/kernel/set_ui_element_value"),
        ),
        socket="/ws?session_id=s_abc123",
        opens_again=True,
        files=(("notebook.py", "notebook"),),
    ),
    "mcp": Kind("", (("POST", "/mcp"),), greeting=""),
    "nicegui": Kind(
        "/",
        (
            ("GET", "/_nicegui/3.18.0/static/nicegui.js"),
            ("GET", f"/_nicegui_ws/{SOCKET_IO}polling"),
        ),
        socket=f"/_nicegui_ws/{SOCKET_IO}websocket",
        opens_again=True,
        goes_on=True,
    ),
    "panel": Kind(
        "/panel",
        (
            ("GET", "/static/js/bokeh.min.js"),
            ("GET", "/panel/autoload.js?bokeh-autoload-element=1&bokeh-absolute-url=x"),
        ),
        socket="/panel/ws",
        goes_on=True,
        files=(HEADERS,),
    ),
    "shiny": Kind(
        "/",
        (("GET", "/lib/shiny-1.8.0/shiny.js"), ("POST", "/session/abc/upload/1")),
        socket="/websocket/",
        goes_on=True,
    ),
    "streamlit": Kind(
        "/",
        (
            ("GET", "/_stcore/health"),
            ("GET", "/_stcore/metrics"),
            ("GET", "/_stcore/host-config"),
            ("PUT", "/_stcore/upload_file/abc/def"),
            ("GET", "/media/abc.png"),
        ),
        socket="/_stcore/stream",
        opens_again=True,
        goes_on=True,
        files=(("page.py", "streamlit_page"), HEADERS),
    ),
}
WITH_PAGE = [name for name, kind in KINDS.items() if kind.greeting or kind.goes_on]
WITH_SOCKET = [name for name, kind in KINDS.items() if kind.socket]
SHORT = """
from app import app as whole
from short_sockets import ShortSockets

app = ShortSockets(whole, seconds=8)
"""


class Site:
    """One app on its own server, and a client with cookies."""

    def __init__(self, name, folder, stand_in, *, short=False, rule=""):
        self.kind = KINDS[name]
        self.python = ENVIRONMENTS / name / "bin" / "python"
        if not (ENVIRONMENTS / name / "ready").exists():  # or half installed
            pytest.skip("apps are not installed: make apps")
        self.folder = folder
        self.fake = stand_in.fake
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        code = blocks(PAGE_OF_APPS)
        for file, block in (("app.py", name), *self.kind.files):
            text = code[block]
            if rule:
                text = text.replace('protect=["/"]', f'protect=["{rule}"]')
                assert rule in text
            (folder / file).write_text(text)
        command = self.kind.server.format(port=self.port)
        if short:
            (folder / "short_sockets.py").write_text(code["short_sockets"])
            (folder / "short.py").write_text(SHORT)
            command = command.replace("app:app", "short:app")
        usual = {k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")}
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", *command.split()],
                cwd=folder,
                env={
                    **usual,
                    **stand_in.environment(self.url + CALLBACK),
                    "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
                    "TIKTOK_STORE": "memory://",
                    # Otherwise the stand-in shows no page to a user who consented
                    # before.
                    "TIKTOK_ALWAYS_ASK_CONSENT": "true",
                    # The apps must not send telemetry, or write into the real home
                    # directory.
                    "HOME": str(folder),
                    "GRADIO_ANALYTICS_ENABLED": "False",
                    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        # Some apps close the connection after an error.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self.client = httpx2.Client(base_url=self.url, timeout=60, limits=limits)
        try:
            until(self.answers, f"{name} to answer")
        except BaseException:
            self.close()
            raise

    def answers(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"it did not start:\n{self.log.read_text()}")
        try:
            return self.client.get(LOGIN).status_code == 303
        except httpx2.HTTPError:
            return False

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:  # some wait for their background work
            self.process.kill()
            self.process.wait()

    def log_in(self) -> None:
        begun = self.client.get(LOGIN, headers=PAGE)
        callback = self.fake.consent(begun.headers["location"])
        assert self.client.get(callback, headers=PAGE).status_code == 303

    def log_out(self) -> None:
        headers = {**PAGE, "origin": self.url, "sec-fetch-site": "same-origin"}
        assert self.client.post(LOGOUT, headers=headers).status_code == 303

    def ask(self, method: str, path: str) -> httpx2.Response:
        """Send a request like the page's script."""
        bodies = {
            "/_dash-update-component": {"json": CALL},
            "/gradio_api/queue/join": {"json": EVENT},
            "/mcp": {"json": INITIALIZE},
            "/api/kernel/run": {"json": {"cellIds": [], "codes": []}},
            "/api/kernel/set_ui_element_value": {
                "json": {"objectIds": [], "values": []}
            },
        }
        options = bodies.get(path, {"json": {}} if method != "GET" else {})
        accept = {"accept": "application/json, text/event-stream"}
        headers = {**API, "origin": self.url, **(accept if path == "/mcp" else {})}
        return self.client.request(method, path, headers=headers, **options)

    def open_socket(self, *, origin: str = "", cookies: bool = True) -> None:
        """Open the app's WebSocket, as far as the handshake."""
        cookie = "; ".join(f"{k}={v}" for k, v in self.client.cookies.items())
        address = self.url.replace("http://", "ws://") + self.kind.socket
        with connect(
            address,
            origin=origin or self.url,
            additional_headers={"cookie": cookie} if cookies else {},
            proxy=None,
            open_timeout=60,
        ):
            pass


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Iterator[dict[str, Site]]:
    """Each app's server, started at its first use."""
    opened: dict[str, Site] = {}
    with StandIn(FakeTikTok()) as stand_in:

        class Sites(dict):
            def __missing__(self, name):
                folder = tmp_path_factory.mktemp(name)
                opened[name] = self[name] = Site(name, folder, stand_in)
                return opened[name]

        yield Sites()
        for site in opened.values():
            site.close()


@pytest.fixture
def site(request, sites) -> Site:
    site = sites[request.param]
    site.client.cookies.clear()
    return site


@pytest.fixture
def page(chromium, site):
    with chromium.new_context(base_url=site.url) as context:
        yield context.new_page()


def each(names):
    return pytest.mark.parametrize("site", names, indirect=True)


# --- without a browser -----------------------------------------------------------


@each(KINDS)
def test_anonymous(site):
    """Without a login nothing of an app is served: browsers are redirected, scripts get
    401.
    """
    if site.kind.page:
        response = site.client.get(site.kind.page, headers=PAGE)
        assert response.status_code == 303
        assert response.headers["location"] == f"{LOGIN}?next={site.kind.page}"
    for method, path in site.kind.content:
        response = site.ask(method, path)
        assert response.status_code == 401, path
        assert response.json()["error"] == "login_required"


@each(KINDS)
def test_signed_in_and_out(site):
    """After a login the app answers all requests; after a logout none."""
    site.log_in()
    for method, path in site.kind.content:
        response = site.ask(method, path)
        assert "login_required" not in response.text, path
        assert not 300 <= response.status_code < 400, path
    cookies = httpx2.Cookies(site.client.cookies)
    site.log_out()
    site.client.cookies = cookies  # a program may have kept them
    for method, path in site.kind.content:
        assert site.ask(method, path).status_code == 401, path
    if site.kind.socket:
        with pytest.raises(InvalidStatus) as caught:
            site.open_socket()
        assert caught.value.response.status_code == 401


@each(WITH_SOCKET)
def test_anonymous_socket(site):
    """A WebSocket without the session is refused in the handshake."""
    with pytest.raises(InvalidStatus) as caught:
        site.open_socket(cookies=False)
    assert caught.value.response.status_code == 401


@each(WITH_SOCKET)
def test_foreign_socket(site):
    """A WebSocket that a page of another site opens is refused, whatever its cookies."""
    site.log_in()
    with pytest.raises(InvalidStatus) as caught:
        site.open_socket(origin="https://elsewhere.example")
    assert caught.value.response.status_code == 401


@each(["datasette"])
def test_actor(site):
    """Datasette's actor is the TikTok user."""
    site.log_in()
    actor = site.ask("GET", "/-/actor.json").json()["actor"]
    assert actor == {"id": site.fake.people[0].open_id, "name": NAME}


def test_rule_for_the_page_alone(tmp_path):
    """A rule for only the page of Dash leaves its content open, as the docs say."""
    with StandIn(FakeTikTok()) as stand_in:
        site = Site("dash", tmp_path, stand_in, rule="/report")
        try:
            assert site.ask("GET", "/report").status_code == 401
            assert site.ask("GET", "/_dash-layout").status_code == 200
        finally:
            site.close()


@each(["fasthtml"])
def test_own_socket(site):
    """A WebSocket of FastHTML has its user, and stays open after the logout."""
    site.log_in()
    cookie = "; ".join(f"{k}={v}" for k, v in site.client.cookies.items())
    with connect(
        site.url.replace("http", "ws") + "/live",
        origin=site.url,
        additional_headers={"cookie": cookie},
        proxy=None,
    ) as socket:
        for _ in range(2):
            socket.send(json.dumps({"text": "hello"}))
            assert socket.recv(30) == f"{NAME} says hello"
            site.log_out()


CLIENT = """
import asyncio, os
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

async def main():
    headers = {"cookie": os.environ["COOKIE"]} if os.environ["COOKIE"] else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(os.environ["ADDRESS"], http_client=http)
        async with Client(transport) as client:
            result = await client.call_tool("whoami", {})
            print(result.content[0].text)

asyncio.run(main())
"""


@each(["mcp"])
@pytest.mark.parametrize("is_signed_in", [True, False])
def test_mcp_client(site, is_signed_in):
    """The SDK's own client can call a tool only with the session's cookie."""
    cookie = ""
    if is_signed_in:
        site.log_in()
        cookie = "; ".join(f"{k}={v}" for k, v in site.client.cookies.items())
    done = subprocess.run(
        [site.python, "-c", CLIENT],
        env={**os.environ, "COOKIE": cookie, "ADDRESS": f"{site.url}/mcp"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip() == NAME) is is_signed_in, done.stderr
    assert (done.returncode == 0) is is_signed_in
    assert is_signed_in or "Server returned an error response" in done.stderr


@each(["panel"])
def test_token_of_bokeh(site):
    """Bokeh's token in the page contains the user's name, and no session cookie."""
    site.log_in()
    text = site.client.get("/panel", headers=PAGE).text
    token = re.search(r'"token":"([\w.-]+)"', text)[1]
    payload = json.loads(decoded(token.split(".")[0]))
    extra = json.loads(zlib.decompress(decoded(payload["__bk__zlib_"])))
    assert extra["headers"] == {"X-Tiktok-Name": "Demo%20creator"}
    assert extra["cookies"] == {}


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- with Chromium ---------------------------------------------------------------

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed"
)


def log_in(page, site) -> list[str]:
    """Open the page, log in, and return the paths of the WebSockets, as they open."""
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(urlsplit(socket.url).path))
    page.goto(site.kind.page)
    assert "/v2/auth/authorize/" in page.url
    page.get_by_text(NAME).check()
    page.get_by_role("button", name="Continue").click()
    return sockets


def log_out(context) -> None:
    """Log out in another tab."""
    tab = context.new_page()
    tab.goto(LOGOUT)
    tab.get_by_role("button", name="Log out").click()
    expect(tab).to_have_url(re.compile("/v2/auth/authorize/"))
    tab.close()


def count(page, site, n: int) -> int:
    """Press the page's button; check the name and the count that the server shows."""
    if site.kind.greeting:
        # FastHTML's count is shared by all tests of its server.
        shown = re.search(f"{NAME} counts ([0-9]+)", page.inner_text("body"))
        n = int(shown[1]) + 1 if shown else n
        page.get_by_role("button", name="Count", exact=True).click()
        expect(page.get_by_text(f"{NAME} counts {n}")).to_be_visible(timeout=30_000)
        return n
    box = page.get_by_role("textbox").first
    box.click(timeout=30_000)
    page.keyboard.type(f"word {n}")
    # Enabled once its socket is open; Enter does nothing before that.
    page.locator("#chat-submit").click(timeout=30_000)
    answer = page.get_by_text(f"{NAME} says word {n}")
    expect(answer).to_be_visible(timeout=30_000)
    return n


@needs_chromium
@each(WITH_PAGE)
def test_journey(page, site):
    """In Chromium: log in, see the name, press the button, read the answer; log out."""
    sockets = log_in(page, site)
    if site.kind.greeting:
        expect(page.get_by_text(site.kind.greeting)).to_be_visible(timeout=60_000)
    n = count(page, site, 1)
    if site.kind.socket and site.kind.has_page_socket:
        assert urlsplit(site.kind.socket).path in sockets

    # Another tab of the same browser logs out.
    log_out(page.context)
    if site.kind.goes_on:
        count(page, site, n + 1)
    elif page.get_by_role("button", name="Count", exact=True).count():
        with page.expect_response(lambda r: r.status in (303, 401)) as refused:
            page.get_by_role("button", name="Count", exact=True).click()
        assert refused.value.url.startswith(site.url)
        page.wait_for_timeout(500)
        assert page.get_by_text(f"{NAME} counts {n + 1}").count() == 0

    # Reloading the page leads to the login.
    response = page.goto(site.kind.page)
    assert response.status == 401 or "/v2/auth/authorize/" in page.url
    assert page.get_by_text(NAME).count() == 0 or "/v2/auth/authorize/" in page.url


@needs_chromium
@pytest.mark.parametrize("name", [n for n in WITH_SOCKET if KINDS[n].has_page_socket])
def test_short_sockets(chromium, tmp_path, name):
    """A closed socket is reopened while the session lasts, and not after a logout."""
    with StandIn(FakeTikTok()) as stand_in:
        site = Site(name, tmp_path, stand_in, short=True)
        try:
            with chromium.new_context(base_url=site.url) as context:
                page = context.new_page()
                path = urlsplit(site.kind.socket).path
                opened, refused = [], []

                def note(socket):
                    if urlsplit(socket.url).path == path:
                        opened.append(socket)
                        socket.on("socketerror", note_error)

                def note_error(error):
                    refused.append(error)

                def note_response(response):
                    # Some send plain requests before they open a socket.
                    if response.status == 401:
                        refused.append(response.url)

                page.on("websocket", note)
                page.on("response", note_response)
                log_in(page, site)
                until_page(page, lambda: opened and opened[0].is_closed(), "its end")
                if not site.kind.opens_again:
                    page.wait_for_timeout(8000)
                    assert len(opened) == 1
                    return
                until_page(page, lambda: len(opened) > 1, "the next socket")
                assert not refused
                count(page, site, 1)
                log_out(context)
                until_page(page, lambda: refused, "a refusal")
        finally:
            site.close()


def until_page(page, holds, what: str) -> None:
    for _ in range(600):
        if holds():
            return
        page.wait_for_timeout(100)
    pytest.fail(f"waited in vain for {what}")


# --- the page --------------------------------------------------------------------


def test_versions():
    """The docs name the versions of all apps that `make apps` installs."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    installed = {
        group.removeprefix("app-"): requirements[0].partition("==")[2]
        for group, requirements in groups.items()
        if group.startswith("app-")
    }
    text = (ROOT / "docs" / PAGE_OF_APPS).read_text()
    rows = re.findall(r"^\| \[(\w+)\].*? \| ([\d.]+) \|", text, re.MULTILINE)
    assert {name.lower(): version for name, version in rows} == installed
    assert set(installed) == set(KINDS)

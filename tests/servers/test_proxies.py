"""Proxies with their caches on, as docs/operations/proxies.md configures them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, PAGE
from ..support.ports import free_port
from ..support.proxies import AROUND_APACHE, AROUND_NGINX, MODULES
from ..support.quick_start import start as start_quickly
from ..support.recipes import blocks
from .conftest import NO_TLS, PATH, SECONDS, until

DOCUMENT = "operations/proxies.md"
#: An app whose pages are all cacheable; one of them depends on the user.
APP = """
from itertools import count

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokSettings
from tiktok_oauth_middleware.starlette import tiktok_auth

numbers = count()
SHARED = {"cache-control": "public, max-age=600, s-maxage=600"}


async def public(request):
    return JSONResponse({"number": next(numbers)}, headers=SHARED)


async def mine(request):
    auth = tiktok_auth(request)
    found = {"open_id": auth.open_id, "login": auth.login_url(), "number": next(numbers)}
    return JSONResponse(found, headers=SHARED)


async def members(request):
    return JSONResponse({"open_id": tiktok_auth(request).open_id}, headers=SHARED)


routes = [
    Route("/public", public),
    Route("/mine", mine),
    Route("/members/list", members),
]
app = TikTokOAuthMiddleware(Starlette(routes=routes), TikTokSettings.from_env())
"""
CACHES = """
LoadModule cache_module {modules}/mod_cache.so
LoadModule cache_disk_module {modules}/mod_cache_disk.so
{page}
"""
HAPROXY = """
defaults
    timeout connect 10s
    timeout client 60s
    timeout server 60s
{page}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
{page}
"""


@dataclass(frozen=True)
class Proxy:
    """One proxy: its command, the text around the page's block, and replacements."""

    command: str
    around: str = "{page}"
    #: Texts of the page, and the test's replacements.
    changes: tuple[tuple[str, str], ...] = ()
    #: The same for an app below /shop.
    prefix: tuple[tuple[str, str], ...] = ()
    has_cache: bool = True


def _varnish_prefix() -> str:
    return blocks(DOCUMENT)["varnish_prefix"]


PROXIES = {
    "nginx": Proxy(
        "nginx -p {folder} -c {conf}",
        AROUND_NGINX,
        (("listen 80", "listen 127.0.0.1:{port}"), ("/var/cache/nginx", "{folder}")),
        (
            ("location / ", "location /shop/ "),
            (
                "proxy_pass http://127.0.0.1:{inner};",
                "proxy_pass http://127.0.0.1:{inner}/;",
            ),
        ),
    ),
    "apache": Proxy(
        "apache2 -f {conf} -D FOREGROUND",
        AROUND_APACHE.replace("{page}", CACHES),
        (("/var/cache/apache2/app", "{folder}/cache"),),
        (("ProxyPass / ", "ProxyPass /shop/ "),),
    ),
}
#: Run by `make proxies` only.
FURTHER = {
    "haproxy": Proxy(
        "haproxy -q -db -f {conf}",
        HAPROXY,
        (("bind :80", "bind 127.0.0.1:{port}"),),
        (
            (
                "    default_backend app",
                "    http-request replace-path /shop(/.*) \\1\n    default_backend app",
            ),
        ),
    ),
    "caddy": Proxy(
        "caddy run --adapter caddyfile --config {conf}",
        CADDY,
        (("app.example.com", "http://127.0.0.1:{port}"),),
        (
            (
                "reverse_proxy 127.0.0.1:{inner}",
                "handle_path /shop/* {{\n reverse_proxy 127.0.0.1:{inner}\n}}",
            ),
        ),
        has_cache=False,
    ),
    "varnish": Proxy(
        "varnishd -F -a 127.0.0.1:{port} -f {conf} -n {folder}/work -s malloc,16m -T none",
        changes=(),
        prefix=(('.port = "{inner}";\n}}\n', '.port = "{inner}";\n}}\n{varnish}'),),
    ),
}
if os.environ.get("PROXIES") == "all":
    PROXIES |= FURTHER


@dataclass
class Site:
    """An app behind a proxy."""

    name: str
    folder: Path
    stand_in: StandIn
    prefix: str = ""
    port: int = field(default_factory=free_port)
    inner: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def configuration(self) -> str:
        proxy = PROXIES[self.name]
        page = blocks(DOCUMENT)[self.name]
        assert "8000" in page
        page = page.replace("8000", str(self.inner))
        names: dict[str, Any] = {
            "folder": self.folder,
            "port": self.port,
            "inner": self.inner,
            "modules": MODULES,
            "varnish": _varnish_prefix() if self.name == "varnish" else "",
        }
        for documented, meant in (
            *proxy.changes,
            *(proxy.prefix if self.prefix else ()),
        ):
            assert documented.format(**names) in page, documented
            page = page.replace(documented.format(**names), meant.format(**names))
        return proxy.around.format(**names, page=page)

    @contextmanager
    def serve(self) -> Iterator[None]:
        conf = self.folder / "front.conf"
        conf.write_text(self.configuration())
        (self.folder / "cache").mkdir(exist_ok=True)
        (self.folder / "app.py").write_text(APP)
        for folder in (self.folder, self.folder / "cache"):
            folder.chmod(0o777)
        words = PROXIES[self.name].command.format(
            folder=self.folder, conf=conf, port=self.port
        )
        front = words.split()
        front[0] = str(shutil.which(front[0], path=PATH))
        root_path = ["--root-path", self.prefix] if self.prefix else []
        back = ["-m", "uvicorn", "app:app", "--log-level", "warning"]
        back += ["--port", str(self.inner), *root_path]
        environment = {
            **os.environ,
            **self.stand_in.environment(self.url + self.prefix + CALLBACK),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_STORE": f"sqlite:///{self.folder}/tokens.sqlite3",
            "TIKTOK_PROTECT": "/members",
            "XDG_DATA_HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
        }
        with ExitStack() as stack:
            log = stack.enter_context((self.folder / "log").open("wb"))
            options: Any = {"cwd": self.folder, "env": environment}
            options |= {"stdout": log, "stderr": log}
            for start, command in ((start_quickly, back), (subprocess.Popen, front)):
                process = start(command, **options)
                stack.callback(process.wait, SECONDS)
                stack.callback(process.terminate)
            until(lambda: self._answers(process), f"{self.name} to answer")
            yield

    def _answers(self, front: Any) -> bool:
        if front.poll() is not None:
            pytest.fail(f"{self.name}: {(self.folder / 'log').read_text()}")
        try:
            url = f"{self.url}{self.prefix}/public"
            return httpx2.get(url, verify=NO_TLS).status_code == 200
        except httpx2.HTTPError:
            return False


class Browser:
    def __init__(self, site: Site, client: httpx2.Client) -> None:
        self.site, self.client = site, client

    def get(self, path: str, headers: Any = PAGE) -> httpx2.Response:
        return self.client.get(
            path if path.startswith("http") else self.site.prefix + path,
            headers=headers,
        )

    def log_in(self, number: int, begun: str = LOGIN) -> httpx2.Response:
        fake = self.site.stand_in.fake
        authorize = self.get(begun).headers["location"]
        return self.get(fake.consent(authorize, person=fake.people[number]))


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn(FakeTikTok()) as made:
        yield made


@pytest.fixture(scope="module", params=list(PROXIES))
def name(request: pytest.FixtureRequest) -> str:
    program = PROXIES[request.param].command.split()[0]
    if shutil.which(program, path=PATH) is None:
        pytest.skip(f"{program} is not installed")
    if request.param == "apache" and not MODULES.is_dir():
        pytest.skip("apache2 is not installed")
    return request.param


@pytest.fixture(scope="module")
def site(name: str, stand_in: StandIn) -> Iterator[Site]:
    # The proxies' system users cannot enter pytest's folders.
    with TemporaryDirectory() as folder:
        made = Site(name, Path(folder), stand_in)
        with made.serve():
            yield made


@pytest.fixture
def new_browser() -> Iterator[Callable[[Site], Browser]]:
    with ExitStack() as stack:

        def make(site: Site) -> Browser:
            client = httpx2.Client(base_url=site.url, verify=NO_TLS, timeout=SECONDS)
            return Browser(site, stack.enter_context(client))

        yield make


def test_cache_is_on(site, new_browser):
    """A public page comes from the proxy's cache the second time."""
    browser = new_browser(site)
    numbers = {browser.get("/public").json()["number"] for _ in range(3)}
    assert (len(numbers) == 1) is PROXIES[site.name].has_cache


def test_no_page_of_a_user_is_shared(site, new_browser):
    """Two users and a visitor at one address each get their own page, in any order."""
    people = site.stand_in.fake.people
    first, second, anonymous = (new_browser(site) for _ in range(3))
    for number, browser in enumerate((first, second)):
        assert browser.log_in(number).status_code == 303
    expected = [
        (first, people[0].open_id),
        (second, people[1].open_id),
        (anonymous, None),
    ]
    seen = set()
    for browser, open_id in [*expected, *reversed(expected)]:
        page = browser.get("/mine")
        assert page.json()["open_id"] == open_id
        assert "private" in page.headers["cache-control"]
        assert "public" not in page.headers["cache-control"]
        assert "s-maxage" not in page.headers["cache-control"]
        seen.add(page.json()["number"])
    assert len(seen) == 6


def test_a_guarded_address(site, new_browser):
    """A refusal of an anonymous visitor is not cached for users, nor the reverse."""
    anonymous, user = new_browser(site), new_browser(site)
    for _ in range(2):
        refused = anonymous.get("/members/list", API)
        assert refused.status_code == 401
        sent = anonymous.get("/members/list")
        assert sent.status_code == 303
        back = user.log_in(0, sent.headers["location"])
        assert back.headers["location"] == "/members/list"
        assert user.get("/members/list").json()["open_id"]


def test_logins_are_never_kept(site, new_browser):
    """Redirects of logins and answers to callbacks are never cached."""
    fake = site.stand_in.fake
    first, second = new_browser(site), new_browser(site)
    begun = [browser.get(LOGIN) for browser in (first, second)]
    states = {re.search("state=([^&]+)", b.headers["location"])[1] for b in begun}
    assert len(states) == 2
    callback = fake.consent(begun[0].headers["location"])
    for _ in range(2):
        assert first.get(callback).status_code == 303
        stranger = second.get(callback)
        assert stranger.status_code == 400
        assert "no-store" in stranger.headers["cache-control"]
    origin = {"origin": site.url}
    assert first.client.post(LOGOUT, headers=origin).status_code == 303
    assert first.get("/mine").json()["open_id"] is None


def test_headers_of_the_largest_size(site, new_browser):
    """The longest headers of the middleware pass in both directions."""
    browser = new_browser(site)
    browser.log_in(0)
    largest = 0
    for _ in range(8):
        answer = browser.get(f"{LOGIN}?next=/mine%3F{'x' * 2030}")
        assert answer.status_code == 303, answer.text
        head = sum(len(k) + len(v) + 4 for k, v in answer.headers.multi_items())
        largest = max(largest, head)
    cookies = "; ".join(f"{c.name}={c.value}" for c in browser.client.cookies.jar)
    assert 3000 < len(cookies) <= 4096
    assert 3500 < largest <= 4016
    assert browser.get("/mine").json()["open_id"]
    long_page = f"/mine?{'x' * 3000}"
    assert browser.get(long_page).json()["open_id"]


def test_forwarded_headers_change_nothing(site, new_browser):
    """Whatever a client claims in forwarded headers, links and redirects stay the same."""
    browser = new_browser(site)
    claimed = {
        **PAGE,
        "x-forwarded-host": "elsewhere.example",
        "x-forwarded-proto": "gopher",
        "forwarded": "for=192.0.2.1;host=elsewhere.example;proto=gopher",
    }
    begun = browser.get(LOGIN, claimed)
    assert "elsewhere" not in begun.headers["location"]
    assert httpx2.URL(begun.headers["location"]).params["redirect_uri"] == (
        site.url + CALLBACK
    )
    assert browser.get("/mine", claimed).json()["login"] == LOGIN


def test_prefix_that_the_proxy_takes_off(name, stand_in, new_browser):
    """Below a prefix a login succeeds, and its links have the prefix."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        site = Site(name, Path(folder), stand_in, prefix="/shop")
        stack.enter_context(site.serve())
        browser = new_browser(site)
        sent = browser.get("/members/list")
        assert sent.headers["location"].startswith(f"/shop{LOGIN}?next=/shop/")
        begun = sent.headers["location"].removeprefix("/shop")
        assert browser.log_in(0, begun).headers["location"] == "/shop/members/list"
        assert browser.get("/members/list").json()["open_id"]
        assert browser.get("/mine").json()["login"] == f"/shop{LOGIN}"

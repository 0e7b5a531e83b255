"""Fifty tabs at once, and interrupted callbacks, on servers with default settings.

Servers refuse a request whose headers are too long, each with its own limit, and
proxies refuse such an answer. So the cookies of a browser in which many tabs begin a
login at the same moment must be within every server's default limit.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import LOGIN, PAGE
from ..support.ports import free_port
from ..support.proxies import APACHE, AROUND_APACHE, AROUND_NGINX, MODULES, NGINX
from .conftest import KINDS, SECONDS, Browser, Server, SlowTikTok, send

IN_NGINX = """
server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{inner}; }}
}}
"""
IN_APACHE = "ProxyPass / http://127.0.0.1:{inner}/"
LIMIT = 4096
#: By name: the server, and the proxy in front of it.
SITES = {
    "uvicorn-h11": ("uvicorn-h11", None),
    "uvicorn-httptools": ("uvicorn-httptools", None),
    "gunicorn-sync": ("gunicorn-sync", None),
    "gunicorn-workers": ("gunicorn-workers", None),
    "waitress": ("waitress", None),
    "nginx-gunicorn": ("gunicorn-sync", "nginx"),
    "nginx-uvicorn": ("uvicorn-h11", "nginx"),
    "apache-gunicorn": ("gunicorn-sync", "apache"),
    "apache-waitress": ("waitress", "apache"),
}
#: Run by `make servers` only.
FURTHER = ("gevent", "gunicorn-gevent", "eventlet", "tornado", "twisted", "cherrypy")
if os.environ.get("SERVERS") == "all":
    SITES |= {name: (name, None) for name in FURTHER}


@dataclass
class Site(Server):
    """A server, possibly behind a proxy, both with default settings."""

    front: str | None = None
    front_port: int = field(default_factory=free_port)
    front_process: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front_port if self.front else self.port}"

    def start(self) -> None:
        if self.front is not None:
            self.front_process = subprocess.Popen(
                self.front_command(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        super().start()

    def front_command(self) -> list[str]:
        names = {
            "folder": self.folder,
            "port": self.front_port,
            "inner": self.port,
            "modules": MODULES,
        }
        conf = self.folder / "front.conf"
        if self.front == "nginx":
            conf.write_text(AROUND_NGINX.replace("{page}", IN_NGINX).format(**names))
            return [str(NGINX), "-p", str(self.folder), "-c", str(conf)]
        conf.write_text(AROUND_APACHE.replace("{page}", IN_APACHE).format(**names))
        return [str(APACHE), "-f", str(conf), "-D", "FOREGROUND"]

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            if self.front_process is not None:
                self.front_process.terminate()
                self.front_process.wait(SECONDS)


def served(name: str, folder: Path, stand_in: StandIn) -> Iterator[Site]:
    server, front = SITES.get(name, (name, None))
    kind = KINDS[server]
    if kind.missing:
        pytest.skip(f"{kind.missing} is not installed")
    if front == "nginx" and NGINX is None:
        pytest.skip("nginx is not installed")
    if front == "apache" and APACHE is None:
        pytest.skip("apache2 is not installed")
    site = Site(name, kind, folder, stand_in, front=front)
    # Longer than any test needs, so that a slow machine does not fail.
    site.environment["TIKTOK_TIMEOUT"] = "60"
    try:
        site.start()
        yield site
    finally:
        if site.process:
            site.stop()


@pytest.fixture(scope="module")
def slow() -> Iterator[StandIn]:
    with StandIn(SlowTikTok()) as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest,
    slow: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Return a server by its name. Both tests use it before the next one starts."""
    yield from served(request.param, tmp_path_factory.mktemp("tabs"), slow)


def ask(site: Site, target: str, cookies: dict[str, str]) -> tuple[Any, list[str]]:
    """GET an address with cookies; return the answer and the cookies it sets."""
    connection = HTTPConnection(urlsplit(site.url).netloc, timeout=SECONDS)
    headers = dict(PAGE)
    if cookies:
        headers["cookie"] = "; ".join(f"{n}={v}" for n, v in cookies.items())
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer, answer.headers.get_all("set-cookie") or []
    finally:
        connection.close()


def applied(jar: dict[str, str], lines: list[str]) -> None:
    for line in lines:
        name, _, value = line.partition(";")[0].partition("=")
        if value:
            jar[name] = value
        else:
            jar.pop(name, None)


def begin(site: Site, target: str, cookies: dict[str, str]) -> tuple[str, list[str]]:
    """Begin a login; return the address at TikTok and the cookies that it sets.

    A proxy with default settings passes on another Host than the site's, so the login
    is redirected once to the site's address, where the browser already is.
    """
    answer, lines = ask(site, f"{LOGIN}?next={target}", cookies)
    location = str(answer.headers["location"])
    if location.startswith(site.url + LOGIN):
        answer, lines = ask(site, location.removeprefix(site.url), cookies)
        location = str(answer.headers["location"])
    assert answer.status == 303
    assert location.startswith(site.stand_in.url)
    return location, lines


@pytest.mark.parametrize("site", SITES, indirect=True)
@pytest.mark.parametrize(("length", "newest"), [(40, 7), (300, 7), (2000, 1)])
def test_fifty_tabs(site, length, newest):
    """After fifty logins begun at once every request works, and so do the newest."""
    target = "/profile?" + "x" * (length - 9)
    jar: dict[str, str] = {}
    answer, lines = ask(site, "/", jar)
    assert answer.status == 200

    # Signed in, so that there is a session cookie, too.
    location, lines = begin(site, "/", {})
    applied(jar, lines)
    callback = site.tiktok.consent(location).removeprefix(site.url)
    applied(jar, ask(site, callback, jar)[1])
    assert list(jar) == ["tiktok"]

    shown = dict(jar)
    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(lambda _: begin(site, target, shown), range(50)))
    for _, lines in begun:
        applied(jar, lines)
        size = len("; ".join(f"{n}={v}" for n, v in jar.items()))
        assert size <= LIMIT
    assert ask(site, "/", jar)[0].status == 200

    # In the order of the answers, which may differ from that of the requests.
    newest = newest if site.kind.workers == 1 else 1
    one_by_one = [begin(site, target, shown) for _ in range(newest)]
    for _, lines in one_by_one:
        applied(jar, lines)
    for location, _ in one_by_one:
        assert ask(site, "/", jar)[0].status == 200
        callback = site.tiktok.consent(location).removeprefix(site.url)
        answer, lines = ask(site, callback, jar)
        assert answer.status == 303
        assert answer.headers["location"] == target
        assert lines[-1].startswith("tiktok=")
        applied(jar, lines)
    assert ask(site, "/", jar)[0].status == 200


# --- cut off -----------------------------------------------------------------------


CUT_OFF = [
    "uvicorn-h11",
    "uvicorn-workers",
    "hypercorn-asyncio",
    "hypercorn-trio",
    "granian-asgi",
    "daphne",
    "gunicorn-asgi",
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-workers",
    "waitress",
]
if os.environ.get("SERVERS") == "all":
    CUT_OFF += FURTHER


@pytest.mark.parametrize("site", CUT_OFF, indirect=True)
def test_cut_off(site, gate):
    """A browser that disconnects and repeats the request is signed in, once."""
    tiktok = site.tiktok
    location, lines = begin(site, "/profile?a=b", {})
    jar: dict[str, str] = {}
    applied(jar, lines)
    callback = tiktok.consent(location).removeprefix(site.url)
    before = tiktok.count("token", grant_type="authorization_code")
    tiktok.gate = gate
    try:
        send_first = send(site, callback, jar)
        gate.wait()
        send_first.close()
        with ThreadPoolExecutor(2) as pool:
            again = [pool.submit(ask, site, callback, jar) for _ in range(2)]
            gate.open()
            answers = [each.result(2 * SECONDS) for each in again]
    finally:
        tiktok.gate = None
    for answer, lines in answers:
        assert answer.status == 303
        assert answer.headers["location"] == "/profile?a=b"
        assert lines[-1].startswith("tiktok=")
    assert tiktok.count("token", grant_type="authorization_code") == before + 1
    applied(jar, answers[0][1])
    assert list(jar) == ["tiktok"]
    browser = Browser(site)
    try:
        browser.reopen(jar)
        assert browser.me().status_code == 200
        stranger = ask(site, callback, {})[0]
        assert stranger.status == 400
    finally:
        browser.client.close()

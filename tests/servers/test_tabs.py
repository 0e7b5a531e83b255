"""Fifty tabs at once behind proxies with default settings.

tests/servers/test_servers.py has the same test on servers without a proxy.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tiktok_oauth_middleware.testing.server import StandIn

from ..support.ports import free_port
from ..support.proxies import APACHE, AROUND_APACHE, AROUND_NGINX, MODULES, NGINX
from .conftest import KINDS, SECONDS, Server
from .tabs import LENGTHS, fifty_tabs

IN_NGINX = """
server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{inner}; }}
}}
"""
IN_APACHE = "ProxyPass / http://127.0.0.1:{inner}/"
#: By name: the server, and the proxy in front of it.
SITES = {
    "nginx-gunicorn": ("gunicorn-sync", "nginx"),
    "nginx-uvicorn": ("uvicorn-h11", "nginx"),
    "apache-gunicorn": ("gunicorn-sync", "apache"),
    "apache-waitress": ("waitress", "apache"),
}


@dataclass
class Site(Server):
    """A server behind a proxy, both with default settings."""

    front: str = ""
    front_port: int = field(default_factory=free_port)
    front_process: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front_port}"

    def start(self) -> None:
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


@pytest.fixture(scope="module", params=SITES)
def site(
    request: pytest.FixtureRequest,
    stand_in: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    server, front = SITES[request.param]
    kind = KINDS[server]
    if kind.missing:
        pytest.skip(f"{kind.missing} is not installed")
    if front == "nginx" and NGINX is None:
        pytest.skip("nginx is not installed")
    if front == "apache" and APACHE is None:
        pytest.skip("apache2 is not installed")
    folder = tmp_path_factory.mktemp("tabs")
    site = Site(request.param, kind, folder, stand_in, front=front)
    # Longer than any test needs, so that a slow machine does not fail.
    site.environment["TIKTOK_TIMEOUT"] = "60"
    try:
        site.start()
        yield site
    finally:
        if site.process:
            site.stop()


@LENGTHS
def test_fifty_tabs(site, length, newest):
    """After fifty logins begun at once every request works, and so do the newest."""
    fifty_tabs(site, length, newest)

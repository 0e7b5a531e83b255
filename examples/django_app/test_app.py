"""The Django example, served by real servers, with the stand-in."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.server import StandIn

pytestmark = pytest.mark.skipif(
    httpx2.__name__ != "httpx2",  # see conftest.py: httpx stands in for it
    reason="httpx2 is not installed, which the example imports in processes of its own",
)
ROOT = Path(__file__).parents[2]
PAGE = {"accept": "text/html"}
#: Longer than a start takes on any machine.
PATIENCE = 120
SERVERS = {
    "runserver": "-m django runserver --noreload 127.0.0.1:{port}",
    "gunicorn": "-m gunicorn examples.django_app.wsgi --bind 127.0.0.1:{port}"
    " --worker-class gthread --threads 4 --log-level warning",
    "uvicorn": "-m uvicorn examples.django_app.asgi:application --port {port}"
    " --lifespan off --log-level warning",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def fake() -> FakeTikTok:
    """Return a stand-in for TikTok."""
    return FakeTikTok()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the project's tables, which each test copies."""
    folder = tmp_path_factory.mktemp("tables")
    with environment(FakeTikTok(), folder, "http://127.0.0.1:8000") as given:
        command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=ROOT, env=given, check=True)
        return Path(given["DJANGO_DATABASE"])


@contextmanager
def environment(
    fake: FakeTikTok, folder: Path, origin: str
) -> Iterator[dict[str, str]]:
    """Yield the environment of the project, with its database in this folder."""
    with StandIn(fake) as stand_in:
        given = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")},
            **stand_in.environment(f"{origin}/auth/tiktok/callback"),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_OPTIONAL_SCOPES": "video.list",
            "DJANGO_SETTINGS_MODULE": "examples.django_app.settings",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_DEBUG": "true",
            "DJANGO_DATABASE": str(folder / "db.sqlite3"),
        }
        yield given


@pytest.fixture(params=sorted(SERVERS))
def site(
    request: pytest.FixtureRequest, fake: FakeTikTok, database: Path, tmp_path: Path
) -> Iterator[Any]:
    """Yield a browser for the project on one server."""
    if request.param != "runserver":
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    shutil.copy(database, tmp_path)
    with environment(fake, tmp_path, origin) as given:
        command = SERVERS[request.param].format(port=port).split()
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=given)
        try:
            with httpx2.Client(base_url=origin, timeout=PATIENCE) as client:
                wait(client, process)
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def wait(client: httpx2.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.get("/")
        except httpx2.HTTPError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
        else:
            return


def test_a_visit(site: httpx2.Client, fake: FakeTikTok) -> None:
    """Login, profile, further scope, JSON and logout, through a real server."""
    assert "Log in with TikTok" in site.get("/").text
    sent = site.get("/profile", headers=PAGE)
    assert sent.headers["location"] == "/auth/tiktok/login?next=/profile"
    assert login_as(site, fake, next="/profile").headers["location"] == "/profile"
    assert str(fake.people[0].display_name) in site.get("/profile").text
    asked = site.get("/videos", headers=PAGE).headers["location"]
    assert asked == "/auth/tiktok/login?next=/videos&scopes=video.list"
    login_as(site, fake, login_path=asked)
    page = site.get("/videos").text
    assert page.count("<img") == 12
    me = site.get("/api/me", headers={"accept": "application/json"}).json()
    assert me["open_id"] == fake.people[0].open_id
    assert me["user"].startswith("tiktok_")
    origin = str(site.base_url).rstrip("/")
    answer = site.post("/auth/tiktok/logout", headers={"origin": origin})
    assert answer.status_code in (200, 303)
    assert site.get("/profile", headers=PAGE).status_code == 302
    refused = site.get("/api/me", headers={"accept": "application/json"})
    assert refused.status_code == 401


def test_commands(fake: FakeTikTok, database: Path, tmp_path: Path) -> None:
    """manage.py check finds nothing wrong, and manage.py tiktok runs."""
    shutil.copy(database, tmp_path)
    with environment(fake, tmp_path, "http://127.0.0.1:8000") as given:
        for words in (["check"], ["tiktok", "tokens"], ["tiktok", "sweep"]):
            command = [sys.executable, "-m", "examples.django_app.manage", *words]
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=given,
                check=False,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr

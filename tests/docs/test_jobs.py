"""The example of docs/guide/jobs.md, unchanged: processes with one store."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.server import StandIn

from ..support.ports import free_port, wait_for
from ..support.quick_start import run, start
from ..support.recipes import blocks


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def project(tmp_path, fake):
    """Write the page's three files and start its web app."""
    for name in ("web.py", "job.py", "inside.py"):
        (tmp_path / name).write_text(blocks("guide/jobs.md")[name], encoding="utf-8")
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with StandIn(fake) as stand_in:
        environment = {
            **os.environ,
            **stand_in.environment(f"{origin}/auth/tiktok/callback"),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_SCOPES": "user.info.basic,video.list",
            "TIKTOK_STORE": f"sqlite:///{tmp_path}/tokens.sqlite3",
            "TIKTOK_KEEP_GRANTS": "true",
        }
        with serving("web:app", port, tmp_path, environment):
            wait_for(origin + "/auth/tiktok/logout")
            yield tmp_path, environment, origin


@contextmanager
def serving(app, port, folder, environment):
    """Serve an app of the folder; yield the file of the server's output."""
    command = ["-m", "uvicorn", app, "--port", str(port), "--log-level", "warning"]
    with (folder / "log").open("w+") as log:
        server = start(command, stdout=log, cwd=folder, env=environment)
        try:
            yield log
        finally:
            server.terminate()
            server.wait(60)


def run_job(project):
    folder, environment, _ = project
    done = run(["job.py"], cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_job(project, fake):
    """The job renews the web app's token, and still works after a logout."""
    _, _, origin = project
    fake.access_lifetime = 0  # expired at once, so that the sweep renews it
    with httpx2.Client(base_url=origin) as client:
        assert login_as(client, fake).status_code == 303
        fake.access_lifetime = 7200
        out = run_job(project)
        assert out.startswith("refreshed 1, failed 0, ended 0\n")
        assert fake.people[0].open_id in out
        assert client.get("/").status_code == 200
        # A token that was just renewed is not renewed again.
        assert run_job(project).startswith("refreshed 0, failed 0, ended 0\n")
        # The web app uses the job's token.
        assert client.get("/").status_code == 200
        client.post("/auth/tiktok/logout", headers={"origin": origin})
    assert fake.people[0].open_id in run_job(project)
    fake.access_lifetime = 0
    with httpx2.Client(base_url=origin) as client:
        assert login_as(client, fake).status_code == 303
    fake.provider.remove(fake.people[0].open_id)
    assert run_job(project) == (
        f"lost {fake.people[0].open_id}: invalid_grant\n"
        "refreshed 0, failed 0, ended 1\n"
    )
    assert run_job(project) == "refreshed 0, failed 0, ended 0\n"


def test_inside_the_web_app(project, fake):
    """The app's background task renews the token, and ends with the app."""
    folder, environment, origin = project
    fake.access_lifetime = 0
    with httpx2.Client(base_url=origin) as client:
        assert login_as(client, fake).status_code == 303
    fake.access_lifetime = 7200
    before = fake.count("token", grant_type="refresh_token")
    port = free_port()
    other = folder / "inside"
    other.mkdir()
    (other / "inside.py").write_text((folder / "inside.py").read_text())
    with serving("inside:app", port, other, environment):
        wait_for(f"http://127.0.0.1:{port}/auth/tiktok/logout")
        give_up = time.monotonic() + 60
        while fake.count("token", grant_type="refresh_token") == before:
            assert time.monotonic() < give_up, "no sweep refreshed the token"
            time.sleep(0.05)
    assert "Traceback" not in (other / "log").read_text()
    assert run_job(project).startswith("refreshed 0, failed 0, ended 0\n")


def test_with_closes_all_connections(tmp_path):
    """`with` and `async with` leave no connection open: SQLite deletes the WAL."""
    import asyncio

    from tiktok_oauth_middleware import TikTokTokens

    from ..conftest import make_settings

    settings = make_settings(store=f"sqlite:///{tmp_path}/tokens.sqlite3")
    wal = tmp_path / "tokens.sqlite3-wal"

    with TikTokTokens(settings) as tokens:
        assert tokens.users() == []
        assert wal.exists()
    assert not wal.exists()

    async def job():
        async with TikTokTokens(settings) as tokens:
            assert await tokens.ausers() == []
            assert wal.exists()

    asyncio.run(job())
    assert not wal.exists()


def test_async_with_closes_connections_to_redis(empty_redis):
    """A job in an event loop has closed its connections before the loop ends."""
    import asyncio

    import redis

    from tiktok_oauth_middleware import TikTokTokens

    from ..conftest import make_settings

    settings = make_settings(store=empty_redis)
    with redis.Redis.from_url(empty_redis) as watching:

        async def job():
            before = len(watching.client_list())
            async with TikTokTokens(settings) as tokens:
                assert await tokens.ausers() == []
                assert len(watching.client_list()) > before
            return before

        assert len(watching.client_list()) <= asyncio.run(job()) + 1

"""A project with debug toolbar, flat pages, redirects and per-site cache, on runserver."""

from __future__ import annotations

import os
import secrets
import signal
import time

import httpx2
import pytest

pytest.importorskip("debug_toolbar", reason="django-debug-toolbar is not installed")
pytest.importorskip("sqlparse", reason="django is not installed")

from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.server import StandIn

from ...support.patience import HANGS
from ...support.ports import free_port
from ...support.quick_start import run, start

MAKE = """
import django; django.setup()
from django.contrib.flatpages.models import FlatPage
from django.contrib.redirects.models import Redirect
page = FlatPage.objects.create(url="/about/", title="About", content="a flat page",
                               template_name="flat.html")
page.sites.set([1])
Redirect.objects.create(site_id=1, old_path="/old/", new_path="/api/me")
"""


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def site(fake, tmp_path):
    """Return a client of the project, served by Django's own server."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with StandIn(fake) as stand_in:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")},
            **stand_in.environment(f"{origin}/auth/tiktok/callback"),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "DJANGO_SETTINGS_MODULE": "tests.integrations.django_project.full_settings",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_DEBUG": "true",
            "DJANGO_DATABASE": str(tmp_path / "db.sqlite3"),
        }
        for words in (
            ["-m", "django", "migrate", "--verbosity", "0"],
            ["-c", MAKE],
        ):
            done = run(words, env=environment)
            assert done.returncode == 0, done.stderr
        command = ["-m", "django", "runserver", "--noreload", f"127.0.0.1:{port}"]
        process = start(command, env=environment)
        try:
            with httpx2.Client(base_url=origin, timeout=HANGS) as client:
                deadline = time.monotonic() + HANGS
                while True:
                    try:
                        client.get("/")
                        break
                    except httpx2.HTTPError:
                        assert process.poll() is None
                        assert time.monotonic() < deadline
                        time.sleep(0.1)
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(HANGS)


def test_a_visit(site, fake):
    """Every part does its own work, and no user is served another's page."""
    toolbar = site.get("/", headers={"accept": "text/html"}).text
    assert "djDebug" in toolbar
    assert site.get("/about").headers["location"] == "/about/"
    assert "a flat page" in site.get("/about/").text
    moved = site.get("/old/")
    assert moved.headers["location"] == "/api/me"
    login_as(site, fake)
    headers = {"accept": "application/json"}
    me = site.get("/api/me", headers=headers)
    assert me.json()["open_id"] == fake.people[0].open_id
    assert "private" in me.headers["cache-control"]
    with httpx2.Client(base_url=site.base_url, timeout=HANGS) as other:
        assert other.get("/api/me", headers=headers).status_code == 401
        assert "flat page" in other.get("/about/").text
        login_as(other, fake, fake.people[1])
        found = other.get("/api/me", headers=headers).json()
        assert found["open_id"] == fake.people[1].open_id
    page = site.get("/", headers={"accept": "text/html"}).text
    for secret in [value for name, value in site.cookies.items() if "tiktok" in name]:
        assert secret not in page


def test_unknown_pages(site):
    """An address that nothing answers is still 404."""
    missing = site.get("/no/such/page")
    assert missing.status_code == 404

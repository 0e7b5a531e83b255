"""The README is correct and short, and its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

import tiktok_oauth_middleware
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import API, LOGIN, ORIGIN, PAGE
from ..support.recipes import in_environment, programs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def environment(fake, monkeypatch):
    """Set the quick start's variables, with the address of a stand-in."""
    with in_environment(fake, monkeypatch):
        yield


@pytest.fixture(params=["ASGI", "WSGI"])
def client(request, environment):
    """Return a client of one of the quick start's apps, whose code is unchanged."""
    [asgi, wsgi] = programs("../README.md")
    found = {"__name__": "readme"}
    exec(asgi if request.param == "ASGI" else wsgi, found)
    if request.param == "ASGI":
        with TestClient(found["app"], base_url=ORIGIN) as client:
            yield client
    else:
        transport = httpx2.WSGITransport(found["app"])
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            yield client
        found["app"].wsgi_app.close()


def test_login(client, fake):
    """Both apps show an anonymous user the login, and greet the user who logged in."""
    assert LOGIN in client.get("/").text
    login_as(client, fake)
    assert client.get("/").text == f"Hello, {fake.people[0].display_name}"
    assert client.get("/me").json() == {
        "open_id": fake.people[0].open_id,
        "scopes": ["user.info.basic"],
    }


def test_guard(client):
    """Both guards send a browser to log in, and answer a program with 401."""
    page = client.get("/me", headers=PAGE, follow_redirects=False)
    assert page.status_code == 303
    assert page.headers["location"] == f"{LOGIN}?next=/me"
    answer = client.get("/me", headers=API)
    assert answer.status_code == 401
    assert answer.json()["error"] == "login_required"


def test_length():
    """The README is short: details are in docs/."""
    assert len(README.splitlines()) <= 170


def test_picture():
    """The picture exists, and its address is relative to the README."""
    [path] = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert (ROOT / path).read_bytes().startswith(b"\x89PNG")


def test_commands():
    """The commands of the README are targets of the Makefile."""
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {"demo", "test", "demo-flask"}
    assert named <= set(re.findall(r"make ([\w-]+)", README))
    for name in re.findall(r"make ([\w-]+)", README):
        assert re.search(rf"^{name}:", targets, re.MULTILINE), name


def test_version_in_the_changelog():
    """The changelog has an entry for the version of the package."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{tiktok_oauth_middleware.__version__}]" in changelog

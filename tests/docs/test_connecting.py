"""The app of docs/guide/connecting.md, whose users connect TikTok accounts."""

from __future__ import annotations

import re
import secrets
from html import unescape

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import ORIGIN, SAME_ORIGIN
from ..support.recipes import in_environment, run


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def open_client(fake, monkeypatch, tmp_path):
    """Return a function that opens a client of the page's app, signed in as a user."""
    with in_environment(
        fake,
        monkeypatch,
        TIKTOK_STORE=f"sqlite:///{tmp_path}/tokens.sqlite3",
        TIKTOK_CONNECT_PATH="/auth/tiktok/connect",
        APP_SECRET=secrets.token_urlsafe(32),
    ):
        left = run("guide/connecting.md", "flask")
        app, clients = left["app"], []

        @app.get("/sign-in/<user_id>")
        def sign_in(user_id):
            left["session"]["user_id"] = user_id
            return ""

        def open_client(user_id):
            transport = httpx2.WSGITransport(app)
            clients.append(httpx2.Client(transport=transport, base_url=ORIGIN))
            if user_id is not None:
                clients[-1].get(f"/sign-in/{user_id}")
            return clients[-1]

        yield open_client
        for client in clients:
            client.close()
        app.wsgi_app.close()
        left["tokens"].close()


def connect(client, fake, person):
    """Press the page's button and consent; return the callback's response."""
    address = re.search('action="(/auth[^"]+)"', client.get("/accounts").text)[1]
    there = client.post(unescape(address), headers=SAME_ORIGIN)
    return client.get(fake.consent(there.headers["location"], person=person))


def test_journey(open_client, fake):
    """A user connects two accounts, sees both by name, and disconnects one."""
    client = open_client("7")
    first, second = fake.people[:2]
    assert connect(client, fake, first).headers["location"] == "/accounts"
    connect(client, fake, second)
    page = client.get("/accounts").text
    assert page.index(first.display_name) < page.index(second.display_name)
    url = f"/disconnect/{first.open_id}"
    client.post(url, headers={"origin": "https://evil.example"})
    assert first.display_name in client.get("/accounts").text
    client.post(url, headers=SAME_ORIGIN)
    page = client.get("/accounts").text
    assert first.display_name not in page
    assert second.display_name in page


def test_other_users(open_client, fake):
    """Another user cannot see, take or disconnect the account."""
    client, other = open_client("7"), open_client("8")
    [person] = fake.people[:1]
    connect(client, fake, person)
    assert connect(other, fake, person).status_code == 409
    other.post(f"/disconnect/{person.open_id}", headers=SAME_ORIGIN)
    assert person.display_name not in other.get("/accounts").text
    assert person.display_name in client.get("/accounts").text


def test_signed_out(open_client):
    """A user who is not signed in to the app gets a page that says so."""
    response = open_client(None).post("/auth/tiktok/connect", headers=SAME_ORIGIN)
    assert response.status_code == 401

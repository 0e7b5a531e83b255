"""The app of docs/guide/who-may-log-in.md: logins with an invitation, with terms, and without."""

from __future__ import annotations

import re
from html import unescape

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import ORIGIN
from ..support.recipes import in_environment, run


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def open_client(fake, monkeypatch, tmp_path):
    """Return a function that opens a client of the page's app."""
    with in_environment(fake, monkeypatch, DATABASE=str(tmp_path / "members.sqlite3")):
        left = run("guide/who-may-log-in.md", "invitations")
        transport = httpx2.WSGITransport(left["app"])
        clients = []

        def open_client():
            clients.append(httpx2.Client(transport=transport, base_url=ORIGIN))
            return clients[-1]

        yield open_client
        for client in clients:
            client.close()
        left["app"].wsgi_app.close()
        left["database"].close()


def join(client, fake, code="k9x2-moon"):
    """Follow an invitation; return the callback's response."""
    page = client.get(f"/invitation/{code}").text
    link = unescape(re.search('href="([^"]+)"', page)[1])
    return login_as(client, fake, login_path=link)


def test_invited(open_client, fake):
    """With an invitation a person signs up, accepts the terms, and is a member."""
    client = open_client()
    assert join(client, fake).headers["location"] == "/terms"
    assert client.get("/members").status_code == 403
    assert client.post("/terms").text == "Welcome."
    assert client.get("/members").text == "Members only."
    again = open_client()
    assert login_as(again, fake, next="/members").headers["location"] == "/members"


@pytest.mark.parametrize("code", [None, "guessed"])
def test_not_invited(open_client, fake, code):
    """Without an invitation no user is signed in, and TikTok's grant is revoked."""
    client = open_client()
    answer = login_as(client, fake) if code is None else join(client, fake, code)
    assert answer.status_code == 403
    assert "Only people with an invitation can sign up." in answer.text
    assert fake.count("revoke") == 1
    headers = {"accept": "application/json"}
    assert client.get("/members", headers=headers).status_code == 401

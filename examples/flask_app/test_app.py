"""The Flask example, tested as an app's author would: offline, with the stand-in."""

from __future__ import annotations

import importlib
import re
import secrets
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.server import StandIn

ORIGIN = "http://127.0.0.1:8000"
CALLBACK = f"{ORIGIN}/auth/tiktok/callback"
PAGE = {"accept": "text/html"}


@pytest.fixture
def fake() -> FakeTikTok:
    """Return a stand-in for TikTok."""
    return FakeTikTok()


@pytest.fixture
def client(
    fake: FakeTikTok, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[FlaskClient]:
    """Yield a browser for the app, whose settings name the stand-in."""
    with StandIn(fake) as stand_in:
        environment = {
            **stand_in.environment(CALLBACK),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_OPTIONAL_SCOPES": "video.list",
            "TIKTOK_STORE": f"sqlite:///{tmp_path}/tokens.sqlite3",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        app = importlib.reload(importlib.import_module("examples.flask_app.app")).app
        with app.test_client() as client:
            # The cookies belong to the site of the redirect URI.
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            yield client
        app.wsgi_app.close()


def test_home(client: FlaskClient) -> None:
    """The home page is public."""
    assert "Log in with TikTok" in client.get("/").text


def test_profile(client: FlaskClient, fake: FakeTikTok) -> None:
    """The profile is shown after a login."""
    assert client.get("/profile", headers=PAGE).status_code == 303
    assert login_as(client, fake, next="/profile").headers["location"] == "/profile"
    assert fake.people[0].display_name in client.get("/profile").text


def test_videos(client: FlaskClient, fake: FakeTikTok) -> None:
    """The page of videos requests its scope when it is first opened."""
    login_as(client, fake)
    asked = client.get("/videos", headers=PAGE).headers["location"]
    assert asked == "/auth/tiktok/login?next=/videos&scopes=video.list"
    login_as(client, fake, login_path=asked)
    page = client.get("/videos").text
    assert page.count("<img") == 12
    assert "&amp;x-expires=" in page  # the "&" in links, escaped


def test_no_videos(client: FlaskClient, fake: FakeTikTok) -> None:
    """Without videos, or without an answer, the page says so."""
    asked = "/auth/tiktok/login?next=/videos&scopes=video.list"
    login_as(client, fake, fake.people[2], login_path=asked)
    assert "no public videos" in client.get("/videos").text
    fake.fail("video_list", error="rate_limit_exceeded")
    assert "did not say" in client.get("/videos").text
    fake.fail("video_list", body=b"<html>")
    assert "did not say" in client.get("/videos").text


def test_invitation_of_any_length(client: FlaskClient) -> None:
    """An address that is too long for a login is not found, which is no error."""
    assert client.get(f"/invitation/{'x' * 700}").status_code == 404


@pytest.mark.parametrize(("code", "status"), [("moon", 303), ("guessed", 403)])
def test_invitation(
    client: FlaskClient, fake: FakeTikTok, code: str, status: int
) -> None:
    """A login with an invitation is accepted; one with an invalid code is refused."""
    page = client.get(f"/invitation/{code}").text
    [link] = re.findall(r'href="(/auth/tiktok/login\?carried=[^"]+)"', page)
    assert code not in link
    answer = login_as(client, fake, login_path=unescape(link))
    assert answer.status_code == status
    if status == 303:
        assert answer.headers["location"] == "/welcome"
        assert fake.people[0].display_name in client.get("/welcome").text
    else:
        assert "This invitation is not valid any more." in answer.text
        assert client.get("/profile", headers=PAGE).status_code == 303
        assert fake.count("revoke") == 1


def test_api(client: FlaskClient, fake: FakeTikTok) -> None:
    """The endpoint answers programs in JSON, signed in or not."""
    headers = {"accept": "application/json"}
    assert client.get("/api/me", headers=headers).status_code == 401
    login_as(client, fake)
    me = client.get("/api/me", headers=headers).get_json()
    assert me["open_id"] == fake.people[0].open_id


def test_log_out(client: FlaskClient, fake: FakeTikTok) -> None:
    """Logging out closes the profile."""
    login_as(client, fake)
    client.post("/auth/tiktok/logout", headers={"origin": ORIGIN})
    assert client.get("/profile", headers=PAGE).status_code == 303


def test_sessions(client: FlaskClient, fake: FakeTikTok) -> None:
    """Each browser is listed, and one can log the other out; another site cannot."""
    with client.application.test_client() as other:
        other.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
        login_as(client, fake)
        login_as(other, fake)
        page = client.get("/sessions").text
        [end] = re.findall(r'action="(/sessions/\w{32}/end)"', page)
        assert page.count("This browser") == page.count("Another browser") == 1
        for origin in ("https://evil.example", "null", ""):
            refused = client.post(end, headers={"origin": origin})
            assert refused.status_code == 403
        own = {"origin": ORIGIN}
        assert client.post(end, headers=own).status_code == 303
        assert client.get("/sessions").text.count("Another browser") == 0
        login_as(other, fake)
        assert client.post("/sessions/end-others", headers=own).status_code == 303
        page = client.get("/sessions").text
        assert ("This browser" in page, "Another browser" in page) == (True, False)
        # A worker may cache the ended session for a second.
        time.sleep(1.1)
        assert other.get("/sessions", headers=PAGE).status_code == 303


def test_accounts(client: FlaskClient, fake: FakeTikTok) -> None:
    """A user connects a second account, unseen by other users, and disconnects it."""
    first, second = fake.people[:2]
    login_as(client, fake, first)
    page = client.get("/accounts").text
    [connect] = re.findall(r'action="(/auth/tiktok/connect[^"]*)"', page)
    own = {"origin": ORIGIN}
    # Werkzeug's client sends its own host, so the middleware redirects to the site's
    # once.
    there = client.post(f"{connect}&moved=1", headers=own).headers["location"]
    callback = urlsplit(fake.consent(there, person=second))
    answer = client.get(f"{callback.path}?{callback.query}")
    assert answer.headers["location"] == "/accounts"
    assert str(second.display_name) in client.get("/accounts").text
    assert first.display_name in client.get("/profile").text
    disconnect = f"/accounts/{second.open_id}/disconnect"
    evil = {"origin": "https://evil.example"}
    assert client.post(disconnect, headers=evil).status_code == 403
    assert client.post(disconnect, headers={"origin": ORIGIN}).status_code == 303
    assert str(second.display_name) not in client.get("/accounts").text
    assert client.get("/profile").status_code == 200

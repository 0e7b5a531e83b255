"""The command line: what it prints, what it exits with, and what it never shows."""

from __future__ import annotations

import re
import secrets

import httpx2
import pytest

from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings
from tiktok_oauth_middleware.__main__ import main
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

CALLBACK = "http://127.0.0.1:8000/auth/tiktok/callback"


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An app's settings in the environment, a stand-in, and one signed-in user."""
    fake = FakeTikTok()
    with StandIn(fake) as stand_in:
        given = {
            **stand_in.environment(CALLBACK),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_STORE": f"sqlite:///{tmp_path}/tokens.sqlite3",
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        wrapped = TikTokOAuthWSGIMiddleware(lambda *_: [], TikTokSettings.from_env())
        transport = httpx2.WSGITransport(wrapped)
        with httpx2.Client(transport=transport, base_url=CALLBACK) as client:
            url = client.get("http://127.0.0.1:8000/auth/tiktok/login").headers[
                "location"
            ]
            assert client.get(fake.consent(url)).status_code == 303
        wrapped.close()
        yield fake


@pytest.fixture
def open_id(environment):
    return environment.people[0].open_id


class TestCheck:
    def test_good(self, environment, capsys):
        """Good settings are said to be good, with the URI to register."""
        assert main(["check"]) == 0
        out = capsys.readouterr().out
        assert CALLBACK in out
        assert "Desktop tab" in out
        assert "store can be written" in out

    def test_wrong(self, environment, capsys, monkeypatch):
        """Every fault is printed, and the exit code says so."""
        monkeypatch.setenv("TIKTOK_REDIRECT_URI", "http://app.example.com/cb?x=1")
        monkeypatch.setenv("TIKTOK_TIMEOUT", "soon")
        assert main(["check"]) == 1
        out = capsys.readouterr().out
        assert out.count("wrong: ") >= 3
        assert "TIKTOK_TIMEOUT" in out

    def test_store(self, environment, capsys, monkeypatch, tmp_path):
        """A store that can not be written is found out."""
        monkeypatch.setenv("TIKTOK_STORE", f"sqlite:///{tmp_path}/missing/x.sqlite3")
        assert main(["check"]) == 1
        assert "wrong: store" in capsys.readouterr().out


class TestTokens:
    def test_list(self, environment, open_id, capsys):
        """The stored users are listed, with scopes and ends, and no token."""
        assert main(["tokens", "list"]) == 0
        out = capsys.readouterr().out
        assert open_id in out
        assert "user.info.basic" in out
        assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ", out)
        assert "1 stored" in out

    def test_refresh(self, environment, open_id, capsys):
        """A token is renewed when asked for."""
        assert main(["tokens", "refresh", open_id]) == 0
        assert environment.count("token", grant_type="refresh_token") == 1
        assert "refreshed" in capsys.readouterr().out

    def test_forget(self, environment, open_id, capsys):
        """A user is forgotten; a second time there is nobody to forget."""
        assert main(["tokens", "forget", open_id]) == 0
        assert main(["tokens", "forget", open_id]) == 1
        assert environment.count("revoke") == 0
        assert "not stored" in capsys.readouterr().err

    def test_disconnect(self, environment, open_id, capsys):
        """A user is disconnected at TikTok too."""
        assert main(["tokens", "disconnect", open_id]) == 0
        assert environment.count("revoke") == 1

    def test_disconnect_fails(self, environment, open_id, capsys):
        """A revoke that TikTok did not confirm is said, and forgotten all the same."""
        environment.fail("revoke", status=500)
        assert main(["tokens", "disconnect", open_id]) == 1
        assert "could not be told" in capsys.readouterr().out
        assert main(["tokens", "forget", open_id]) == 1

    @pytest.mark.parametrize("action", ["list", "refresh", "forget", "disconnect"])
    def test_no_token_is_printed(self, environment, open_id, capsys, action):
        """No command prints a token, a key or the client secret."""
        main(["tokens", action, *([] if action == "list" else [open_id])])
        printed = "".join(capsys.readouterr())
        assert "act." not in printed
        assert "rft." not in printed
        assert environment.client_secret not in printed

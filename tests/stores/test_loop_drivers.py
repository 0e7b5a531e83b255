"""The command line works on a database whose driver works in an event loop only."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import pytest

from tiktok_oauth_middleware import SQLStore, TikTokSettings
from tiktok_oauth_middleware.__main__ import main
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import Session, record_id
from tiktok_oauth_middleware._session.service import SessionService

from ..support.sample_records import a_record

if TYPE_CHECKING:
    from .databases import Server

USERS = 300  # more than a page of rows


@pytest.fixture(params=["asyncpg", "asyncmy"])
def app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put settings into the environment, and users into the database."""
    driver: str = request.param
    kind = "postgresql" if driver == "asyncpg" else "mariadb"
    server: Server = request.getfixturevalue(kind)
    client_key = secrets.token_hex(8)
    environment = {
        "TIKTOK_CLIENT_KEY": client_key,
        "TIKTOK_CLIENT_SECRET": "example_client_secret",
        "TIKTOK_REDIRECT_URI": "https://app.example.com/auth/tiktok/callback",
        "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
        "TIKTOK_STORE": server.url(driver),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["store", "create"]) == 0
    store = SQLStore(server.url())
    service = SessionService(
        TikTokSettings.from_env(), ThreadBackend(), store=store, clock=time.time
    )
    now = int(time.time())
    for number in range(USERS):
        open_id = f"-000user{number:04d}"
        record = a_record(
            open_id=open_id,
            access_token=Secret(f"act.{number}"),
            issued_at=now,
            expires_at=now + 86400,
            refresh_expires_at=now + 365 * 86400,
            sessions=(Session("d" * 43, now, now),),
        )
        run(service.records.create(record_id(client_key, open_id), record))
    store.close()
    return driver


def test_commands_run_in_an_event_loop(
    app: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """List, sweep, sessions, forget and check work through asyncpg and asyncmy."""
    capsys.readouterr()
    assert main(["tokens", "list"]) == 0
    *_, first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("-000user0299 ")
    assert last == f"{USERS} stored"
    assert main(["tokens", "list", "--ending", "400"]) == 0
    out = capsys.readouterr().out
    assert f"{USERS} of {USERS} stored end within 400 days" in out
    assert main(["tokens", "sweep"]) == 0
    assert "refreshed 0, failed 0, ended 0" in capsys.readouterr().out
    assert main(["tokens", "sessions", "-000user0007"]) == 0
    assert "1 active" in capsys.readouterr().out
    assert main(["tokens", "forget", "-000user0007"]) == 0
    assert main(["tokens", "forget", "-000user0007"]) == 1
    assert "this user is not stored" in capsys.readouterr().err
    main(["check"])
    out = capsys.readouterr().out
    assert "store can be written and read" in out
    assert f"secret_keys open {USERS - 1} stored users" in out


def test_records_that_cannot_be_opened_are_counted_in_a_loop(
    app: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list with other keys counts the users that it cannot show."""
    monkeypatch.setenv("TIKTOK_SECRET_KEYS", secrets.token_urlsafe(32))
    capsys.readouterr()
    assert main(["tokens", "list"]) == 0
    out = capsys.readouterr().out
    assert "0 stored" in out
    assert f"{USERS} more cannot be opened" in out

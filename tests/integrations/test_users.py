"""An app's own users table beside the session: the recipes of docs/guide/users.md."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from starlette.testclient import TestClient

from tiktok_oauth_middleware import Event
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import API, LOGIN, ORIGIN, PAGE, SAME_ORIGIN
from ..support.recipes import blocks, in_environment, run

GOODBYE = "/auth/tiktok/disconnect"


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def accounts(fake, monkeypatch, tmp_path):
    """Return what the page's first block leaves, on a database of its own."""
    with in_environment(
        fake,
        monkeypatch,
        TIKTOK_DISCONNECT_PATH=GOODBYE,
        DATABASE_URL=f"sqlite:///{tmp_path}/app.sqlite3",
    ):
        left = run("guide/users.md", "accounts")
        monkeypatch.setitem(sys.modules, "accounts", sys.modules["recipe_accounts"])
        yield left
        left["engine"].dispose()


@pytest.fixture(params=["starlette", "fastapi", "flask"])
def client(request, accounts):
    if request.param == "flask":
        pytest.importorskip("flask_login", reason="Flask-Login is not installed")
        app = run("guide/users.md", "flask")["app"]
        with httpx2.Client(
            transport=httpx2.WSGITransport(app), base_url=ORIGIN
        ) as made:
            yield made
        app.wsgi_app.close()
        return
    app = run("guide/users.md", request.param)["app"]
    with TestClient(app, base_url=ORIGIN) as made:
        yield made


def rows(accounts):
    from sqlalchemy import select

    with accounts["Session"]() as session:
        return list(session.scalars(select(accounts["Account"])))


def test_anonymous(client, accounts):
    """An anonymous visitor is sent to log in, or refused, and makes no row."""
    browser = client.get("/me", headers=PAGE, follow_redirects=False)
    assert browser.status_code == 303
    assert browser.headers["location"] == f"{LOGIN}?next=/me"
    program = client.get("/me", headers=API)
    assert (program.status_code, program.json()["error"]) == (401, "login_required")
    assert rows(accounts) == []


def test_login(client, accounts, fake):
    """A first login makes the account, with its name and its welcome; a second none."""
    person = fake.people[0]
    login_as(client, fake, person)
    [row] = rows(accounts)
    assert (row.open_id, row.name) == (person.open_id, person.display_name)
    expected = {"id": row.id, "name": person.display_name, "coins": 10}
    assert client.get("/me", headers=API).json() == expected
    login_as(client, fake, person)
    assert len(rows(accounts)) == 1
    assert client.get("/me", headers=API).json() == expected


def test_two_users(client, accounts, fake):
    """Each sees their own account, which no shared cache keeps."""
    seen = set()
    for person in fake.people[:2]:
        login_as(client, fake, person)
        response = client.get("/me", headers=API)
        assert response.json()["name"] == person.display_name
        assert "private" in response.headers["cache-control"]
        seen.add(response.json()["id"])
        client.cookies.clear()
    assert len(seen) == len(rows(accounts)) == 2


def test_event_that_fails(client, accounts, fake, caplog):
    """After an error in the event the login works, and the request makes the row."""
    broken = accounts["Session"]

    def fail():
        raise ZeroDivisionError

    accounts["Session"] = fail  # a database that cannot be reached
    with caplog.at_level(logging.ERROR):
        assert login_as(client, fake).status_code == 303
    accounts["Session"] = broken
    assert rows(accounts) == []
    answer = client.get("/me", headers=API).json()
    assert (answer["name"], answer["coins"]) == (None, 0)
    assert len(rows(accounts)) == 1


def test_goodbye(client, accounts, fake):
    """A disconnect deletes the user's TikTok data; the app's own data stays."""
    login_as(client, fake)
    client.post(GOODBYE, headers=SAME_ORIGIN, follow_redirects=False)
    [row] = rows(accounts)
    assert (row.name, row.coins) == (None, 10)
    assert client.get("/me", headers=API).status_code == 401


def test_many_at_once(accounts):
    """Workers that meet a new user at the same moment make one account."""
    account_of = accounts["account_of"]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(account_of, ["-000new"] * 40))
    assert len({account.id for account in found}) == len(rows(accounts)) == 1


def test_other_events(accounts):
    """Events that are about no login leave the table alone."""
    for name in ("logout", "refresh", "store_error"):
        accounts["remember"](Event(name=name, open_id="somebody"))
    assert rows(accounts) == []


def test_all_blocks_are_run():
    """Every block of the page is one of those above."""
    assert set(blocks("guide/users.md")) == {
        "accounts",
        "starlette",
        "fastapi",
        "flask",
    }

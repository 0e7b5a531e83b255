"""The unchanged store of docs/stores/custom-store.md passes the contract."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokTokens
from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.stores import StoreContract

from ..conftest import ORIGIN, make_settings, starlette_app
from ..support.recipes import run

pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed")
pytest.importorskip("pymysql", reason="PyMySQL is not installed")
pytest.importorskip("psycopg", reason="psycopg is not installed")


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return run("stores/custom-store.md", "sql_store")


class TestSQLStore(StoreContract):
    @pytest.fixture
    def tick(self, clock):
        return clock.advance

    @pytest.fixture
    def store(self, recipe, clock, tmp_path):
        store = recipe["SQLStore"](f"sqlite:///{tmp_path}/rows.sqlite3", clock)
        recipe["rows"].metadata.create_all(store.engine)
        yield store
        store.close()

    @pytest.fixture
    def failing_store(self, recipe):
        return recipe["SQLStore"]("sqlite:////no/such/directory/rows.sqlite3")

    def test_login(self, store, clock):
        """A user logs in on it, is found by a job, and logs out."""
        settings = make_settings()
        fake = FakeTikTok.for_settings(settings, clock=clock)
        options = {"store": store, "transport": fake.transport, "clock": clock}
        app = TikTokOAuthMiddleware(starlette_app(), settings, **options)
        tokens = TikTokTokens(settings, **options)
        open_id = fake.people[0].open_id
        with TestClient(app, base_url=ORIGIN) as client:
            login_as(client, fake)
            assert client.get("/who").json()["open_id"] == open_id
            assert [user.open_id for user in tokens.users()] == [open_id]
            client.post("/auth/tiktok/logout", headers={"origin": ORIGIN})
            assert not client.get("/who").json()["signed_in"]
            assert tokens.users() == []
        tokens.close()

    def test_sweep(self, store, key, tick):
        """Expired rows are deleted, and no others."""
        store.compare_and_set(key, None, b"old", 1)
        store.compare_and_set(key + "b", None, b"young", 100)
        tick(2)
        store.sweep()
        with store.engine.connect() as connection:
            found = connection.exec_driver_sql("select value from tiktok_rows").all()
        assert found == [(b"young",)]


class TestSQLStoreOnServers(StoreContract):
    @pytest.fixture(params=["mysql+pymysql", "mariadb+pymysql", "postgresql+psycopg"])
    def url(self, request):
        """A server's address; SQLAlchemy has two names for MariaDB's."""
        kind, driver = request.param.split("+")
        is_mariadb = driver == "pymysql"
        server = request.getfixturevalue("mariadb" if is_mariadb else kind)
        address = server.url(driver).partition("://")[2]
        return f"{request.param}://{address}"

    @pytest.fixture
    def tick(self, clock):
        return clock.advance

    @pytest.fixture
    def store(self, recipe, clock, url):
        store = recipe["SQLStore"](url, clock)
        recipe["rows"].metadata.create_all(store.engine)
        yield store
        recipe["rows"].metadata.drop_all(store.engine)
        store.close()

    @pytest.fixture
    def failing_store(self, recipe):
        return recipe["SQLStore"]("mariadb+pymysql://app@127.0.0.1:1/app")

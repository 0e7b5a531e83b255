"""The store is not called needlessly, and its connections are limited (CWE-770)."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import RedisStore
from tiktok_oauth_middleware._core.encryption import derive
from tiktok_oauth_middleware._session.cookie import SessionCookies
from tiktok_oauth_middleware._session.record import record_id

from ..conftest import API, LOGIN, PAGE

SESSION = "__Host-tiktok"


class Counting:
    """A store that records the calls of its methods."""

    def __init__(self, inner):
        self.inner, self.asked = inner, []

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if name in (
            "get",
            "compare_and_set",
            "lock",
            "aget",
            "acompare_and_set",
            "alock",
        ):
            self.asked.append(name)
        return found

    def get(self, key):
        self.asked.append("get")
        return self.inner.get(key)


class TestNoNeedlessCalls:
    @pytest.fixture
    def counted(self, world):
        world.store = Counting(world.store)
        world.start()
        return world

    def requests(self, browser):
        for path, headers in (
            ("/who", API),
            ("/", PAGE),
            ("/private", API),
            ("/private", PAGE),
            (LOGIN, PAGE),
        ):
            assert browser.get(path, headers=headers).status_code in (200, 303, 401)
        assert browser.log_out().status_code == 303

    def test_no_cookie(self, counted):
        """A request without a session cookie does not call the store."""
        browser = counted.browser()
        counted.store.asked.clear()
        self.requests(browser)
        assert counted.store.asked == []

    @pytest.mark.parametrize("kind", ["junk", "long", "another key", "a bit"])
    def test_no_genuine_cookie(self, counted, kind):
        """A request with an invalid session cookie does not call the store."""
        named = record_id(counted.settings.client_key, counted.tiktok.people[0].open_id)
        other = derive("another" * 6, counted.settings.client_key, "session")
        value, _ = SessionCookies("tiktok", [other], secure=True).issue(named)
        genuine = counted.browser()
        genuine.log_in()
        mine = genuine.cookies()[SESSION]
        values = {
            "junk": "x",
            "long": "a" * 4000,
            "another key": value,
            "a bit": mine[:-5] + ("A" if mine[-5] != "A" else "B") + mine[-4:],
        }
        browser = counted.browser(**{SESSION: values[kind]})
        counted.store.asked.clear()
        self.requests(browser)
        assert counted.store.asked == []

    def test_genuine(self, counted):
        """A genuine cookie is looked up, which shows that calls are recorded."""
        browser = counted.browser()
        browser.log_in()
        counted.clock.advance(2)
        counted.store.asked.clear()
        assert browser.signed_in
        assert {"get", "aget"} & {*counted.store.asked}


def test_redis_pool_is_bounded(empty_redis):
    """A process opens at most fifty connections, with timeouts of two seconds."""
    store = RedisStore(empty_redis)
    try:
        store.get("key")
        pool = store._connections().client.connection_pool
        assert (pool.max_connections, pool.timeout) == (50, 2.0)
        options = pool.connection_kwargs
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (
            2.0,
            2.0,
        )
    finally:
        store.close()

"""A state and its code work once (CWE-294)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from ..conftest import (
    LOGOUT,
    SAME_ORIGIN,
    query_of,
)

SESSION = "__Host-tiktok"


class TestReplay:
    """A state and its code work once.

    For a minute, the browser with the login's cookie gets the same result again: see
    `test_callbacks`.
    """

    def test_a_minute_later(self, world, raw):
        """A callback sent again after a minute is refused, even with the login's cookie."""
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        assert raw.ask("GET", path, query=query).status == 303
        world.clock.advance(61)
        for _ in range(2):
            other = raw.another()
            other.cookies = dict(kept)
            answer = other.ask("GET", path, query=query)
            assert answer.status == 400
            assert "used already" in answer.text
            assert SESSION not in answer.set_cookies
        assert raw.open_id is not None
        assert world.count("authorization_code") == 1

    def test_after_a_restart(self, world, raw):
        """A used callback is still refused after a logout and a restart."""
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        raw.ask("GET", path, query=query)
        raw.ask("POST", LOGOUT, headers=SAME_ORIGIN)
        world.start()
        other = raw.another()
        other.cookies = dict(kept)
        assert other.ask("GET", path, query=query).status == 400
        assert world.count("authorization_code") == 1

    def test_with_another_code(self, world, raw):
        """A used state with another code only gives the first code's result."""
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        signed_in = raw.ask("GET", path, query=query).set_cookies[SESSION]
        other = raw.another()
        other.cookies = dict(kept)
        fresh = query_of("?" + query.decode()) | {"code": "another"}
        again = "&".join(f"{k}={quote(v)}" for k, v in fresh.items()).encode()
        answer = other.ask("GET", path, query=again)
        assert answer.set_cookies[SESSION] == signed_in
        world.clock.advance(61)
        other.cookies = dict(kept)
        assert other.ask("GET", path, query=again).status == 400
        assert world.count("authorization_code") == 1

    def test_failed_exchange(self, world, raw):
        """A code is not sent again, even if its exchange failed."""
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        world.tiktok.fail("token", status=500)
        assert raw.ask("GET", path, query=query).status == 503
        raw.cookies = dict(kept)
        assert raw.ask("GET", path, query=query).status == 503
        world.clock.advance(61)
        raw.cookies = kept
        assert raw.ask("GET", path, query=query).status == 400
        assert world.count("authorization_code") == 1

    def test_parallel(self, world, raw):
        """Of 20 equal simultaneous callbacks one is exchanged; all get its session."""
        path, query = raw.consent(raw.begin())
        [(name, value)] = raw.cookies.items()

        def finish(_):
            cookie = f"{name}={value}".encode()
            return raw.another().ask("GET", path, query=query, cookie=cookie)

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(finish, range(20)))
        assert [a.status for a in answers] == [303] * 20
        assert world.count("authorization_code") == 1
        assert len({a.set_cookies[SESSION] for a in answers}) == 1

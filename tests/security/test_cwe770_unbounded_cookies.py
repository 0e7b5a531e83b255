"""Cookies neither crash a request nor fill a browser or the store (CWE-770)."""

from __future__ import annotations

import pytest

from ..conftest import CALLBACK, LOGIN, LOGOUT, SAME_ORIGIN
from ..support.cookie_headers import (
    MALFORMED_NEIGHBOURS,
    SLOW,
)
from ..support.growth import is_linear
from .conftest import memory_only

SESSION = "__Host-tiktok"
PREFIX = "__Host-tiktok-login-"


def logins(visitor):
    return [name for name in visitor.cookies if name.startswith(PREFIX)]


@memory_only
class TestCrash:
    """No Cookie header crashes a request, or takes long."""

    @pytest.mark.parametrize("path", ["/who", LOGIN, CALLBACK, LOGOUT])
    def test_malformed(self, raw, path):
        """Every malformed header is answered as if it were not there."""
        method = "POST" if path == LOGOUT else "GET"
        usual = raw.ask(method, path, headers=SAME_ORIGIN).status
        for cookie in (*MALFORMED_NEIGHBOURS, b"\xff" * 4096, b"\x00" * 4096):
            answer = raw.ask(method, path, headers=SAME_ORIGIN, cookie=cookie)
            assert answer.status == usual, cookie

    @pytest.mark.parametrize("kind", SLOW)
    @pytest.mark.parametrize("path", ["/who", LOGIN, CALLBACK, LOGOUT])
    def test_megabyte(self, raw, path, kind):
        """The cost of a request grows linearly with its cookies, up to a megabyte."""
        method = "POST" if path == LOGOUT else "GET"

        def ask(cookie):
            answer = raw.ask(method, path, headers=SAME_ORIGIN, cookie=cookie)
            assert answer.status < 500
            raw.cookies.clear()

        assert is_linear(ask, SLOW[kind])


class TestGrowth:
    """Unfinished logins do not fill a browser."""

    @pytest.mark.parametrize("length", [0, 300, 2000])
    def test_thousand_unfinished_logins(self, raw, length):
        """1,000 unfinished logins leave seven cookies in 4,096 bytes; the newest works."""
        raw.log_in()
        many = 1000 if raw.world.store.__class__.__name__ == "MemoryStore" else 20
        for number in range(many):
            target = f"/{'x' * length}{number}"
            authorize = raw.begin(f"next={target}".encode())
            size = sum(len(n) + len(v) + 3 for n, v in raw.cookies.items())
            assert size <= 4096
            assert 1 <= len(logins(raw)) <= 7
        path, query = raw.consent(authorize)
        answer = raw.ask("GET", path, query=query)
        assert (answer.status, answer.location) == (303, target)

    def test_long_address_beside_many_scopes(self, world, raw):
        """A login whose cookie would be too large returns to the default page."""
        scopes = [f"some.quite.long.scope.{number:02}" for number in range(40)]
        world.with_settings(optional_scopes=scopes, cookie_name="n" * 64)
        for length in (0, 1000, 2047):
            query = f"next=/{'x' * length}&scopes={','.join(scopes)}".encode()
            answer = raw.ask("GET", LOGIN, query=query)
            assert answer.status == 303
            size = sum(len(n) + len(v) + 3 for n, v in raw.cookies.items())
            assert size <= 4096

    def test_seven_newest(self, world, raw):
        """The seven newest of ten logins can be finished, the others cannot."""
        begun = []
        for number in range(10):
            world.clock.advance(1)
            begun.append(raw.begin(f"next=/{number}".encode()))
        answers = []
        for authorize in begun:
            path, query = raw.consent(authorize)
            answers.append(raw.ask("GET", path, query=query).status)
        assert answers == [400] * 3 + [303] * 7
        assert logins(raw) == []

    def test_unreadable_login_cookies_are_deleted(self, raw):
        """Login cookies that cannot be decrypted are deleted when the next login begins."""
        old = {f"{PREFIX}{number}": "x" for number in (*range(10), "abcdefghijkl")}
        raw.cookies = dict(old)
        raw.begin()
        assert len(raw.cookies) == 1
        assert "x" not in raw.cookies.values()

    def test_foreign_cookies(self, raw):
        """Sixty foreign cookies are kept, and disturb no login."""
        foreign = {f"foreign{number}": "v" * 50 for number in range(60)}
        raw.cookies = dict(foreign)
        assert raw.log_in().status == 303
        assert raw.open_id is not None
        raw.ask("POST", LOGOUT, headers=SAME_ORIGIN)
        assert raw.cookies == {**foreign, f"{SESSION}-choose": "1"}


class TestFlood:
    """Unfinished logins cost the store nothing."""

    def test_no_rows(self, world, raw):
        """Logins begun, callbacks forged and errors sent leave no row in the store."""
        for number in range(50):
            visitor = raw.another()
            visitor.begin(f"next=/{number}".encode())
            query = f"code=x&state={'s' * 42}{number % 10}".encode()
            assert visitor.ask("GET", CALLBACK, query=query).status == 400
            visitor.ask("GET", CALLBACK, query=b"error=access_denied&" + query)
            visitor.seen_by("/who", cookie=f"{SESSION}={'A' * 87}".encode())
            visitor.ask("POST", LOGOUT, headers=SAME_ORIGIN)
        assert world.store.keys("") == []
        assert world.tiktok.requests == []

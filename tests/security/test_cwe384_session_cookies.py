"""Whose session a browser's cookies are."""

from __future__ import annotations

import random

import pytest

from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._web.app import Core

from ..conftest import CALLBACK, LOGIN, LOGOUT, SAME_ORIGIN, kept
from ..support.growth import is_linear
from ..unit._web.test_cookie_header import (
    LOOK_ALIKES,
    MALFORMED_NEIGHBOURS,
    SLOW,
    drawn_headers,
    drawn_neighbours,
)
from .conftest import memory_only

SESSION = "__Host-tiktok"
PREFIX = "__Host-tiktok-login-"


def logins(visitor):
    return [name for name in visitor.cookies if name.startswith(PREFIX)]


def lines(headers):
    return [value for _, value in headers]


class TestFixation:
    """A login makes a session that nobody knew before."""

    def test_planted_values(self, raw):
        """Whatever stood in the session cookie before a login is nobody's after it."""
        for planted in ("x", "A" * 64 + "." + "A" * 22, "A" * 87, "0", "null"):
            raw.cookies[SESSION] = planted
            assert raw.log_in().set_cookies[SESSION] != planted
            attacker = raw.another()
            attacker.cookies[SESSION] = planted
            assert attacker.open_id is None
            assert raw.open_id is not None

    def test_attackers_own_session(self, world, raw):
        """A genuine session that was planted ends with the login, and is not taken on."""
        attacker = raw.another()
        attacker.log_in(person=world.tiktok.people[1])
        raw.cookies[SESSION] = attacker.cookies[SESSION]
        raw.log_in()
        assert raw.cookies[SESSION] != attacker.cookies[SESSION]
        assert attacker.open_id is None
        assert raw.open_id == world.tiktok.people[0].open_id

    def test_each_login(self, world, raw):
        """Each login of one browser makes a new session and ends the one before."""
        seen = []
        for _ in range(3):
            raw.log_in()
            seen.append(raw.cookies[SESSION])
        assert len(set(seen)) == 3
        for old in seen[:-1]:
            other = raw.another()
            other.cookies[SESSION] = old
            assert other.open_id is None
        assert len(kept(world).sessions) == 1

    def test_ended_session(self, raw):
        """A session that was logged out is not opened again by a later login."""
        raw.log_in()
        old = raw.cookies[SESSION]
        raw.ask("POST", LOGOUT, headers=SAME_ORIGIN)
        raw.log_in()
        other = raw.another()
        other.cookies[SESSION] = old
        assert other.open_id is None

    def test_id_comes_from_the_cookie_alone(self, raw):
        """A session's value in a query, header, body or path signs nobody in."""
        raw.log_in()
        value = raw.cookies[SESSION]
        visitor = raw.another()
        query = f"{SESSION}={value}&session={value}&tiktok={value}".encode()
        headers = [(name, value) for name in ("authorization", SESSION, "x-session")]
        headers.append(("authorization", f"Bearer {value}"))
        headers.append(("x-cookie", f"{SESSION}={value}"))
        assert visitor.seen_by("/who", query=query, headers=headers) is None
        assert visitor.seen_by("/who", body=query) is None
        private = visitor.ask("GET", f"/private/{value}", query=query)
        assert private.status in (303, 401)


class TestName:
    """The browser's secret counts, not which record a cookie names."""

    def another_secret(self, world, genuine):
        """Return a session cookie that we might have issued, and did not."""
        core = Core(
            world.settings,
            ThreadBackend(),
            store=world.store,
            on_event=None,
            transport=None,
            clock=world.clock,
        )
        ticket = core.jar.read(genuine.encode())
        return core.jar.issue(ticket.grant_id)[0]

    def test_secret_that_was_not_issued(self, world, raw):
        """A cookie for a genuine record, with a genuine MAC, needs its own secret."""
        raw.log_in()
        for _ in range(3):
            other = raw.another()
            other.cookies[SESSION] = self.another_secret(world, raw.cookies[SESSION])
            assert other.open_id is None
        assert raw.open_id is not None

    def test_secret_of_another_user(self, world, raw):
        """One user's secret opens no other user's record."""
        other = raw.another()
        raw.log_in()
        other.log_in(person=world.tiktok.people[1])
        mine, theirs = raw.cookies[SESSION], other.cookies[SESSION]
        # 16 bytes of name are the first 21 characters and a bit of the next.
        for swapped in (theirs[:21] + mine[21:], mine[:22] + theirs[22:]):
            visitor = raw.another()
            visitor.cookies[SESSION] = swapped
            assert visitor.open_id is None


@memory_only
class TestSpoofing:
    """The genuine cookie counts, and nothing that looks like it."""

    def test_neighbours(self, raw):
        """Among neighbours of any kind it signs in; without it they sign nobody in."""
        raw.log_in()
        genuine = f"{SESSION}={raw.cookies[SESSION]}".encode()
        open_id, visitor = raw.open_id, raw.another()
        draw = random.Random("session: neighbours")
        for _ in range(300):
            cookies = drawn_neighbours(draw)
            sent = lines(drawn_headers(draw, cookies))
            assert visitor.seen_by("/who", cookie=sent) is None, sent
            cookies.insert(draw.randrange(len(cookies) + 1), genuine)
            sent = lines(drawn_headers(draw, cookies))
            assert visitor.seen_by("/who", cookie=sent) == open_id, sent

    def test_look_alikes(self, raw):
        """A genuine value under a name that only looks like ours signs nobody in."""
        raw.log_in()
        value = raw.cookies[SESSION].encode()
        visitor = raw.another()
        for name in LOOK_ALIKES:
            assert visitor.seen_by("/who", cookie=name + b"=" + value) is None, name

    def test_tossed_session(self, world, raw):
        """Two genuine sessions in one request are nobody's; the same one twice is one."""
        raw.log_in()
        other = raw.another()
        other.log_in(person=world.tiktok.people[1])
        mine = f"{SESSION}={raw.cookies[SESSION]}".encode()
        theirs = f"{SESSION}={other.cookies[SESSION]}".encode()
        visitor = raw.another()
        for two in ([mine, theirs], [mine + b"; " + theirs], [theirs, mine]):
            assert visitor.seen_by("/who", cookie=two) is None
        for same in ([mine, mine], [mine + b"; a=b; " + mine]):
            assert visitor.seen_by("/who", cookie=same) == raw.open_id

    def test_login_among_neighbours(self, raw):
        """A login is finished whatever cookies stand beside its own."""
        draw = random.Random("login: neighbours")
        for _ in range(15):
            visitor = raw.another()
            path, query = visitor.consent(visitor.begin())
            [(name, value)] = visitor.cookies.items()
            cookies = drawn_neighbours(draw)
            place = draw.randrange(len(cookies) + 1)
            cookies.insert(place, f"{name}={value}".encode())
            sent = lines(drawn_headers(draw, cookies))
            assert visitor.ask("GET", path, query=query, cookie=sent).status == 303

    def test_written_only_when_changed(self, raw):
        """No answer but that of a login or logout sets the session cookie."""
        raw.log_in()
        for path in ("/", "/who", "/private", "/videos", "/upload", LOGIN, CALLBACK):
            assert SESSION not in raw.ask("GET", path).set_cookies


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
        """What a request takes grows with its cookies, up to a megabyte, and no faster."""
        method = "POST" if path == LOGOUT else "GET"

        def ask(cookie):
            answer = raw.ask(method, path, headers=SAME_ORIGIN, cookie=cookie)
            assert answer.status < 500
            raw.cookies.clear()

        assert is_linear(ask, SLOW[kind])


class TestGrowth:
    """Logins that nobody finishes do not fill a browser."""

    @pytest.mark.parametrize("length", [0, 300, 2000])
    def test_thousand_unfinished_logins(self, raw, length):
        """A thousand leave at most seven cookies and 4,096 bytes; the newest works."""
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
        """A login whose cookie would be too large forgets where to return to."""
        scopes = [f"some.quite.long.scope.{number:02}" for number in range(40)]
        world.with_settings(optional_scopes=scopes, cookie_name="n" * 64)
        for length in (0, 1000, 2047):
            query = f"next=/{'x' * length}&scopes={','.join(scopes)}".encode()
            answer = raw.ask("GET", LOGIN, query=query)
            assert answer.status == 303
            size = sum(len(n) + len(v) + 3 for n, v in raw.cookies.items())
            assert size <= 4096

    def test_seven_newest(self, world, raw):
        """Of ten logins begun the seven newest can be finished, and the rest not."""
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
        """Login cookies that do not open are deleted when the next login begins."""
        old = {f"{PREFIX}{number}": "x" for number in (*range(10), "abcdefghijkl")}
        raw.cookies = dict(old)
        raw.begin()
        assert len(raw.cookies) == 1
        assert "x" not in raw.cookies.values()

    def test_foreign_cookies(self, raw):
        """Sixty cookies of others are kept, and in nobody's way."""
        foreign = {f"foreign{number}": "v" * 50 for number in range(60)}
        raw.cookies = dict(foreign)
        assert raw.log_in().status == 303
        assert raw.open_id is not None
        raw.ask("POST", LOGOUT, headers=SAME_ORIGIN)
        assert raw.cookies == {**foreign, f"{SESSION}-choose": "1"}


class TestFlood:
    """What nobody finishes costs the store nothing."""

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

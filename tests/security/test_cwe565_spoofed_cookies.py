"""Forged session cookies (CWE-565)."""

from __future__ import annotations

import random

from ..conftest import CALLBACK, LOGIN, another_core
from ..support.cookie_headers import (
    LOOK_ALIKES,
    drawn_headers,
    drawn_neighbours,
)
from .conftest import memory_only

SESSION = "__Host-tiktok"


def lines(headers):
    return [value for _, value in headers]


class TestSecret:
    """A cookie signs in only with the secret that was issued for its record."""

    def another_secret(self, world, genuine):
        """Return a session cookie with a valid MAC, whose secret was never issued."""
        core = another_core(world)
        ticket = core.cookies.read(genuine.encode())
        return core.cookies.issue(ticket.record_id)[0]

    def test_secret_that_was_not_issued(self, world, raw):
        """A cookie with a valid MAC and another secret signs no user in."""
        raw.log_in()
        for _ in range(3):
            other = raw.another()
            other.cookies[SESSION] = self.another_secret(world, raw.cookies[SESSION])
            assert other.open_id is None
        assert raw.open_id is not None

    def test_secret_of_another_user(self, world, raw):
        """One user's secret does not sign in as another user."""
        other = raw.another()
        raw.log_in()
        other.log_in(person=world.tiktok.people[1])
        mine, theirs = raw.cookies[SESSION], other.cookies[SESSION]
        # The 16 bytes that name the record are 21 characters and two bits of the next.
        for swapped in (theirs[:21] + mine[21:], mine[:22] + theirs[22:]):
            visitor = raw.another()
            visitor.cookies[SESSION] = swapped
            assert visitor.open_id is None


@memory_only
class TestSpoofing:
    """Only the genuine session cookie is accepted."""

    def test_session_among_other_cookies(self, raw):
        """The session cookie works among any other cookies, which alone sign no user in."""
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

    def test_similar_names(self, raw):
        """A genuine value under a similar name signs no user in."""
        raw.log_in()
        value = raw.cookies[SESSION].encode()
        visitor = raw.another()
        for name in LOOK_ALIKES:
            assert visitor.seen_by("/who", cookie=name + b"=" + value) is None, name

    def test_two_sessions(self, world, raw):
        """A request with two different sessions is anonymous; equal ones count as one."""
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

    def test_login_among_other_cookies(self, raw):
        """A login can be completed whatever other cookies are sent."""
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
        """Only a login or logout sets the session cookie."""
        raw.log_in()
        for path in ("/", "/who", "/private", "/videos", "/upload", LOGIN, CALLBACK):
            assert SESSION not in raw.ask("GET", path).set_cookies

"""A session id identifies only the user's own sessions, and gives no access (CWE-639).

The ids are shown in pages and logs, and sent back by forms. These tests use them like a
hostile user: for the sessions of others, as cookies, and to find out what they were
made from.
"""

from __future__ import annotations

import base64
import hashlib
import threading

import pytest

from tiktok_oauth_middleware import TikTokTokens

from ..conftest import API, ORIGIN, kept
from .conftest import memory_only

SESSION = "__Host-tiktok"


@pytest.fixture
def tokens(world):
    with TikTokTokens(
        world.settings,
        world.store,
        on_event=world.events.append,
        transport=world.tiktok.transport,
        clock=world.clock,
    ) as made:
        yield made


@pytest.fixture
def people(world, raw):
    """Return two users, each signed in in two browsers."""
    found = {}
    for person in world.tiktok.people[:2]:
        visitors = raw.another(), raw.another()
        for visitor in visitors:
            visitor.log_in(person=person)
        found[person.open_id] = visitors
    return found


class TestOthers:
    def test_end_of_anothers(self, world, people, tokens):
        """The id of another user's session ends nothing, and reveals nothing."""
        (me, mine), (other, theirs) = people.items()
        world.events.clear()
        for session in tokens.sessions(other):
            assert tokens.end_session(me, session.session_id) is False
        assert tokens.end_session(me, "0" * 32) is False  # the same answer
        assert world.events == []
        world.clock.advance(1)
        assert [v.open_id for v in (*mine, *theirs)] == [me, me, other, other]

    def test_anothers_as_own(self, world, people, tokens):
        """Ending all sessions but one of another user ends the user's own, and no
        others.
        """
        (me, mine), (other, theirs) = people.items()
        [first, _] = tokens.sessions(other)
        assert tokens.end_other_sessions(me, first.session_id) == 2
        world.clock.advance(1)
        assert [v.open_id for v in (*mine, *theirs)] == [None, None, other, other]

    def test_lists(self, people, tokens):
        """The lists of two users have nothing in common."""
        first, second = (
            {session.session_id for session in tokens.sessions(open_id)}
            for open_id in people
        )
        assert len(first) == len(second) == 2
        assert not first & second

    def test_second_user_of_a_browser(self, world, raw, tokens):
        """A second user of the same browser lists only a session of their own."""
        me, other = (person.open_id for person in world.tiktok.people[:2])
        raw.log_in()
        [before] = tokens.sessions(me)
        raw.log_in(b"choose_account=1", person=world.tiktok.people[1])
        [after] = tokens.sessions(other)
        assert after.session_id != before.session_id
        assert tokens.sessions(me) == []  # this browser's session was their only one


@memory_only
class TestOpensNothing:
    @pytest.mark.parametrize("form", ["bare", "padded", "in place", "hex", "base64"])
    def test_as_a_cookie(self, world, raw, tokens, form):
        """No cookie made from a session id signs a user in."""
        raw.log_in()
        [session] = tokens.sessions(world.tiktok.people[0].open_id)
        genuine, found = raw.cookies[SESSION], session.session_id
        value = {
            "bare": found,
            "padded": (found * 3)[: len(genuine)],
            "in place": found + genuine[32:],
            "hex": bytes.fromhex(found).hex().ljust(len(genuine), "0"),
            "base64": base64.urlsafe_b64encode(found.encode()).decode(),
        }[form]
        thief = raw.another()
        thief.cookies = {SESSION: value}
        assert thief.open_id is None

    def test_not_from_a_query_or_header(self, world, raw, tokens):
        """An id in a query, a header or another cookie has no effect."""
        raw.log_in()
        [session] = tokens.sessions(world.tiktok.people[0].open_id)
        thief = raw.another()
        thief.cookies = {"session_id": session.session_id}
        answer = thief.ask(
            "GET",
            "/private",
            query=f"session_id={session.session_id}".encode(),
            headers={**API, "x-session-id": session.session_id, "origin": ORIGIN},
        )
        assert answer.status == 401

    def test_id_cannot_be_computed(self, world, raw, tokens):
        """An id cannot be computed from the cookie, hash or row in a simple way, nor
        the reverse.
        """
        raw.log_in()
        open_id = world.tiktok.people[0].open_id
        [session] = tokens.sessions(open_id)
        cookie = raw.cookies[SESSION]
        [stored] = kept(world).sessions
        guesses = [cookie, stored.digest, open_id, *cookie.split(".")]
        for text in guesses:
            for kind in ("sha256", "sha1", "md5", "blake2b", "sha512"):
                hashed = hashlib.new(kind, text.encode()).hexdigest()
                assert not hashed.startswith(session.session_id[:8])
        for key in world.store._values:
            assert session.session_id not in key

    def test_nothing_in_the_log(self, world, people, tokens, caplog):
        """The log of an ended session contains neither its cookie nor its hash."""
        (me, visitors), _ = people.items()
        digests = [session.digest for session in kept(world, me).sessions]
        [first, _] = tokens.sessions(me)
        with caplog.at_level("DEBUG"):
            tokens.end_other_sessions(me, first.session_id)
        assert "ended by the app" in caplog.text
        for secret in (*digests, *(v.cookies[SESSION] for v in visitors)):
            assert secret not in caplog.text


@memory_only
@pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
class TestAtOnce:
    def test_twenty_at_once(self, world, raw, tokens):
        """If twenty browsers end all others at once, at most one session is left."""
        me = world.tiktok.people[0].open_id
        visitors = [raw.another() for _ in range(20)]
        for visitor in visitors:
            visitor.log_in()
        ids = [session.session_id for session in tokens.sessions(me)]
        start, counts = threading.Barrier(len(ids)), []

        def end(own):
            start.wait()
            counts.append(tokens.end_other_sessions(me, own))

        threads = [threading.Thread(target=end, args=(own,)) for own in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left = tokens.sessions(me)
        assert len(left) <= 1
        assert sum(counts) == 20 - len(left)  # each was ended once

    def test_against_a_refresh(self, world, raw, tokens):
        """A refresh at the same moment keeps the new tokens, and no ended session."""
        me = world.tiktok.people[0].open_id
        world.tiktok.access_lifetime = 3600
        visitors = [raw.another() for _ in range(10)]
        for visitor in visitors:
            visitor.log_in()
        world.clock.advance(3601)
        own, *_ = tokens.sessions(me)
        start = threading.Barrier(2)

        def refresh():
            start.wait()
            tokens.get(me)

        thread = threading.Thread(target=refresh)
        thread.start()
        start.wait()
        assert tokens.end_other_sessions(me, own.session_id) == 9
        thread.join()
        assert [s.session_id for s in tokens.sessions(me)] == [own.session_id]
        assert kept(world).expires_at > world.clock()

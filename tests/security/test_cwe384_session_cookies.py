"""Session cookies that were planted, or whose session has ended (CWE-384)."""

from __future__ import annotations

from ..conftest import LOGOUT, SAME_ORIGIN, kept

SESSION = "__Host-tiktok"


class TestFixation:
    """A login makes a new session (CWE-384)."""

    def test_planted_values(self, raw):
        """A session cookie that was planted before a login is anonymous after it."""
        for planted in ("x", "A" * 64 + "." + "A" * 22, "A" * 87, "0", "null"):
            raw.cookies[SESSION] = planted
            assert raw.log_in().set_cookies[SESSION] != planted
            attacker = raw.another()
            attacker.cookies[SESSION] = planted
            assert attacker.open_id is None
            assert raw.open_id is not None

    def test_attackers_own_session(self, world, raw):
        """A genuine session that was planted ends at the login, and is not continued."""
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
        """A session's value in a query, header, body or path signs no user in."""
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

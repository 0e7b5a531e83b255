"""A recent login requires the person at the browser (CWE-306).

A guard with `max_age` protects the most important actions. These tests try to pass it
with an old session: as a page of another site, as a script in a page of this one, as a
thief of a cookie, and as another person at the same browser.
"""

from __future__ import annotations

import json

import pytest

from tiktok_oauth_middleware._web.guard import guard

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, ORIGIN, PAGE, query_of
from ..support.deciding_app import serve
from .conftest import memory_only

pytestmark = memory_only

CROSS_SITE = {
    **PAGE,
    "sec-fetch-site": "cross-site",
    "referer": "https://evil.example/",
}
SESSION = "__Host-tiktok"


@pytest.fixture
def guarded(world, raw):
    """Return a victim whose login is ten minutes old; the guard allows five."""

    def decide(auth):
        challenge = guard(auth, (), 300)
        body = json.dumps({"open_id": auth.open_id, "at": auth.logged_in_at})
        return challenge.status if challenge else 200, body.encode()

    serve(world, decide)
    raw.log_in()
    world.clock.advance(600)
    return raw


def passes(visitor):
    return visitor.ask("GET", "/danger", headers=API).status == 200


def silently(visitor, query=b"", headers=CROSS_SITE):
    """Begin and finish a login, without TikTok's page if that is possible."""
    authorize = visitor.begin(query, headers=headers)
    if "disable_auto_auth" in query_of(authorize):
        return False
    path, answer = visitor.consent(authorize)
    assert visitor.ask("GET", path, query=answer, headers=headers).status == 303
    return True


class TestOtherSite:
    @pytest.mark.parametrize(
        "query",
        [b"", b"next=/danger", b"choose_account=0", b"next=/danger&choose_account=0"],
    )
    def test_silent_login(self, guarded, query):
        """A login that a page of another site begins does not count."""
        assert silently(guarded, query)
        assert not passes(guarded)

    def test_repeated(self, guarded, world):
        """Several logins without TikTok's page do not count either."""
        for _ in range(5):
            assert silently(guarded)
            world.clock.advance(1)
        assert not passes(guarded)

    def test_two_at_once(self, guarded, world):
        """Logins without TikTok's page that complete at the same time do not count
        either.

        The second callback still has the cookie of the session that the first one
        replaced.
        """
        begun = [guarded.begin(headers=CROSS_SITE) for _ in range(3)]
        callbacks = [guarded.consent(authorize) for authorize in begun]
        before = dict(guarded.cookies)
        for path, query in callbacks:
            tab = guarded.another()
            tab.cookies = dict(before)
            answer = tab.ask("GET", path, query=query, headers=CROSS_SITE)
            assert answer.status == 303
            assert answer.set_cookies[SESSION]
            assert not passes(tab)
            world.clock.advance(1)

    @pytest.mark.parametrize(
        "query",
        [b"choose_account=1&choose_account=0", b"choose_account=2", b"choose_account="],
    )
    def test_confused_parameter(self, guarded, query):
        """A login whose query is ambiguous does not begin."""
        answer = guarded.ask("GET", LOGIN, query=query, headers=CROSS_SITE)
        assert answer.status == 400
        assert not answer.set_cookies

    @pytest.mark.parametrize(
        "query", [b"max_age=99999", b"prompt=none", b"auth_time=9999999999"]
    )
    def test_foreign_parameters(self, guarded, query):
        """Parameters of OpenID Connect have no effect."""
        assert silently(guarded, query)
        assert not passes(guarded)

    def test_no_logout_before(self, guarded):
        """Another site cannot make a silent login count by ending the session first."""
        answer = guarded.ask("POST", LOGOUT, headers=CROSS_SITE)
        assert answer.status == 403
        assert silently(guarded)
        assert not passes(guarded)


class TestScript:
    """A script in a page of the app sends any request that its page may send."""

    def test_logout_before(self, guarded):
        """After the script logged out, TikTok shows its page at the next login."""
        own = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
        assert guarded.ask("POST", LOGOUT, headers=own).status == 303
        assert not silently(guarded)
        assert not passes(guarded)

    def test_fetch(self, guarded):
        """A script's fetch of the login path begins no login."""
        headers = {**API, "sec-fetch-site": "same-origin"}
        answer = guarded.ask("GET", LOGIN, query=b"choose_account=1", headers=headers)
        assert answer.status == 403
        assert not answer.set_cookies

    def test_callback(self, guarded):
        """A callback that the script invents gets an error page, and changes nothing."""
        answer = guarded.ask("GET", CALLBACK, query=b"code=x&state=y", headers=PAGE)
        assert 400 <= answer.status < 500
        assert not passes(guarded)


class TestThief:
    """Another browser has a copy of the session cookie."""

    def test_copied_before(self, guarded, world):
        """When the victim logs in again, the copied session has ended."""
        thief = guarded.another()
        thief.cookies = {SESSION: guarded.cookies[SESSION]}
        assert not passes(thief)
        guarded.log_in(b"choose_account=1")
        assert passes(guarded)
        answer = thief.ask("GET", "/danger", headers=API)
        assert json.loads(answer.body)["error"] == "login_required"

    def test_own_account(self, guarded, world):
        """A thief who logs in with another account is authenticated only as that
        account.
        """
        thief = guarded.another()
        thief.cookies = {SESSION: guarded.cookies[SESSION]}
        thief.log_in(b"choose_account=1", person=world.tiktok.people[1])
        answer = thief.ask("GET", "/danger", headers=API)
        assert json.loads(answer.body)["open_id"] == world.tiktok.people[1].open_id

    def test_prepared_callback(self, guarded, world):
        """A login to which the thief consented cannot be finished in the
        victim's name.
        """
        thief = guarded.another()
        path, query = thief.consent(
            thief.begin(b"choose_account=1"), person=world.tiktok.people[1]
        )
        answer = guarded.ask("GET", path, query=query, headers=CROSS_SITE)
        assert answer.status in (400, 409)
        assert not passes(guarded)


class TestSecondPerson:
    """Another person uses the browser in which the victim is signed in."""

    def test_own_account(self, guarded, world):
        """With another account the second person is authenticated as that account, and
        the victim's session ends.
        """
        victim = dict(guarded.cookies)
        sent = guarded.ask("GET", "/danger", headers=PAGE).location
        other = world.tiktok.people[1]
        guarded.log_in(sent.partition("?")[2].encode(), person=other)
        answer = guarded.ask("GET", "/danger", headers=API)
        assert answer.status == 200
        assert json.loads(answer.body)["open_id"] == other.open_id
        world.clock.advance(1)
        before = guarded.another()
        before.cookies = victim
        assert not passes(before)

    def test_back_to_the_first_account(self, guarded, world):
        """A later login with the victim's account counts only if TikTok showed its
        page.
        """
        guarded.log_in(b"choose_account=1", person=world.tiktok.people[1])
        world.clock.advance(400)
        assert not passes(guarded)
        guarded.log_in(b"choose_account=1")
        assert passes(guarded)
        world.clock.advance(400)
        assert silently(guarded)
        assert not passes(guarded)

    def test_cancel(self, guarded):
        """A person who cancels at TikTok does not pass the guard."""
        authorize = guarded.begin(b"next=/danger&choose_account=1")
        path, query = guarded.consent(authorize, deny=True)
        assert guarded.ask("GET", path, query=query, headers=PAGE).status == 403
        assert not passes(guarded)

"""Login CSRF: a login is finished by the browser that began it (CWE-352).

An attacker makes a victim's browser open a callback that TikTok made for the attacker,
or begins a login to which a victim consents in another browser.
"""

from __future__ import annotations

import random

import pytest

from ..conftest import (
    CALLBACK,
    LOGIN,
    PAGE,
    make_settings,
    query_of,
)
from .conftest import memory_only

SESSION = "__Host-tiktok"
PREFIX = "__Host-tiktok-login-"
WORDS = "belongs somewhere else"


def login_cookies(visitor):
    return {n: v for n, v in visitor.cookies.items() if n.startswith(PREFIX)}


def rows(world):
    return world.store.keys("")


def assert_refused(answer, world, *, status=400, words=WORDS):
    """Assert a refusal: a page, no session, no call to TikTok, nothing stored."""
    assert answer.status == status, answer.text
    assert words in answer.text
    assert answer.one("location") is None
    assert SESSION not in answer.set_cookies
    assert world.count("authorization_code") == 0
    assert rows(world) == []


@pytest.fixture
def victim(raw):
    return raw.another()


@pytest.fixture
def attack(raw):
    """Return path and query of a callback that TikTok made for the attacker."""
    return raw.consent(raw.begin())


class TestLoginCSRF:
    """A state is accepted only with the login cookie of the same browser."""

    def test_no_cookie(self, world, victim, attack):
        """A callback in a browser that began no login is refused."""
        path, query = attack
        assert_refused(victim.ask("GET", path, query=query), world)
        assert victim.cookies == {}

    def test_cookie_of_another_login(self, world, victim, attack):
        """A browser with a login under way cannot finish another browser's login."""
        path, query = attack
        authorize = victim.begin()
        assert_refused(victim.ask("GET", path, query=query), world)
        own, answer = victim.consent(authorize)
        assert victim.ask("GET", own, query=answer).status == 303

    def test_cookie_under_the_other_name(self, world, raw, victim, attack):
        """A login cookie under the name of another login cannot be decrypted."""
        path, query = attack
        victim.begin()
        [value] = login_cookies(victim).values()
        [name] = login_cookies(raw)
        victim.cookies = {name: value}
        assert_refused(victim.ask("GET", path, query=query), world)

    def test_older_cookie_of_the_same_browser(self, world, raw):
        """The cookie of an earlier login is not accepted for a later one."""
        raw.begin()
        older = dict(raw.cookies)
        path, query = raw.consent(raw.begin())
        raw.cookies = older
        assert_refused(raw.ask("GET", path, query=query), world)

    def test_two_values_of_one_cookie(self, world, raw, attack):
        """If a second value is planted beside the genuine one, neither counts."""
        path, query = attack
        [(name, value)] = raw.cookies.items()
        for cookies in (f"{name}=x; {name}={value}", f"{name}={value}; {name}=x"):
            answer = raw.ask("GET", path, query=query, cookie=cookies.encode())
            assert_refused(answer, world)

    def test_altered_state(self, world, raw, attack):
        """A state with one changed character matches no cookie."""
        path, query = attack
        start = query.index(b"state=") + len(b"state=")
        for place in range(start, start + 43, 6):
            letter = b"A" if query[place : place + 1] != b"A" else b"B"
            altered = query[:place] + letter + query[place + 1 :]
            assert_refused(raw.ask("GET", path, query=altered), world)
        assert raw.ask("GET", path, query=query).status == 303

    @pytest.mark.parametrize(
        "state", ["", "x", "x" * 43, "x" * 600, "%00", "%C3%28", "a%0d%0ab", "[]", "%"]
    )
    def test_invalid_state(self, world, raw, state):
        """A state that is empty, unknown, too long or not a text is refused."""
        raw.begin()
        query = f"code=abc&state={state}".encode()
        for ask in (query, query.partition(b"&")[0]):
            answer = raw.ask("GET", CALLBACK, query=ask)
            assert answer.status == 400
            assert SESSION not in answer.set_cookies
        assert world.count("authorization_code") == 0
        assert rows(world) == []
        assert len(login_cookies(raw)) == 1

    def test_altered_cookie(self, world, raw, attack):
        """A login cookie that is cut, or has one character changed, is refused."""
        path, query = attack
        [(name, value)] = raw.cookies.items()
        for place in range(0, len(value), 29):
            letter = "A" if value[place] != "A" else "B"
            forged = f"{name}={value[:place]}{letter}{value[place + 1 :]}"
            cut = f"{name}={value[:place]}"
            for cookie in (forged, cut):
                answer = raw.ask("GET", path, query=query, cookie=cookie.encode())
                assert_refused(answer, world)

    def test_without_pkce(self, world, raw, victim):
        """A foreign callback is also refused without PKCE."""
        world.with_settings(pkce=False)
        path, query = raw.consent(raw.begin())
        victim.begin()
        assert_refused(victim.ask("GET", path, query=query), world)

    def test_cookie_of_another_app(self, world, raw):
        """A login cookie sealed with other keys, or for another app, is refused."""
        path, query = raw.consent(raw.begin())
        kept = world.settings
        for changes in (
            {"secret_keys": ["gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo"]},
            {"client_key": "awotherclientkey"},
        ):
            world.with_settings(**changes)
            assert_refused(raw.another().ask("GET", path, query=query), world)
            answer = raw.ask("GET", path, query=query)
            assert_refused(answer, world)
            world.settings = kept
        assert world.start()
        assert raw.ask("GET", path, query=query).status == 303

    def test_signed_in_victim_is_not_changed(self, world, raw, victim):
        """An attacker's callback does not change a signed-in user."""
        victim.log_in(person=world.tiktok.people[1])
        open_id = victim.open_id
        path, query = raw.consent(raw.begin())
        answer = victim.ask("GET", path, query=query)
        assert answer.status == 409
        assert "You are signed in already" in answer.text
        assert not answer.set_cookies
        assert victim.open_id == open_id


class TestPreparedLogin:
    """A login begun in one browser cannot be finished in another."""

    def test_prepared_address(self, world, raw, victim):
        """A user who consents at an address that an attacker prepared is not signed in."""
        authorize = raw.begin()
        path, query = victim.consent(authorize, person=world.tiktok.people[1])
        assert_refused(victim.ask("GET", path, query=query), world)
        assert victim.open_id is None

    def test_victim_with_an_unfinished_login(self, world, raw, victim):
        """A victim who has another login under way is not signed in either."""
        victim.begin()
        path, query = victim.consent(raw.begin(), person=world.tiktok.people[1])
        assert_refused(victim.ask("GET", path, query=query), world)

    def test_page_says_why(self, raw, victim):
        """The page says that a login must end in the browser or app where it began."""
        path, query = victim.consent(raw.begin())
        answer = victim.ask("GET", path, query=query, headers=PAGE)
        assert "browser or app where it began" in answer.text
        assert f'href="{LOGIN}"' in answer.text


class TestLife:
    def test_time_in_the_cookie_decides(self, world, raw):
        """A login expires by the time inside its cookie, even if the browser keeps the
        cookie.
        """
        for age, status in ((600, 303), (601, 400), (-60, 303), (-61, 400)):
            authorize = raw.begin()
            world.clock.advance(age)  # consent only then, since codes expire sooner
            path, query = raw.consent(authorize)
            assert raw.ask("GET", path, query=query).status == status, age
            world.clock.advance(-age)

    def test_state_is_random(self, raw):
        """States are 256 bits from the system's generator, independent of a seed of
        `random`.
        """
        states = set()
        for _ in range(20):
            random.seed("the same each time")
            query = query_of(raw.begin())
            assert len(query["state"]) == 43
            states |= {query["state"], query["code_challenge"]}
        assert len(states) == 40


class TestErrors:
    """An unsolicited error ends no login."""

    @pytest.mark.parametrize("state", [None, "", "foreign", "x" * 600, "%ff"])
    @pytest.mark.parametrize("error", ["access_denied", "server_error", "%00", ""])
    def test_without_our_state(self, world, raw, state, error):
        """An error with no state of this browser is shown and changes nothing."""
        path, query = raw.consent(raw.begin())
        bad = f"error={error}" + ("" if state is None else f"&state={state}")
        answer = raw.ask("GET", CALLBACK, query=bad.encode())
        assert 400 <= answer.status < 500
        assert not answer.set_cookies
        assert rows(world) == []
        assert raw.ask("GET", path, query=query).status == 303

    def test_with_the_state_of_another_browser(self, world, raw, victim):
        """An error with another browser's state ends neither login."""
        path, query = raw.consent(raw.begin())
        own, answer = victim.consent(victim.begin())
        state = query_of("?" + query.decode())["state"]
        denied = f"error=access_denied&state={state}".encode()
        assert victim.ask("GET", CALLBACK, query=denied).status == 403
        assert rows(world) == []
        assert raw.ask("GET", path, query=query).status == 303
        assert victim.ask("GET", own, query=answer).status == 303

    def test_with_our_state(self, world, raw):
        """An error with this browser's state ends the login; a later code is
        refused.
        """
        path, query = raw.consent(raw.begin())
        denied = query + b"&error=access_denied"
        assert raw.ask("GET", path, query=denied).status == 403
        assert raw.cookies == {}
        assert raw.ask("GET", path, query=query).status == 400
        assert world.count("authorization_code") == 0


@memory_only
class TestPKCE:
    @pytest.mark.parametrize("pkce", [True, False])
    def test_verifier_is_sent_if_a_challenge_was(self, world, raw, pkce):
        """The exchange has a verifier only if the authorize address had a challenge."""
        world.with_settings(pkce=pkce)
        asked = query_of(raw.begin())
        assert ("code_challenge" in asked) is pkce
        raw.log_in()
        [exchange] = [r for r in world.tiktok.requests if r.endpoint == "token"]
        assert ("code_verifier" in dict(exchange.form)) is pkce

    def test_cookie_shows_no_verifier(self, raw):
        """A decoded login cookie shows neither the verifier nor the state nor the
        return address.
        """
        import base64

        authorize = raw.begin(b"next=/a/very/special/place")
        [value] = raw.cookies.values()
        sealed = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        assert query_of(authorize)["state"].encode() not in sealed
        assert b"special" not in sealed


@memory_only
class TestTwoInstances:
    """Two apps of TikTok in one process."""

    @pytest.fixture
    def settings(self):
        return make_settings(cookie_name="one")

    def test_logins_stay_separate(self, world, raw):
        """A second instance neither accepts nor ends the first's login and session."""
        raw.log_in()
        first = dict(raw.cookies)
        assert set(first) == {"__Host-one"}
        world.with_settings(
            cookie_name="two",
            client_key="awotherclientkey",
            login_path="/two/login",
            logout_path="/two/logout",
        )
        assert raw.open_id is None
        raw.ask("GET", "/two/login")
        (begun,) = set(raw.cookies) - set(first)
        assert begun.startswith("__Host-two-login-")
        renamed = {"__Host-two": first["__Host-one"]}
        raw.cookies = renamed
        assert raw.open_id is None

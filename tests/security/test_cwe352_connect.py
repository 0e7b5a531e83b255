"""Connecting an account is bound to the browser and to the app's user (CWE-352, 639).

Two things must not happen: that an attacker's TikTok account is connected to a victim's
user of the app, and that a victim's TikTok account is connected to the attacker's user.
"""

from __future__ import annotations

import logging
import threading

import pytest

from ..conftest import CALLBACK, LOGIN, ORIGIN, PAGE, SAME_ORIGIN, kept, query_of
from ..support.app_users import (
    CONNECT,
    begin,
    connect,
    connecting,
    sign_in,
    tokens_of,
)
from ..support.combinations import share_of
from ..support.senders import SENDERS, is_ours, sender
from .conftest import memory_only

TIKTOK = "https://www.tiktok.com/"


@pytest.fixture
def site(world):
    return connecting(world)


@pytest.fixture
def tokens(site):
    return tokens_of(site)


def browser_of(site, user_id):
    made = site.browser()
    sign_in(made, user_id)
    return made


def owners(tokens, *user_ids):
    return [
        user_id
        for user_id in user_ids
        for account in tokens.accounts(user_id)
        if account.open_id
    ]


def assert_nothing(site, tokens, *user_ids):
    """Assert that nothing was exchanged, stored or connected."""
    assert site.count("authorization_code") == 0
    assert owners(tokens, *user_ids) == []
    assert kept(site) is None
    assert not any(event.name == "connect" for event in site.events)


@memory_only
class TestHostilePage:
    """A page of another site begins no connection, whatever its headers are."""

    def test_post(self, site, raw, interface):
        """A POST begins one only if every header that is sent names this site."""
        raw.cookies["app-user"] = "victim"
        for case in share_of(interface, SENDERS):
            answer = raw.ask("POST", CONNECT, headers=sender(*case))
            if is_ours(*case):
                assert answer.location.startswith(TIKTOK), case
            else:
                assert answer.status == 403, case
                assert not answer.set_cookies, case

    def test_get(self, site, raw, interface):
        """A GET from another site, or without a known origin, gets a question and no
        cookie.
        """
        raw.cookies["app-user"] = "victim"
        for case in share_of(interface, SENDERS):
            answer = raw.ask("GET", CONNECT, headers=sender(*case))
            if is_ours(*case):
                assert answer.location.startswith(TIKTOK), case
            else:
                assert answer.status == 200, case
                assert answer.one("location") is None, case
                assert not answer.set_cookies, case

    @pytest.mark.parametrize("dest", ["image", "iframe", "empty", "script", "embed"])
    def test_no_document(self, site, raw, dest):
        """An image, frame or script begins no connection, not even on this site."""
        raw.cookies["app-user"] = "victim"
        headers = [("sec-fetch-dest", dest), ("sec-fetch-site", "same-origin")]
        for method in ("GET", "POST"):
            answer = raw.ask(method, CONNECT, headers=headers)
            assert answer.status == 200
            assert not answer.set_cookies

    def test_prefetch(self, site, raw):
        """A link that a browser prefetches begins no connection."""
        raw.cookies["app-user"] = "victim"
        headers = [("sec-purpose", "prefetch"), ("sec-fetch-site", "same-origin")]
        assert not raw.ask("GET", CONNECT, headers=headers).set_cookies

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
    def test_methods(self, site, raw, method):
        """Other methods have no effect."""
        raw.cookies["app-user"] = "victim"
        answer = raw.ask(method, CONNECT, headers=SAME_ORIGIN)
        assert (answer.status, answer.set_cookies) == (405, {})

    def test_long_query(self, site, raw):
        """A query that is too long is answered by a page, and begins no connection."""
        raw.cookies["app-user"] = "victim"
        for query in (b"x" * (64 * 1024 + 1), b"next=/" + b"y" * 60_000):
            answer = raw.ask("POST", CONNECT, query=query, headers=SAME_ORIGIN)
            assert answer.status in (303, 414)
            assert (answer.status == 414) is (query[:1] == b"x")

    def test_refusals_lead_back(self, site, raw):
        """A refusal names the allowed methods, and its page links to the site."""
        raw.cookies["app-user"] = "victim"
        assert raw.ask("PUT", CONNECT, headers=SAME_ORIGIN).one("allow") == "GET, POST"
        answer = raw.ask("POST", CONNECT, headers=[("origin", "https://evil.example")])
        assert 'href="/"' in answer.text
        assert site.settings.origin in answer.text

    def test_question_is_not_framed(self, site, raw):
        """The question cannot be framed, so no page can trick a victim into pressing
        its button.
        """
        raw.cookies["app-user"] = "victim"
        answer = raw.ask("GET", CONNECT, headers=PAGE)
        policy = answer.one("content-security-policy")
        assert "frame-ancestors 'none'" in policy

    def test_query(self, site, raw):
        """The query changes nothing in the request to TikTok except the scopes."""
        raw.cookies["app-user"] = "victim"
        query = b"state=x&client_key=y&redirect_uri=https://evil.example/&user=z"
        answer = raw.ask("POST", CONNECT, query=query, headers=SAME_ORIGIN)
        sent = query_of(answer.location)
        assert sent["client_key"] == site.settings.client_key
        assert sent["redirect_uri"] == site.settings.redirect_uri
        assert sent["state"] != "x"

    @pytest.mark.parametrize(
        "target", ["//evil.example", "https://evil.example/", "/\\evil", CONNECT]
    )
    def test_next(self, site, tokens, target):
        """The flow ends on this site, and not on a path of the middleware."""
        browser = browser_of(site, "victim")
        response = connect(browser, f"?next={target}")
        assert response.headers["location"] == "/"


class TestOtherBrowser:
    """A connection is completed only by the browser that began it."""

    def test_attackers_callback(self, site, tokens):
        """The attacker's callback in the victim's browser connects nothing."""
        attacker, victim = browser_of(site, "attacker"), browser_of(site, "victim")
        callback = attacker.consent(begin(attacker))
        assert victim.get(callback).status_code == 400
        assert_nothing(site, tokens, "attacker", "victim")

    def test_attackers_callback_during_the_victims_trip(self, site, tokens):
        """It also connects nothing while the victim has begun a connection."""
        attacker, victim = browser_of(site, "attacker"), browser_of(site, "victim")
        callback = attacker.consent(begin(attacker))
        begin(victim)
        assert victim.get(callback).status_code == 400
        assert_nothing(site, tokens, "attacker", "victim")

    def test_prepared_address(self, site, tokens):
        """A victim's consent at an authorize address of the attacker connects
        nothing.
        """
        attacker, victim = browser_of(site, "attacker"), browser_of(site, "victim")
        callback = victim.consent(begin(attacker))
        assert victim.get(callback).status_code == 400
        assert_nothing(site, tokens, "attacker", "victim")

    def test_code_in_the_attackers_own_trip(self, site, tokens):
        """A victim's code with the state of the attacker's connection fails at PKCE."""
        attacker, victim = browser_of(site, "attacker"), browser_of(site, "victim")
        stolen = query_of(victim.consent(begin(victim)))["code"]
        own = begin(attacker)
        state = query_of(own)["state"]
        callback = f"{CALLBACK}?code={stolen}&state={state}"
        assert attacker.get(callback).status_code in (400, 502)
        assert owners(tokens, "attacker", "victim") == []


class TestOtherUser:
    """A connection is completed only for the app's user who began it."""

    @pytest.mark.parametrize("present", [None, "user-2", "USER-1", "user-1 "])
    def test_changed_in_between(self, site, tokens, present):
        """After the user signed out, or signed in as another, nothing is connected."""
        browser = browser_of(site, "user-1")
        callback = browser.consent(begin(browser))
        sign_in(browser, present)
        response = browser.get(callback)
        assert response.status_code == 403
        assert "Nothing was connected" in response.text
        assert_nothing(site, tokens, "user-1", "user-2")
        [event] = [e for e in site.events if e.name == "connect_rejected"]
        assert event.reason == "connect_other_user"

    def test_code_is_not_left_for_the_next(self, site, tokens):
        """The connection's cookies are deleted then, so that it cannot be completed
        later.
        """
        browser = browser_of(site, "user-1")
        callback = browser.consent(begin(browser))
        sign_in(browser, "user-2")
        browser.get(callback)
        assert set(browser.cookies()) == {"app-user"}
        sign_in(browser, "user-1")
        assert browser.get(callback).status_code == 400
        assert_nothing(site, tokens, "user-1", "user-2")

    def test_result_is_not_shown_to_another(self, site, tokens):
        """If another user sends the callback again, the result is not shown."""
        browser = browser_of(site, "user-1")
        authorize = begin(browser, "?next=/who")
        trip = browser.cookies()
        callback = browser.consent(authorize)
        assert browser.get(callback).status_code == 303
        browser.client.cookies.update(trip)
        sign_in(browser, "user-2")
        assert browser.get(callback).status_code == 403
        assert owners(tokens, "user-1", "user-2") == ["user-1"]

    def test_two_users_of_one_browser(self, site, tokens):
        """Two users of one browser complete their own connections, in any order."""
        browser = browser_of(site, "user-1")
        first = browser.consent(begin(browser), person=site.tiktok.people[0])
        sign_in(browser, "user-2")
        second = browser.consent(begin(browser), person=site.tiktok.people[1])
        assert browser.get(first).status_code == 403
        assert browser.get(second).status_code == 303
        assert owners(tokens, "user-1", "user-2") == ["user-2"]


class TestOtherPurpose:
    """A login only logs in, and a connection only connects."""

    def test_login_connects_nothing(self, site, tokens):
        """A login while a user is signed in to the app connects nothing."""
        browser = browser_of(site, "user-1")
        browser.log_in()
        assert browser.signed_in
        assert owners(tokens, "user-1") == []

    def test_connect_signs_no_user_in(self, site, tokens):
        """The callback of a connection sets no session cookie."""
        browser = browser_of(site, "user-1")
        response = connect(browser)
        assert "__Host-tiktok=" not in response.headers["set-cookie"]
        assert not browser.signed_in

    def test_states_exchanged(self, site, tokens):
        """A code with the state of the other flow is refused."""
        browser = browser_of(site, "user-1")
        login = query_of(browser.consent(browser.begin()))
        own = query_of(browser.consent(begin(browser)))
        for code, state in ((login, own), (own, login)):
            callback = f"{CALLBACK}?code={code['code']}&state={state['state']}"
            assert browser.get(callback).status_code in (400, 502)
        assert owners(tokens, "user-1") == []
        assert not browser.signed_in

    def test_path_was_removed(self, site, tokens):
        """After a deployment without ``connect_path``, a begun connection does not sign
        in.
        """
        browser = browser_of(site, "user-1")
        callback = browser.consent(begin(browser))
        trip = browser.cookies()
        site.further = {}
        site = site.with_settings(connect_path=None)
        later = site.browser(**trip)
        assert later.get(callback).status_code == 400
        assert not later.signed_in
        assert site.count("authorization_code") == 0
        assert later.get(CONNECT).status_code == 404

    def test_connection_is_not_an_unfinished_login(self, site):
        """A guard does not count a connection as a login that was not completed."""
        browser = browser_of(site, "user-1")
        begin(browser, "?next=/private")
        response = browser.get("/private")
        assert response.status_code == 303
        assert response.headers["location"].startswith(LOGIN)


class TestCurrentUser:
    """Nothing is connected unless ``current_user`` returns a valid user id."""

    WRONG = {
        "raises": ValueError("secret text"),
        "int": 7,
        "bytes": b"user-1",
        "true": True,
        "empty": "",
        "too long": "x" * 256,
        "surrogate": "\ud800",
        "list": ["user-1"],
    }

    @pytest.fixture
    def answer(self):
        return {"now": "user-1"}

    @pytest.fixture
    def site(self, world, answer):
        def current(connection):
            if isinstance(answer["now"], Exception):
                raise answer["now"]
            return answer["now"]

        world.further = {"current_user": current}
        return world.with_settings(connect_path=CONNECT)

    @memory_only
    @pytest.mark.parametrize("kind", WRONG)
    def test_at_the_beginning(self, site, answer, kind, caplog):
        """A wrong result leads to a page, an event and an ERROR in the log."""
        answer["now"] = self.WRONG[kind]
        with caplog.at_level(logging.INFO, "tiktok_oauth_middleware"):
            response = site.browser().post(CONNECT)
        assert response.status_code == 500
        assert "location" not in response.headers
        assert "Nothing was connected" in response.text
        assert "secret text" not in response.text
        [event] = site.events
        assert (event.name, event.reason) == ("connect_rejected", "connect_undecided")
        assert event.reference in response.text
        [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert "current_user" in record.getMessage()

    @memory_only
    @pytest.mark.parametrize("kind", WRONG)
    def test_at_the_end(self, site, tokens, answer, kind):
        """After a wrong result at the callback nothing is connected, and TikTok is not
        called.
        """
        browser = site.browser()
        callback = browser.consent(begin(browser))
        answer["now"] = self.WRONG[kind]
        assert browser.get(callback).status_code == 500
        assert_nothing(site, tokens, "user-1")

    @pytest.mark.parametrize("user_id", ["a\nb\tc", "\u2028", "%41", "{x}", "x" * 255])
    def test_odd_ids(self, site, tokens, answer, user_id):
        """Ids with special characters are compared literally."""
        answer["now"] = user_id
        assert connect(site.browser()).status_code == 303
        assert owners(tokens, user_id) == [user_id]
        assert owners(tokens, user_id[:-1] or "y", "A") == []

    @memory_only
    def test_no_code_inside(self, world):
        """``current_user`` does not see the callback's query, with its code and
        state.
        """
        seen = []

        def current(connection):
            query = connection.get("QUERY_STRING", connection.get("query_string"))
            seen.append((repr(connection), query))
            return "user-1"

        world.further = {"current_user": current}
        site = world.with_settings(connect_path=CONNECT)
        browser = site.browser()
        callback = browser.consent(begin(browser, "?next=/who"))
        sent = query_of(callback)
        assert browser.get(callback).headers["location"] == "/who"
        assert len(seen) == 2
        for text, query in seen:
            assert not query
            assert sent["state"] not in text
            assert sent["code"] not in text

    @memory_only
    def test_no_user_id_outside(self, site, tokens, answer, caplog):
        """The user's id is in no URL, cookie, page, key or line of the log."""
        answer["now"] = "user-4711-secret"
        with caplog.at_level(logging.DEBUG):
            browser = site.browser()
            authorize = begin(browser)
            seen = [authorize, str(browser.cookies())]
            seen.append(str(browser.get(browser.consent(authorize)).headers))
        seen += site.store.keys("")
        seen += [str(site.store.get(key)) for key in site.store.keys("")]
        seen += [record.getMessage() for record in caplog.records]
        assert "user-4711-secret" not in " ".join(seen)


class TestRace:
    """Two connections at the same time."""

    def test_two_users(self, site, tokens):
        """If two users connect one account at the same moment, exactly one succeeds."""
        browsers = [browser_of(site, f"user-{n}") for n in (1, 2)]
        callbacks = [browser.consent(begin(browser)) for browser in browsers]
        ready, answers = threading.Barrier(2), {}

        def finish(number):
            ready.wait(20)
            answers[number] = browsers[number].get(callbacks[number]).status_code

        threads = [threading.Thread(target=finish, args=(n,)) for n in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(answers.values()) == [303, 409]
        [winner] = owners(tokens, "user-1", "user-2")
        assert answers[int(winner[-1]) - 1] == 303
        site.clock.advance(86400)
        assert tokens.get(site.tiktok.people[0].open_id).access_token

    def test_one_callback_twice(self, site, tokens):
        """A callback that arrives twice at the same moment causes one exchange."""
        browser = browser_of(site, "user-1")
        callback = browser.consent(begin(browser))
        twin = site.browser(**browser.cookies())
        ready, answers = threading.Barrier(2), []

        def finish(one):
            ready.wait(20)
            answers.append(one.get(callback).status_code)

        threads = [
            threading.Thread(target=finish, args=(one,)) for one in (browser, twin)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert answers == [303, 303]
        assert site.count("authorization_code") == 1
        assert owners(tokens, "user-1") == ["user-1"]


def test_origin_of_the_confirmation(site):
    """The question's button begins the connection, since it is a form of this site."""
    browser = browser_of(site, "user-1")
    page = browser.get(CONNECT + "?next=/who")
    assert f'action="{CONNECT}?next=/who"' in page.text
    headers = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    response = browser.post(CONNECT + "?next=/who", headers=headers)
    assert response.headers["location"].startswith(TIKTOK)

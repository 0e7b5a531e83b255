"""A login connects its account to a Django user only if that user intended it
(CWE-352).

A user is signed in to Django with a password, and a page of another site sends the
browser to the login path. If the browser is signed in at TikTok, TikTok shows no page,
so the account could be connected unnoticed.
"""

from __future__ import annotations

import logging
import re

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from tiktok_oauth_middleware.django.models import TikTokAccount
from tiktok_oauth_middleware.django.project import installation

from ...conftest import API, LOGIN, PAGE, query_of
from ...support.senders import SENDERS, is_ours, sender
from .conftest import BACKEND, MODEL_BACKEND, USUAL, django_browser

TIKTOK = "https://www.tiktok.com/"
QUESTION = "Connect a TikTok account?"
OURS = {**PAGE, "sec-fetch-site": "same-origin"}
CROSS = {**PAGE, "sec-fetch-site": "cross-site", "referer": "https://evil.example/"}
#: Headers of browsers without Sec-Fetch headers, which also hide the origin.
OLD = {"accept": PAGE["accept"]}


def begin(browser, headers=OURS, query=""):
    """Begin a login; return the address at TikTok."""
    response = browser.get(LOGIN + query, headers=headers)
    assert response.status_code == 303, response.text
    assert response.headers["location"].startswith(TIKTOK)
    return response.headers["location"]


def finish(browser, authorize, **choice):
    """Return from TikTok; return the callback's response."""
    return browser.get(browser.project.fake.consent(authorize, **choice))


def press(browser, page):
    """Press the button of a question; return the address at TikTok."""
    [url] = re.findall(r'<form method="post" action="([^"]+)"', page.text)
    response = browser.post(url.replace("&amp;", "&"))
    assert response.status_code == 303, response.text
    return response.headers["location"]


def asks(response):
    """Return whether a response is the question, without a login begun."""
    cookies = response.headers.get_list("set-cookie")
    begun = [text for text in cookies if "-login-" in text and "Max-Age=0" not in text]
    return QUESTION in response.text and response.status_code == 200 and not begun


def shows_page(authorize):
    """Return whether an authorize address asks TikTok to show its page."""
    return query_of(authorize).get("disable_auto_auth") == "1"


def owner_of(person):
    """Return the name of the user who has a person's account; None if no user has it."""
    account = TikTokAccount.objects.filter(open_id=person.open_id).first()
    return account and account.user.username


@pytest.fixture
def persons(accounts):
    return accounts.fake.people


def give(user, person):
    """Connect a person's account to a user."""
    return TikTokAccount.objects.create(user=user, open_id=person.open_id)


@pytest.fixture
def carried(accounts):
    """Return a list of the data of each login, as the project's ``on_login``
    gets it.
    """
    found = []
    fake = accounts.fake
    accounts.set(
        TIKTOK_OAUTH_OPTIONS={
            "transport": fake.transport,
            "clock": fake.clock,
            "on_login": lambda login: found.append(dict(login.carried)),
        }
    )
    return found


class TestBegin:
    """Requests to the login path while a user is signed in to Django."""

    def test_senders(self, accounts):
        """A GET begins a login only if every header that is sent names this site."""
        browser, _ = django_browser(accounts)
        for case in SENDERS[::7]:
            if {"twice", "contradiction", "garbage"} & {*case}:
                continue  # the client of WSGI cannot send these
            headers = [*PAGE.items(), *sender(*case)]
            headers = [(k, v.encode("latin-1")) for k, v in headers]
            response = browser.get(LOGIN, headers=headers)
            if is_ours(*case):
                assert response.headers["location"].startswith(TIKTOK), case
            else:
                assert asks(response), case

    @pytest.mark.parametrize("headers", [CROSS, PAGE, OLD, API])
    def test_guard(self, accounts, headers):
        """A guarded page that redirects to the login path leads to the question too."""
        browser, _ = django_browser(accounts)
        response = browser.get("/member", headers=headers)
        if headers is API:
            assert response.status_code == 401
            return
        there = response.headers.get("location", LOGIN)
        assert there.startswith(LOGIN)
        assert asks(browser.get(there, headers=headers))

    def test_post_of_another_site(self, accounts):
        """A form of another site begins nothing."""
        browser, _ = django_browser(accounts)
        evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert browser.post(LOGIN, headers=evil).status_code == 403

    def test_anonymous(self, accounts):
        """Without a Django user the same request begins a normal login, without
        TikTok's page.
        """
        browser = accounts.browser()
        authorize = begin(browser, CROSS)
        assert not shows_page(authorize)
        assert finish(browser, authorize).status_code == 303
        assert browser.get("/user").json()["authenticated"]

    def test_tiktok_session(self, accounts, persons):
        """In a Django session that began with TikTok there is no question, and nothing
        is connected.
        """
        browser = accounts.browser()
        browser.log_in(persons[0])
        first = owner_of(persons[0])
        assert finish(browser, begin(browser, CROSS), person=persons[1])
        assert owner_of(persons[1]) not in (None, first)

    def test_question_is_not_framed(self, accounts):
        """The question cannot be framed, so no page can trick a user into pressing its
        button.
        """
        browser, _ = django_browser(accounts)
        policy = browser.get(LOGIN, headers=CROSS).headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy

    def test_without_the_backend(self, accounts):
        """Without `TikTokBackend` a login connects nothing, so there is no question."""
        accounts.set(AUTHENTICATION_BACKENDS=[MODEL_BACKEND])
        browser, _ = django_browser(accounts)
        assert finish(browser, begin(browser, CROSS)).status_code == 303
        assert not TikTokAccount.objects.exists()

    def test_login_required_middleware(self, accounts):
        """LoginRequiredMiddleware redirects anonymous users to the login, without a
        question.
        """
        required = "django.contrib.auth.middleware.LoginRequiredMiddleware"
        accounts.set(MIDDLEWARE=[*USUAL, required], LOGIN_URL=LOGIN)
        browser = accounts.browser()
        there = browser.get("/public", headers=CROSS).headers["location"]
        begin(browser, CROSS, there.removeprefix(LOGIN))

    def test_database_that_fails(self, accounts, monkeypatch, caplog):
        """If Django's database fails, so that the user is unknown, no login begins."""

        def fail(_alias):
            raise DatabaseError("secret text")

        browser, _ = django_browser(accounts)
        monkeypatch.setattr(TikTokAccount.objects, "using", fail)
        with caplog.at_level(logging.ERROR, "tiktok_oauth_middleware"):
            response = browser.get(LOGIN, headers=OURS)
        assert response.status_code == 500
        assert "Nothing was connected" in response.text
        assert "secret text" not in response.text
        assert "the app's accounts raised DatabaseError" in caplog.text

    def test_database_that_fails_at_the_end(self, accounts, monkeypatch):
        """If Django's database fails at the callback, TikTok is not called."""

        def fail(_alias):
            raise DatabaseError

        browser, _ = django_browser(accounts)
        authorize = begin(browser)
        monkeypatch.setattr(TikTokAccount.objects, "using", fail)
        response = finish(browser, authorize)
        assert response.status_code == 500
        assert "Nothing was connected" in response.text
        assert accounts.fake.count("token") == 0


class TestMeant:
    """If the user confirms, the account that TikTok's page shows is connected."""

    @pytest.mark.parametrize("headers", [OURS, CROSS, OLD])
    def test_connects(self, accounts, persons, headers):
        """A link of this site connects an account; one from elsewhere does so after one
        question.
        """
        browser, _ = django_browser(accounts)
        if headers is OURS:
            authorize = begin(browser, query="?next=/who")
        else:
            page = browser.get(LOGIN + "?next=/who", headers=headers)
            authorize = press(browser, page)
        assert shows_page(authorize)
        assert finish(browser, authorize).headers["location"] == "/who"
        assert owner_of(persons[0]) == "alice"

    @pytest.mark.parametrize("methods", [["GET"], ["POST"], ["GET", "POST"]])
    def test_login_methods(self, accounts, persons, methods):
        """The question's button works whatever ``login_methods`` are."""
        accounts.configure(login_methods=methods)
        browser, _ = django_browser(accounts)
        page = browser.get(LOGIN + "?next=/who", headers=CROSS)
        assert page.status_code == (200 if "GET" in methods else 405)
        assert finish(browser, press(browser, page)).status_code == 303
        assert owner_of(persons[0]) == "alice"

    def test_post_without_a_user(self, accounts):
        """If `login_methods` has no POST, only the question's button may post."""
        accounts.configure(login_methods=["GET"])
        response = accounts.browser().post(LOGIN)
        assert response.status_code == 405
        assert response.headers["allow"] == "GET"

    def test_carried_data(self, accounts, persons, carried):
        """The data of a login link is kept by the question's button."""
        browser, _ = django_browser(accounts)
        url = browser.get("/invitation/abc").text
        authorize = press(browser, browser.get(url, headers=CROSS))
        assert finish(browser, authorize).headers["location"] == "/member"
        assert carried == [{"invite": "abc"}]


class TestCallback:
    """A login that was not begun to connect an account does not connect one."""

    def test_signed_in_since(self, accounts, persons):
        """A user who signed in to Django after the login began is asked first."""
        browser = accounts.browser()
        authorize = begin(browser, CROSS)
        get_user_model().objects.create_user("alice", password="password")
        browser.get("/django-login?name=alice")
        page = finish(browser, authorize)
        assert asks(page)
        assert not TikTokAccount.objects.exists()
        assert installation().stored_user(persons[0].open_id) is None
        assert accounts.fake.count("revoke") == 0
        assert browser.get("/who").json()["open_id"] is None
        assert browser.get("/user").json()["name"] == "alice"
        assert finish(browser, press(browser, page)).status_code == 303
        assert owner_of(persons[0]) == "alice"

    @pytest.mark.parametrize("headers", [OURS, CROSS])
    def test_own_account_silently(self, accounts, persons, headers):
        """A user with a connected account logs in with it, without a question or a
        page.
        """
        browser, user = django_browser(accounts)
        give(user, persons[0])
        authorize = begin(browser, headers)
        assert not shows_page(authorize)
        assert finish(browser, authorize).status_code == 303
        assert browser.get("/who").json()["open_id"] == persons[0].open_id
        assert browser.get("/user").json()["name"] == "alice"

    @pytest.mark.parametrize("headers", [OURS, CROSS, OLD])
    @pytest.mark.parametrize("query", ["", "?choose_account=1", "?scopes=video.upload"])
    def test_other_account(self, accounts, persons, headers, query):
        """An account other than the user's is connected only if it was chosen in this
        browser.
        """
        browser, user = django_browser(accounts)
        give(user, persons[0])
        authorize = begin(browser, headers, query)
        page = finish(browser, authorize, person=persons[1])
        is_meant = headers is OURS and bool(query)
        assert asks(page) is not is_meant
        assert owner_of(persons[1]) == ("alice" if is_meant else None)
        if not is_meant:
            assert browser.get("/who").json()["open_id"] is None
            assert finish(browser, press(browser, page), person=persons[1])
            assert owner_of(persons[1]) == "alice"

    def test_carried_data_after_the_question(self, accounts, persons, carried):
        """The question at the callback keeps the data of the link."""
        browser, user = django_browser(accounts)
        give(user, persons[0])
        url = browser.get("/invitation/abc").text
        page = finish(
            browser,
            browser.get(url, headers=CROSS).headers["location"],
            person=persons[1],
        )
        authorize = press(browser, page)
        answer = finish(browser, authorize, person=persons[1])
        assert answer.headers["location"] == "/member"
        assert carried == [{"invite": "abc"}] * 2

    def test_record_of_before_stays(self, accounts, persons):
        """Another browser's session and its tokens stay."""
        other = accounts.browser()
        other.log_in(persons[1])
        TikTokAccount.objects.all()._raw_delete("default")
        browser, user = django_browser(accounts)
        give(user, persons[0])
        assert asks(finish(browser, begin(browser, CROSS), person=persons[1]))
        assert other.get("/who").json()["open_id"] == persons[1].open_id

    def test_account_of_another(self, accounts, persons):
        """An account of another user is refused without a question."""
        give(get_user_model().objects.create_user("bob"), persons[1])
        browser, user = django_browser(accounts)
        give(user, persons[0])
        response = finish(browser, begin(browser, CROSS), person=persons[1])
        assert response.status_code == 409
        assert owner_of(persons[1]) == "bob"

    def test_login_cookies_are_gone(self, accounts, persons):
        """After the question no login is under way, so a guard redirects to the
        login.
        """
        browser, user = django_browser(accounts)
        give(user, persons[0])
        authorize = begin(browser, CROSS, "?next=/member")
        assert asks(finish(browser, authorize, person=persons[1]))
        assert browser.get("/member").status_code == 303

    def test_sent_again(self, accounts, persons):
        """A callback that is sent again after the question connects nothing either."""
        browser, user = django_browser(accounts)
        give(user, persons[0])
        callback = accounts.fake.consent(begin(browser, CROSS), person=persons[1])
        before = dict(browser.client.cookies)
        assert asks(browser.get(callback))
        browser.client.cookies.update(before)
        assert browser.get(callback).status_code == 400
        assert owner_of(persons[1]) is None


class TestOtherUser:
    """A login may connect an account only to the Django user who began it."""

    def change(self, browser, how):
        """Sign out of Django, or sign in to it as another user."""
        if how == "out":
            browser.get("/django-logout")
        elif how == "another":
            get_user_model().objects.create_user("bob", password="password")
            browser.get("/django-login?name=bob")
        else:
            browser.client.cookies.delete("sessionid")

    @pytest.mark.parametrize("how", ["out", "another", "cookie lost"])
    def test_changed_in_between(self, accounts, how):
        """If another user is signed in at the callback, a page says so, without a call
        to TikTok.
        """
        browser, _ = django_browser(accounts)
        authorize = begin(browser)
        self.change(browser, how)
        response = finish(browser, authorize)
        assert response.status_code == 403
        assert "Nothing was connected" in response.text
        assert accounts.fake.count("token") == 0
        assert not TikTokAccount.objects.exists()
        expected = "bob" if how == "another" else ""
        assert browser.get("/user").json()["name"] == expected

    def test_tiktok_login_in_between(self, accounts, persons):
        """A TikTok login in another tab stays, and the account is not connected."""
        browser, _ = django_browser(accounts)
        authorize = begin(browser)
        browser.get("/django-logout")
        browser.log_in(persons[1])
        assert finish(browser, authorize, person=persons[0]).status_code == 403
        assert owner_of(persons[0]) is None
        assert browser.get("/who").json()["open_id"] == persons[1].open_id

    def test_two_tabs(self, accounts, persons):
        """Two logins that one user began both succeed, in any order."""
        browser, _ = django_browser(accounts)
        first, second = begin(browser), begin(browser)
        assert finish(browser, second).status_code == 303
        assert finish(browser, first).status_code == 303
        assert owner_of(persons[0]) == "alice"

    def test_attackers_callback(self, accounts, persons):
        """The attacker's callback connects nothing in the victim's browser."""
        attacker = accounts.browser()
        callback = accounts.fake.consent(begin(attacker, CROSS), person=persons[1])
        victim, _ = django_browser(accounts)
        begin(victim)
        assert victim.get(callback).status_code == 400
        assert not TikTokAccount.objects.exists()

    def test_event(self, accounts):
        """The event reports a refused connection, with its reference."""
        events = []
        fake = accounts.fake
        accounts.set(
            TIKTOK_OAUTH_OPTIONS={
                "transport": fake.transport,
                "clock": fake.clock,
                "on_event": events.append,
            }
        )
        browser, _ = django_browser(accounts)
        authorize = begin(browser)
        browser.get("/django-logout")
        response = finish(browser, authorize)
        [event] = [e for e in events if e.name == "connect_rejected"]
        assert event.reason == "connect_other_user"
        assert event.reference in response.text


def test_backends_that_change(accounts):
    """Changing AUTHENTICATION_BACKENDS in tests takes effect."""
    browser, _ = django_browser(accounts)
    assert asks(browser.get(LOGIN, headers=CROSS))
    accounts.set(AUTHENTICATION_BACKENDS=[MODEL_BACKEND])
    other = accounts.browser()
    begin(other, CROSS)
    accounts.set(AUTHENTICATION_BACKENDS=[MODEL_BACKEND, BACKEND])
    again = accounts.browser()
    again.get("/django-login?name=alice")
    assert asks(again.get(LOGIN, headers=CROSS))

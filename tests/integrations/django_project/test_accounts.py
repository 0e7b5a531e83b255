"""Django users for TikTok accounts: created, found, connected, signed in and out."""

from __future__ import annotations

import sys
import threading

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.db import transaction

from tiktok_oauth_middleware import Login, StoreError, User
from tiktok_oauth_middleware._session.records import Records
from tiktok_oauth_middleware.django import accounts as local_accounts
from tiktok_oauth_middleware.django import signals
from tiktok_oauth_middleware.django.accounts import find_or_make
from tiktok_oauth_middleware.django.models import TikTokAccount

from ...conftest import ORIGIN
from .conftest import BACKEND, MODEL_BACKEND, django_browser

NOBODY = {"name": "", "authenticated": False}


@pytest.fixture
def sent():
    """Collect the signals that are sent, by name."""
    found = []
    names = ("logged_in", "connected", "disconnected", "withdrawn")

    def note(name):
        def receive(sender, **given):
            assert sender is TikTokAccount
            found.append((name, given))

        return receive

    receivers = [(getattr(signals, name), note(name)) for name in names]
    for signal, receive in receivers:
        signal.connect(receive, weak=False)
    yield found
    for signal, receive in receivers:
        signal.disconnect(receive)


@pytest.mark.parametrize("url", ["/user", "/user-async"])
def test_a_login_makes_a_user_once(accounts, url):
    """The first login creates a user without email or password; later logins find that
    user.
    """
    browser = accounts.browser()
    assert browser.get(url).json() == NOBODY
    browser.log_in()
    name = browser.get(url).json()["name"]
    assert name.startswith("tiktok_")
    user = get_user_model().objects.get(username=name)
    assert user.email == ""
    assert not user.has_usable_password()
    again = accounts.browser()
    again.log_in()
    assert again.get(url).json() == {"name": name, "authenticated": True}
    assert get_user_model().objects.count() == 1
    account = user.tiktok_accounts.get()
    assert account.open_id == accounts.fake.people[0].open_id
    assert account.scopes == "user.info.basic,video.list"
    assert account.last_login_at is not None


def test_open_ids_differ_in_case(accounts):
    """Two open_ids that differ in case alone are two people."""
    for open_id in ("-000Aa", "-000aA"):
        TikTokAccount.objects.create(
            user=get_user_model().objects.create_user(f"u{open_id}"), open_id=open_id
        )
    assert TikTokAccount.objects.get(open_id="-000aA").user.username == "u-000aA"


@pytest.mark.parametrize("url", ["/user", "/user-async"])
def test_our_logout_ends_djangos_session(accounts, url):
    """A user who logs out at the middleware's path is also logged out of Django."""
    browser = accounts.browser()
    browser.log_in()
    assert browser.get(url).json()["authenticated"]
    answer = browser.log_out()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browser.get(url).json() == NOBODY


def test_our_logout_ends_a_password_session(accounts):
    """A logout at the middleware's path also ends a Django session that began with a
    password.
    """
    browser, _ = django_browser(accounts)
    browser.log_in()
    assert browser.log_out().status_code == 303
    assert browser.get("/user").json() == NOBODY


def test_a_disconnect_ends_the_session_that_tiktok_began(accounts):
    """A disconnect redirects, and ends the browser's Django session."""
    browser = accounts.browser()
    browser.log_in()
    assert "sessionid" in browser.client.cookies
    assert browser.post("/auth/tiktok/disconnect").status_code == 303
    assert "sessionid" not in browser.client.cookies


@pytest.mark.parametrize("url", ["/django-logout", "/django-logout-async"])
def test_djangos_logout_ends_ours(accounts, url):
    """A logout of Django ends the TikTok session and deletes its cookie."""
    browser = accounts.browser()
    browser.log_in()
    kept = dict(browser.client.cookies)
    answer = browser.get(url)
    assert answer.text == "logged out"
    gone = [text for text in answer.headers.get_list("set-cookie") if "tiktok=" in text]
    assert "Max-Age=0" in gone[0]
    thief = accounts.browser()
    thief.client.cookies.update(kept)
    assert thief.get("/who").json()["open_id"] is None
    assert thief.get("/user").json() == NOBODY
    # As after our own logout, TikTok shows its page at the next login.
    there = browser.get("/auth/tiktok/login").headers["location"]
    assert "disable_auto_auth=1" in there


@pytest.mark.parametrize("url", ["/user", "/user-async", "/user-twice"])
def test_djangos_session_ends_with_tiktoks(accounts, url):
    """A withdrawal ends the Django session that the TikTok login began; each call of
    ``request.auser`` in a request finds that.
    """
    browser = accounts.browser()
    browser.log_in()
    headers, body = accounts.fake.disconnect()
    answer = browser.client.post(
        "/auth/tiktok/webhook", content=body, headers=dict(headers)
    )
    assert answer.status_code == 200
    accounts.fake.advance(2)
    assert browser.get(url).json() == NOBODY


def test_a_password_session_is_not_bound(accounts):
    """A Django session that began with a password outlives the TikTok session, even a
    disconnect.
    """
    browser, _ = django_browser(accounts)
    browser.log_in()
    assert browser.post("/auth/tiktok/disconnect").status_code == 303
    assert browser.get("/who").json()["open_id"] is None
    assert browser.get("/user").json()["name"] == "alice"


@pytest.mark.parametrize("is_over", [True, False])
def test_a_password_after_tiktok_lasts(accounts, is_over):
    """A user who logs in with a password after TikTok stays signed in after the TikTok
    session.
    """
    person = accounts.fake.people[0]
    user = get_user_model().objects.create_user("alice", password="password")
    TikTokAccount.objects.create(user=user, open_id=person.open_id)
    browser = accounts.browser()
    browser.log_in(person)
    if is_over:
        browser.client.cookies.delete("__Host-tiktok")
    browser.get("/django-login?name=alice")
    assert browser.get("/user").json()["name"] == "alice"
    if not is_over:
        assert browser.post("/auth/tiktok/disconnect").status_code == 303
    assert browser.get("/user").json()["name"] == "alice"


def test_signed_in_user_connects(accounts, sent):
    """A login of a user who is signed in to Django connects the account to that
    user.
    """
    browser, user = django_browser(accounts)
    browser.log_in()
    assert browser.get("/user").json()["name"] == "alice"
    assert get_user_model().objects.count() == 1
    assert user.tiktok_accounts.get().open_id == accounts.fake.people[0].open_id
    ((name, given),) = sent
    assert name == "connected"
    assert given["created"] is True
    assert given["user"].pk == user.pk
    fresh = accounts.browser()
    fresh.log_in()
    assert fresh.get("/user").json()["name"] == "alice"


def test_an_account_of_another_is_not_taken(accounts):
    """An account of another user is not connected, and no session begins."""
    accounts.browser().log_in()
    browser, user = django_browser(accounts)
    answer = browser.log_in()
    assert answer.status_code == 409
    assert "belongs to another user" in answer.text
    assert not user.tiktok_accounts.exists()
    assert browser.get("/user").json()["name"] == "alice"
    assert browser.get("/who").json()["open_id"] is None


def test_another_account_in_a_tiktok_session_switches(accounts):
    """A browser that changes the TikTok account is signed in as that account's user."""
    browser = accounts.browser()
    browser.log_in(accounts.fake.people[0])
    first = browser.get("/user").json()["name"]
    browser.log_in(accounts.fake.people[1])
    second = browser.get("/user").json()["name"]
    assert second not in ("", first)
    assert TikTokAccount.objects.count() == 2


def test_another_django_user_ends_the_tiktok_session(accounts):
    """A password login as another user ends the TikTok session."""
    get_user_model().objects.create_user("alice", password="password")
    browser = accounts.browser()
    browser.log_in()
    browser.get("/django-login?name=alice")
    assert browser.get("/user").json()["name"] == "alice"
    assert browser.get("/who").json()["open_id"] is None


def test_refused_sign_up(accounts):
    """A refused sign-up begins no session, stores nothing and revokes at TikTok."""
    asked = []

    def may_sign_up(request, login):
        asked.append(login)
        return False

    fake = accounts.fake
    options = {"transport": fake.transport, "clock": fake.clock}
    accounts.set(TIKTOK_OAUTH_OPTIONS={**options, "may_sign_up": may_sign_up})
    browser = accounts.browser()
    answer = browser.log_in()
    assert answer.status_code == 403
    assert "does not let this account in" in answer.text
    assert asked[0].open_id == fake.people[0].open_id
    assert asked[0].user.display_name == fake.people[0].display_name
    assert not get_user_model().objects.exists()
    assert fake.count("revoke") == 1
    assert browser.get("/who").json()["open_id"] is None
    assert "__Host-tiktok" not in dict(browser.client.cookies)


def test_page_after_a_refused_login(accounts):
    """After a refused login no cookie is left, so the next visit begins a new login."""
    fake = accounts.fake
    options = {"transport": fake.transport, "clock": fake.clock}
    accounts.set(
        TIKTOK_OAUTH_OPTIONS={**options, "may_sign_up": lambda request, login: False}
    )
    browser = accounts.browser()
    login = browser.get(browser.get("/member").headers["location"])
    answer = browser.get(fake.consent(login.headers["location"]))
    assert answer.status_code == 403
    assert [name for name in dict(browser.client.cookies) if "tiktok" in name] == []
    again = browser.get("/member")
    assert again.status_code == 303
    assert "/auth/tiktok/login" in again.headers["location"]


@pytest.mark.parametrize("error", [RuntimeError, PermissionDenied, StoreError])
def test_page_after_a_failed_login(accounts, error):
    """A login whose hook raises leaves no cookies, and the exception is answered."""
    raised, reported = error("the hook failed"), []

    def may_sign_up(request, login):
        raise raised

    def report(sender, **given):
        reported.append(sys.exc_info()[1])

    fake = accounts.fake
    options = {"transport": fake.transport, "clock": fake.clock}
    accounts.set(TIKTOK_OAUTH_OPTIONS={**options, "may_sign_up": may_sign_up})
    browser = accounts.browser()
    login = browser.get(browser.get("/member").headers["location"])
    got_request_exception.connect(report)
    answer = browser.get(fake.consent(login.headers["location"]))
    got_request_exception.disconnect(report)
    expected = {RuntimeError: 500, PermissionDenied: 403, StoreError: 503}[error]
    assert answer.status_code == expected
    # Django reports an exception that it answers with 500.
    assert reported == [raised] * (expected == 500)
    assert [name for name in dict(browser.client.cookies) if "tiktok" in name] == []
    assert "/auth/tiktok/login" in browser.get("/member").headers["location"]


@pytest.mark.parametrize("error", [RuntimeError, PermissionDenied])
@pytest.mark.parametrize("signal", [user_logged_in, signals.logged_in])
@pytest.mark.parametrize("is_second", [False, True])
def test_a_receiver_that_raises(accounts, signal, error, is_second):
    """A login whose receiver raises signs nobody in to Django.

    Django saves the session of a 403, and the receiver runs when the user is in it.
    """

    def refuse(sender, **given):
        raise error

    browser = accounts.browser()
    if is_second:  # in the session of another account's user
        browser.log_in(accounts.fake.people[1])
    signal.connect(refuse)
    answer = browser.log_in()
    signal.disconnect(refuse)
    assert answer.status_code == (403 if error is PermissionDenied else 500)
    assert browser.get("/user").json() == NOBODY
    assert browser.get("/who").json()["open_id"] is None
    kept = [row.get_decoded() for row in Session.objects.all()]
    assert [data for data in kept if data] == []


@pytest.mark.parametrize("error", [RuntimeError, PermissionDenied])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_receiver_that_raises_connects_no_account(accounts, error, is_new):
    """An account is not connected if a receiver of `connected` raises, and one that is
    connected stays.
    """

    def refuse(sender, **given):
        raise error

    browser, user = django_browser(accounts)
    if not is_new:
        browser.log_in()
    signals.connected.connect(refuse)
    answer = browser.log_in()
    signals.connected.disconnect(refuse)
    assert answer.status_code == (403 if error is PermissionDenied else 500)
    assert user.tiktok_accounts.count() == (0 if is_new else 1)
    assert browser.get("/user").json()["name"] == "alice"
    assert browser.get("/who").json()["open_id"] is None
    assert accounts.fake.count("revoke") == 0
    fresh = accounts.browser()
    fresh.log_in()
    assert (fresh.get("/user").json()["name"] == "alice") is not is_new


def test_a_hook_and_the_store_fail(accounts, monkeypatch):
    """If the store fails too, the hook's exception is reported, not the store's."""
    raised, reported = RuntimeError("the hook failed"), []

    def may_sign_up(request, login):
        async def end_session(*args):
            message = "the store failed"
            raise StoreError(message)

        monkeypatch.setattr(Records, "end_session", end_session)
        raise raised

    def report(sender, **given):
        reported.append(sys.exc_info()[1])

    fake = accounts.fake
    options = {"transport": fake.transport, "clock": fake.clock}
    accounts.set(TIKTOK_OAUTH_OPTIONS={**options, "may_sign_up": may_sign_up})
    got_request_exception.connect(report)
    answer = accounts.browser().log_in()
    got_request_exception.disconnect(report)
    assert answer.status_code == 500
    assert reported == [raised]


def test_hook_is_not_called_for_an_account(accounts):
    """The sign-up hook is not called for a user who has an account."""
    accounts.browser().log_in()
    fake = accounts.fake
    options = {"transport": fake.transport, "clock": fake.clock}
    accounts.set(
        TIKTOK_OAUTH_OPTIONS={**options, "may_sign_up": lambda request, login: False}
    )
    assert accounts.browser().log_in().status_code == 303


def test_an_inactive_user_is_refused(accounts):
    """A user that is not active is not signed in, and the tokens stay."""
    accounts.browser().log_in()
    get_user_model().objects.update(is_active=False)
    browser = accounts.browser()
    assert browser.log_in().status_code == 403
    assert browser.get("/who").json()["open_id"] is None
    assert accounts.fake.count("revoke") == 0


@pytest.mark.parametrize("name", ["_account_of", "_record_login"])
@pytest.mark.parametrize("model", ["user", "account"])
def test_a_row_that_is_deleted_during_a_login(accounts, monkeypatch, name, model):
    """Nobody is signed in if the user or the account is deleted meanwhile, and the page
    says that the login is over.
    """
    accounts.browser().log_in()
    called = getattr(local_accounts, name)
    deleted = {"user": get_user_model(), "account": TikTokAccount}[model]

    def delete_around(*given):
        found = called(*given) if name == "_account_of" else None
        deleted.objects.all().delete()
        return found or called(*given)

    monkeypatch.setattr(local_accounts, name, delete_around)
    browser = accounts.browser()
    answer = browser.log_in()
    assert answer.status_code == 400
    assert "took too long" in answer.text
    assert browser.get("/user").json() == NOBODY
    assert browser.get("/who").json()["open_id"] is None


def test_a_deactivated_user_is_signed_out(accounts):
    """When a user is saved as not active, the user's TikTok sessions end."""
    browser = accounts.browser()
    browser.log_in()
    user = get_user_model().objects.get()
    user.is_active = False
    with transaction.atomic():
        user.save()
        transaction.set_rollback(True)
    accounts.fake.advance(2)
    assert browser.get("/who").json()["open_id"] is not None
    user.save()
    accounts.fake.advance(2)
    assert browser.get("/who").json()["open_id"] is None
    assert accounts.fake.count("revoke") == 0


@pytest.mark.parametrize("url", ["/user", "/user-async"])
def test_a_user_who_was_deactivated_without_a_signal(accounts, url):
    """The TikTok session ends when a view finds that Django's user is gone."""
    browser = accounts.browser()
    browser.log_in()
    kept = dict(browser.client.cookies)
    get_user_model().objects.update(is_active=False)
    assert browser.get("/who").json()["open_id"] is not None
    assert browser.get(url).json() == NOBODY
    thief = accounts.browser()
    thief.client.cookies.update(kept)
    for client in (browser, thief):
        assert client.get("/who").json()["open_id"] is None


@pytest.mark.parametrize("url", ["/user", "/user-async"])
def test_a_session_of_django_that_its_user_ended(accounts, url):
    """If Django ends the session, as at a new password, TikTok's ends, too."""
    browser = accounts.browser()
    browser.log_in()
    user = get_user_model().objects.get()
    user.set_password("new")
    user.save()
    assert browser.get(url).json() == NOBODY
    assert browser.get("/who").json()["open_id"] is None


def test_signals(accounts, sent):
    """Login, disconnect and withdrawal each send a signal with the user and the
    account.
    """
    browser = accounts.browser()
    browser.log_in()
    browser.post("/auth/tiktok/disconnect")
    browser.log_in()
    headers, body = accounts.fake.disconnect()
    browser.client.post("/auth/tiktok/webhook", content=body, headers=dict(headers))
    assert [name for name, _ in sent] == [
        "logged_in",
        "disconnected",
        "logged_in",
        "withdrawn",
    ]
    first, gone, second, withdrawn = (given for _, given in sent)
    assert first["created"] is True
    assert second["created"] is False
    for given in (gone, withdrawn):
        assert given["user"] == first["user"]
        assert given["open_id"] == accounts.fake.people[0].open_id
    assert TikTokAccount.objects.get().disconnected_at is not None


def test_deleting_a_user_disconnects(accounts):
    """When a user's deletion is committed, the account is disconnected at TikTok."""
    browser = accounts.browser()
    browser.log_in()
    with transaction.atomic():
        get_user_model().objects.all().delete()
        assert accounts.fake.count("revoke") == 0
    assert accounts.fake.count("revoke") == 1
    accounts.fake.advance(2)
    assert browser.get("/who").json()["open_id"] is None


def test_a_deletion_that_is_rolled_back_disconnects_no_account(accounts):
    """If a user's deletion is rolled back, the tokens stay."""
    accounts.browser().log_in()
    with transaction.atomic():
        get_user_model().objects.all().delete()
        transaction.set_rollback(True)
    assert get_user_model().objects.exists()
    assert accounts.fake.count("revoke") == 0


def test_the_same_person_twice_at_once(accounts):
    """Simultaneous first logins of one person create one user."""
    person = accounts.fake.people[0]
    login = Login(
        open_id=person.open_id, scopes=frozenset(), user=User(open_id=person.open_id)
    )
    start, users = threading.Barrier(2), []

    def make():
        from django.db import connections

        start.wait()
        users.append(find_or_make(None, login).pk)
        connections.close_all()

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert users[0] == users[1]
    assert get_user_model().objects.count() == 1


def test_force_login_of_djangos_client(accounts):
    """Django's force_login works with the backend, also if it is the only one."""
    from django.test import Client

    accounts.set(AUTHENTICATION_BACKENDS=[BACKEND])
    client = Client(headers={"host": "app.example.com"})
    client.force_login(get_user_model().objects.create_user("alice"))
    assert client.get("/user", secure=True).json()["name"] == "alice"


def test_login_required_middleware(accounts):
    """With LoginRequiredMiddleware, LOGIN_URL leads to a TikTok login."""
    from .conftest import USUAL

    required = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    accounts.set(MIDDLEWARE=[*USUAL, required], LOGIN_URL="/auth/tiktok/login")
    browser = accounts.browser()
    sent = browser.get("/public")
    assert sent.status_code == 302
    assert sent.headers["location"] == "/auth/tiktok/login?next=/public"
    assert browser.log_in(next="/public").headers["location"] == "/public"
    assert browser.get("/public").text == "for everybody"
    assert browser.get("/member").status_code == 200


def test_csrf_of_django_is_in_force(accounts):
    """The middleware's paths need no CSRF token; the project's forms still need one."""
    browser = accounts.browser()
    browser.log_in()
    form = {"username": "alice", "password": "password"}
    assert browser.post("/admin/login/", data=form).status_code == 403
    other = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert browser.post("/auth/tiktok/logout", headers=other).status_code == 403
    assert browser.get("/user").json()["authenticated"]
    assert ORIGIN.startswith("https")


def test_other_backends_go_on(accounts):
    """ModelBackend still accepts passwords, and the TikTok backend accepts none."""
    accounts.set(AUTHENTICATION_BACKENDS=[BACKEND, MODEL_BACKEND])
    browser, _ = django_browser(accounts)
    assert browser.get("/user").json()["name"] == "alice"
    accounts.set(AUTHENTICATION_BACKENDS=[BACKEND])
    from django.contrib.auth import authenticate

    assert authenticate(None, username="alice", password="password") is None

"""Django users connect TikTok accounts by ``connect_path``."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections
from django.db.models.signals import post_save, pre_save

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._session.connections import Connections
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.records import Records
from tiktok_oauth_middleware.django import signals
from tiktok_oauth_middleware.django.models import TikTokAccount
from tiktok_oauth_middleware.django.project import installation

from ...conftest import query_of
from ...support.package_frames import Looker

CONNECT = "/auth/tiktok/connect"


def by_header(request):
    """Return the user that a header names, instead of Django's."""
    return request.META.get("HTTP_X_USER")


SEEN = []


def looking(request):
    """Return a user, and record everything of the request that shows its address."""
    inner = getattr(request, "environ", None) or request.scope
    address = request.get_full_path(), request.build_absolute_uri()
    SEEN.append((dict(request.GET), address, repr((request.META, inner))))
    return "shop-1"


def nobody(request, login):
    """Refuse every sign-up."""
    return False


@pytest.fixture
def connecting(project):
    """Return the project with a connect path, and without the accounts app."""
    project.configure(connect_path=CONNECT)
    return project


@pytest.fixture
def both(accounts):
    """Return the project with a connect path and Django users for TikTok accounts."""
    accounts.configure(connect_path=CONNECT)
    return accounts


def signed_in(project, name="alice"):
    """Return a browser that is signed in to Django with a password."""
    user = get_user_model().objects.create_user(name, password="password")
    browser = project.browser()
    assert browser.get(f"/django-login?name={name}").text == "logged in"
    return browser, user


def connect(browser, query="", **choice):
    there = browser.post(CONNECT + query)
    assert there.status_code == 303, there.text
    callback = browser.project.fake.consent(there.headers["location"], **choice)
    return browser.get(callback)


def ids(user):
    found = installation().tokens.accounts(str(user.pk))
    return [account.open_id for account in found]


def test_connect(connecting):
    """A user who is signed in to Django connects an account, under the user's key."""
    browser, user = signed_in(connecting)
    assert connect(browser, "?next=/who").headers["location"] == "/who"
    person = connecting.fake.people[0]
    assert ids(user) == [person.open_id]
    assert browser.get("/who").json()["open_id"] is None
    assert installation().tokens.get(person.open_id).access_token


def test_anonymous(connecting):
    """A user who is not signed in to Django gets a page that says so."""
    assert connecting.browser().post(CONNECT).status_code == 401


def test_a_user_who_was_deactivated(both):
    """A user who is gone without a signal is not signed in, and connects nothing."""
    browser = both.browser()
    browser.log_in()
    get_user_model().objects.update(is_active=False)  # which sends no signal
    assert browser.post(CONNECT).status_code == 401


def test_another_site(connecting):
    """A page of another site begins no login."""
    browser, _ = signed_in(connecting)
    evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert browser.post(CONNECT, headers=evil).status_code == 403
    assert browser.get(CONNECT).status_code == 200


@pytest.mark.parametrize("url", ["/django-logout", "/django-logout-async"])
def test_signed_out_in_between(connecting, url):
    """If the user logs out of Django in between, nothing is connected."""
    browser, user = signed_in(connecting)
    there = browser.post(CONNECT).headers["location"]
    browser.get(url)
    response = browser.get(connecting.fake.consent(there))
    assert response.status_code == 403
    assert ids(user) == []


def test_another_user_in_between(connecting):
    """If another user logs in in between, nothing is connected to either user."""
    browser, user = signed_in(connecting)
    there = browser.post(CONNECT).headers["location"]
    _, other = signed_in(connecting, "bob")
    browser.get("/django-login?name=bob")
    assert browser.get(connecting.fake.consent(there)).status_code == 403
    assert ids(user) == ids(other) == []


def test_taken(connecting):
    """An account of another user is refused."""
    alice, user = signed_in(connecting)
    bob, other = signed_in(connecting, "bob")
    connect(alice)
    assert connect(bob).status_code == 409
    assert (len(ids(user)), len(ids(other))) == (1, 0)


def test_option(connecting):
    """``TIKTOK_OAUTH_OPTIONS["current_user"]`` replaces Django's user."""
    fake = connecting.fake
    connecting.set(
        TIKTOK_OAUTH_OPTIONS={
            "transport": fake.transport,
            "clock": fake.clock,
            "current_user": f"{__name__}.by_header",
        }
    )
    browser = connecting.browser()
    headers = {"x-user": "shop-1"}
    there = browser.post(CONNECT, headers=headers).headers["location"]
    assert browser.get(fake.consent(there), headers=headers).status_code == 303
    assert len(installation().tokens.accounts("shop-1")) == 1


def test_no_code_inside(connecting):
    """``current_user`` is given neither the code nor the state, and no query."""
    SEEN.clear()
    fake = connecting.fake
    connecting.set(
        TIKTOK_OAUTH_OPTIONS={
            "transport": fake.transport,
            "clock": fake.clock,
            "current_user": f"{__name__}.looking",
        }
    )
    browser = connecting.browser()
    callback = fake.consent(browser.post(CONNECT).headers["location"])
    sent = query_of(callback)
    assert browser.get(callback).status_code == 303
    assert len(SEEN) == 2
    for query, address, inside in SEEN:
        assert query == {}
        assert not any("?" in text for text in address)
        assert sent["code"] not in inside
        assert sent["state"] not in inside


def test_deleted_user(connecting):
    """The accounts of a user who is deleted are disconnected."""
    browser, user = signed_in(connecting)
    connect(browser)
    user_id = str(user.pk)
    user.delete()
    assert installation().tokens.accounts(user_id) == []
    assert installation().tokens.users() == []
    assert connecting.fake.count("revoke") == 1


class TestWithAccounts:
    """With `TikTokBackend` the table of accounts and the connections agree."""

    def test_row(self, both):
        """The account gets a row, and the user can log in with it afterwards."""
        sent = []

        def receive(sender, **given):
            sent.append(given)

        signals.connected.connect(receive)
        try:
            browser, user = signed_in(both)
            there = browser.post(f"{CONNECT}?next=/user").headers["location"]
            assert browser.get(both.fake.consent(there)).status_code == 303
        finally:
            signals.connected.disconnect(receive)
        [given] = sent
        assert (given["user"], given["created"]) == (user, True)
        assert given["login"].next == "/user"
        account = TikTokAccount.objects.get()
        assert (account.user, account.open_id) == (user, ids(user)[0])
        again = both.browser()
        again.log_in()
        assert again.get("/user").json()["name"] == "alice"

    def test_receiver_has_the_tokens(self, both):
        """A receiver of ``connected`` can use the account's tokens at once."""
        got = []

        def receive(sender, account, **_):
            got.append(installation().tokens.get(account.open_id).access_token)

        signals.connected.connect(receive)
        try:
            connect(signed_in(both)[0])
        finally:
            signals.connected.disconnect(receive)
        assert len(got) == 1

    def test_receiver_that_fails(self, both, caplog):
        """If a receiver raises, Django logs it and the row stays."""

        def receive(sender, **_):
            message = "broken"
            raise ValueError(message)

        signals.connected.connect(receive)
        try:
            browser, user = signed_in(both)
            assert connect(browser).status_code == 303
        finally:
            signals.connected.disconnect(receive)
        assert ids(user) == [TikTokAccount.objects.get(user=user).open_id]
        assert any("receive" in record.getMessage() for record in caplog.records)

    def test_frames(self, both):
        """No calling frame of the project's receivers contains a token, before or after
        the call.
        """
        looker, secrets, handle = Looker(), [], both.fake.handle

        def listen(method, url, headers, body):
            reply = handle(method, url, headers, body)
            if "/oauth/token/" in url:
                parts = reply.body.decode().split('"')
                secrets.extend(p for p in parts if p.startswith(("act.", "rft.")))
            return reply

        def receive(sender, **_):
            looker.look("receiver")

        both.fake.handle = listen
        post_save.connect(receive, sender=TikTokAccount)
        signals.connected.connect(receive)
        try:
            connect(signed_in(both)[0])
        finally:
            post_save.disconnect(receive, sender=TikTokAccount)
            signals.connected.disconnect(receive)
        assert len(secrets) == 2
        assert looker.places
        assert looker.found(secrets) == []

    def test_database_that_fails(self, both):
        """If the table cannot be written, nothing is connected, and a page says so."""

        def fail(sender, **_):
            raise DatabaseError

        browser, user = signed_in(both)
        there = browser.post(CONNECT).headers["location"]
        pre_save.connect(fail, sender=TikTokAccount)
        try:
            response = browser.get(both.fake.consent(there))
        finally:
            pre_save.disconnect(fail, sender=TikTokAccount)
        assert response.status_code == 500
        assert "Nothing was connected" in response.text
        assert ids(user) == []
        assert not TikTokAccount.objects.exists()

    @pytest.mark.parametrize("cause", ["full", "outage"])
    def test_not_connected_after_all(self, both, monkeypatch, cause):
        """An account that could not be connected has no row, and signs no user in."""
        browser, user = signed_in(both)
        there = browser.post(CONNECT).headers["location"]

        async def fail(*args, **options):
            if cause == "outage":
                message = "the store is down"
                raise StoreError(message)
            return False

        monkeypatch.setattr(Connections, "_list", fail)
        response = browser.get(both.fake.consent(there))
        assert response.status_code == {"full": 409, "outage": 503}[cause]
        assert not TikTokAccount.objects.exists()
        again = both.browser()
        again.log_in()
        assert again.get("/user").json()["name"] != "alice"

    @pytest.mark.parametrize("store", ["works", "fails"])
    def test_access_that_ended_meanwhile(self, both, monkeypatch, store):
        """The row is deleted if the account's record is, and kept otherwise."""
        browser, user = signed_in(both)
        there = browser.post(CONNECT).headers["location"]
        service = installation().core(is_async=False).service
        open_id = both.fake.people[0].open_id
        name = record_id(service.settings.client_key, open_id)
        handle = both.fake.handle

        def listen(method, url, headers, body):
            if "/user/info/" in url:  # after the exchange, before the record is written
                run(service.endings.note(name))
                both.fake.provider.end_tokens(open_id)
                connections.close_all()  # Django does not close those of this thread
            return handle(method, url, headers, body)

        async def fail(*args):
            message = "the store is down"
            raise StoreError(message)

        monkeypatch.setattr(both.fake, "handle", listen)
        with monkeypatch.context() as patched:
            if store == "fails":
                patched.setattr(Records, "delete", fail)
            response = browser.get(both.fake.consent(there))
        has_row = TikTokAccount.objects.filter(open_id=open_id).exists()
        connected = [open_id] if store == "fails" else []
        assert response.status_code == {"works": 400, "fails": 503}[store]
        assert (has_row, ids(user)) == (bool(connected), connected)
        for account in TikTokAccount.objects.all():
            account.delete()
        assert ids(user) == []

    def test_row_from_before_stays(self, both, monkeypatch):
        """An existing row is kept if the account could not be connected again."""
        browser, user = signed_in(both)
        assert connect(browser).status_code == 303
        there = browser.post(CONNECT).headers["location"]

        async def fail(*args, **options):
            message = "the store is down"
            raise StoreError(message)

        monkeypatch.setattr(Connections, "_list", fail)
        assert browser.get(both.fake.consent(there)).status_code == 503
        assert TikTokAccount.objects.get().user == user

    def test_refused_sign_up_with_a_connected_account(self, both):
        """A refused login does not end another user's connection."""
        fake = both.fake
        both.set(
            TIKTOK_OAUTH_OPTIONS={
                "transport": fake.transport,
                "clock": fake.clock,
                "current_user": f"{__name__}.by_header",
                "may_sign_up": f"{__name__}.nobody",
            }
        )
        headers = {"x-user": "shop-1"}
        browser = both.browser()
        there = browser.post(CONNECT, headers=headers).headers["location"]
        assert browser.get(fake.consent(there), headers=headers).status_code == 303
        assert both.browser().log_in().status_code == 403
        [account] = installation().tokens.accounts("shop-1")
        assert installation().tokens.get(account.open_id).access_token
        assert fake.count("revoke") == 0

    def test_account_of_another_user(self, both):
        """An account with which another user logs in is refused, and stays that
        user's.
        """
        owner = both.browser()
        owner.log_in()
        browser, user = signed_in(both)
        assert connect(browser).status_code == 409
        assert ids(user) == []
        assert TikTokAccount.objects.get().user != user
        assert owner.get("/user").json()["authenticated"]

    def test_account_of_another_user_without_a_row(self, both):
        """An account that the store says is another user's gets no row for a moment."""
        written = []

        def note(sender, **_):
            written.append(sender)

        owner_browser, owner = signed_in(both)
        connect(owner_browser)
        rows = TikTokAccount.objects.all()
        rows._raw_delete(rows.db)  # no signal, so nothing is disconnected
        browser, user = signed_in(both, "bob")
        pre_save.connect(note, sender=TikTokAccount)
        try:
            assert connect(browser).status_code == 409
        finally:
            pre_save.disconnect(note, sender=TikTokAccount)
        assert written == []
        assert (len(ids(owner)), ids(user)) == (1, [])

    def test_session_of_a_tiktok_login(self, both):
        """A user who logged in with TikTok can connect a further account."""
        first, second = both.fake.people[:2]
        browser = both.browser()
        browser.log_in(first)
        user = TikTokAccount.objects.get().user
        assert connect(browser, person=second).status_code == 303
        assert ids(user) == [second.open_id]
        assert user.tiktok_accounts.count() == 2
        assert browser.get("/who").json()["open_id"] == first.open_id

    def test_tiktok_session_that_ended(self, both):
        """In a Django session whose TikTok login has ended, nothing is connected."""
        first, second = both.fake.people[:2]
        browser = both.browser()
        browser.log_in(first)
        there = browser.post(CONNECT).headers["location"]
        installation().tokens.forget(first.open_id)
        both.fake.advance(2)
        response = browser.get(both.fake.consent(there, person=second))
        assert response.status_code == 403
        assert not TikTokAccount.objects.filter(open_id=second.open_id).exists()

    def test_deleted_user(self, both):
        """Deleting a user disconnects each account once."""
        browser, user = signed_in(both)
        connect(browser)
        user.delete()
        assert installation().tokens.users() == []
        assert both.fake.count("revoke") == 1

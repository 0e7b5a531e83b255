"""A project whose database router reads from a replica that lags behind."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from tiktok_oauth_middleware.django import signals
from tiktok_oauth_middleware.django.models import TikTokAccount

from .conftest import django_browser


class Lagging:
    """Reads accounts from a database to which no row has been copied yet."""

    def db_for_read(self, model, **_):
        return "other" if model is TikTokAccount else None

    def db_for_write(self, _model, **_):
        return "default"

    def allow_relation(self, *_, **__):
        return True


@pytest.fixture
def lagging(accounts):
    accounts.set(DATABASE_ROUTERS=[Lagging()])
    return accounts


def test_logins(lagging):
    """A first login and those after it sign the same user in."""
    for _ in range(2):
        browser = lagging.browser()
        assert browser.log_in().status_code == 303
        assert browser.get("/user").json()["authenticated"]
    assert get_user_model().objects.count() == 1


def test_connected_account(lagging):
    """A user's connected account is known at the next login."""
    browser, user = django_browser(lagging)
    assert browser.log_in().status_code == 303
    other = lagging.browser()
    other.log_in()
    assert other.get("/user").json()["name"] == user.username


def test_password_login_as_another_user(lagging):
    """A password login as another user ends the TikTok session."""
    get_user_model().objects.create_user("alice", password="password")
    browser = lagging.browser()
    browser.log_in()
    browser.get("/django-login?name=alice")
    assert browser.get("/who").json()["open_id"] is None


def test_signal_of_a_disconnect(lagging):
    """The signal has the account and its user, and the account the new time."""
    found = []

    def note(account, user, **_):
        found.append((account.user_id, user.pk, account.disconnected_at is not None))

    signals.disconnected.connect(note)
    browser = lagging.browser()
    browser.log_in()
    browser.post("/auth/tiktok/disconnect")
    signals.disconnected.disconnect(note)
    key = get_user_model().objects.get().pk
    assert found == [(key, key, True)]

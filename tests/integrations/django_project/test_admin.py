"""The admin shows accounts with scopes and expiry, never a token, and can end them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.utils import timezone
from django.utils.formats import localize
from django.utils.translation import override, pgettext

from tiktok_oauth_middleware.django import installation
from tiktok_oauth_middleware.django.models import TikTokAccount

LIST = "/admin/tiktok_oauth/tiktokaccount/"


@pytest.fixture
def admin(accounts):
    """Return Django's test client, signed in as an administrator."""
    get_user_model().objects.create_superuser("root", password="password")
    client = Client(headers={"host": "app.example.com"})
    client.login(username="root", password="password")
    accounts.browser().log_in()
    return client


def act(admin, action):
    pk = TikTokAccount.objects.get().pk
    data = {"action": action, "_selected_action": [pk]}
    return admin.post(LIST, data, secure=True, follow=True)


def test_pages(accounts, admin):
    """The list and the page of an account show scopes and expiries, and no token."""
    person = accounts.fake.people[0]
    token = installation().tokens.get(person.open_id).access_token
    account = TikTokAccount.objects.get()
    for url in (LIST, f"{LIST}{account.pk}/change/"):
        page = admin.get(url, secure=True)
        assert page.status_code == 200
        text = page.content.decode()
        assert person.open_id in text
        assert "user.info.basic, video.list" in text
        assert str(account.user) in text
        assert token not in text
        assert "rft." not in text


def test_open_id_from_right_to_left(accounts, admin):
    """An open_id that begins with a hyphen reads the same in Arabic."""
    account = TikTokAccount.objects.get()
    account.open_id = "-000abc<"
    account.save()
    for url in (LIST, f"{LIST}{account.pk}/change/"):
        text = admin.get(url, secure=True).content.decode()
        assert '<bdi dir="ltr">-000abc&lt;</bdi>' in text


def test_dates(accounts, admin):
    """Both pages show expiry in Django's format of dates, and a missing one as
    a dash.
    """
    account = TikTokAccount.objects.get()
    pages = (LIST, f"{LIST}{account.pk}/change/")
    ends = installation().stored_user(account.open_id).token_expires_at
    moment = timezone.localtime(datetime.fromtimestamp(ends, UTC))
    for url in pages:
        with override("de"):
            text = admin.get(url, secure=True).content.decode()
            assert localize(moment) in text
    installation().tokens.disconnect(account.open_id)
    for url in pages:
        assert "None" not in admin.get(url, secure=True).content.decode()


def test_refresh(accounts, admin):
    """The action refresh gets a new token from TikTok for each account."""
    open_id = accounts.fake.people[0].open_id
    before = installation().tokens.get(open_id).access_token
    page = act(admin, "refresh_tokens")
    assert "Refreshed: 1" in page.content.decode()
    assert installation().tokens.get(open_id).access_token != before


def test_disconnect(accounts, admin):
    """The action disconnect revokes at TikTok and keeps the account's user."""
    assert "Disconnected: 1" in act(admin, "disconnect").content.decode()
    assert accounts.fake.count("revoke") == 1
    assert TikTokAccount.objects.get().disconnected_at is not None
    assert "TikTok" in act(admin, "refresh_tokens").content.decode()


def test_failed_refresh_is_shown(accounts, admin):
    """A failed refresh is shown by its stable code, without text of TikTok's."""
    accounts.fake.fail("token", status=503)
    assert "tiktok_unavailable" in act(admin, "refresh_tokens").content.decode()


def test_accounts_are_not_added_or_changed(admin):
    """Accounts cannot be added or edited in the admin."""
    assert admin.get(f"{LIST}add/", secure=True).status_code == 403
    account = TikTokAccount.objects.get()
    url = f"{LIST}{account.pk}/change/"
    admin.post(url, {"open_id": "changed", "user": 1}, secure=True)
    assert TikTokAccount.objects.get().open_id == account.open_id


def test_page_of_an_account_has_no_button_to_save(admin):
    """The page has no button that saves, since it has no field to edit."""
    account = TikTokAccount.objects.get()
    page = admin.get(f"{LIST}{account.pk}/change/", secure=True).content.decode()
    assert 'name="_save"' not in page
    assert 'name="_continue"' not in page
    assert "Close" in page


def test_deleting_a_user_in_the_admin(accounts, admin):
    """A user deleted in the admin is disconnected at TikTok."""
    user = TikTokAccount.objects.get().user
    url = f"/admin/auth/user/{user.pk}/delete/"
    page = admin.post(url, {"post": "yes"}, secure=True)
    assert page.status_code == 302
    assert accounts.fake.count("revoke") == 1


def test_a_failing_store(accounts, admin):
    """If the store fails, the list still shows the accounts."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tiktok_oauth_store RENAME TO away")
    try:
        page = admin.get(LIST, secure=True)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO tiktok_oauth_store")
    assert accounts.fake.people[0].open_id in page.content.decode()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "de",
            ["TikTok-Konten", "Berechtigungen", "Token bis", "letzte Anmeldung"],
        ),
        (
            "pt",
            ["Contas do TikTok", "Permissões", "O token vence em", "último login em"],
        ),
        (
            "pt-br",
            ["Contas do TikTok", "Permissões", "O token vence em", "último login em"],
        ),
        ("ar", ["حسابات TikTok", "الأذونات", "انتهاء الرمز المميز", "آخر تسجيل دخول"]),
        ("zh-hant", ["TikTok 帳號", "權限", "權杖到期時間", "上次登入時間"]),
        ("en-gb", ["TikTok accounts", "Scopes", "Token ends", "Last login at"]),
        ("sv", ["TikTok accounts", "Scopes", "Token ends", "Last login at"]),
    ],
)
def test_language(accounts, admin, language, words):
    """Labels are in the active language, or in English without a translation."""
    page = f"{LIST}{TikTokAccount.objects.get().pk}/change/"
    with override(language):
        text = "".join(
            admin.get(url, secure=True).content.decode() for url in ("/admin/", page)
        )
    assert [each for each in words if each.lower() not in text.lower()] == []


def test_actions_in_a_language(accounts, admin):
    """Actions and their messages are in the active language."""
    with override("de"):
        text = act(admin, "refresh_tokens").content.decode()
    assert "Token jetzt erneuern" in text
    assert "Erneuert: 1" in text


def test_project_translates_first(accounts, tmp_path):
    """A project's own translation of a label comes before the package's."""
    mofile = pytest.importorskip(
        "babel.messages.mofile", reason="babel is not installed"
    )
    catalog = mofile.Catalog(charset="utf-8", fuzzy=False)
    catalog.add("sessions", "Geräte", context="TikTok")
    path = tmp_path / "de" / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        mofile.write_mo(file, catalog)
    with override_settings(LOCALE_PATHS=[tmp_path]), override("de"):
        assert pgettext("TikTok", "sessions") == "Geräte"
        assert pgettext("TikTok", "scopes") == "Berechtigungen"

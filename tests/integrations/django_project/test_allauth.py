"""A project that used django-allauth keeps accounts and tokens, matched by open_id."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

pytest.importorskip("requests", reason="django-allauth[socialaccount] is not installed")
pytest.importorskip("allauth", reason="django-allauth is not installed")

from django.contrib.auth import get_user_model
from django.core.management import call_command

from tiktok_oauth_middleware.django import installation
from tiktok_oauth_middleware.django.models import TikTokAccount
from tiktok_oauth_middleware.errors import NotSignedIn


@pytest.fixture
def interface():
    """Return one interface: the command does not depend on it."""
    return "wsgi"


@pytest.fixture
def site(accounts):
    accounts.configure(keep_grants=True)
    return accounts


def person_of_allauth(
    site, open_id, *, client_id=None, lasts=3600, refresh="rft", **data
):
    """Return a user with a TikTok account as django-allauth keeps it."""
    from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken

    user = get_user_model().objects.create_user(f"user{open_id}")
    account = SocialAccount.objects.create(
        user=user,
        provider="tiktok",
        uid=open_id,
        extra_data={"open_id": open_id, "display_name": "Some Body", **data},
    )
    app = SocialApp.objects.create(
        provider="tiktok",
        name="TikTok",
        client_id=client_id or site.options["client_key"],
        secret="kept by allauth",
    )
    SocialToken.objects.create(
        app=app,
        account=account,
        token=f"act.{open_id}",
        token_secret=refresh and f"{refresh}.{open_id}",
        expires_at=datetime.fromtimestamp(site.fake.clock() + lasts, UTC),
    )
    return user


def take_over(*options):
    out, err = io.StringIO(), io.StringIO()
    call_command("tiktok_from_allauth", *options, stdout=out, stderr=err)
    return out.getvalue() + err.getvalue()


def test_accounts_and_tokens(site):
    """Each account is the same user's here, and its token is there for jobs."""
    user = person_of_allauth(site, "-000a")
    text = take_over()
    assert "1 accounts taken over" in text
    assert "1 tokens taken over" in text
    assert "act." not in text
    account = user.tiktok_accounts.get()
    assert (account.open_id, account.display_name) == ("-000a", "Some Body")
    token = installation().tokens.get("-000a")
    assert token.access_token == "act.-000a"
    assert token.scopes == {"user.info.basic"}


def test_the_user_logs_in_again_as_themselves(site):
    """The next login finds the user that django-allauth made."""
    person = site.fake.people[0]
    user = person_of_allauth(site, person.open_id)
    take_over()
    browser = site.browser()
    browser.log_in()
    assert browser.get("/user").json()["name"] == user.username


def test_twice_changes_nothing(site):
    """A second run takes nothing over, and overwrites no newer token."""
    person_of_allauth(site, "-000a")
    take_over()
    text = take_over()
    assert "1 accounts taken over before" in text
    assert "there is a newer one here" in text
    assert TikTokAccount.objects.count() == 1


def test_compared_byte_for_byte(site):
    """Accounts whose open_ids differ in case are two, each of its own user."""
    first = person_of_allauth(site, "-000Ab")
    second = person_of_allauth(site, "-000aB")
    take_over()
    assert first.tiktok_accounts.get().open_id == "-000Ab"
    assert second.tiktok_accounts.get().open_id == "-000aB"


def test_rows_left_unchanged(site):
    """Another user's account, another app's token and a wrong uid are left and named."""
    person_of_allauth(site, "-000a")
    TikTokAccount.objects.create(
        user=get_user_model().objects.create_user("other"), open_id="-000a"
    )
    person_of_allauth(site, "-000b", client_id="another app")
    person_of_allauth(site, "-000c", open_id_="", display_name=1)
    from allauth.socialaccount.models import SocialAccount

    SocialAccount.objects.filter(uid="-000c").update(uid="changed")
    text = take_over()
    assert "belongs to another user" in text
    assert "its uid is not its open_id" in text
    assert "1 accounts without a token of this client_key" in text
    assert TikTokAccount.objects.get(open_id="-000a").user.username == "other"
    with pytest.raises(NotSignedIn):
        installation().tokens.get("-000b")


def test_an_expired_token(site):
    """An expired token is taken over if it can be renewed, and left if not."""
    person_of_allauth(site, "-000a", lasts=-60)
    person_of_allauth(site, "-000b", lasts=-60, refresh="")
    text = take_over()
    assert "1 tokens taken over" in text
    assert "1 tokens left: expired" in text
    assert installation().stored_user("-000a") is not None


def test_a_dry_run(site):
    """A dry run says the same and changes nothing."""
    person_of_allauth(site, "-000a")
    assert "1 accounts taken over" in take_over("--dry-run")
    assert not TikTokAccount.objects.exists()
    assert installation().stored_user("-000a") is None


def test_allauths_copies_are_deleted_on_request(site):
    """With --delete-tokens no plain token stays in allauth's table."""
    from allauth.socialaccount.models import SocialToken

    person_of_allauth(site, "-000a")
    take_over()
    assert SocialToken.objects.count() == 1
    TikTokAccount.objects.all().delete()
    installation().tokens.forget("-000a")
    take_over("--delete-tokens")
    assert SocialToken.objects.count() == 0


def test_without_keep_grants(accounts):
    """Without keep_grants accounts are taken over, and the tokens come with a login."""
    person_of_allauth(accounts, "-000a")
    text = take_over()
    assert "1 accounts taken over" in text
    assert "keep_grants=False" in text

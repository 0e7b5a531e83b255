"""`on_login` and carried data in a Django project, under WSGI and ASGI."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model

from tiktok_oauth_middleware import ConfigurationError, LoginRefused
from tiktok_oauth_middleware.django.models import StoredRow, TikTokAccount

LOGINS = []


def decide(login):
    """Refuse a login without an invitation; ask the database, as a project would."""
    get_user_model().objects.count()
    LOGINS.append(login)
    if "invite" not in login.carried:
        raise LoginRefused("Only people with an invitation can sign up.")


async def adecide(login):
    """Do the same in an event loop."""
    await get_user_model().objects.acount()
    LOGINS.append(login)
    return "/terms"


@pytest.fixture(autouse=True)
def no_logins():
    LOGINS.clear()


def with_options(project, **options):
    """Give the project further options."""
    given = {**settings.TIKTOK_OAUTH_OPTIONS, **options}
    project.set(TIKTOK_OAUTH_OPTIONS=given)
    return project


@pytest.mark.parametrize("on_login", [decide, f"{__name__}.decide"])
def test_refuses(accounts, on_login):
    """A refused login makes no user, no account and no record."""
    browser = with_options(accounts, on_login=on_login).browser()
    page = browser.log_in()
    assert page.status_code == 403
    assert "Only people with an invitation can sign up." in page.text
    assert not get_user_model().objects.exists()
    assert not TikTokAccount.objects.exists()
    assert not StoredRow.objects.filter(key__contains=":grant:").exists()
    assert browser.get("/who").json()["open_id"] is None


@pytest.mark.parametrize("url", ["/invitation/k9x2", "/invitation-async/k9x2"])
def test_carried(accounts, url):
    """Data that a login link carries reaches `on_login` and the accounts' hooks."""
    asked = []

    def may_sign_up(request, login):
        asked.append(login)
        return login.carried["invite"] == "k9x2"

    with_options(accounts, on_login=decide, may_sign_up=may_sign_up)
    browser = accounts.browser()
    answer = browser.get(url)
    assert answer.headers["cache-control"] == "no-store"
    assert "__Host-tiktok-carry=" in answer.headers["set-cookie"]
    assert "k9x2" not in answer.text
    landed = browser.log_in(login_path=answer.text)
    assert landed.headers["location"] == "/member"
    for login in (LOGINS[0], asked[0]):
        assert login.carried == {"invite": "k9x2"}
        assert login.next == "/member"
        assert login.is_new is True
        assert login.open_id == accounts.fake.people[0].open_id
    assert get_user_model().objects.count() == 1


def test_foreign_link(accounts):
    """A link that was made for another browser begins no login."""
    with_options(accounts, on_login=decide)
    link = accounts.browser().get("/invitation/k9x2").text
    answer = accounts.browser().get(link)
    assert answer.status_code == 400
    assert "Please open that link again" in answer.text


@pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
def test_stream(project):
    """A stream that has begun carries nothing."""
    with_options(project, on_login=decide)
    answer = project.browser().get("/invitation-in-a-stream")
    assert "this response has begun" in answer.text


def test_fails(accounts, caplog):
    """An exception of the project refuses the login, with its traceback in the log."""

    def on_login(login):
        raise LookupError(login.open_id)

    browser = with_options(accounts, on_login=on_login).browser()
    assert browser.log_in().status_code == 500
    assert not get_user_model().objects.exists()
    [record] = [r for r in caplog.records if r.exc_info]
    assert record.exc_info[0] is LookupError


@pytest.mark.parametrize("interface", ["asgi"], indirect=True)
def test_async(accounts):
    """Under ASGI it may be an ``async def``."""
    browser = with_options(accounts, on_login=adecide).browser()
    assert browser.log_in().headers["location"] == "/terms"
    assert len(LOGINS) == 1


@pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
def test_async_under_wsgi(project):
    """Under WSGI an ``async def`` is refused when the middleware is built."""
    with_options(project, on_login=adecide)
    with pytest.raises(ConfigurationError, match="must be a plain function"):
        project.app()


def test_jobs_beside_async(accounts):
    """Jobs and commands of a project with an ``async def`` still work."""
    from tiktok_oauth_middleware.django import installation

    with_options(accounts, on_login=adecide)
    assert installation().tokens.forget("nobody") is False


@pytest.mark.parametrize(
    "given", ["no.such", 1, lambda: None, lambda request, login: None]
)
def test_wrong(project, given):
    """A value that cannot be called with a login is refused."""
    with_options(project, on_login=given)
    with pytest.raises(ConfigurationError, match="on_login"):
        project.app()

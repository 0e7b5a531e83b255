"""The example's project, whose members sign in with a password."""

from __future__ import annotations

from examples.django_app import settings as example

globals().update(vars(example))
MIDDLEWARE = [
    *example.MIDDLEWARE,
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
]
# Each login with a password would take 0.2 s.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/accounts"
ROOT_URLCONF = "tests.support.members_project"

PAGE = """<!doctype html><title>Members</title>
<p>{name} has {count} accounts, TikTok session of {open_id}</p>
<a href="{login}">Connect TikTok</a>
<a href="/member">Members with TikTok</a>
"""


def accounts(request: object) -> object:
    """Show the TikTok accounts of the user who is signed in, and links to a login."""
    from django.http import HttpResponse

    user, tiktok = request.user, request.tiktok  # type: ignore[attr-defined]
    return HttpResponse(
        PAGE.format(
            name=user.get_username(),
            count=user.tiktok_accounts.count(),
            open_id=tiktok.open_id,
            login=tiktok.login_url("/accounts"),
        )
    )


def forget(_request: object) -> object:
    """Delete every TikTok account without calling TikTok."""
    from django.http import HttpResponse

    from tiktok_oauth_middleware.django.models import StoredRow, TikTokAccount

    rows = TikTokAccount.objects.all()
    rows._raw_delete(rows.db)
    StoredRow.objects.all().delete()
    return HttpResponse("forgotten")


def __getattr__(name: str) -> object:
    """Return the URL patterns, which can be imported only with settings."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.contrib.auth.views import LoginView
    from django.http import HttpResponse
    from django.urls import path

    from examples.django_app.urls import urlpatterns
    from tiktok_oauth_middleware.django import requires_tiktok

    member = requires_tiktok(lambda request: HttpResponse("for members"))
    login = LoginView.as_view(template_name="admin/login.html")
    return [
        path("accounts", accounts),
        path("forget", forget),
        path("login", login),
        path("member", member),
        *urlpatterns,
    ]

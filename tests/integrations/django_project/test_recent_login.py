"""Guards of Django, REST framework and Ninja that require a recent login."""

from __future__ import annotations

import pytest

pytest.importorskip("django", reason="django is not installed")
pytest.importorskip("rest_framework", reason="djangorestframework is not installed")
pytest.importorskip("pydantic", reason="django-ninja is not installed")

from django.http import HttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from tiktok_oauth_middleware.django import TikTokRequiredMixin, requires_tiktok

from ...conftest import LOGIN, Clock

BAD = [
    (True, TypeError),
    ("300", TypeError),
    (-1, ValueError),
    (float("nan"), ValueError),
]


@requires_tiktok(max_age=60)
def plain(request):
    return HttpResponse("passed")


@requires_tiktok("video.list", max_age=60)
async def asynchronous(request):
    return HttpResponse("passed")


class Mixed(TikTokRequiredMixin, View):
    login_max_age = 60

    def get(self, request):
        return HttpResponse("passed")


class MixedAsync(Mixed):
    required_scopes = ("video.list",)

    async def get(self, request):
        return HttpResponse("passed")


class Decorated(View):
    @method_decorator(requires_tiktok(max_age=60))
    def get(self, request):
        return HttpResponse("passed")


def patterns():
    from ninja import NinjaAPI
    from rest_framework.decorators import (
        api_view,
        authentication_classes,
        permission_classes,
        renderer_classes,
    )
    from rest_framework.renderers import JSONRenderer
    from rest_framework.response import Response

    from tiktok_oauth_middleware.django.ninja import TikTokSession
    from tiktok_oauth_middleware.django.rest_framework import (
        TikTokAuthentication,
        TikTokPermission,
    )

    @api_view(["GET"])
    @authentication_classes([TikTokAuthentication])
    @permission_classes([TikTokPermission.requiring(max_age=60)])
    @renderer_classes([JSONRenderer])
    def drf(request):
        return Response("passed")

    api = NinjaAPI(auth=TikTokSession(max_age=60), urls_namespace="recent-login")

    @api.get("/x")
    def ninja(request):
        return "passed"

    return [
        path("plain", plain),
        path("async", asynchronous),
        path("mixin", Mixed.as_view()),
        path("mixin-async", MixedAsync.as_view()),
        path("method", Decorated.as_view()),
        path("ruled/pay", lambda request: HttpResponse("passed")),
        path("drf", drf),
        path("ninja/", api.urls),
    ]


urlpatterns = patterns()
PATHS = [
    "/plain",
    "/async",
    "/mixin",
    "/mixin-async",
    "/method",
    "/ruled/pay",
    "/drf",
    "/ninja/x",
]


@pytest.fixture
def moving(project):
    """Return a project whose clock the test moves."""
    clock = Clock(project.fake.clock())
    project.fake.clock = project.fake.provider.clock = clock
    project.set(
        ROOT_URLCONF="tests.integrations.django_project.test_recent_login",
        TIKTOK_OAUTH_OPTIONS={"transport": project.fake.transport, "clock": clock},
    )
    project.configure(protect_recent=["/ruled"], protect_max_age=60)
    return project, clock


@pytest.mark.parametrize("url", PATHS)
def test_guards(moving, url):
    """Every form of the guard lets pass a recent login, and sends an older one once."""
    project, clock = moving
    browser = project.browser()
    assert browser.api(url).json()["error"] == "login_required"
    browser.log_in()
    assert "passed" in browser.api(url).text
    clock.advance(61)
    refused = browser.api(url)
    assert refused.status_code == 401
    assert refused.json()["error"] == "reauthentication_required"
    assert refused.json()["max_age"] == 60
    again = f"{LOGIN}?next={url}&choose_account=1"
    assert browser.get(url).headers["location"] == again
    assert browser.log_in(login_path=again).headers["location"] == url
    assert "passed" in browser.api(url).text


def test_users(moving, accounts):
    """The Django session of the new login is the user's own, and the guard passes."""
    project, clock = moving
    browser = project.browser()
    browser.log_in()
    clock.advance(61)
    again = f"{LOGIN}?next=/plain&choose_account=1"
    browser.log_in(login_path=again)
    assert "passed" in browser.get("/plain").text


def test_sessions_of_the_project(moving):
    """The project's tokens list its sessions, and end them in this process at once."""
    from tiktok_oauth_middleware.django import installation

    project, _ = moving
    here, there = project.browser(), project.browser()
    here.log_in()
    there.log_in()
    me = project.fake.people[0].open_id
    tokens = installation().tokens
    [first, second] = tokens.sessions(me)
    assert tokens.end_session(me, first.session_id)
    assert [s.session_id for s in tokens.sessions(me)] == [second.session_id]
    statuses = sorted(b.api("/plain").status_code for b in (here, there))
    assert statuses == [200, 401]


@pytest.mark.parametrize(("max_age", "error"), BAD, ids=repr)
def test_bad_age(max_age, error):
    """A value that is no age is refused when the guard is created."""
    from tiktok_oauth_middleware.django.ninja import TikTokSession
    from tiktok_oauth_middleware.django.rest_framework import TikTokPermission

    for guard in (requires_tiktok, TikTokSession, TikTokPermission.requiring):
        with pytest.raises(error, match="max_age must be a (finite )?number"):
            guard(max_age=max_age)
    with pytest.raises(error, match="max_age must be a (finite )?number"):
        type("Bad", (TikTokRequiredMixin, View), {"login_max_age": max_age})

"""Django, wrapped where `asgi.py` and `wsgi.py` make the application."""

from __future__ import annotations

import pytest

pytest.importorskip("django", reason="django is not installed")

import django
from django.http import HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import path

from ..support.django_once import configure
from .contract import ASGIContract, WSGIContract, who


def auth_of(request):
    """Return the request's TikTokAuth, from the environ or the scope."""
    if hasattr(request, "scope"):
        return request.scope["tiktok"]
    return request.environ["tiktok.auth"]


def show(request):
    return JsonResponse(who(auth_of(request)))


def members(request):
    return HttpResponse(auth_of(request).open_id)


def echo(request):
    return HttpResponse(request.body)


async def show_async(request):
    return JsonResponse(who(auth_of(request)))


class Urls:
    urlpatterns = [
        path("who", show),
        path("who-async", show_async),
        path("members/list", members),
        path("echo", echo),
    ]


@pytest.fixture(scope="module", autouse=True)
def configured():
    configure()
    with override_settings(ROOT_URLCONF=Urls):
        yield


class TestWSGI(WSGIContract):
    """`get_wsgi_application()`, wrapped."""

    @pytest.fixture
    def app(self):
        from django.core.wsgi import get_wsgi_application

        return get_wsgi_application()

    def test_no_remote_user(self, client, fake):
        """Django's own `REMOTE_USER` stays empty: no accounts are made from it."""
        seen = []

        def spy(request):
            seen.append(request.META.get("REMOTE_USER"))
            return HttpResponse()

        Urls.urlpatterns.append(path("spy", spy))
        django.urls.clear_url_caches()
        try:
            self.log_in(client, fake)
            assert client.get("/spy").status_code == 200
        finally:
            Urls.urlpatterns.pop()
            django.urls.clear_url_caches()
        assert seen == [None]


class TestASGI(ASGIContract):
    """`get_asgi_application()`, wrapped; it does not support lifespan."""

    has_lifespan = False

    @pytest.fixture
    def app(self):
        from django.core.asgi import get_asgi_application

        return get_asgi_application()

    def test_async_view(self, client, fake):
        """An async view sees who is signed in, too."""
        self.log_in(client, fake)
        assert client.get("/who-async").json()["open_id"] == fake.people[0].open_id

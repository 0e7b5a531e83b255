"""Django's own caches inside the middleware: no user gets another's page."""

from __future__ import annotations

import pytest

pytest.importorskip("django", reason="django is not installed")

import httpx2
from django.core.cache import cache
from django.http import HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import override_settings
from django.urls import path
from django.views.decorators.cache import cache_control, cache_page
from django.views.decorators.vary import vary_on_cookie

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._web.request_auth import auth_in
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import ORIGIN, make_settings
from ..support.asgi_client import AppClient
from ..support.django_once import configure

configure()  # cache_page asks the settings where it is applied

UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
OURS = "tiktok_oauth_middleware.django.TikTokCacheMiddleware"
FETCH = "django.middleware.cache.FetchFromCacheMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
#: As the page on frameworks has it, and in every other order; without ours too, where
#: the middleware around Django sees Django itself.
PLACES = {
    "as documented": [UPDATE, OURS, COMMON, FETCH],
    "first": [OURS, UPDATE, COMMON, FETCH],
    "last": [UPDATE, COMMON, FETCH, OURS],
    "not there": [UPDATE, COMMON, FETCH],
}
ran = []


def page(request):
    ran.append(request.path)
    return HttpResponse(f"for {auth_in(request).open_id}")


def public(request):
    ran.append(request.path)
    return HttpResponse("for everybody")


def rendered(request):
    template = engines["django"].from_string("for {{ auth.open_id }}")
    return TemplateResponse(request, template, {"auth": auth_in(request)})


async def page_async(request):
    return page(request)


VIEWS = {
    "page": page,
    "async": page_async,
    "rendered": rendered,
    "cached": cache_page(60)(page),
    "cached-async": cache_page(60)(page_async),
    "cached-rendered": cache_page(60)(rendered),
    "varied": cache_page(60)(vary_on_cookie(page)),
    "public": cache_control(public=True, max_age=60)(page),
    "cached-public": cache_page(60)(cache_control(public=True, max_age=60)(page)),
}


class Urls:
    urlpatterns = [
        *(path(name, view) for name, view in VIEWS.items()),
        path("all", public),
        path("all-cached", cache_page(60)(public)),
    ]


class Wrapper:
    """A wrapper that hides Django in a closure."""

    def __init__(self, app, is_wsgi):
        def call(environ, start_response):
            return app(environ, start_response)

        async def acall(scope, receive, send):
            await app(scope, receive, send)

        self.call = call if is_wsgi else acall


@pytest.fixture
def site(request, settings):
    """Return a function that rebuilds the site with a list of MIDDLEWARE."""
    templates = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
    fake = FakeTikTok.for_settings(settings)
    cache.clear()
    ran.clear()
    options = {"store": MemoryStore(), "transport": fake.transport}

    def make(middleware, interface, *, is_hidden=False):
        changed = override_settings(
            ROOT_URLCONF=Urls, MIDDLEWARE=middleware, TEMPLATES=templates
        )
        changed.enable()
        request.addfinalizer(changed.disable)
        if interface == "wsgi":
            from django.core.wsgi import get_wsgi_application

            app = get_wsgi_application()
            app = Wrapper(app, is_wsgi=True).call if is_hidden else app
            wrapped = TikTokOAuthWSGIMiddleware(app, settings, **options)
            transport = httpx2.WSGITransport(wrapped)
            return lambda: httpx2.Client(transport=transport, base_url=ORIGIN)
        from django.core.asgi import get_asgi_application

        app = get_asgi_application()
        app = Wrapper(app, is_wsgi=False).call if is_hidden else app
        wrapped = TikTokOAuthMiddleware(app, settings, **options)
        return lambda: AppClient(wrapped, base_url=ORIGIN)

    make.fake = fake
    return make


@pytest.fixture
def settings():
    return make_settings()


def visit(site, client, names):
    """Let two users and an anonymous one ask for pages.

    Each is once the first, and each asks next after each other one, and after itself:
    a, a, b, a; then b, b, c, b; then c, c, a, c.
    """
    visitors = {}
    for person in site.fake.people[:2]:
        visitors[person.open_id] = client()
        login_as(visitors[person.open_id], site.fake, person=person)
    visitors[None] = client()
    for name in names:
        for first in range(3):
            one, other, _ = [*visitors][first:] + [*visitors][:first]
            cache.clear()
            for open_id in (one, one, other, one):
                response = visitors[open_id].get(f"/{name}")
                assert response.text == f"for {open_id}", (name, one, other)
                assert "private" in response.headers["cache-control"]
                assert "Cookie" in response.headers["vary"]
                assert "public" not in response.headers["cache-control"]
    return visitors


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("place", PLACES)
def test_no_user_gets_anothers_page(site, place, interface):
    """Whatever the cache and the order, each visitor sees their own page."""
    visit(site, site(PLACES[place], interface), VIEWS)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("place", ["as documented", "first", "last"])
def test_behind_a_wrapper(site, place, interface):
    """With the middleware in MIDDLEWARE it is so behind any wrapper around Django."""
    visit(site, site(PLACES[place], interface, is_hidden=True), VIEWS)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_cache_page_alone(site, interface):
    """A project that caches only some views is safe too."""
    names = [name for name in VIEWS if name.startswith(("cached", "varied"))]
    visit(site, site([OURS, COMMON], interface), names)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("place", PLACES)
def test_pages_for_everybody_are_cached(site, place, interface):
    """A page that reads no session is made once for all, and stays public."""
    client = site(PLACES[place], interface)
    signed_in, anonymous = client(), client()
    login_as(signed_in, site.fake)
    for name in ("all", "all-cached"):
        for visitor in (signed_in, anonymous, signed_in):
            response = visitor.get(f"/{name}")
            assert response.text == "for everybody"
            assert "private" not in response.headers.get("cache-control", "")
        assert ran.count(f"/{name}") == 1


def test_without_the_middleware_around_django(settings):
    """Requests of Django's test client, which has nothing around it, pass."""
    from django.test import Client

    with override_settings(ROOT_URLCONF=Urls, MIDDLEWARE=PLACES["as documented"]):
        response = Client().get("/all", headers={"host": "app.example.com"})
    assert response.content == b"for everybody"


def test_one_request_class():
    """Wrapping twice, or a request that is watched already, makes no new class."""
    from django.core.handlers.wsgi import WSGIRequest

    from tiktok_oauth_middleware.caching import watched_request

    once = watched_request(WSGIRequest)
    assert watched_request(WSGIRequest) is once is watched_request(once)
    assert issubclass(once, WSGIRequest)
    assert once.__name__ == "WSGIRequest"

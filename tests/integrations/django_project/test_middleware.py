"""TikTokMiddleware in MIDDLEWARE: every path, request.tiktok, guards, headers."""

from __future__ import annotations

import functools

import pytest
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import TemplateView, View

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.django import TikTokRequiredMixin, requires_tiktok

from ...conftest import API, PAGE
from .conftest import OURS, USUAL


def test_a_login_from_end_to_end(project):
    """The user is in request.tiktok, in plain and async views, until the logout."""
    browser = project.browser()
    assert browser.get("/who").json()["open_id"] is None
    answer = browser.log_in(next="/who")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/who"
    open_id = project.fake.people[0].open_id
    for url in ("/who", "/who-async"):
        found = browser.get(url).json()
        assert found["open_id"] == open_id
        assert found["scopes"] == ["user.info.basic", "video.list"]
        assert found["token"] is True
    assert browser.log_out().status_code == 303
    assert browser.get("/who").json()["open_id"] is None


def test_the_record_is_in_the_projects_database(project):
    """Without the option `store`, the rows are in the default database."""
    from tiktok_oauth_middleware.django.models import StoredRow

    browser = project.browser()
    browser.log_in()
    assert StoredRow.objects.filter(key__contains=":grant:").count() == 1
    other = project.browser()
    other.client.cookies.update(browser.client.cookies)
    assert other.get("/who").json()["open_id"] == project.fake.people[0].open_id


def test_disconnect(project):
    """The disconnect path revokes at TikTok and ends the session."""
    browser = project.browser()
    browser.log_in()
    assert browser.post("/auth/tiktok/disconnect").status_code == 303
    assert project.fake.count("revoke") == 1
    assert browser.get("/who").json()["open_id"] is None


def test_webhook(project):
    """A withdrawal that TikTok delivers ends the user's session."""
    browser = project.browser()
    person = project.fake.people[0]
    browser.log_in(person)
    headers, body = project.fake.disconnect(person)
    answer = browser.client.post(
        "/auth/tiktok/webhook", content=body, headers=dict(headers)
    )
    assert answer.status_code == 200, answer.text
    project.fake.advance(2)
    assert browser.get("/who").json()["open_id"] is None


@pytest.mark.parametrize(
    "url",
    [
        "/member",
        "/member-async",
        "/members/7",
        "/members-async",
        "/decorated",
        "/decorated-class",
        "/decorated-class-async",
        "/decorated-twice-async",
        "/decorated-view-async",
        "/decorated-object-async",
    ],
)
def test_guards(project, url):
    """A guarded view redirects a browser to the login, refuses a program, and accepts a
    signed-in user.
    """
    browser = project.browser()
    sent = browser.get(url)
    assert sent.status_code == 303
    assert sent.headers["location"].startswith(f"/auth/tiktok/login?next={url}")
    refused = browser.api(url)
    assert refused.status_code == 401
    assert refused.json()["error"] == "login_required"
    browser.log_in()
    let_in = browser.get(url)
    assert let_in.status_code == 200
    assert project.fake.people[0].open_id in let_in.text


class Api(View):
    """A class whose dispatch replaces Django's, as that of REST framework does."""

    def dispatch(self, request):
        return HttpResponse("open")


class Preparing:
    """Calls another method of the next class, and not its dispatch."""

    def dispatch(self, request):
        super().setup(request)
        return HttpResponse("open")


class Delegating:
    """Calls the dispatch of another object."""

    def dispatch(self, request):
        return self.inner.dispatch(request)


class Skipping:
    """Calls Django's dispatch by name, and so leaves the mixin out."""

    def dispatch(self, request):
        return View.dispatch(self, request)


class Partial:
    dispatch = functools.partialmethod(Api.dispatch)


class Later:
    """Calls the next class's dispatch in a function inside its own."""

    def dispatch(self, request):
        def call():
            return super(Later, self).dispatch(request)

        return call()


class Calling:
    """A mixin of a project, whose dispatch goes on to the next class."""

    def dispatch(self, request):
        return super().dispatch(request)


class Inner(TikTokRequiredMixin, View):
    pass


@pytest.mark.parametrize(
    "bases",
    [
        (TemplateView, TikTokRequiredMixin),
        (Api, TikTokRequiredMixin, View),
        (Api, Inner),
        *((each, Inner) for each in (Preparing, Delegating, Skipping, Partial)),
    ],
)
def test_the_mixin_behind_a_class_that_answers(bases):
    """A class that lists the mixin too late would be open, and cannot be made."""
    with pytest.raises(TypeError, match="list it before"):
        type("Open", bases, {})


@pytest.mark.parametrize(
    "bases",
    [
        (Inner, TemplateView),
        (TemplateView, Inner),
        (Calling, TikTokRequiredMixin, View),
        (Later, TikTokRequiredMixin, View),
        (LoginRequiredMixin, Inner),
        (method_decorator(csrf_exempt, name="dispatch")(type("Inner", (Inner,), {})),),
        (type("Own", (Inner,), {"dispatch": Api.dispatch}),),
    ],
)
def test_the_mixin_before_a_class_that_answers(bases):
    """Other orders, and a class that replaces the guard on purpose, are accepted."""
    assert issubclass(type("Guarded", bases, {}), TikTokRequiredMixin)


def test_the_guard_on_a_method():
    """On a method the guard gets no request, and says how methods are guarded."""

    class Guarded(View):
        @requires_tiktok
        def get(self, request):
            return HttpResponse("open")

    with pytest.raises(TypeError, match=r"@method_decorator\(requires_tiktok\)"):
        Guarded.as_view()(RequestFactory().get("/"))


@pytest.mark.parametrize("wrong", ["video.list", lambda view: ("video.list",), None])
def test_scopes_of_a_wrong_type(wrong):
    """A class whose scopes are none cannot be made."""
    with pytest.raises(TypeError):
        type("Bad", (TikTokRequiredMixin, View), {"required_scopes": wrong})


def test_scopes_that_depend_on_the_request(project):
    """The mixin's attributes may be properties."""

    class Depending(TikTokRequiredMixin, View):
        @property
        def required_scopes(self):
            return (self.request.GET["scope"],)

        @property
        def login_max_age(self):
            return 300

        def get(self, request):
            return HttpResponse("guarded")

    class Urls:
        urlpatterns = [path("depending", Depending.as_view())]

    project.set(ROOT_URLCONF=Urls)
    browser = project.browser()
    browser.log_in()
    assert browser.api("/depending?scope=user.info.basic").text == "guarded"
    refused = browser.api("/depending?scope=video.upload")
    assert refused.json()["missing"] == ["video.upload"]


def test_missing_scope(project):
    """A view whose scope was not granted answers 403 with the missing scope."""
    browser = project.browser()
    browser.log_in()
    refused = browser.api("/uploads")
    assert refused.status_code == 403
    assert refused.json()["missing"] == ["video.upload"]
    assert "scopes=video.upload" in browser.get("/uploads").headers["location"]


def test_path_rules(project):
    """A protected path is refused in every spelling, and other paths are not."""
    project.configure(protect=["/app"], public=["/app/free"])
    browser = project.browser()
    for url in ("/app/secret", "/app", "/App/secret", "/app/%73ecret", "/x/../app/y"):
        assert browser.api(url).status_code == 401, url
    assert browser.api("/public").status_code == 200
    assert browser.api("/app/free").status_code == 404
    browser.log_in()
    assert browser.api("/app/secret").text == "for everybody"


def test_caching_headers(project):
    """A response that read the session is private with Vary: Cookie; others have
    neither header.
    """
    browser = project.browser()
    read = browser.get("/who")
    assert "private" in read.headers["cache-control"]
    assert "Cookie" in read.headers["vary"]
    assert "cache-control" not in browser.get("/public").headers
    own = browser.get("/auth/tiktok/login")
    assert own.headers["cache-control"] == "no-store"


def test_djangos_cache_stores_no_session(project):
    """cache_page around a view that reads the session never serves another
    user's page.
    """
    first, second = project.browser(), project.browser()
    first.log_in(project.fake.people[0])
    second.log_in(project.fake.people[1])
    for browser, person in ((first, 0), (second, 1), (first, 0)):
        found = browser.get("/cached").text
        assert found == f"for {project.fake.people[person].open_id}"
    assert project.browser().get("/cached").text == "for None"


def test_per_site_cache(project):
    """The per-site cache stores public pages, and none that read the session."""
    update = "django.middleware.cache.UpdateCacheMiddleware"
    fetch = "django.middleware.cache.FetchFromCacheMiddleware"
    project.set(MIDDLEWARE=[update, *USUAL, fetch])
    first = project.browser()
    first.log_in()
    assert first.get("/who").json()["open_id"]
    assert project.browser().get("/who").json()["open_id"] is None
    assert first.get("/public").text == "for everybody"


def test_per_site_cache_stores_no_deletion(project):
    """A forged cookie is not deleted in other browsers by a page in the per-site
    cache.
    """
    update = "django.middleware.cache.UpdateCacheMiddleware"
    fetch = "django.middleware.cache.FetchFromCacheMiddleware"
    project.set(MIDDLEWARE=[update, *USUAL, fetch])
    forger, user = project.browser(), project.browser()
    forger.client.cookies.set("__Host-tiktok", f"{'A' * 64}.{'B' * 22}")
    assert "Max-Age=0" in forger.get("/public").headers["set-cookie"]
    user.log_in()
    assert "set-cookie" not in user.get("/public").headers
    assert user.get("/who").json()["open_id"]


@pytest.mark.parametrize("is_forged", [False, True])
@pytest.mark.parametrize("url", ["/public", "/who", "/member", "/app/secret"])
def test_a_dead_cookie_is_deleted(project, url, is_forged):
    """A forged cookie, and that of a session that ended elsewhere, is deleted.

    A guard's refusal and that of a path rule delete it too.
    """
    project.configure(protect=["/app"])
    browser, other = project.browser(), project.browser()
    browser.log_in()
    other.client.cookies.update(dict(browser.client.cookies))
    if is_forged:
        other.client.cookies.clear()
        other.client.cookies.set("__Host-tiktok", f"{'A' * 64}.{'B' * 22}")
    browser.log_out()
    project.fake.advance(2)
    answer = other.get(url)
    assert answer.status_code == (200 if url in ("/public", "/who") else 303)
    assert answer.headers["set-cookie"].strip().startswith("__Host-tiktok=;")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert answer.headers["cache-control"] == "no-store"


def test_streams_pass(project):
    """A stream and a file are sent completely; a signed-in user's stream is private."""
    browser = project.browser()
    assert browser.get("/streaming").text == "ab"
    assert browser.get("/file").text == "file"
    browser.log_in()
    streamed = browser.get("/streaming")
    assert streamed.text == "ab"
    assert "private" in streamed.headers["cache-control"]
    assert "cache-control" not in browser.get("/file").headers


def test_our_cookies_are_not_in_request_cookies(project):
    """The app and Django's error page do not see the middleware's cookies, and do see
    the project's own, whatever their names begin with.
    """
    browser = project.browser()
    browser.log_in()
    browser.get("/auth/tiktok/login")
    for name in ("tiktok_theme", "__Host-tiktok_theme", "__Host-tiktok-logins"):
        browser.client.cookies.set(name, "x")
    browser.client.cookies.set("__Host-tiktok-carry", "x")
    sent = {*browser.client.cookies}
    assert {"__Host-tiktok", "__Host-tiktok-carry"} < sent
    assert any(name.startswith("__Host-tiktok-login-") for name in sent)
    seen = browser.get("/who").json()["cookies"]
    assert [name for name in seen if "tiktok" in name] == [
        "__Host-tiktok-logins",
        "__Host-tiktok_theme",
        "tiktok_theme",
    ]


def test_own_pages_over_head_and_other_methods(project):
    """A method that a path does not allow gets 405, and HEAD has no body."""
    browser = project.browser()
    answer = browser.client.put("/auth/tiktok/login", headers=API)
    assert answer.status_code == 405
    answer = browser.client.head("/auth/tiktok/callback", headers=PAGE)
    assert answer.status_code == 405
    assert answer.content == b""


def test_a_middleware_around_django_too_is_refused(project, interface, caplog):
    """A second TikTok middleware around the project is refused with an error."""
    from tiktok_oauth_middleware import (
        TikTokOAuthMiddleware,
        TikTokOAuthWSGIMiddleware,
    )
    from tiktok_oauth_middleware.django import installation

    wrapped = (
        TikTokOAuthWSGIMiddleware if interface == "wsgi" else TikTokOAuthMiddleware
    )(project.app(), installation().settings)
    project.application = wrapped
    assert project.browser().get("/who").status_code == 500
    assert "keep one of them" in caplog.text


def test_store_failure(project):
    """If the database fails, a signed-in request gets 503 and is never anonymous."""
    from django.db import connection

    browser = project.browser()
    browser.log_in()
    project.fake.advance(5)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tiktok_oauth_store RENAME TO away")
    try:
        answer = browser.api("/who")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO tiktok_oauth_store")
    assert answer.status_code == 503
    assert answer.json()["error"] == "store_error"
    assert browser.api("/public").status_code == 200


def test_cached_session_needs_no_thread(project, monkeypatch):
    """A request whose session was read within the last second uses no thread."""
    from tiktok_oauth_middleware.django import own_paths
    from tiktok_oauth_middleware.stores import django as store

    project.set(MIDDLEWARE=[OURS])
    browser = project.browser()
    browser.log_in()
    url = "/who-async" if project.interface == "asgi" else "/who"
    assert browser.get(url).json()["token"] is True

    def hop(*_, **__):
        raise AssertionError

    for module in (own_paths, store):
        monkeypatch.setattr(module, "sync_to_async", hop)
    assert browser.get(url).json()["token"] is True
    project.fake.advance(2)
    if project.interface == "asgi":  # now the database is read, in Django's thread
        assert browser.get(url).status_code == 503
    else:
        assert browser.get(url).json()["token"] is True


def test_on_event(project):
    """The project's own on_event is called with each event, in either interface."""
    from django.conf import settings

    seen = []
    options = {**settings.TIKTOK_OAUTH_OPTIONS, "on_event": seen.append}
    project.set(TIKTOK_OAUTH_OPTIONS=options)
    browser = project.browser()
    browser.log_in()
    browser.log_out()
    assert [event.name for event in seen] == ["login", "logout"]


@pytest.mark.parametrize("interface", ["wsgi"])
def test_the_tokens_of_the_project_end_sessions_at_once(project, interface):
    """Forgetting a user with the project's tokens ends a session that was just read."""
    from tiktok_oauth_middleware.django import installation

    browser = project.browser()
    browser.log_in()
    assert browser.get("/who").json()["token"] is True
    installation().tokens.forget(project.fake.people[0].open_id)
    assert browser.get("/who").json()["open_id"] is None


def test_shared_cookie(project, caplog):
    """A project logs an error, once for all its mount points, if another middleware of
    its process has its cookie, for another TikTok app.
    """
    kept = []
    for options in ({}, {"client_key": "awanotherclientkey"}):
        project.configure(cookie_name=f"shared-{project.interface}", **options)
        caplog.clear()
        kept.append(project.app())
        for mount in ("", "/shop", "/club"):
            project.browser(script_name=mount).get(f"{mount}/")
            for limiter in logger.filters:  # one equal line a minute
                limiter._last.clear()
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    [line] = [error for error in errors if "cookie_name" in error]
    assert f"__Host-shared-{project.interface}" in line

"""The middleware together with a project's transactions, prefixes, slashes and
languages.
"""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connections
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from tiktok_oauth_middleware.django import installation

from ...conftest import PAGE
from .conftest import USUAL
from .urls import urlpatterns


class Failing:
    """Pages that use tokens inside of a transaction that is rolled back."""

    tokens = []

    @staticmethod
    def renew(request):
        open_id = request.tiktok.open_id
        Failing.tokens.append(installation().tokens.renew(open_id).access_token)
        message = "the view fails after the refresh"
        raise RuntimeError(message)


class Urls:
    urlpatterns = [*urlpatterns, path("renew", Failing.renew)]


# --- transactions --------------------------------------------------------------------


@pytest.fixture
def atomic_requests():
    """Set ATOMIC_REQUESTS, which wraps each view in a transaction."""
    given = connections.settings["default"]
    before = dict(given)
    given["ATOMIC_REQUESTS"] = True
    given["OPTIONS"] = {"init_command": "PRAGMA journal_mode=WAL;", "timeout": 30}
    connections.close_all()
    yield
    connections.close_all()
    given.clear()
    given.update(before)


def test_a_rotated_token_survives_the_views_rollback(project, atomic_requests):
    """With ATOMIC_REQUESTS a refresh in a failing view is not rolled back."""
    project.set(ROOT_URLCONF=Urls)
    Failing.tokens.clear()
    browser = project.browser()
    browser.log_in()
    open_id = project.fake.people[0].open_id
    assert browser.get("/renew").status_code == 500
    assert installation().tokens.get(open_id).access_token == Failing.tokens[0]
    # The store has the new refresh token.
    assert installation().tokens.renew(open_id).access_token != Failing.tokens[0]
    project.fake.advance(2)
    assert browser.get("/who").json()["open_id"] == open_id


def test_login_and_logout_with_atomic_requests(accounts, atomic_requests):
    """A login and a logout work with ATOMIC_REQUESTS."""
    browser = accounts.browser()
    browser.log_in()
    assert browser.get("/user").json()["authenticated"]
    browser.get("/django-logout")
    assert browser.get("/who").json()["open_id"] is None


def test_another_database(project):
    """The store uses only the database that it names."""
    from tiktok_oauth_middleware.django.models import StoredRow

    project.configure(store="django://other")
    browser = project.browser()
    browser.log_in()
    assert browser.get("/who").json()["token"] is True
    assert StoredRow.objects.using("other").exists()
    assert not StoredRow.objects.using("default").exists()


def test_a_refresh_in_a_request(project):
    """A token that is due is renewed before the view runs."""
    browser = project.browser()
    browser.log_in()
    project.fake.advance(86400 - 60)
    project.configure(session_idle=2 * 86400)
    browser = project.browser()
    browser.log_in()
    before = project.fake.count("token", grant_type="refresh_token")
    project.fake.advance(86400 - 60)
    assert browser.get("/who").json()["token"] is True
    assert project.fake.count("token", grant_type="refresh_token") == before + 1


# --- addresses -----------------------------------------------------------------------


def test_a_forced_prefix(project):
    """With FORCE_SCRIPT_NAME links have the prefix, and paths are matched below it."""
    project.configure(redirect_uri="https://app.example.com/shop/auth/tiktok/callback")
    project.set(FORCE_SCRIPT_NAME="/shop")
    before = "/shop" if project.interface == "asgi" else ""
    browser = project.browser()
    sent = browser.get(f"{before}/member")
    assert sent.headers["location"].startswith("/shop/auth/tiktok/login?next=/shop/mem")
    begun = browser.get(f"{before}/auth/tiktok/login")
    assert begun.headers["location"].startswith("https://www.tiktok.com/")
    assert "shop%2Fauth" in begun.headers["location"]


@pytest.mark.parametrize("is_first", [True, False])
def test_append_slash(project, is_first):
    """The middleware's paths work without a final slash, whatever CommonMiddleware
    does.
    """
    catch_all = [path("<path:rest>/", lambda request, rest: HttpResponse(rest))]
    ours = USUAL[-2]
    places = [ours, *USUAL[:-2]] if is_first else USUAL

    class Catching:
        urlpatterns = [*Urls.urlpatterns, *catch_all]

    project.set(ROOT_URLCONF=Catching, APPEND_SLASH=True, MIDDLEWARE=places)
    browser = project.browser()
    assert browser.log_in(next="/who").headers["location"] == "/who"
    assert browser.get("/slashed").headers["location"] == "/slashed/"


def test_flat_pages_and_redirects(project):
    """Middlewares that replace a 404 do not affect the middleware's paths and
    guards.
    """

    class Fallback:
        sync_capable, async_capable = True, False

        def __init__(self, get_response):
            self.get_response = get_response

        def __call__(self, request):
            response = self.get_response(request)
            return HttpResponse("flat") if response.status_code == 404 else response

    globals()["Fallback"] = Fallback
    project.set(MIDDLEWARE=[*USUAL, f"{__name__}.Fallback"])
    browser = project.browser()
    assert browser.get("/no-such-page").text == "flat"
    assert browser.get("/auth/tiktok/login").status_code == 303
    assert browser.get("/member").status_code == 303
    browser.log_in()
    assert browser.get("/who").json()["token"] is True


def test_a_sync_middleware_under_asgi(project):
    """The middleware works between sync-only middlewares, in their thread."""
    globals()["Plain"] = type(
        "Plain",
        (),
        {
            "sync_capable": True,
            "async_capable": False,
            "__init__": lambda self, get_response: setattr(self, "get", get_response),
            "__call__": lambda self, request: self.get(request),
        },
    )
    project.set(MIDDLEWARE=[f"{__name__}.Plain", *USUAL, f"{__name__}.Plain"])
    browser = project.browser()
    browser.log_in()
    assert browser.get("/who-async").json()["open_id"]


# --- languages -----------------------------------------------------------------------


def test_our_pages_are_in_the_active_language(project):
    """The middleware's page is in the language that Django chose for the request."""
    texts = {"de": {"login_required": ["Bitte anmelden", "Es hat nicht geklappt."]}}
    options = dict(settings.TIKTOK_OAUTH_OPTIONS)
    locale = "django.middleware.locale.LocaleMiddleware"
    project.set(
        TIKTOK_OAUTH_OPTIONS={**options, "texts": texts},
        MIDDLEWARE=[USUAL[0], USUAL[1], locale, *USUAL[2:]],
        LANGUAGES=[("en", "English"), ("de", "Deutsch")],
    )
    project.configure(protect=["/public"])
    browser = project.browser()
    headers = {**PAGE, "accept-language": "en"}
    browser.client.cookies.set("django_language", "de", domain="app.example.com")
    page = browser.post("/public", headers=headers)
    assert page.status_code == 401
    assert "Bitte anmelden" in page.text
    assert 'lang="de"' in page.text


LOCALE = "django.middleware.locale.LocaleMiddleware"


def localized(project, **changed):
    """Serve a project with three languages, whose public page is protected."""
    languages = [("en", "English"), ("pt-br", "Português"), ("zh-hant", "繁體中文")]
    project.set(
        MIDDLEWARE=[USUAL[0], USUAL[1], LOCALE, *USUAL[2:]],
        LANGUAGES=[*languages, ("fr", "Français"), ("nl", "Nederlands")],
        **changed,
    )
    project.configure(protect=["/public"])
    return project.browser()


@pytest.mark.parametrize(
    ("active", "language", "title"),
    [
        ("fr", "fr", "Veuillez vous connecter"),
        ("pt-br", "pt-BR", "Faça login"),
        ("zh-hant", "zh-Hant", "請登入"),
        ("nl", "en", "Please log in"),
    ],
)
def test_built_in_language_of_the_active_one(project, active, language, title):
    """Without texts of the project, the built-in texts of the active language
    are used.
    """
    browser = localized(project)
    browser.client.cookies.set("django_language", active, domain="app.example.com")
    page = browser.post("/public", headers={**PAGE, "accept-language": "de"})
    assert page.status_code == 401
    assert title in page.text
    assert page.headers["content-language"] == language


def test_vary_is_djangos(project):
    """If Django chose the language, Vary is Django's, and names the header once."""
    browser = localized(project)
    page = browser.post("/public", headers={**PAGE, "accept-language": "fr"})
    assert page.headers["content-language"] == "fr"
    vary = [item.strip() for item in page.headers["vary"].split(",")]
    assert vary.count("Accept-Language") == 1


def test_fixed_language(project):
    """Without LocaleMiddleware the page is in LANGUAGE_CODE and varies by no language."""
    project.set(LANGUAGE_CODE="fr")
    project.configure(protect=["/public"])
    page = project.browser().post("/public", headers={**PAGE, "accept-language": "de"})
    assert page.headers["content-language"] == "fr"
    assert "Accept-Language" not in page.headers.get("vary", "")


def test_without_translations_of_django(project):
    """With USE_I18N off, the browser's header decides, as outside of Django."""
    project.set(USE_I18N=False, LANGUAGE_CODE="fr")
    project.configure(protect=["/public"])
    page = project.browser().post("/public", headers={**PAGE, "accept-language": "de"})
    assert page.headers["content-language"] == "de"
    assert "Accept-Language" in page.headers["vary"]


def test_buttons_are_in_the_active_language(project):
    """The buttons of the template tags have the active language's label and lang
    attribute.
    """
    from django.template import engines
    from django.utils import translation

    seen = []
    view = path(
        "seen", lambda request: (seen.append(request.tiktok), HttpResponse())[1]
    )
    project.set(ROOT_URLCONF=type("U", (), {"urlpatterns": [view]}))
    project.browser().get("/seen")
    request = type("R", (), {"get_full_path": lambda self: "/", "tiktok": seen[0]})()
    text = "{% load tiktok %}{% tiktok_login_button %}{% tiktok_logout_button %}"
    template = engines["django"].from_string(text)
    with translation.override("fr-ca"):
        html = template.render({"request": request})
    assert 'lang="fr" rel="nofollow"' in html
    assert ">Se connecter avec TikTok</a>" in html
    assert "<button" in html
    assert "Log out" not in html
    with translation.override("nl"):
        assert ">Log in with TikTok</a>" in template.render({"request": request})


def test_templates(project):
    """A template shows the person's name, and a button that logs in."""
    browser = project.browser()
    browser.log_in()
    page = browser.get("/templated").text
    assert page.startswith(project.fake.people[0].display_name)
    assert 'href="/auth/tiktok/login?next=/x"' in page
    assert ">Log in with TikTok</a>" in page


def test_the_buttons(project):
    """The buttons escape their label, and refuse an unknown `look`."""
    from django.template import TemplateSyntaxError, engines

    def render(text):
        template = engines["django"].from_string("{% load tiktok %}" + text)
        request = type("R", (), {"get_full_path": lambda self: "/here?a=1&b=2"})()
        request.tiktok = auth
        return template.render({"request": request, "label": "<b>"})

    seen = []
    view = path(
        "seen", lambda request: (seen.append(request.tiktok), HttpResponse())[1]
    )
    project.set(ROOT_URLCONF=type("U", (), {"urlpatterns": [view]}))
    project.browser().get("/seen")
    (auth,) = seen
    button = render("{% tiktok_login_button label=label look='outline' %}")
    assert "&lt;b&gt;" in button
    assert "next=/here%3Fa%3D1%26b%3D2" in button
    logout = render("{% tiktok_logout_button %}")
    assert 'method="post" action="/auth/tiktok/logout"' in logout
    with pytest.raises(TemplateSyntaxError, match="black, white, outline"):
        render("{% tiktok_login_button look='pink' %}")


def test_the_settings_may_be_an_object(project):
    """TIKTOK_OAUTH may be a TikTokSettings, which also uses the database if it names no
    store.
    """
    from tiktok_oauth_middleware import TikTokSettings
    from tiktok_oauth_middleware.django.models import StoredRow

    with override_settings(TIKTOK_OAUTH=TikTokSettings(**project.options)):
        project.application = None
        browser = project.browser()
        browser.log_in()
        assert browser.get("/who").json()["token"] is True
        assert StoredRow.objects.exists()

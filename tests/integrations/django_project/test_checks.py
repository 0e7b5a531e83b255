"""System checks: every fault is found by manage.py check, with its fix."""

from __future__ import annotations

import secrets
import traceback

import pytest
from django.core.checks import run_checks
from django.urls import re_path

from tiktok_oauth_middleware import ConfigurationError
from tiktok_oauth_middleware._core.secret import reveal

from .conftest import AUTH, BACKEND, COMMON, OURS, SESSION, USUAL
from .urls import public


def found(*, deploy=False):
    messages = run_checks(tags=["tiktok"], include_deployment_checks=deploy)
    return {message.id.removeprefix("tiktok_oauth."): message for message in messages}


@pytest.fixture
def interface():
    """Return one interface, since the checks do not depend on it."""
    return "wsgi"


def test_a_good_project(project):
    """A project as documented has no findings, with accounts and without."""
    assert found() == {}
    project.set(AUTHENTICATION_BACKENDS=[BACKEND])
    assert found() == {}


def test_all_faults_at_once(project):
    """Every fault of the settings is an error with its fix, and no secret in it."""
    secret = secrets.token_urlsafe(8)
    project.configure(secret_keys=[secret], redirect_uri="http://app.example.com/x")
    messages = found()
    assert set(messages) == {"bad_secret_keys", "bad_redirect_uri"}
    assert "make one with" in messages["bad_secret_keys"].hint
    assert secret not in str([*messages.values()])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"client_kye": "x"}, "client_kye"),
        ({"scope": ["video.list"]}, "did you mean 'scopes'?"),
        ({"client_key": "x"}, "client_secret must be set"),
        ("a string", "must be a dict of options"),
    ],
)
def test_unusable_settings(project, setting, words):
    """Unknown and missing options, and settings that are not a dict, are reported."""
    project.set(TIKTOK_OAUTH=setting)
    assert words in str([*found().values()])


def test_options(project):
    """An unknown option, and a dotted path that cannot be imported, are errors."""
    project.set(TIKTOK_OAUTH_OPTIONS={"on_evnt": 1, "may_sign_up": "no.such"})
    text = str([*found().values()])
    assert "on_evnt" in text
    assert "names nothing that can be imported" in text


def test_options_are_plain_functions(project):
    """An async function, which would never be awaited, is refused."""

    async def on_event(event):
        pass

    project.set(TIKTOK_OAUTH_OPTIONS={"on_event": on_event})
    assert "must be a plain function" in str([*found().values()])


def test_places_in_middleware(project):
    """It is an error if the middleware is too early in the list, or a needed one is
    missing.
    """
    project.set(AUTHENTICATION_BACKENDS=[BACKEND], MIDDLEWARE=[OURS, SESSION, AUTH])
    assert set(found()) == {
        "before_SessionMiddleware",
        "before_AuthenticationMiddleware",
    }
    fetch = "django.middleware.cache.FetchFromCacheMiddleware"
    update = "django.middleware.cache.UpdateCacheMiddleware"
    project.set(MIDDLEWARE=[SESSION, AUTH, fetch, OURS, update])
    assert {*found()} == {
        "behind_FetchFromCacheMiddleware",
        "before_UpdateCacheMiddleware",
    }
    project.set(MIDDLEWARE=[COMMON])
    assert set(found()) == {"middleware_missing"}


def test_accounts_without_the_middleware(project, monkeypatch):
    """The authentication backend alone makes the middleware needed."""
    from django.conf import settings

    project.set(AUTHENTICATION_BACKENDS=[BACKEND], MIDDLEWARE=[SESSION, AUTH])
    monkeypatch.delattr(settings, "TIKTOK_OAUTH")
    assert "middleware_missing" in found()


def test_a_store_in_no_database(project):
    """An alias that is missing in DATABASES is named."""
    project.configure(store="django://elsewhere")
    assert "has only default, other" in found()["store_alias"].msg


def test_a_path_that_is_a_view(project):
    """A view at one of the middleware's paths is a warning."""
    project.configure(login_path="/public")
    assert "login_path" in found()["path_taken"].msg
    project.set(FORCE_SCRIPT_NAME="/shop")
    project.configure(
        login_path="/in", redirect_uri="https://app.example.com/shop/public"
    )
    assert "the path of redirect_uri is '/public'" in found()["path_taken"].msg


def test_a_route_that_matches_anything(project):
    """The page of an app with routes in its script takes none of our paths."""

    class Urls:
        urlpatterns = [re_path(r"^.*$", public)]

    project.set(ROOT_URLCONF=Urls)
    assert found() == {}


@pytest.mark.parametrize("strict", ["Strict", "strict"])
def test_a_strict_session_cookie(project, strict):
    """Where logins need Django's session, its cookie cannot be SameSite=Strict."""
    project.set(SESSION_COOKIE_SAMESITE=strict)
    assert found() == {}
    project.configure(connect_path="/auth/tiktok/connect")
    assert "Lax" in found()["session_samesite"].hint
    project.set(TIKTOK_OAUTH_OPTIONS={"current_user": lambda request: None})
    assert found() == {}
    project.configure(connect_path=None)
    project.set(AUTHENTICATION_BACKENDS=[BACKEND])
    assert "Lax" in found()["session_samesite"].hint


def test_a_user_model_named_by_address(project, monkeypatch):
    """A user model whose USERNAME_FIELD is an email address needs a callable that
    creates users.
    """
    from django.contrib.auth import get_user_model

    project.set(AUTHENTICATION_BACKENDS=[BACKEND])
    monkeypatch.setattr(get_user_model(), "USERNAME_FIELD", "email")
    assert "make_user" in found()["make_user_missing"].hint
    options = {"make_user": lambda request, login: None}
    project.set(TIKTOK_OAUTH_OPTIONS=options)
    assert found() == {}


def test_deploy(project):
    """With --deploy the findings of the package's own check are included."""
    from django.db import connection

    assert not [each for each in found(deploy=True).values() if each.level >= 40]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tiktok_oauth_store RENAME TO away")
    try:
        message = found(deploy=True)["store_unusable"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO tiktok_oauth_store")
    assert "manage.py migrate" in message.msg


def test_the_environment(project, monkeypatch):
    """Without TIKTOK_OAUTH the settings come from the environment, and faults name the
    variables.
    """
    from django.conf import settings

    project.set(TIKTOK_OAUTH=None)
    for name in ("CLIENT_KEY", "CLIENT_SECRET", "REDIRECT_URI"):
        monkeypatch.setenv(f"TIKTOK_{name}", str(project.options[name.lower()]))
    assert "TIKTOK_SECRET_KEYS is not set" in str([*found().values()])
    monkeypatch.setenv("TIKTOK_SECRET_KEYS", project.options["secret_keys"][0])
    assert found() == {}
    assert settings.MIDDLEWARE == USUAL


@pytest.mark.parametrize(
    "wrong",
    [{"redirect_uri": "http://x"}, {"redirect_url": "http://x"}, None],
    ids=["value", "name", "environment"],
)
def test_no_secret_in_the_frames_of_an_error(project, monkeypatch, wrong):
    """The error about wrong settings has no frame that holds them, or the process's
    environment.
    """
    from tiktok_oauth_middleware.django.project import read_settings

    project.set(TIKTOK_OAUTH=None if wrong is None else {**project.options, **wrong})
    secret = str(reveal(project.options["client_secret"]))
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", secret)
    with pytest.raises(ConfigurationError) as raised:
        read_settings()
    frames = [f for f, _ in traceback.walk_tb(raised.value.__traceback__)][1:]
    assert frames
    assert [f for f in frames if secret in repr(f.f_locals)] == []

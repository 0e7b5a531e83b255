"""REST framework and Ninja accept TikTok's users, and refuse anonymous requests."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.contrib.auth import get_user_model

from ...conftest import API

pytest.importorskip("rest_framework", reason="djangorestframework is not installed")
pytest.importorskip("pydantic", reason="django-ninja is not installed")


@pytest.fixture
def api(project):
    project.set(ROOT_URLCONF="tests.integrations.django_project.api_urls")
    return project


@pytest.mark.parametrize("url", ["/drf", "/ninja/who", "/ninja/who-async"])
def test_signed_in(api, url):
    """A view gets the TikTokAuth as request.auth, and anonymous requests our 401."""
    browser = api.browser()
    refused = browser.api(url)
    assert refused.status_code == 401
    assert refused.json()["error"] == "login_required"
    browser.log_in()
    assert browser.api(url).json()["open_id"] == api.fake.people[0].open_id


@pytest.mark.parametrize("url", ["/drf-uploads", "/ninja/uploads"])
def test_missing_scope(api, url):
    """A scope that was not granted is named in our 403."""
    browser = api.browser()
    browser.log_in()
    refused = browser.api(url)
    assert refused.status_code == 403
    assert refused.json()["missing"] == ["video.upload"]


@pytest.mark.parametrize("url", ["/drf", "/ninja/write"])
def test_csrf(api, url):
    """A request that changes something is refused without Django's CSRF token."""
    browser = api.browser()
    assert browser.post(url).status_code == 401
    browser.log_in()
    refused = browser.post(url)
    assert refused.status_code == 403
    assert "CSRF" in refused.text
    token = "a" * 32
    browser.client.cookies.set("csrftoken", token, domain="app.example.com")
    let_in = browser.post(url, headers={"x-csrftoken": token})
    assert let_in.json()["open_id"] == api.fake.people[0].open_id


def test_users(api, accounts):
    """REST framework's user is Django's with the backend, and the open_id without."""
    browser = api.browser()
    browser.log_in()
    assert browser.api("/drf").json()["user"].startswith("tiktok_")
    api.set(AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"])
    plain = api.browser()
    plain.log_in()
    assert plain.api("/drf").json()["user"] == api.fake.people[0].open_id


def test_logout_of_rest_framework(api, accounts):
    """A logout in a view of REST framework ends the TikTok session."""
    browser = api.browser()
    browser.log_in()
    kept = dict(browser.client.cookies)
    assert browser.post("/drf-logout").status_code == 200
    thief = api.browser()
    thief.client.cookies.update(kept)
    assert thief.api("/who").json()["open_id"] is None


def test_login_of_rest_framework(api, accounts):
    """A password login as another user in such a view ends the TikTok session."""
    get_user_model().objects.create_user("alice", password="password")
    browser = api.browser()
    browser.log_in()
    assert browser.post("/drf-login", json={"name": "alice"}).status_code == 200
    assert browser.api("/who").json()["open_id"] is None


def test_permission_beside_another_authentication(api, accounts):
    """The permission knows Django's user where no authentication class reads it."""
    browser = api.browser()
    assert browser.api("/drf-permission").status_code == 401
    browser.log_in()
    assert browser.api("/drf-permission").json() == {"user": "AnonymousUser"}


@pytest.mark.parametrize("url", ["/drf", "/drf-user", "/drf-permission"])
def test_without_a_django_user(api, accounts, url):
    """With the backend, a request whose Django user is not active is refused."""
    browser = api.browser()
    browser.log_in()
    assert browser.api(url).status_code == 200
    get_user_model().objects.update(is_active=False)  # which sends no signal
    assert browser.api("/who").json()["open_id"] is not None
    refused = browser.api(url)
    if url == "/drf-user":  # as REST framework answers, if no scheme asks
        assert refused.status_code == 403
    else:
        assert refused.status_code == 401
        assert refused.json()["error"] == "login_required"
    assert browser.api("/who").json()["open_id"] is None


def test_either_of_two_permissions(api):
    """Our permission may be the last of several, of which one suffices."""
    browser = api.browser()
    assert browser.api("/drf-key").json()["error"] == "login_required"
    answer = browser.get("/drf-key", {**API, "x-key": "right"})
    assert answer.status_code == 200
    browser.log_in()
    assert browser.api("/drf-key").status_code == 200


def test_neither_is_loaded_by_the_app():
    """The app loads neither library, and importing the package loads no Django."""
    code = (
        "import sys, tiktok_oauth_middleware, tiktok_oauth_middleware.django;"
        "assert 'django' not in sys.modules;"
        "from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['django.contrib.auth',"
        " 'django.contrib.contenttypes', 'tiktok_oauth_middleware.django']);"
        "import django; django.setup();"
        "from tiktok_oauth_middleware.django import TikTokMiddleware, requires_tiktok;"
        "found = {'rest_framework', 'ninja', 'allauth', 'channels'} & {*sys.modules};"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

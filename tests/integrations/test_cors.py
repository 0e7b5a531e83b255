"""CORS with the middleware on either side: the apps of docs/integrations/cors.md, and their twins."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec

import httpx2
import pytest
from starlette.testclient import TestClient

from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokSettings
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import LOGIN, ORIGIN
from ..support.recipes import in_environment, run

FRONT = "https://www.example.com"
SCRIPT = {
    "accept": "*/*",
    "origin": FRONT,
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
}
ASKS = {
    "origin": FRONT,
    "access-control-request-method": "PUT",
    "sec-fetch-mode": "cors",
}


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def environment(fake, monkeypatch):
    with in_environment(fake, monkeypatch, TIKTOK_PROTECT="/members"):
        yield


def allows(response, kind):
    """Return whether the front end's page may read a response with the user's
    cookies.
    """
    return (
        response.headers.get("access-control-allow-origin") == FRONT
        and response.headers.get("access-control-allow-credentials") == "true"
        # Flask-CORS with one origin sends that one to every client.
        and ("flask" in kind or "origin" in response.headers["vary"].lower())
    )


class Facts:
    """Tests for CORS on either side; a subclass provides `client`."""

    @pytest.mark.parametrize("path", ["/mine", "/members/list"])
    def test_preflight(self, client, path):
        """A preflight of the front end for a path that needs a login is allowed."""
        response = client.options(path, headers=ASKS)
        assert response.status_code in (200, 204)
        assert "PUT" in response.headers["access-control-allow-methods"]
        assert allows(response, self.kind)

    @pytest.mark.parametrize("path", ["/mine", "/members/list"])
    def test_foreign_preflight(self, client, path):
        """A preflight of another site is not allowed."""
        headers = ASKS | {"origin": "https://evil.example"}
        response = client.options(path, headers=headers)
        assert response.headers.get("access-control-allow-origin") is None
        assert "open_id" not in response.text

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    def test_guard(self, client, method):
        """A script of the front end can read the login's address in a refusal."""
        response = client.request(method, "/mine", headers=SCRIPT)
        assert response.status_code == 401
        assert response.json()["login_url"] == LOGIN
        assert allows(response, self.kind)

    def test_foreign_script(self, client):
        """A script of another site cannot read the answer."""
        headers = SCRIPT | {"origin": "https://evil.example"}
        response = client.get("/mine", headers=headers)
        assert response.status_code == 401
        assert response.headers.get("access-control-allow-origin") is None

    def test_signed_in(self, client, fake):
        """A script of the front end can read a signed-in user's answer, which no shared
        cache keeps.
        """
        login_as(client, fake)
        for path in ("/mine", "/members/list"):
            response = client.get(path, headers=SCRIPT)
            assert response.json() == {"open_id": fake.people[0].open_id}
            assert allows(response, self.kind)
            assert "Cookie" in response.headers["vary"]
            assert response.headers["cache-control"] == "private"

    def test_rule(self, client):
        """A path rule's refusal can be read only if CORS is outside."""
        response = client.get("/members/list", headers=SCRIPT)
        assert response.status_code == 401
        assert allows(response, self.kind) is self.is_outside


class TestStarletteOutside(Facts):
    """The app in the docs, with CORS outside."""

    is_outside = True
    kind = "starlette"

    @pytest.fixture
    def client(self, environment):
        app = run("integrations/cors.md", "cors_starlette")["app"]
        with TestClient(app, base_url=ORIGIN) as client:
            yield client


class TestStarletteInside(Facts):
    """The same app with CORS inside the middleware."""

    is_outside = False
    kind = "starlette"

    @pytest.fixture
    def client(self, environment):
        app = run("integrations/cors.md", "cors_starlette")["app"]
        app.user_middleware = [
            each
            for each in app.user_middleware
            if each.cls is not TikTokOAuthMiddleware
        ]
        wrapped = TikTokOAuthMiddleware(app, TikTokSettings.from_env())
        with TestClient(wrapped, base_url=ORIGIN) as client:
            yield client


class TestFlask(Facts):
    """The app of the page, whose CORS is inside."""

    is_outside = False
    kind = "flask"

    @pytest.fixture
    def client(self, environment):
        pytest.importorskip("flask_cors", reason="flask-cors is not installed")
        app = run("integrations/cors.md", "cors_flask")["app"]
        transport = httpx2.WSGITransport(app)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            yield client
        app.wsgi_app.close()


class TestDjango(Facts):
    """A project with the settings of the page, whose CORS is inside."""

    is_outside = False
    kind = "django"

    # The guards of Django's views are path rules here.
    test_guard = None
    test_foreign_script = None

    @pytest.fixture(params=["wsgi", "asgi"])
    def client(self, environment, request):
        if find_spec("corsheaders") is None:
            pytest.skip("django-cors-headers is not installed")
        from django.core.handlers.asgi import ASGIHandler
        from django.core.handlers.wsgi import WSGIHandler
        from django.http import JsonResponse
        from django.test import override_settings
        from django.urls import path

        from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware

        from ..support.django_once import configure

        configure()

        def members(request):
            at = getattr(request, "scope", None) or request.environ
            auth = at.get("tiktok") or at["tiktok.auth"]
            return JsonResponse({"open_id": auth.open_id})

        class urls:
            urlpatterns = [path("members/list", members), path("mine", members)]

        written = run("integrations/cors.md", "cors_django")
        options = {name: value for name, value in written.items() if name.isupper()}
        del options["INSTALLED_APPS"]
        with ExitStack() as stack:
            stack.enter_context(override_settings(ROOT_URLCONF=urls, **options))
            settings = TikTokSettings.from_env()
            if request.param == "asgi":
                app = TikTokOAuthMiddleware(ASGIHandler(), settings)
                yield TestClient(app, base_url=ORIGIN)
                return
            wrapped = TikTokOAuthWSGIMiddleware(WSGIHandler(), settings)
            transport = httpx2.WSGITransport(wrapped)
            yield stack.enter_context(
                httpx2.Client(transport=transport, base_url=ORIGIN)
            )
            wrapped.close()

"""Test clients of each library, with the same methods."""

from __future__ import annotations

import inspect
import json

import httpx2
import pytest
from starlette.testclient import TestClient

from tiktok_oauth_middleware.testing import (
    alogin_as,
    login_as,
)

from ..conftest import API, ORIGIN, flask_app
from ..conftest import starlette_app as make_starlette_app

#: The page is protected by a path rule, which works the same for every app.
PAGE = "/private"
CLIENTS = [
    "starlette",
    "starlette without lifespan",
    "httpx2",
    "httpx2 async",
    "httpx",
    "flask",
    "django",
    "django async",
]


class Visitor:
    """A client of any library with the same methods; calls of an async one are run to
    their end.
    """

    def __init__(self, client, fake, loop):
        self.client, self.fake, self.loop = client, fake, loop
        self.is_django = type(client).__module__.startswith("django.")

    def done(self, answer):
        return self.loop.run(answer) if inspect.isawaitable(answer) else answer

    def log_in(self, **choice):
        is_async = inspect.iscoroutinefunction(self.client.get)
        return self.done(
            (alogin_as if is_async else login_as)(self.client, self.fake, **choice)
        )

    def get(self, path):
        return self.done(self.client.get(path, headers=API))

    def post(self, path, headers, body=b""):
        if self.is_django:
            kind = headers.get("content-type", "text/plain")
            return self.done(
                self.client.post(path, data=body, content_type=kind, headers=headers)
            )
        name = "data" if "flask" in type(self.client).__module__ else "content"
        return self.done(self.client.post(path, headers=headers, **{name: body}))

    @property
    def open_id(self):
        """Return the user that the protected page shows; None if it is refused."""
        response = self.get(PAGE)
        if response.status_code == 200:
            return json.loads(response.text)["open_id"]
        assert response.status_code == 401
        return None


def run(answer):
    async def wait():
        return await answer

    return wait()


def open_client(name, stack, wrap_asgi, wrap_wsgi):
    if name.startswith("django"):
        return django_client(name, stack, wrap_asgi, wrap_wsgi)
    if name.startswith("starlette"):
        client = TestClient(
            wrap_asgi(make_starlette_app()), base_url=ORIGIN, follow_redirects=False
        )
        return client if "without" in name else stack.enter_context(client)
    if name == "httpx2 async":
        transport = httpx2.ASGITransport(wrap_asgi(make_starlette_app()))
        return httpx2.AsyncClient(transport=transport, base_url=ORIGIN)
    app = flask_app()
    app.wsgi_app = wrap_wsgi(app.wsgi_app)
    if name == "flask":
        return app.test_client()
    httpx = pytest.importorskip(name, reason=f"{name} is not installed")
    transport = httpx.WSGITransport(app=app.wsgi_app)
    return stack.enter_context(httpx.Client(transport=transport, base_url=ORIGIN))


def django_client(name, stack, wrap_asgi, wrap_wsgi):
    pytest.importorskip("django", reason="django is not installed")
    from django.http import JsonResponse
    from django.test import AsyncClient, Client, override_settings
    from django.urls import path

    from tiktok_oauth_middleware.testing.django import wrap_client

    from ..support.django_once import configure

    def show(request):
        is_asgi = hasattr(request, "scope")
        auth = request.scope["tiktok"] if is_asgi else request.environ["tiktok.auth"]
        response = JsonResponse({"open_id": auth.open_id})
        response.set_cookie("seen", "yes")
        return response

    class Urls:
        urlpatterns = [path("private", show), path("", show)]

    configure()
    stack.enter_context(override_settings(ROOT_URLCONF=Urls))
    if "async" in name:
        return wrap_client(AsyncClient(), wrap_asgi)
    return wrap_client(Client(), wrap_wsgi)

"""Measures the time of a login in a user's own tests, with each test client.

    python -m benchmarks.login

prints three times for each client, over 200 logins: the median of a login's CPU time,
the mean CPU time of the fastest tenth, and the median of the real time. On a busy
machine, the fastest tenth is nearest to the time on a quiet one.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
from django.conf import settings as django_settings
from django.test import Client
from flask import Flask
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)
from tiktok_oauth_middleware.testing import FakeTikTok, alogin_as, login_as
from tiktok_oauth_middleware.testing.django import wrap_client

ORIGIN = "https://app.example.com"
LOGINS = 200

settings = TikTokSettings(
    client_key="awexampleclientkey",
    client_secret="the-client-secret-of-tests",
    redirect_uri=f"{ORIGIN}/auth/tiktok/callback",
    secret_keys=[secrets.token_urlsafe(32)],
)


def clients(fake: FakeTikTok, stack: ExitStack) -> Iterator[tuple[str, Any]]:
    """Yield each client's name, and a function that logs in with it."""
    options: dict[str, Any] = {"store": MemoryStore(), "transport": fake.transport}
    asgi = TikTokOAuthMiddleware(Starlette(), settings, **options)
    flask = Flask(__name__)
    wsgi = TikTokOAuthWSGIMiddleware(flask.wsgi_app, settings, **options)
    flask.wsgi_app = wsgi  # type: ignore[method-assign]

    def with_client(client: Any) -> Callable[[], Any]:
        return lambda: login_as(client, fake)

    yield "flask", with_client(flask.test_client())
    transport = httpx2.WSGITransport(wsgi)
    client = stack.enter_context(httpx2.Client(transport=transport, base_url=ORIGIN))
    yield "httpx2", with_client(client)
    django_settings.configure(ALLOWED_HOSTS=["testserver"], ROOT_URLCONF=__name__)
    django = wrap_client(
        Client(), lambda app: TikTokOAuthWSGIMiddleware(app, settings, **options)
    )
    yield "django", with_client(django)
    test_client = stack.enter_context(TestClient(asgi, base_url=ORIGIN))
    yield "starlette", with_client(test_client)
    yield "starlette, no with", with_client(TestClient(asgi, base_url=ORIGIN))
    loop = stack.enter_context(asyncio.Runner())
    async_client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(asgi), base_url=ORIGIN
    )
    yield "httpx2, async", lambda: loop.run(alogin_as(async_client, fake))


def main() -> None:
    """Measure and print."""
    fake = FakeTikTok.for_settings(settings)
    print(f"{'a login with':20} {'processor':>10} {'tenth':>10} {'clock':>10}")
    with ExitStack() as stack:
        for name, log_in in clients(fake, stack):
            used, passed = [], []
            for _ in range(LOGINS):
                began = time.process_time(), time.perf_counter()
                assert log_in().status_code == 303
                used.append(time.process_time() - began[0])
                passed.append(time.perf_counter() - began[1])
            figures = (
                statistics.median(used),
                sorted(used)[LOGINS // 10],
                statistics.median(passed),
            )
            print(f"{name:20}", *(f"{figure * 1e3:7.2f} ms" for figure in figures))


urlpatterns: list[Any] = []

if __name__ == "__main__":
    main()

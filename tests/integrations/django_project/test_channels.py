"""A WebSocket of Channels has Django's user and the TikTok user."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("channels", reason="channels is not installed")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

from tiktok_oauth_middleware.django.channels import TikTokAuthMiddlewareStack

from ...conftest import ORIGIN
from .conftest import django_browser


@pytest.fixture
def interface():
    """Return the one interface that has WebSockets."""
    return "asgi"


async def tell(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    answer = {"open_id": scope["tiktok"].open_id, "user": scope["user"].get_username()}
    await send({"type": "websocket.send", "text": json.dumps(answer)})
    await send({"type": "websocket.close"})


def serve():
    """Return the project's application, with its present settings."""
    sockets = TikTokAuthMiddlewareStack(URLRouter([path("socket", tell)]))
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})


@pytest.fixture
def site(accounts):
    accounts.application = serve()
    return accounts


def ask(browser, origin=ORIGIN):
    with browser.client.websocket_connect(
        "wss://app.example.com/socket", headers={"origin": origin}
    ) as socket:
        return socket.receive_json()


def test_users(site):
    """A socket has the open_id and the Django user of the person who logged in only."""
    browser = site.browser()
    assert ask(browser) == {"open_id": None, "user": ""}
    browser.log_in()
    found = ask(browser)
    assert found["open_id"] == site.fake.people[0].open_id
    assert found["user"] == browser.get("/user").json()["name"] != ""


def test_another_origin(site):
    """A page of another origin opens an anonymous socket, for Django too."""
    browser = site.browser()
    browser.log_in()
    assert ask(browser, "https://evil.example") == {"open_id": None, "user": ""}


def test_a_password_session(site):
    """A page of another origin does not get the user of a password either."""
    site.configure(websocket_origins=["https://front.example"])
    site.application = serve()
    browser, user = django_browser(site)
    for origin in (ORIGIN, "https://front.example"):
        assert ask(browser, origin) == {"open_id": None, "user": user.username}
    assert ask(browser, "https://evil.example") == {"open_id": None, "user": ""}


def test_connect_path(site):
    """Sockets work in a project that connects accounts."""
    site.configure(connect_path="/auth/tiktok/connect")
    site.application = serve()
    browser = site.browser()
    browser.log_in()
    assert ask(browser)["open_id"] == site.fake.people[0].open_id


def test_a_session_that_has_ended(site):
    """A Django session whose TikTok session has ended is anonymous."""
    from tiktok_oauth_middleware.django import installation

    browser = site.browser()
    browser.log_in()
    installation().tokens.forget(site.fake.people[0].open_id)
    site.fake.advance(2)
    assert ask(browser) == {"open_id": None, "user": ""}

"""Tests as users write them, with each test client: log in, open a page, see
failures.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.testing import (
    FakeTikTok,
    LoginFlowError,
)

from ..conftest import LOGOUT, SAME_ORIGIN, make_settings
from .clients import CLIENTS, PAGE, Visitor, open_client, run

WEBHOOK = "/auth/tiktok/webhook"


@pytest.fixture
def settings():
    return make_settings(protect=[PAGE], webhook_path=WEBHOOK, timeout=60)


@pytest.fixture
def fake(settings):
    return FakeTikTok.for_settings(settings)


@pytest.fixture
def wrap_asgi(settings, fake):
    """Return a function that wraps an app like ``asgi.py``, with the stand-in."""
    return lambda app: TikTokOAuthMiddleware(
        app,
        settings,
        store=MemoryStore(clock=fake.clock),
        transport=fake.transport,
        clock=fake.clock,
    )


@pytest.fixture
def wrap_wsgi(settings, fake):
    """Return a function that wraps an app like ``wsgi.py``, with the stand-in."""
    return lambda app: TikTokOAuthWSGIMiddleware(
        app,
        settings,
        store=MemoryStore(clock=fake.clock),
        transport=fake.transport,
        clock=fake.clock,
    )


@pytest.fixture(params=CLIENTS)
def visitor(request, fake, wrap_asgi, wrap_wsgi):
    """Return a visitor of an app with one kind of client."""
    name = request.param
    with ExitStack() as stack:
        loop = SimpleNamespace(run=None)
        if "async" in name:
            runner = stack.enter_context(asyncio.Runner())
            loop.run = lambda answer: runner.run(run(answer))
        yield Visitor(open_client(name, stack, wrap_asgi, wrap_wsgi), fake, loop)


# --- the steps of a login ----------------------------------------------------------


def test_anonymous(visitor):
    """A protected page is closed to an anonymous user."""
    assert visitor.open_id is None


def test_log_in(visitor, fake):
    """One call logs a user in, and the protected page then shows that user."""
    response = visitor.log_in(person=fake.people[1], next=PAGE)
    assert response.status_code == 303
    assert response.headers["location"] == PAGE
    assert visitor.open_id == fake.people[1].open_id


def test_log_out(visitor):
    """A POST from the site logs out."""
    visitor.log_in()
    assert visitor.post(LOGOUT, SAME_ORIGIN).status_code == 303
    assert visitor.open_id is None


def test_page_is_private(visitor):
    """The app's response has the middleware's headers."""
    visitor.log_in()
    response = visitor.get(PAGE)
    assert "private" in response.headers["cache-control"]
    assert "cookie" in response.headers["vary"].lower()


# --- what fails --------------------------------------------------------------------


def test_deny_next_login(visitor):
    """A user who cancels is not signed in, and can log in the next time."""
    visitor.fake.deny_next_login()
    assert visitor.log_in().status_code == 403
    assert visitor.open_id is None
    assert visitor.log_in().status_code == 303
    assert visitor.open_id is not None


def test_expire_next_login(visitor):
    """A login that took too long at TikTok shows a page, and the next one works."""
    visitor.fake.expire_next_login()
    assert visitor.log_in().status_code == 400
    assert visitor.open_id is None
    assert visitor.log_in().status_code == 303


def test_login_that_took_too_long(visitor, fake, settings):
    """A login whose callback arrives after its lifetime shows a page, too."""
    consent = fake.consent

    def later(*args, **choice):
        fake.advance(settings.login_lifetime + 1)
        return consent(*args, **choice)

    fake.consent = later
    assert visitor.log_in().status_code == 400
    assert visitor.open_id is None


@pytest.mark.parametrize(
    ("failure", "status"),
    [({}, 503), ({"status": 429}, 503), ({"error": "invalid_client"}, 502)],
    ids=str,
)
def test_fail(visitor, failure, status):
    """TikTok's failures show a page with their status, as many times as the
    test set.
    """
    visitor.fake.fail("token", times=2, **failure)
    assert [visitor.log_in().status_code for _ in range(3)] == [status, status, 303]


def test_slow_down(visitor):
    """With a delay longer than any timeout, the login fails at once, without
    waiting.
    """
    visitor.fake.slow_down("token")
    began = time.monotonic()
    assert visitor.log_in().status_code == 503
    # Otherwise it would take as long as the timeout in the settings.
    assert time.monotonic() - began < 60
    assert visitor.open_id is None


def test_slow_down_a_little(visitor):
    """A delay of seconds is really waited for, and the login succeeds."""
    visitor.fake.slow_down("token", seconds=0.05)
    began = time.monotonic()
    assert visitor.log_in().status_code == 303
    assert time.monotonic() - began >= 0.05


def test_lose_answer(visitor):
    """A lost answer makes the login fail."""
    visitor.fake.lose_answer("token")
    assert visitor.log_in().status_code == 503


def test_expired_token(visitor, fake):
    """An expired token is refreshed by the next request."""
    fake.access_lifetime = 3600
    visitor.log_in()
    fake.advance(3600)
    assert visitor.open_id == fake.people[0].open_id
    assert fake.count("token", grant_type="refresh_token") == 1


def test_rotate_away(visitor, fake):
    """If the refresh token was used elsewhere, the user is signed out when it is
    needed.
    """
    fake.access_lifetime = 3600
    visitor.log_in()
    fake.rotate_away()
    assert visitor.open_id == fake.people[0].open_id
    fake.advance(3600)
    assert visitor.open_id is None


def test_disconnect(visitor, fake):
    """A user who removes the app in TikTok is signed out by the webhook."""
    visitor.log_in()
    headers, body = fake.disconnect()
    assert visitor.open_id == fake.people[0].open_id
    assert visitor.post(WEBHOOK, headers, body).status_code == 200
    # A session is cached for a second.
    fake.advance(2)
    assert visitor.open_id is None


def test_clear_faults(visitor):
    """clear_faults switches off all faults."""
    visitor.fake.deny_next_login(times=9)
    visitor.fake.expire_next_login(times=9)
    visitor.fake.fail("token", times=9)
    visitor.fake.slow_down("user_info", times=9)
    visitor.fake.clear_faults()
    assert visitor.log_in().status_code == 303


# --- Django ------------------------------------------------------------------------


@pytest.fixture(params=["django", "django async"])
def django_visitor(request, fake, wrap_asgi, wrap_wsgi):
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        loop = SimpleNamespace(run=lambda answer: runner.run(run(answer)))
        client = open_client(request.param, stack, wrap_asgi, wrap_wsgi)
        yield Visitor(client, fake, loop)


class TestDjango:
    def test_its_own_response(self, django_visitor):
        """The response is Django's own response object, with the app's cookies, too."""
        django_visitor.log_in()
        response = django_visitor.get("/")
        assert response.resolver_match.route == ""
        assert response.json()["open_id"]
        assert response.cookies["seen"].value == "yes"
        assert django_visitor.client.cookies["seen"].value == "yes"

    def test_its_assertions(self, django_visitor):
        """Django's assertions recognize a redirect of the middleware."""
        from django.test import SimpleTestCase

        response = django_visitor.log_in(next=PAGE)
        SimpleTestCase().assertRedirects(
            response, PAGE, status_code=303, fetch_redirect_response=False
        )

    def test_forgotten(self, django_visitor):
        """If the client's app is not wrapped, the error says so."""
        bare = type(django_visitor.client)()
        django_visitor.client = bare
        with pytest.raises(LoginFlowError, match="around this client"):
            django_visitor.log_in()

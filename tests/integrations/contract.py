"""Tests that hold for every framework that the middleware wraps."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, ORIGIN, PAGE, make_settings
from ..support.asgi_client import AppClient
from ..support.odd_paths import spelled
from ..support.raw_requests import Visitors

NOBODY = {"open_id": None, "name": None}
#: Query parameters of logins that do not follow a guard's refusal, by the guard.
SCOPE_QUERIES = {
    "bare": {},
    "empty": {},
    "scope": {"scopes": "video.list"},
    "scopes": {"scopes": "user.info.basic,video.list"},
}


def who(auth: Any) -> dict[str, Any]:
    """Return the views' answer about the user."""
    return {
        "open_id": auth.open_id,
        "name": auth.user.display_name if auth.user else None,
    }


class Contract:
    """The tests; a subclass provides `app`.

    It answers ``/who`` with `who` in JSON, ``/members/list`` with the open_id, and a
    POST to ``/echo`` with the request's body.
    """

    #: The app's mount point.
    mount = ""

    @pytest.fixture
    def settings(self) -> TikTokSettings:
        return make_settings(
            redirect_uri=f"{ORIGIN}{self.mount}{CALLBACK}", protect=["/members"]
        )

    @pytest.fixture
    def fake(self, settings: TikTokSettings) -> FakeTikTok:
        return FakeTikTok.for_settings(settings)

    @pytest.fixture
    def options(self, fake: FakeTikTok) -> dict[str, Any]:
        return {"store": MemoryStore(), "transport": fake.transport}

    def log_in(self, client: Any, fake: FakeTikTok, **choice: Any) -> Any:
        return login_as(client, fake, login_path=self.mount + LOGIN, **choice)

    def test_anonymous(self, client):
        """A view sees that the request is anonymous."""
        assert client.get(f"{self.mount}/who").json() == NOBODY

    def test_signed_in_user(self, client, fake):
        """A view sees the signed-in user, and its answer is kept out of shared
        caches.
        """
        person = fake.people[1]
        assert self.log_in(client, fake, person=person).status_code == 303
        response = client.get(f"{self.mount}/who")
        expected = {"open_id": person.open_id, "name": person.display_name}
        assert response.json() == expected
        assert "private" in response.headers["cache-control"]
        assert "cookie" in response.headers["vary"].lower()

    def test_rule_for_a_browser(self, client, fake):
        """A path below a rule redirects a browser to the login, which returns to it."""
        page = f"{self.mount}/members/list?q=caf%C3%A9"
        response = client.get(page, headers=PAGE, follow_redirects=False)
        assert response.status_code == 303
        begin = response.headers["location"]
        assert begin.startswith(f"{self.mount}{LOGIN}?next=")
        back = login_as(client, fake, login_path=begin)
        assert back.headers["location"] == page
        assert client.get(page, headers=PAGE).text == fake.people[0].open_id

    def test_rule_for_a_program(self, client):
        """A path below a rule answers a program with 401 in JSON."""
        response = client.get(f"{self.mount}/members/list", headers=API)
        assert response.status_code == 401
        assert response.json() == {
            "error": "login_required",
            "login_url": self.mount + LOGIN,
        }

    def test_no_spelling_reaches_a_protected_path(self, app, options):
        """No spelling of a protected path reaches the framework's view."""
        callback = f"{ORIGIN}{self.mount}{CALLBACK}"
        settings = make_settings(redirect_uri=callback, protect=["/who"])
        wrapped = self.wrap(app, settings, options)
        with Visitors() as visitors:
            visitor = visitors.knock(wrapped, is_wsgi=self.is_wsgi)
            for path in ("/who", *spelled("/who")):
                answer = visitor.ask("GET", self.mount + path, headers=API)
                assert b"open_id" not in answer.body, ascii(path)

    def test_body(self, client):
        """A posted body reaches the view completely."""
        body = bytes(range(256)) * 500
        response = client.post(f"{self.mount}/echo", content=body)
        assert response.status_code == 200
        assert response.content == body

    def test_logout(self, client, fake):
        """After a logout the view sees an anonymous request again."""
        self.log_in(client, fake)
        headers = {"origin": ORIGIN}
        client.post(self.mount + LOGOUT, headers=headers, follow_redirects=False)
        assert client.get(f"{self.mount}/who").json() == NOBODY

    def test_missing_page(self, client):
        """A missing page is the framework's own 404."""
        assert client.get(f"{self.mount}/nothing", headers=PAGE).status_code == 404


class WSGIContract(Contract):
    """The tests under WSGI."""

    is_wsgi = True

    @pytest.fixture
    def client(self, app, settings, options):
        wrapped = self.wrap(app, settings, options)
        with httpx2.Client(
            transport=httpx2.WSGITransport(wrapped), base_url=ORIGIN
        ) as client:
            yield client

    def wrap(self, app, settings, options):
        return TikTokOAuthWSGIMiddleware(app, settings, **options)


class ASGIContract(Contract):
    """The tests under ASGI."""

    is_wsgi = False
    has_lifespan = True

    @pytest.fixture
    def client(self, app, settings, options):
        wrapped = self.wrap(app, settings, options)
        with ExitStack() as stack:
            client = AppClient(wrapped, base_url=ORIGIN)
            yield stack.enter_context(client) if self.has_lifespan else client

    def wrap(self, app, settings, options):
        return TikTokOAuthMiddleware(app, settings, **options)

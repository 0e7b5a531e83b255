"""The apps of docs/guide/path-rules.md, whose content comes over paths of their own.

They need what is in the dependency group "apps", which is not installed for the suite: it
brings 60 MB. ``make apps`` installs it and runs these.
"""

from __future__ import annotations

import secrets
from importlib.util import find_spec

import httpx2
import pytest
from starlette.testclient import TestClient

from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import API, CALLBACK, LOGIN, ORIGIN, PAGE
from ..support.recipes import blocks, run


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def environment(fake, monkeypatch):
    with StandIn(fake) as stand_in:
        values = {
            **stand_in.environment(ORIGIN + CALLBACK),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_STORE": "memory://",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.mark.filterwarnings("ignore")
class WholeApp:
    """Facts; a subclass says `name`, and which paths there are."""

    name = ""
    #: Over which the content comes: method, path and body.
    content: tuple = ()
    public = ""

    @pytest.fixture
    def left(self, environment):
        if find_spec(self.name) is None:
            pytest.skip(f"{self.name} is not installed: make apps")
        return run("guide/path-rules.md", self.name)

    def test_page(self, client):
        """A browser that opens the page is sent to log in."""
        response = client.get("/", headers=PAGE, follow_redirects=False)
        assert response.headers["location"] == f"{LOGIN}?next=/"

    def test_content(self, client):
        """Nothing that the page would load is there for anybody else."""
        for method, path, body in self.content:
            response = client.request(method, path, headers=API, json=body)
            assert response.status_code == 401, path
            assert response.json()["error"] == "login_required"

    def test_signed_in(self, client, fake):
        """Signed in, all of it is."""
        login_as(client, fake)
        for method, path, body in self.content:
            response = client.request(method, path, headers=API, json=body)
            assert response.status_code == 200, path

    def test_public(self, client):
        """A public path is served, or missing."""
        assert client.get(self.public).status_code in (200, 404)


CALL = {
    "output": "greeting.children",
    "outputs": {"id": "greeting", "property": "children"},
    "inputs": [{"id": "name", "property": "value", "value": "hello"}],
    "changedPropIds": ["name.value"],
}


class TestDash(WholeApp):
    name = "dash"
    content = (
        ("GET", "/_dash-layout", None),
        ("GET", "/_dash-dependencies", None),
        ("POST", "/_dash-update-component", CALL),
    )
    public = "/assets/style.css"

    @pytest.fixture
    def client(self, left):
        transport = httpx2.WSGITransport(left["app"])
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            yield client
        left["app"].wsgi_app.close()

    def test_callback_knows_who(self, client, fake):
        """A callback sees who is signed in."""
        login_as(client, fake)
        response = client.post("/_dash-update-component", json=CALL, headers=API)
        said = response.json()["response"]["greeting"]["children"]
        assert said == f"{fake.people[0].open_id} says hello"

    def test_rule_for_the_page_alone(self, left, environment):
        """A rule for one page leaves its content open, as the page says."""
        from dataclasses import replace

        from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware

        inner = left["app"].wsgi_app
        rules = replace(left["rules"], protect=["/report"])
        wrapped = TikTokOAuthWSGIMiddleware(inner.app, rules)
        transport = httpx2.WSGITransport(wrapped)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            assert client.get("/report", headers=API).status_code == 401
            assert client.get("/_dash-layout", headers=API).status_code == 200
        wrapped.close()


class TestDatasette(WholeApp):
    name = "datasette"
    content = (
        ("GET", "/_memory", None),
        ("GET", "/_memory.json?sql=select+1", None),
        ("GET", "/-/databases.json", None),
    )
    public = "/-/static/app.css"

    @pytest.fixture
    def client(self, left):
        with TestClient(left["app"], base_url=ORIGIN) as client:
            yield client


def test_all():
    """Every app of the page is one of these."""
    names = {kind.name for kind in WholeApp.__subclasses__()}
    assert set(blocks("guide/path-rules.md")) == names

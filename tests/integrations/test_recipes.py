"""The apps of docs/integrations/frameworks.md, run against the contract, and those of docs/guide/guards.md."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec

import httpx2
import pytest
from starlette.testclient import TestClient

from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import API, LOGIN, ORIGIN, PAGE
from ..support.recipes import blocks, in_environment, run
from .contract import Contract


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def environment(fake, monkeypatch):
    """Set the variables that the page names for a stand-in."""
    with in_environment(
        fake,
        monkeypatch,
        TIKTOK_OPTIONAL_SCOPES="video.list",
        TIKTOK_PROTECT="/members",
    ):
        yield


class Recipe:
    """The part of the contract that an app of a documentation page fulfils.

    The apps are already wrapped and accept no posts: other tests of each framework have
    the rest of the contract.
    """

    name = ""
    #: The modules that must be installed.
    needs = ""
    mount = ""

    log_in = Contract.log_in
    test_anonymous = Contract.test_anonymous
    test_signed_in_user = Contract.test_signed_in_user
    test_rule_for_a_browser = Contract.test_rule_for_a_browser
    test_rule_for_a_program = Contract.test_rule_for_a_program
    test_logout = Contract.test_logout
    test_missing_page = Contract.test_missing_page

    @pytest.fixture
    def left(self, environment):
        needs = self.needs or self.name
        if find_spec(needs) is None:
            pytest.skip(f"{needs} is not installed")
        return run("integrations/frameworks.md", self.name)


class ASGIRecipe(Recipe):
    has_lifespan = True

    @pytest.fixture
    def client(self, left):
        app = left.get("app") or left["application"]
        with ExitStack() as stack:
            client = TestClient(app, base_url=ORIGIN)
            yield stack.enter_context(client) if self.has_lifespan else client


class WSGIRecipe(Recipe):
    @pytest.fixture
    def client(self, left):
        app = left.get("app") or left["application"]
        transport = httpx2.WSGITransport(app)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            yield client
        getattr(app, "wsgi_app", app).close()


class TestStarlette(ASGIRecipe):
    name = "starlette"


class TestFastAPI(ASGIRecipe):
    name = "fastapi"

    def test_scopes(self, client, fake):
        """The operation that needs a scope requests it, and documents its refusals."""
        self.log_in(client, fake)
        asked = client.get("/members/videos", headers=PAGE, follow_redirects=False)
        assert asked.headers["location"] == (
            f"{LOGIN}?next=/members/videos&scopes=video.list"
        )
        login_as(client, fake, login_path=asked.headers["location"])
        assert "video.list" in client.get("/members/videos").json()
        operation = client.get("/openapi.json").json()["paths"]["/members/videos"]
        assert operation["get"]["security"] == [{"TikTok": ["video.list"]}]
        assert {"200", "401", "403"} <= set(operation["get"]["responses"])


class TestLitestar(ASGIRecipe):
    name = "litestar"


class TestQuart(ASGIRecipe):
    name = "quart"


class TestFlask(WSGIRecipe):
    name = "flask"


class TestFalcon(WSGIRecipe):
    name = "falcon"


class TestBottle(WSGIRecipe):
    name = "bottle"


@pytest.mark.filterwarnings("ignore:'cgi' is deprecated:DeprecationWarning")
class TestPyramid(WSGIRecipe):
    name = "pyramid"


class Django(Recipe):
    """Django has one set of settings in a process: only the urls are the recipe's."""

    needs = "django"

    @pytest.fixture
    def left(self, environment):
        pytest.importorskip("django", reason="django is not installed")
        from django.test import override_settings

        from ..support.django_once import configure

        configure()
        run("integrations/frameworks.md", "django_urls")
        middleware = run("integrations/frameworks.md", "django_settings")["MIDDLEWARE"]
        with override_settings(
            ROOT_URLCONF="recipe_django_urls", MIDDLEWARE=middleware
        ):
            yield run("integrations/frameworks.md", self.name)


class TestDjangoWSGI(Django, WSGIRecipe):
    name = "django_wsgi"


class TestDjangoASGI(Django, ASGIRecipe):
    name = "django_asgi"
    has_lifespan = False


class TestPlainWSGI:
    """The app without a framework, whose rules are in its code."""

    @pytest.fixture
    def client(self, environment):
        app = run("integrations/frameworks.md", "plain_wsgi")["app"]
        transport = httpx2.WSGITransport(app)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            yield client
        app.close()

    def test_protected(self, client, fake):
        """A path below the rule redirects a browser to the login, and then names the
        user.
        """
        closed = client.get("/x?y=1", headers=PAGE)
        assert closed.status_code == 303
        assert closed.headers["location"] == f"{LOGIN}?next=/x%3Fy%3D1"
        login_as(client, fake)
        assert fake.people[0].open_id in client.get("/x").text

    def test_public(self, client):
        """A path below the public rule is open to anonymous requests."""
        assert client.get("/static/x", headers=PAGE).status_code == 200


class TestGuards:
    """The apps of docs/guide/guards.md: a route that needs a scope."""

    @pytest.fixture(params=["starlette", "fastapi"])
    def app(self, request, environment):
        pytest.importorskip(request.param)
        return run("guide/guards.md", request.param)["app"]

    @pytest.mark.parametrize("headers", [PAGE, API])
    def test_scope(self, app, fake, headers):
        """A request without the scope is refused as the page's table says."""
        path = "/videos" if not hasattr(app, "openapi") else "/drafts"
        with TestClient(app, base_url=ORIGIN) as client:
            anonymous = client.get(path, headers=API)
            assert anonymous.status_code == 401
            assert anonymous.json()["error"] == "login_required"
            login_as(client, fake)
            refused = client.get(path, headers=headers, follow_redirects=False)
            ask = f"{LOGIN}?next={path}&scopes=video.list"
            if headers is PAGE:
                assert (refused.status_code, refused.headers["location"]) == (303, ask)
            else:
                assert refused.status_code == 403
                assert refused.json()["error"] == "scope_required"
                assert refused.json()["missing"] == ["video.list"]
            login_as(client, fake, login_path=ask)
            assert client.get(path).status_code == 200

    def test_openapi(self, environment):
        """OpenAPI shows the decorator's security and its refusals."""
        pytest.importorskip("fastapi")
        app = run("guide/guards.md", "fastapi")["app"]
        operation = app.openapi()["paths"]["/drafts"]["get"]
        assert operation["security"] == [{"TikTok": ["video.list"]}]
        assert {"200", "401", "403"} <= set(operation["responses"])


class TestRecentLogin:
    """The apps of docs/guide/recent-login.md: a route that needs a recent login."""

    @pytest.mark.parametrize(
        ("name", "method", "path"),
        [("starlette", "GET", "/close-account"), ("fastapi", "POST", "/payouts")],
    )
    def test_recent(self, environment, fake, name, method, path):
        """A user who has just logged in passes, and an anonymous request does not."""
        pytest.importorskip(name)
        app = run("guide/recent-login.md", name)["app"]
        with TestClient(app, base_url=ORIGIN) as client:
            assert client.request(method, path, headers=API).status_code == 401
            login_as(client, fake)
            assert client.request(method, path, headers=API).status_code == 200


class TestSessions:
    """The app of docs/guide/sessions.md: a user's sessions, and the end of all others."""

    def test_end_others(self, environment, monkeypatch, tmp_path, fake):
        """Only a form of the site ends the other browser's session."""
        monkeypatch.setenv("TIKTOK_STORE", f"sqlite:///{tmp_path}/tokens.sqlite3")
        app = run("guide/sessions.md", "starlette")["app"]
        with ExitStack() as stack:
            here, there = (
                stack.enter_context(TestClient(app, base_url=ORIGIN)) for _ in range(2)
            )
            login_as(here, fake)
            login_as(there, fake)
            listed = here.get("/sessions", headers=API).json()
            assert sorted(s["here"] for s in listed) == [False, True]
            refused = here.post("/sessions/end-others", headers=API)
            assert refused.status_code == 403
            sent = {**API, "origin": ORIGIN}
            done = here.post("/sessions/end-others", headers=sent)
            assert [s["here"] for s in done.json()] == [True]


def test_all():
    """The tests run every code block of the pages."""
    assert set(blocks("guide/guards.md")) == {"starlette", "fastapi"}
    assert set(blocks("guide/recent-login.md")) == {"starlette", "fastapi"}
    assert set(blocks("guide/sessions.md")) == {"starlette"}
    names = {
        kind.name
        for kind in globals().values()
        if isinstance(kind, type) and issubclass(kind, Recipe)
    }
    assert set(blocks("integrations/frameworks.md")) == names - {""} | {
        "django_settings",
        "django_urls",
        "plain_wsgi",
    }

"""requires_tiktok for Flask: guarded views, and the responses of a refusal."""

from __future__ import annotations

import importlib.util
from urllib.parse import parse_qsl

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    copy_current_request_context,
    stream_with_context,
)
from flask.views import MethodView, View

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.flask import requires_tiktok, tiktok_auth
from tiktok_oauth_middleware.testing import login_as

from ..conftest import API, LOGIN, PAGE, SAME_ORIGIN, query_of
from .contract import SCOPE_QUERIES

SECRET = "for members only"
BASIC = ["user.info.basic"]
async_views = pytest.mark.skipif(
    importlib.util.find_spec("asgiref") is None,
    reason="Flask runs async views with asgiref, which is not installed",
)


class Site:
    """A Flask app in the middleware, its test client, and a list of the views that were
    run.
    """

    def __init__(self, settings, tiktok, clock):
        self.app = Flask("site")
        self.app.testing = True
        self.bare = self.app.wsgi_app
        self.app.wsgi_app = TikTokOAuthWSGIMiddleware(
            self.app.wsgi_app,
            settings,
            store=MemoryStore(clock=clock),
            transport=tiktok.transport,
            clock=clock,
        )
        self.tiktok = tiktok
        self.client = self.app.test_client()
        self.ran = []

    def get(self, path="/", headers=API):
        return self.client.get(path, headers=headers)

    def log_in(self, **choice):
        assert login_as(self.client, self.tiktok, **choice).status_code == 303


@pytest.fixture
def site(settings, tiktok, clock):
    return Site(settings, tiktok, clock)


def views(site, guard):
    """Views of every kind, with the same guard, each at its own path."""
    app, ran = site.app, site.ran

    @app.get("/function")
    @guard
    def function():
        ran.append("/function")
        return SECRET

    class Whole(View):
        decorators = [guard]

        def dispatch_request(self):
            ran.append("/class")
            return SECRET

    app.add_url_rule("/class", view_func=Whole.as_view("whole"))

    class Methods(MethodView):
        decorators = [guard]

        def get(self):
            ran.append("/methods")
            return SECRET

    app.add_url_rule("/methods", view_func=Methods.as_view("methods"))

    class OneMethod(MethodView):
        @guard
        def get(self):
            ran.append("/method")
            return SECRET

    app.add_url_rule("/method", view_func=OneMethod.as_view("method"))
    blueprint = Blueprint("part", "part", url_prefix="/part")

    @blueprint.get("/view")
    @guard
    def of_blueprint():
        ran.append("/part/view")
        return SECRET

    app.register_blueprint(blueprint)
    members = Blueprint("members", "members", url_prefix="/members")

    @members.before_request
    @guard
    def members_only():
        """Guard all views of a blueprint."""

    @members.get("/view")
    def of_members():
        ran.append("/members/view")
        return SECRET

    app.register_blueprint(members)

    @app.get("/stream")
    @guard
    def stream():
        ran.append("/stream")
        yield SECRET[:5]
        yield SECRET[5:]


PATHS = [
    "/function",
    "/class",
    "/methods",
    "/method",
    "/part/view",
    "/members/view",
    "/stream",
]
GUARDS = {
    "bare": requires_tiktok,
    "empty": requires_tiktok(),
    "scope": requires_tiktok("video.list"),
    "scopes": requires_tiktok("user.info.basic", "video.list"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("guard", list(GUARDS))
class TestViews:
    def test_signed_in(self, site, path, guard):
        """For a signed-in user with the scopes, a view of any kind runs once."""
        views(site, GUARDS[guard])
        site.log_in()
        response = site.get(path)
        assert (response.status_code, response.text) == (200, SECRET)
        assert response.headers["vary"] == "Cookie"
        assert response.headers["cache-control"] == "private"
        assert site.ran == [path]

    def test_browser(self, site, path, guard):
        """An anonymous browser is redirected to the login and returns afterwards."""
        views(site, GUARDS[guard])
        response = site.get(path + "?q=a%26b", PAGE)
        assert response.status_code == 303
        assert response.headers["location"].startswith(LOGIN + "?")
        query = query_of(response.headers["location"])
        assert query == {"next": path + "?q=a%26b", **SCOPE_QUERIES[guard]}
        assert site.ran == []

    def test_program(self, site, path, guard):
        """A program gets 401 in JSON, without a cookie."""
        views(site, GUARDS[guard])
        response = site.get(path)
        assert response.status_code == 401
        report = response.json
        assert report["error"] == "login_required"
        login, _, query = report["login_url"].partition("?")
        assert login == LOGIN
        assert dict(parse_qsl(query)) == SCOPE_QUERIES[guard]
        assert "set-cookie" not in response.headers
        assert site.ran == []


@pytest.mark.parametrize("path", PATHS)
class TestRefusals:
    def test_missing_scope(self, site, path):
        """Without the scope a program gets 403 and the missing scopes."""
        views(site, requires_tiktok("video.list"))
        site.log_in(scopes=BASIC)
        response = site.get(path)
        assert response.status_code == 403
        assert response.json == {
            "error": "scope_required",
            "missing": ["video.list"],
            "login_url": LOGIN + "?scopes=video.list",
        }
        assert site.ran == []

    def test_middleware_absent(self, site, path):
        """Without the middleware the guard raises an error that says how to add it."""
        views(site, requires_tiktok)
        site.app.wsgi_app = site.bare
        with pytest.raises(ConfigurationError, match="TikTokOAuthWSGIMiddleware"):
            site.get(path)
        assert site.ran == []

    @pytest.mark.parametrize("status", [401, 403])
    def test_error_pages(self, site, path, status):
        """An app's own error page for that status does not replace the refusal."""
        views(site, requires_tiktok("video.list"))

        @site.app.errorhandler(status)
        def handle(error):
            return "Sorry", status, {"Set-Cookie": "a=b", "Location": "/elsewhere"}

        if status == 403:
            site.log_in(scopes=BASIC)
        response = site.get(path)
        assert response.status_code == status
        assert response.is_json
        assert "set-cookie" not in response.headers
        assert "location" not in response.headers
        assert site.get(path, PAGE).status_code == 303

    def test_general_error_page(self, site, path):
        """An error handler for every exception does not replace a refusal either."""
        views(site, requires_tiktok)
        site.app.register_error_handler(Exception, lambda error: ("Sorry", error.code))
        assert site.get(path).json == {"error": "login_required", "login_url": LOGIN}

    @pytest.mark.parametrize("headers", [API, PAGE], ids=["program", "browser"])
    def test_caught(self, site, path, headers):
        """If the app catches the refusal and answers otherwise, its answer stays."""
        views(site, requires_tiktok)
        site.app.register_error_handler(401, lambda error: ("Try our shop", 200))
        response = site.get(path, headers)
        assert (response.status_code, response.text) == (200, "Try our shop")
        assert response.headers["cache-control"] == "private"
        assert response.headers["vary"] == "Cookie"


class TestDecorated:
    def test_class(self):
        """A class is refused when it is decorated, with where the guard belongs."""
        with pytest.raises(TypeError, match="among the class's decorators"):

            @requires_tiktok
            class Videos(MethodView):
                pass

    def test_keeps_its_name(self, site):
        """A guarded view keeps its name, which names its endpoint, and its
        docstring.
        """

        @site.app.get("/")
        @requires_tiktok("video.list")
        def videos():
            """The videos."""

        assert (videos.__name__, videos.__doc__) == ("videos", "The videos.")
        assert site.app.view_functions["videos"] is videos

    def test_arguments(self, site):
        """Arguments from the path reach the view unchanged."""

        @site.app.get("/<int:number>/<path:rest>")
        @requires_tiktok
        def view(number, rest):
            return [number, rest]

        site.log_in()
        assert site.get("/7/a/b").json == [7, "a/b"]

    def test_methods(self, site):
        """A guard applies to every method of its view."""

        @site.app.route("/", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
        @requires_tiktok
        def view():
            site.ran.append("view")
            return SECRET

        for method in ("POST", "PUT", "DELETE", "PATCH"):
            response = site.client.open("/", method=method, headers=PAGE)
            assert response.status_code == 401
            report = response.text if method == "POST" else response.json["error"]
            assert report == "login_required" or "Please log in" in report
        assert site.ran == []
        site.log_in()
        assert site.client.post("/").text == SECRET

    @pytest.mark.parametrize(
        "kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-odd"]
    )
    def test_bodies(self, site, kind):
        """A request with a body of any type does not pass the guard."""

        @site.app.post("/")
        @requires_tiktok
        def view():
            return SECRET

        response = site.client.post("/", data=b"x" * 5000, content_type=kind)
        assert response.status_code == 401
        assert SECRET not in response.text

    def test_head(self, site):
        """HEAD of a guarded page gets the redirect to the login, and nothing of the
        page.
        """
        views(site, requires_tiktok)
        response = site.client.head("/function", headers=PAGE)
        assert response.status_code == 303
        assert response.data == b""

    def test_twice(self, site):
        """The outer one of two guards on a view decides first."""

        @site.app.get("/")
        @requires_tiktok
        @requires_tiktok("video.list")
        def view():
            return SECRET

        assert site.get().status_code == 401
        site.log_in(scopes=BASIC)
        assert site.get().status_code == 403

    def test_after_request(self, site):
        """Headers that after_request puts on a refusal do not reach the client."""
        views(site, requires_tiktok)

        @site.app.after_request
        def mark(response):
            response.headers["x-marked"] = SECRET
            return response

        assert "x-marked" not in site.get("/function").headers
        site.log_in()
        assert site.get("/function").headers["x-marked"] == SECRET

    def test_teardown(self, site):
        """Teardown functions are called for a refused request, too."""
        views(site, requires_tiktok)
        site.app.teardown_request(lambda error: site.ran.append("teardown"))
        assert site.get("/function").status_code == 401
        assert site.ran == ["teardown"]

    @async_views
    def test_async(self, site):
        """An async view can be guarded, and runs for an authenticated user."""

        @site.app.get("/")
        @requires_tiktok
        async def view():
            site.ran.append("view")
            return SECRET

        assert site.get().status_code == 401
        assert site.ran == []
        site.log_in()
        assert site.get().text == SECRET


class TestAuth:
    def test_who(self, site):
        """tiktok_auth is the user of the current request."""

        @site.app.get("/")
        def view():
            return tiktok_auth.open_id or "nobody"

        assert site.get().text == "nobody"
        site.log_in(person=site.tiktok.people[1])
        response = site.get()
        assert response.text == site.tiktok.people[1].open_id
        assert response.headers["vary"] == "Cookie"

    def test_templates(self, site):
        """tiktok_auth can be used in a template."""
        from flask import render_template_string

        @site.app.get("/")
        def view():
            return render_template_string(
                "{% if tiktok.is_authenticated %}{{ tiktok.user.display_name }}"
                "{% else %}{{ tiktok.login_url('/') }}{% endif %}",
                tiktok=tiktok_auth,
            )

        assert site.get().text == LOGIN + "?next=/"
        site.log_in()
        assert site.get().text == site.tiktok.people[0].display_name

    def test_outside_a_request(self):
        """Outside a request tiktok_auth raises Flask's own error."""
        with pytest.raises(RuntimeError, match="outside of request context"):
            _ = tiktok_auth.is_authenticated

    def test_guard_outside_a_request(self):
        """A guarded view called outside a request raises Flask's own error."""
        with pytest.raises(RuntimeError, match="outside of request context"):
            requires_tiktok(lambda: SECRET)()

    def test_streams(self, site):
        """A stream with the request's context sees the request's user."""

        @site.app.get("/")
        @requires_tiktok
        def view():
            @stream_with_context
            def chunks():
                site.ran.append("stream")
                yield tiktok_auth.open_id
                yield " and no more"

            return Response(chunks())

        assert site.get().status_code == 401
        assert site.ran == []
        site.log_in()
        response = site.get()
        assert response.text == site.tiktok.people[0].open_id + " and no more"
        assert response.headers["cache-control"] == "private"

    def test_threads(self, site):
        """A thread with a copy of the request's context sees the request's user."""
        from threading import Thread

        @site.app.get("/")
        @requires_tiktok
        def view():
            found = []
            job = copy_current_request_context(
                lambda: found.append(tiktok_auth.open_id)
            )
            thread = Thread(target=job)
            thread.start()
            thread.join()
            return found

        site.log_in()
        assert site.get().json == [site.tiktok.people[0].open_id]


class TestClients:
    def test_many(self, site):
        """Two test clients have separate sessions."""
        views(site, requires_tiktok)
        site.log_in()
        assert site.get("/function").text == SECRET
        other = site.app.test_client()
        assert other.get("/function", headers=API).status_code == 401

    def test_log_out(self, site):
        """A test client logs out with a POST from a page of this site."""
        views(site, requires_tiktok)
        site.log_in()
        response = site.client.post("/auth/tiktok/logout", headers=SAME_ORIGIN)
        assert response.status_code == 303
        assert site.get("/function").status_code == 401

    def test_as_context(self, site):
        """In a client's with block, the request and its user stay available."""
        views(site, requires_tiktok)
        site.log_in()
        with site.client:
            site.get("/function")
            assert tiktok_auth.open_id == site.tiktok.people[0].open_id

"""Whole logins on platforms that call an app with events (docs/integrations/serverless.md)."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

pytest.importorskip("mangum", reason="mangum is not installed")
pytest.importorskip("apig_wsgi", reason="apig_wsgi is not installed")
pytest.importorskip("serverless_wsgi", reason="serverless_wsgi is not installed")
pytest.importorskip("azure.functions", reason="azure.functions is not installed")
pytest.importorskip(
    "functions_framework", reason="functions_framework is not installed"
)

import azure.functions
import serverless_wsgi
from a2wsgi import ASGIMiddleware, WSGIMiddleware
from apig_wsgi import make_lambda_handler
from flask import Flask, request
from mangum import Mangum
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tiktok_oauth_middleware import (
    SQLiteStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.flask import tiktok_auth as flask_auth
from tiktok_oauth_middleware.starlette import tiktok_auth
from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import CALLBACK, LOGIN, LOGOUT, Clock, make_settings, query_of
from ..support.platforms import (
    Azure,
    Edge,
    Google,
    HttpApi,
    LoadBalancer,
    Platform,
    RestApi,
    Visitor,
)
from ..support.recipes import blocks, in_environment, run

EXECUTE_API = "abc123.execute-api.eu-west-1.amazonaws.com"


def shown(auth: Any) -> dict[str, Any]:
    return {
        "open_id": auth.open_id,
        "token": auth.token.access_token if auth.token else None,
        "login": auth.login_url(next="/x"),
    }


@cache
def starlette_app() -> Starlette:
    async def show(request: Any) -> Response:
        response = JSONResponse(shown(tiktok_auth(request)))
        response.set_cookie("theme", "dark", httponly=True)
        response.set_cookie("language", "fr", httponly=True)
        return response

    async def echo(request: Any) -> Response:
        return Response(await request.body(), media_type="application/octet-stream")

    return Starlette(
        routes=[
            Route("/members/list", show),
            Route("/who", show),
            Route("/echo", echo, methods=["POST"]),
        ]
    )


@cache
def flask_app() -> Flask:
    app = Flask("serverless")

    @app.get("/members/list")
    @app.get("/who", endpoint="who")
    def show() -> Any:
        response = app.json.response(shown(flask_auth))
        response.set_cookie("theme", "dark", httponly=True)
        response.set_cookie("language", "fr", httponly=True)
        return response

    @app.post("/echo")
    def echo() -> Any:
        return app.response_class(
            request.get_data(), content_type="application/octet-stream"
        )

    return app


@pytest.fixture(autouse=True)
def loop():
    """Give the thread one event loop, as an instance has."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    for function_app in _FUNCTION_APPS:
        function_app.startup_task_done = False
    _FUNCTION_APPS.clear()
    for task in asyncio.all_tasks(made):
        task.cancel()
    made.run_until_complete(made.shutdown_asyncgens())
    made.run_until_complete(made.shutdown_default_executor())
    made.close()
    asyncio.set_event_loop(None)


def recipe(name: str) -> dict[str, Any]:
    """Return the functions of a recipe, whose app the tests build."""
    return run("integrations/serverless.md", name)


#: The host keeps each app until its process ends.
_FUNCTION_APPS: list[Any] = []


# --- the adapters -------------------------------------------------------------------


def by_mangum(app: Any, platform: Platform) -> Any:
    below = recipe("below_asgi")["below"]
    return Mangum(below(platform.prefix, app) if platform.prefix else app)


def by_mangum_without_lifespan(app: Any, platform: Platform) -> Any:
    return Mangum(app, lifespan="off")


def by_mangum_at_the_edge(app: Any, platform: Platform) -> Any:
    return Mangum(app, custom_handlers=[recipe("edge")["Edge"]])


def by_apig_wsgi(app: Any, platform: Platform) -> Any:
    below = recipe("below_wsgi")["below"]
    return make_lambda_handler(
        below(platform.prefix, app) if platform.prefix else app, binary_support=True
    )


def by_serverless_wsgi(app: Any, platform: Platform) -> Any:
    return lambda event, context: serverless_wsgi.handle_request(app, event, context)


def by_azure_asgi(app: Any, platform: Platform) -> Any:
    made = azure.functions.AsgiFunctionApp(
        app=app, http_auth_level=azure.functions.AuthLevel.ANONYMOUS
    )
    [function] = made.get_functions()
    _FUNCTION_APPS.append(made)
    user = function.get_user_function()
    return lambda req, context: asyncio.get_event_loop().run_until_complete(
        user(req, context)
    )


def by_azure_asgi_main(app: Any, platform: Platform) -> Any:
    return azure.functions.AsgiMiddleware(app).main


def by_azure_wsgi(app: Any, platform: Platform) -> Any:
    made = azure.functions.WsgiFunctionApp(
        app=app, http_auth_level=azure.functions.AuthLevel.ANONYMOUS
    )
    [function] = made.get_functions()
    return function.get_user_function()


def both_bridges(app: Any, platform: Platform) -> Any:
    """Return an ASGI app in an adapter for WSGI apps."""
    return by_apig_wsgi(ASGIMiddleware(app), platform)


@dataclass(frozen=True)
class Case:
    platform: Platform
    adapt: Callable[[Any, Platform], Any]
    is_wsgi: bool = False
    environ: tuple[tuple[str, str], ...] = ()


STAGED = ("API_GATEWAY_BASE_PATH", "dev")
CASES = {
    "mangum-http-api": Case(HttpApi(), by_mangum),
    "mangum-http-api-lifespan-off": Case(HttpApi(), by_mangum_without_lifespan),
    "mangum-http-api-stage": Case(HttpApi(host=EXECUTE_API, stage="dev"), by_mangum),
    "mangum-rest-api": Case(RestApi(host=EXECUTE_API), by_mangum),
    "mangum-rest-api-base-path": Case(RestApi(base_path="/shop"), by_mangum),
    "mangum-alb": Case(LoadBalancer(), by_mangum),
    "mangum-alb-single-values": Case(LoadBalancer(has_many=False), by_mangum),
    "mangum-edge": Case(Edge(), by_mangum_at_the_edge),
    "apig-wsgi-http-api": Case(HttpApi(), by_apig_wsgi, True),
    "apig-wsgi-http-api-stage": Case(
        HttpApi(host=EXECUTE_API, stage="dev"), by_apig_wsgi, True
    ),
    "apig-wsgi-rest-api": Case(RestApi(host=EXECUTE_API), by_apig_wsgi, True),
    "apig-wsgi-rest-api-base-path": Case(
        RestApi(base_path="/shop"), by_apig_wsgi, True
    ),
    "apig-wsgi-alb": Case(LoadBalancer(), by_apig_wsgi, True),
    "apig-wsgi-a2wsgi": Case(HttpApi(), both_bridges),
    "serverless-wsgi-rest-api": Case(
        RestApi(host=EXECUTE_API), by_serverless_wsgi, True
    ),
    "serverless-wsgi-rest-api-base-path": Case(
        RestApi(base_path="/dev"), by_serverless_wsgi, True, (STAGED,)
    ),
    "serverless-wsgi-http-api": Case(
        RestApi(host=EXECUTE_API, stage="$default"),
        by_serverless_wsgi,
        True,
        (("STRIP_STAGE_PATH", "yes"),),
    ),
    "serverless-wsgi-alb": Case(LoadBalancer(), by_serverless_wsgi, True),
    "azure-asgi": Case(Azure(), by_azure_asgi),
    "azure-asgi-main": Case(Azure(), by_azure_asgi_main),
    "azure-wsgi": Case(Azure(), by_azure_wsgi, True),
}


class Site:
    """One case: a stand-in, a store that instances share, and browsers."""

    def __init__(self, case: Case, folder: Any) -> None:
        self.case, self.platform = case, case.platform
        self.clock = Clock()
        self.settings = make_settings(
            redirect_uri=f"{self.platform.origin}{self.platform.prefix}{CALLBACK}",
            protect=["/members"],
            scopes=["user.info.basic"],
            session_idle=2 * 86_400,
        )
        self.fake = FakeTikTok.for_settings(self.settings, clock=self.clock)
        self.store = SQLiteStore(folder / "tokens.sqlite3", clock=self.clock)
        self.events: list[Any] = []

    def make(self) -> Any:
        """Start an instance."""
        options: dict[str, Any] = {
            "store": self.store,
            "transport": self.fake.transport,
            "clock": self.clock,
            "on_event": self.events.append,
        }
        if self.case.is_wsgi:
            app = flask_app().wsgi_app
            wrapped: Any = TikTokOAuthWSGIMiddleware(app, self.settings, **options)
        else:
            wrapped = TikTokOAuthMiddleware(starlette_app(), self.settings, **options)
        return self.case.adapt(wrapped, self.platform)

    def visitor(self, *, is_cold: bool) -> Visitor:
        """Return a browser whose requests one instance answers, or a new instance for
        each.
        """
        if is_cold:
            return Visitor(self.platform, self.make)
        made = self.make()
        return Visitor(self.platform, lambda: made)

    def path(self, below: str) -> str:
        return self.platform.prefix + below

    def log_in(self, visitor: Visitor, **choice: Any) -> Any:
        begun = visitor.get(self.path(LOGIN))
        return visitor.get(self.fake.consent(begun.location, **choice))


@pytest.fixture(params=list(CASES))
def site(request, tmp_path, monkeypatch):
    case = CASES[request.param]
    for name, value in case.environ:
        monkeypatch.setenv(name, value)
    made = Site(case, tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
def test_journey(site, is_cold):
    """A user logs in, stays signed in after a refresh, posts a form, and logs out.

    This works with one instance, and with a new one for each request.
    """
    visitor, page = (
        site.visitor(is_cold=is_cold),
        site.path("/members/list?q=caf%C3%A9"),
    )
    guarded = visitor.get(page)
    assert guarded.status == 303
    assert guarded.location.startswith(site.path(LOGIN) + "?next=")
    begun = visitor.get(guarded.location)
    assert query_of(begun.location)["redirect_uri"] == site.settings.redirect_uri
    assert "no-store" in begun.one("cache-control")
    back = visitor.get(site.fake.consent(begun.location))
    assert (back.status, back.location) == (303, page)
    assert "no-store" in back.one("cache-control")
    # The session's cookie arrived, and so did the deletion of the login's cookie.
    assert len(back.all("set-cookie")) == 2
    assert [*visitor.cookies] == ["__Host-tiktok"]
    first = visitor.get(page)
    seen = json_of(first)
    assert seen["open_id"] == site.fake.people[0].open_id
    assert seen["login"].startswith(site.path(LOGIN))
    assert "private" in first.one("cache-control")
    assert "cookie" in first.one("vary").lower()
    assert {"theme", "language"} <= {*visitor.cookies}
    site.clock.advance(86_400 - 60)
    second = json_of(visitor.get(page))
    assert second["token"] not in (None, seen["token"])
    assert site.fake.count("token", grant_type="refresh_token") == 1
    body = bytes(range(256)) * 40
    assert visitor.post(site.path("/echo"), body, "application/zip").body == body
    out = visitor.post(site.path(LOGOUT), b"x=1", "application/x-www-form-urlencoded")
    assert (out.status, out.location) == (303, site.path("/"))
    assert "__Host-tiktok" not in visitor.cookies
    assert visitor.get(page).status == 303


def json_of(answer):
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def test_many_tabs(site):
    """Seven tabs each begin a login, and each returns to its page."""
    visitor = site.visitor(is_cold=True)
    begun = {
        number: visitor.get(f"{site.path(LOGIN)}?next=/members/list%3Ftab={number}")
        for number in range(7)
    }
    assert len(visitor.cookies) == 7
    for number, answer in begun.items():
        back = visitor.get(site.fake.consent(answer.location))
        assert back.location == f"/members/list?tab={number}"
    assert [*visitor.cookies] == ["__Host-tiktok"]


def test_longest_cookies(site):
    """The longest possible cookies of the middleware fit the platform's limits."""
    visitor = site.visitor(is_cold=False)
    site.log_in(visitor)
    for _ in range(4):
        wanted = "/members/list?q=" + "%C3%A9" * 300
        visitor.ask("GET", f"{site.path(LOGIN)}?next={wanted.replace('%', '%25')}")
    line = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    assert 2500 < len(line) <= 4096
    assert json_of(visitor.get(site.path("/who")))["open_id"]


def test_cancelled_login(site):
    """A user who cancels at TikTok gets a page with its status, and no session."""
    visitor = site.visitor(is_cold=False)
    begun = visitor.get(site.path(LOGIN))
    denied = visitor.get(site.fake.consent(begun.location, deny=True))
    assert denied.status == 403
    assert b"<html" in denied.body
    assert json_of(visitor.get(site.path("/who")))["open_id"] is None


def test_outage(site, caplog):
    """While TikTok fails, users get a page that says when to try again.

    Azure's adapter for WSGI apps raises an error for every 5xx, as the docs say.
    """
    visitor = site.visitor(is_cold=False)
    begun = visitor.get(site.path(LOGIN))
    callback = site.fake.consent(begun.location)
    site.fake.fail("token", status=503, times=9)
    if site.case.adapt is by_azure_wsgi:
        with pytest.raises(Exception, match="<html"):
            visitor.get(callback)
    else:
        answer = visitor.get(callback)
        assert answer.status in (502, 503)
        assert b"<html" in answer.body
    site.fake.clear_faults()
    assert site.log_in(visitor).status == 303
    assert json_of(visitor.get(site.path("/who")))["open_id"]


def test_redirect_uri_that_forgot_the_stage(tmp_path, caplog):
    """If the redirect URI lacks the stage, the log says so."""
    case = CASES["mangum-rest-api"]
    site = Site(case, tmp_path)
    site.settings = make_settings(redirect_uri=f"https://{EXECUTE_API}{CALLBACK}")
    with caplog.at_level(logging.ERROR):
        site.visitor(is_cold=False).get("/prod/who")
    site.store.close()
    assert "is not below the mount point /prod" in caplog.text


# --- the recipes ----------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch):
    """Return a stand-in on a port, set in the environment as in the docs."""
    fake = FakeTikTok()
    with in_environment(fake, monkeypatch):
        yield fake


def walk(visitor, fake, path="/who", anonymous=b"anonymous"):
    """Log in on a recipe's site, check the user, and log out."""
    if anonymous is not None:
        assert visitor.get(path).body == anonymous
    prefix = visitor.platform.prefix
    begun = visitor.get(prefix + LOGIN)
    back = visitor.get(fake.consent(begun.location))
    assert back.status == 303, back.body
    assert visitor.get(path).body == fake.people[0].open_id.encode()
    kind = "application/x-www-form-urlencoded"
    assert visitor.post(prefix + LOGOUT, b"", kind).status == 303
    assert "__Host-tiktok" not in visitor.cookies


@pytest.mark.parametrize(
    ("name", "platform"),
    [
        ("lambda", HttpApi()),
        ("lambda", LoadBalancer(has_many=False)),
        ("apig_wsgi", HttpApi()),
        ("serverless_wsgi", RestApi(stage="$default")),
    ],
)
def test_recipes_for_aws(stand_in, name, platform):
    """The handlers on the page log a user in and out."""
    handler = recipe(name)["handler"]
    walk(Visitor(platform, lambda: handler), stand_in)


def test_recipe_for_azure(stand_in):
    """The function app in the docs logs a user in and out, below Azure's prefix."""
    app = recipe("azure_asgi")["app"]
    _FUNCTION_APPS.append(app)
    [function] = app.get_functions()
    user, loop = function.get_user_function(), asyncio.get_event_loop()
    walk(
        Visitor(Azure(), lambda: lambda *given: loop.run_until_complete(user(*given))),
        stand_in,
    )
    host = json.loads(blocks("integrations/serverless.md")["host"])
    assert host["extensions"]["http"]["routePrefix"] == ""


@pytest.fixture
def google(monkeypatch, tmp_path):
    """Return a function that builds the framework's app around a recipe.

    The framework sets the module, its folder and its own options for the whole process.
    """
    from functions_framework import create_app

    source = tmp_path / "main.py"
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "main", None)
    values = {"TARGET": "main", "SOURCE": str(source), "SIGNATURE_TYPE": "http"}
    for name, value in values.items():
        monkeypatch.setenv(f"FUNCTION_{name}", value)

    def make(name, change=lambda text: text):
        source.write_text(change(blocks("integrations/serverless.md")[name]))
        return create_app("main", str(source))

    return make


def test_recipe_for_google(stand_in, google):
    """A function that needs a login redirects a browser to it, and answers
    afterwards.
    """
    app = google("google")
    visitor = Visitor(Google(), lambda: app)
    assert visitor.get("/page?x=1").location == f"{LOGIN}?next=/page%3Fx%3D1"
    walk(visitor, stand_in, "/page", anonymous=None)


def test_recipe_for_google_with_an_app(stand_in, google):
    """A whole app inside a function logs a user in and out."""
    app = google("google_app")
    walk(Visitor(Google(), lambda: app), stand_in)


def test_google_below_the_name_of_the_function(stand_in, monkeypatch, google):
    """At an address with the function's name in it, `below` corrects the links."""
    host = "europe-west1-project.cloudfunctions.net"
    monkeypatch.setenv("TIKTOK_REDIRECT_URI", f"https://{host}/main{CALLBACK}")
    below = blocks("integrations/serverless.md")["below_wsgi"]

    def change(source):
        assert "from_app(app," in source
        return below + source.replace("from_app(app,", 'from_app(below("/main", app),')

    app = google("google_app", change)
    platform = Google(host=host, prefix="/main")
    walk(Visitor(platform, lambda: app), stand_in, "/main/who")


def two_cookies(environ, start_response):
    start_response("200 OK", [("set-cookie", "a=1"), ("set-cookie", "b=2")])
    return [b""]


def test_adapters_that_lose_cookies(monkeypatch):
    """The docs' warnings of lost cookies and wrong links are still true."""
    monkeypatch.delenv("STRIP_STAGE_PATH", raising=False)
    event = HttpApi().event("GET", "/", [], b"")
    answer = serverless_wsgi.handle_request(two_cookies, event, None)
    assert "cookies" not in answer
    event = LoadBalancer(has_many=False).event("GET", "/", [], b"")
    answer = make_lambda_handler(two_cookies)(event, None)
    assert answer["headers"] == {"set-cookie": "b=2"}
    seen = []

    def names(environ, start_response):
        seen.append(environ["SCRIPT_NAME"])
        return two_cookies(environ, start_response)

    event = HttpApi(host=EXECUTE_API).event("GET", "/", [], b"")
    serverless_wsgi.handle_request(names, event, None)
    assert seen == ["/$default"]


# --- both ways between ASGI and WSGI ---------------------------------------------------


def test_flask_below_asgi_at_a_stage(tmp_path):
    """A Flask app in the ASGI middleware works below a stage, too."""
    site = Site(Case(RestApi(host=EXECUTE_API), by_mangum), tmp_path)
    wrapped = TikTokOAuthMiddleware(
        WSGIMiddleware(flask_app()),
        site.settings,
        store=site.store,
        transport=site.fake.transport,
        clock=site.clock,
    )
    handler = by_mangum(wrapped, site.platform)
    visitor = Visitor(site.platform, lambda: handler)
    site.log_in(visitor)
    seen = json_of(visitor.get("/prod/members/list"))
    assert seen["open_id"] == site.fake.people[0].open_id
    assert seen["login"].startswith("/prod/auth/")
    assert {"theme", "language"} <= {*visitor.cookies}
    site.store.close()


def test_client_that_leaves(tmp_path):
    """A client that disconnects during a body does not affect other users' sessions."""
    site = Site(Case(HttpApi(), both_bridges), tmp_path)

    async def endless(scope, receive, send):
        assert scope["tiktok"].open_id is not None
        head = {"status": 200, "headers": [(b"content-type", b"text/plain")]}
        await send({"type": "http.response.start", **head})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    options = {
        "store": site.store,
        "transport": site.fake.transport,
        "clock": site.clock,
    }
    visitor = site.visitor(is_cold=False)
    site.log_in(visitor)
    bridge = ASGIMiddleware(TikTokOAuthMiddleware(endless, site.settings, **options))
    site.clock.advance(86_400 - 60)
    cookie = f"__Host-tiktok={visitor.cookies['__Host-tiktok']}"
    environ = {"HTTP_COOKIE": cookie, "PATH_INFO": "/"}
    setup_testing_defaults(environ)
    statuses = []
    body = bridge(
        environ, lambda status, headers, exc_info=None: statuses.append(status)
    )
    assert next(body) == b"x"
    body.close()
    assert statuses == ["200 OK"]
    assert json_of(visitor.get("/members/list"))["open_id"]
    assert site.fake.count("token", grant_type="refresh_token") == 1
    site.store.close()

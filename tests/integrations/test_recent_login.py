"""`requires_tiktok(max_age=...)` in Starlette, FastAPI and Flask."""

from __future__ import annotations

from typing import Annotated, Any

import httpx2
import pytest
from fastapi import FastAPI, Security
from flask import Flask
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware import fastapi as for_fastapi
from tiktok_oauth_middleware import flask as for_flask
from tiktok_oauth_middleware import starlette as for_starlette
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import API, LOGIN, ORIGIN, PAGE, make_settings

#: Every guard, as a function of views.
GUARDS = {
    "starlette": for_starlette.requires_tiktok,
    "fastapi": for_fastapi.requires_tiktok,
    "flask": for_flask.requires_tiktok,
}
BAD = [
    (True, TypeError),
    (False, TypeError),
    ("300", TypeError),
    ([], TypeError),
    (3j, TypeError),
    (-1, ValueError),
    (-0.001, ValueError),
    (float("nan"), ValueError),
    (float("inf"), ValueError),
    (float("-inf"), ValueError),
]


@pytest.fixture
def settings():
    return make_settings()


@pytest.fixture
def fake(settings, clock):
    return FakeTikTok.for_settings(settings, clock=clock)


@pytest.fixture
def options(fake, clock):
    return {
        "store": MemoryStore(clock=clock),
        "transport": fake.transport,
        "clock": clock,
    }


def starlette_app() -> Any:
    guard = for_starlette.requires_tiktok

    @guard(max_age=60)
    async def asynchronous(request):
        return PlainTextResponse("passed")

    @guard("video.list", max_age=60)
    def plain(request):
        return PlainTextResponse("passed")

    @guard(max_age=60)
    class Endpoint(HTTPEndpoint):
        async def get(self, request):
            return PlainTextResponse("passed")

    async def bare(request):
        return PlainTextResponse("passed")

    @guard(max_age=60)
    async def socket(websocket):
        await websocket.accept()
        await websocket.close()

    return Starlette(
        routes=[
            Route("/async", asynchronous),
            Route("/plain", plain),
            Route("/class", Endpoint),
            Route("/bare", guard(bare, max_age=60)),
            WebSocketRoute("/socket", socket),
        ]
    )


def fastapi_app() -> Any:
    app = FastAPI()
    guard = for_fastapi.requires_tiktok

    @app.get("/async", responses=for_fastapi.recent_tiktok_responses)
    @guard(max_age=60)
    async def asynchronous() -> str:
        return "passed"

    @app.get("/plain")
    @guard("video.list", max_age=60)
    def plain() -> str:
        return "passed"

    @app.get("/class")
    async def dependency(
        auth: Annotated[
            for_fastapi.SignedInAuth,
            Security(for_fastapi.recent_tiktok_auth(60), scopes=["video.list"]),
        ],
    ) -> str:
        assert auth.logged_in_within(60)
        return "passed"

    @app.get("/bare")
    @guard(max_age=1000)
    @guard(max_age=60)
    async def twice() -> str:
        return "passed"

    return app


def flask_app() -> Any:
    app = Flask(__name__)
    guard = for_flask.requires_tiktok

    @app.get("/async")
    @guard(max_age=60)
    def asynchronous() -> str:
        return "passed"

    @app.get("/plain")
    @guard("video.list", max_age=60)
    def plain() -> str:
        return "passed"

    class View(MethodView):
        decorators = (guard(max_age=60),)

        def get(self) -> str:
            return "passed"

    app.add_url_rule("/class", view_func=View.as_view("class"))
    app.add_url_rule("/bare", "bare", guard(lambda: "passed", max_age=60))
    return app


APPS = {"starlette": starlette_app, "fastapi": fastapi_app, "flask": flask_app}


@pytest.fixture(params=sorted(APPS))
def client(request, settings, options):
    app = APPS[request.param]()
    if request.param == "flask":
        app.wsgi_app = TikTokOAuthWSGIMiddleware(app.wsgi_app, settings, **options)
        transport = httpx2.WSGITransport(app)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as made:
            yield made
        return
    app = TikTokOAuthMiddleware(app, settings, **options)
    with TestClient(app, base_url=ORIGIN) as made:
        yield made


@pytest.mark.parametrize("path", ["/async", "/plain", "/class", "/bare"])
def test_guards(client, fake, clock, path):
    """Every form of the guard accepts a recent login, and redirects an older one once."""
    assert client.get(path, headers=API).json()["error"] == "login_required"
    login_as(client, fake)
    assert "passed" in client.get(path, headers=API).text
    clock.advance(61)
    refused = client.get(path, headers=API)
    assert refused.status_code == 401
    assert refused.json()["error"] == "reauthentication_required"
    assert refused.json()["max_age"] == 60
    sent = client.get(path, headers=PAGE, follow_redirects=False)
    again = f"{LOGIN}?next={path}&choose_account=1"
    assert (sent.status_code, sent.headers["location"]) == (303, again)
    assert login_as(client, fake, login_path=again).headers["location"] == path
    assert "passed" in client.get(path, headers=PAGE).text


@pytest.mark.parametrize("client", ["starlette"], indirect=True)
def test_socket(client, fake, clock):
    """A WebSocket is refused before its view accepts it."""
    headers = {"origin": ORIGIN}
    login_as(client, fake)
    with client.websocket_connect("wss://app.example.com/socket", headers=headers):
        pass
    clock.advance(61)
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("wss://app.example.com/socket", headers=headers),
    ):
        pass
    assert refused.value.status_code == 401
    assert refused.value.json()["error"] == "reauthentication_required"


@pytest.mark.parametrize("guard", sorted(GUARDS))
@pytest.mark.parametrize(("max_age", "error"), BAD, ids=repr)
def test_bad_age(guard, max_age, error):
    """An invalid age is refused with a reason when the view is decorated."""
    with pytest.raises(error, match="max_age must be a (finite )?number"):
        GUARDS[guard](max_age=max_age)
    with pytest.raises(error, match="max_age must be a (finite )?number"):
        GUARDS[guard](lambda request: None, max_age=max_age)


@pytest.mark.parametrize(("max_age", "error"), [*BAD, (None, TypeError)], ids=repr)
def test_bad_age_of_a_dependency(max_age, error):
    """An invalid age is refused when the dependency is made, and so is None."""
    with pytest.raises(error, match="max_age must be a (finite )?number"):
        for_fastapi.recent_tiktok_auth(max_age)


def test_override():
    """An app's test can override the dependency of an age, also the decorator's."""
    app = fastapi_app()
    app.dependency_overrides[for_fastapi.recent_tiktok_auth(60)] = lambda: None
    assert TestClient(app).get("/async").text == '"passed"'
    assert for_fastapi.recent_tiktok_auth(60) is not for_fastapi.recent_tiktok_auth(61)


class TestOpenApi:
    @pytest.fixture
    def document(self):
        return fastapi_app().openapi()

    @pytest.mark.parametrize("path", ["/async", "/plain", "/class", "/bare"])
    def test_security(self, document, path):
        """Every form of the guard is shown as a login, once, with its scopes."""
        scopes = ["video.list"] if path in ("/plain", "/class") else []
        assert document["paths"][path]["get"]["security"] == [{"TikTok": scopes}]

    def test_no_parameters(self, document):
        """The guard's argument is not shown as a parameter."""
        for operations in document["paths"].values():
            assert "parameters" not in operations["get"]

    def test_responses(self, document):
        """The 401 has two schemas, which the responses fit exactly."""
        shown = document["paths"]["/async"]["get"]["responses"]["401"]
        shapes = shown["content"]["application/json"]["schema"]["anyOf"]
        names = [shape["$ref"].rpartition("/")[2] for shape in shapes]
        assert names == ["LoginRequired", "ReauthenticationRequired"]

    @pytest.mark.parametrize("client", ["fastapi"], indirect=True)
    def test_answer_fits(self, client, fake, clock):
        """A program's JSON fits the schema."""
        login_as(client, fake)
        clock.advance(61)
        answer = client.get("/async", headers=API).json()
        shape = for_fastapi.ReauthenticationRequired.model_validate(answer)
        assert shape.model_dump() == answer

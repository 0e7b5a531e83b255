"""requires_tiktok and the dependency for FastAPI, and what OpenAPI shows of them.

Annotations are evaluated in this module, so that views defined inside functions can use
local names in them.
"""

import functools
from contextlib import ExitStack
from importlib.metadata import version
from typing import Annotated

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Request, Security, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    TikTokAuth,
    TikTokOAuthMiddleware,
)
from tiktok_oauth_middleware.fastapi import (
    LoginRequired,
    ScopeRequired,
    SignedIn,
    requires_tiktok,
    tiktok_auth,
    tiktok_responses,
)
from tiktok_oauth_middleware.testing import login_as

from ..conftest import API, LOGIN, ORIGIN, PAGE

SECRET = "for members only"
BASIC = ["user.info.basic"]
OURS = {"origin": ORIGIN}
#: TestClient does not join a WebSocket's address to a base address.
SOCKETS = ORIGIN.replace("https", "wss")

Videos = Annotated[TikTokAuth, Security(tiktok_auth, scopes=["video.list"])]


class Video(BaseModel):
    """A model of an app's request and response."""

    title: str
    length: int = 0


class Site:
    """A FastAPI app in the middleware, its client, and a list of the views that were
    run.
    """

    def __init__(self, stack, settings, tiktok, clock):
        self.api = FastAPI()
        self.tiktok = tiktok
        wrapped = TikTokOAuthMiddleware(
            self.api,
            settings,
            store=MemoryStore(clock=clock),
            transport=tiktok.transport,
            clock=clock,
        )
        self.wrapped = wrapped
        self._stack = stack
        self.client = self.serve(wrapped)
        self.ran = []

    def serve(self, app):
        return self._stack.enter_context(TestClient(app, base_url=ORIGIN))

    def get(self, path="/", headers=API):
        return self.client.get(path, headers=headers, follow_redirects=False)

    def log_in(self, **choice):
        assert login_as(self.client, self.tiktok, **choice).status_code == 303


@pytest.fixture
def site(settings, tiktok, clock):
    with ExitStack() as stack:
        yield Site(stack, settings, tiktok, clock)


def views(site):
    """Operations of every kind that need a login and video.list."""
    api, ran = site.api, site.ran

    @api.get("/async")
    @requires_tiktok("video.list")
    async def coroutine():
        ran.append("/async")
        return SECRET

    @api.get("/sync")
    @requires_tiktok("video.list")
    def plain():
        ran.append("/sync")
        return SECRET

    @api.get("/async-request")
    @requires_tiktok("video.list")
    async def with_request(request: Request):
        ran.append("/async-request")
        assert request.scope["tiktok"].is_authenticated
        return SECRET

    @api.get("/sync-request")
    @requires_tiktok("video.list")
    def plain_with_request(request: Request):
        ran.append("/sync-request")
        assert request.scope["tiktok"].is_authenticated
        return SECRET

    class Partial:
        async def __call__(self):
            ran.append("/partial")
            return SECRET

    guarded = requires_tiktok("video.list")(functools.partial(Partial()))
    api.get("/partial", name="partial")(guarded)

    @api.get("/dependency")
    async def dependency(tiktok: Videos):
        ran.append("/dependency")
        assert tiktok.is_authenticated
        return SECRET

    @api.get("/sync-dependency")
    def plain_dependency(tiktok: Videos):
        ran.append("/sync-dependency")
        assert tiktok.is_authenticated
        return SECRET

    @api.get("/operation", dependencies=[Security(tiktok_auth, scopes=["video.list"])])
    async def operation():
        ran.append("/operation")
        return SECRET

    members = APIRouter(
        prefix="/router", dependencies=[Security(tiktok_auth, scopes=["video.list"])]
    )

    @members.get("/view")
    async def of_router():
        ran.append("/router/view")
        return SECRET

    api.include_router(members)
    later = APIRouter(prefix="/later")

    @later.get("/view")
    async def of_included():
        ran.append("/later/view")
        return SECRET

    api.include_router(
        later, dependencies=[Security(tiktok_auth, scopes=["video.list"])]
    )

    @api.get("/stream")
    @requires_tiktok("video.list")
    async def stream():
        def chunks():
            ran.append("/stream")
            yield f'"{SECRET}"'

        return StreamingResponse(chunks(), media_type="application/json")


PATHS = [
    "/async",
    "/sync",
    "/async-request",
    "/sync-request",
    "/partial",
    "/dependency",
    "/sync-dependency",
    "/operation",
    "/router/view",
    "/later/view",
    "/stream",
]


@pytest.mark.parametrize("path", PATHS)
class TestOperations:
    def test_signed_in(self, site, path):
        """For a signed-in user with the scope the view runs once, and the answer is
        private.
        """
        views(site)
        site.log_in()
        response = site.get(path)
        assert (response.status_code, response.json()) == (200, SECRET)
        assert response.headers["vary"] == "Cookie"
        assert response.headers["cache-control"] == "private"
        assert site.ran == [path]

    def test_browser(self, site, path):
        """An anonymous browser is redirected to the login and returns afterwards."""
        views(site)
        response = site.get(path, PAGE)
        assert response.status_code == 303
        asks = f"?next={path}&scopes=video.list"
        assert response.headers["location"] == LOGIN + asks
        assert site.ran == []

    def test_program(self, site, path):
        """A program gets 401 in JSON, without a cookie."""
        views(site)
        response = site.get(path)
        assert response.status_code == 401
        assert response.json() == {
            "error": "login_required",
            "login_url": LOGIN + "?scopes=video.list",
        }
        assert "set-cookie" not in response.headers
        assert site.ran == []

    def test_missing_scope(self, site, path):
        """Without the scope a program gets 403 and the missing scopes."""
        views(site)
        site.log_in(scopes=BASIC)
        response = site.get(path)
        assert response.status_code == 403
        assert response.json() == {
            "error": "scope_required",
            "missing": ["video.list"],
            "login_url": LOGIN + "?scopes=video.list",
        }
        assert site.ran == []

    def test_middleware_absent(self, site, path):
        """Without the middleware the guard raises an error that says how to add it."""
        views(site)
        client = site.serve(site.api)
        with pytest.raises(ConfigurationError, match="wrap it in TikTokOAuthMiddl"):
            client.get(path)
        assert site.ran == []


class TestDecorator:
    @pytest.mark.parametrize("guard", [requires_tiktok, requires_tiktok()])
    def test_without_scopes(self, site, guard):
        """Without scopes, any signed-in user passes, with or without parentheses."""

        @site.api.get("/")
        @guard
        async def view():
            return SECRET

        assert site.get().status_code == 401
        site.log_in(scopes=[])
        assert site.get().json() == SECRET

    def test_parameters(self, site):
        """Parameters of the path, the query and the body still work."""

        @site.api.post("/videos/{number}")
        @requires_tiktok
        async def view(
            number: int,
            video: Video,
            request: Request,
            tiktok: SignedIn,
            limit: int = 10,
            note: Annotated[str, Body()] = "",
        ):
            assert request.scope["tiktok"] is tiktok
            return [number, video.title, limit, note]

        site.log_in()
        url = "/videos/7?limit=3"
        body = {"video": {"title": "a"}, "note": "b"}
        assert site.client.post(url, json=body).json() == [7, "a", 3, "b"]
        response = site.client.post("/videos/x", json=body)
        assert response.status_code == 422
        assert [fault["loc"] for fault in response.json()["detail"]] == [
            ["path", "number"]
        ]

    def test_response_model(self, site):
        """The response model is kept, named or from the annotation."""

        @site.api.get("/named", response_model=Video)
        @requires_tiktok
        async def named():
            return {"title": "a", "length": 1, "hidden": SECRET}

        @site.api.get("/annotated")
        @requires_tiktok
        def annotated() -> list[Video]:
            return [Video(title="b")]

        site.log_in()
        assert site.get("/named").json() == {"title": "a", "length": 1}
        assert site.get("/annotated").json() == [{"title": "b", "length": 0}]
        paths = site.api.openapi()["paths"]
        shown = paths["/annotated"]["get"]["responses"]["200"]["content"]
        assert shown["application/json"]["schema"]["items"] == {
            "$ref": "#/components/schemas/Video"
        }

    def test_further_dependencies(self, site):
        """The view's own dependencies are kept, and closed after it."""

        def connection():
            site.ran.append("dependency")
            yield SECRET
            site.ran.append("closed")

        @site.api.get("/")
        @requires_tiktok
        async def view(secret: Annotated[str, Depends(connection)]):
            return secret

        site.log_in()
        assert site.get().json() == SECRET
        assert site.ran == ["dependency", "closed"]

    def test_dependencies(self, site):
        """Headers that the view's dependencies set are not sent with a refusal."""
        from fastapi import HTTPException

        def existing(number: int):
            site.ran.append("dependency")
            raise HTTPException(404, f"there is no {number}")

        @site.api.get("/{number}")
        @requires_tiktok("video.list")
        async def view(there: Annotated[None, Depends(existing)]): ...

        assert site.get("/7").status_code == 401
        assert site.get("/no-number").status_code == 401
        site.log_in(scopes=BASIC)
        assert site.get("/7").status_code == 403
        assert site.ran == []
        site.log_in(login_path=f"{LOGIN}?scopes=video.list")
        assert site.get("/7").status_code == 404

    def test_names(self, site):
        """The operation keeps its name and its description."""

        @site.api.get("/")
        @requires_tiktok
        async def my_videos():
            """The videos."""

        shown = site.api.openapi()["paths"]["/"]["get"]
        assert shown["operationId"] == "my_videos__get"
        assert shown["description"] == "The videos."

    def test_types_for_checkers_only(self, site):
        """A view with an annotation that only type checkers can resolve works."""

        @site.api.get("/", response_model=None)
        @requires_tiktok
        async def view(number: int = 1) -> "KnownToCheckersOnly":  # noqa: F821 - undefined at run time, as under TYPE_CHECKING
            return number

        site.log_in()
        assert site.get("/?number=3").json() == 3

    def test_twice(self, site):
        """With two guards on a view, the scopes of both are needed."""

        @site.api.get("/")
        @requires_tiktok
        @requires_tiktok("video.list")
        async def view():
            return SECRET

        assert site.get().status_code == 401
        site.log_in(scopes=BASIC)
        assert site.get().json()["missing"] == ["video.list"]
        site.log_in(login_path=f"{LOGIN}?scopes=video.list")
        assert site.get().json() == SECRET

    def test_parameter_is_not_shown(self, site):
        """The guard's own argument is not a parameter that clients can send."""

        @site.api.get("/")
        @requires_tiktok
        async def view(limit: int = 1):
            return limit

        shown = site.api.openapi()["paths"]["/"]["get"]
        assert [parameter["name"] for parameter in shown["parameters"]] == ["limit"]
        assert site.get("/?tiktok_login=1").status_code == 401


class TestDependency:
    def test_gives_who(self, site):
        """The dependency returns the authenticated user, with or without required
        scopes.
        """

        @site.api.get("/me")
        async def me(tiktok: SignedIn):
            return tiktok.open_id

        @site.api.get("/videos")
        async def videos(tiktok: Videos):
            return sorted(tiktok.scopes)

        site.log_in(person=site.tiktok.people[1])
        assert site.get("/me").json() == site.tiktok.people[1].open_id
        assert site.get("/videos").json() == ["user.info.basic", "video.list"]

    def test_plain_depends(self, site):
        """A plain Depends works if no scope is required."""

        @site.api.get("/")
        async def view(tiktok: Annotated[TikTokAuth, Depends(tiktok_auth)]):
            return tiktok.open_id

        assert site.get().status_code == 401
        site.log_in()
        assert site.get().json() == site.tiktok.people[0].open_id

    def test_scopes_add_up(self, site):
        """Scopes of dependencies of dependencies add up, as with FastAPI's own."""

        async def creator(
            tiktok: Annotated[
                TikTokAuth, Security(tiktok_auth, scopes=["user.info.basic"])
            ],
        ):
            return tiktok.open_id

        @site.api.get("/")
        async def view(
            open_id: Annotated[str, Security(creator, scopes=["video.list"])],
        ):
            return open_id

        site.log_in(scopes=[])
        assert site.get().json()["missing"] == ["user.info.basic", "video.list"]
        site.log_in()
        assert site.get().json() == site.tiktok.people[0].open_id

    def test_router_and_view(self, site):
        """Scopes of a router and of its view are both needed."""
        router = APIRouter(dependencies=[Security(tiktok_auth)])

        @router.get("/")
        async def view(tiktok: Videos):
            return SECRET

        site.api.include_router(router)
        assert site.get().status_code == 401
        site.log_in(scopes=BASIC)
        assert site.get().status_code == 403
        site.log_in(login_path=f"{LOGIN}?scopes=video.list")
        assert site.get().json() == SECRET

    def test_app_wide(self, site):
        """Dependencies of the whole app guard every operation of it."""
        site.api.router.dependencies.append(Security(tiktok_auth))

        @site.api.get("/")
        async def view():
            return SECRET

        assert site.get().status_code == 401
        site.log_in()
        assert site.get().json() == SECRET

    @pytest.mark.parametrize("path", PATHS[:-1])
    def test_overrides(self, site, path):
        """An app's tests can override the dependency with another user."""
        views(site)

        class Anybody:
            is_authenticated = True

        site.api.dependency_overrides[tiktok_auth] = Anybody
        if "request" in path:
            site.log_in()
        assert site.get(path).json() == SECRET

    def test_own_handlers(self, site):
        """A handler that writes the same refusal differently is replaced, too."""
        from fastapi import HTTPException

        views(site)

        @site.api.exception_handler(HTTPException)
        async def handle(request, error):
            return PlainTextResponse("Sorry", error.status_code)

        assert site.get("/async").json()["error"] == "login_required"
        assert site.get("/dependency", PAGE).status_code == 303

    @pytest.mark.parametrize("content", [b'{"title": 1}', b"[]", b""])
    def test_bodies(self, site, content):
        """The answer to an anonymous invalid body reveals nothing about the view."""

        @site.api.post("/")
        @requires_tiktok
        async def view(video: Video):
            site.ran.append("view")

        headers = {**API, "content-type": "application/json"}
        response = site.client.post("/", content=content, headers=headers)
        assert (response.status_code, site.ran) == (401, [])
        assert response.json() == {"error": "login_required", "login_url": LOGIN}


class TestOpenApi:
    def test_scheme(self, site):
        """OpenAPI shows the session cookie as a security scheme."""
        views(site)
        schemes = site.api.openapi()["components"]["securitySchemes"]
        assert list(schemes) == ["TikTok"]
        assert schemes["TikTok"]["type"] == "apiKey"
        assert schemes["TikTok"]["in"] == "cookie"
        assert schemes["TikTok"]["name"] == "__Host-tiktok"

    @pytest.mark.parametrize("path", PATHS)
    def test_scopes(self, site, path):
        """OpenAPI shows for each operation the scopes that it needs."""
        views(site)
        shown = site.api.openapi()["paths"][path]["get"]
        assert shown["security"] == [{"TikTok": ["video.list"]}]

    def test_open(self, site):
        """An operation that is open to all shows no security."""

        @site.api.get("/")
        async def view():
            return SECRET

        @site.api.get("/me")
        async def me(tiktok: SignedIn):
            return SECRET

        paths = site.api.openapi()["paths"]
        assert "security" not in paths["/"]["get"]
        assert paths["/me"]["get"]["security"] == [{"TikTok": []}]

    @pytest.mark.parametrize("where", ["operation", "router", "app"])
    def test_responses(self, site, where):
        """OpenAPI shows the 401 and 403, wherever they are declared, with their shape."""
        given = {"responses": tiktok_responses}
        app = FastAPI(**(given if where == "app" else {}))
        router = APIRouter(**(given if where == "router" else {}))

        @router.get("/", **(given if where == "operation" else {}))
        @requires_tiktok("video.list")
        async def view():
            return SECRET

        app.include_router(router)
        document = app.openapi()
        shown = document["paths"]["/"]["get"]["responses"]
        assert set(shown) == {"200", "401", "403"}
        shapes = {}
        for status in ("401", "403"):
            reference = shown[status]["content"]["application/json"]["schema"]["$ref"]
            shapes[status] = document["components"]["schemas"][
                reference.removeprefix("#/components/schemas/")
            ]
        error = shapes["401"]["properties"]["error"]
        assert error["const"] == "login_required"
        assert shapes["401"]["required"] == ["error", "login_url"]
        assert shapes["403"]["properties"]["error"]["const"] == "scope_required"
        assert shapes["403"]["properties"]["missing"]["type"] == "array"
        assert shapes["403"]["required"] == ["error", "missing"]

    @pytest.mark.parametrize("scope", ["video.list", "never.asked"])
    def test_answers_fit(self, site, scope):
        """Responses fit the declared schemas exactly."""

        @site.api.get("/", responses=tiktok_responses)
        @requires_tiktok(scope)
        async def view():
            return SECRET

        report = site.get().json()
        assert LoginRequired.model_validate(report).model_dump() == report
        site.log_in(scopes=BASIC)
        report = site.get().json()
        shape = ScopeRequired.model_validate(report)
        assert shape.model_dump(exclude_unset=True) == report
        assert shape.missing == [scope]

    def test_add_middleware(self, settings, tiktok):
        """With `add_middleware` the answers and the document are the same."""
        api = FastAPI(responses=tiktok_responses)
        api.add_middleware(
            TikTokOAuthMiddleware,
            settings=settings,
            store=MemoryStore(),
            transport=tiktok.transport,
        )

        @api.get("/videos")
        async def view(tiktok: Videos):
            return tiktok.open_id

        with TestClient(api, base_url=ORIGIN, follow_redirects=False) as client:
            assert client.get("/videos", headers=API).status_code == 401
            login_as(client, tiktok, scopes=BASIC)
            assert client.get("/videos", headers=API).status_code == 403
            login_as(client, tiktok, login_path=f"{LOGIN}?scopes=video.list")
            assert client.get("/videos").json() == tiktok.people[0].open_id
            shown = client.get("/openapi.json").json()["paths"]["/videos"]["get"]
        assert {"401", "403"} <= set(shown["responses"])
        assert shown["security"] == [{"TikTok": ["video.list"]}]

    def test_served(self, site):
        """The OpenAPI document is public, and does not depend on the session."""
        views(site)
        response = site.get("/openapi.json")
        assert response.status_code == 200
        assert "vary" not in response.headers


@pytest.mark.parametrize("way", ["dependency", "decorator"])
class TestSockets:
    @pytest.fixture
    def made(self, site, way):
        if way == "dependency":

            @site.api.websocket("/")
            async def view(websocket: WebSocket, tiktok: Videos):
                site.ran.append(way)
                await websocket.accept()
                await websocket.send_text(tiktok.open_id)

        else:

            @site.api.websocket("/")
            @requires_tiktok("video.list")
            async def guarded(websocket: WebSocket):
                site.ran.append(way)
                await websocket.accept()
                await websocket.send_text(websocket.scope["tiktok"].open_id)

        return site

    def refused(self, client, headers=OURS):
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(SOCKETS, headers=headers),
        ):
            pass
        return denied.value

    def test_signed_in(self, made, way):
        """A signed-in user may connect from a page of this site."""
        made.log_in()
        with made.client.websocket_connect(SOCKETS, headers=OURS) as socket:
            assert socket.receive_text() == made.tiktok.people[0].open_id
        assert made.ran == [way]

    def test_anonymous(self, made):
        """An anonymous handshake gets 401 in JSON, and the view is not run."""
        response = self.refused(made.client)
        assert response.status_code == 401
        assert response.json()["error"] == "login_required"
        assert made.ran == []

    def test_missing_scope(self, made):
        """Without the scope the handshake gets 403 with the missing scopes."""
        made.log_in(scopes=BASIC)
        response = self.refused(made.client)
        assert response.status_code == 403
        assert response.json()["missing"] == ["video.list"]
        assert made.ran == []

    @pytest.mark.parametrize("headers", [{}, {"origin": "https://evil.example"}])
    def test_wrong_origin(self, made, headers):
        """A WebSocket of another site's page is anonymous, with any cookie."""
        made.log_in()
        assert self.refused(made.client, headers).status_code == 401
        assert made.ran == []

    def test_closed(self, made):
        """If the server cannot answer a handshake, the WebSocket is closed before it is
        accepted.
        """

        async def without_denial(scope, receive, send):
            await made.wrapped({**scope, "extensions": {}}, receive, send)

        client = made.serve(without_denial)
        with (
            pytest.raises(WebSocketDisconnect) as closed,
            client.websocket_connect(SOCKETS, headers=OURS),
        ):
            pass
        assert closed.value.code == 4401
        assert made.ran == []


class TestStreamsByYield:
    @pytest.mark.skipif(
        tuple(map(int, version("fastapi").split(".")[:2])) < (0, 134),
        reason="FastAPI cannot stream by yield before 0.134",
    )
    @pytest.mark.parametrize("kind", ["async", "sync"])
    def test_yield(self, site, kind):
        """A view that yields its response starts only for authenticated users."""
        if kind == "async":

            @site.api.get("/", response_class=StreamingResponse)
            @requires_tiktok
            async def stream():
                site.ran.append(kind)
                yield SECRET

        else:

            @site.api.get("/", response_class=StreamingResponse)
            @requires_tiktok
            def plain_stream():
                site.ran.append(kind)
                yield SECRET

        assert site.get().status_code == 401
        assert site.ran == []
        site.log_in()
        assert site.get().text == SECRET
        assert site.ran == [kind]

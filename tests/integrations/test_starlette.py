"""requires_tiktok for Starlette: guarded views, and the responses of a refusal."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from urllib.parse import parse_qsl

import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    SimpleUser,
    requires,
)
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    TikTokOAuthMiddleware,
)
from tiktok_oauth_middleware.starlette import requires_tiktok, tiktok_auth
from tiktok_oauth_middleware.testing import login_as

from ..conftest import API, LOGIN, ORIGIN, PAGE, make_settings, query_of
from .contract import SCOPE_QUERIES

SECRET = "for members only"
#: TestClient does not join a WebSocket's address to a base address.
SOCKETS = ORIGIN.replace("https", "wss")
BASIC = ["user.info.basic"]


class Site:
    """An app in the middleware, its client, and a list of the views that were run."""

    def __init__(self, stack, settings, tiktok, clock):
        self._stack = stack
        self.settings = settings
        self.tiktok = tiktok
        self.options = {
            "store": MemoryStore(clock=clock),
            "transport": tiktok.transport,
            "clock": clock,
        }
        self.ran = []

    def serve(self, app):
        """Return a client of the app without the middleware."""
        return self._stack.enter_context(TestClient(app, base_url=ORIGIN))

    def wrap(self, app):
        """Return a client of the app in the middleware."""
        return self.serve(TikTokOAuthMiddleware(app, self.settings, **self.options))

    def open(self, *routes, **options):
        """Return a client of a Starlette app with these routes in the middleware."""
        return self.wrap(Starlette(routes=list(routes), **options))

    def log_in(self, client, **choice):
        assert login_as(client, self.tiktok, **choice).status_code == 303


@pytest.fixture
def site(settings, tiktok, clock):
    with ExitStack() as stack:
        yield Site(stack, settings, tiktok, clock)


def get(client, path="/", headers=API):
    return client.get(path, headers=headers, follow_redirects=False)


def functions(site, guard):
    """Views of every kind, guarded by the same guard."""

    @guard
    async def coroutine(request):
        site.ran.append("coroutine")
        return PlainTextResponse(SECRET)

    @guard
    def plain(request):
        site.ran.append("plain")
        return PlainTextResponse(SECRET)

    class Methods(HTTPEndpoint):
        @guard
        async def get(self, request):
            site.ran.append("method")
            return PlainTextResponse(SECRET)

    class PlainMethods(HTTPEndpoint):
        @guard
        def get(self, request):
            site.ran.append("plain method")
            return PlainTextResponse(SECRET)

    @guard
    class Whole(HTTPEndpoint):
        async def get(self, request):
            site.ran.append("class")
            return PlainTextResponse(SECRET)

    async def with_more(greeting, request):
        site.ran.append("partial")
        return PlainTextResponse(greeting)

    class Callable:
        async def __call__(self, request):
            site.ran.append("object")
            return PlainTextResponse(SECRET)

    class Partial:
        async def __call__(self, request):
            site.ran.append("partial of an object")
            return PlainTextResponse(SECRET)

    class Static:
        @guard
        @staticmethod
        async def view(request):
            site.ran.append("static method")
            return PlainTextResponse(SECRET)

    return {
        "coroutine": coroutine,
        "plain": plain,
        "method": Methods,
        "plain method": PlainMethods,
        "class": Whole,
        "partial": guard(functools.partial(with_more, SECRET)),
        "object": guard(Callable()),
        "partial of an object": guard(functools.partial(Partial())),
        "static method": Static.view,
    }


KINDS = [
    "coroutine",
    "plain",
    "method",
    "plain method",
    "class",
    "partial",
    "object",
    "partial of an object",
    "static method",
]
GUARDS = {
    "bare": requires_tiktok,
    "empty": requires_tiktok(),
    "scope": requires_tiktok("video.list"),
    "scopes": requires_tiktok("user.info.basic", "video.list"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guard", list(GUARDS))
class TestViews:
    def test_signed_in(self, site, kind, guard):
        """For a signed-in user with the scopes, a view of any kind runs once."""
        view = functions(site, GUARDS[guard])[kind]
        client = site.open(Route("/", view))
        site.log_in(client)
        response = get(client)
        assert (response.status_code, response.text) == (200, SECRET)
        assert site.ran == [kind]

    def test_browser(self, site, kind, guard):
        """An anonymous browser is redirected to the login and returns afterwards."""
        view = functions(site, GUARDS[guard])[kind]
        client = site.open(Route("/", view))
        response = get(client, "/?q=a%26b", PAGE)
        assert response.status_code == 303
        login, _, _ = response.headers["location"].partition("?")
        assert login == LOGIN
        query = query_of(response.headers["location"])
        assert query == {"next": "/?q=a%26b", **SCOPE_QUERIES[guard]}
        assert site.ran == []

    def test_program(self, site, kind, guard):
        """A program gets 401 in JSON, without a cookie."""
        view = functions(site, GUARDS[guard])[kind]
        client = site.open(Route("/", view))
        response = get(client)
        assert response.status_code == 401
        report = response.json()
        assert report["error"] == "login_required"
        login, _, query = report["login_url"].partition("?")
        assert login == LOGIN
        assert dict(parse_qsl(query)) == SCOPE_QUERIES[guard]
        assert "set-cookie" not in response.headers
        assert site.ran == []


@pytest.mark.parametrize("kind", KINDS)
class TestScopes:
    def test_missing(self, site, kind):
        """Without a scope the view is not run, and a program gets the missing scopes."""
        view = functions(site, requires_tiktok("video.list", "user.info.basic"))[kind]
        client = site.open(Route("/", view))
        site.log_in(client, scopes=BASIC)
        response = get(client)
        assert response.status_code == 403
        assert response.json() == {
            "error": "scope_required",
            "missing": ["video.list"],
            "login_url": LOGIN + "?scopes=video.list",
        }
        assert site.ran == []

    def test_not_needed(self, site, kind):
        """A guard without scopes lets in any signed-in user."""
        client = site.open(Route("/", functions(site, requires_tiktok)[kind]))
        site.log_in(client, scopes=[])
        assert get(client).text == SECRET


class TestDecorated:
    def test_functions_keep_their_names(self):
        """A guarded function keeps its name, which names its route, and its
        docstring.
        """

        @requires_tiktok("video.list")
        async def videos(request):
            """The videos."""

        assert (videos.__name__, videos.__doc__) == ("videos", "The videos.")
        assert Route("/", videos).name == "videos"

    def test_classes_keep_their_names(self):
        """A guarded class keeps its name and docstring, and is still an endpoint."""

        @requires_tiktok
        class Videos(HTTPEndpoint):
            """The videos."""

        assert (Videos.__name__, Videos.__doc__) == ("Videos", "The videos.")
        assert issubclass(Videos, HTTPEndpoint)
        assert Route("/", Videos).name == "Videos"

    def test_other_classes(self):
        """A class without a dispatch method cannot be guarded; decorating it is an
        error.
        """

        class Pure:
            async def __call__(self, scope, receive, send): ...

        with pytest.raises(TypeError, match="has no dispatch"):
            requires_tiktok(Pure)

    def test_without_request(self, site):
        """A guarded view without a request parameter raises instead of running."""

        @requires_tiktok
        async def view(nothing): ...

        async def outer(request):
            return await view(None)

        client = site.open(Route("/", outer))
        with pytest.raises(TypeError, match="takes the request"):
            get(client)

    def test_by_keyword(self, site):
        """A request that another decorator passes by keyword is found."""

        @requires_tiktok
        async def view(*, request):
            return PlainTextResponse(SECRET)

        async def outer(request):
            return await view(request=request)

        client = site.open(Route("/", outer))
        assert get(client).status_code == 401
        site.log_in(client)
        assert get(client).text == SECRET

    def test_methods_of_a_class(self, site):
        """A guarded class is guarded for all HTTP methods, even those it does not
        implement.
        """

        @requires_tiktok
        class Things(HTTPEndpoint):
            async def get(self, request):
                return PlainTextResponse(SECRET)

            async def post(self, request):
                site.ran.append("post")
                return PlainTextResponse(SECRET)

        client = site.open(Route("/", Things))
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            assert client.request(method, "/", headers=API).status_code == 401
        assert site.ran == []
        site.log_in(client)
        assert client.post("/").text == SECRET
        assert client.put("/").status_code == 405

    def test_one_method(self, site):
        """A guard on one method does not guard the others of its class."""

        class Things(HTTPEndpoint):
            async def get(self, request):
                return PlainTextResponse("open")

            @requires_tiktok
            async def post(self, request):
                return PlainTextResponse(SECRET)

        client = site.open(Route("/", Things))
        assert get(client).text == "open"
        assert client.post("/").status_code == 401

    def test_twice(self, site):
        """The outer one of two guards on a view decides first."""

        @requires_tiktok
        @requires_tiktok("video.list")
        async def view(request):
            return PlainTextResponse(SECRET)

        client = site.open(Route("/", view))
        assert get(client).status_code == 401
        site.log_in(client, scopes=BASIC)
        assert get(client).status_code == 403


class TestAuth:
    def test_typed(self, site):
        """tiktok_auth returns the object in the scope, for requests and WebSockets."""

        async def view(request):
            assert tiktok_auth(request) is request.scope["tiktok"]
            return PlainTextResponse(tiktok_auth(request).open_id or "nobody")

        client = site.open(Route("/", view))
        assert get(client).text == "nobody"
        site.log_in(client, person=site.tiktok.people[1])
        assert get(client).text == site.tiktok.people[1].open_id


class TestProtectedContent:
    """A refused request gets no protected content."""

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize(
        "kind",
        ["text/plain", "multipart/form-data; boundary=x", "application/x-unknown", ""],
    )
    def test_methods(self, site, method, kind):
        """No method and no type of body gets a refused request past the guard."""

        @requires_tiktok
        async def view(request):
            site.ran.append(await request.body())
            return PlainTextResponse(SECRET)

        client = site.open(Route("/", view, methods=[method]))
        headers = {**PAGE, "content-type": kind}
        response = client.request(method, "/", content=b"x" * 5000, headers=headers)
        assert response.status_code == 401
        report = "Please log in" if method == "POST" else '"login_required"'
        assert report in response.text
        assert SECRET not in response.text
        assert site.ran == []

    def test_head(self, site):
        """HEAD of a guarded page gets the redirect to the login, and nothing of the
        page.
        """

        @requires_tiktok
        async def view(request):
            return PlainTextResponse(SECRET, headers={"x-secret": SECRET})

        client = site.open(Route("/", view))
        response = client.head("/", headers=PAGE, follow_redirects=False)
        assert response.status_code == 303
        assert response.text == ""
        assert "x-secret" not in response.headers

    def test_streams(self, site):
        """Neither the stream nor the background task of a refused view starts."""

        def chunks():
            site.ran.append("stream")
            yield SECRET

        @requires_tiktok
        async def view(request):
            task = BackgroundTask(site.ran.append, "task")
            return StreamingResponse(chunks(), background=task)

        client = site.open(Route("/", view))
        assert get(client).status_code == 401
        assert get(client, headers=PAGE).status_code == 303
        assert site.ran == []
        site.log_in(client)
        response = get(client)
        assert response.text == SECRET
        assert response.headers["cache-control"] == "private"
        assert site.ran == ["stream", "task"]

    def test_other_answers(self, site):
        """A refusal that another middleware changes reaches the client unchanged."""

        @requires_tiktok
        async def view(request):
            return PlainTextResponse(SECRET)

        async def meddling(request, call_next):
            await call_next(request)
            return PlainTextResponse(SECRET, 401, headers={"set-cookie": "a=b"})

        client = site.open(
            Route("/", view),
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=meddling)],
        )
        response = get(client)
        assert response.status_code == 401
        assert SECRET not in response.text
        assert "set-cookie" not in response.headers


class TestAround:
    @pytest.fixture
    def routes(self, site):
        @requires_tiktok("video.list")
        async def view(request):
            return PlainTextResponse(SECRET * 100)

        return [Route("/", view)]

    def check(self, site, client, path="/"):
        """Test an anonymous user, one without the scope, and one with it."""
        response = get(client, path, PAGE)
        asks = f"?next={path}&scopes=video.list"
        assert response.headers["location"] == LOGIN + asks
        assert get(client, path).json()["error"] == "login_required"
        site.log_in(client, scopes=BASIC)
        assert get(client, path).json()["missing"] == ["video.list"]
        site.log_in(client, login_path=f"{LOGIN}?scopes=video.list")
        assert get(client, path).text == SECRET * 100

    def test_wrapped(self, site, routes):
        """The middleware can be put around the finished app."""
        self.check(site, site.open(*routes))

    def test_add_middleware(self, site, routes):
        """The middleware can be added the way Starlette adds its own."""
        app = Starlette(routes=routes)
        app.add_middleware(
            TikTokOAuthMiddleware, settings=site.settings, **site.options
        )
        self.check(site, site.serve(app))

    def test_middleware_list(self, site, routes):
        """The middleware can be listed when the app is built."""
        added = Middleware(TikTokOAuthMiddleware, site.settings, **site.options)
        self.check(site, site.serve(Starlette(routes=routes, middleware=[added])))

    @pytest.mark.parametrize("inside", [True, False])
    def test_base_http_middleware(self, site, routes, inside):
        """Guards work with a BaseHTTPMiddleware on either side."""

        async def noted(request, call_next):
            response = await call_next(request)
            response.headers["x-noted"] = "yes"
            return response

        app = Starlette(routes=routes)
        if inside:
            app.add_middleware(BaseHTTPMiddleware, dispatch=noted)
        app.add_middleware(
            TikTokOAuthMiddleware, settings=site.settings, **site.options
        )
        if not inside:
            app.add_middleware(BaseHTTPMiddleware, dispatch=noted)
        self.check(site, site.serve(app))

    @pytest.mark.parametrize("inside", [True, False])
    def test_gzip(self, site, routes, inside):
        """Guards work with a GZipMiddleware on either side."""
        app = Starlette(routes=routes)
        if inside:
            app.add_middleware(GZipMiddleware, minimum_size=10)
        app.add_middleware(
            TikTokOAuthMiddleware, settings=site.settings, **site.options
        )
        if not inside:
            app.add_middleware(GZipMiddleware, minimum_size=10)
        client = site.serve(app)
        self.check(site, client)
        response = get(client)
        assert response.headers["content-encoding"] == "gzip"
        assert "Cookie" in response.headers["vary"]

    def test_mounted_view(self, site, routes):
        """The login for a view of a mounted app returns to its whole path."""
        app = Mount("/sub", app=Starlette(routes=routes))
        self.check(site, site.open(app), "/sub/")

    def test_mounted_middleware(self, site, routes):
        """The middleware around a mounted app answers below the mount point."""
        settings = make_settings(redirect_uri=ORIGIN + "/sub/auth/tiktok/callback")
        tiktok = type(site.tiktok).for_settings(
            settings, clock=site.tiktok.provider.clock
        )
        options = {**site.options, "transport": tiktok.transport}
        inner = TikTokOAuthMiddleware(Starlette(routes=routes), settings, **options)
        client = site.serve(Starlette(routes=[Mount("/sub", app=inner)]))
        response = get(client, "/sub/", PAGE)
        asks = "?next=/sub/&scopes=video.list"
        assert response.headers["location"] == "/sub" + LOGIN + asks
        done = login_as(client, tiktok, next="/sub/", login_path="/sub" + LOGIN)
        assert done.headers["location"] == "/sub/"
        assert get(client, "/sub/").text == SECRET * 100

    def test_absent(self, site, routes):
        """Without the middleware a guard raises an error that says how to add it."""
        client = site.serve(Starlette(routes=routes))
        with pytest.raises(ConfigurationError, match="wrap it in TikTokOAuthMiddl"):
            get(client)

    def test_absent_for_classes(self, site):
        """Without the middleware a guarded class fails the same way."""

        @requires_tiktok
        class View(HTTPEndpoint): ...

        client = site.serve(Starlette(routes=[Route("/", View)]))
        with pytest.raises(ConfigurationError, match="wrap it in TikTokOAuthMiddl"):
            get(client)

    def test_absent_for_sockets(self, site):
        """Without the middleware a guarded WebSocket fails, and is not accepted."""

        @requires_tiktok
        async def view(websocket):
            await websocket.accept()

        client = site.serve(Starlette(routes=[WebSocketRoute("/", view)]))
        with (
            pytest.raises(ConfigurationError, match="wrap it in TikTokOAuthMiddl"),
            client.websocket_connect(SOCKETS),
        ):
            pass


class Everybody(AuthenticationBackend):
    """A backend for which every request is of the same user."""

    async def authenticate(self, conn):
        return AuthCredentials(["theirs"]), SimpleUser("theirs")


class TestStarlettesOwn:
    @pytest.fixture
    def client(self, site):
        async def home(request):
            user = request.user
            return JSONResponse(
                {
                    "authenticated": user.is_authenticated,
                    "name": user.display_name,
                    "identity": user.identity,
                    "scopes": request.auth.scopes,
                }
            )

        @requires("authenticated")
        async def private(request):
            return PlainTextResponse(SECRET)

        @requires(["authenticated", "video.list"], status_code=404)
        def videos(request):
            return PlainTextResponse(SECRET)

        @requires("video.list", redirect="home")
        async def elsewhere(request):
            return PlainTextResponse(SECRET)

        @requires("video.list")
        async def socket(websocket):
            await websocket.accept()
            await websocket.send_text(websocket.user.identity)
            await websocket.close()

        return site.open(
            Route("/", home, name="home"),
            Route("/private", private),
            Route("/videos", videos),
            Route("/elsewhere", elsewhere),
            WebSocketRoute("/socket", socket),
        )

    def test_anonymous(self, client):
        """Starlette's own guard refuses with its usual answer."""
        assert get(client, "/private", PAGE).status_code == 403
        assert get(client, "/videos").status_code == 404
        assert get(client).json() == {
            "authenticated": False,
            "name": "",
            "identity": "",
            "scopes": [],
        }

    def test_redirect(self, client):
        """Its redirect= redirects to the route that the app names."""
        response = get(client, "/elsewhere", PAGE)
        assert response.status_code == 303
        assert response.headers["location"].startswith(ORIGIN + "/?next=")

    def test_refusals_are_private(self, client):
        """Its refusal depends on the session, so it is kept out of shared caches."""
        response = get(client, "/private")
        assert response.headers["vary"] == "Cookie"
        assert response.headers["cache-control"] == "private"

    def test_signed_in(self, site, client):
        """request.user and request.auth have the user and the scopes."""
        person = site.tiktok.people[0]
        site.log_in(client)
        assert get(client, "/private").text == SECRET
        assert get(client, "/videos").text == SECRET
        assert get(client, "/elsewhere").text == SECRET
        assert get(client).json() == {
            "authenticated": True,
            "name": person.display_name,
            "identity": person.open_id,
            "scopes": ["authenticated", "user.info.basic", "video.list"],
        }

    def test_scope_missing(self, site, client):
        """request.auth has the granted scopes, not the requested ones."""
        site.log_in(client, scopes=BASIC)
        assert get(client, "/private").text == SECRET
        assert get(client, "/videos").status_code == 404

    def test_socket(self, site, client):
        """Starlette's guard works for WebSockets, too."""
        headers = {"origin": ORIGIN}
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect(SOCKETS + "/socket", headers=headers),
        ):
            pass
        site.log_in(client)
        with client.websocket_connect(SOCKETS + "/socket", headers=headers) as socket:
            assert socket.receive_text() == site.tiktok.people[0].open_id

    @pytest.mark.parametrize("inside", [True, False])
    def test_other_backend(self, site, inside):
        """The user set by an app's AuthenticationMiddleware stays, on either side."""

        @requires_tiktok
        async def private(request):
            return PlainTextResponse(f"{request.user.display_name} and {SECRET}")

        app = Starlette(routes=[Route("/", private)])
        if inside:
            app.add_middleware(AuthenticationMiddleware, backend=Everybody())
        app.add_middleware(
            TikTokOAuthMiddleware, settings=site.settings, **site.options
        )
        if not inside:
            app.add_middleware(AuthenticationMiddleware, backend=Everybody())
        client = site.serve(app)
        assert get(client).status_code == 401
        site.log_in(client)
        assert get(client).text == f"theirs and {SECRET}"


def sockets(site, guard):
    """WebSocket views of every kind; each sends the user's id."""

    @guard
    async def view(websocket):
        site.ran.append("function")
        await websocket.accept()
        await websocket.send_text(tiktok_auth(websocket).open_id)
        await websocket.close()

    class Echo(WebSocketEndpoint):
        encoding = "text"

        async def on_connect(self, websocket):
            site.ran.append("class")
            await websocket.accept()
            await websocket.send_text(tiktok_auth(websocket).open_id)
            await websocket.close()

    class Connecting(WebSocketEndpoint):
        encoding = "text"

        @guard
        async def on_connect(self, websocket):
            site.ran.append("method")
            await websocket.accept()
            await websocket.send_text(tiktok_auth(websocket).open_id)
            await websocket.close()

    return {"function": view, "class": guard(Echo), "method": Connecting}


def without_denial(app):
    """Return the app called as by a server without websocket.http.response."""

    async def called(scope, receive, send):
        await app({**scope, "extensions": {}}, receive, send)

    return called


OURS = {"origin": ORIGIN}


@pytest.mark.parametrize("kind", ["function", "class", "method"])
@pytest.mark.parametrize("guard", ["bare", "scope"])
class TestSockets:
    @pytest.fixture
    def app(self, site, kind, guard):
        view = sockets(site, GUARDS[guard])[kind]
        app = Starlette(routes=[WebSocketRoute("/", view)])
        return TikTokOAuthMiddleware(app, site.settings, **site.options)

    def test_signed_in(self, site, app, kind):
        """A signed-in user may connect from a page of this site."""
        client = site.serve(app)
        site.log_in(client)
        with client.websocket_connect(SOCKETS, headers=OURS) as socket:
            assert socket.receive_text() == site.tiktok.people[0].open_id
        assert site.ran == [kind]

    def test_anonymous(self, site, app):
        """An anonymous handshake gets 401 in JSON, and the view is not run."""
        client = site.serve(app)
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(SOCKETS, headers=OURS),
        ):
            pass
        assert denied.value.status_code == 401
        assert denied.value.json()["error"] == "login_required"
        assert site.ran == []

    def test_never_redirected(self, site, app):
        """A handshake is not redirected, whatever its headers."""
        client = site.serve(app)
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(SOCKETS, headers={**OURS, **PAGE}),
        ):
            pass
        assert denied.value.status_code == 401

    def test_closed(self, site, app):
        """If the server cannot answer a handshake, the WebSocket is closed before it is
        accepted.
        """
        client = site.serve(without_denial(app))
        with (
            pytest.raises(WebSocketDisconnect) as closed,
            client.websocket_connect(SOCKETS, headers=OURS),
        ):
            pass
        assert closed.value.code == 4401
        assert site.ran == []

    @pytest.mark.parametrize(
        "headers", [{}, {"origin": "https://evil.example"}, {"origin": "null"}]
    )
    def test_wrong_origin(self, site, app, headers):
        """A WebSocket of another site's page is anonymous, with any cookie."""
        client = site.serve(app)
        site.log_in(client)
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(SOCKETS, headers=headers),
        ):
            pass
        assert denied.value.status_code == 401
        assert site.ran == []


@pytest.mark.parametrize("kind", ["function", "class", "method"])
class TestSocketScopes:
    @pytest.fixture
    def app(self, site, kind):
        view = sockets(site, requires_tiktok("video.list"))[kind]
        app = Starlette(routes=[WebSocketRoute("/", view)])
        return TikTokOAuthMiddleware(app, site.settings, **site.options)

    def test_missing(self, site, app):
        """Without the scope the handshake gets 403 with the missing scopes."""
        client = site.serve(app)
        site.log_in(client, scopes=BASIC)
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(SOCKETS, headers=OURS),
        ):
            pass
        assert denied.value.status_code == 403
        assert denied.value.json()["missing"] == ["video.list"]
        assert site.ran == []

    def test_closed(self, site, app):
        """If the server cannot answer a handshake, the WebSocket is closed with
        4403.
        """
        client = site.serve(without_denial(app))
        site.log_in(client, scopes=BASIC)
        with (
            pytest.raises(WebSocketDisconnect) as closed,
            client.websocket_connect(SOCKETS, headers=OURS),
        ):
            pass
        assert closed.value.code == 4403


class TestOpenSockets:
    def test_origins(self, site):
        """A WebSocket from an origin in websocket_origins is authenticated."""
        site.settings = make_settings(
            client_key=site.settings.client_key,
            client_secret=site.settings.client_secret,
            websocket_origins=["https://other.example"],
        )
        client = site.open(
            WebSocketRoute("/", sockets(site, requires_tiktok)["function"])
        )
        site.log_in(client)
        headers = {"origin": "https://other.example"}
        with client.websocket_connect(SOCKETS, headers=headers) as socket:
            assert socket.receive_text() == site.tiktok.people[0].open_id

    def test_after_accepting(self, site):
        """A guard on messages of an open WebSocket closes it without reading one."""

        class Chat(WebSocketEndpoint):
            encoding = "text"

            @requires_tiktok("video.list")
            async def on_receive(self, websocket, data):
                site.ran.append(data)
                await websocket.send_text(data)

        client = site.open(WebSocketRoute("/", Chat))
        with client.websocket_connect(SOCKETS, headers=OURS) as socket:
            socket.send_text("nobody's")
            assert socket.receive()["type"] == "websocket.close"
        site.log_in(client)
        with client.websocket_connect(SOCKETS, headers=OURS) as socket:
            socket.send_text("ours")
            assert socket.receive_text() == "ours"
        assert site.ran == ["ours"]

    def test_open_view(self, site):
        """A WebSocket that is not guarded is accepted for anonymous users too."""

        async def view(websocket: WebSocket):
            await websocket.accept()
            await websocket.send_json(tiktok_auth(websocket).is_authenticated)
            await websocket.close()

        client = site.open(WebSocketRoute("/", view))
        with client.websocket_connect(SOCKETS) as socket:
            assert socket.receive_json() is False


async def test_request_is_enough():
    """A guard needs no more of a request than its scope."""

    @requires_tiktok
    async def view(request): ...

    request = Request({"type": "http", "headers": []})
    with pytest.raises(ConfigurationError):
        await view(request)


@pytest.mark.parametrize(
    ("place", "is_logged"), [("route", True), ("mount", False), ("app", False)]
)
def test_inside_a_route(place, is_logged, caplog):
    """The middleware of one route gets no login, which the first request logs."""

    async def view(request):
        return PlainTextResponse("a page")

    ours = [Middleware(TikTokOAuthMiddleware, settings=make_settings())]
    routes = [Route("/", view, middleware=ours if place == "route" else ())]
    if place == "mount":
        routes = [Mount("/", routes=routes, middleware=ours)]
    app = Starlette(routes=routes, middleware=ours if place == "app" else ())
    client = TestClient(app, ORIGIN)
    assert client.get("/").text == client.get("/").text == "a page"
    is_served = client.get(LOGIN, follow_redirects=False).status_code != 404
    assert is_served is not is_logged
    logged = [r.levelname for r in caplog.records if "inside the app's" in r.message]
    assert logged == ["ERROR"] * is_logged

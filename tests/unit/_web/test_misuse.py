"""Wrong arguments and misplaced guards are reported as early as possible."""

from __future__ import annotations

import importlib.util
import sys
from typing import Annotated

import httpx2
import pytest
from fastapi import Depends, FastAPI, Request, Security
from fastapi.responses import PlainTextResponse
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    NotSignedIn,
    TikTokAuth,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
    TikTokTokens,
)
from tiktok_oauth_middleware import fastapi as for_fastapi
from tiktok_oauth_middleware import flask as for_flask
from tiktok_oauth_middleware import starlette as for_starlette
from tiktok_oauth_middleware._core.app_parts import parts_of
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ...conftest import API, ORIGIN, make_settings

KEY, OTHER_KEY = "Vb3xT0kQ-one-key-of-tests-7YwLm2", "p9ZrN4cJ-other-key-of-tests-D8hG"


async def asgi(scope, receive, send): ...


def wsgi(environ, start_response): ...


class Half:
    def get(self, key): ...


MIDDLEWARES = [(TikTokOAuthMiddleware, asgi), (TikTokOAuthWSGIMiddleware, wsgi)]


@pytest.mark.parametrize(("middleware", "app"), MIDDLEWARES)
class TestArguments:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (TikTokSettings, r"class TikTokSettings.*from_env\(\)"),
            ({"client_key": "x"}, r"settings is a dict.*TikTokSettings\(\.\.\.\)"),
            (None, "settings is None"),
            ("settings", "settings is a str"),
            (Flask("x"), "the app comes first"),
        ],
    )
    def test_settings(self, middleware, app, given, message):
        """The error for an object that is not TikTokSettings names it and says what to
        write instead.
        """
        with pytest.raises(ConfigurationError, match=message):
            middleware(app, given)

    def test_settings_as_the_app(self, middleware, app):
        """Settings passed in the app's place are reported as such."""
        with pytest.raises(ConfigurationError, match="in the wrong order"):
            middleware(make_settings(), app)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("redis://:a-password@localhost", "store is a string.*RedisStore"),
            (MemoryStore, "store is the class MemoryStore"),
            ({}, "not a store: it has no compare_and_set, lock, close"),
            (Half(), "a Half, which is not a store: it has no compare_and_set"),
        ],
    )
    def test_store(self, middleware, app, given, message):
        """The error for an object that is not a store names it, without a password in
        it.
        """
        with pytest.raises(ConfigurationError, match=message) as caught:
            middleware(app, make_settings(), store=given)
        assert "a-password" not in str(caught.value)
        with pytest.raises(ConfigurationError, match=message):
            TikTokTokens(make_settings(), given).get("open_id")

    @pytest.mark.parametrize("name", ["on_event", "clock"])
    def test_functions(self, middleware, app, name):
        """The error for an argument that is not callable names it."""
        with pytest.raises(ConfigurationError, match=f"{name} is a int"):
            middleware(app, make_settings(), **{name: 5})

    @pytest.mark.parametrize("given", [None, "app:app", 5])
    def test_no_app(self, middleware, app, given):
        """The error for an object that is not an app names it."""
        with pytest.raises(ConfigurationError, match="no [AW]SGI app"):
            middleware(given, make_settings())

    def test_class_of_an_app(self, middleware, app):
        """A class in the place of its instance is named in the error."""
        with pytest.raises(ConfigurationError, match="the class Flask"):
            middleware(Flask, make_settings())

    def test_all_faults_at_once(self, middleware, app):
        """Wrong settings and a wrong store are reported together."""
        with pytest.raises(ConfigurationError) as caught:
            middleware(app, {}, store="memory://", clock=0)
        assert len(caught.value.faults) == 3


@pytest.mark.parametrize("app", [wsgi, Flask("x"), Flask("x").wsgi_app])
def test_wsgi_app_under_asgi(app):
    """A WSGI app in the ASGI middleware is an error that names the right middleware."""
    with pytest.raises(ConfigurationError, match="TikTokOAuthWSGIMiddleware"):
        TikTokOAuthMiddleware(app, make_settings())


@pytest.mark.parametrize("app", [asgi, Starlette(), FastAPI()])
def test_asgi_app_under_wsgi(app):
    """An ASGI app in the WSGI middleware is an error that names the right middleware."""
    with pytest.raises(ConfigurationError, match="in TikTokOAuthMiddleware"):
        TikTokOAuthWSGIMiddleware(app, make_settings())


#: Names as a type checker knows them, and no module that is run.
ANNOTATED = """
async def asgi(scope: Scope, receive: Receive, send: Send) -> None: ...
def wsgi(environ: Environ, start_response: StartResponse) -> Body: ...
def decide(login: Login) -> None: ...
def user(environ: Environ) -> UserId: ...
"""


def test_annotations_for_type_checkers():
    """Annotations are not evaluated, which Python 3.14 puts off until they are read."""
    flags = 0 if sys.version_info >= (3, 14) else annotations.compiler_flag
    code = compile(ANNOTATED, "app.py", "exec", flags=flags, dont_inherit=True)
    exec(code, app := {})  # noqa: S102 - the code above
    settings = make_settings(connect_path="/connect")
    options = {"on_login": app["decide"], "current_user": app["user"]}
    for middleware, name in (
        (TikTokOAuthMiddleware, "asgi"),
        (TikTokOAuthWSGIMiddleware, "wsgi"),
    ):
        middleware(app[name], settings, store=MemoryStore(), **options)
    with pytest.raises(ConfigurationError, match="in TikTokOAuthMiddleware"):
        TikTokOAuthWSGIMiddleware(app["asgi"], settings)


def test_app_with_any_arguments():
    """A callable that accepts any arguments is judged by its class's name."""

    def anything(*args, **kwargs): ...

    for middleware in (TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware):
        middleware(anything, make_settings(), store=MemoryStore())


def test_app_around_itself():
    """`app.wsgi_app = ...(app, ...)`, which would call itself, is an error that says
    what to wrap.
    """
    app = Flask("x")
    app.testing = True
    wrapped = TikTokOAuthWSGIMiddleware(app, make_settings(), store=MemoryStore())
    app.wsgi_app = wrapped
    with pytest.raises(ConfigurationError, match=r"app\.wsgi_app = \.\.\.\(app\.wsgi"):
        app.test_client().get("/")


@pytest.mark.skipif(
    importlib.util.find_spec("quart") is None, reason="quart is not installed"
)
def test_quart_around_itself():
    """`app.asgi_app = ...(app, ...)` with Quart is the same error."""
    from quart import Quart

    app = Quart("x")
    app.asgi_app = TikTokOAuthMiddleware(app, make_settings(), store=MemoryStore())
    with pytest.raises(ConfigurationError, match=r"app\.asgi_app = "):
        TestClient(app).get("/")


def wrapped_asgi(app):
    return TikTokOAuthMiddleware(app, make_settings(), store=MemoryStore())


# --- the guarded object -----------------------------------------------------------

MODULES = [for_starlette, for_fastapi, for_flask]


@pytest.mark.parametrize("module", MODULES)
class TestDecorator:
    @pytest.mark.parametrize(
        "scopes",
        [("",), ("a,b",), ("user.info.basic video.list",), ("video.list", " x")],
    )
    def test_scopes(self, module, scopes):
        """Several scopes in one string, and an empty one, are refused at once."""
        with pytest.raises(ValueError, match="one scope"):
            module.requires_tiktok(*scopes)

    @pytest.mark.parametrize("given", [["video.list"], None, 5, {"video.list"}])
    def test_no_scope(self, module, given):
        """An argument that is neither a view nor a string is refused at once."""
        with pytest.raises(TypeError, match="scopes as strings"):
            module.requires_tiktok(given)

    @pytest.mark.parametrize("given", ["a view", None, Route("/x", asgi)])
    def test_no_view(self, module, given):
        """A guard with scopes around a route or another non-view is refused at once."""
        with pytest.raises(TypeError, match="below the route"):
            module.requires_tiktok("video.list")(given)

    def test_route(self, module):
        """A route in the place of its view is refused at once."""
        with pytest.raises(TypeError, match="below the route"):
            module.requires_tiktok(Route("/x", asgi))


def test_fastapis_guard_elsewhere():
    """FastAPI's guard on a view of Starlette's says that FastAPI must call it."""

    @for_fastapi.requires_tiktok
    async def view(request):
        return PlainTextResponse("open")

    client = TestClient(wrapped_asgi(Starlette(routes=[Route("/x", view)])))
    with pytest.raises(TypeError, match=r"\.starlette and \.flask have their own"):
        client.get("/x")


def test_starlettes_guard_elsewhere():
    """Starlette's guard on a function without a request says what it can guard."""
    app = FastAPI()

    @app.get("/x")
    @for_starlette.requires_tiktok
    async def view():
        return "open"

    client = TestClient(wrapped_asgi(app))
    with pytest.raises(TypeError, match=r"\.fastapi and \.flask have their own"):
        client.get("/x")


# --- dependencies and proxies -----------------------------------------------------


@pytest.mark.parametrize(
    ("dependency", "message"),
    [
        (Depends(for_starlette.tiktok_auth), "use SignedIn, MaybeSignedIn"),
        (Security(for_starlette.tiktok_auth, scopes=["a"]), "checks no scopes"),
        (Depends(for_starlette.signed_in_auth), "checks no scopes"),
        (Depends(for_starlette.requires_tiktok), "is a decorator"),
        (Depends(for_fastapi.requires_tiktok), "is a decorator"),
        (Depends(for_fastapi.requires_tiktok("a")), "is a decorator"),
        (Depends(for_starlette.requires_tiktok("a")), "is a decorator"),
        (Depends(for_fastapi.SignedIn), "are types"),
        (Security(for_fastapi.SignedIn, scopes=["a"]), "are types"),
        (Depends(for_fastapi.MaybeSignedIn), "are types"),
        (Depends(for_fastapi.SignedInAuth), "are types"),
        (Depends(TikTokAuth), "are types"),
    ],
)
def test_no_dependency(dependency, message):
    """An object that is no FastAPI dependency is refused when the operation is declared."""
    app = FastAPI()
    with pytest.raises(TypeError, match=message):

        @app.get("/x")
        async def view(auth=dependency): ...

    with pytest.raises(TypeError, match=message):
        app.get("/x", dependencies=[dependency])(lambda: None)


def test_fastapis_word_called():
    """Calling FastAPI's dependency is an error that says what to use instead."""
    app = FastAPI()

    @app.get("/x")
    async def view(request: Request):
        return for_fastapi.tiktok_auth(request).open_id

    with pytest.raises(TypeError, match=r"a dependency.*\.starlette"):
        TestClient(wrapped_asgi(app)).get("/x")


def test_fastapis_word_is_awaited():
    """FastAPI awaits the dependency instead of running it in a thread."""
    import threading

    seen = []

    async def spy(
        auth: Annotated[TikTokAuth, Security(for_fastapi.tiktok_auth)],
    ): ...

    original = for_fastapi.guard

    def watching(*args):
        seen.append(threading.current_thread())
        return original(*args)

    app = FastAPI()
    app.get("/x")(spy)
    for_fastapi.guard = watching
    try:
        with TestClient(wrapped_asgi(app), base_url=ORIGIN) as client:
            client.get("/x", headers=API)
            loop = client.portal.call(threading.current_thread)
    finally:
        for_fastapi.guard = original
    assert seen == [loop]


def test_flasks_word_called():
    """Calling Flask's proxy is an error that says how to read it."""
    app = Flask("x")
    app.testing = True
    app.wsgi_app = TikTokOAuthWSGIMiddleware(
        app.wsgi_app, make_settings(), store=MemoryStore()
    )

    @app.get("/x")
    def view():
        return for_flask.tiktok_auth(1)

    with pytest.raises(TypeError, match=r"write tiktok_auth\.open_id"):
        app.test_client().get("/x")


@pytest.fixture
def fastapi_site():
    settings = make_settings()
    fake = FakeTikTok.for_settings(settings)
    app = FastAPI()

    @app.get("/maybe")
    async def maybe(auth: for_fastapi.MaybeSignedIn):
        return {"open_id": auth.open_id, "signed_in": auth.is_authenticated}

    @app.get("/signed-in")
    async def signed_in(auth: for_fastapi.SignedIn):
        return {"open_id": auth.open_id, "name": auth.user.display_name}

    @app.get("/read")
    async def read(request: Request):
        return {"open_id": for_starlette.signed_in_auth(request).open_id}

    wrapped = TikTokOAuthMiddleware(
        app, settings, store=MemoryStore(), transport=fake.transport
    )
    client = TestClient(wrapped, base_url=ORIGIN)
    client.fake = fake
    client.bare = app
    return client


def test_maybe_signed_in(fastapi_site):
    """MaybeSignedIn refuses no request, returns the user if there is one, and makes the
    answer private.
    """
    client = fastapi_site
    response = client.get("/maybe", headers=API)
    assert response.json() == {"open_id": None, "signed_in": False}
    assert response.headers["cache-control"] == "private"
    login_as(client, client.fake)
    open_id = client.fake.people[0].open_id
    assert client.get("/maybe").json() == {"open_id": open_id, "signed_in": True}
    assert client.get("/signed-in").json()["open_id"] == open_id
    paths = client.get("/openapi.json").json()["paths"]
    assert "security" not in paths["/maybe"]["get"]
    assert paths["/signed-in"]["get"]["security"] == [{"TikTok": []}]


def test_dependencies_can_be_overridden(fastapi_site):
    """Both dependencies can be replaced in tests of the app."""

    class Ada:
        open_id, is_authenticated = "ada", True

    overrides = fastapi_site.bare.dependency_overrides
    overrides[for_fastapi.maybe_tiktok_auth] = Ada
    assert fastapi_site.get("/maybe").json()["open_id"] == "ada"


def test_signed_in_auth_without_a_guard(fastapi_site):
    """signed_in_auth in an anonymous request is an error about a missing guard."""
    with pytest.raises(NotSignedIn, match="put requires_tiktok"):
        fastapi_site.get("/read")
    login_as(fastapi_site, fastapi_site.fake)
    assert fastapi_site.get("/read").json() == {
        "open_id": fastapi_site.fake.people[0].open_id
    }


def test_signed_in_auth_of_flask():
    """Flask's signed_in_auth works the same way."""
    settings = make_settings()
    fake = FakeTikTok.for_settings(settings)
    app = Flask("x")
    app.testing = True
    app.wsgi_app = TikTokOAuthWSGIMiddleware(
        app.wsgi_app, settings, store=MemoryStore(), transport=fake.transport
    )

    @app.get("/x")
    def view():
        return for_flask.signed_in_auth.open_id

    client = app.test_client()
    with pytest.raises(NotSignedIn, match="put requires_tiktok"):
        client.get("/x")
    login_as(client, fake)
    assert client.get("/x").text == fake.people[0].open_id


@pytest.mark.parametrize("module", MODULES)
def test_no_middleware(module):
    """Without the middleware each module's dependency and guard raise an error that
    says so.
    """
    if module is for_flask:
        app = Flask("x")
        app.testing = True

        @app.get("/read")
        def read():
            return str(for_flask.tiktok_auth.open_id)

        @app.get("/guard")
        @for_flask.requires_tiktok
        def guarded(): ...

        client = app.test_client()
    else:
        app = FastAPI()

        @app.get("/read")
        async def read(request: Request, auth: for_fastapi.MaybeSignedIn): ...

        @app.get("/guard")
        @module.requires_tiktok
        async def guarded(request: Request): ...

        client = TestClient(app)
    for path in ("/read", "/guard"):
        with pytest.raises(ConfigurationError, match="no TikTok middleware around"):
            client.get(path)


@pytest.mark.parametrize(
    ("settings", "store", "message"),
    [
        ({"client_key": "x"}, None, "settings is a dict"),
        (TikTokSettings, None, "class TikTokSettings"),
        (make_settings(), "memory://", "store"),
    ],
    ids=["dict", "class", "text"],
)
def test_jobs(settings, store, message):
    """Wrong arguments of TikTokTokens are reported when it is built, not at first use."""
    with pytest.raises(ConfigurationError, match=message):
        TikTokTokens(settings, store)


def test_a_proxy_is_not_an_app():
    """Searching for guards works if a view's globals contain Flask's request proxy."""
    from flask import request

    from tiktok_oauth_middleware._core.app_parts import parts_of

    async def app(scope, receive, send):
        assert request is not None

    assert list(parts_of(app, guess=True)) == [app]


class Busy:
    """A view; when it is inspected, another thread changes the app."""

    def __init__(self, change):
        self._change = change

    def __call__(self): ...

    @property
    def __class__(self):
        self._change()
        return type(self)


@pytest.mark.parametrize("kind", ["dict", "set", "class"])
def test_app_that_changes_meanwhile(kind):
    """Views that another thread adds while an app is inspected are no error."""
    names = (f"view_{number}" for number in range(1000))

    class Holder:
        """An app with views."""

    def change():
        if kind == "class":
            setattr(Holder, next(names), 1)
        elif kind == "dict":
            app.views[next(names)] = 1
        else:
            app.views.add(next(names))

    app, one, two = Holder(), Busy(change), Busy(change)
    if kind == "class":
        Holder.one, Holder.two = one, two
    else:
        app.views = {one, two} if kind == "set" else {"one": one, "two": two}
    assert app in [*parts_of(app, guess=True)]


class TestSharedCookie:
    """Two middlewares in one process that delete each other's cookies."""

    @pytest.fixture
    def serve(self, caplog):
        """Return a function that serves a request; it returns what was logged."""

        def serve(middleware, host, path="/", **options):
            options = {"secret_keys": [KEY], **options}
            settings = make_settings(
                redirect_uri=f"https://{host}/auth/tiktok/callback", **options
            )
            app = middleware(app_of(middleware), settings, store=MemoryStore())
            kept.append(app)
            caplog.clear()
            get(app, host)
            return [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]

        def app_of(middleware):
            if middleware is TikTokOAuthMiddleware:
                return Starlette(routes=[Route("/", home)])
            return Flask("site")

        async def home(request):
            return PlainTextResponse("home")

        def get(app, host):
            if isinstance(app, TikTokOAuthMiddleware):
                TestClient(app, base_url=f"https://{host}").get("/")
            else:
                with httpx2.Client(
                    transport=httpx2.WSGITransport(app), base_url=f"https://{host}"
                ) as client:
                    client.get("/")

        kept = []
        return serve

    @pytest.mark.parametrize(
        "second", [TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware]
    )
    @pytest.mark.parametrize(
        "first", [TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware]
    )
    @pytest.mark.parametrize(
        "other",
        [{"client_key": "awanotherclientkey"}, {"secret_keys": [OTHER_KEY]}],
        ids=["client_key", "secret_keys"],
    )
    def test_logged(self, serve, first, second, other):
        """The second one logs an error that names the cookie and the options."""
        host = f"{first.__name__}-{second.__name__}.example.com".lower()
        assert serve(first, host) == []
        [line] = serve(second, host, **other)
        assert "__Host-tiktok" in line
        assert "secret_keys" in line
        assert "cookie_name" in line

    @pytest.mark.parametrize(
        ("one", "other", "is_logged"),
        [
            (["old"], ["old", "older"], False),
            (["new", "old"], ["old", "new"], False),
            (["new", "old"], ["old"], True),
            (["old"], ["new", "old"], True),
        ],
    )
    def test_rotation(self, serve, one, other, is_logged):
        """It is logged if either of them cannot read the other's new cookies."""
        keys = {"new": OTHER_KEY, "old": KEY, "older": OTHER_KEY[::-1]}
        host = "rotation.example.com"
        for names, expected in ((one, False), (other, is_logged)):
            secret_keys = [keys[name] for name in names]
            found = serve(TikTokOAuthMiddleware, host, secret_keys=secret_keys)
            assert bool(found) is expected

    @pytest.mark.parametrize(
        ("host", "options"),
        [
            ("same-app.example.com", {}),
            ("other-name.example.com", {"cookie_name": "studio"}),
            ("another-host.example.net", {}),
        ],
    )
    def test_not_logged(self, serve, host, options):
        """Nothing is logged for one TikTok app, another cookie or another host."""
        assert serve(TikTokOAuthMiddleware, host.replace("net", "com")) == []
        key = {} if host.startswith("same") else {"client_key": "awanotherclientkey"}
        assert serve(TikTokOAuthMiddleware, host, **options, **key) == []

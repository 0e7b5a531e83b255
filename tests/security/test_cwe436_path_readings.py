"""A path that a rule protects under any reading is protected.

``python -m hardening.paths`` compares with real frameworks.
"""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest

from tiktok_oauth_middleware import TikTokOAuthMiddleware
from tiktok_oauth_middleware._web.app_structure import inspect_app
from tiktok_oauth_middleware._web.path_readings import (
    RequestPath,
    readings,
    with_matching_claims,
)
from tiktok_oauth_middleware._web.rules import PathRules

from ..conftest import API, CALLBACK, LOGIN, ORIGIN, PAGE, make_settings
from ..support.growth import is_constant
from .conftest import memory_only
from .guarded_app import echo_path

RULES = PathRules(["/app", "/static/Private", "/café"], ["/app/open", "/café/Karte"])
PROTECTED = [
    "/app",
    "/app/",
    "/app/x",
    "/APP/x",
    "/App",
    "/APP/open",
    "/app/OPEN",
    "/static/private/x",
    "//app",
    "/./app",
    "/x/../app",
    "/open/../anything",
    "/app/open/../x",
    "/app/open/..",
    "/app/open/..;/x",
    "/%2e%2e/x",
    "/app%2fx",
    "/%61pp",
    "/%2561pp",
    "/%252561pp",
    "\\app",
    "/\\app",
    "/app\\x",
    "/app;x=y/z",
    "/app;",
    "/app.",
    "/app ",
    "/app%20/x",
    "/app?x",
    "/app#x",
    "/app\x00.html",
    "/anything\n",
    "/anything\x7f",
    "/a%0apple",
    "/ap\ufffdp/x",
    "/ap\ufffd\ufffdp",
    "/ap%ffp",
    "/ap\u200bp",
    "/\uff41pp",  # full width
    "/\uff0fapp",
    "/x/\u2025/app",
    "/CAF\u00c9",
    "/cafe\u0301",
    "/caf%C3%A9",
    "/caf%e9",
    "/café/karte",
    "//host/app",
    "/%2fhost/app",
    "app",
    "*",
    "http://app.example.com/x",
    "/" + "ü" * 2000,
    "/" + "x" * 20_000,
    "/" + "\ufdfa" * 200,
]
OPEN = [
    "/",
    "/apple",
    "/ap",
    "/app-x",
    "/x/app",
    "/app/open",
    "/app/open/x",
    "/app/open/%zz",
    "/app/open/x;y",
    "/app/open/ü",
    "/app/open/\ufffd",
    "/café/Karte",
    "/static",
    "/static/privateer",
    "/x.y/z.html",
    "/über/x",
    "/日本語/ページ",
    "/a b/c",
    "/a%20b",
    "/wiki/Foo_(bar)",
    "/@me",
    "/~me/",
    "/x" * 4000,
]


@pytest.mark.parametrize("path", PROTECTED, ids=ascii)
def test_protected_in_any_reading(path):
    """A rule that matches one of a path's readings applies, however the path is
    spelled.
    """
    assert RULES.protects(path)


@pytest.mark.parametrize("path", OPEN, ids=ascii)
def test_other_paths_are_open(path):
    """A path that no rule matches in any reading is open, and so is a public one."""
    assert not RULES.protects(path)


def test_no_rules_protect_nothing():
    """Without protecting rules, every spelling passes."""
    rules = PathRules([], ["/open"])
    assert not rules
    assert not any(map(rules.protects, [*PROTECTED, *OPEN]))


@pytest.mark.parametrize("rule", ["/", "/über", "/App/", "/a/b"])
def test_rule_protects_itself(rule):
    """A rule of any characters protects the path that it names."""
    for path in (rule, rule.rstrip("/") + "/x", rule.upper()):
        assert PathRules([rule], []).protects(path)


def test_public_wins_over_a_shorter_rule_only():
    """The longest matching rule decides; a public rule must match exactly."""
    rules = PathRules(["/", "/a/b"], ["/a", "/a/b/c"])
    for path, verdict in {
        "/": True,
        "/x": True,
        "/a": False,
        "/A": True,
        "/a/x": False,
        "/a/b": True,
        "/a/B": False,
        "/a/b/c/d": False,
        "/a/b/C": True,
    }.items():
        # "/a/B" is public with its exact case and protected without case: protected.
        assert rules.protects(path) is (verdict or path == "/a/B"), path


@pytest.mark.parametrize(
    "unit",
    ["/", "a", "A", "%41", "%252541", "ü", "\ufffd", "\ufdfa", "; /", "/.", "\\", "//x"]
    + ["?", "%", "é\u0301", "%25%C3%BC%ff;./", "\u200b", "/a.", "..."],
)
def test_long_path_costs_no_more(unit):
    """A path of a megabyte costs no more than one of 64 kB, since no more is read."""
    path = "/" + (unit * 1_000_000)[:1_000_000]
    assert is_constant(RULES.protects, path)


def seen(app, path, whole="", mount="", **more):
    """Return the decision on a path that an app may read in several ways."""
    sought = RequestPath(path, whole or path, mount, **more)
    rules = PathRules(["/app", "/api/v1/other"], ["/app/open"])
    return rules.protects(path) or any(
        rules.protects(text, is_certain=is_certain, public_path=public_path)
        for text, is_certain, public_path in readings(sought, inspect_app(app))
    )


@pytest.mark.filterwarnings("ignore")
class TestPrefixes:
    """Prefixes that the app inside the middleware removes."""

    def wrapped_in(self, way, inner):
        from functools import partial

        from starlette.applications import Starlette
        from starlette.middleware.gzip import GZipMiddleware
        from starlette.routing import Mount

        class Slotted:
            __slots__ = ("inside", "unset")

            def __init__(self, app):
                self.inside = app

        def with_globals(text):
            module = {"api": inner, "__name__": "project"}
            exec(text, module)
            return module["f"]

        def closure():
            async def outer(scope, receive, send):
                await inner(scope, receive, send)

            return outer

        return {
            "bare": lambda: inner,
            "middleware": lambda: GZipMiddleware(inner),
            "twice": lambda: GZipMiddleware(GZipMiddleware(inner)),
            "partial": lambda: partial(inner),
            "closure": closure,
            "mount": lambda: Starlette(routes=[Mount("/", inner)]),
            "object": lambda: SimpleNamespace(application=inner),
            "mapping": lambda: SimpleNamespace(application_mapping={"http": inner}),
            "channels": lambda: SimpleNamespace(
                inner=SimpleNamespace(routes=[SimpleNamespace(callback=inner)])
            ),
            "mounts": lambda: SimpleNamespace(mounts={"/x": inner}),
            "any name": lambda: SimpleNamespace(passes_on_to=inner),
            "any container": lambda: SimpleNamespace(by_host={"a": None, "b": inner}),
            "slot": lambda: Slotted(inner),
            "lambda": lambda: SimpleNamespace(call=lambda *given: [inner(*given)]),
            "global": lambda: with_globals("async def f(*given): await api(*given)"),
            "globals": lambda: with_globals(
                "async def g(*given): await api(*given)\n"
                "async def f(*given): await g(*given)"
            ),
            "method": lambda: with_globals(
                "class Outer:\n"
                "    async def __call__(self, *given): await api(*given)\n"
                "f = Outer()"
            ),
        }[way]()

    @pytest.mark.parametrize(
        "way",
        ["bare", "middleware", "twice", "partial", "closure", "mount", "object"]
        + ["mapping", "channels", "mounts", "any name", "any container", "slot"]
        + ["lambda", "global", "globals", "method"],
    )
    def test_fastapi(self, way):
        """FastAPI's root_path is found, whatever wraps the app."""
        from fastapi import FastAPI

        app = self.wrapped_in(way, FastAPI(root_path="/api/v1"))
        for path, verdict in {
            "/app/x": True,
            "/api/v1/app/x": True,
            "/api/v1/APP": True,
            "/api/v1app/x": True,
            "/api/v1/other": True,
            "/other": True,
            "/api/v1/open": False,
            "/app/open": False,
            "/api/v1/app/open": False,
            "/open": False,
            "/api/v1": False,
        }.items():
            assert seen(app, path) is verdict, path

    def test_changed_later(self):
        """The prefix is read when it is needed, since it may be set after the
        wrapping.
        """
        from fastapi import FastAPI

        app = FastAPI()
        inner = inspect_app(app)
        app.root_path = "/late"
        sought = RequestPath("/late/app", "/late/app", "")
        rules = PathRules(["/app"], [])
        assert any(rules.protects(r.path) for r in readings(sought, inner))

    def test_django(self):
        """Django's FORCE_SCRIPT_NAME is read, which Django removes from the path under
        ASGI.
        """
        from django.core.handlers.asgi import ASGIHandler
        from django.test import override_settings

        from ..support.django_once import configure

        configure()
        assert not seen(ASGIHandler(), "/forced/app/x")
        with override_settings(FORCE_SCRIPT_NAME="/forced"):
            assert seen(ASGIHandler(), "/forced/app/x")
            assert seen(ASGIHandler(), "/forcedapp/x")

    def test_flask_folder(self):
        """Flask's root_path is a folder, not a prefix of paths."""
        from flask import Flask

        app = Flask(__name__)
        assert [p() for p in inspect_app(app.wsgi_app).prefixes] == []

    def test_apps_that_refer_to_themselves(self):
        """Apps that refer to each other, or have any attribute, are searched without a
        loop.
        """

        class Endless:
            def __getattr__(self, name):
                return Endless()

        class Broken:
            @property
            def app(self):
                raise RuntimeError

        first, second = SimpleNamespace(), SimpleNamespace()
        first.app, second.app = second, first
        for app in (first, Endless(), Broken(), None, "text"):
            assert inspect_app(app).stems == []


class TestHeaders:
    """Headers with a mount point that libraries in the app may trust."""

    @pytest.mark.parametrize("claimed", ["/x", "/x/", "/app/open", "/static"])
    def test_prefix_sent(self, claimed):
        """A path that begins with a header's prefix is also read without it."""
        path = claimed.rstrip("/") + "/app/secret"
        assert seen(None, path, claimed_mounts=[claimed.encode()])
        assert seen(
            None, claimed.rstrip("/") + "app", claimed_mounts=[claimed.encode()]
        )

    def test_other_headers(self):
        """A header whose value is not a prefix of the path changes nothing."""
        assert not seen(None, "/x/app", claimed_mounts=[b"/y", b"/x/app/z", b"/"])

    @pytest.mark.parametrize("claimed", [b"/\xc3\xa9", b"/\xe9", b"/\xc3\xa9/\xff"])
    def test_bytes_sent(self, claimed):
        """A header's prefix is compared as bytes, since programs compare bytes or
        Latin-1.
        """
        raw = claimed + b"/app/secret"
        for path in {raw.decode("utf-8", "replace"), raw.decode("latin-1")}:
            assert seen(None, path, claimed_mounts=[claimed], raw=raw)

    def test_dropped_byte(self):
        """The rest after a prefix that ends in the middle of a character is
        read, too.
        """
        raw = b"/\xc3\xa9/app/secret"
        assert seen(None, raw.decode(), claimed_mounts=[b"/\xc3"], raw=raw)

    def test_too_many(self):
        """A path is protected if more headers match it than proxies send."""
        path = "/" + "x" * 50
        sent = [path[:length].encode() for length in range(2, 50)]
        assert with_matching_claims(RequestPath(path, path, "", sent)) is None
        few = with_matching_claims(
            RequestPath(path, path, "", [*sent[:3], b"/y", b"/xxy", b"/z"])
        )
        assert few is not None
        assert few.claimed_mounts == sent[:3]


@memory_only
class TestSentPrefixes:
    @pytest.mark.parametrize(
        "name", ["x-script-name", "x-forwarded-prefix", "daphne-root-path", "x-any"]
    )
    def test_header(self, world, raw, name):
        """Under ASGI and WSGI such a header does not make a protected path open."""
        world.with_settings(protect=["/who"], public=["/who/open"])
        echo_path(world)
        passes = raw.ask("GET", "/x/who", headers=API)
        assert passes.one("x-app") == "yes"
        answer = raw.ask("GET", "/x/who", headers=API | {name: "/x"})
        assert answer.status == 401
        answer = raw.ask("GET", "/who", headers=API | {name: "/who"})
        assert answer.status == 401

    def test_no_ascii(self, world, raw):
        """A prefix that is not ASCII is compared as its bytes in UTF-8."""
        world.with_settings(protect=["/who"])
        echo_path(world)
        sent = API | {"x-script-name": "/é".encode().decode("latin-1")}
        assert raw.ask("GET", "/é/who", headers=API).one("x-app") == "yes"
        assert raw.ask("GET", "/é/who", headers=sent).status == 401

    def test_too_many(self, world, raw):
        """Under both interfaces, a path that dozens of headers match is not served."""
        world.with_settings(protect=["/who"])
        echo_path(world)
        path = "/" + "x" * 50
        few = {f"x-{n}": path[:n] for n in range(2, 6)}
        many = {f"x-{n}": path[:n] for n in range(2, 40)}
        assert raw.ask("GET", path, headers=API | few).one("x-app") == "yes"
        assert raw.ask("GET", path, headers=API | many).status == 401


@memory_only
class TestStrayMounts:
    """Mount points that the callback is not below."""

    @pytest.fixture
    def settings(self):
        return make_settings(
            redirect_uri=f"{ORIGIN}/shop{CALLBACK}", protect=["/who"], public=["/open"]
        )

    @pytest.mark.parametrize(
        "mount", ["/who", "/x", "/shopping", "/sh", "/SHOP", "/shop/auth/tiktok/call"]
    )
    @pytest.mark.parametrize("path", ["/who", "/open", "/", "/anything"])
    def test_everything_is_protected(self, world, raw, mount, path):
        """With rules, every path below such a mount point needs a login, with or
        without the prefix.
        """
        echo_path(world)
        for asked in (path, mount + path):
            answer = raw.ask("GET", asked, mount=mount, headers=API)
            assert answer.status == 401
            assert answer.one("x-app") is None

    @pytest.mark.parametrize("mount", ["", "/shop", "/shop/", "shop"])
    def test_usual_mounts(self, world, raw, mount):
        """Below the callback's mount point, and without a mount point, the rules
        decide.
        """
        echo_path(world)
        assert raw.ask("GET", "/open", mount=mount).one("x-app") == "yes"
        assert raw.ask("GET", "/who", mount=mount, headers=API).status == 401

    @pytest.mark.parametrize("interface", ["asyncio", "trio"], indirect=True)
    def test_made_up(self, world, raw, monkeypatch):
        """Under Daphne, a mount point in a header does not make a protected path
        public.
        """
        world.with_settings(protect=["/"])
        echo_path(world)
        asked = {"mount": "/shop", "headers": API}
        assert raw.ask("GET", "/shop/open", **asked).one("x-app") == "yes"
        monkeypatch.setitem(sys.modules, "daphne.http_protocol", object())
        assert raw.ask("GET", "/shop/open", **asked).status == 401
        world.with_settings(public=["/open", "/shop/open"])
        echo_path(world)
        assert raw.ask("GET", "/shop/open", **asked).one("x-app") == "yes"

    def test_no_rules(self, world, raw):
        """Without rules the app is served as before."""
        world.with_settings(protect=[], public=[])
        echo_path(world)
        assert raw.ask("GET", "/who", mount="/x").one("x-app") == "yes"

    def test_bounded(self, world, raw, caplog):
        """A thousand invented mount points use no memory, and cause one log line."""
        core = world.middleware._core
        raw.ask("GET", "/who", mount="/shop")
        with caplog.at_level(logging.ERROR):
            for number in range(1000):
                raw.ask("GET", "/who", mount=f"/m{number}", headers=PAGE)
            raw.ask("GET", "/who", mount="/" + "x" * 60_000, headers=PAGE)
            for slashes in range(50):
                raw.ask("GET", "/who", mount="/" * slashes + "shop", headers=PAGE)
        assert {*core.mount_points.known} <= {"", "/shop"}
        lines = [r for r in caplog.records if "mount point" in r.getMessage()]
        assert len(lines) == 1
        assert "every path is protected" in lines[0].getMessage()

    def test_long_mount_point_is_not_used_in_links(self, raw):
        """A mount point that is longer than the callback's path is not used in
        links.
        """
        mount = "/" + "x" * 60_000
        answer = raw.ask("GET", "/who", mount=mount, headers=PAGE)
        assert answer.location.startswith(LOGIN)


class TestUnmatched:
    """Rules that match no route of the app."""

    def report(self, app, caplog, *rules):
        from starlette.testclient import TestClient

        wrapped = TikTokOAuthMiddleware(app, make_settings(protect=[*rules]))
        with caplog.at_level(logging.WARNING):
            client = TestClient(wrapped, base_url=ORIGIN)
            for _ in range(3):
                client.get("/open")
        return [r.getMessage() for r in caplog.records if "no route" in r.getMessage()]

    @pytest.fixture
    def app(self):
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Mount, Route

        async def view(request):
            return PlainTextResponse("x")

        async def asgi(scope, receive, send): ...

        return Starlette(
            routes=[
                Route("/members/list", view),
                Route("/users/{name}/videos", view),
                Route("/docs/{rest:path}", view),
                Mount("/files", asgi),
                Mount("/shop", routes=[Route("/cart", view)]),
            ]
        )

    def test_misspelt(self, app, caplog):
        """A rule without a route below it is logged once, with its text."""
        [line] = self.report(app, caplog, "/memebers", "/shop/card", "/members")
        assert "/memebers" in line
        assert "/shop/card" in line
        assert "'/members'" not in line

    @pytest.mark.parametrize(
        "rule",
        ["/", "/members", "/Members/list", "/users", "/users/me", "/users/x/videos"]
        + ["/docs", "/docs/a/b", "/files/x/y", "/shop", "/shop/cart"],
    )
    def test_fitting(self, app, caplog, rule):
        """A rule at, above or below a route is not logged."""
        assert self.report(app, caplog, rule) == []

    def test_routers_of_fastapi(self):
        """The routes of included routers are read, with the prefixes of each level."""
        from fastapi import APIRouter, FastAPI

        from tiktok_oauth_middleware._web.app_structure import rules_without_route

        inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer")

        @inner.get("/list")
        async def view():
            return "x"

        outer.include_router(inner, prefix="/at")
        app = FastAPI()
        app.include_router(outer, prefix="/v1")
        rules = ["/v1/outer/at/inner/list", "/v1/inner", "/outer"]
        assert rules_without_route(rules, app) == ["/v1/inner", "/outer"]

    @pytest.mark.parametrize("kind", ["app", "router"])
    def test_files_of_fastapi(self, kind, tmp_path):
        """No rule is reported if FastAPI may serve a file at its path."""
        from fastapi import APIRouter, FastAPI

        from tiktok_oauth_middleware._web.app_structure import rules_without_route

        app, router = FastAPI(), APIRouter()
        if not hasattr(app, "frontend"):
            pytest.skip("this FastAPI serves no front end")
        (tmp_path / "index.html").write_text("x")
        (app if kind == "app" else router).frontend("/", directory=tmp_path)
        app.include_router(router, prefix="/v1")
        assert rules_without_route(["/nowhere"], app) == []

    def test_unknown_app(self, app, caplog):
        """An app that does not show its routes is not reported."""

        async def outer(scope, receive, send):
            await app(scope, receive, send)

        assert self.report(outer, caplog, "/memebers") == []

    def test_flask(self, caplog):
        """Flask's routes are read, too."""
        from flask import Flask

        from tiktok_oauth_middleware._web.app_structure import rules_without_route

        app = Flask(__name__)
        app.add_url_rule("/a/<int:n>", "a", lambda n: "x")
        rules = ["/a", "/a/5", "/b", "/static/x"]
        assert rules_without_route(rules, app.wsgi_app) == ["/b"]

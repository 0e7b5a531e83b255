"""Spellings of the middleware's paths and of protected paths."""

from __future__ import annotations

import json
import logging

import pytest

from ..conftest import (
    API,
    CALLBACK,
    LOGIN,
    LOGOUT,
    ORIGIN,
    PAGE,
    SAME_ORIGIN,
    make_settings,
    query_of,
)
from ..support.combinations import share_of
from ..support.odd_paths import spelled
from .conftest import memory_only
from .guarded_app import echo_path

DISCONNECT = "/auth/tiktok/disconnect"
WEBHOOK = "/hooks/tiktok"
OWN = {
    "login": LOGIN,
    "callback": CALLBACK,
    "logout": LOGOUT,
    "disconnect": DISCONNECT,
    "webhook": WEBHOOK,
}
ALL_PATHS = {"disconnect_path": DISCONNECT, "webhook_path": WEBHOOK}


@memory_only
class TestOurPaths:
    @pytest.mark.parametrize("path", OWN.values(), ids=OWN.keys())
    def test_only_the_exact_path_is_ours(self, world, raw, path):
        """Any other spelling is passed to the app unchanged."""
        world.with_settings(**ALL_PATHS)
        assert raw.ask("GET", path).one("x-app") is None
        echo_path(world)
        for other in spelled(path):
            answer = raw.ask("POST", other, headers=SAME_ORIGIN)
            assert answer.one("x-app") == "yes", ascii(other)
            assert json.loads(answer.body) == other
            assert not answer.set_cookies

    @pytest.mark.parametrize(
        "query", [b"/auth/tiktok/login", b"path=" + LOGIN.encode()]
    )
    def test_query_is_not_a_path(self, world, raw, query):
        """A query does not make another path one of the middleware's."""
        echo_path(world)
        assert raw.ask("GET", "/", query=query).one("x-app") == "yes"


@memory_only
class TestRules:
    """Path rules; the app answers /who with the user."""

    def assert_hidden(self, raw, path):
        answer = raw.ask("GET", path, headers=API)
        assert b"signed_in" not in answer.body, ascii(path)

    def test_no_spelling_reaches_a_protected_path(self, world, raw):
        """No spelling of a protected view's path reaches it."""
        assert b"signed_in" in raw.ask("GET", "/who", headers=API).body
        world.with_settings(protect=["/who"])
        for path in ("/who", *spelled("/who")):
            self.assert_hidden(raw, path)

    def test_no_spelling_of_a_public_path_reaches_a_protected_one(self, world, raw):
        """A path that begins like a public one does not reach a protected one."""
        world.with_settings(protect=["/"], public=["/open"])
        for path in share_of(world.interface, ["/who", *spelled("/who")]):
            self.assert_hidden(raw, path)
            self.assert_hidden(raw, "/open" + path)
            self.assert_hidden(raw, "/open/.." + path)

    def test_line_break_at_the_end(self, world, raw):
        """A protected path followed by a line break, which patterns overlook, is
        refused.
        """
        world.with_settings(protect=["/who"])
        assert raw.ask("GET", "/who\n", headers=API).status == 401

    @pytest.mark.parametrize(
        "path", ["who", "http://app.example.com/who", "*", "?/who"]
    )
    def test_target_without_a_slash_is_refused(self, world, raw, path):
        """With rules, a target that does not begin with a slash is refused."""
        world.with_settings(protect=["/who"])
        assert raw.ask("GET", path, headers=API).status == 401

    @pytest.mark.parametrize(
        "path", ["/whose", "/who-is", "/w%68ose", "/who.html", "/x/who", "/", "/open"]
    )
    def test_other_paths_pass(self, world, raw, path):
        """A rule covers whole segments only."""
        world.with_settings(protect=["/who"])
        echo_path(world)
        assert raw.ask("GET", path).one("x-app") == "yes"

    def test_longest_rule(self, world, raw):
        """The longest rule that covers a path decides."""
        rules = {"protect": ["/a", "/a/b/c"], "public": ["/a/b", "/a/b/c/d"]}
        world.with_settings(**rules)
        echo_path(world)
        for path, passes in {
            "/a": False,
            "/a/": False,
            "/a/x": False,
            "/a/b": True,
            "/a/b/": True,
            "/a/bx": False,
            "/a/b/c": False,
            "/a/b/c/x": False,
            "/a/b/c/d/e": True,
            "/a/b/../x": False,
            "/a/b/c/d/../x": False,
            "/a/b/./x": True,
            "/x/../a": False,
            "/x": True,
        }.items():
            answer = raw.ask("GET", path, headers=API)
            assert (answer.one("x-app") == "yes") is passes, path

    @pytest.mark.parametrize(
        "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X"]
    )
    def test_methods(self, world, raw, method):
        """A rule applies to every method."""
        world.with_settings(protect=["/a"])
        echo_path(world)
        answer = raw.ask(method, "/a/b", headers=API)
        assert answer.status == 401
        assert answer.one("x-app") is None


FORMS = ["whole", "less the mount point"]


@memory_only
class TestMounts:
    """Apps below a mount point; ASGI servers pass the path with or without it."""

    @pytest.fixture
    def settings(self):
        return make_settings(
            redirect_uri=f"{ORIGIN}/sub/deep{CALLBACK}", protect=["/who"], **ALL_PATHS
        )

    mount = "/sub/deep"

    def path(self, raw, form, path):
        whole = form == "whole" and raw.world.interface != "wsgi"
        return self.mount + path if whole else path

    @pytest.mark.parametrize("form", FORMS)
    def test_journey(self, raw, form):
        """Logging in and out works below the mount point, and links begin with it."""

        def ask(method, path, **options):
            path = self.path(raw, form, path)
            return raw.ask(method, path, mount=self.mount, **options)

        refusal = ask("GET", "/who", query=b"a=b", headers=PAGE)
        begin = refusal.location
        assert begin == f"{self.mount}{LOGIN}?next=/sub/deep/who%3Fa%3Db"
        query = begin.partition("?")[2].encode()
        authorize = ask("GET", LOGIN, query=query, headers=PAGE).location
        assert query_of(authorize)["redirect_uri"] == f"{ORIGIN}/sub/deep{CALLBACK}"
        path, query = raw.consent(authorize)
        assert path == self.mount + CALLBACK
        answer = ask("GET", CALLBACK, query=query)
        assert answer.location == "/sub/deep/who?a=b"
        who = json.loads(ask("GET", "/who", headers=API).body)
        assert who["logout_url"] == self.mount + LOGOUT
        out = ask("POST", LOGOUT, headers=SAME_ORIGIN)
        assert out.location == "/sub/deep/"
        assert ask("GET", "/who", headers=API).status == 401

    @pytest.mark.parametrize("form", FORMS)
    def test_own_paths(self, raw, form):
        """A login below a mount point does not return to the middleware's own paths
        there.
        """
        for path in OWN.values():
            query = f"next={self.mount}{path}".encode()
            own = self.path(raw, form, LOGOUT)
            answer = raw.ask(
                "POST", own, query=query, headers=SAME_ORIGIN, mount=self.mount
            )
            assert answer.location == "/sub/deep/"

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("path", OWN.values(), ids=OWN.keys())
    def test_only_the_exact_path_is_ours(self, world, raw, form, path):
        """Only the exact spelling of a path below the mount point is the
        middleware's.
        """
        echo_path(world)
        exact = self.path(raw, form, path)
        assert raw.ask("GET", exact, mount=self.mount).one("x-app") is None
        others = [
            self.mount * 2 + path,
            f"/sub{path}",
            f"/subdeep{path}",
            f"/Sub/deep{path}",
            f"/sub//deep{path}",
            f"/sub/deepx{path}",
            f"//sub/deep{path}",
            f"/sub/./deep{path}",
            f"/x/sub/deep{path}",
            f"sub/deep{path}",
        ]
        for other in others:
            answer = raw.ask("GET", other, mount=self.mount, headers=PAGE)
            assert answer.one("x-app") == "yes" or answer.status == 303, other
            assert not answer.set_cookies

    def test_no_spelling_reaches_a_protected_path(self, raw, interface):
        """No spelling with or without the mount point reaches a protected path."""
        for before in ("", self.mount, "/x" + self.mount, "/" + self.mount):
            for path in share_of(interface, ["/who", *spelled("/who")]):
                answer = raw.ask("GET", before + path, mount=self.mount, headers=API)
                assert b"signed_in" not in answer.body, ascii(before + path)

    @pytest.mark.parametrize(
        "mount",
        ["//evil.example", "/\\evil.example", "/.//evil.example", "/\t/evil.example"]
        + ["https://evil.example", "evil.example", "/", "//", "/sub/", "/ü", "/a b"],
    )
    def test_mount_point_never_leads_to_another_site(self, raw, mount, caplog):
        """For any mount point that a server reports, redirects and links stay on the
        site.
        """
        ada_url = pytest.importorskip("ada_url", reason="ada_url is not installed")
        with caplog.at_level(logging.CRITICAL):
            answers = [
                raw.ask("POST", LOGOUT, headers=SAME_ORIGIN, mount=mount),
                raw.ask("GET", "/who", headers=PAGE, mount=mount),
            ]
        for answer in answers:
            location = answer.one("location")
            if location is not None:
                url = ada_url.URL(location, base=f"{ORIGIN}/x")
                assert url.origin == ORIGIN, location

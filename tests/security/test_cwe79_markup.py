"""Markup in requests is shown on pages as text only (CWE-79)."""

from __future__ import annotations

import itertools
import re
from urllib.parse import quote

import pytest

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, PAGE, SAME_ORIGIN
from .conftest import memory_only

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title></style><script>",
    "<!--",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "+ADw-script+AD4-",
    "{{7*7}}${7*7}%(x)s",
]


@memory_only
class TestMarkup:
    """Text of a request is escaped on every page."""

    @pytest.mark.parametrize("value", MARKUP)
    def test_every_parameter(self, world, raw, value):
        """Markup in any parameter of the middleware's paths is escaped on the page."""
        world.with_settings(disconnect_path="/bye", login_methods=("POST",))
        encoded = quote(value, safe="")
        genuine = raw.consent(raw.ask("POST", LOGIN, headers=SAME_ORIGIN).location)[
            1
        ].decode()
        names = ["next", "scopes", "state", "code", "error", "error_description"]
        names += ["errCode", "error_type", "log_id", encoded]
        for name, path in itertools.product(names, [LOGIN, CALLBACK, LOGOUT, "/bye"]):
            query = f"{name}={encoded}"
            for more in ("", f"&{genuine}", f"&error=x&{genuine}"):
                for method in ("GET", "POST"):
                    sent = f"{query}{more}".encode()
                    assert_plain(raw.ask(method, path, query=sent, headers=PAGE))

    @pytest.mark.parametrize("value", MARKUP)
    def test_path_and_mount(self, world, raw, value):
        """Markup in a path, a mount point or a header is escaped."""
        world.with_settings(protect=["/ruled"])
        for headers in (PAGE, API, {"accept": "image/*"}):
            assert_plain(raw.ask("GET", f"/ruled/{value}", headers=headers))
            assert_plain(raw.ask("GET", f"/private/{value}", headers=headers))
        for path in (LOGIN, LOGOUT):
            odd = f"/{value}"
            more = {**PAGE, "host": value, "referer": value, "user-agent": value}
            assert_plain(raw.ask("GET", path, mount=odd, headers=more))
            assert_plain(raw.ask("POST", path, mount=odd, headers=more))

    @pytest.mark.parametrize("value", MARKUP)
    def test_answers_of_tiktok(self, world, raw, value):
        """Markup in TikTok's answers is escaped."""
        for fields in ({"error": value}, {"body": value.encode()}):
            world.tiktok.fail("token", **fields)
            assert_plain(raw.log_in())
            world.tiktok.clear_faults()


def assert_plain(answer):
    """Assert that a page has no tags but its own."""
    assert answer.status < 600
    kind = answer.one("content-type") or ""
    if not kind.startswith("text/html") or answer.one("cache-control") != "no-store":
        return
    rest = re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)
    tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([^\s>]+)", rest)}
    assert tags <= {
        *("!doctype", "html", "head", "meta", "title", "body", "main", "h1", "p"),
        *("div", "form", "button", "a", "footer", "code"),
    }
    for attribute in re.findall(r"<[a-z][^>]*>", rest):
        assert " on" not in attribute
        assert "javascript:" not in attribute.partition("?")[0]

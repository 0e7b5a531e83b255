"""No part of a request can add a header to a response (CWE-113)."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from ..conftest import CALLBACK, LOGIN, LOGOUT, PAGE, SAME_ORIGIN
from .conftest import memory_only

#: Characters that end a header, or are not allowed in one.
CONTROLS = [
    "\r\n",
    "\r",
    "\n",
    "\x00",
    "\x0b",
    "\x0c",
    "\x1b",
    "\x7f",
    "\x85",
    "\u2028",
]

LINES = ["Set-Cookie: a=b", "\r\n<script>alert(1)</script>"]


def assert_sendable(answer):
    """Check all headers of an answer: tokens, and visible text with spaces."""
    for name, value in answer.headers:
        assert re.fullmatch(r"[a-z-]+", name), name
        assert re.fullmatch(r"[\x20-\x7e]*", value), (name, value)
    assert "a=b" not in answer.set_cookies.items()
    assert "a" not in answer.set_cookies


@memory_only
class TestHeaders:
    """No part of a request can add a header to a response."""

    @pytest.mark.parametrize("line", LINES, ids=["header", "body"])
    @pytest.mark.parametrize("control", CONTROLS, ids=repr)
    def test_every_parameter(self, raw, control, line):
        """A control in any parameter of any path of ours reaches no header."""
        value = quote(f"/x{control}{line}", safe="").encode()
        code = raw.consent(raw.begin())[1]
        for name in (b"next", b"scopes", b"state", b"code", b"error", b"x"):
            query = name + b"=" + value
            for answer in (
                raw.ask("GET", LOGIN, query=query, headers=PAGE),
                raw.ask("POST", LOGIN, query=query),
                raw.ask("GET", CALLBACK, query=query),
                raw.ask("GET", CALLBACK, query=query + b"&" + code),
                raw.ask("GET", LOGOUT, query=query),
                raw.ask("POST", LOGOUT, query=query, headers=SAME_ORIGIN),
            ):
                assert answer.status < 500
                assert_sendable(answer)

    @pytest.mark.parametrize("control", CONTROLS, ids=repr)
    def test_guarded_path(self, world, raw, control):
        """A control in a guarded path or its query reaches no header."""
        world.with_settings(protect=["/ruled"])
        for path in (f"/ruled/x{control}{LINES[0]}", f"/ruled/{control}"):
            raw_query = control.encode() + LINES[0].encode()
            for headers in (PAGE, {"accept": "application/json"}):
                answer = raw.ask("GET", path, query=raw_query, headers=headers)
                assert answer.status in (303, 401)
                assert_sendable(answer)

    @pytest.mark.parametrize("control", CONTROLS[:4], ids=repr)
    def test_mount_point(self, raw, control):
        """A control in the mount point, which a proxy may set, reaches no header."""
        for path in (LOGIN, LOGOUT):
            answer = raw.ask("GET", path, mount=f"/x{control}{LINES[0]}", headers=PAGE)
            assert_sendable(answer)

    def test_cookies(self, raw):
        """A control in a cookie of ours reaches no header, not even to delete it."""
        for control in CONTROLS:
            junk = (
                f"__Host-tiktok-login-a{control}b=x; __Host-tiktok-login-c=y{control}z"
            )
            for path, method in ((LOGIN, "GET"), (LOGOUT, "POST")):
                answer = raw.ask(
                    method, path, headers=SAME_ORIGIN, cookie=junk.encode()
                )
                assert answer.status == 303
                assert_sendable(answer)

"""The redirect to the login contains no protected content (CWE-200)."""

from __future__ import annotations

import itertools

import pytest

from ..conftest import API, LOGIN, PAGE
from .conftest import memory_only
from .guarded_app import SECRET, members_only, show

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "x"]

TYPES = [
    None,
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/html",
    "text/plain; charset=utf-7",
    "application/octet-stream",
    "\xff",
]

ACCEPTS = ["text/html", "application/json", "*/*", "", "image/*", "\xff"]


@memory_only
class TestProtectedContent:
    """No part of a protected answer is sent with the redirect to log in."""

    @pytest.mark.parametrize("way", ["rule", "guard"])
    def test_no_request_gets_content(self, world, raw, way):
        """Whatever its method and types, an anonymous request gets no content."""
        if way == "rule":
            world.with_settings(protect=["/x"])
        show(world, members_only(way), [("x-secret", "yes"), ("set-cookie", "a=b")])
        for method, kind, accept in itertools.product(METHODS, TYPES, ACCEPTS):
            headers = [("accept", accept)]
            headers += [] if kind is None else [("content-type", kind)]
            answer = raw.ask(method, "/x", headers=headers, body=b"<x>=1&a=b")
            assert SECRET not in answer.text
            assert answer.one("x-secret") is None
            assert answer.one("cache-control") == "no-store"
            if answer.status == 303:
                assert method in ("GET", "HEAD")
                assert answer.location == f"{LOGIN}?next=/x"
                assert answer.body == b""
            else:
                assert answer.status == 401
                is_page = method == "POST" and accept == "text/html"
                begin = b"<!doctype html>" if is_page else b'{"error"'
                assert method == "HEAD" or answer.body.startswith(begin)
            assert not answer.set_cookies
        raw.log_in()
        assert SECRET in raw.ask("GET", "/x", headers=API).text

    def test_posted_body_does_not_come_back(self, raw):
        """A body that was posted to a guarded path is neither kept nor sent on."""
        body = b"card=4111111111111111"
        answer = raw.ask("POST", "/private", headers=PAGE, body=body)
        assert answer.status == 401
        assert "4111" not in f"{answer.headers} {answer.text}"
        assert not answer.set_cookies

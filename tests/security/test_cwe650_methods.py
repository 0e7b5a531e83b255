"""The methods that each path accepts (CWE-650)."""

from __future__ import annotations

import itertools
import re

import pytest

from ..conftest import (
    API,
    CALLBACK,
    LOGIN,
    LOGOUT,
    PAGE,
    SAME_ORIGIN,
)
from ..support.senders import ALL_PATHS, DISCONNECT, WEBHOOK
from .conftest import memory_only

METHODS = [
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"),
    *("PROPFIND", "QUERY", "X", "get", "Post", "", "GET ", "POST,GET"),
]

#: The status of each path for our own pages, by method; other methods get 405.
ANSWERS = {
    LOGIN: {"GET": 303, "POST": 303},
    CALLBACK: {"GET": 400},
    LOGOUT: {"GET": 200, "POST": 303},
    DISCONNECT: {"GET": 200, "POST": 303},
    WEBHOOK: {"POST": 401},
}


@memory_only
class TestMethods:
    @pytest.mark.parametrize("path", ANSWERS)
    def test_methods(self, world, raw, path):
        """Each path answers its own methods, and names them when it refuses another."""
        world.with_settings(**ALL_PATHS)
        for method in METHODS:
            answer = raw.ask(method, path, headers=SAME_ORIGIN)
            status = ANSWERS[path].get(method, 405)
            assert answer.status == status, method
            if status == 405:
                assert answer.one("allow") == ", ".join(ANSWERS[path])
                assert not answer.set_cookies
            raw.cookies.clear()
        assert world.tiktok.requests == []

    @pytest.mark.parametrize("path", ANSWERS)
    def test_head_has_no_body(self, world, raw, path):
        """A HEAD is answered without a body."""
        world.with_settings(**ALL_PATHS)
        assert raw.ask("HEAD", path).body == b""

    @pytest.mark.parametrize("path", ANSWERS)
    def test_every_answer_has_its_headers(self, world, raw, path):
        """Every response has headers against caching, sniffing, framing and referrers."""
        world.with_settings(**ALL_PATHS)
        for method, headers in itertools.product(METHODS, (PAGE, API, SAME_ORIGIN)):
            answer = raw.ask(method, path, headers=headers)
            assert_headed(answer, is_callback=path == CALLBACK)

    def test_every_refusal_has_its_headers(self, world, raw):
        """A response that replaces the app's has its headers too."""
        world.with_settings(protect=["/ruled"])
        for method, headers in itertools.product(METHODS, (PAGE, API)):
            for path in ("/ruled/x", "/private", "/upload"):
                answer = raw.ask(method, path, headers=headers)
                if answer.status in (303, 401):
                    assert_headed(answer)
        raw.log_in()
        for headers in (PAGE, API):
            assert_headed(raw.ask("GET", "/upload", headers=headers))


def assert_headed(answer, *, is_callback=False):
    """Assert the headers of one of the middleware's responses."""
    assert answer.one("cache-control") == "no-store"
    assert answer.one("x-content-type-options") == "nosniff"
    policy = "strict-origin" if is_callback else "same-origin"
    assert answer.one("referrer-policy") == policy
    if answer.status != 303:  # only documents have openers
        assert answer.one("cross-origin-opener-policy") == "same-origin"
    assert answer.one("content-length") is not None
    kind = answer.one("content-type")
    assert kind in (
        "text/html; charset=utf-8",
        "application/json",
        "text/plain; charset=utf-8",
    )
    if answer.one("location") is not None:
        assert answer.status == 303
        assert answer.body == b""
    if kind.startswith("text/html"):
        policy = answer.one("content-security-policy")
        for part in (
            "default-src 'none'",
            "form-action 'self'"
            + (" https://www.tiktok.com" if b"<form" in answer.body else ""),
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ):
            assert part in policy.split("; ")
        assert re.search(r"style-src 'sha256-[\w+/=]+'", policy)
        assert answer.one("x-frame-options") == "DENY"
        if answer.body:
            assert b"<script" not in answer.body
            assert not re.search(rb"(src|href|action)=.?(\w+:)?//|url\(", answer.body)

"""Repeated and empty parameters of a callback (CWE-235)."""

from __future__ import annotations

import pytest

from ..conftest import (
    CALLBACK,
    LOGIN,
    query_of,
)


def rows(world):
    return world.store.keys("")


class TestDuplicates:
    """A parameter with two values is refused."""

    @pytest.mark.parametrize("name", ["state", "code", "error"])
    def test_repeated(self, world, raw, name):
        """A repeated parameter is refused, and the login can still be completed."""
        path, query = raw.consent(raw.begin())
        value = query_of("?" + query.decode()).get(name, "access_denied")
        if name == "error":
            twice = [f"error={value}&error={value}", f"error=&err%6fr={value}"]
        else:
            encoded = f"%{ord(name[0]):02x}{name[1:]}"
            twice = [f"{name}={value}", f"{name}=", name, f"{encoded}={value}"]
            twice += [f"{name}=other", f"&&{name}=other&&", f"{encoded}=other"]
        for again in twice:
            for both in (f"{query.decode()}&{again}", f"{again}&{query.decode()}"):
                answer = raw.ask("GET", path, query=both.encode())
                assert answer.status == 400, both
                assert not answer.set_cookies
        assert world.count("authorization_code") == 0
        assert rows(world) == []
        assert raw.ask("GET", path, query=query).status == 303

    @pytest.mark.parametrize(
        "query", [b"scopes=video.upload&scopes=", b"scopes&sc%6fpes=video.upload"]
    )
    def test_repeated_scopes(self, raw, query):
        """A repeated `scopes` begins no login."""
        assert raw.ask("GET", LOGIN, query=query).status == 400
        assert raw.cookies == {}

    def test_other_parameters_of_a_callback_are_ignored(self, raw):
        """Unknown parameters of a callback change nothing, once or twice."""
        path, query = raw.consent(raw.begin(b"next=/a"))
        more = (
            b"&scopes=video.publish&scopes=x&next=//evil.example&redirect_uri=x"
            b"&x=1&x=2&%ff=%ff&=&error_description=x&log_id=1"
        )
        answer = raw.ask("GET", path, query=query + more)
        assert (answer.status, answer.location) == (303, "/a")
        assert "video.publish" not in raw.ask("GET", "/who").text


SEPARATORS = [b"&", b"&&&&", b"=", b"&=&=", b"?", b"?&&&&", b"#", b";;;", b"%", b"+"]


class TestSeparators:
    """Queries and Cookie headers that consist of separators."""

    @pytest.mark.parametrize("query", SEPARATORS)
    def test_query(self, world, raw, query):
        """A query of separators begins a login, finishes none, and returns home."""
        path, answer = raw.consent(raw.begin(query))
        assert raw.ask("GET", CALLBACK, query=query).status == 400
        assert rows(world) == []
        finished = raw.ask("GET", path, query=query + b"&" + answer + b"&&")
        assert (finished.status, finished.location) == (303, "/")

    @pytest.mark.parametrize("cookie", [b";", b";;;", b"; ;=;", b"=", b"==;=", b"\t ;"])
    def test_cookie(self, world, raw, cookie):
        """A Cookie header of separators is anonymous, on every path."""
        visitor = raw.another()
        assert visitor.seen_by("/who", cookie=cookie) is None
        assert visitor.ask("GET", LOGIN, cookie=cookie).status == 303
        assert visitor.ask("GET", CALLBACK, cookie=cookie).status == 400
        assert rows(world) == []

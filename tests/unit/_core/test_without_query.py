"""Removing the query, and its code and state, from a scope or environ."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._core.without_query import _secrets, without_query

CODE, STATE = "AbC-1_xyz*1!4608.va", "s" * 43
QUERY = b"code=AbC-1_xyz%2A1%214608.va&scopes=user.info.basic&state=" + b"s" * 43
PATH = "/auth/tiktok/callback"


class Session(dict):
    """An app's session, which must stay the same object."""


def test_own_places():
    """The query's key is emptied, and addresses keep only the part before the query."""
    environ = {
        "QUERY_STRING": QUERY.decode(),
        "REQUEST_URI": f"{PATH}?{QUERY.decode()}",
        "HTTP_X_ORIGINAL_URL": f"https://a.example{PATH}?{QUERY.decode()}",
        "PATH_INFO": PATH,
    }
    assert without_query(environ, QUERY) == {
        "QUERY_STRING": "",
        "REQUEST_URI": PATH,
        "HTTP_X_ORIGINAL_URL": f"https://a.example{PATH}",
        "PATH_INFO": PATH,
    }
    assert environ["QUERY_STRING"] == QUERY.decode()


def test_nested():
    """Code and state are removed from headers and from a serverless platform's event."""
    scope = {
        "query_string": QUERY,
        "raw_path": PATH.encode() + b"?" + QUERY,
        "headers": [(b"cookie", b"a=b"), (b"x-code", CODE.encode())],
        "aws.event": {
            "rawQueryString": QUERY.decode(),
            "queryStringParameters": {"code": CODE, "state": STATE, "x": "y"},
            "requestContext": {"http": {"path": PATH}},
        },
    }
    cleaned = without_query(scope, QUERY)
    assert CODE not in repr(cleaned)
    assert STATE not in repr(cleaned)
    assert "4608" not in repr(cleaned)
    assert cleaned["headers"][0] == (b"cookie", b"a=b")
    assert cleaned["aws.event"]["requestContext"] == {"http": {"path": PATH}}
    assert cleaned["aws.event"]["queryStringParameters"]["x"] == "y"
    assert CODE in repr(scope)


def test_objects_stay_the_same():
    """Objects that other middlewares put into the scope are not copied."""
    session, state, headers = Session(user="1"), {"x": object()}, [(b"a", b"b")]
    scope = {"session": session, "state": state, "headers": headers}
    cleaned = without_query(scope, QUERY)
    assert all(cleaned[name] is scope[name] for name in scope)


@pytest.mark.parametrize(
    "query", [b"2", b"code=2&state=1", b"cod=user-12&x=user-12", b"code", b"&&=&code="]
)
def test_made_up_query_changes_no_cookie(query):
    """A query that a client made up changes no cookie."""
    environ = {"HTTP_COOKIE": "app-user=user-12", "QUERY_STRING": query.decode()}
    cleaned = without_query(environ, query)
    assert cleaned["HTTP_COOKIE"] == "app-user=user-12"


def test_cookie_that_contains_the_code():
    """A cookie header that contains the code is emptied as a whole."""
    environ = {"HTTP_COOKIE": "app-user=user-1234; x=y"}
    assert without_query(environ, b"code=user-1234")["HTTP_COOKIE"] == ""
    assert without_query(environ, b"%63ode=user%2D1234")["HTTP_COOKIE"] == ""


def test_odd_texts():
    """Text that UTF-8 cannot encode is unchanged, and deep nesting is not searched."""
    deep = [[[[[[[["text"]]]]]]]]
    environ = {"a": "\ud800", "b": b"\xff", "c": None, "d": deep}
    assert without_query(environ, QUERY) == environ
    assert without_query(environ, b"") == environ


def test_cost():
    """A query with 200 codes does not cause 200 searches of every text."""
    codes = b"&".join(b"code=a%07d" % number for number in range(200))
    assert len(_secrets(codes)) == 4


def test_repeated_names():
    """The code and the state are removed even after empty ones."""
    query = b"a=b&code=&state=state-of-login&code=code-of-tiktok"
    environ = {"REQUEST_URI": "/x?" + query.decode(), "X": "code-of-tiktok"}
    cleaned = without_query(environ, query)
    assert cleaned == {"REQUEST_URI": "/x", "X": ""}

"""A connection without its query, and without the code and state that were in it."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._core.without_query import _secrets, without_query

CODE, STATE = "AbC-1_xyz*1!4608.va", "s" * 43
QUERY = b"code=AbC-1_xyz%2A1%214608.va&scopes=user.info.basic&state=" + b"s" * 43
PATH = "/auth/tiktok/callback"


class Session(dict):
    """A session of an app's, which must stay the same object."""


def test_own_places():
    """The query's own key is empty, and an address keeps its path."""
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
    """Headers of a scope and the event of a platform hold neither code nor state."""
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
    """A middleware of the app that reads it again gets the same object."""
    session, state, headers = Session(user="1"), {"x": object()}, [(b"a", b"b")]
    scope = {"session": session, "state": state, "headers": headers}
    cleaned = without_query(scope, QUERY)
    assert all(cleaned[name] is scope[name] for name in scope)


@pytest.mark.parametrize(
    "query", [b"2", b"code=2&state=1", b"cod=user-12&x=user-12", b"code", b"&&=&code="]
)
def test_client_cuts_nothing(query):
    """A client's query changes no cookie."""
    environ = {"HTTP_COOKIE": "app-user=user-12", "QUERY_STRING": query.decode()}
    cleaned = without_query(environ, query)
    assert cleaned["HTTP_COOKIE"] == "app-user=user-12"


def test_cookie_that_holds_the_code():
    """A cookie header that holds the code is empty, and never cut in the middle."""
    environ = {"HTTP_COOKIE": "app-user=user-1234; x=y"}
    assert without_query(environ, b"code=user-1234")["HTTP_COOKIE"] == ""
    assert without_query(environ, b"%63ode=user%2D1234")["HTTP_COOKIE"] == ""


def test_odd_texts():
    """Texts that UTF-8 cannot hold pass unchanged, and a deep one is not followed."""
    deep = [[[[[[[["text"]]]]]]]]
    environ = {"a": "\ud800", "b": b"\xff", "c": None, "d": deep}
    assert without_query(environ, QUERY) == environ
    assert without_query(environ, b"") == environ


def test_cost():
    """A client that repeats the code does not make every text be searched as often."""
    codes = b"&".join(b"code=a%07d" % number for number in range(200))
    assert len(_secrets(codes)) == 4


def test_repeated_names():
    """One code and one state are removed whatever stands before them."""
    query = b"a=b&code=&state=state-of-login&code=code-of-tiktok"
    environ = {"REQUEST_URI": "/x?" + query.decode(), "X": "code-of-tiktok"}
    cleaned = without_query(environ, query)
    assert cleaned == {"REQUEST_URI": "/x", "X": ""}

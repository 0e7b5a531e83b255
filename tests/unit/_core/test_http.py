"""HTTP independent of ASGI and WSGI: headers, queries, responses, cookies."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tiktok_oauth_middleware._core.http import (
    COOKIE_LIMIT,
    QUERY_LIMIT,
    BadQuery,
    Cookie,
    Response,
    read_query,
)

from ...support.growth import is_constant
from ...support.plain_request import a_request

C0 = [chr(number) for number in range(0x20)]


# --- Request -----------------------------------------------------------------------


def test_missing_header_is_none():
    """A header that was not sent is None, not empty."""
    assert a_request().one(b"origin") is None
    assert a_request().all(b"origin") == []


def test_single_header_is_trimmed():
    """Spaces and tabs around a value are removed."""
    assert a_request(("origin", " \tx\t ")).one(b"origin") == b"x"


def test_doubled_header_has_no_value():
    """A header that is sent twice has no value, even if both are equal."""
    request = a_request(("origin", "x"), ("origin", "x"))
    assert request.one(b"origin") == b""
    assert request.all(b"origin") == [b"x", b"x"]


def test_values_of_a_repeated_header_keep_their_order():
    """Every value of a repeated header is found, and so is a header that is not."""
    request = a_request(("accept", "a"), ("host", "x"), ("accept", "b"))
    assert request.all(b"accept") == [b"a", b"b"]
    assert request.all(b"host") == [b"x"]


def test_any_of_several_headers():
    """It is known whether one of several headers was sent, whatever its value."""
    request = a_request(("purpose", ""), ("host", "x"))
    assert request.has_any({b"purpose", b"x-moz"})
    assert not request.has_any({b"sec-purpose", b"x-moz"})


def test_cookie_headers():
    """The Cookie headers are found among the others, each, in order."""
    request = a_request(("cookie", "a=1"), ("host", "x"), ("cookie", "b=2"))
    assert request.cookie_headers() == [(b"cookie", b"a=1"), (b"cookie", b"b=2")]
    assert a_request(("host", "x")).cookie_headers() == []


# --- read_query --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"state=a", {"state": "a"}),
        (b"state=a&code=b", {"state": "a", "code": "b"}),
        (b"state", {"state": ""}),
        (b"state=", {"state": ""}),
        (b"state=a=b", {"state": "a=b"}),
        (b"state=a+b", {"state": "a b"}),
        (b"state=a%2Bb", {"state": "a+b"}),
        (b"state=a%2526b", {"state": "a%26b"}),
        (b"state=a%26b", {"state": "a&b"}),
        (b"state=a;code=b", {"state": "a;code=b"}),
        (b"st%61te=a", {"state": "a"}),
        (b"State=a", {}),
        (b"state =a", {}),
        (b"%20state=a", {}),
        (b"state%00=a", {}),
        (b"state[]=a", {}),
        (b"other=a&state=b", {"state": "b"}),
        (b"other=%ff&state=b", {"state": "b"}),
        (b"%ff=x&state=b", {"state": "b"}),
        (b"other=1&other=2&state=b", {"state": "b"}),
        (b"state=%", {"state": "%"}),
        (b"state=%4", {"state": "%4"}),
        (b"state=%zz", {"state": "%zz"}),
        (b"state=%C3%BC", {"state": "ü"}),
        ("state=ü".encode(), {"state": "ü"}),
        (b"state=%EF%BB%BFa", {"state": "\ufeffa"}),
        (b"state=%00", {"state": "\x00"}),
        (b"state=%0d%0a", {"state": "\r\n"}),
    ],
)
def test_query_is_decoded_once(query, values):
    """Pairs are separated by ampersands only, and names and values are decoded once."""
    assert read_query(query, ["state", "code"]) == values


@pytest.mark.parametrize(
    "query", [b"&", b"&&&&", b"=", b"&=&=", b"?", b"#", b";;;", b"%", b"&%&", b"+"]
)
def test_query_of_separators_is_empty(query):
    """A query that consists of separators is empty, and raises nothing."""
    assert read_query(query, ["state"]) == {}


@pytest.mark.parametrize(
    "query",
    [
        b"state=a&state=b",
        b"state=a&state=a",
        b"state&state",
        b"state=a&x=1&state=",
        b"state=a&st%61te=b",
        b"%73tate=a&state=b",
        b"state=&state=",
    ],
)
def test_repeated_key_of_ours_is_refused(query):
    """A repeated key of ours is refused, however it is encoded."""
    with pytest.raises(BadQuery):
        read_query(query, ["state"])


@pytest.mark.parametrize(
    "value",
    [b"%ff", b"\xff", b"%C3", b"%C3%28", b"%ED%A0%80", b"%F8%88%80%80%80", b"%C0%AF"],
)
def test_value_of_ours_must_be_utf8(value):
    """A value of ours that is not strict UTF-8 is refused."""
    with pytest.raises(BadQuery):
        read_query(b"state=" + value, ["state"])


def test_longest_query_is_read():
    """A query of exactly the limit is read."""
    query = b"state=a&other=".ljust(QUERY_LIMIT, b"x")
    assert read_query(query, ["state"]) == {"state": "a"}


def test_longest_value_is_read_and_a_longer_one_refused():
    """A value of ours has at most 8,192 bytes, enough for any encoded address."""
    value = "x" * 8192
    assert read_query(f"state={value}".encode(), ["state"]) == {"state": value}
    with pytest.raises(BadQuery):
        read_query(f"state={value}x".encode(), ["state"])


def test_most_pairs_are_read_and_more_refused():
    """A query has at most 256 pairs; empty ones at its end do not count."""
    query = b"a=b&" * 255 + b"state=c"
    assert read_query(query, ["state"]) == {"state": "c"}
    assert read_query(query + b"&" * 60_000, ["state"]) == {"state": "c"}
    with pytest.raises(BadQuery):
        read_query(query + b"&a=b", ["state"])


def test_longer_query_is_refused():
    """A query above the limit is refused without reading it."""
    with pytest.raises(BadQuery):
        read_query(b"x" * (QUERY_LIMIT + 1), ["state"])


@pytest.mark.parametrize(
    "unit", [b"%", b"&", b"=", b"a=b&", b"%41", b"+", b"%&", b"%25"]
)
@pytest.mark.parametrize("before", [b"", b"state=", b"x=", b"&state="])
def test_longest_query_costs_no_more(unit, before):
    """The longest query of any shape costs no more than one of 4 kB."""
    query = (before + unit * QUERY_LIMIT)[:QUERY_LIMIT]

    def read(part):
        with suppress(BadQuery):
            read_query(part, ["state"])

    assert is_constant(read, query)


def test_query_of_megabytes_is_not_read():
    """A query of megabytes is refused before it is read."""
    query = b"%41" * 5_000_000

    def read(part):
        with pytest.raises(BadQuery):
            read_query(part, ["state"])

    assert is_constant(read, query)


# --- Response and Cookie -----------------------------------------------------------


def test_response_keeps_its_parts():
    """A harmless response is not changed."""
    response = Response(200, (("content-type", "text/plain"),), b"x")
    assert (response.status, response.headers, response.body) == (
        200,
        (("content-type", "text/plain"),),
        b"x",
    )


@pytest.mark.parametrize("place", ["x{}y", "{}", "x{}", "{}y"])
def test_response_refuses_controls(place):
    """A header's value with a control character or a character outside of ASCII is
    refused.
    """
    for char in (*C0, "\x7f", "\x85", "\xff", "ü", "\u2028"):
        with pytest.raises(ValueError, match="not a header"):
            Response(200, (("x-test", place.format(char)),))


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a:",
        "a\r",
        "a\n",
        "\na",
        "a\x00",
        "ü",
        "a(b)",
        'a"',
        "a,b",
        "a=b",
    ],
)
def test_response_refuses_names(name):
    """A header name that is not a token is refused."""
    with pytest.raises(ValueError, match="not a header"):
        Response(200, ((name, "x"),))


def test_refused_header_is_not_repeated():
    """The error names the header, without its value."""
    with pytest.raises(ValueError, match="location") as refused:
        Response(303, (("location", "SECRET\r\n"),))
    assert "SECRET" not in str(refused.value)


def a_cookie(**changes):
    given = {"name": "__Host-tiktok", "value": "abc", "max_age": 60, "secure": True}
    return Cookie(**(given | changes))


def test_cookie_has_every_attribute():
    """A cookie is limited to this host, hidden from scripts, and not sent with other
    sites' forms.
    """
    assert a_cookie().header() == (
        "set-cookie",
        "__Host-tiktok=abc; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure",
    )


def test_cookie_has_no_domain():
    """No cookie is ever set for other hosts."""
    assert "domain" not in a_cookie().header()[1].lower()


def test_cookie_on_loopback_lacks_only_secure():
    """Over plain http on loopback a cookie has the same attributes, except Secure."""
    assert a_cookie(secure=False).header()[1] + "; Secure" == a_cookie().header()[1]


def test_cookie_is_deleted_with_the_attributes_it_was_set_with():
    """A deleting cookie has an empty value, Max-Age=0, and the other attributes
    unchanged.
    """
    assert a_cookie(value="", max_age=0).header()[1] == (
        "__Host-tiktok=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
    )


@pytest.mark.parametrize("place", ["x{}y", "{}", "x{}", "{}y"])
def test_cookie_refuses_forbidden_bytes_in_a_value(place):
    """A byte outside of cookie-octet in a value is refused."""
    for char in (*C0, *'\x7f ",;\\', "\x80", "\x85", "ü", "\u2028", "\ud800"):
        with pytest.raises(ValueError, match="not a cookie"):
            a_cookie(value=place.format(char)).header()


@pytest.mark.parametrize("char", [*C0, *'\x7f ",;\\()<>@:/[]?={}', "ü"], ids=repr)
def test_cookie_refuses_forbidden_characters_in_a_name(char):
    """A character outside of token in a name is refused."""
    with pytest.raises(ValueError, match="not a cookie"):
        a_cookie(name=f"a{char}b").header()


def test_cookie_needs_a_name():
    """A cookie without a name is refused."""
    with pytest.raises(ValueError, match="not a cookie"):
        a_cookie(name="").header()


def test_largest_cookie_is_taken_and_a_larger_one_refused():
    """Name and value together may reach the limit, and not exceed it."""
    name = "n" * 10
    a_cookie(name=name, value="v" * (COOKIE_LIMIT - 10)).header()
    with pytest.raises(ValueError, match="not a cookie"):
        a_cookie(name=name, value="v" * (COOKIE_LIMIT - 9)).header()


def test_refused_cookie_is_not_repeated():
    """The error names the cookie, without its value."""
    with pytest.raises(ValueError, match="tiktok") as refused:
        a_cookie(value="SECRET\r\n").header()
    assert "SECRET" not in str(refused.value)


def test_cookie_does_not_print_its_value():
    """The repr of a cookie does not show its value."""
    assert "SECRET" not in repr(a_cookie(value="SECRET"))

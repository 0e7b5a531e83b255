"""The rules of HTTP that need neither ASGI nor WSGI: queries, senders, cookies."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tiktok_oauth_middleware._core.http import (
    COOKIE_LIMIT,
    QUERY_LIMIT,
    BadQuery,
    Cookie,
    Request,
    Response,
    read_query,
)
from tiktok_oauth_middleware._core.origins import origin_of
from tiktok_oauth_middleware._web.navigation import (
    is_document,
    is_navigation,
    is_other_host,
    is_page_visit,
    is_prefetch,
    is_preflight,
    is_same_origin,
    languages,
    referring_path,
)
from tiktok_oauth_middleware._web.response_headers import keep_private

from ...support.growth import is_constant

OURS = "https://app.example.com"
C0 = [chr(number) for number in range(0x20)]


async def no_body(limit):
    return b""


def a_request(*headers, method="GET", is_websocket=False):
    return Request(
        method=method,
        path="/x",
        mount="",
        query=b"",
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers],
        read=no_body,
        is_websocket=is_websocket,
    )


# --- Request -----------------------------------------------------------------------


def test_missing_header_is_none():
    """A header that was not sent is None, not empty."""
    assert a_request().one(b"origin") is None
    assert a_request().all(b"origin") == []


def test_single_header_is_trimmed():
    """Spaces and tabs around a value are no part of it."""
    assert a_request(("origin", " \tx\t ")).one(b"origin") == b"x"


def test_doubled_header_has_no_value():
    """A header sent twice has no value we could trust, even if both agree."""
    request = a_request(("origin", "x"), ("origin", "x"))
    assert request.one(b"origin") == b""
    assert request.all(b"origin") == [b"x", b"x"]


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
    """Pairs end at an ampersand only, and names and values are decoded once."""
    assert read_query(query, ["state", "code"]) == values


@pytest.mark.parametrize(
    "query", [b"&", b"&&&&", b"=", b"&=&=", b"?", b"#", b";;;", b"%", b"&%&", b"+"]
)
def test_separators_alone_are_nothing(query):
    """A query of separators holds nothing, and raises nothing."""
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
    """A key of ours that comes twice, however it is spelled, is refused."""
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
    """A value of ours has 8,192 bytes at most, which holds any address encoded."""
    value = "x" * 8192
    assert read_query(f"state={value}".encode(), ["state"]) == {"state": value}
    with pytest.raises(BadQuery):
        read_query(f"state={value}x".encode(), ["state"])


def test_most_pairs_are_read_and_more_refused():
    """A query has 256 pairs at most; empty ones at its end are none."""
    query = b"a=b&" * 255 + b"state=c"
    assert read_query(query, ["state"]) == {"state": "c"}
    assert read_query(query + b"&" * 60_000, ["state"]) == {"state": "c"}
    with pytest.raises(BadQuery):
        read_query(query + b"&a=b", ["state"])


def test_longer_query_is_refused():
    """A query above the limit is refused unread."""
    with pytest.raises(BadQuery):
        read_query(b"x" * (QUERY_LIMIT + 1), ["state"])


@pytest.mark.parametrize(
    "unit", [b"%", b"&", b"=", b"a=b&", b"%41", b"+", b"%&", b"%25"]
)
@pytest.mark.parametrize("before", [b"", b"state=", b"x=", b"&state="])
def test_query_takes_no_longer_beyond_its_bounds(unit, before):
    """The longest query of any shape costs what one of 4 kB does."""
    query = (before + unit * QUERY_LIMIT)[:QUERY_LIMIT]

    def read(part):
        with suppress(BadQuery):
            read_query(part, ["state"])

    assert is_constant(read, query)


def test_query_far_too_long_takes_no_time():
    """Megabytes of query are refused before they are looked at."""
    query = b"%41" * 5_000_000

    def read(part):
        with pytest.raises(BadQuery):
            read_query(part, ["state"])

    assert is_constant(read, query)


# --- same origin -------------------------------------------------------------------

SITES = {
    None: None,
    "same-origin": True,
    "same-site": False,
    "cross-site": False,
    "none": False,
    "": False,
    "SAME-ORIGIN": False,
    "same-origin, same-origin": False,
    "same-origin;x": False,
    "unheard-of": False,
}
ORIGINS = {
    None: None,
    OURS: True,
    "null": False,
    "": False,
    "https://evil.example": False,
    "http://app.example.com": False,
    "https://app.example.com:443": False,
    "https://app.example.com:8443": False,
    "https://app.example.com/": False,
    "https://app.example.com.evil.example": False,
    "https://evil.example?https://app.example.com": False,
    "https://APP.example.com": False,
    "https://app.example.com https://app.example.com": False,
    "https://sub.app.example.com": False,
    "https://user@app.example.com": False,
}
REFERERS = {
    None: None,
    OURS: True,
    f"{OURS}/": True,
    f"{OURS}/auth/tiktok/logout?next=/x": True,
    f"{OURS}/a,b:c": True,
    f"{OURS}/,{OURS}/": False,
    f"{OURS}/, https://evil.example/": False,
    "": False,
    "about:blank": False,
    "https://evil.example/": False,
    "https://evil.example/https://app.example.com/": False,
    "https://app.example.com.evil.example/": False,
    "https://app.example.com@evil.example/": False,
    "https://app.example.com:8443/": False,
    "http://app.example.com/": False,
    "https://app.example.com?x": False,
    "https://app.example.com#x": False,
    "https://app.example.com\\evil": False,
}


@pytest.mark.parametrize("referer", REFERERS, ids=repr)
@pytest.mark.parametrize("origin", ORIGINS, ids=repr)
@pytest.mark.parametrize("site", SITES, ids=repr)
def test_all_who_speak_of_the_sender_must_agree(site, origin, referer):
    """Every header about the sender must name our origin, and one must be there."""
    sent = [("sec-fetch-site", site), ("origin", origin), ("referer", referer)]
    # A page with Referrer-Policy: no-referrer hides its origin, and Sec-Fetch-Site, which
    # no page can set, says that it is ours.
    hidden = origin == "null" and site == "same-origin"
    sender = True if hidden else ORIGINS[origin]
    verdicts = {SITES[site], sender, REFERERS[referer]} - {None}
    request = a_request(*(pair for pair in sent if pair[1] is not None), method="POST")
    assert is_same_origin(request, OURS) is (verdicts == {True})


@pytest.mark.parametrize(
    ("name", "value"),
    [("sec-fetch-site", "same-origin"), ("origin", OURS), ("referer", OURS + "/")],
)
def test_doubled_header_is_refused(name, value):
    """A header about the sender that comes twice is refused, though both agree."""
    assert is_same_origin(a_request((name, value)), OURS)
    assert not is_same_origin(a_request((name, value), (name, value)), OURS)


@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate"])
def test_fetch_mode_is_no_proof(mode):
    """Sec-Fetch-Mode says how a request is made and not by whom."""
    assert not is_same_origin(a_request(("sec-fetch-mode", mode)), OURS)


@pytest.mark.parametrize(
    "name",
    ["host", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-original-url"],
)
def test_forwarded_headers_are_no_proof(name):
    """No header that names another host speaks of the sender."""
    assert not is_same_origin(a_request((name, "app.example.com")), OURS)


def test_port_of_our_origin_counts():
    """An origin with a port of its own agrees with itself only."""
    ours = "http://127.0.0.1:8000"
    assert is_same_origin(a_request(("origin", ours)), ours)
    assert not is_same_origin(a_request(("origin", "http://127.0.0.1")), ours)
    assert not is_same_origin(a_request(("origin", "http://127.0.0.1:80001")), ours)
    assert not is_same_origin(a_request(("referer", "http://127.0.0.1:80001/")), ours)


# --- navigation --------------------------------------------------------------------

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
NAMED = ("accept", BROWSER)
NAVIGATIONS = [
    (True, [NAMED]),
    (True, [("accept", "TEXT/HTML")]),
    (True, [("accept", "text/html ; q=1.0")]),
    (True, [("accept", "text/html;q=0.001")]),
    (True, [("accept", "application/xhtml+xml")]),
    (True, [("accept", "application/json, text/html;q=0.5")]),
    (True, [("accept", "application/json"), ("accept", "text/html")]),
    (False, []),
    (False, [("accept", "")]),
    (False, [("accept", " , ")]),
    (False, [("accept", "*/*")]),
    (False, [("accept", "text/*")]),
    (False, [("accept", "*/*;q=0.8, text/*")]),
    (False, [("accept", "application/json")]),
    (False, [("accept", "text/plain")]),
    (False, [("accept", "image/*")]),
    (False, [("accept", "text/html;q=0")]),
    (False, [("accept", "text/html;q=0.000")]),
    (False, [("accept", "text/html; q=0, */*")]),
    (False, [("accept", "text/*;q=0, */*")]),
    (False, [("accept", "application/json;q=0.9, */*;q=0")]),
    (False, [("accept", "xtext/html")]),
    (False, [("accept", ";;;,;q")]),
    (False, [("accept", BROWSER + ", text/x-" + "x" * 1024)]),
    (False, [("accept", BROWSER + ",a/b" * 32)]),
    (False, [NAMED] * 33),
    (False, [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]),
    (True, [("sec-fetch-mode", "navigate"), NAMED]),
    (True, [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), NAMED]),
    (False, [("sec-fetch-mode", "cors"), NAMED]),
    (False, [("sec-fetch-mode", "no-cors"), NAMED]),
    (False, [("sec-fetch-mode", "same-origin"), NAMED]),
    (False, [("sec-fetch-mode", "websocket"), NAMED]),
    (False, [("sec-fetch-mode", ""), NAMED]),
    (False, [("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "navigate"), NAMED]),
    (False, [("sec-fetch-dest", "iframe"), NAMED]),
    (False, [("sec-fetch-dest", "image"), NAMED]),
    (False, [("sec-fetch-dest", "empty"), NAMED]),
    (False, [("sec-fetch-dest", "embed"), NAMED]),
    (False, [("sec-fetch-dest", "document"), ("sec-fetch-dest", "document"), NAMED]),
    (False, [("x-requested-with", "XMLHttpRequest"), NAMED]),
    (False, [("x-requested-with", "xmlhttprequest"), NAMED]),
    (True, [("x-requested-with", "org.example.browser"), NAMED]),
    (False, [("sec-purpose", "prefetch"), NAMED]),
    (False, [("sec-purpose", "prefetch;prerender"), NAMED]),
    (False, [("sec-purpose", "x" * 1025), NAMED]),
    (True, [("sec-purpose", ""), NAMED]),
]


@pytest.mark.parametrize(("verdict", "headers"), NAVIGATIONS, ids=repr)
def test_navigation_is_a_browser_opening_a_page(verdict, headers):
    """A request that asks for a page in a window is a navigation; others are not."""
    assert is_navigation(a_request(*headers)) is verdict


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_navigation_reads(method):
    """A navigation may be a GET or its HEAD."""
    assert is_navigation(a_request(NAMED, method=method))


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "", "QUERY"]
)
def test_other_methods_are_no_navigation(method):
    """A request that may change something is never answered by a redirect to log in."""
    assert not is_navigation(a_request(("accept", BROWSER), method=method))


def test_websocket_is_no_navigation():
    """A WebSocket handshake can not be sent to log in."""
    assert not is_navigation(a_request(NAMED, is_websocket=True))


@pytest.mark.parametrize(
    ("method", "verdict"),
    [("GET", True), ("HEAD", True), ("POST", True), ("PUT", False), ("OPTIONS", False)],
)
def test_form_is_a_page_visit(method, verdict):
    """A person looks at what answers a form, too; no form sends other methods."""
    assert is_page_visit(a_request(NAMED, method=method)) is verdict


@pytest.mark.parametrize(("verdict", "headers"), NAVIGATIONS, ids=repr)
def test_form_is_known_by_what_a_navigation_is(verdict, headers):
    """A script that posts is told from a form by the same headers."""
    assert is_page_visit(a_request(*headers, method="POST")) is verdict


ASKS = [("origin", "https://other.example"), ("access-control-request-method", "PUT")]


@pytest.mark.parametrize(
    ("verdict", "method", "headers"),
    [
        (True, "OPTIONS", ASKS),
        (True, "OPTIONS", [("origin", "null"), ASKS[1]]),
        (False, "OPTIONS", ASKS[:1]),
        (False, "OPTIONS", ASKS[1:]),
        (False, "OPTIONS", [ASKS[0], *ASKS]),
        (False, "OPTIONS", [*ASKS, ASKS[1]]),
        (False, "OPTIONS", []),
        (False, "GET", ASKS),
        (False, "options", ASKS),
    ],
)
def test_preflight_says_who_asks_and_for_what(verdict, method, headers):
    """A CORS preflight is OPTIONS with one Origin and one method asked for."""
    assert is_preflight(a_request(*headers, method=method)) is verdict


@pytest.mark.parametrize(
    ("referer", "path"),
    [
        (OURS + "/form?a=b", "/form?a=b"),
        (OURS, "/"),
        ("https://other.example/form", None),
        (OURS + ".evil.example/form", None),
        (f"https://evil.example/,{OURS}/form", None),
        (f"{OURS}/a, https://evil.example/form", None),
        (OURS + "/" + "x" * 9000, None),
        ("", None),
        (None, None),
    ],
)
def test_page_that_a_form_stands_on(referer, path):
    """Only a page of our own origin is one to lead back to."""
    sent = [] if referer is None else [("referer", referer)]
    assert referring_path(a_request(*sent), OURS) == path


MEGABYTE = 1_000_000
HEADERS_OF_NONSENSE = {
    "accept": [",", "a/b,", "text/html,", "a;q=0;", ";", ";q=0.0", "text/html;a="],
    "accept-language": [",", "a-", "de,", "de-de-", "*;q=0.", " ;q=0"],
    "sec-purpose": ["x", "prefetc", ","],
    "x-requested-with": ["x"],
    "sec-fetch-mode": ["navigate "],
    "origin": [OURS],
    "referer": [OURS, "/", ",", ", a", "http", ",\t"],
}


@pytest.mark.parametrize(
    ("name", "unit"),
    [(name, unit) for name, units in HEADERS_OF_NONSENSE.items() for unit in units],
)
def test_long_header_takes_no_longer(name, unit):
    """A megabyte of any header costs what 64 kB of it do: it is not read."""

    def read(value):
        request = a_request(method="POST")
        request.headers = [(name.encode(), value)]
        for rule in (is_page_visit, is_prefetch, is_document, languages):
            rule(request)
        is_same_origin(request, OURS)
        referring_path(request, OURS)

    assert is_constant(read, (unit * MEGABYTE).encode()[:MEGABYTE])


def test_languages_are_short():
    """What no language tag can be is left out, so that nothing walks along it."""
    tag = "-".join(["a"] * 400)
    assert languages(a_request(("accept-language", f"de, {tag}, fr;q=0.5"))) == [
        "de",
        "fr",
    ]


@pytest.mark.parametrize("dest", ["image", "iframe", "script", "empty", "", "Document"])
def test_only_a_document_is_one(dest):
    """What a browser fetches for a place inside a page is no document."""
    assert not is_document(a_request(("sec-fetch-dest", dest)))


def test_document_or_silence_is_one():
    """A client that says document, or nothing, may begin a login."""
    assert is_document(a_request(("sec-fetch-dest", "document")))
    assert is_document(a_request())


@pytest.mark.parametrize(
    "header",
    [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "PREFETCH"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("purpose", "prefetch"),
        ("purpose", "prerender"),
        ("x-moz", "prefetch"),
        ("x-moz", "Preview"),
        ("purpose", "preview"),
        ("x-purpose", "preview"),
        ("x-purpose", "Preview"),
        ("x-purpose", "prefetch"),
        ("sec-purpose", "preview"),
        ("sec-purpose", "prefetch;prerender;preview"),
    ],
)
def test_prefetch_is_known_by_any_header(header):
    """Each header by which browsers tell that they ask ahead is understood."""
    assert is_prefetch(a_request(header))


def test_one_of_two_purposes_is_enough():
    """A second header does not hide the first."""
    assert is_prefetch(a_request(("purpose", "x"), ("purpose", "prefetch")))


@pytest.mark.parametrize("header", [("purpose", ""), ("y-purpose", "prefetch")])
def test_other_requests_are_no_prefetch(header):
    """Without one of those words in one of those headers nobody asks ahead."""
    assert not is_prefetch(a_request(header))


# --- Response and Cookie -----------------------------------------------------------


def test_response_keeps_its_parts():
    """A harmless response is taken as it is."""
    response = Response(200, (("content-type", "text/plain"),), b"x")
    assert (response.status, response.headers, response.body) == (
        200,
        (("content-type", "text/plain"),),
        b"x",
    )


@pytest.mark.parametrize("place", ["x{}y", "{}", "x{}", "{}y"])
@pytest.mark.parametrize("char", [*C0, "\x7f", "\x85", "\xff", "ü", "\u2028"], ids=repr)
def test_response_refuses_controls(char, place):
    """A control or a character that is not ASCII in a header's value is refused."""
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
    """A header name that is no token is refused."""
    with pytest.raises(ValueError, match="not a header"):
        Response(200, ((name, "x"),))


def test_refused_header_is_not_repeated():
    """The error names the header, and never shows its value."""
    with pytest.raises(ValueError, match="location") as refused:
        Response(303, (("location", "SECRET\r\n"),))
    assert "SECRET" not in str(refused.value)


def a_cookie(**changes):
    given = {"name": "__Host-tiktok", "value": "abc", "max_age": 60, "secure": True}
    return Cookie(**(given | changes))


def test_cookie_has_every_attribute():
    """A cookie is for this host, all paths, no script, and no foreign site's form."""
    assert a_cookie().header() == (
        "set-cookie",
        "__Host-tiktok=abc; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure",
    )


def test_cookie_has_no_domain():
    """No cookie is ever set for other hosts."""
    assert "domain" not in a_cookie().header()[1].lower()


def test_cookie_on_loopback_lacks_only_secure():
    """Over plain http on loopback a cookie is the same, less Secure."""
    assert a_cookie(secure=False).header()[1] + "; Secure" == a_cookie().header()[1]


def test_cookie_is_deleted_with_the_attributes_it_was_set_with():
    """An empty value of no age deletes, and says the same of host, path and site."""
    assert a_cookie(value="", max_age=0).header()[1] == (
        "__Host-tiktok=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
    )


@pytest.mark.parametrize("place", ["x{}y", "{}", "x{}", "{}y"])
@pytest.mark.parametrize(
    "char", [*C0, *'\x7f ",;\\', "\x80", "\x85", "ü", "\u2028", "\ud800"], ids=repr
)
def test_cookie_refuses_what_no_value_may_hold(char, place):
    """A byte outside of cookie-octet in a value is refused."""
    with pytest.raises(ValueError, match="not a cookie"):
        a_cookie(value=place.format(char)).header()


@pytest.mark.parametrize("char", [*C0, *'\x7f ",;\\()<>@:/[]?={}', "ü"], ids=repr)
def test_cookie_refuses_what_no_name_may_hold(char):
    """A character outside of token in a name is refused."""
    with pytest.raises(ValueError, match="not a cookie"):
        a_cookie(name=f"a{char}b").header()


def test_cookie_needs_a_name():
    """A cookie without a name is refused."""
    with pytest.raises(ValueError, match="not a cookie"):
        a_cookie(name="").header()


def test_largest_cookie_is_taken_and_a_larger_one_refused():
    """Name and value together fill the limit, and never pass it."""
    name = "n" * 10
    a_cookie(name=name, value="v" * (COOKIE_LIMIT - 10)).header()
    with pytest.raises(ValueError, match="not a cookie"):
        a_cookie(name=name, value="v" * (COOKIE_LIMIT - 9)).header()


def test_refused_cookie_is_not_repeated():
    """The error names the cookie, and never shows its value."""
    with pytest.raises(ValueError, match="tiktok") as refused:
        a_cookie(value="SECRET\r\n").header()
    assert "SECRET" not in str(refused.value)


def test_cookie_does_not_print_its_value():
    """The repr of a cookie does not show what signs somebody in."""
    assert "SECRET" not in repr(a_cookie(value="SECRET"))


# --- origin_of ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com/x/y", "https://app.example.com"),
        ("https://app.example.com:443/", "https://app.example.com"),
        ("https://app.example.com:8443/", "https://app.example.com:8443"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("http://127.0.0.1:443/", "http://127.0.0.1:443"),
        ("http://localhost:8000/cb", "http://localhost:8000"),
        ("HTTPS://APP.Example.COM/", "https://app.example.com"),
        ("https://user:pw@app.example.com/", "https://app.example.com"),
        ("http://[::1]:8000/cb", "http://[::1]:8000"),
    ],
)
def test_origin_is_written_as_browsers_do(url, origin):
    """An origin is scheme, host in lower case, and the port if it is not the usual."""
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["", "/x", "https://", "https://:80/", "mailto:a@b"])
def test_url_without_a_host_has_no_origin(url):
    """A URL that names no host is refused."""
    with pytest.raises(ValueError, match="host"):
        origin_of(url)


@pytest.mark.parametrize("url", ["https://a:99999/", "https://a:b/", "https://[::1/"])
def test_url_that_is_none_has_no_origin(url):
    """A port that is none, or a broken address, is a ValueError."""
    with pytest.raises(ValueError, match=r"[Pp]ort|IPv6"):
        origin_of(url)


# --- keep_private ------------------------------------------------------------------


def private(*headers):
    kept = keep_private(headers)
    said = dict(kept)
    assert len(said) == len(kept), "a header of ours is there twice"
    return said.get("cache-control"), said.get("vary")


@pytest.mark.parametrize(
    ("said", "control"),
    [
        ([], "private"),
        (["max-age=60"], "max-age=60, private"),
        (["public"], "private"),
        (["public, max-age=60"], "max-age=60, private"),
        (["PUBLIC, S-MaxAge=60, max-age=5"], "max-age=5, private"),
        (["s-maxage=60"], "private"),
        (["private"], "private"),
        (["private, max-age=5"], "private, max-age=5"),
        (["Private"], "Private"),
        (["no-store"], "no-store"),
        (["public, no-store"], "no-store"),
        (["no-store, must-understand"], "no-store, must-understand, private"),
        (["Must-Understand", "No-Store"], "Must-Understand, No-Store, private"),
        (["no-cache"], "no-cache, private"),
        (['private="x-y"'], 'private="x-y", private'),
        (["max-age=60", "public"], "max-age=60, private"),
        ([" , ,"], "private"),
    ],
)
def test_cache_control_becomes_private(said, control):
    """What would let a shared cache keep a response goes; the rest of it stays."""
    assert private(*(("cache-control", value) for value in said))[0] == control


@pytest.mark.parametrize(
    ("said", "vary"),
    [
        ([], "Cookie"),
        (["Accept-Encoding"], "Accept-Encoding, Cookie"),
        (["Accept", "Origin"], "Accept, Origin, Cookie"),
        (["Cookie"], "Cookie"),
        (["accept, cookie"], "accept, cookie"),
        (["COOKIE"], "COOKIE"),
        (["Cookie2"], "Cookie2, Cookie"),
        (["*"], "*"),
        (["Accept, *"], "Accept, *"),
        ([""], "Cookie"),
    ],
)
def test_vary_gets_cookie(said, vary):
    """Vary names the cookie, once, beside what it named before."""
    assert private(*(("vary", value) for value in said))[1] == vary


@pytest.mark.parametrize(
    "name",
    [
        "CDN-Cache-Control",
        "cloudflare-cdn-cache-control",
        "Vercel-CDN-Cache-Control",
        "NETLIFY-CDN-CACHE-CONTROL",
        "Surrogate-Control",
        "Edge-Control",
        "X-Accel-Expires",
        "x-litespeed-cache-control",
    ],
)
def test_no_header_for_one_cache_stays(name):
    """What overrides Cache-Control for one kind of cache is taken out."""
    kept = keep_private([("X-A", "1"), (name, "max-age=600")])
    assert kept == [("X-A", "1"), ("cache-control", "private"), ("vary", "Cookie")]


@pytest.mark.parametrize("name", ["Surrogate-Key", "Cache-Tag", "X-CDN", "Expires"])
def test_headers_that_name_no_cache_stay(name):
    """A header that lets no cache keep anything is left alone."""
    assert (name, "x") in keep_private([("Cache-Control", "public"), (name, "x")])


def test_other_headers_stay_in_order():
    """Headers that are not about caching stay, repeated ones and all."""
    others = [("set-cookie", "a=1"), ("x-test", "1"), ("set-cookie", "b=2")]
    given = [others[0], ("Vary", "Accept"), *others[1:], ("Cache-Control", "public")]
    kept = keep_private(given)
    assert kept[:3] == others
    assert sorted(kept[3:]) == [
        ("cache-control", "private"),
        ("vary", "Accept, Cookie"),
    ]


def test_keeping_private_twice_changes_nothing():
    """A response that is private already stays as it is."""
    once = keep_private([("cache-control", "public, max-age=3"), ("vary", "Accept")])
    assert keep_private(once) == once


def test_given_headers_are_not_changed():
    """The app's own list of headers is left alone."""
    given = [("cache-control", "public")]
    keep_private(given)
    assert given == [("cache-control", "public")]


OTHER_HOSTS = [
    ("https://app.example.com", "www.app.example.com"),
    ("https://app.example.com", "example.com"),
    ("https://app.example.com", "app.example.com:8443"),
    ("https://app.example.com", "app.example.com:80"),
    ("https://app.example.com", "app.example.com."),
    ("https://app.example.com", "93.184.215.14"),
    ("https://app.example.com:8443", "app.example.com"),
    ("http://127.0.0.1:8000", "localhost:8000"),
    ("http://127.0.0.1:8000", "[::1]:8000"),
    ("http://127.0.0.1:8000", "0.0.0.0:8000"),
    ("http://127.0.0.1:8000", "app.localhost:8000"),
    ("http://localhost:8000", "127.0.0.1:8000"),
    ("http://127.0.0.1:8000", "127.0.0.1:8001"),
    ("https://intranet", "wiki"),
    ("https://10.0.0.1", "10.0.0.2"),
]
SAME_HOSTS = [
    ("https://app.example.com", "app.example.com"),
    ("https://app.example.com", "APP.Example.COM"),
    ("https://app.example.com", "app.example.com:443"),
    ("https://app.example.com:8443", "app.example.com:8443"),
    ("http://127.0.0.1:8000", "127.0.0.1:8000"),
    # What a proxy or a test client puts there: the browser is elsewhere.
    ("https://app.example.com", "127.0.0.1:8000"),
    ("https://app.example.com", "localhost"),
    ("https://app.example.com", "10.1.2.3:8000"),
    ("https://app.example.com", "[fd00::1]:8000"),
    ("https://app.example.com", "internal:8000"),
    ("https://app.example.com", "testserver"),
    ("http://127.0.0.1:8000", "testserver"),
    ("http://127.0.0.1:8000", "app.example.com"),
    # No host at all.
    ("https://app.example.com", ""),
    ("https://app.example.com", "evil.example/x"),
    ("https://app.example.com", "app.example.com@evil.example"),
    ("https://app.example.com", "evil.example\r\n"),
    ("https://app.example.com", "evil.example, app.example.com"),
    ("https://app.example.com", "e\xfcil.example"),
]


@pytest.mark.parametrize(("origin", "host"), OTHER_HOSTS)
def test_other_host(origin, host):
    """A host of the same kind that differs from the configured one is another."""
    assert is_other_host(a_request(("host", host)), origin)


@pytest.mark.parametrize(("origin", "host"), SAME_HOSTS)
def test_no_other_host(origin, host):
    """The configured host, one that a proxy put there, and no host are no other one."""
    assert not is_other_host(a_request(("host", host)), origin)


def test_no_single_host():
    """A request without a Host, or with two, names no other host."""
    assert not is_other_host(a_request(), "https://app.example.com")
    twice = a_request(("host", "www.example.com"), ("host", "www.example.com"))
    assert not is_other_host(twice, "https://app.example.com")

"""Recognizing requests by headers: a page of this site, a navigation, a preflight."""

from __future__ import annotations

import itertools

import pytest

from tiktok_oauth_middleware._web.navigation import (
    is_document,
    is_other_host,
    is_page_visit,
    is_prefetch,
    is_preflight,
    is_same_origin,
    language_ranges,
    referring_path,
)

from ...support.growth import is_constant
from ...support.plain_request import OURS, a_request

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


def test_headers_of_the_sender_must_agree():
    """Every header about the sender must name our origin, and there must be one."""
    for site, origin, referer in itertools.product(SITES, ORIGINS, REFERERS):
        sent = [("sec-fetch-site", site), ("origin", origin), ("referer", referer)]
        # A page with Referrer-Policy: no-referrer hides its origin; Sec-Fetch-Site,
        # which no page can set, still shows that the page is ours.
        hidden = origin == "null" and site == "same-origin"
        sender = True if hidden else ORIGINS[origin]
        verdicts = {SITES[site], sender, REFERERS[referer]} - {None}
        given = [(name, value) for name, value in sent if value is not None]
        request = a_request(*given, method="POST")
        assert is_same_origin(request, OURS) is (verdicts == {True}), given


@pytest.mark.parametrize(
    ("name", "value"),
    [("sec-fetch-site", "same-origin"), ("origin", OURS), ("referer", OURS + "/")],
)
def test_doubled_header_is_refused(name, value):
    """A repeated header about the sender is refused, even if both values agree."""
    assert is_same_origin(a_request((name, value)), OURS)
    assert not is_same_origin(a_request((name, value), (name, value)), OURS)


@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate"])
def test_fetch_mode_does_not_prove_the_sender(mode):
    """Sec-Fetch-Mode does not prove the sender."""
    assert not is_same_origin(a_request(("sec-fetch-mode", mode)), OURS)


@pytest.mark.parametrize(
    "name",
    ["host", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-original-url"],
)
def test_forwarded_headers_do_not_prove_the_sender(name):
    """A header with a forwarded host does not prove the sender."""
    assert not is_same_origin(a_request((name, "app.example.com")), OURS)


def test_port_of_our_origin_counts():
    """An origin with a port matches only the same port."""
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
    """Only a request for a page in a window is a navigation."""
    assert is_page_visit(a_request(*headers)) is verdict


@pytest.mark.parametrize(
    "method", ["PUT", "PATCH", "DELETE", "OPTIONS", "get", "", "QUERY"]
)
def test_other_methods_are_not_page_visits(method):
    """A request that no browser window sends is never answered with a page."""
    assert not is_page_visit(a_request(("accept", BROWSER), method=method))


def test_websocket_is_not_a_page_visit():
    """A WebSocket handshake is never redirected to a login."""
    assert not is_page_visit(a_request(NAMED, is_websocket=True))


@pytest.mark.parametrize(
    ("method", "verdict"),
    [("GET", True), ("HEAD", True), ("POST", True), ("PUT", False), ("OPTIONS", False)],
)
def test_form_is_a_page_visit(method, verdict):
    """A form's POST also counts as a page visit; methods that no form sends do not."""
    assert is_page_visit(a_request(NAMED, method=method)) is verdict


@pytest.mark.parametrize(("verdict", "headers"), NAVIGATIONS, ids=repr)
def test_form_is_known_by_what_a_navigation_is(verdict, headers):
    """The headers of a navigation distinguish a form from a script that posts."""
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
def test_preflight_has_an_origin_and_a_method(verdict, method, headers):
    """A CORS preflight is OPTIONS with one Origin and one requested method."""
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
    """Only a page of our origin is used as the page of a form."""
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
def test_long_header_costs_no_more(name, unit):
    """A header of a megabyte costs no more than one of 64 kB, since it is not read."""

    def read(value):
        request = a_request(method="POST")
        request.headers = [(name.encode(), value)]
        for rule in (is_page_visit, is_prefetch, is_document, language_ranges):
            rule(request)
        is_same_origin(request, OURS)
        referring_path(request, OURS)

    assert is_constant(read, (unit * MEGABYTE).encode()[:MEGABYTE])


def test_framework_decides_the_language():
    """A language that the framework chose takes precedence over the header."""
    request = a_request(("accept-language", "de"))
    assert language_ranges(request).preferred == ("de",)
    request.language = "pt-BR"
    assert language_ranges(request).preferred == ("pt-br",)


@pytest.mark.parametrize("dest", ["image", "iframe", "script", "empty", "", "Document"])
def test_part_of_a_page_is_not_a_document(dest):
    """A request for something inside a page does not count as one for a document."""
    assert not is_document(a_request(("sec-fetch-dest", dest)))


def test_document_or_no_header_may_begin_a_login():
    """A request for a document, or without that header, may begin a login."""
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
    """Every header with which browsers announce a prefetch is recognized."""
    assert is_prefetch(a_request(header))


def test_one_of_two_purposes_is_enough():
    """A second header does not hide the first."""
    assert is_prefetch(a_request(("purpose", "x"), ("purpose", "prefetch")))


@pytest.mark.parametrize("header", [("purpose", ""), ("y-purpose", "prefetch")])
def test_other_requests_are_not_prefetches(header):
    """A request with other values, or other headers, does not count as a prefetch."""
    assert not is_prefetch(a_request(header))


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
    # Set by a proxy or a test client: not the host in the browser.
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
    """A public host name that differs from the configured one counts as another
    host.
    """
    assert is_other_host(a_request(("host", host)), origin)


@pytest.mark.parametrize(("origin", "host"), SAME_HOSTS)
def test_no_other_host(origin, host):
    """The configured host, one set by a proxy, and a missing host do not count as
    another host.
    """
    assert not is_other_host(a_request(("host", host)), origin)


def test_no_single_host():
    """A request without a Host, or with two, does not count as one to another host."""
    assert not is_other_host(a_request(), "https://app.example.com")
    twice = a_request(("host", "www.example.com"), ("host", "www.example.com"))
    assert not is_other_host(twice, "https://app.example.com")

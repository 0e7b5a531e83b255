"""The targets to which a login may return, checked with a browser's URL parser.

The parser is ada, an implementation of the WHATWG's URL standard, as browsers use: a
target is good if, resolved against the callback's address, it stays on the site.
"""

from __future__ import annotations

import itertools
import logging
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

import pytest

from tiktok_oauth_middleware._core.http import Response
from tiktok_oauth_middleware._core.return_to import (
    LONGEST_RETURN_TO,
    return_to_of,
    safe_return_to,
)

from ...support.growth import is_linear
from ...support.redirect_targets import BY_HAND, GOOD, HARMLESS, REFUSED

# There is no wheel for PyPy, and none yet for the newest Python.
ada_url = pytest.importorskip("ada_url", reason="ada_url is not installed")

ORIGIN = "https://app.example.com"
CALLBACK = f"{ORIGIN}/auth/tiktok/callback?code=x&state=y"
OWN = frozenset(
    {"/auth/tiktok/login", "/auth/tiktok/callback", "/auth/tiktok/logout", "/a ü"}
)
USUAL = "/usual"


def lands(location):
    """Return the address that a browser opens for a Location header."""
    return ada_url.URL(location, base=CALLBACK)


def assert_stays(location):
    """Check an emitted Location: it can be sent, stays on this site, and has the
    checked path.
    """
    Response(303, (("location", location),))
    assert location.isascii()
    assert not set(location) & {chr(n) for n in (*range(0x21), 0x5C, 0x7F)}
    url = lands(location)
    assert url.origin == ORIGIN
    assert not url.username
    assert not url.password
    # A browser writes an apostrophe in a query as %27, and changes nothing else.
    assert url.href.replace("%27", "'") == (ORIGIN + location).replace("%27", "'")
    assert url.pathname not in OWN


LEAVING = [
    *BY_HAND,
    # one of the middleware's paths that has to be encoded
    "/a ü",
    "/a%20%c3%bc",
]


def test_corpus_is_refused():
    """All of two thousand targets built from parts are refused."""
    assert len(REFUSED) > 2000
    assert [value for value in REFUSED if safe_return_to(value, OWN) is not None] == []


def test_hostile_targets_in_a_query_lead_to_the_default_page():
    """Each of these targets as ``next``, encoded once or twice, leads to the default
    page.
    """
    for value in REFUSED:
        once = quote_from_bytes(value.encode("utf-8", "surrogatepass"), safe="")
        twice = quote(once, safe="")
        for query in (once, twice):
            assert return_to_of(f"next={query}".encode(), USUAL, OWN) == USUAL, value


def test_corpus_stays_however_it_is_written():
    """Each of these targets, sent raw or after a slash, stays on the site."""
    for value in REFUSED:
        raw = value.encode("utf-8", "surrogatepass")
        again = quote_from_bytes(raw, safe="/:@?#").encode()
        for query in (raw, b"/" + raw, again, b"/" + again, b"/x?y=" + raw):
            assert_stays(return_to_of(b"next=" + query, USUAL, OWN))


def test_corpus_would_leave():
    """Without the check, half of these targets leave the site or are not URLs."""
    left = [value for value in REFUSED if not _is_ours(value)]
    assert len(left) > 1000


def _is_ours(value):
    try:
        return lands(value).origin == ORIGIN
    except ValueError:
        return False


SLASHES = [
    "/",
    "\\",
    "%2f",
    "%5c",
    "%2F",
    "%5C",
    "/%09/",
    "/%0a/",
    "/;/",
    "/./",
    "/%2e/",
]


@pytest.mark.parametrize("value", LEAVING, ids=ascii)
def test_payload_is_refused(value):
    """A target that leaves the site, breaks a header or returns to a login is refused."""
    assert safe_return_to(value, OWN) is None


@pytest.mark.parametrize("value", LEAVING, ids=ascii)
def test_encoded_payload_stays(value):
    """A payload that is encoded once more is refused, or is a harmless path of this
    site.
    """
    raw = value.encode("utf-8", "surrogatepass")
    for again in (quote_from_bytes(raw, safe=""), quote_from_bytes(raw, safe="/")):
        for target in (safe_return_to(again, OWN), safe_return_to("/" + again, OWN)):
            if target is not None:
                assert_stays(target)


@pytest.mark.parametrize("value", LEAVING, ids=ascii)
def test_payload_in_a_query_stays(value):
    """A payload as ``next``, raw or encoded once or twice, leads to the default
    page.
    """
    raw = value.encode("utf-8", "surrogatepass")
    once = quote_from_bytes(raw, safe="").encode()
    assert return_to_of(b"next=" + once, USUAL, OWN) == USUAL
    assert_stays(return_to_of(b"next=" + quote(once, safe="").encode(), USUAL, OWN))
    assert_stays(return_to_of(b"next=" + raw, USUAL, OWN))


@pytest.mark.parametrize("third", ["", "/", "\\", "\t/", "@", ":"], ids=repr)
def test_slashes_of_every_kind_stay(third):
    """No accepted mixture of slashes leaves the site."""
    for first, second in itertools.product(SLASHES, SLASHES):
        for start in (first, "/" + first):
            target = safe_return_to(f"{start}{second}{third}evil.example/x", OWN)
            if target is not None:
                assert_stays(target)


def test_no_character_lets_a_target_leave():
    """No character before, between and after slashes lets a target leave."""
    for number in range(0x100):
        char = chr(number)
        for value in (
            f"{char}//evil.example",
            f"/{char}/evil.example",
            f"/{char}evil.example",
            f"//{char}evil.example",
            f"/x{char}//evil.example",
            f"/{char}{char}/evil.example",
            f"/x?{char}",
            f"/x#{char}",
            f"/%{number:02x}/evil.example",
            f"/%{number:02X}%{number:02x}evil.example",
        ):
            target = safe_return_to(value, OWN)
            if target is not None:
                assert_stays(target)


KEPT = [
    "/",
    "/videos",
    "/videos/",
    "/videos?page=2",
    "/videos?page=2&sort=new",
    "/videos#top",
    "/a/b/c/d/e/f",
    "/a//b",
    "/p?u=https://evil.example/",
    "/p?u=//evil.example",
    "/p?u=%5C%5Cevil.example",
    "/p#//evil.example",
    "/p?next=/auth/tiktok/login",
    "/p?x=..",
    "/p?x=/../y",
    "/x..y",
    "/..x",
    "/x..",
    "/...",
    "/.well-known/x",
    "/a.b",
    "/@user",
    "/user:1",
    "/a;b=c",
    "/a,b",
    "/a+b",
    "/a%20b",
    "/a%2Fb",
    "/%2Fevil.example",
    "/%5Cevil.example",
    "/%09/evil.example",
    "/a%00b",
    "/100%25",
    "/%C3%BC",
    "/%FF",
    "/a'b",
    "/a(b)!*~$&=",
    "/?",
    "/#",
    "/?#",
    "/auth/tiktok",
    "/auth/tiktok/login2",
    "/auth/tiktok/login/",
    "/auth/tiktok/Login",
    "/x/auth/tiktok/login",
]


@pytest.mark.parametrize("value", KEPT)
def test_harmless_target_is_unchanged(value):
    """A harmless target is accepted unchanged, and the browser opens exactly that."""
    assert safe_return_to(value, OWN) == value
    assert_stays(value)


@pytest.mark.parametrize("targets", [HARMLESS, GOOD], ids=["harmless", "good"])
def test_harmless_targets_that_look_hostile_are_unchanged(targets):
    """Harmless targets are accepted, even those that resemble an attack."""
    assert len(GOOD) > 1500
    for value in targets:
        location = safe_return_to(value, OWN)
        assert location is not None, value
        assert_stays(location)
        # The address that the browser itself resolves the target to.
        there, given = lands(location), lands(value)
        for part in ("pathname", "search", "hash"):
            opened, asked = getattr(there, part), getattr(given, part)
            assert unquote_to_bytes(opened) == unquote_to_bytes(asked), value


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("/ü", "/%C3%BC"),
        ("/日本?q=é#ñ", "/%E6%97%A5%E6%9C%AC?q=%C3%A9#%C3%B1"),
        ("/a b", "/a%20b"),
        ("/a b?c d#e f", "/a%20b?c%20d#e%20f"),
        ('/"<>`{|}^', "/%22%3C%3E%60%7B%7C%7D%5E"),
        ("/\u2028", "/%E2%80%A8"),
        ("/\u3000", "/%E3%80%80"),
        ("/🎵", "/%F0%9F%8E%B5"),
    ],
)
def test_other_text_is_encoded(value, target):
    """Characters that headers may not contain are percent-encoded, and the browser
    opens that address.
    """
    assert safe_return_to(value, OWN) == target
    assert_stays(target)


def test_safe_return_to_is_safe_again():
    """An accepted target is accepted again, unchanged."""
    for value in (*KEPT, *GOOD, *HARMLESS, "/ü", '/a "b"'):
        once = safe_return_to(value)
        assert safe_return_to(once) == once


def test_own_path_is_refused_only_where_it_is_own():
    """A path is refused as the middleware's own only if the caller passes it."""
    assert safe_return_to("/auth/tiktok/login") == "/auth/tiktok/login"


def test_longest_target_passes_and_a_longer_one_does_not():
    """A target may have at most 2048 bytes when it is encoded."""
    assert LONGEST_RETURN_TO == 2048
    assert safe_return_to("/" + "x" * (LONGEST_RETURN_TO - 1))
    assert safe_return_to("/" + "x" * LONGEST_RETURN_TO) is None
    assert safe_return_to("/" + "ü" * 341) is not None
    assert safe_return_to("/" + "ü" * 342) is None


@pytest.mark.parametrize("unit", ["/", "/.", "%", "%2e", "\\", "?", "#", "ü", "/a"])
def test_target_is_checked_in_linear_time(unit):
    """A huge target is refused, in time that grows linearly with its length."""
    assert safe_return_to("/a" + unit * 1_000_000) is None
    assert is_linear(safe_return_to, "/a" + unit * 1_000_000)


# --- return_to_of ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "target"),
    [
        (b"", USUAL),
        (b"x=/y", USUAL),
        (b"next", USUAL),
        (b"next=", USUAL),
        (b"next=/x", "/x"),
        (b"next=%2Fx%3Fa%3Db%26c", "/x?a=b&c"),
        (b"next=/x?a=b", "/x?a=b"),
        (b"next=/x&a=b", "/x"),
        (b"next=/a+b", "/a%20b"),
        (b"next=/a%2520b", "/a%20b"),
        (b"next=/%C3%BC", "/%C3%BC"),
        (b"n%65xt=/x", "/x"),
        (b"Next=/x", USUAL),
        (b"next=/x#y", "/x#y"),
    ],
)
def test_next_is_decoded_once(query, target):
    """The target is read from ``next`` and decoded exactly once."""
    assert return_to_of(query, USUAL, OWN) == target


@pytest.mark.parametrize(
    "query",
    [
        b"next=/x&next=/x",
        b"next=/x&next=/y",
        b"next=/x&next=",
        b"next=/x&n%65xt=/y",
        b"next=%ff",
        b"next=/\xff",
        b"next=/x&" + b"a" * 70_000,
    ],
    ids=lambda q: repr(q)[:30],
)
def test_next_that_is_not_a_single_text_is_refused(query):
    """A ``next`` that is sent twice or is not a text leads to the default page."""
    assert return_to_of(query, USUAL, OWN) == USUAL


@pytest.mark.parametrize(
    "value",
    ["//[", "https://[::1", "https://x:port/", "//\u2100.x/", "/\ud800", "\x00"],
)
def test_bad_target_raises_nothing(value):
    """An address that breaks URL parsers is refused like any other."""
    raw = value.encode("utf-8", "surrogatepass")
    assert return_to_of(b"next=" + raw, USUAL, OWN) == USUAL


def test_refusal_is_one_short_line_of_log(caplog):
    """A refused value is logged once, escaped and shortened."""
    with caplog.at_level(logging.INFO, logger="tiktok_oauth_middleware"):
        return_to_of(b"next=//evil%0d%0aINFO%20x%E2%80%AE" + b"y" * 500, USUAL, OWN)
    [record] = caplog.records
    assert record.levelno == logging.INFO
    message = record.getMessage()
    assert "//evil\\u000d\\u000aINFO x\\u202e" in message
    assert message.isascii() is False  # the ellipsis of the shortened text
    assert len(message) < 230
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("query", [b"", b"next=/x", b"x=//evil"])
def test_accepted_target_is_not_logged(query, caplog):
    """A good or missing target is not logged."""
    with caplog.at_level(logging.DEBUG, logger="tiktok_oauth_middleware"):
        return_to_of(query, USUAL, OWN)
    assert not caplog.records


def test_parser_of_these_tests_finds_hostile_targets():
    """The parser of these tests rejects targets that naive checks accept."""
    for value in (
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\\\\evil.example",
    ):
        assert lands(value).origin == "https://evil.example"

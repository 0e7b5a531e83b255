"""The targets to which logins and logouts return, and the Location headers.

Every target is sent to the whole app of each interface; ada, a parser of the WHATWG's URL
standard, checks the result.
"""

from __future__ import annotations

import itertools
import random
import re
from urllib.parse import quote, quote_from_bytes, quote_plus, unquote_to_bytes

import pytest

from ..conftest import CALLBACK, LOGIN, LOGOUT, ORIGIN, PAGE, SAME_ORIGIN
from ..support.combinations import share_of
from ..support.redirect_targets import BY_HAND, GOOD, HARMLESS, REFUSED
from .conftest import memory_only

# There is no wheel for PyPy, and none yet for the newest Python.
ada_url = pytest.importorskip("ada_url", reason="ada_url is not installed")

USUAL = "/"
OWN = {LOGIN, LOGOUT, CALLBACK}
DRAWN = random.Random("return addresses")
#: Targets that are tested with a full login, 20 ms each; logouts are tested with all.
SAMPLE = [*DRAWN.sample(BY_HAND, 40), *DRAWN.sample(REFUSED, 20)]
KEPT_SAMPLE = [*DRAWN.sample(HARMLESS, 20), *DRAWN.sample(GOOD, 20)]


def spellings(value):
    """Return a target as in a query: raw, and percent-encoded once and twice."""
    raw = value.encode("utf-8", "surrogatepass")
    once = quote_from_bytes(raw, safe="")
    return {
        "raw": raw,
        "once": once.encode(),
        "twice": quote(once, safe="").encode(),
    }


def assert_stays(location):
    """Fail for a Location that leads a browser elsewhere, or that it changes."""
    assert re.fullmatch(r"/[\x21-\x5b\x5d-\x7e]*", location), location
    url = ada_url.URL(location, base=ORIGIN + CALLBACK + "?code=x&state=y")
    assert url.origin == ORIGIN
    assert url.href.replace("%27", "'") == ORIGIN + location.replace("%27", "'")
    assert url.pathname not in OWN


def assert_kept(location, value):
    """Fail for a Location that is not exactly the requested target."""
    assert_stays(location)
    there = ada_url.URL(location, base=ORIGIN)
    asked = ada_url.URL(value, base=ORIGIN)
    for part in ("pathname", "search", "hash"):
        opened = unquote_to_bytes(getattr(there, part))
        assert opened == unquote_to_bytes(getattr(asked, part)), value


@memory_only
class TestLogout:
    """The logout's ``next``."""

    def lands(self, raw, query):
        answer = raw.ask("POST", LOGOUT, query=query, headers=SAME_ORIGIN)
        assert answer.status == 303
        return answer.location

    def test_whole_corpus(self, raw, interface):
        """No target of the corpus leaves the site, raw or encoded."""
        for number, value in share_of(interface, [*enumerate(REFUSED)]):
            for how, query in spellings(value).items():
                if how != "once" and number >= len(BY_HAND) and number % 5:
                    continue
                location = self.lands(raw, b"next=" + query)
                if how == "raw":
                    assert_stays(location)
                else:
                    assert location == USUAL, (how, value)

    def test_disconnect(self, world, raw):
        """A disconnect uses the same rule, also if TikTok does not confirm it."""
        world.with_settings(disconnect_path="/bye")
        for value in SAMPLE:
            query = b"next=" + spellings(value)["once"]
            answer = raw.ask("POST", "/bye", query=query, headers=SAME_ORIGIN)
            assert (answer.status, answer.location) == (303, USUAL)
        raw.log_in()
        world.tiktok.fail("revoke", status=500, times=5)
        query = b"next=//evil.example"
        answer = raw.ask("POST", "/bye", query=query, headers=SAME_ORIGIN)
        assert answer.status == 502
        assert 'href="/"' in answer.text
        assert "evil" not in answer.text

    def test_good(self, raw, interface):
        """A logout redirects to every good target."""
        targets = [*enumerate((*HARMLESS, *GOOD))]
        for number, value in share_of(interface, targets):
            query = quote(value, safe="/:@?'" if number % 2 else "")
            assert_kept(self.lands(raw, f"next={query}".encode()), value)


@memory_only
class TestLogin:
    """The login's ``next``, to TikTok and back."""

    def test_sample(self, raw):
        """No target of the sample leaves the site, raw or encoded."""
        for value, how in zip(SAMPLE, itertools.cycle(["once", "raw", "twice"])):
            answer = raw.log_in(b"next=" + spellings(value)[how])
            assert answer.status == 303
            if how == "raw":
                assert_stays(answer.location)
            else:
                assert answer.location == USUAL, (how, value)

    def test_good(self, raw):
        """A login redirects to every good target of the sample."""
        for value in KEPT_SAMPLE:
            query = quote_plus(value)
            assert_kept(raw.log_in(f"next={query}".encode()).location, value)

    def test_next_travels_in_the_cookie(self, raw):
        """``next`` is not sent to TikTok, and a callback's own ``next`` is ignored."""
        authorize = raw.begin(b"next=/a/very/special/place")
        assert "special" not in authorize
        path, query = raw.consent(authorize)
        answer = raw.ask("GET", path, query=query + b"&next=/elsewhere")
        assert answer.location == "/a/very/special/place"

    @pytest.mark.parametrize("path", sorted(OWN))
    def test_own_paths(self, raw, path):
        """A login does not return to the middleware's own paths, however they are
        written.
        """
        first = f"/%{ord(path[1]):02X}{path[2:]}"
        for value in (path, f"{path}?x=y", f"{path}#x", first, first.lower()):
            assert raw.log_in(f"next={quote(value, safe='')}".encode()).location == "/"

    def test_guarded_paths(self, world, raw):
        """A login from an unusual path returns to this site."""
        world.with_settings(protect=["/"])
        odd = [
            v for v in SAMPLE if v.isprintable() and not {"?", "auth"} & {*v, v[1:5]}
        ]
        for path in (
            "//evil.example/x",
            "/\\evil.example",
            "/x/..//evil.example",
            *odd,
        ):
            answer = raw.ask("GET", path, query=b"a=//evil.example", headers=PAGE)
            # Targets that are too long for a login's cookie are left out.
            begins = LOGIN if len(path) > 500 else f"{LOGIN}?next="
            assert answer.location.startswith(begins)
            url = ada_url.URL(answer.location, base=ORIGIN)
            assert (url.origin, url.pathname) == (ORIGIN, LOGIN)
            query = answer.location.partition("?")[2]
            assert_stays(raw.log_in(query.encode()).location)
            raw.cookies.clear()

    def test_pollution(self, raw):
        """Two values of ``next``, however they are written, are ignored."""
        for query in (
            b"next=/a&next=/b",
            b"next=/a&next=/a",
            b"next=/a&next=",
            b"next&next=/a",
            b"next=/a&%6eext=//evil.example",
            b"n%65xt=/a&next=/b",
            b"next=/a&x=y&&=&next=//evil.example",
        ):
            assert raw.log_in(query).location == USUAL

    @pytest.mark.parametrize(
        "query",
        [
            b"Next=/a",
            b"next[]=/a",
            b"next%00=/a",
            b"+next=/a",
            b"x;next=/a",
            b"return_to=/a",
            b"redirect_uri=/a",
            b"url=//evil.example",
        ],
    )
    def test_other_names(self, raw, query):
        """Other parameters do not set the target."""
        assert raw.log_in(query).location == USUAL


@memory_only
class TestNoText:
    """Targets that are not a text or an address, or that break parsers."""

    @pytest.mark.parametrize(
        "query",
        [
            b"next=//[",
            b"next=https://[::1",
            b"next=https://[::1%25eth0]/",
            b"next=https://evil.example:99999/",
            b"next=https://evil.example:port/",
            b"next=//%E2%84%80.evil.example/",
            b"next=%FF%FE",
            b"next=\xff\xfe",
            b"next=/%C3",
            b"next=/%ED%A0%80",
            b"next=/%C0%AF",
            b"next=/%00",
            b"next=%",
            b"next=%zz",
            b"next=" + b"%25" * 20_000,
            b"next=" + b"[" * 60_000,
        ],
        ids=lambda q: repr(q)[:40],
    )
    def test_no_exception(self, raw, query):
        """A target of arbitrary bytes leads to the default page."""
        assert raw.log_in(query).location == USUAL
        answer = raw.ask("POST", LOGOUT, query=query, headers=SAME_ORIGIN)
        assert (answer.status, answer.location) == (303, USUAL)

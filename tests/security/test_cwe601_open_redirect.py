"""Where logins and logouts return to, and what stands in our headers.

Every target goes through the whole app of each shell; the judge is ada, the parser of
the WHATWG's URL standard.
"""

from __future__ import annotations

import itertools
import random
import re
from urllib.parse import quote, quote_from_bytes, quote_plus, unquote_to_bytes

import pytest

from ..conftest import CALLBACK, LOGIN, LOGOUT, ORIGIN, PAGE, SAME_ORIGIN
from ..support.redirect_targets import BY_HAND, GOOD, HARMLESS, REFUSED
from .conftest import memory_only

# Has no wheel for PyPy, nor yet for the newest Python.
ada_url = pytest.importorskip("ada_url", reason="ada_url is not installed")

USUAL = "/"
OWN = {LOGIN, LOGOUT, CALLBACK}
DRAWN = random.Random("return addresses")
#: Targets tested by a full login, 20 ms each; logout is given the whole corpus.
SAMPLE = [*DRAWN.sample(BY_HAND, 40), *DRAWN.sample(REFUSED, 20)]
KEPT_SAMPLE = [*DRAWN.sample(HARMLESS, 20), *DRAWN.sample(GOOD, 20)]


def written(value):
    """Return a target as a query may hold it: raw, and percent-encoded once and twice."""
    raw = value.encode("utf-8", "surrogatepass")
    once = quote_from_bytes(raw, safe="")
    return {
        "raw": raw,
        "once": once.encode(),
        "twice": quote(once, safe="").encode(),
    }


def judge(location):
    """Condemn a Location that a browser would follow elsewhere, or read otherwise."""
    assert re.fullmatch(r"/[\x21-\x5b\x5d-\x7e]*", location), location
    url = ada_url.URL(location, base=ORIGIN + CALLBACK + "?code=x&state=y")
    assert url.origin == ORIGIN
    assert url.href.replace("%27", "'") == ORIGIN + location.replace("%27", "'")
    assert url.pathname not in OWN


def judge_kept(location, value):
    """Condemn a Location that is not the very place that was asked for."""
    judge(location)
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

    def test_whole_corpus(self, raw):
        """No target of the corpus leaves the site; encoded, none is kept either."""
        for number, value in enumerate(REFUSED):
            for how, query in written(value).items():
                if how != "once" and number >= len(BY_HAND) and number % 5:
                    continue
                location = self.lands(raw, b"next=" + query)
                if how == "raw":
                    judge(location)
                else:
                    assert location == USUAL, (how, value)

    def test_disconnect(self, world, raw):
        """A disconnect returns by the same rule, also when TikTok did not confirm."""
        world.with_settings(disconnect_path="/bye")
        for value in SAMPLE:
            query = b"next=" + written(value)["once"]
            answer = raw.ask("POST", "/bye", query=query, headers=SAME_ORIGIN)
            assert (answer.status, answer.location) == (303, USUAL)
        raw.log_in()
        world.tiktok.fail("revoke", status=500, times=5)
        query = b"next=//evil.example"
        answer = raw.ask("POST", "/bye", query=query, headers=SAME_ORIGIN)
        assert answer.status == 502
        assert 'href="/"' in answer.text
        assert "evil" not in answer.text

    def test_good(self, raw):
        """Every good target is where the logout ends."""
        for number, value in enumerate((*HARMLESS, *GOOD)):
            query = quote(value, safe="/:@?'" if number % 2 else "")
            judge_kept(self.lands(raw, f"next={query}".encode()), value)


@memory_only
class TestLogin:
    """The login's ``next``, to TikTok and back."""

    def test_sample(self, raw):
        """No target of the sample leaves the site; encoded, none is kept either."""
        for value, how in zip(SAMPLE, itertools.cycle(["once", "raw", "twice"])):
            answer = raw.log_in(b"next=" + written(value)[how])
            assert answer.status == 303
            if how == "raw":
                judge(answer.location)
            else:
                assert answer.location == USUAL, (how, value)

    def test_good(self, raw):
        """Every good target of the sample is where the login ends."""
        for value in KEPT_SAMPLE:
            query = quote_plus(value)
            judge_kept(raw.log_in(f"next={query}".encode()).location, value)

    def test_next_travels_in_the_cookie(self, raw):
        """TikTok gets nothing of ``next``, and a callback's own ``next`` does not count."""
        authorize = raw.begin(b"next=/a/very/special/place")
        assert "special" not in authorize
        path, query = raw.consent(authorize)
        answer = raw.ask("GET", path, query=query + b"&next=/elsewhere")
        assert answer.location == "/a/very/special/place"

    @pytest.mark.parametrize("path", sorted(OWN))
    def test_own_paths(self, raw, path):
        """A login returns to none of its own paths, however they are written."""
        first = f"/%{ord(path[1]):02X}{path[2:]}"
        for value in (path, f"{path}?x=y", f"{path}#x", first, first.lower()):
            assert raw.log_in(f"next={quote(value, safe='')}".encode()).location == "/"

    def test_guarded_paths(self, world, raw):
        """A user who logs in from an odd path comes back to this site."""
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
            judge(raw.log_in(query.encode()).location)
            raw.cookies.clear()

    def test_pollution(self, raw):
        """Two values of ``next``, however they are written, are none."""
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
        """No other parameter says where to return to."""
        assert raw.log_in(query).location == USUAL


@memory_only
class TestNoText:
    """Targets that are no text or no address, or that break parsers."""

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
        """A return address of any bytes is a redirect to the usual place."""
        assert raw.log_in(query).location == USUAL
        answer = raw.ask("POST", LOGOUT, query=query, headers=SAME_ORIGIN)
        assert (answer.status, answer.location) == (303, USUAL)

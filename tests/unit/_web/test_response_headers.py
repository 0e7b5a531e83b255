"""Headers that keep a response out of shared caches."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._web.response_headers import keep_private

# --- keep_private ------------------------------------------------------------------


def private(*headers):
    kept = keep_private(headers)
    given = dict(kept)
    assert len(given) == len(kept), "a header of ours is there twice"
    return given.get("cache-control"), given.get("vary")


@pytest.mark.parametrize(
    ("given", "control"),
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
def test_cache_control_becomes_private(given, control):
    """Directives that let a shared cache store a response are removed, the others kept."""
    assert private(*(("cache-control", value) for value in given))[0] == control


@pytest.mark.parametrize(
    ("given", "vary"),
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
def test_vary_gets_cookie(given, vary):
    """Cookie is added once to what Vary already names."""
    assert private(*(("vary", value) for value in given))[1] == vary


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
    """A header that overrides Cache-Control for one kind of cache is removed."""
    kept = keep_private([("X-A", "1"), (name, "max-age=600")])
    assert kept == [("X-A", "1"), ("cache-control", "private"), ("vary", "Cookie")]


@pytest.mark.parametrize("name", ["Surrogate-Key", "Cache-Tag", "X-CDN", "Expires"])
def test_headers_that_name_no_cache_stay(name):
    """A header that allows no caching is unchanged."""
    assert (name, "x") in keep_private([("Cache-Control", "public"), (name, "x")])


def test_other_headers_stay_in_order():
    """Other headers are kept in order, repeated ones too."""
    others = [("set-cookie", "a=1"), ("x-test", "1"), ("set-cookie", "b=2")]
    given = [others[0], ("Vary", "Accept"), *others[1:], ("Cache-Control", "public")]
    kept = keep_private(given)
    assert kept[:3] == others
    assert sorted(kept[3:]) == [
        ("cache-control", "private"),
        ("vary", "Accept, Cookie"),
    ]


def test_keeping_private_twice_changes_nothing():
    """A response that is already private is unchanged."""
    once = keep_private([("cache-control", "public, max-age=3"), ("vary", "Accept")])
    assert keep_private(once) == once


def test_given_headers_are_not_changed():
    """The app's own list of headers is not modified."""
    given = [("cache-control", "public")]
    keep_private(given)
    assert given == [("cache-control", "public")]

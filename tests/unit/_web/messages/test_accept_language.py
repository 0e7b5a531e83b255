"""Accept-Language: preferred and refused languages, from any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiktok_oauth_middleware._web.messages.accept_language import (
    NO_PREFERENCE,
    LanguageRanges,
    parse_accept_language,
    wider,
)


def parsed(header):
    return parse_accept_language([header.encode("latin-1")])


@pytest.mark.parametrize(
    ("header", "preferred"),
    [
        ("", []),
        ("de", ["de"]),
        ("de-CH, de;q=0.9, en;q=0.8, *;q=0.5", ["de-ch", "de", "en"]),
        ("en;q=0.1,de;q=0.2", ["de", "en"]),
        ("en;q=0.5,de;q=0.5,fr;q=0.5", ["en", "de", "fr"]),
        ("en;q=0, de", ["de"]),
        ("en ; q=0.5 , ar", ["ar", "en"]),
        ("EN;Q=0.5,\tZH-hANT", ["zh-hant", "en"]),
        ("de;q=1.000, fr;q=0.999", ["de", "fr"]),
        ("de;q=2, ar;q=-1, en;q=x, fr;q=0.1234, it;q=1.1", []),
        ("de_DE, de-, -de, d3, de-*-DE, , fr", ["fr"]),
        ("<script>, zh-Hant-TW", ["zh-hant-tw"]),
        ("*", []),
    ],
)
def test_preferred(header, preferred):
    """Ranges are sorted by their quality; malformed ones are left out."""
    assert [*parsed(header).preferred] == preferred


@pytest.mark.parametrize(
    ("header", "tag", "is_excluded"),
    [
        ("de;q=0", "de", True),
        ("de;q=0", "de-AT", True),
        ("de-AT;q=0", "de", False),
        ("de;q=0, de-AT", "de-AT", False),
        ("de;q=0, de-AT", "de-CH", True),
        ("zh;q=0.000", "zh-Hant", True),
        ("zh-Hant;q=0", "zh-TW", True),
        ("zh-Hant;q=0", "zh-Hans", False),
        ("*;q=0", "de", False),
        ("de", "fr", False),
    ],
)
def test_excluded(header, tag, is_excluded):
    """The range that fits a language best decides whether it is refused."""
    assert parsed(header).excludes(tag) is is_excluded


def test_all_others_excluded():
    """An asterisk with the quality 0 refuses all other languages."""
    assert parsed("de, *;q=0").excluded == {"*"}


@pytest.mark.parametrize(
    "values",
    [
        [b"de," + b"a" * 1024],
        [b"de"] * 33,
        [b"de" + b"," * 32],
        [b"x" * 10_000_000],
    ],
)
def test_too_long(values):
    """A header that is longer than any browser's is not read."""
    assert parse_accept_language(values) == NO_PREFERENCE


def test_longest():
    """A header of 32 ranges is read, even in several parts."""
    assert parse_accept_language([b"xx,de"] * 16).preferred == ("xx", "de") * 16


def test_long_tag():
    """A range that is longer than a language tag is left out."""
    tag = "-".join(["a"] * 20)
    assert parsed(f"de, {tag}, fr;q=0.5").preferred == ("de", "fr")


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_any_bytes(values):
    """Any bytes give ranges in lower case, and no more than the limit."""
    ranges = parse_accept_language(values)
    assert len(ranges.preferred) + len(ranges.excluded) <= 32
    for each in (*ranges.preferred, *ranges.excluded):
        assert each == each.lower()
        assert len(each) <= 35


@pytest.mark.parametrize(
    ("tag", "ranges"),
    [
        ("de", ["de"]),
        ("de-at", ["de-at", "de"]),
        ("zh-hant-cn-x-private1-private2", [
            "zh-hant-cn-x-private1-private2",
            "zh-hant-cn-x-private1",
            "zh-hant-cn",
            "zh-hant",
            "zh",
        ]),
        ("zh-tw", ["zh-tw", "zh-hant", "zh"]),
        ("zh-hk", ["zh-hk", "zh-hant", "zh"]),
        ("zh-cn", ["zh-cn", "zh"]),
        ("iw-il", ["iw-il", "iw", "he"]),
        ("in", ["in", "id"]),
        ("ji", ["ji", "yi"]),
        ("", []),
    ],
)  # fmt: skip
def test_wider(tag, ranges):
    """A tag is widened as in RFC 4647, section 3.4."""
    assert [*wider(tag)] == ranges


def test_no_preferred_language():
    """A request without a preference refuses no language."""
    assert LanguageRanges((), frozenset()) == NO_PREFERENCE
    assert not NO_PREFERENCE.excludes("en")

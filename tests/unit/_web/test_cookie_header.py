"""Cookies: strict reading of the header, and recognition of our own cookies."""

from __future__ import annotations

import itertools
import random

import pytest

from tiktok_oauth_middleware._core.http import COOKIE_LIMIT
from tiktok_oauth_middleware._web.cookie_header import find, find_all

from ...support.cookie_headers import (
    LOOK_ALIKES,
    MALFORMED_NEIGHBOURS,
    NAME,
    PREFIX,
    SLOW,
    SPOOFED_VALUES,
    drawn_headers,
    drawn_neighbours,
    header,
)
from ...support.growth import is_constant, is_linear

# --- find --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"__Host-tiktok=good",
        b" __Host-tiktok=good ",
        b"\t__Host-tiktok=good\t",
        b"a=b; __Host-tiktok=good; c=d",
        b"a=b;__Host-tiktok=good;c=d",
        b";;;__Host-tiktok=good;;;",
        b"__Host-tiktok=good;",
    ],
)
def test_cookie_is_found(value):
    """A cookie is found between any semicolons, without the spaces around it."""
    assert find(header(value), NAME) == b"good"


@pytest.mark.parametrize(
    "value",
    [
        b"__Host-tiktok=goodX",
        b"__Host-tiktok=goodX ",
        b"a=b;\t__Host-tiktok=goodX\t; c=d",
        b"__Host-tiktok=goodX; __Host-tiktok=goodX ",
    ],
)
def test_only_spaces_are_taken_off(value):
    """Only spaces are removed from the end of a value, by both readers."""
    assert find(header(value), NAME) == b"goodX"


@pytest.mark.parametrize("before", [b"X", b"X ", b"a=b; X", b"a=b; X\t"])
def test_name_behind_a_letter_is_not_ours(before):
    """A name after any character but spaces and a semicolon is not matched."""
    assert find(header(before + b"__Host-tiktok=good"), NAME) is None
    assert find(header(before + b"__Host-tiktok=good "), NAME) is None


@pytest.mark.parametrize("space", [b" ", b"\t", b" \t "])
def test_value_begins_behind_the_equals_sign(space):
    """A value that begins with spaces is invalid, and is not repaired."""
    assert find(header(NAME + b"=" + space + b"good"), NAME) is None
    sent = header(PREFIX + b"a=" + space + b"good")
    assert find_all(sent, PREFIX) == {"a": b""}


@pytest.mark.parametrize("join", [b";", b"; ", b" ;\t"], ids=repr)
@pytest.mark.parametrize("neighbour", MALFORMED_NEIGHBOURS, ids=lambda n: repr(n)[:30])
def test_malformed_neighbour_does_not_hide_a_cookie(neighbour, join):
    """A genuine cookie is found before, after and between malformed ones."""
    ours = NAME + b"=good"
    for parts in (
        [neighbour, ours],
        [ours, neighbour],
        [neighbour, ours, neighbour],
    ):
        assert find(header(join.join(parts)), NAME) == b"good"


@pytest.mark.parametrize(
    ("neighbour", "other"), [*itertools.combinations(MALFORMED_NEIGHBOURS[:14], 2)]
)
def test_two_malformed_neighbours_do_not_hide_a_cookie(neighbour, other):
    """A genuine cookie is found between any two malformed ones."""
    value = b"; ".join([neighbour, NAME + b"=good", other])
    assert find(header(value), NAME) == b"good"


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=repr)
def test_similar_name_is_not_ours(name):
    """A name that only resembles ours is another name."""
    assert find(header(name + b"=evil"), NAME) is None


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=repr)
def test_similar_name_does_not_disturb_ours(name):
    """A planted look-alike neither replaces nor contradicts the genuine cookie."""
    spoof, ours = name + b"=evil", NAME + b"=good"
    assert find(header(spoof + b"; " + ours), NAME) == b"good"
    assert find(header(ours + b"; " + spoof), NAME) == b"good"


def test_nameless_cookie_is_not_ours():
    """A cookie without a name, whose value reads like one of ours, is not ours."""
    assert find(header(b"=__Host-tiktok=evil"), NAME) is None


@pytest.mark.parametrize("first", [True, False])
def test_one_header_for_each_cookie(first):
    """A cookie is found in each of several headers, which HTTP/2 servers may send."""
    headers = [(b"cookie", b"theme=dark"), (b"cookie", NAME + b"=good")]
    assert find(headers[::-1] if first else headers, NAME) == b"good"


def test_two_different_values_do_not_count():
    """Of two different values under our name, neither counts."""
    assert find(header(b"__Host-tiktok=a; __Host-tiktok=b"), NAME) is None
    assert find(header(b"__Host-tiktok=a", b"__Host-tiktok=b"), NAME) is None
    assert find(header(b"__Host-tiktok=a; __Host-tiktok="), NAME) is None
    assert find(header(b"__Host-tiktok=; __Host-tiktok=a"), NAME) is None
    assert find(header(b"__Host-tiktok=a; __Host-tiktok=b c"), NAME) is None
    assert (
        find(header(b"__Host-tiktok=a; __Host-tiktok=b; __Host-tiktok=a"), NAME) is None
    )


def test_equal_values_are_one():
    """The same value sent twice counts."""
    assert find(header(b"__Host-tiktok=a; x=y; __Host-tiktok=a"), NAME) == b"a"
    assert find(header(b"__Host-tiktok=a", b"__Host-tiktok=a"), NAME) == b"a"


def test_cookie_in_a_second_header_is_found():
    """HTTP/2 may split cookies over several headers; each is read."""
    assert find(header(b"a=b", b"__Host-tiktok=good"), NAME) == b"good"


def test_other_headers_are_not_cookies():
    """Cookies are read only from the Cookie header."""
    headers = [
        (b"x-cookie", b"__Host-tiktok=evil"),
        (b"cookie2", b"__Host-tiktok=evil"),
    ]
    assert find(headers, NAME) is None


@pytest.mark.parametrize(
    "value",
    [b"", b'"good"', b"a b", b"a,b", b"a\\b", b"a\x00", b"a\x7f", b"a\x80", b"\xc3\xbc"]
    + [b"a\x0b", b"\xa0a", b"a\xa0", b"a\r", b"a\n", b"a\tb", b'a"'],
    ids=repr,
)
def test_forbidden_characters_make_a_value_invalid(value):
    """A value with characters that cookies may not contain is ignored; nothing is
    unquoted.
    """
    assert find(header(NAME + b"=" + value), NAME) is None


@pytest.mark.parametrize(
    "value", [b"%41", b"a=b", b"==", b"!#$%&'()*+-./:<=>?@[]^_`{|}~"]
)
def test_value_is_not_decoded(value):
    """A value is returned unchanged."""
    assert find(header(NAME + b"=" + value), NAME) == value


def test_largest_value_is_found_and_a_larger_one_is_not():
    """A value at the limit is found, and a longer one is ignored."""
    assert find(header(NAME + b"=" + b"x" * COOKIE_LIMIT), NAME)
    assert find(header(NAME + b"=" + b"x" * (COOKIE_LIMIT + 1)), NAME) is None


@pytest.mark.parametrize("place", [0, 30, 60])
def test_sixty_foreign_cookies_hide_nothing(place):
    """A cookie of ours is found among sixty others."""
    others = [b"foreign%d=%s" % (n, b"v" * 50) for n in range(60)]
    others.insert(place, NAME + b"=good")
    assert find(header(b"; ".join(others)), NAME) == b"good"


JUNK = random.Random("cookies: junk").randbytes(4096).replace(b";", b",")


def test_four_kilobytes_of_junk_hide_nothing():
    """A cookie of ours is found beside random bytes."""
    assert find(header(JUNK + b"; __Host-tiktok=good"), NAME) == b"good"
    assert find(header(b"__Host-tiktok=good; " + JUNK), NAME) == b"good"


# --- generated neighbours ----------------------------------------------------------

GENUINE_VALUE = b"Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo"


def test_no_neighbours_hide_or_replace_the_genuine_cookie():
    """Among any neighbours the genuine cookie is found; without it, nothing is."""
    draw = random.Random("cookies: neighbours")
    for _ in range(5000):
        cookies = drawn_neighbours(draw)
        headers = drawn_headers(draw, cookies)
        assert find(headers, NAME) is None, headers
        cookies.insert(draw.randrange(len(cookies) + 1), NAME + b"=" + GENUINE_VALUE)
        headers = drawn_headers(draw, cookies)
        assert find(headers, NAME) == GENUINE_VALUE, headers


def test_no_neighbours_hide_or_replace_a_login_cookie():
    """Among any neighbours a genuine login cookie is found by the id in its name."""
    draw = random.Random("cookies: neighbours of a login")
    for _ in range(3000):
        cookies = drawn_neighbours(draw)
        assert "Our_Id-1" not in find_all(drawn_headers(draw, cookies), PREFIX)
        ours = PREFIX + b"Our_Id-1=" + GENUINE_VALUE
        cookies.insert(draw.randrange(len(cookies) + 1), ours)
        found = find_all(drawn_headers(draw, cookies), PREFIX)
        assert found["Our_Id-1"] == GENUINE_VALUE, cookies


def test_second_value_among_neighbours_is_a_contradiction():
    """With a second value under our name, neither counts, wherever they are."""
    draw = random.Random("cookies: two values")
    for _ in range(3000):
        cookies = drawn_neighbours(draw)
        for value in (GENUINE_VALUE, draw.choice(SPOOFED_VALUES)):
            place = draw.randrange(len(cookies) + 1)
            cookies.insert(place, NAME + b"=" + value)
        assert find(drawn_headers(draw, cookies), NAME) is None, cookies


@pytest.mark.parametrize("value", SLOW.values(), ids=SLOW.keys())
@pytest.mark.parametrize("read", [find, find_all])
def test_megabyte_is_read_in_linear_time(read, value):
    """The cost of a header grows linearly with its length, whatever its content."""
    name = NAME if read is find else PREFIX
    assert is_linear(
        lambda part: read(header(part + b";" + NAME + b"=good"), name), value
    )


NAMES = [value for kind, value in SLOW.items() if "our name" in kind or "login" in kind]


@pytest.mark.parametrize("value", NAMES, ids=[k for k in SLOW if SLOW[k] in NAMES])
@pytest.mark.parametrize("read", [find, find_all])
def test_names_of_ours_are_bounded(read, value):
    """A megabyte of our own cookies costs no more than 64 kB of them."""
    name = NAME if read is find else PREFIX
    assert is_constant(lambda part: read(header(part), name), value)


def test_contradiction_outlasts_its_header():
    """After a header with too many of our names, a later header's value does
    not count.
    """
    names = b"; ".join([b"__Host-tiktok=good"] * 201)
    assert find([(b"cookie", names), (b"cookie", b"__Host-tiktok=good")], NAME) is None


@pytest.mark.parametrize("length", [64 * 1024, 64 * 1024 + 1])
def test_longest_header_with_login_cookies(length):
    """A header of 64 kB is searched for login cookies, and a longer one is not."""
    login = PREFIX + b"1=good; other="
    value = login + b"x" * (length - len(login))
    assert bool(find_all(header(value), PREFIX)) == (length <= 64 * 1024)


def test_more_cookies_of_ours_than_browsers_keep():
    """Too many session cookies count as none; of login cookies the first 200 count."""
    assert find(header(b";".join([NAME + b"=a"] * 200)), NAME) == b"a"
    assert find(header(b";".join([NAME + b"=a"] * 201)), NAME) is None
    sent = b";".join(PREFIX + b"%d=x" % number for number in range(300))
    assert len(find_all(header(sent), PREFIX)) == 200
    halves = [*header(sent[: len(sent) // 2]), *header(sent[len(sent) // 2 :])]
    assert len(find_all(halves, PREFIX)) == 200


@pytest.mark.parametrize("value", [b"", b";", b";;;", b" ; ;", b"=;=;=", b"\t"])
def test_header_of_separators_has_no_cookies(value):
    """A header that consists of separators has no cookies, and raises nothing."""
    assert find(header(value), NAME) is None
    assert find_all(header(value), PREFIX) == {}


# --- find_all ----------------------------------------------------------------------


def test_login_cookies_are_found_by_their_ids():
    """All cookies whose names begin with the prefix are found, by the rest of their
    names.
    """
    value = b"__Host-tiktok-login-a1=x; other=y; __Host-tiktok-login-B_2-=z"
    assert find_all(header(value), PREFIX) == {"a1": b"x", "B_2-": b"z"}


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"a b",
        b"a.b",
        b"a\x00",
        b"\xff",
        b"\xc3\xbc",
        b"a" * 65,
        b"a/",
        b"%41",
        b"a\n",
    ],
)
def test_login_cookie_of_another_form_is_not_ours(rest):
    """A login cookie whose prefix is not followed by an id is ignored."""
    assert find_all(header(PREFIX + rest + b"=x"), PREFIX) == {}


@pytest.mark.parametrize(
    "value", [b"", b"a b", b'"x"', b"\xff", b"x" * (COOKIE_LIMIT + 1)]
)
def test_login_cookie_with_an_unusable_value_is_empty(value):
    """A login cookie with an invalid value is returned as empty, so that it can be
    deleted.
    """
    assert find_all(header(PREFIX + b"a=" + value), PREFIX) == {"a": b""}


def test_login_cookies_are_found_among_malformed_ones():
    """Malformed neighbours and further headers lose no login cookie."""
    found = find_all(
        header(b'x="; __Host-tiktok-login-a=1; =;', b"__Host-tiktok-login-b=2"), PREFIX
    )
    assert found == {"a": b"1", "b": b"2"}


# --- the session cookie ------------------------------------------------------------


def test_login_cookies_of_other_headers_are_none():
    """Login cookies are read only from the Cookie header."""
    assert find_all([(b"x-cookie", b"__Host-tiktok-login-a=x")], PREFIX) == {}


@pytest.mark.parametrize("join", [b"; ", b";"])
def test_two_values_of_a_login_cookie_are_empty(join):
    """A login cookie that is sent twice with different values is empty; spaces make no
    difference.
    """
    twice = join.join([b"__Host-tiktok-login-a=x", b"__Host-tiktok-login-a=y"])
    assert find_all(header(twice), PREFIX) == {"a": b""}
    same = join.join([b"__Host-tiktok-login-a=xX", b"__Host-tiktok-login-a=xX\t"])
    assert find_all(header(same), PREFIX) == {"a": b"xX"}

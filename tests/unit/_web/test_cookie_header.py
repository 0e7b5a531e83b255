"""Cookies: one strict way to read a header, one way to know that a cookie is ours."""

from __future__ import annotations

import base64
import hashlib
import itertools
import random

import pytest

from tiktok_oauth_middleware._core.http import COOKIE_LIMIT
from tiktok_oauth_middleware._session.cookie import (
    SESSION_LENGTH,
    SessionCookies,
    Ticket,
    digest,
    from_text,
    grant_id,
    to_text,
)
from tiktok_oauth_middleware._web.cookie_header import find, find_all

from ...support.growth import is_constant, is_linear

NAME = b"__Host-tiktok"
PREFIX = b"__Host-tiktok-login-"
OLD, MIDDLE, NEW = (bytes([n]) * 32 for n in (1, 2, 3))
GRANT = grant_id("awexampleclientkey", "11111111-2222-4333-8444-555555555555")


def header(*values):
    return [(b"cookie", value) for value in values]


@pytest.fixture
def jar():
    return SessionCookies("tiktok", [NEW], secure=True)


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
    """A cookie is found wherever it stands between semicolons, less its spaces."""
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
    """Letters at the end of a value stay, whichever way it is read."""
    assert find(header(value), NAME) == b"goodX"


@pytest.mark.parametrize("before", [b"X", b"X ", b"a=b; X", b"a=b; X\t"])
def test_name_behind_a_letter_is_not_ours(before):
    """What stands between a semicolon and our name is spaces, or it is not our name."""
    assert find(header(before + b"__Host-tiktok=good"), NAME) is None
    assert find(header(before + b"__Host-tiktok=good "), NAME) is None


@pytest.mark.parametrize("space", [b" ", b"\t", b" \t "])
def test_value_begins_behind_the_equals_sign(space):
    """A value that begins with spaces is no cookie's, and is not mended."""
    assert find(header(NAME + b"=" + space + b"good"), NAME) is None
    sent = header(PREFIX + b"a=" + space + b"good")
    assert find_all(sent, PREFIX) == {"a": b""}


MALFORMED_NEIGHBOURS = [
    b"",
    b"=",
    b"=x",
    b"x",
    b'a="',
    b'a="b',
    b'a="b\\"c"',
    b'"=x',
    b"a b=c",
    b"a=b c",
    b"a=b,c=d",
    b"a[]=b",
    b"a(b)=c",
    b"a=\\073",
    b"a=\\",
    b"a=" + b"\\" * 500,
    b"\xff\xfe=\xfd",
    b"a=\x00",
    b"a=\x01\x1f\x7f",
    b"a=\r\n",
    b"\xc3\xbc=\xc3\xbc",
    b"\xe2\x80\x83=x",
    b"{'json': \"x\"}",
    b"%3B=%3B",
    b"$Version=1",
    b"expires=Wed, 21 Oct 2026 07:28:00 GMT",
    b"path=/",
    b"HttpOnly",
    b"====",
    b"__Host-tiktok",
    b"__Host-tiktok2=evil",
    b"x__Host-tiktok=evil",
    b"x=__Host-tiktok=evil",
    b"a=" + b"j" * 4096,
]


@pytest.mark.parametrize("join", [b";", b"; ", b" ;\t"], ids=repr)
@pytest.mark.parametrize("neighbour", MALFORMED_NEIGHBOURS, ids=lambda n: repr(n)[:30])
def test_malformed_neighbour_loses_nothing(neighbour, join):
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
def test_two_malformed_neighbours_lose_nothing(neighbour, other):
    """A genuine cookie is found between any two malformed ones."""
    value = b"; ".join([neighbour, NAME + b"=good", other])
    assert find(header(value), NAME) == b"good"


LOOK_ALIKES = [
    b"__host-tiktok",
    b"__HOST-TIKTOK",
    b"__Host-TikTok",
    b"__Host-tiktok ",
    b"__Host-tiktok\t",
    b"__Host-tiktok\x00",
    b"\x00__Host-tiktok",
    b"\x0b__Host-tiktok",
    b"\x0c__Host-tiktok",
    b"\r__Host-tiktok",
    b"\n__Host-tiktok",
    b"\x1c__Host-tiktok",
    b"\x1f__Host-tiktok",
    b"\x85__Host-tiktok",
    b"\xa0__Host-tiktok",
    b"\xc2\xa0__Host-tiktok",
    b"\xc2\x85__Host-tiktok",
    b"\xe2\x80\x83__Host-tiktok",
    b"\xe2\x80\x80__Host-tiktok",
    b"\xe2\x80\xa8__Host-tiktok",
    b"\xe3\x80\x80__Host-tiktok",
    b"\xe1\x9a\x80__Host-tiktok",
    b"\xef\xbb\xbf__Host-tiktok",
    b"__Host-tiktok\xe2\x80\x83",
    b"__Host\xe2\x80\x90tiktok",
    b"__Host-t\xd1\x96ktok",
    b"__H%6fst-tiktok",
    b"%5F%5FHost-tiktok",
    b'"__Host-tiktok"',
    b"__Host-tiktok[]",
    b"__Secure-tiktok",
    b"__HostX-tiktok",
    b"_Host-tiktok",
    b"tiktok",
    b"=__Host-tiktok",
    b"$__Host-tiktok",
    b"a,__Host-tiktok",
]


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=repr)
def test_look_alike_is_not_ours(name):
    """A name that only looks like ours is another name, byte for byte."""
    assert find(header(name + b"=evil"), NAME) is None


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=repr)
def test_look_alike_does_not_disturb_ours(name):
    """A planted look-alike neither replaces nor contradicts the genuine cookie."""
    spoof, ours = name + b"=evil", NAME + b"=good"
    assert find(header(spoof + b"; " + ours), NAME) == b"good"
    assert find(header(ours + b"; " + spoof), NAME) == b"good"


def test_nameless_cookie_is_not_ours():
    """A cookie without a name, whose value reads like one of ours, is not ours."""
    assert find(header(b"=__Host-tiktok=evil"), NAME) is None


def test_two_values_are_none():
    """Two different values under our name contradict each other: none counts."""
    assert find(header(b"__Host-tiktok=a; __Host-tiktok=b"), NAME) is None
    assert find(header(b"__Host-tiktok=a", b"__Host-tiktok=b"), NAME) is None
    assert find(header(b"__Host-tiktok=a; __Host-tiktok="), NAME) is None
    assert find(header(b"__Host-tiktok=; __Host-tiktok=a"), NAME) is None
    assert find(header(b"__Host-tiktok=a; __Host-tiktok=b c"), NAME) is None
    assert (
        find(header(b"__Host-tiktok=a; __Host-tiktok=b; __Host-tiktok=a"), NAME) is None
    )


def test_equal_values_are_one():
    """The same value twice is no contradiction."""
    assert find(header(b"__Host-tiktok=a; x=y; __Host-tiktok=a"), NAME) == b"a"
    assert find(header(b"__Host-tiktok=a", b"__Host-tiktok=a"), NAME) == b"a"


def test_cookie_in_a_second_header_is_found():
    """HTTP/2 may split cookies over several headers; each is read."""
    assert find(header(b"a=b", b"__Host-tiktok=good"), NAME) == b"good"


def test_other_headers_are_not_cookies():
    """Only the Cookie header holds cookies."""
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
def test_value_that_no_cookie_may_have_is_none(value):
    """A value outside of what a cookie may contain is none; nothing is unquoted."""
    assert find(header(NAME + b"=" + value), NAME) is None


@pytest.mark.parametrize(
    "value", [b"%41", b"a=b", b"==", b"!#$%&'()*+-./:<=>?@[]^_`{|}~"]
)
def test_value_is_not_decoded(value):
    """A value is taken as it stands."""
    assert find(header(NAME + b"=" + value), NAME) == value


def test_largest_value_is_found_and_a_larger_one_is_not():
    """A value above the limit is no cookie of ours."""
    assert find(header(NAME + b"=" + b"x" * COOKIE_LIMIT), NAME)
    assert find(header(NAME + b"=" + b"x" * (COOKIE_LIMIT + 1)), NAME) is None


@pytest.mark.parametrize("place", [0, 30, 60])
def test_sixty_foreign_cookies_hide_nothing(place):
    """A cookie of ours is found among sixty of others."""
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
SPOOFED_VALUES = [b"evil", b"", b'"evil"', b"evil\x00", b"\xff", b"e" * 5000, b"="]
BETWEEN = [b";", b"; ", b";\t", b" ; ", b";;", b" ;\t ;"]


def drawn_neighbours(draw):
    """Return up to eight cookies that are malformed, spoofed, or random bytes."""
    kinds = [
        lambda: draw.choice(MALFORMED_NEIGHBOURS),
        lambda: draw.choice(LOOK_ALIKES) + b"=" + draw.choice(SPOOFED_VALUES),
        lambda: draw.randbytes(draw.randrange(40)).replace(b";", b","),
        lambda: draw.choice(LOOK_ALIKES) + draw.choice([b"", b" ", b"\xc2\xa0", b"=="]),
        lambda: PREFIX + draw.randbytes(3).hex().encode() + b"=x",
    ]
    return [draw.choice(kinds)() for _ in range(draw.randrange(9))]


def drawn_headers(draw, cookies):
    """Return the cookies joined in some way, in one Cookie header or in several."""
    parts = list(cookies)
    lines = []
    while parts:
        taken = draw.randrange(1, len(parts) + 1)
        lines.append(draw.choice(BETWEEN).join(parts[:taken]))
        del parts[:taken]
    return header(*lines)


def test_no_neighbours_hide_or_replace_the_genuine_cookie():
    """Among whatever neighbours the genuine cookie is found, and without it nothing."""
    draw = random.Random("cookies: neighbours")
    for _ in range(5000):
        cookies = drawn_neighbours(draw)
        headers = drawn_headers(draw, cookies)
        assert find(headers, NAME) is None, headers
        cookies.insert(draw.randrange(len(cookies) + 1), NAME + b"=" + GENUINE_VALUE)
        headers = drawn_headers(draw, cookies)
        assert find(headers, NAME) == GENUINE_VALUE, headers


def test_no_neighbours_hide_or_replace_a_login_cookie():
    """The same holds for a login cookie, which is found by the rest of its name."""
    draw = random.Random("cookies: neighbours of a login")
    for _ in range(3000):
        cookies = drawn_neighbours(draw)
        assert "Our_Id-1" not in find_all(drawn_headers(draw, cookies), PREFIX)
        ours = PREFIX + b"Our_Id-1=" + GENUINE_VALUE
        cookies.insert(draw.randrange(len(cookies) + 1), ours)
        found = find_all(drawn_headers(draw, cookies), PREFIX)
        assert found["Our_Id-1"] == GENUINE_VALUE, cookies


def test_second_value_among_neighbours_is_a_contradiction():
    """A second value under our very name leaves none, wherever the two stand."""
    draw = random.Random("cookies: two values")
    for _ in range(3000):
        cookies = drawn_neighbours(draw)
        for value in (GENUINE_VALUE, draw.choice(SPOOFED_VALUES)):
            place = draw.randrange(len(cookies) + 1)
            cookies.insert(place, NAME + b"=" + value)
        assert find(drawn_headers(draw, cookies), NAME) is None, cookies


# --- time --------------------------------------------------------------------------

MEGABYTE = 1_000_000


def megabyte_of(unit):
    return (unit * (MEGABYTE // len(unit) + 1))[:MEGABYTE]


SLOW = {
    "backslashes": b'a="' + megabyte_of(b"\\"),
    "quotes": megabyte_of(b'"'),
    "semicolons": megabyte_of(b";"),
    "semicolons and spaces": megabyte_of(b"; \t"),
    "spaces": megabyte_of(b" "),
    "spaces before our name": b";" + megabyte_of(b" ") + NAME,
    "equals": megabyte_of(b"="),
    "octal": b'a="' + megabyte_of(b"\\073"),
    "nul": megabyte_of(b"\x00"),
    "our name": megabyte_of(NAME),
    "our name, no value": megabyte_of(NAME + b";"),
    "our name, one value": megabyte_of(NAME + b"=a;"),
    "our name, values": b";".join(NAME + b"=%d" % n for n in range(48_000)),
    "value": NAME + b"=" + megabyte_of(b"x"),
    "value of spaces": NAME + b"=" + megabyte_of(b" "),
    "login cookies": b";".join(PREFIX + b"%d=x" % n for n in range(36_000)),
    "one login cookie": megabyte_of(PREFIX + b"a=x;"),
    "login prefix": PREFIX + megabyte_of(b"x"),
    "login prefixes": megabyte_of(PREFIX),
    "long login ids": megabyte_of(b";" + PREFIX + b"x" * 64),
    "random": random.Random("cookies: a megabyte").randbytes(MEGABYTE),
}


@pytest.mark.parametrize("value", SLOW.values(), ids=SLOW.keys())
@pytest.mark.parametrize("read", [find, find_all])
def test_megabyte_is_read_in_linear_time(read, value):
    """What a header takes grows with its length, whatever it is made of."""
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


def test_more_cookies_of_ours_than_browsers_keep():
    """The session's name too often is a contradiction; of logins the first 200 count."""
    assert find(header(b";".join([NAME + b"=a"] * 200)), NAME) == b"a"
    assert find(header(b";".join([NAME + b"=a"] * 201)), NAME) is None
    sent = b";".join(PREFIX + b"%d=x" % number for number in range(300))
    assert len(find_all(header(sent), PREFIX)) == 200
    halves = [*header(sent[: len(sent) // 2]), *header(sent[len(sent) // 2 :])]
    assert len(find_all(halves, PREFIX)) == 200


@pytest.mark.parametrize("value", [b"", b";", b";;;", b" ; ;", b"=;=;=", b"\t"])
def test_separators_alone_are_no_cookie(value):
    """A header of separators holds nothing, and raises nothing."""
    assert find(header(value), NAME) is None
    assert find_all(header(value), PREFIX) == {}


# --- find_all ----------------------------------------------------------------------


def test_login_cookies_are_found_by_their_ids():
    """Every cookie whose name begins with the prefix is found, by the rest."""
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
    """What follows the prefix is an id of ours or the cookie is not."""
    assert find_all(header(PREFIX + rest + b"=x"), PREFIX) == {}


@pytest.mark.parametrize(
    "value", [b"", b"a b", b'"x"', b"\xff", b"x" * (COOKIE_LIMIT + 1)]
)
def test_login_cookie_with_an_unusable_value_is_empty(value):
    """A cookie under our name whose value is none is there, so that it can be deleted."""
    assert find_all(header(PREFIX + b"a=" + value), PREFIX) == {"a": b""}


def test_login_cookies_are_found_among_malformed_ones():
    """Malformed neighbours and further headers lose no login cookie."""
    found = find_all(
        header(b'x="; __Host-tiktok-login-a=1; =;', b"__Host-tiktok-login-b=2"), PREFIX
    )
    assert found == {"a": b"1", "b": b"2"}


# --- the session cookie ------------------------------------------------------------


def test_login_cookies_of_other_headers_are_none():
    """Only a Cookie header holds cookies, whatever stands in others."""
    assert find_all([(b"x-cookie", b"__Host-tiktok-login-a=x")], PREFIX) == {}


@pytest.mark.parametrize("join", [b"; ", b";"])
def test_two_values_of_a_login_cookie_are_empty(join):
    """A login cookie that is sent twice with different values has none; spaces apart."""
    twice = join.join([b"__Host-tiktok-login-a=x", b"__Host-tiktok-login-a=y"])
    assert find_all(header(twice), PREFIX) == {"a": b""}
    same = join.join([b"__Host-tiktok-login-a=xX", b"__Host-tiktok-login-a=xX\t"])
    assert find_all(header(same), PREFIX) == {"a": b"xX"}


def test_session_cookie_round_trips(jar):
    """A cookie we issued says the grant and the hash of its secret."""
    value, ticket = jar.issue(GRANT)
    assert jar.read(value.encode()) == ticket
    assert ticket.grant_id == GRANT


def test_session_cookie_is_short(jar):
    """Name and value together take at most 110 bytes of every request."""
    value, _ = jar.issue(GRANT)
    assert len(value) == SESSION_LENGTH
    assert len(f"{jar.session_name}={value}") <= 110


def test_session_cookie_may_be_set(jar):
    """What we issue passes our own writer."""
    value, _ = jar.issue(GRANT)
    assert jar.session(value, 60).header()[1].startswith(f"__Host-tiktok={value}; ")


def test_session_cookie_carries_nothing_of_the_user(jar):
    """Neither the open_id nor the client_key can be read out of a cookie."""
    raw = base64.urlsafe_b64decode(jar.issue(GRANT)[0].partition(".")[0])
    assert b"1111" not in raw
    assert b"aw" not in raw


def test_each_session_is_new(jar):
    """Two sessions of one user share the grant and nothing else."""
    one, other = jar.issue(GRANT), jar.issue(GRANT)
    assert one[0] != other[0]
    assert one[1].grant_id == other[1].grant_id
    assert one[1].digest != other[1].digest


def test_record_knows_only_the_hash(jar):
    """The digest is a SHA-256 of the secret, from which it can not be had."""
    value, ticket = jar.issue(GRANT)
    secret = base64.urlsafe_b64decode(value.partition(".")[0])[16:]
    assert len(secret) == 32
    hashed = base64.urlsafe_b64encode(hashlib.sha256(secret).digest()).rstrip(b"=")
    assert ticket.digest == digest(secret) == hashed.decode()


OTHER_BYTES = [bytes([n]) for n in range(256)]
GENUINE = SessionCookies("tiktok", [NEW], secure=True).issue(GRANT)[0].encode()


@pytest.mark.parametrize("place", range(SESSION_LENGTH))
def test_every_flip_of_a_session_cookie_is_refused(jar, place):
    """A session cookie with any one character changed to any other is not ours."""
    value = jar.issue(GRANT)[0].encode()
    assert jar.read(value)
    for byte in OTHER_BYTES:
        if byte != value[place : place + 1]:
            assert jar.read(value[:place] + byte + value[place + 1 :]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda v: b"",
        lambda v: v[:-1],
        lambda v: v[1:],
        lambda v: v + b"A",
        lambda v: b"A" + v,
        lambda v: v + b"=",
        lambda v: v[:64] + b".." + v[66:],
        lambda v: v.replace(b".", b""),
        lambda v: v.replace(b".", b"A"),
        lambda v: b"." * SESSION_LENGTH,
        lambda v: b"\x00" * SESSION_LENGTH,
        lambda v: b"\xff" * SESSION_LENGTH,
        lambda v: v[:65] + b"=" * 22,
        lambda v: v[:65] + b"A" * 22,
        lambda v: v[:64].lower() + v[64:],
        lambda v: v.swapcase(),
        lambda v: v[65:] + b"." + v[:64],
        lambda v: v * 1000,
    ],
    ids=range(18),
)
def test_other_spelling_is_refused(jar, change):
    """A cookie that is longer, shorter or written otherwise is not ours."""
    value = jar.issue(GRANT)[0].encode()
    assert jar.read(change(value)) is None


def test_longer_cookie_is_not_even_hashed():
    """A huge value is refused by its length, whatever number of keys there is."""
    keys = [bytes([number]) * 32 for number in range(20)]
    jar = SessionCookies("tiktok", keys, secure=True)
    value = b"A" * 16_000_000 + b"." + b"A" * 22
    assert jar.read(value) is None
    assert is_constant(jar.read, value)


def test_halves_of_two_cookies_are_refused(jar):
    """The body of one cookie with the MAC of another is not ours."""
    one, other = (jar.issue(GRANT)[0].encode() for _ in range(2))
    assert jar.read(one[:65] + other[65:]) is None


def test_cookie_of_another_key_is_refused(jar):
    """A cookie signed with a key that is not listed is not ours."""
    value, _ = SessionCookies("tiktok", [OLD], secure=True).issue(GRANT)
    assert jar.read(value.encode()) is None


def test_key_as_it_is_does_not_sign_for_the_session(jar):
    """A MAC made by hand over another message with our key is not a session."""
    body, _, mac = GENUINE.partition(b".")
    assert jar.read(body[::-1] + b"." + mac) is None


# --- rotation ----------------------------------------------------------------------


@pytest.mark.parametrize("key", [OLD, MIDDLE, NEW], ids=["oldest", "middle", "newest"])
def test_every_listed_key_verifies(key):
    """A cookie of any listed key is ours, the oldest too."""
    value, ticket = SessionCookies("tiktok", [key], secure=True).issue(GRANT)
    rotated = SessionCookies("tiktok", [NEW, MIDDLE, OLD], secure=True)
    assert rotated.read(value.encode()) == ticket


def test_newest_key_signs():
    """A new cookie verifies with the newest key alone, and with no other alone."""
    value, ticket = SessionCookies("tiktok", [NEW, MIDDLE, OLD], secure=True).issue(
        GRANT
    )
    verdicts = [
        SessionCookies("tiktok", [key], secure=True).read(value.encode())
        for key in (NEW, MIDDLE, OLD)
    ]
    assert verdicts == [ticket, None, None]


def test_removed_key_ends_its_cookies():
    """A cookie of a key that was taken off the list is quietly not ours."""
    value, _ = SessionCookies("tiktok", [OLD], secure=True).issue(GRANT)
    assert (
        SessionCookies("tiktok", [NEW, MIDDLE], secure=True).read(value.encode())
        is None
    )


# --- names -------------------------------------------------------------------------


def test_names_are_host_bound(jar):
    """Over https every name of ours binds the cookie to the host."""
    assert jar.session_name == "__Host-tiktok"
    assert jar.login("a", "x", 1).name == "__Host-tiktok-login-a"
    assert jar.session("x", 1).secure
    assert jar.login("a", "x", 1).secure


def test_names_on_loopback_lack_the_prefix():
    """Over plain http the prefix, which browsers would refuse, is left out."""
    jar = SessionCookies("tiktok", [NEW], secure=False)
    assert jar.session_name == "tiktok"
    assert jar.login("a", "x", 1).name == "tiktok-login-a"
    assert not jar.session("x", 1).secure


def test_session_name_is_no_login_name(jar):
    """The session cookie is not found among login cookies, nor the reverse."""
    both = header(b"__Host-tiktok=s; __Host-tiktok-login-a=l")
    assert find(both, jar.session_name.encode()) == b"s"
    assert find_all(both, jar.login_prefix.encode()) == {"a": b"l"}


def test_cookie_is_deleted_by_an_empty_value(jar):
    """The deleting cookie has the attributes of the one it deletes."""
    kept = jar.session("x", 60).header()[1].partition("; Max-Age=60")
    gone = jar.session("", 0).header()[1].partition("; Max-Age=0")
    assert (kept[0], gone[0]) == ("__Host-tiktok=x", "__Host-tiktok=")
    assert kept[2] == gone[2]


# --- grant ids ---------------------------------------------------------------------


def test_jar_shows_no_key(jar):
    """Neither the keys nor the signer's list of them print a key."""
    for shown in (repr, str, "{}".format):
        assert shown(jar._keys[0]) == "b'***'"
        assert repr(NEW)[2:-1] not in shown(jar._signer.secret_keys)


def test_grant_id_of_text_that_is_no_unicode():
    """An open_id with half a character in it has a name, and its own."""
    assert grant_id("k", "\ud800") not in (grant_id("k", "?"), grant_id("k", "\ud801"))


def test_grant_id_is_always_the_same():
    """A user of an app has one name, in every process."""
    assert grant_id("awexampleclientkey", "user") == grant_id(
        "awexampleclientkey", "user"
    )
    assert len(base64.urlsafe_b64decode(GRANT + "==")) == 16


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("k", "user"), ("k", "User")),
        (("k", "user"), ("k", "user ")),
        (("k", "e\u0301"), ("k", "\u00e9")),
        (("k", "u"), ("l", "u")),
        (("ab", "c"), ("a", "bc")),
        (("k", ""), ("", "k")),
    ],
)
def test_grant_id_is_byte_exact(one, other):
    """Users who differ in a byte, or apps that do, have different names."""
    assert grant_id(*one) != grant_id(*other)


def test_ticket_is_a_pair():
    """A ticket is the grant's name and the digest, in this order."""
    assert Ticket("g", "d") == ("g", "d")


# --- text --------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 47, 48, 49, 3000])
def test_bytes_round_trip_as_cookie_text(length):
    """Any bytes come back from the text that a cookie holds."""
    raw = random.Random(f"text {length}").randbytes(length)
    text = to_text(raw)
    assert from_text(text.encode()) == raw
    assert find(header(NAME + b"=" + text.encode()), NAME) in (text.encode(), None)


@pytest.mark.parametrize(
    "value",
    [
        b"A",
        b"AA=",
        b"AA==",
        b"AAA=",
        b"AB",
        b"AAB",
        b"A A",
        b"AA\n",
        b"A.",
        b"A+",
        b"A/",
    ]
    + [b"\xff", b"\x00", b"=", b"====", b"AAAAA", b"!!!!", b"A!A"],
    ids=repr,
)
def test_other_spelling_of_text_is_nothing(value):
    """Each value has one spelling: padding, spare bits and other letters are refused."""
    assert from_text(value) == b""

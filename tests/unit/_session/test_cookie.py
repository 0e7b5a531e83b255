"""The session cookie: signed with the newest key, verified with all, bound to
its app.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from tiktok_oauth_middleware._core.base64url import to_text
from tiktok_oauth_middleware._session.cookie import (
    SESSION_LENGTH,
    SessionCookies,
    Ticket,
)
from tiktok_oauth_middleware._session.record import digest, record_id
from tiktok_oauth_middleware._web.cookie_header import find, find_all

from ...support.cookie_headers import header
from ...support.growth import is_constant

OLD, MIDDLE, NEW = (bytes([n]) * 32 for n in (1, 2, 3))
RECORD_ID = record_id("awexampleclientkey", "11111111-2222-4333-8444-555555555555")


@pytest.fixture
def jar():
    return SessionCookies("tiktok", [NEW], secure=True)


def test_session_cookie_round_trips(jar):
    """Reading an issued cookie gives the record's id and the hash of the secret."""
    value, ticket = jar.issue(RECORD_ID)
    assert jar.read(value.encode()) == ticket
    assert ticket.record_id == RECORD_ID


def test_session_cookie_is_short(jar):
    """Name and value together have at most 110 bytes."""
    value, _ = jar.issue(RECORD_ID)
    assert len(value) == SESSION_LENGTH
    assert len(f"{jar.session_name}={value}") <= 110


def test_session_cookie_may_be_set(jar):
    """The cookie writer accepts an issued session cookie."""
    value, _ = jar.issue(RECORD_ID)
    assert jar.session(value, 60).header()[1].startswith(f"__Host-tiktok={value}; ")


def test_session_cookie_carries_nothing_of_the_user(jar):
    """A cookie contains neither the open_id nor the client_key."""
    raw = base64.urlsafe_b64decode(jar.issue(RECORD_ID)[0].partition(".")[0])
    assert b"1111" not in raw
    assert b"aw" not in raw


def test_mac_is_an_hmac(jar):
    """The MAC is the first half of HMAC-SHA256 with the newest key."""
    body, _, mac = jar.issue(RECORD_ID)[0].partition(".")
    whole = hmac.digest(NEW, body.encode(), "sha256")
    assert mac == to_text(whole[:16])
    assert jar.read(f"{body}.{mac}".encode()) is not None


def test_each_session_is_new(jar):
    """Two sessions of one user share only the record's id."""
    one, other = jar.issue(RECORD_ID), jar.issue(RECORD_ID)
    assert one[0] != other[0]
    assert one[1].record_id == other[1].record_id
    assert one[1].digest != other[1].digest


def test_record_contains_only_the_hash(jar):
    """The record has only the SHA-256 digest of the secret."""
    value, ticket = jar.issue(RECORD_ID)
    secret = base64.urlsafe_b64decode(value.partition(".")[0])[16:]
    assert len(secret) == 32
    hashed = base64.urlsafe_b64encode(hashlib.sha256(secret).digest()).rstrip(b"=")
    assert ticket.digest == digest(secret) == hashed.decode()


OTHER_BYTES = [bytes([n]) for n in range(256)]
GENUINE = SessionCookies("tiktok", [NEW], secure=True).issue(RECORD_ID)[0].encode()


@pytest.mark.parametrize("place", range(SESSION_LENGTH))
def test_every_flip_of_a_session_cookie_is_refused(jar, place):
    """A session cookie with any character changed is refused."""
    value = jar.issue(RECORD_ID)[0].encode()
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
    """A cookie that is longer, shorter or spelled differently is refused."""
    value = jar.issue(RECORD_ID)[0].encode()
    assert jar.read(change(value)) is None


def test_longer_cookie_is_not_even_hashed():
    """A huge value is refused by its length, before any key is tried."""
    keys = [bytes([number]) * 32 for number in range(20)]
    jar = SessionCookies("tiktok", keys, secure=True)
    value = b"A" * 16_000_000 + b"." + b"A" * 22
    assert jar.read(value) is None
    assert is_constant(jar.read, value)


def test_halves_of_two_cookies_are_refused(jar):
    """The body of one cookie with the MAC of another is refused."""
    one, other = (jar.issue(RECORD_ID)[0].encode() for _ in range(2))
    assert jar.read(one[:65] + other[65:]) is None


def test_cookie_of_another_key_is_refused(jar):
    """A cookie signed with a key that is not listed is refused."""
    value, _ = SessionCookies("tiktok", [OLD], secure=True).issue(RECORD_ID)
    assert jar.read(value.encode()) is None


def test_mac_over_another_message_is_refused(jar):
    """A MAC with our key over another message is not accepted as a session."""
    body, _, mac = GENUINE.partition(b".")
    assert jar.read(body[::-1] + b"." + mac) is None


# --- rotation ----------------------------------------------------------------------


@pytest.mark.parametrize("key", [OLD, MIDDLE, NEW], ids=["oldest", "middle", "newest"])
def test_every_listed_key_verifies(key):
    """A cookie of any listed key verifies, even of the oldest."""
    value, ticket = SessionCookies("tiktok", [key], secure=True).issue(RECORD_ID)
    rotated = SessionCookies("tiktok", [NEW, MIDDLE, OLD], secure=True)
    assert rotated.read(value.encode()) == ticket


def test_newest_key_signs():
    """A new cookie verifies only with the newest key."""
    value, ticket = SessionCookies("tiktok", [NEW, MIDDLE, OLD], secure=True).issue(
        RECORD_ID
    )
    verdicts = [
        SessionCookies("tiktok", [key], secure=True).read(value.encode())
        for key in (NEW, MIDDLE, OLD)
    ]
    assert verdicts == [ticket, None, None]


def test_removed_key_ends_its_cookies():
    """A cookie of a removed key is ignored without an error."""
    value, _ = SessionCookies("tiktok", [OLD], secure=True).issue(RECORD_ID)
    assert (
        SessionCookies("tiktok", [NEW, MIDDLE], secure=True).read(value.encode())
        is None
    )


# --- names -------------------------------------------------------------------------


def test_names_are_host_bound(jar):
    """Over https the names of all our cookies bind them to the host."""
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


def test_session_name_is_not_a_login_name(jar):
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


def test_jar_shows_no_key(jar):
    """The repr of the session's cookies and of its signer shows no key."""
    for shown in (repr, str, "{}".format):
        assert repr(NEW)[2:-1] not in shown(jar._macs)
        assert repr(NEW)[2:-1] not in shown(jar._signer.secret_keys)


def test_ticket_is_a_pair():
    """A ticket is the record's id and the digest, in this order."""
    assert Ticket("g", "d") == ("g", "d")


@pytest.mark.parametrize("secure", [True, False])
def test_cookies_beside_the_session(secure):
    """The cookies for an account choice and for carried data can be set and deleted."""
    cookies = SessionCookies("tiktok", [NEW], secure=secure)
    prefix, end = ("__Host-", "; Secure") if secure else ("", "")
    fixed = "Path=/; HttpOnly; SameSite=Lax" + end
    for cookie, written in (
        (cookies.choose(60), "tiktok-choose=1; Max-Age=60"),
        (cookies.choose(0), "tiktok-choose=; Max-Age=0"),
        (cookies.carry("an-id", 60), "tiktok-carry=an-id; Max-Age=60"),
        (cookies.carry("", 0), "tiktok-carry=; Max-Age=0"),
    ):
        assert cookie.header() == ("set-cookie", f"{prefix}{written}; {fixed}")

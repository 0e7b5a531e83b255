"""What we write in cookies, how we read a header, and how we know a cookie is ours.

A Cookie header is read as bytes by one strict rule: parts end at ``;``, trim spaces and
tabs, compare the name byte for byte, take the value only if it is made of what a
cookie may contain. Parsers that unquote, decode or strip Unicode spaces accept
spoofed names, lose genuine cookies next to malformed ones, or take seconds
(CVE-2024-7592).

The session cookie is 48 random-looking bytes, which name the user's grant and carry
the browser's 256-bit secret, and a MAC. The secret is what signs somebody in; the MAC
only keeps a cookie that is not ours from reaching the store, so 128 bits of it are
plenty (RFC 2104 section 5).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from itsdangerous import Signer
from itsdangerous.encoding import base64_encode
from itsdangerous.signer import HMACAlgorithm

from .http import COOKIE_LIMIT, Cookie, Headers

_ID_BYTES = 16
_SECRET_BYTES = 32
_MAC_BYTES = 16
#: Length of every session cookie's value: 64 + "." + 22 characters.
SESSION_LENGTH = 87

_SPACE = 0x20
#: Longest Cookie header that is searched for several cookies, in bytes, and how often a
#: name of ours may stand in one.
_LONGEST_HEADER = 64 * 1024
_MOST_NAMES = 200
_VALUE = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")


class Ticket(NamedTuple):
    """What a genuine session cookie says: which grant, and the hash of its secret."""

    grant_id: str
    digest: str


class _Key(bytes):
    """A signing key that does not print itself: the signer keeps a plain list."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"

    __str__ = __repr__


class _ShortMac(HMACAlgorithm):
    """HMAC-SHA256 cut to 128 bits: 22 characters instead of 43 in every request."""

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        return _mac(key, value)


def _mac(key: bytes, value: bytes) -> bytes:
    # In one call of OpenSSL: 1 us, and 3 through an object of `hmac`.
    return hmac.digest(key, value, "sha256")[:_MAC_BYTES]


def grant_id(client_key: str, open_id: str) -> str:
    """Return the name of a user's grant: the same always, telling nothing by itself."""
    text = f"{client_key}\x00{open_id}"
    named = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return _text(named[:_ID_BYTES])


def digest(secret: bytes) -> str:
    """Return the hash by which a session's secret, random and so unsalted, is known."""
    return _text(hashlib.sha256(secret).digest())


class CookieJar:
    """The names of our cookies, and the making and checking of the session's."""

    def __init__(self, name: str, keys: Sequence[bytes], *, secure: bool) -> None:
        """Take the derived keys, newest first; `secure` only False on loopback."""
        prefix = "__Host-" if secure else ""
        self.secure = secure
        self.session_name = f"{prefix}{name}"
        self.login_prefix = f"{prefix}{name}-login-"
        #: Says that the next login lets its person choose the account.
        self.choose_name = f"{prefix}{name}-choose"
        self._keys = tuple(map(_Key, keys))
        # The newest key signs; it is derived already.
        self._signer = Signer(
            self._keys[0],
            salt=b"session",
            sep=".",
            key_derivation="none",
            algorithm=_ShortMac(hashlib.sha256),
        )

    def issue(self, grant: str) -> tuple[str, Ticket]:
        """Return a new session cookie's value for a grant, and what it says."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        body = _text(_bytes(grant) + secret)
        return self._signer.sign(body).decode(), Ticket(grant, digest(secret))

    def read(self, value: bytes) -> Ticket | None:
        """Return what a session cookie says, or None if we did not write it."""
        if len(value) != SESSION_LENGTH:  # before anything is hashed
            return None
        signed, _, mac = value.rpartition(b".")
        # As text: bytes have four spellings, by the spare bits of the last character.
        # (`Signer.unsign` takes all four, and three times as long: 2 us against 6.)
        if not any(
            hmac.compare_digest(base64_encode(_mac(key, signed)), mac)
            for key in self._keys
        ):
            return None
        body = base64.urlsafe_b64decode(signed)
        return Ticket(_text(body[:_ID_BYTES]), digest(body[_ID_BYTES:]))

    def session(self, value: str, max_age: int) -> Cookie:
        """Return the session cookie to set; an empty value deletes it."""
        return Cookie(
            name=self.session_name, value=value, max_age=max_age, secure=self.secure
        )

    def choose(self, max_age: int) -> Cookie:
        """Return the cookie that lets the next login ask for the account; 0 deletes."""
        value = "1" if max_age else ""
        return Cookie(
            name=self.choose_name, value=value, max_age=max_age, secure=self.secure
        )

    def login(self, login_id: str, value: str, max_age: int) -> Cookie:
        """Return the cookie of one login under way; an empty value deletes it."""
        return Cookie(
            name=self.login_prefix + login_id,
            value=value,
            max_age=max_age,
            secure=self.secure,
        )


def find(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of the cookie `name`, or None.

    Two different values under one name are a contradiction, and none is believed.
    """
    found, start = None, name + b"="
    for key, header in headers:
        if key == b"cookie":
            found = value_of(header.partition(start), found)
    return found if found is not None and _is_value(found) else None


def value_of(parts: tuple[bytes, bytes, bytes], before: bytes | None) -> bytes | None:
    """Return the value of one cookie in a Cookie header that may hold it, or None.

    What the value is made of is not looked at. Searching for the name costs a sixth of
    what an expression over the header does (0.3 against 2 us), and a request pays it.

    Args:
        parts: the header, partitioned at the cookie's name and "=".
        before: what an earlier Cookie header of the request gave. Two different values
            under one name come out as b"", which is no cookie of ours.
    """
    left, start, rest = parts
    if not start:
        return before
    value, _, others = rest.partition(b";")
    # One cookie, behind "; " or nothing and with no space behind it, as browsers write
    # it, takes the fewest steps.
    if (
        before is None
        and (not left or left[-2:] == b"; ")
        and (not others or others.find(start) < 0)  # half the time of "in"
        and value
        and value[-1] > _SPACE
    ):
        return value
    return _value_among(b"".join(parts), start, before)


def _value_among(header: bytes, start: bytes, before: bytes | None) -> bytes | None:
    """Return what `value_of` does, of any header.

    A header in which the name stands more often than `_MOST_NAMES` is no browser's: it
    counts as a contradiction, and is not read on.
    """
    value, last, at, names = before, 0, header.find(start), 0
    while at >= 0 and value != b"":  # a contradiction stays one
        names += 1
        if names > _MOST_NAMES:
            return b""
        end = header.find(b";", at)
        end = end if end >= 0 else len(header)
        # A cookie begins with the header, or behind a semicolon and whatever spaces.
        # Nothing before `last` is looked at again.
        if not header[header.rfind(b";", last, at) + 1 : at].strip(b" \t"):
            found = header[at + len(start) : end].rstrip(b" \t")
            value = found if value is None or value == found else b""
        last, at = end, header.find(start, end)
    return value


def find_all(headers: Headers, prefix: bytes) -> dict[str, bytes]:
    """Return the cookies whose names begin with `prefix`, by the rest of the name.

    What is sent twice with different values, or holds what no cookie may, is b"". No
    more is read than `_LONGEST_HEADER` bytes and `_MOST_NAMES` cookies: a browser keeps
    180 for one host (Chromium), and most servers take 8 to 64 kB of headers.
    """
    found: dict[bytes, bytes] = {}
    # One expression over the header as it came: 64 kB of separators takes it 1 ms, and
    # splitting at each of them 30.
    pattern, left = _pattern(prefix), _MOST_NAMES
    for key, header in headers:
        if key == b"cookie" and len(header) <= _LONGEST_HEADER and prefix in header:
            matches = [*islice(pattern.finditer(header), left)]
            left -= len(matches)
            for rest, raw in (match.groups() for match in matches):
                value = raw.rstrip(b" \t")
                if found.setdefault(rest, value) != value:
                    found[rest] = b""
    return {
        rest.decode(): value if _is_value(value) else b""
        for rest, value in found.items()
    }


@lru_cache(maxsize=64)
def _pattern(prefix: bytes) -> re.Pattern[bytes]:
    rest = rb"([A-Za-z0-9_-]{1,64})=([^;]*)"
    return re.compile(rb"(?:^|;)[ \t]*" + re.escape(prefix) + rest)


def _is_value(value: bytes) -> bool:
    return len(value) <= COOKIE_LIMIT and _VALUE.fullmatch(value) is not None


def to_text(sealed: bytes) -> str:
    """Return bytes in the alphabet that a cookie may hold."""
    return _text(sealed)


def from_text(value: bytes) -> bytes:
    """Return the bytes that `to_text` wrote; b"" for any other spelling."""
    # Of the other alphabet, at which CPython 3.15 warns: anybody can send them.
    if b"+" in value or b"/" in value:
        return b""
    try:
        found = base64.urlsafe_b64decode(value + b"=" * (-len(value) % 4))
    except ValueError:
        return b""
    return found if _text(found).encode() == value else b""


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

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
import re
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.signer import HMACAlgorithm

from .http import COOKIE_LIMIT, Cookie, Headers

_ID_BYTES = 16
_SECRET_BYTES = 32
_MAC_BYTES = 16
#: Length of every session cookie's value: 64 + "." + 22 characters.
SESSION_LENGTH = 87

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
        return super().get_signature(key, value)[:_MAC_BYTES]


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
        # Oldest first here: the last key signs, all verify. Derived already.
        self._signer = Signer(
            [_Key(key) for key in reversed(keys)],
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
        try:
            body = base64_decode(self._signer.unsign(value))
            mac = value.rpartition(b".")[2]
            # The last character of a MAC has spare bits: take the one spelling only.
            if base64_encode(base64_decode(mac)) != mac:
                return None
        except (BadData, ValueError):
            return None
        return Ticket(_text(body[:_ID_BYTES]), digest(body[_ID_BYTES:]))

    def session(self, value: str, max_age: int) -> Cookie:
        """Return the session cookie to set; an empty value deletes it."""
        return Cookie(
            name=self.session_name, value=value, max_age=max_age, secure=self.secure
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
    pattern, found = _pattern(name, b""), None
    for key, header in headers:
        if key == b"cookie" and name in header:
            for raw in pattern.findall(header):
                value = raw.strip(b" \t")
                if found is not None and found != value:
                    return None
                found = value
    return found if found is not None and _is_value(found) else None


def finder(name: bytes) -> Callable[[bytes], list[bytes]]:
    """Return what finds every value under `name` in one Cookie header, unchecked.

    Good for a look into a table of values that were checked, and for nothing else.
    """
    return _pattern(name, b"").findall


def find_all(headers: Headers, prefix: bytes) -> dict[str, bytes]:
    """Return the cookies whose names begin with `prefix`, by the rest of the name.

    What is sent twice with different values, or holds what no cookie may, is b"".
    """
    found: dict[bytes, bytes] = {}
    # One expression over the header as it came: a megabyte of separators takes it
    # 15 ms, and splitting at each of them half a second.
    pattern = _pattern(prefix, b"([A-Za-z0-9_-]{1,64})")
    for key, header in headers:
        if key == b"cookie" and prefix in header:
            for rest, raw in pattern.findall(header):
                value = raw.strip(b" \t")
                if found.setdefault(rest, value) != value:
                    found[rest] = b""
    return {
        rest.decode(): value if _is_value(value) else b""
        for rest, value in found.items()
    }


@lru_cache(maxsize=64)
def _pattern(name: bytes, rest: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|;)[ \t]*" + re.escape(name) + rest + b"=([^;]*)")


def _is_value(value: bytes) -> bool:
    return len(value) <= COOKIE_LIMIT and _VALUE.fullmatch(value) is not None


def to_text(sealed: bytes) -> str:
    """Return bytes in the alphabet that a cookie may hold."""
    return _text(sealed)


def from_text(value: bytes) -> bytes:
    """Return the bytes that `to_text` wrote; b"" for any other spelling."""
    try:
        found = base64.urlsafe_b64decode(value + b"=" * (-len(value) % 4))
    except ValueError:
        return b""
    return found if _text(found).encode() == value else b""


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

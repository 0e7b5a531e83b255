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
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from itsdangerous import Signer
from itsdangerous.encoding import base64_encode
from itsdangerous.signer import HMACAlgorithm

from tiktok_oauth_middleware._core.http import Cookie

_ID_BYTES = 16
_SECRET_BYTES = 32
_MAC_BYTES = 16
#: Length of every session cookie's value: 64 + "." + 22 characters.
SESSION_LENGTH = 87


class Ticket(NamedTuple):
    """What a genuine session cookie says: which grant, and the hash of its secret."""

    record_id: str
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


def record_id(client_key: str, open_id: str) -> str:
    """Return the name of a user's grant: the same always, telling nothing by itself."""
    text = f"{client_key}\x00{open_id}"
    named = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return _text(named[:_ID_BYTES])


def digest(secret: bytes) -> str:
    """Return the hash by which a session's secret, random and so unsalted, is known."""
    return _text(hashlib.sha256(secret).digest())


class SessionCookies:
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

    def issue(self, record: str) -> tuple[str, Ticket]:
        """Return a new session cookie's value for a grant, and what it says."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        body = _text(_bytes(record) + secret)
        return self._signer.sign(body).decode(), Ticket(record, digest(secret))

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

"""The cookies that the middleware sets: their names, and the session cookie's value.

The session cookie holds 48 bytes and a MAC. The bytes are the id of the user's record
and the browser's 256-bit secret, and look random. The secret authenticates the browser;
the MAC only keeps forged cookies from reaching the store, so 128 bits of it are enough
(RFC 2104 section 5).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from itsdangerous import Signer
from itsdangerous.signer import HMACAlgorithm

from tiktok_oauth_middleware._core.base64url import (
    TO_STANDARD,
    encode,
    from_text,
    to_text,
)
from tiktok_oauth_middleware._core.http import Cookie

from .record import ID_BYTES, digest

_SECRET_BYTES = 32
_MAC_BYTES = 16
#: Of SHA-256.
_BLOCK_BYTES = 64
#: Length of every session cookie's value: 64 + "." + 22 characters.
SESSION_LENGTH = 87
#: Length of the value of the cookie that binds links to a browser: 16 bytes.
CARRY_LENGTH = 22


class Ticket(NamedTuple):
    """The content of a genuine session cookie: record id, and hash of its secret."""

    record_id: str
    digest: str


class _SigningKey(bytes):
    """A signing key whose repr is masked: the signer keeps keys in a plain list."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"

    __str__ = __repr__


class _ShortMac(HMACAlgorithm):
    """HMAC-SHA256 truncated to 128 bits: 22 characters per request instead of 43."""

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        """Return the first half of the MAC."""
        return hmac.digest(key, value, "sha256")[:_MAC_BYTES]


def _mac_states(key: bytes) -> tuple[Any, Any]:
    """Return the states of an HMAC's two hashes after its key (RFC 2104 section 4).

    More than half of an HMAC's work depends only on its key. Copies of `hmac.new(key)`
    save that work too, but take 1.4 times as many instructions as copies of the two
    hashes.
    """
    block = key.ljust(_BLOCK_BYTES, b"\x00")
    return (
        hashlib.sha256(bytes(byte ^ 0x36 for byte in block)),
        hashlib.sha256(bytes(byte ^ 0x5C for byte in block)),
    )


class SessionCookies:
    """Names the cookies, and issues and verifies the session cookie."""

    def __init__(self, name: str, keys: Sequence[bytes], *, secure: bool) -> None:
        """Take derived keys, the newest first; `secure` is False on loopback only."""
        prefix = "__Host-" if secure else ""
        self.secure = secure
        self.session_name = f"{prefix}{name}"
        self.login_prefix = f"{prefix}{name}-login-"
        #: With this cookie, the next login lets the person choose an account.
        self.choose_name = f"{prefix}{name}-choose"
        #: Links that carry data through a login are bound to the id in this cookie.
        self.carry_name = f"{prefix}{name}-carry"
        self._macs = tuple(_mac_states(key) for key in keys)
        # The newest key signs; it has already been derived.
        self._signer = Signer(
            _SigningKey(keys[0]),
            salt=b"session",
            sep=".",
            key_derivation="none",
            algorithm=_ShortMac(hashlib.sha256),
        )

    def issue(self, record: str) -> tuple[str, Ticket]:
        """Return a new session cookie's value for a record, and its content."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        body = to_text(from_text(record.encode()) + secret)
        return self._signer.sign(body).decode(), Ticket(record, digest(secret))

    def read(self, value: bytes) -> Ticket | None:
        """Return the content of a session cookie, or None if it is not genuine."""
        if len(value) != SESSION_LENGTH:  # before anything is hashed
            return None
        signed, _, mac = value.rpartition(b".")
        # `Signer.unsign` would take three times as long, 6 us against 2, which a forged
        # cookie would cost at each request. It also accepts four spellings of a MAC,
        # since it ignores the spare bits of the last character.
        for inner_state, outer_state in self._macs:
            inner, outer = inner_state.copy(), outer_state.copy()
            inner.update(signed)
            outer.update(inner.digest())
            if hmac.compare_digest(encode(outer.digest()[:_MAC_BYTES]), mac):
                break
        else:
            return None
        body = binascii.a2b_base64(signed.translate(TO_STANDARD))
        return Ticket(to_text(body[:ID_BYTES]), digest(body[ID_BYTES:]))

    def accepts(self, other: SessionCookies) -> bool:
        """Whether cookies that another middleware issues are genuine here."""
        value, _ = other.issue(to_text(bytes(ID_BYTES)))
        return self.read(value.encode()) is not None

    def session(self, value: str, max_age: int) -> Cookie:
        """Return the session cookie to set; an empty value deletes it."""
        return Cookie(self.session_name, value, max_age, self.secure)

    def choose(self, max_age: int) -> Cookie:
        """Return the cookie that lets a person choose the account; 0 deletes it."""
        value = "1" if max_age else ""
        return Cookie(self.choose_name, value, max_age, self.secure)

    def carry(self, browser_id: str, max_age: int) -> Cookie:
        """Return the cookie that binds links to a browser; "" and 0 delete it."""
        return Cookie(self.carry_name, browser_id, max_age, self.secure)

    def login(self, slot: str, value: str, max_age: int) -> Cookie:
        """Return the cookie of one login slot; an empty value deletes it."""
        return Cookie(self.login_prefix + slot, value, max_age, self.secure)

"""Tokens at rest: authenticated encryption, one key for each purpose, rotation.

AES-256-GCM with the purpose and the record's own name as associated data: a value
that is moved to another name, or used for another purpose, does not open. Fernet
has no associated data, so with it anyone who can write to the store could exchange
the records of two users.

Layout: version byte, 4-byte key id, 12-byte random nonce, ciphertext with tag. Every
kind of tampering, and a key that is no longer listed, give the same answer: None.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_SEAL_VERSION: Final = b"\x01"
_ID_END: Final = 5
_NONCE_END: Final = 17
_SHORTEST_SEALED: Final = _NONCE_END + 16


def derive(secret_key: str, client_key: str, purpose: str, length: int = 32) -> bytes:
    """Return the key for one purpose of one TikTok app (HKDF-SHA256, RFC 5869).

    HKDF does not stretch passwords: `secret_key` must be random already.
    """
    info = f"tiktok_oauth_middleware/1/{purpose}/{client_key}".encode()
    return HKDF(hashes.SHA256(), length, salt=None, info=info).derive(
        secret_key.encode()
    )


class Box:
    """Seals bytes for one purpose, and opens them under the same name."""

    def __init__(
        self, secret_keys: Sequence[str], client_key: str, purpose: str
    ) -> None:
        """Derive the keys. The first, the newest, seals; each of them opens."""
        self._purpose = purpose.encode() + b"\x00"
        self._keys = {
            derive(key, client_key, f"{purpose}/id", 4): AESGCM(
                derive(key, client_key, purpose)
            )
            for key in reversed(secret_keys)
        }
        self._newest = derive(secret_keys[0], client_key, f"{purpose}/id", 4)

    def seal(self, plain: bytes, name: str) -> bytes:
        """Return `plain` sealed under `name` with the newest key."""
        nonce = os.urandom(12)
        sealed = self._keys[self._newest].encrypt(nonce, plain, self._bound(name))
        return b"".join((_SEAL_VERSION, self._newest, nonce, sealed))

    def open(self, sealed: bytes, name: str) -> bytes | None:
        """Return the bytes that were sealed under `name`, or None."""
        if len(sealed) < _SHORTEST_SEALED or sealed[:1] != _SEAL_VERSION:
            return None
        key = self._keys.get(sealed[1:_ID_END])
        if key is None:
            return None
        nonce, rest = sealed[_ID_END:_NONCE_END], sealed[_NONCE_END:]
        try:
            return key.decrypt(nonce, rest, self._bound(name))
        except InvalidTag:
            return None

    def open_each(
        self, sealed: Iterable[tuple[str, bytes]]
    ) -> Iterator[tuple[str, bytes, bytes | None]]:
        """Yield names and sealed bytes, each with what `open` would return.

        One decrypted text is in memory at a time.
        """
        # Local names: calling `open` for each of very many values takes longer.
        start, keys, bound = _SEAL_VERSION, self._keys, _SEAL_VERSION + self._purpose
        for name, each in sealed:
            key = keys.get(each[1:_ID_END])
            if key is None or each[:1] != start or len(each) < _SHORTEST_SEALED:
                yield name, each, None
                continue
            try:
                opened = key.decrypt(
                    each[_ID_END:_NONCE_END], each[_NONCE_END:], bound + name.encode()
                )
            except InvalidTag:
                yield name, each, None
            else:
                yield name, each, opened

    def _bound(self, name: str) -> bytes:
        return _SEAL_VERSION + self._purpose + name.encode()

"""Request targets as a client may write them: bytes, and the headers sent with them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote_from_bytes

#: The paths of protected views and files; see `apps`.
PROTECTED = (
    "/members/list",
    "/members/of/anything",
    "/members",
    "/files/secret/page.txt",
    "/straße/list",
)
_PUBLIC = ("/open", "/open/x", "/members/open", "/files/open")

#: Mount points that clients claim in headers.
_MADE_UP = ("/x", "/members", "/auth", "/open", "/files")

_BYTES = [bytes([number]) for number in range(256)]
#: Text that some program drops, truncates at, joins, or reads as a slash or a dot.
_PIECES = [
    *_BYTES,
    b"\xe2\x82",  # the beginning of a character
    b"\xc0\xaf",  # a slash, longer than UTF-8 allows
    b"\xc0\xae",
    b"\xef\xbf\xbd",  # U+FFFD itself
    b"\xed\xa0\x80",  # a surrogate
    *(char.encode() for char in "\u2024\u2025\uff0e\uff0f\u2215\u200b\u00ad\ufeff"),
    b"//",
    b"///",
    b"/./",
    b"/../",
    b"/x/../",
    b"\\",
    b"/.;/",
    b"/..;/",
    b";x=y",
    b";/",
    b"?",
    b"#",
    b".",
    b"..",
    b" ",
    b"%",
    b"%2f",
    b"%2F",
    b"%5c",
    b"%2e",
    b"%2e%2e/",
    b"%00",
    b"%0a",
    b"%20",
    b"%252f",
    b"%c0%af",
    b"%u002f",
]


class Target(NamedTuple):
    """A request target, and the prefix that a client claims in headers."""

    raw: bytes
    claimed: str = ""


def targets(count: int, seed: int, prefixes: tuple[str, ...]) -> Iterator[Target]:
    """Return the plain paths, each with each piece at its end, and random targets.

    Args:
        count: the number of random targets.
        seed: the same one makes the same targets.
        prefixes: mount points that precede some of the targets.
    """
    chance = random.Random(seed)
    for path in PROTECTED:
        for prefix in ("", *prefixes):
            yield Target(_quoted((prefix + path).encode()))
            yield Target(_quoted((prefix + path.upper()).encode()))
            yield Target(_quoted((prefix + path.title()).encode()))
    for path in PROTECTED:
        for prefix in (*_MADE_UP, *prefixes):
            yield Target(_quoted((prefix + path).encode()), prefix)
            yield Target(_quoted(path.encode()), prefix)
    for _ in range(count):
        yield _random(chance, prefixes)


def _random(chance: random.Random, prefixes: tuple[str, ...]) -> Target:
    path = chance.choice(PROTECTED)
    raw = path.encode()
    if chance.random() < 0.15:
        up = chance.choice((b"/..", b"/../..", b""))
        raw = chance.choice(_PUBLIC).encode() + up + raw
    if chance.random() < 0.2:
        raw = _recased(chance, raw)
    if chance.random() < 0.1:
        slashes = [i for i, byte in enumerate(raw) if byte == 0x2F]
        at = chance.choice(slashes)
        raw = raw[:at] + raw[at + 1 :]
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        at = chance.randrange(len(raw) + 1)
        if chance.random() < 0.3:  # next to a slash, where it has the most effect
            slashes = [i for i, byte in enumerate(raw) if byte == 0x2F] or [0]
            at = chance.choice(slashes) + chance.randrange(2)
        raw = raw[:at] + chance.choice(_PIECES) + raw[at:]
    claimed = ""
    if chance.random() < 0.3:
        prefix = chance.choice((*_MADE_UP, *prefixes))
        if chance.random() < 0.7:
            raw = prefix.encode() + raw
        claimed = prefix if chance.random() < 0.7 else ""
    if chance.random() < 0.05:
        raw = chance.choice((b"http://app.example.com", b"//app.example.com")) + raw
    if chance.random() < 0.03:
        raw = raw.lstrip(b"/")
    return Target(_encoded(chance, raw), claimed)


def _recased(chance: random.Random, raw: bytes) -> bytes:
    change = chance.choice((bytes.upper, bytes.title, bytes.swapcase))
    if chance.random() < 0.5:
        return change(raw)
    at = chance.randrange(len(raw))
    return raw[:at] + raw[at : at + 1].upper() + raw[at + 1 :]


def _quoted(raw: bytes) -> bytes:
    return quote_from_bytes(raw, safe="/").encode()


def _encoded(chance: random.Random, raw: bytes) -> bytes:
    """Return bytes as a target: invalid ones percent-encoded, and others at random."""
    share = chance.choice((0.0, 0.0, 0.1, 1.0))
    text = b"".join(
        b"%%%02X" % byte
        if byte <= 0x20 or byte >= 0x7F or (byte != 0x2F and chance.random() < share)
        else bytes([byte])
        for byte in raw
    )
    return text.replace(b"%", b"%25") if chance.random() < 0.1 else text

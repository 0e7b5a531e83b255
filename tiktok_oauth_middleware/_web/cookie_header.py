"""A strict reader of the Cookie header, which works on bytes.

Parts end at ``;``; spaces and tabs are trimmed; the name is compared byte for byte; a
value counts only if all its characters are allowed in a cookie. Parsers that unquote,
decode or strip Unicode spaces accept spoofed names, lose genuine cookies next to
malformed ones, or take seconds (CVE-2024-7592).
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice

from tiktok_oauth_middleware._core.http import COOKIE_LIMIT, Headers

_SPACE = 0x20
#: Longest Cookie header that is searched for several cookies, in bytes.
_LONGEST_COOKIE_HEADER = 64 * 1024
#: How often one of our names may appear in a Cookie header.
_MOST_NAMES = 200
_VALUE = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")


def find(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of the cookie `name`, or None.

    If one name has two different values, neither counts.
    """
    found, start = None, name + b"="
    for key, header in headers:
        if key == b"cookie":
            found = value_of(header.partition(start), found)
    return found if found is not None and _is_value(found) else None


def value_of(parts: tuple[bytes, bytes, bytes], before: bytes | None) -> bytes | None:
    """Return the value of one cookie in a Cookie header that may hold it, or None.

    The characters of the value are not checked. Searching for the name takes a sixth of
    the time of a regular expression (0.3 against 2 us), which every request pays.

    Args:
        parts: the header, partitioned at the cookie's name and "=".
        before: the value in an earlier Cookie header of the request. Two different
            values under one name give b"", which is not a cookie of ours.
    """
    left, start, rest = parts
    if not start:
        return before
    value, _, others = rest.partition(b";")
    # Fast path: one cookie as browsers write it, at the beginning or after "; ",
    # without a space at its end.
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
    """Return the result of `value_of` for a header of any form.

    A header with the name more often than `_MOST_NAMES` is not from a browser: it
    counts as a contradiction, and is not read further.
    """
    value, last, at, names = before, 0, header.find(start), 0
    while at >= 0 and value != b"":  # a contradiction stays one
        names += 1
        if names > _MOST_NAMES:
            return b""
        end = header.find(b";", at)
        end = end if end >= 0 else len(header)
        # A cookie begins at the start of the header, or after a semicolon and any
        # spaces. Nothing before `last` is read again.
        if not header[header.rfind(b";", last, at) + 1 : at].strip(b" \t"):
            found = header[at + len(start) : end].rstrip(b" \t")
            value = found if value is None or value == found else b""
        last, at = end, header.find(start, end)
    return value


def find_all(headers: Headers, prefix: bytes) -> dict[str, bytes]:
    """Return the cookies whose names begin with `prefix`, by the rest of the name.

    A cookie that is sent twice with different values, or has a character that no cookie
    may have, is b"". No more than `_LONGEST_COOKIE_HEADER` bytes and `_MOST_NAMES`
    cookies are read: a browser keeps 180 for one host (Chromium), and most servers
    accept 8 to 64 kB of headers.
    """
    found: dict[bytes, bytes] = {}
    # One expression over the header as it came: 64 kB of separators take 1 ms, and 30
    # ms if the header is split at each of them.
    left = _MOST_NAMES
    for key, header in headers:
        if (
            key == b"cookie"
            and len(header) <= _LONGEST_COOKIE_HEADER
            and prefix in header
        ):
            matches = [*islice(_pattern(prefix).finditer(header), left)]
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

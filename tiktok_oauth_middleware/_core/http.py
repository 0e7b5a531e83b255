"""HTTP with neither ASGI nor WSGI in it: Request, Response, Cookie, and their rules.

The shells translate to and from these. A request keeps its raw bytes; each rule below
reads the header it needs and decides. Nothing here looks at Forwarded or any X- header
that names another URL, and Host proves nothing: a client writes those as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

Headers = Sequence[tuple[bytes, bytes]]

#: Longest query that is read at all, in bytes.
QUERY_LIMIT = 64 * 1024
#: Most pairs of a query. A login has two, a callback of TikTok five.
_PAIRS = 256
#: Longest value of a key of ours, still encoded: a `next` of 2,048 bytes takes 6,144.
LONGEST_VALUE = 8192
#: Longest cookie, name and value together (RFC 6265bis section 5.6).
COOKIE_LIMIT = 4096

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")


class BegunLogin(NamedTuple):
    """What the cookies of a login under way say in clear."""

    #: In seconds since 1970.
    at: int
    #: The first bytes of a hash of where it goes and what it asks.
    purpose: bytes


class Request:
    """One HTTP request or WebSocket handshake, as far as the flows look at it."""

    __slots__ = (
        "_by_name",
        "begun_logins",
        "headers",
        "is_websocket",
        "method",
        "mount",
        "path",
        "query",
        "read",
    )

    def __init__(  # noqa: PLR0913 - the parts of a request
        self,
        *,
        method: str,
        path: str,
        mount: str,
        query: bytes,
        headers: Headers,
        read: Callable[[int], Awaitable[bytes | None]],
        is_websocket: bool = False,
    ) -> None:
        self.method: str = method
        #: Decoded by the server, and less the mount point.
        self.path: str = path
        self.mount: str = mount
        self.query: bytes = query
        #: Names in lower case.
        self.headers: Headers = headers
        #: Gives the body, or None if it is longer than the given limit.
        self.read: Callable[[int], Awaitable[bytes | None]] = read
        #: Of `Core.without_cookies`, which takes away what it is read from.
        self.begun_logins: Sequence[BegunLogin] = ()
        self.is_websocket: bool = is_websocket
        self._by_name: dict[bytes, list[bytes]] = {}

    def without_cookies(self) -> Request:
        """Return the request, which now has no cookies: an app may look at frames."""
        self.headers = [pair for pair in self.headers if pair[0] != b"cookie"]
        self._by_name = {}
        return self

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of the header `name` (lower case), in order."""
        by_name = self._by_name
        if not by_name:  # a login asks for five, and each look through took 0.9 us
            for key, value in self.headers:
                by_name.setdefault(key, []).append(value)
        return by_name.get(name, [])

    def one(self, name: bytes) -> bytes | None:
        """Return the value of a header sent at most once; b"" if sent more often.

        A header that may appear once and appears twice has no value we could trust;
        b"" matches no rule, so every rule fails closed.
        """
        values = self.all(name)
        if not values:
            return None
        return values[0].strip(b" \t") if len(values) == 1 else b""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer of ours: small, in memory, never streamed."""

    status: int
    #: Set-Cookie and Location hold secrets, so no repr shows them.
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        for name, value in self.headers:
            # Printable ASCII, and a name that is known to be one: an expression for
            # each took a fifth of a login's time.
            if not (_is_name(name) and is_sendable(value)):
                message = f"not a header we may send: {name!r}"
                raise ValueError(message)


def is_sendable(value: str) -> bool:
    return value.isascii() and value.isprintable()


@lru_cache(maxsize=64)
def _is_name(text: str) -> bool:
    """Whether a header may be called so (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """A cookie we set; an empty value deletes it with the attributes it was set with.

    Always HttpOnly and SameSite=Lax: Strict would be lost on the way back from TikTok.
    """

    name: str
    value: str = field(repr=False)
    #: Seconds; 0 deletes.
    max_age: int
    #: False only over plain http towards loopback.
    secure: bool

    def header(self) -> tuple[str, str]:
        """Return the Set-Cookie header; refuse what RFC 6265 section 4.1.1 forbids."""
        if (
            not _TOKEN.fullmatch(self.name)
            or not _COOKIE_VALUE.fullmatch(self.value)
            or len(self.name) + len(self.value) > COOKIE_LIMIT
        ):
            message = f"not a cookie we may set: {self.name!r}"
            raise ValueError(message)
        secure = "; Secure" if self.secure else ""
        return (
            "set-cookie",
            f"{self.name}={self.value}; Max-Age={self.max_age}; Path=/; HttpOnly"
            f"; SameSite=Lax{secure}",
        )


class BadQuery(ValueError):
    """A query that is too long, repeats a key of ours, or is not UTF-8 there."""


def read_query(query: bytes, keys: Collection[str]) -> dict[str, str]:
    """Return the values of `keys` in a query string; other keys are ignored.

    Pairs end at ``&`` only, each value is decoded once, as UTF-8.

    Its cost is bounded, whatever a client sends: no more than `_PAIRS` pairs are
    read, and of each a name and value no longer than ours can be.

    Raises:
        BadQuery: a key of ours appears twice, is too long or is not UTF-8, or the query
            is longer than `QUERY_LIMIT` or has more than `_PAIRS` pairs.
    """
    if len(query) > QUERY_LIMIT:
        raise BadQuery
    values: dict[str, str] = {}
    if not query:
        return values
    wanted = {key.encode(): key for key in keys}
    longest = 3 * max(map(len, wanted))  # each byte may be percent-encoded
    pairs = query.split(b"&", _PAIRS)
    if len(pairs) > _PAIRS and pairs.pop().strip(b"&"):
        raise BadQuery
    for pair in pairs:
        raw_name, _, raw_value = pair.partition(b"=")
        if len(raw_name) > longest:
            continue
        key = wanted.get(_unquote(raw_name))
        if key is None:
            continue
        if key in values or len(raw_value) > LONGEST_VALUE:
            raise BadQuery
        try:
            values[key] = _unquote(raw_value).decode()
        except UnicodeDecodeError:
            raise BadQuery from None
    return values


def _unquote(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" "))

"""HTTP without ASGI and WSGI: Request, Response, Cookie, and their rules.

The middlewares translate to and from these. A request keeps its raw bytes. Nothing here
reads Forwarded or an X- header that names another URL, and Host proves nothing: clients
can send any value.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

Headers = Sequence[tuple[bytes, bytes]]

#: The status of a response without a body, not even an empty one (RFC 9110 section
#: 8.6). To read `HTTPStatus.NO_CONTENT` takes 2,900 instructions on CPython 3.11, where
#: a member of an enum is found by a Python function.
NO_CONTENT = 204
#: Longest query that is read, in bytes.
QUERY_LIMIT = 64 * 1024
#: The most pairs in a query. A login has two, a callback from TikTok five.
_PAIRS = 256
#: Longest encoded value, in bytes: a `next` of 2,048 bytes can take 6,144.
LONGEST_VALUE = 8192
#: Longest cookie, name and value together (RFC 6265bis section 5.6).
COOKIE_LIMIT = 4096

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: To delete the allowed characters takes a third of the time of a regular expression.
_PRINTABLE = bytes(range(0x20, 0x7F))
#: RFC 6265 section 4.1.1: no space, quotation mark, comma, semicolon or backslash.
_IN_COOKIE = _PRINTABLE.translate(None, b' ",;\\')


class FinishedLogin(NamedTuple):
    """For an integration: the facts about a login that signed its browser in."""

    #: The path that the login led to.
    return_to: str
    #: The data that its link carried.
    carried: Mapping[str, str]
    #: Whether the user had no record before.
    is_new: bool
    #: Whether its account may be connected to the app's user who is signed in.
    may_connect: bool
    #: Returns the page that asks that user whether to connect it; None if no login of
    #: the app connects accounts.
    question: Callable[[], Any] | None
    #: Deletions of the login's cookies, for a response that replaces ours.
    spent: Sequence[Cookie]


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """An HTTP request or WebSocket handshake, as flows need it.

    The middlewares give the first arguments by position: by name, making one takes 1.7
    times as many instructions.
    """

    method: str
    #: Decoded by the server, without the mount point.
    path: str
    mount: str
    query: bytes
    #: Names in lower case.
    headers: Headers
    #: Returns the body, or None if it is longer than the given number of bytes.
    read: Callable[[int], Awaitable[bytes | None]]
    #: Returns what the app's ``current_user`` gets, with a `TikTokAuth` in it: the
    #: scope, the environ or the framework's request.
    for_app: Callable[[Any], Any] | None = None
    is_websocket: bool = False
    #: The tag of the language that the app's framework chose for the response; None if
    #: Accept-Language decides.
    language: str | None = None
    #: When each pending login began, in seconds since 1970, and the hash of its
    #: purpose. Read from the cookies before they are removed.
    begun_logins: Sequence[tuple[int, bytes]] = ()
    #: Set by the callback, if it signed the browser in.
    finished: FinishedLogin | None = None
    #: The last value of each header; made at the first use.
    _last_by_name: dict[bytes, bytes] = field(default_factory=dict, init=False)

    def without_cookies(self) -> Request:
        """Remove the cookies, which an app could find in frames; return the request."""
        self.headers = [pair for pair in self.headers if pair[0] != b"cookie"]
        self.for_app = None
        self._last_by_name = {}
        return self

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of the header `name` (lower case), in order."""
        by_name = self._by_name()
        if name not in by_name:
            return []
        if len(by_name) == len(self.headers):  # each was sent once
            return [by_name[name]]
        return [value for key, value in self.headers if key == name]

    def has_any(self, names: frozenset[bytes]) -> bool:
        """Whether a header with one of these names (lower case) was sent."""
        # In this order only the few names are looked up.
        return not self._by_name().keys().isdisjoint(names)

    def _by_name(self) -> dict[bytes, bytes]:
        if not self._last_by_name:  # a login reads six, and each scan took 0.9 us
            self._last_by_name = dict(self.headers)
        return self._last_by_name

    def one(self, name: bytes) -> bytes | None:
        """Return the value of a header sent at most once; b"" if sent more often.

        A repeated header has no value that can be trusted. b"" matches no rule, so
        every rule fails closed.
        """
        by_name = self._by_name()
        value = by_name.get(name)
        if value is None:
            return None
        if len(by_name) < len(self.headers) and len(self.all(name)) > 1:
            return b""
        return value.strip(b" \t")

    def cookie_headers(self) -> Headers:
        """Return the Cookie headers alone, which are searched several times."""
        values = self.all(b"cookie")
        return [(b"cookie", value) for value in values] if values else []


class _HeaderNames(dict[str, bytes]):
    """Names of an environ's headers, as HTTP spells them; bounded.

    Clients choose names: long ones are not kept, and not more than `_NAMES_KEPT`.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> bytes:
        found = name[5:].replace("_", "-").lower().encode("latin-1", "replace")
        if len(name) <= _LONGEST_NAME_KEPT and len(self) < _NAMES_KEPT:
            self[name] = found
        return found


_NAMES_KEPT, _LONGEST_NAME_KEPT = 256, 64
_header_name: Callable[[str], bytes] = _HeaderNames().__getitem__


def environ_headers(environ: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an environ of WSGI, or of Django's ``META``, as HTTP's."""
    # Names that begin with HTTP_: "`" is the character after the underscore, and
    # comparing takes half the time of `startswith`.
    return [
        (_header_name(name), value.encode("latin-1", "replace"))
        for name, value in environ.items()
        if name < "HTTP`" and name > "HTTP_" and isinstance(value, str)
    ]


@dataclass(slots=True)
class Response:
    """A complete response of the middleware, in memory."""

    status: int
    #: Set-Cookie and Location hold secrets, so no repr shows them.
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    #: Whether the caller has checked every header already.
    are_checked: InitVar[bool] = False

    def __post_init__(self, are_checked: bool) -> None:
        if are_checked:
            return
        # All values at once, and no regular expression for each header, which took a
        # fifth of a login's time.
        names = [name for name, _ in self.headers]
        values = "".join([value for _, value in self.headers])
        if is_sendable(values) and all(map(_is_name, names)):
            return
        for name, value in self.headers:
            if not (_is_name(name) and is_sendable(value)):
                message = f"not a header we may send: {name!r}"
                raise ValueError(message)


def is_sendable(value: str) -> bool:
    """Whether a header may have a value: printable ASCII only."""
    return value.isascii() and not value.encode().translate(None, _PRINTABLE)


@lru_cache(maxsize=64)
def _is_name(text: str) -> bool:
    """Whether a text is a valid name of a header (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


@dataclass(slots=True)
class Cookie:
    """A cookie to set; an empty value deletes one that has the same attributes.

    Always HttpOnly and SameSite=Lax: browsers would not send a Strict cookie with the
    navigation back from TikTok.
    """

    name: str
    value: str = field(repr=False)
    #: Seconds; 0 deletes.
    max_age: int
    #: False only for plain http on loopback.
    secure: bool

    def header(self) -> tuple[str, str]:
        """Return the Set-Cookie header.

        Raises:
            ValueError: RFC 6265 section 4.1.1 forbids the name or the value.
        """
        if (
            # Not `_is_name`, whose cache would keep the names: browsers choose those of
            # deleted cookies.
            not _TOKEN.fullmatch(self.name)
            or not self.value.isascii()
            or self.value.encode().translate(None, _IN_COOKIE)
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
    """A query that is too long, or repeats or misencodes one of the wanted keys."""


def read_query(query: bytes, keys: Collection[str]) -> dict[str, str]:
    """Return the values of `keys` in a query string; other keys are ignored.

    Pairs end at ``&`` only, each value is decoded once, as UTF-8.

    The cost is bounded, whatever a client sends: at most `_PAIRS` pairs are read, and
    longer names or values than the wanted keys can have are not decoded.

    Raises:
        BadQuery: One of `keys` appears twice, or its value is too long or not UTF-8, or
            the query is longer than `QUERY_LIMIT` or has more than `_PAIRS` pairs.
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

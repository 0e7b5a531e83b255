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
from urllib.parse import unquote_to_bytes, urlsplit

Headers = Sequence[tuple[bytes, bytes]]

#: Longest query that is read at all, in bytes.
QUERY_LIMIT = 64 * 1024
#: Most pairs of a query. A login has two, a callback of TikTok five.
_PAIRS = 256
#: Longest value of a key of ours, still encoded: a `next` of 2,048 bytes takes 6,144.
_LONGEST_VALUE = 8192
#: Longest header that is read for a decision. A browser's Accept has 140 bytes, its
#: Accept-Language 60; a Referer is cut at 4,096 by browsers.
_LONGEST_HEADER = 1024
_LONGEST_REFERER = 8192
#: Most ranges of an Accept header, and languages of an Accept-Language header.
_RANGES = 32
#: Longest language tag (RFC 5646 section 4.4.1).
_LONGEST_TAG = 35
#: Longest cookie, name and value together (RFC 6265bis section 5.6).
COOKIE_LIMIT = 4096

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_SHARED = re.compile(r"public|s-maxage=.*", re.IGNORECASE)
# Servers under WSGI join headers that come twice; a comma in one URL is no sign of it.
_SECOND_URL = re.compile(rb",[ \t]*[A-Za-z]+://")


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
            if not (_is_name(name) and _is_sendable(value)):
                message = f"not a header we may send: {name!r}"
                raise ValueError(message)


def _is_sendable(value: str) -> bool:
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
        if key in values or len(raw_value) > _LONGEST_VALUE:
            raise BadQuery
        try:
            values[key] = _unquote(raw_value).decode()
        except UnicodeDecodeError:
            raise BadQuery from None
    return values


def _unquote(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" "))


_PURPOSES = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")


def is_prefetch(request: Request) -> bool:
    """Whether a browser asks ahead of its user: no login may begin from this.

    A header of `_LONGEST_HEADER` bytes or more is not read, and counts as such.
    """
    said = b",".join(value for name in _PURPOSES for value in request.all(name)[:4])
    if not said:
        return False
    if len(said) > _LONGEST_HEADER:
        return True
    said = said.lower()
    return b"prefetch" in said or b"prerender" in said or b"preview" in said


def is_document(request: Request) -> bool:
    """Whether the answer goes into a browser's window, or the client does not say.

    An image, frame or script that points at the login is no person logging in
    (https://www.w3.org/TR/fetch-metadata/#sec-fetch-dest-header).
    """
    return request.one(b"sec-fetch-dest") in (None, b"document")


def is_navigation(request: Request) -> bool:
    """Whether a person's browser is opening a page: it can be sent to log in."""
    return request.method in ("GET", "HEAD") and _is_in_window(request)


def is_page_visit(request: Request) -> bool:
    """Whether a person looks at the answer: a browser opens a page or sends a form."""
    return request.method in ("GET", "HEAD", "POST") and _is_in_window(request)


def _is_in_window(request: Request) -> bool:
    return (
        not request.is_websocket
        and request.one(b"sec-fetch-mode") in (None, b"navigate")
        and is_document(request)
        and (request.one(b"x-requested-with") or b"")[:20].lower() != b"xmlhttprequest"
        and not is_prefetch(request)
        and _names_html(request.all(b"accept"))
    )


def is_preflight(request: Request) -> bool:
    """Whether a browser asks whether a page of another origin may send a request.

    A browser sends no body with it, and names the headers of the request to come
    instead of sending them (https://fetch.spec.whatwg.org/#cors-preflight-fetch). So
    none is one that an app may take for another method, as Rails' ``_method`` and
    ``X-HTTP-Method-Override`` let it: that app would do what the rule protects.
    """
    return (
        request.method == "OPTIONS"
        and bool(request.one(b"origin"))
        and bool(request.one(b"access-control-request-method"))
        and request.one(b"content-length") in (None, b"0")
        and request.one(b"transfer-encoding") is None
        and not _names_method(request)
    )


#: What frameworks and their plug-ins call a query's key for the method.
_METHOD_KEY = re.compile(
    rb"(?:\A|[&;])(?:_+method|_*(?:x[-_]?)?(?:http[-_]?method|(?:http[-_]?)?"
    rb"method[-_]?override))(?=[=&;]|\Z)",
    re.IGNORECASE,
)


def _names_method(request: Request) -> bool:
    """Whether a header or the query may name another method than the request line."""
    for name, _ in request.headers:
        if b"method" in name and name != b"access-control-request-method":
            return True
    query = request.query
    return len(query) > _LONGEST_VALUE or bool(
        _METHOD_KEY.search(unquote_to_bytes(query))
    )


def _names_html(accept: Sequence[bytes]) -> bool:
    """Whether an Accept header asks for HTML by name, as every browser does for a page.

    ``*/*`` and ``text/*`` name nothing: programs send those, or no header at all. A
    header of more than `_LONGEST_HEADER` bytes or `_RANGES` ranges is no browser's.
    """
    if len(accept) > _RANGES or sum(map(len, accept)) > _LONGEST_HEADER:
        return False
    ranges = b",".join(accept).lower().split(b",", _RANGES)
    if len(ranges) > _RANGES:
        return False
    named: dict[bytes, bool] = {}
    for item in ranges:
        kind, *params = (part.strip(b" \t") for part in item.split(b";"))
        named[kind] = not any(re.fullmatch(rb"q=0(\.0{0,3})?", p) for p in params)
    # Our pages are text/html: where a client says something of that, it decides.
    return named.get(b"text/html", named.get(b"application/xhtml+xml", False))


_LANGUAGE = re.compile(
    r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)"
    r"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)
_LANGUAGES = 32


def languages(request: Request) -> list[str]:
    """Return the languages a browser asks for, the most wanted first.

    What is no language range (RFC 9110 section 12.5.4) is left out, and ``*`` too; so
    is whatever comes after `_LANGUAGES` ranges or `_LONGEST_HEADER` bytes.
    """
    sent = b",".join(request.all(b"accept-language")[:_LANGUAGES])
    header = sent[:_LONGEST_HEADER].decode("latin-1")
    ranges = header.split(",", _LANGUAGES)[:_LANGUAGES]
    found = [_LANGUAGE.fullmatch(item.strip(" \t")) for item in ranges]
    wanted = [
        (float(m[2] or 1), m[1])
        for m in found
        if m and m[1] != "*" and len(m[1]) <= _LONGEST_TAG
    ]
    wanted.sort(key=lambda item: -item[0])
    return [tag for quality, tag in wanted if quality]


def is_same_origin(request: Request, origin: str) -> bool:
    """Whether a request that changes something was sent by a page of `origin`.

    Every header that speaks of the sender must agree, and one must speak:
    Sec-Fetch-Site, Origin, Referer. ``same-site`` and ``none`` do not agree.

    ``Origin: null`` agrees if Sec-Fetch-Site says ``same-origin``: that is what a page
    sends with ``Referrer-Policy: no-referrer``, and no page can set either header.
    (A sandboxed frame sends null too, and ``cross-site`` with it.)
    """
    ours = origin.encode()
    site = request.one(b"sec-fetch-site")
    sender = request.one(b"origin")
    referer = request.one(b"referer")
    verdicts = []
    if site is not None:
        verdicts.append(site == b"same-origin")
    if sender is not None:
        is_hidden = sender == b"null" and site == b"same-origin"
        verdicts.append(sender == ours or is_hidden)
    if referer is not None:
        verdicts.append(_is_of(referer, ours))
    return bool(verdicts) and all(verdicts)


def _is_of(referer: bytes, origin: bytes) -> bool:
    """Whether a Referer header names one page of an origin, and no other."""
    if len(referer) > _LONGEST_REFERER:
        return False
    is_below = referer == origin or referer.startswith(origin + b"/")
    return is_below and not _SECOND_URL.search(referer)


def referring_path(request: Request, origin: str) -> str | None:
    """Return path and query of the page of `origin` that a request came from, or None.

    A browser writes it, and no other site can change it for a request of its own: it
    is still no more than a place to offer in a link.
    """
    referer = request.one(b"referer")
    if not referer or not _is_of(referer, origin.encode()):
        return None
    return referer.decode("latin-1")[len(origin) :] or "/"


_HOST = re.compile(
    rb"(?:[A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)


def is_other_host(request: Request, origin: str) -> bool:
    """Whether a request was sent to another address of the site that `origin` names.

    That is a Host of the same kind, public, internal or loopback, that differs. A site
    with a public name that is asked for ``127.0.0.1:8000``, ``app`` or ``testserver``
    is behind a proxy or in a test, and its user is where they should be. Nothing is
    trusted by this: a client writes Host as it likes, and proxies change it.
    """
    host = request.one(b"host")
    if not host or not _HOST.fullmatch(host):
        return False
    scheme, _, ours = origin.partition("://")
    theirs = host.decode().lower()
    theirs = theirs.removesuffix(":443" if scheme == "https" else ":80")
    return theirs != ours and _kind_of_host(theirs) == _kind_of_host(ours)


def _kind_of_host(host: str) -> str:
    from ipaddress import ip_address  # noqa: PLC0415 - seldom used

    name = host.rpartition("]")[0][1:] if host[:1] == "[" else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return "loopback"
    try:
        address = ip_address(name)
    except ValueError:
        return "public" if "." in name else "internal"
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    return "internal" if address.is_private else "public"


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, as a browser writes an Origin header.

    Raises:
        ValueError: the URL has no host, or a port that is none.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if not host:
        message = "a URL without a host"
        raise ValueError(message)
    if ":" in host:
        host = f"[{host}]"
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


def cors_headers(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those of an app's headers that let pages of other origins read an answer.

    Access-Control headers as they are, and the app's ``Vary`` (an allowed origin that
    is repeated from the request varies by it), with Cookie where there is one.
    """
    kept = [
        (name.lower(), value)
        for name, value in headers
        if name.lower().startswith("access-control-") and _is_sendable(value)
    ]
    vary = [item for item in _items(headers, "vary") if _is_sendable(item)]
    if vary:
        if "*" not in vary and "cookie" not in map(str.lower, vary):
            vary.append("Cookie")
        kept.append(("vary", ", ".join(vary)))
    return kept


_MERGED = ("cache-control", "vary")
_LONGEST_REMEMBERED_NAME = 64
_REMEMBERED_NAMES = 256
_PRIVATE = (("cache-control", "private"), ("vary", "Cookie"))
#: Response headers by which an app tells one kind of cache what the others are not
#: told. Each of them overrides Cache-Control where it is read (RFC 9213 section 2.2).
_FOR_ONE_CACHE = frozenset(
    {
        "cdn-cache-control",  # RFC 9213; with a vendor's name before it, see below
        "edge-control",  # Akamai
        "surrogate-control",  # Fastly, Varnish, Akamai
        "x-accel-expires",  # nginx
        "x-litespeed-cache-control",
    }
)


class _CachingNames(dict[str | bytes, bool]):
    """Which names of response headers concern caches, remembered within bounds.

    An app may make a header's name of what somebody sent it: long ones are not kept,
    nor more than 256.
    """

    def __missing__(self, name: str | bytes) -> bool:
        text = name if isinstance(name, str) else name.decode("latin-1")
        text = text.lower()
        found = (
            text in _MERGED
            or text in _FOR_ONE_CACHE
            or text.endswith("-cdn-cache-control")
        )
        if len(name) <= _LONGEST_REMEMBERED_NAME and len(self) < _REMEMBERED_NAMES:
            self[name] = found
        return found


#: Whether a response header says which caches may keep the response. The names are the
#: app's own; apart from the known ones, every vendor's ``X-CDN-Cache-Control`` counts,
#: as Cloudflare, Netlify and Vercel call theirs.
is_caching: Callable[[str | bytes], bool] = _CachingNames().__getitem__


def keep_private(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return response headers that keep shared caches from serving it to others.

    What the app said of caching stays, less what would let a shared cache keep it;
    ``Vary`` gets Cookie (RFC 9111 sections 4.1 and 5.2.2).
    """
    for name, _ in headers:
        if is_caching(name):
            break
    else:  # the usual case, and 1 us instead of 10
        return [*headers, *_PRIVATE]
    kept = [pair for pair in headers if not is_caching(pair[0])]
    said = [_items(headers, name) for name in _MERGED]
    control = [d for d in said[0] if not _SHARED.fullmatch(d)]
    names = {d.lower() for d in control}
    # A cache that understands the status ignores no-store beside must-understand
    # (RFC 9111 section 5.2.2.3).
    is_stored_nowhere = "no-store" in names and "must-understand" not in names
    if "private" not in names and not is_stored_nowhere:
        control.append("private")
    vary = said[1]
    if "*" not in vary and "cookie" not in map(str.lower, vary):
        vary.append("Cookie")
    return [*kept, ("cache-control", ", ".join(control)), ("vary", ", ".join(vary))]


def with_cookie_deleted(
    headers: Sequence[tuple[str, str]], deletion: Cookie
) -> list[tuple[str, str]]:
    """Return response headers that also delete a cookie, and are stored nowhere.

    An answer that sets the cookie itself stays as it is. The deletion comes first: some
    adapters keep the last Set-Cookie only, and that shall be the app's.
    """
    start = f"{deletion.name}="
    for name, value in headers:
        if name.lower() == "set-cookie" and value.lstrip().startswith(start):
            return [*headers]
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() == "vary" or not is_caching(name)
    ]
    return [deletion.header(), *kept, ("cache-control", "no-store")]


def _items(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    values = (value for key, value in headers if key.lower() == name)
    return [item.strip() for v in values for item in v.split(",") if item.strip()]

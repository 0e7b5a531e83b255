"""Headers of the app's responses that concern caches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any

from tiktok_oauth_middleware._core.http import Cookie

_SHARED = re.compile(r"public|s-maxage=.*", re.IGNORECASE)
_MERGED = ("cache-control", "vary")
#: The media type of server-sent events.
EVENT_STREAM = "text/event-stream"
_EVENT_STREAM = EVENT_STREAM.encode()
_LONGEST_REMEMBERED_NAME = 64
_REMEMBERED_NAMES = 256
_PRIVATE = (("cache-control", "private"), ("vary", "Cookie"))
_PRIVATE_BYTES = tuple((name.encode(), value.encode()) for name, value in _PRIVATE)


#: Response headers for one kind of cache only. Each of them overrides Cache-Control
#: where it is read (RFC 9213 section 2.2).
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
    """Names of response headers, and whether they concern caches; bounded.

    An app may make a header's name from text that a client sent: long names are not
    kept, and not more than `_REMEMBERED_NAMES`.
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


#: Whether a response header of this name controls which caches may keep the response.
#: Besides the names above, every vendor's ``...-CDN-Cache-Control`` counts, as
#: Cloudflare, Netlify and Vercel call theirs.
is_caching: Callable[[str | bytes], bool] = _CachingNames().__getitem__


def keep_private(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return response headers with which no shared cache serves it to other users.

    The app's own rules stay, except those that let a shared cache keep the response;
    ``Vary`` gets Cookie (RFC 9111 sections 4.1 and 5.2.2).
    """
    for name, _ in headers:
        if is_caching(name):
            break
    else:  # the usual case, in 1 us instead of 10
        return [*headers, *_PRIVATE]
    kept = [pair for pair in headers if not is_caching(pair[0])]
    directives, vary = (items_of(headers, name) for name in _MERGED)
    control = [d for d in directives if not _SHARED.fullmatch(d)]
    names = {d.lower() for d in control}
    # A cache that understands the status ignores no-store beside must-understand
    # (RFC 9111 section 5.2.2.3).
    is_stored_nowhere = "no-store" in names and "must-understand" not in names
    if "private" not in names and not is_stored_nowhere:
        control.append("private")
    if "*" not in vary and "cookie" not in map(str.lower, vary):
        vary.append("Cookie")
    return [*kept, ("cache-control", ", ".join(control)), ("vary", ", ".join(vary))]


def private_byte_headers(
    headers: Iterable[tuple[bytes, bytes]],
) -> list[tuple[bytes, bytes]]:
    """Return ASGI's response headers as `keep_private` does.

    Usually no header is about caching; then none is decoded.
    """
    private = [*headers]  # ASGI allows any iterable
    for name, _ in private:
        if is_caching(name):
            return byte_headers(keep_private(text_headers(private)))
    private += _PRIVATE_BYTES
    return private


def waits_for_body(start: MutableMapping[str, Any]) -> bool:
    """Whether the head of an ASGI response is to be sent with its first chunk.

    The spec of ASGI requires that of servers. It matters for streams only, which state
    no length: their first chunk may be made after the head. A page learns from the head
    of an event stream that it is open, though there may be no event for long.
    """
    headers = start.get("headers", ())
    if type(headers) is not list:  # ASGI allows any iterable
        headers = start["headers"] = [*headers]
    for name, value in headers:
        if name == b"content-length":
            return False
        if name == b"content-type" and value[: len(_EVENT_STREAM)] == _EVENT_STREAM:
            return False
    return True


def text_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return ASGI's headers as text."""
    return [(name.decode("latin-1"), v.decode("latin-1")) for name, v in headers]


def byte_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI's bytes."""
    return [(name.encode("latin-1"), v.encode("latin-1")) for name, v in headers]


def with_cookie_set(
    headers: Sequence[tuple[str, str]], cookie: Cookie
) -> list[tuple[str, str]]:
    """Return response headers that also set a cookie and let no cache store them.

    Our cookie comes first: some adapters keep only the last Set-Cookie, and that must
    be the app's.
    """
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() == "vary" or not is_caching(name)
    ]
    return [cookie.header(), *kept, ("cache-control", "no-store")]


def items_of(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    """Return the items of all headers of a name, which is in lower case."""
    values = (value for key, value in headers if key.lower() == name)
    return [item.strip() for v in values for item in v.split(",") if item.strip()]

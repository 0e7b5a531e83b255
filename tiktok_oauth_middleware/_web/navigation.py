"""Kinds of requests: navigation, prefetch, CORS preflight, same origin, other host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from tiktok_oauth_middleware._core.http import LONGEST_VALUE, Request
from tiktok_oauth_middleware._core.origins import DEFAULT_PORTS

from .messages import LanguageRanges
from .messages.accept_language import parse_accept_language

#: Longest header that is read for a decision. A browser's Accept has 140 bytes; a
#: Referer is cut at 4,096 by browsers.
_LONGEST_VALUE = 1024
_LONGEST_REFERER = 8192
#: The most ranges of an Accept header.
_RANGES = 32
# WSGI servers join repeated headers with a comma, but a comma may also be in a URL.
_SECOND_URL = re.compile(rb",[ \t]*[A-Za-z]+://")
_PURPOSES = frozenset((b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"))


def is_prefetch(request: Request) -> bool:
    """Whether a browser fetches a page before its user opens it; no login begins then.

    Headers of more than `_LONGEST_VALUE` bytes are not read and count as a prefetch.
    """
    if not request.has_any(_PURPOSES):
        return False
    purposes = b",".join(value for name in _PURPOSES for value in request.all(name)[:4])
    if len(purposes) > _LONGEST_VALUE:
        return True
    purposes = purposes.lower()
    return any(kind in purposes for kind in (b"prefetch", b"prerender", b"preview"))


def is_document(request: Request) -> bool:
    """Whether the client says that a browser's window will show the response.

    A request for an image, frame or script does not come from a person who logs in
    (https://www.w3.org/TR/fetch-metadata/#sec-fetch-dest-header).
    """
    return request.one(b"sec-fetch-dest") in (None, b"document")


def is_page_visit(request: Request) -> bool:
    """Whether a person sees the response: a browser opens a page or sends a form."""
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

    A browser sends no body with it, and names the headers of the later request instead
    of sending them (https://fetch.spec.whatwg.org/#cors-preflight-fetch). A request
    that overrides its method, by ``_method`` as in Rails or by
    ``X-HTTP-Method-Override``, is therefore not a preflight: an app that follows the
    override would perform an action that a rule protects.
    """
    return (
        request.method == "OPTIONS"
        and bool(request.one(b"origin"))
        and bool(request.one(b"access-control-request-method"))
        and request.one(b"content-length") in (None, b"0")
        and request.one(b"transfer-encoding") is None
        and not _names_method(request)
    )


#: The keys in a query by which frameworks and plug-ins override the method.
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
    return len(query) > LONGEST_VALUE or bool(
        _METHOD_KEY.search(unquote_to_bytes(query))
    )


def _names_html(accept: Sequence[bytes]) -> bool:
    """Whether an Accept header asks for HTML by name, as every browser does for a page.

    ``*/*`` and ``text/*`` do not count: programs send these, or no Accept header. A
    header of more than `_LONGEST_VALUE` bytes or `_RANGES` ranges is not a browser's.
    """
    if len(accept) > _RANGES or sum(map(len, accept)) > _LONGEST_VALUE:
        return False
    ranges = b",".join(accept).lower().split(b",", _RANGES)
    if len(ranges) > _RANGES:
        return False
    named: dict[bytes, bool] = {}
    for item in ranges:
        kind, *params = (part.strip(b" \t") for part in item.split(b";"))
        named[kind] = not any(re.fullmatch(rb"q=0(\.0{0,3})?", p) for p in params)
    # The pages are text/html: if the header names it, its quality value decides.
    return named.get(b"text/html", named.get(b"application/xhtml+xml", False))


def language_ranges(request: Request) -> LanguageRanges:
    """Return the languages that a page is to be in, the most preferred one first.

    The language that the framework chose decides, or else the reader's Accept-Language.
    """
    if request.language is not None:
        return LanguageRanges((request.language.lower(),))
    return parse_accept_language(request.all(b"accept-language"))


def is_same_origin(request: Request, origin: str) -> bool:
    """Whether a request that changes something was sent by a page of `origin`.

    At least one of Sec-Fetch-Site, Origin and Referer must be present, and each that is
    present must name this origin. ``same-site`` and ``none`` do not name it.

    ``Origin: null`` counts as this origin if Sec-Fetch-Site is ``same-origin``: a page
    with ``Referrer-Policy: no-referrer`` sends both, and no page can set either header.
    (A sandboxed frame also sends null, but with ``cross-site``.)
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
    """Whether a Referer header names exactly one page, of this origin."""
    if len(referer) > _LONGEST_REFERER:
        return False
    is_below = referer == origin or referer.startswith(origin + b"/")
    return is_below and not _SECOND_URL.search(referer)


def referring_path(request: Request, origin: str) -> str | None:
    """Return path and query of the page of `origin` that a request came from, or None.

    They come from the Referer header, which the browser writes: another site cannot
    make it name a page of `origin`. Still, it is used only as the target of a link.
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

    This means a different Host of the same kind: public, internal or loopback. If a
    site with a public name receives the Host ``127.0.0.1:8000``, ``app`` or
    ``testserver``, it is behind a proxy or in a test, and the user's address is right.
    No access depends on the result: a client can send any Host, and proxies change it.
    """
    host = request.one(b"host")
    scheme, _, ours = origin.partition("://")
    if not host or host == ours.encode() or not _HOST.fullmatch(host):
        return False
    theirs = host.decode().lower()
    theirs = theirs.removesuffix(f":{DEFAULT_PORTS.get(scheme)}")
    return theirs != ours and _kind_of_host(theirs) == _kind_of_host(ours)


def _kind_of_host(host: str) -> str:
    from ipaddress import ip_address

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

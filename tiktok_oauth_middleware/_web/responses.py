"""Responses of the middleware's own: JSON for programs, and redirects.

Every response made here or in `pages` is ``no-store``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tiktok_oauth_middleware._core.http import Cookie, Response, is_sendable

#: Headers of every response of the middleware's own.
BASE_HEADERS: tuple[tuple[str, str], ...] = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    # Not no-referrer: with it browsers send "Origin: null" with our own form.
    ("referrer-policy", "same-origin"),
)
#: The type of a response without a body: PEP 3333's own checker requires one.
PLAIN = (("content-type", "text/plain; charset=utf-8"),)
_REDIRECT_HEADERS = (*BASE_HEADERS, *PLAIN)
#: Headers of pages and JSON only. When the user goes Back to an address that redirects
#: to another site with this header, WebKit 2.50.6 waits for ever; and the page at the
#: end of the redirects has a policy of its own.
OPENER_POLICY = ("cross-origin-opener-policy", "same-origin")


#: The longest response head that proxies accept, in bytes: nginx by default accepts
#: 4,096 from an app, and servers add 80 of their own.
HEAD_LIMIT = 4016
_STATUS_LINE = 40
#: The most cookies that one response deletes.
DELETED_AT_ONCE = 20


def json_response(
    status: int, facts: Mapping[str, object], headers: Iterable[tuple[str, str]] = ()
) -> Response:
    """Return a response for a program."""
    return Response(
        status,
        (*BASE_HEADERS, OPENER_POLICY, ("content-type", "application/json"), *headers),
        json.dumps(facts).encode(),
    )


def without_referrer(response: Response) -> Response:
    """Return a response after which browsers send only the origin as Referer.

    The address of a callback holds a code and a state, which the next page must not
    receive, even if it is a page of the same site.
    """
    headers = tuple(
        (name, "strict-origin" if name == "referrer-policy" else value)
        for name, value in response.headers
    )
    return replace(response, headers=headers)


def head_size(response: Response) -> int:
    """Return about how many bytes the head of a response takes."""
    return _STATUS_LINE + _size(response.headers)


def _size(headers: Iterable[tuple[str, str]]) -> int:
    size = 0
    for name, value in headers:  # two thirds of the time of `sum`
        size += len(name) + len(value) + 4
    return size


def redirect(location: str, *, cookies: Iterable[Cookie] = ()) -> Response:
    """Return a redirect; 303 makes the browser's next request a GET."""
    set_cookies = [cookie.header() for cookie in cookies]
    return Response(303, (*_REDIRECT_HEADERS, ("location", location), *set_cookies))


def redirect_with_cookies(location: str, cookies: Sequence[Cookie]) -> Response:
    """Return a redirect with cookies, and as many deletions as `HEAD_LIMIT` allows.

    Raises:
        ValueError: the location or a cookie must not be sent.
    """
    if not is_sendable(location):
        message = "not a location we may send"
        raise ValueError(message)
    headers = (*_REDIRECT_HEADERS, ("location", location))
    kept = [cookie.header() for cookie in cookies if cookie.value]
    deletions = []
    if len(kept) < len(cookies):
        room = HEAD_LIMIT - _STATUS_LINE - _size(headers) - _size(kept)
        for cookie in [c for c in cookies if not c.value][:DELETED_AT_ONCE]:
            deletion = cookie.header()
            room -= _size([deletion])
            if room >= 0:
                deletions.append(deletion)
    return Response(303, (*headers, *deletions, *kept), are_checked=True)

"""Validation of the path that a login or logout returns to.

A value is accepted unchanged or rejected, never repaired. The rule is short because it
allows little: one slash, then anything that no browser reads as another host. Checks
that parse the value as a URL and compare its host have been bypassed with characters
that browsers skip or read differently: tabs, line breaks, backslashes, userinfo
(https://url.spec.whatwg.org/#url-parsing).
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection
from urllib.parse import quote, unquote

from .http import BadQuery, read_query
from .log import logger
from .origins import local_part
from .redact import one_line

#: Longest path to return to, in bytes when percent-encoded.
LONGEST_RETURN_TO = 2048

# One slash not followed by another, then no control characters and no backslash, which
# browsers read as a slash.
_PATH = re.compile(r"/(?!/)[^\x00-\x1f\x7f\\]*")
_DOT_SEGMENT = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_KEPT = "".join(set(string.printable) - set(string.whitespace) - set('"<>\\^`{|}'))


def safe_return_to(value: str, own_paths: Collection[str] = ()) -> str | None:
    """Return `value` encoded for ``Location``, or None if it is not allowed.

    Args:
        value: A path with query and fragment, decoded once.
        own_paths: The middleware's own paths, decoded; they are not allowed.

    >>> safe_return_to("/videos?page=2")
    '/videos?page=2'
    >>> safe_return_to("//elsewhere.example") is None
    True
    """
    if len(value) > LONGEST_RETURN_TO or not _PATH.fullmatch(value):
        return None
    try:
        return_to = quote(value, safe=_KEPT)
    except UnicodeEncodeError:  # a lone surrogate
        return None
    path = re.split(r"[?#]", return_to, maxsplit=1)[0]
    # Browsers remove dot segments, so the path requested would not be the one checked.
    if (
        len(return_to) > LONGEST_RETURN_TO
        or _DOT_SEGMENT.search(path)
        or unquote(path) in own_paths
    ):
        return None
    return return_to


def return_to_of(
    query: bytes, default: str, own_paths: Collection[str], origin: str = ""
) -> str:
    """Return the path in the parameter ``next`` of a query, or `default`.

    A rejected value is logged, escaped and shortened; a repeated parameter is rejected.
    An absolute URL at the site's own origin stands for its path, query and fragment.

    Args:
        query: The request's query.
        default: Returned if there is no ``next``, or if it is rejected.
        own_paths: The middleware's own paths, decoded; they are not allowed.
        origin: The site's configured origin; "" allows no absolute URL.
    """
    try:
        given = read_query(query, ["next"]).get("next")
    except BadQuery:
        given = ""
    if given is None:
        return default
    return_to = safe_return_to(local_part(given, origin), own_paths)
    if return_to is None:
        logger.info("next refused: %s", one_line(given))
    return return_to or default

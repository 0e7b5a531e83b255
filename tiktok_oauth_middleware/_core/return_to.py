"""Where a login may return to: a path of this site, or nowhere.

Reject, don't repair: a value passes as it is or not at all, and what passes is what is
sent. The rule is short because it allows so little: one slash, then anything that no
browser reads as another host. Checks that parse the value as a URL and look at the
host were each fooled by something that browsers skip: tabs, line breaks, backslashes,
userinfo (https://url.spec.whatwg.org/#url-parsing).
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

#: Longest target, in bytes once it is percent-encoded.
LONGEST = 2048

# One slash that no slash follows, then neither controls nor a backslash, which
# browsers take for a slash.
_PATH = re.compile(r"/(?!/)[^\x00-\x1f\x7f\\]*")
_DOT_SEGMENT = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_KEPT = "".join(set(string.printable) - set(string.whitespace) - set('"<>\\^`{|}'))


def safe_target(value: str, own_paths: Collection[str] = ()) -> str | None:
    """Return `value` as it may stand in ``Location``, or None if it may not.

    Args:
        value: a path with query and fragment, decoded once from where it was found.
        own_paths: decoded paths that answer logins themselves; none is a place to
            return to.

    >>> safe_target("/videos?page=2")
    '/videos?page=2'
    >>> safe_target("//elsewhere.example") is None
    True
    """
    if len(value) > LONGEST or not _PATH.fullmatch(value):
        return None
    try:
        target = quote(value, safe=_KEPT)
    except UnicodeEncodeError:  # a lone surrogate
        return None
    path = re.split(r"[?#]", target, maxsplit=1)[0]
    # A dot segment is taken out by the browser: what arrives is not what was checked.
    if len(target) > LONGEST or _DOT_SEGMENT.search(path) or unquote(path) in own_paths:
        return None
    return target


def target_of(
    query: bytes, usual: str, own_paths: Collection[str], origin: str = ""
) -> str:
    """Return where the ``next`` of a query leads, or `usual` if it leads nowhere.

    A refused value is logged, escaped and cut; sent twice, it counts as refused. Of a
    whole address at the site's own origin the path counts, with its query and fragment.

    Args:
        query: of the request.
        usual: where to go otherwise.
        own_paths: decoded paths that answer logins themselves.
        origin: the site's, as it is configured; "" takes no whole address.
    """
    try:
        given = read_query(query, ["next"]).get("next")
    except BadQuery:
        given = ""
    if given is None:
        return usual
    target = safe_target(local_part(given, origin), own_paths)
    if target is None:
        logger.info("next refused: %s", one_line(given))
    return target or usual

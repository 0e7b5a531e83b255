"""Headers of the app that let pages of other origins read a response of ours."""

from __future__ import annotations

from collections.abc import Sequence

from tiktok_oauth_middleware._core.http import is_sendable

from .response_headers import items_of


def cors_headers(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the app's headers that let pages of other origins read a response.

    These are the Access-Control headers, and the app's ``Vary`` if there is one, with
    Cookie added: an app that copies the allowed origin from the request varies by
    Origin.
    """
    kept = [
        (name.lower(), value)
        for name, value in headers
        if name.lower().startswith("access-control-") and is_sendable(value)
    ]
    vary = [item for item in items_of(headers, "vary") if is_sendable(item)]
    if vary:
        if "*" not in vary and "cookie" not in map(str.lower, vary):
            vary.append("Cookie")
        kept.append(("vary", ", ".join(vary)))
    return kept


def with_cors(
    ours: Sequence[tuple[str, str]], kept: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Return our headers with those of `cors_headers`, and one ``Vary`` of both."""
    both = [*ours, *kept]
    vary = dict.fromkeys(items_of(both, "vary"))
    others = (pair for pair in both if pair[0] != "vary")
    return (*others, ("vary", ", ".join(vary))) if vary else tuple(others)

"""Headers of browsers about a request's sender, in every combination."""

from __future__ import annotations

import itertools

from ..conftest import (
    ORIGIN,
)

DISCONNECT = "/auth/tiktok/disconnect"
WEBHOOK = "/hooks/tiktok"
ALL_PATHS = {"disconnect_path": DISCONNECT, "webhook_path": WEBHOOK}
SESSION = "__Host-tiktok"

#: The values of Sec-Fetch-Site in a request, by their meaning.
SITES = {
    "none": [],
    "ours": ["same-origin"],
    "same site": ["same-site"],
    "cross": ["cross-site"],
    "typed": ["none"],
    "twice": ["same-origin", "same-origin"],
    "contradiction": ["same-origin", "cross-site"],
    "garbage": ["unheard-of"],
    "empty": [""],
    "case": ["Same-Origin"],
}

ORIGINS = {
    "none": [],
    "ours": [ORIGIN],
    "same site": ["https://other.example.com"],
    "cross": ["https://evil.example"],
    "null": ["null"],
    "twice": [ORIGIN, ORIGIN],
    "contradiction": [ORIGIN, "https://evil.example"],
    "garbage": ["\xff"],
    "empty": [""],
    "look-alike": [ORIGIN + ".evil.example"],
    "port": [ORIGIN + ":8443"],
    "http": [ORIGIN.replace("https", "http")],
}

REFERERS = {
    "none": [],
    "ours": [ORIGIN + "/page?x=y"],
    "same site": ["https://other.example.com/"],
    "cross": ["https://evil.example/" + ORIGIN],
    "twice": [ORIGIN + "/", ORIGIN + "/"],
    "contradiction": [ORIGIN + "/", "https://evil.example/"],
    "garbage": ["\xff"],
    "empty": [""],
    "userinfo": [ORIGIN + "@evil.example/"],
    "look-alike": [ORIGIN + ".evil.example/"],
}

#: All combinations of the three headers.
SENDERS = [*itertools.product(SITES, ORIGINS, REFERERS)]


def sender(site, origin, referer):
    """Return the headers of one sender."""
    return [
        *(("sec-fetch-site", value) for value in SITES[site]),
        *(("origin", value) for value in ORIGINS[origin]),
        *(("referer", value) for value in REFERERS[referer]),
    ]


def is_ours(*case):
    """Return whether a header is sent, and every header that is sent names this site.

    A page with ``Referrer-Policy: no-referrer`` sends ``Origin: null``, and is ours if
    Sec-Fetch-Site says so.
    """
    site, origin, referer = case
    if origin == "null":
        return site == "ours" and referer in ("ours", "none")
    return "ours" in case and set(case) <= {"ours", "none"}

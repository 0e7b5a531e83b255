"""The pages that a person sees when a login does not simply go on, and JSON answers.

Fixed texts chosen by a stable code; whatever else goes in is escaped. No script, no
third party, and styles allowed by their hash only. Every answer here is ``no-store``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from .http import Cookie, Response, origin_of

_STYLE = """
:root{color-scheme:light dark;--ink:#1c1d21;--soft:#5b5e66;--paper:#f4f4f6;--card:#fff;
--line:#e0e1e6;--deed:#23345c;--deed-ink:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#f1f1f4;--soft:#a9acb5;--paper:#131417;
--card:#1d1f24;--line:#33363d;--deed:#c9d6f8;--deed-ink:#14203c}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.25rem;
font:1.0625rem/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
main{width:100%;max-width:30rem;padding:2.25rem 2rem;border:1px solid var(--line);
border-radius:1rem;background:var(--card)}
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25;letter-spacing:-.01em}
p{margin:0 0 1rem}
form{margin:0}
.ways{display:flex;flex-wrap:wrap;gap:.75rem;align-items:center;margin-top:1.5rem}
.deed{display:inline-block;border:0;border-radius:.6rem;padding:.7rem 1.15rem;
font:inherit;font-weight:600;text-decoration:none;cursor:pointer;
color:var(--deed-ink);background:var(--deed)}
.plain{display:inline-block;padding:.7rem .4rem;color:var(--ink)}
:focus-visible{outline:3px solid #6b8cff;outline-offset:3px}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
footer{margin-top:1.75rem;padding-top:1rem;border-top:1px solid var(--line);
font-size:.875rem;color:var(--soft)}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What every answer of ours carries.
BASE_HEADERS: tuple[tuple[str, str], ...] = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    # Not no-referrer: with it browsers send "Origin: null" with our own form.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


def _page_headers(onward: str) -> tuple[tuple[str, str], ...]:
    """Return the headers of a page whose form may be redirected to `onward`.

    Chromium holds form-action against the redirect that answers a form, too.
    """
    further = f" {origin_of(onward)}" if onward else ""
    return (
        *BASE_HEADERS,
        (
            "content-security-policy",
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
            f"form-action 'self'{further}; frame-ancestors 'none'; base-uri 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("content-type", "text/html; charset=utf-8"),
    )


@dataclass(frozen=True, slots=True)
class Way:
    """A way on from a page: a link, or a button that posts."""

    label: str
    url: str
    posts: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What a page tells: a stable code, and the texts that go with it."""

    code: str
    status: int
    title: str
    texts: tuple[str, ...]


#: What happened, in plain words, and what to do; by code.
PROBLEMS: Mapping[str, Problem] = {
    problem.code: problem
    for problem in (
        Problem(
            "login_denied",
            403,
            "You did not log in",
            (
                "At TikTok you chose not to continue, so nothing was shared with this"
                " site and nobody was signed in.",
                "If that was not what you wanted, try again.",
            ),
        ),
        Problem(
            "login_expired",
            400,
            "That took too long",
            (
                "For your safety a login has to be finished within a few minutes, and"
                " this one is too old. Nobody was signed in.",
                "Try again; it only takes a moment.",
            ),
        ),
        Problem(
            "login_replayed",
            400,
            "This login was used already",
            (
                "Every login works once, and this one was used before. That happens"
                " when a page is loaded again or opened from the history.",
            ),
        ),
        Problem(
            "state_mismatch",
            400,
            "This login belongs somewhere else",
            (
                "It was begun in another browser or app, was finished already, or is"
                " too old. Nobody was signed in here.",
                "If the TikTok app sent you to a different browser, log in again from"
                " the one you want to use.",
            ),
        ),
        Problem(
            "login_failed",
            400,
            "The login did not work",
            (
                "What came back from TikTok was not a login that can be finished."
                " Nobody was signed in.",
            ),
        ),
        Problem(
            "tiktok_error",
            502,
            "TikTok did not complete the login",
            (
                "TikTok refused what this site asked of it. Nobody was signed in.",
                "Try again; if it stays that way, tell the people who run this site,"
                " with the reference below.",
            ),
        ),
        Problem(
            "tiktok_unavailable",
            503,
            "TikTok is not answering",
            ("Nobody was signed in. Wait a moment, then try again.",),
        ),
        Problem(
            "store_error",
            503,
            "This site can not check your login right now",
            (
                "Its memory of logins is out of reach. You are not signed out: wait a"
                " moment, then load the page again.",
            ),
        ),
        Problem(
            "scope_required",
            403,
            "This page needs more from TikTok",
            ("You are signed in, but did not allow everything this page needs.",),
        ),
        Problem(
            "login_required",
            401,
            "Please log in",
            ("This page is for people who are logged in with TikTok.",),
        ),
        Problem(
            "scope_not_offered",
            400,
            "This site does not ask for that",
            ("The link asked TikTok for something that this site never asks for.",),
        ),
        Problem(
            "not_a_page_visit",
            403,
            "Log in with TikTok",
            ("A login begins when you open it yourself, not from inside a page.",),
        ),
        Problem(
            "cross_site",
            403,
            "This did not come from this site",
            ("For your safety, this works from a page of this site only.",),
        ),
        Problem(
            "method_not_allowed",
            405,
            "This address works differently",
            ("It does not answer this kind of request.",),
        ),
        Problem(
            "login_by_form",
            405,
            "Log in with TikTok",
            ("You will be asked at TikTok what this site may see, and come back.",),
        ),
        Problem(
            "query_too_long",
            414,
            "That address is too long",
            ("Nothing was done.",),
        ),
        Problem(
            "confirm_logout",
            200,
            "Log out?",
            (
                "You will be signed out of this site.",
                "Your TikTok account stays as it is.",
            ),
        ),
        Problem(
            "confirm_disconnect",
            200,
            "Disconnect from TikTok?",
            (
                "This site loses its access to your TikTok account, and you are signed"
                " out in every browser.",
            ),
        ),
        Problem(
            "disconnect_failed",
            502,
            "You are signed out, but TikTok did not confirm",
            (
                "This site has forgotten you. To be sure that its access ended, look"
                " at the apps in your TikTok settings under security.",
            ),
        ),
    )
}


def page(  # noqa: PLR0913 - the parts of a page
    code: str,
    *,
    ways: Iterable[Way] = (),
    notes: Iterable[str] = (),
    reference: str = "",
    headers: Iterable[tuple[str, str]] = (),
    cookies: Iterable[Cookie] = (),
    onward: str = "",
) -> Response:
    """Return the page for one of `PROBLEMS`.

    Args:
        code: which.
        ways: links and buttons, the first one prominent.
        notes: further sentences; escaped.
        reference: what the log line about it carries too.
        headers: further ones, such as Allow or Retry-After.
        cookies: to set or delete.
        onward: an address at another origin that a form here leads on to.
    """
    problem = PROBLEMS[code]
    texts = "".join(f"<p>{escape(text)}</p>" for text in (*problem.texts, *notes))
    links = "".join(
        _way(way, "plain" if place else "deed") for place, way in enumerate(ways)
    )
    foot = (
        f"<footer>Reference <code>{escape(reference)}</code></footer>"
        if reference
        else ""
    )
    body = (
        '<!doctype html><html lang="en" dir="ltr"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(problem.title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(problem.title)}</h1>{texts}"
        f'<div class="ways">{links}</div>{foot}</main></body></html>'
    )
    return Response(
        problem.status,
        (*_page_headers(onward), *headers, *(cookie.header() for cookie in cookies)),
        body.encode(),
    )


def _way(way: Way, style: str) -> str:
    url, label = escape(way.url), escape(way.label)
    if way.posts:
        return (
            f'<form method="post" action="{url}">'
            f'<button class="{style}">{label}</button></form>'
        )
    return f'<a class="{style}" href="{url}">{label}</a>'


def json_answer(
    status: int, facts: Mapping[str, object], headers: Iterable[tuple[str, str]] = ()
) -> Response:
    """Return an answer for a program."""
    return Response(
        status,
        (*BASE_HEADERS, ("content-type", "application/json"), *headers),
        json.dumps(facts).encode(),
    )


def redirect(
    location: str, *, status: int = 303, cookies: Iterable[Cookie] = ()
) -> Response:
    """Return a redirect; 303, so that what comes next is a GET."""
    sent = (cookie.header() for cookie in cookies)
    # PEP 3333's own checker wants a type even where there is no body.
    plain = ("content-type", "text/plain; charset=utf-8")
    return Response(status, (*BASE_HEADERS, plain, ("location", location), *sent))

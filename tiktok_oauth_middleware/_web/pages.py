"""The pages that a person sees when a login does not simply go on, and JSON answers.

A flow answers with an `ErrorPage`: a stable code, actions, values. `Pages` makes a
`Problem` of it, in the reader's language, and has it written: by the app's function if
there is one, else by ours. In both cases the status and every header are ours.

Our page is fixed texts; whatever else goes in is escaped. No script, no third party,
and styles allowed by their hash only. Every answer here is ``no-store``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from inspect import iscoroutinefunction
from typing import Any, Literal, NamedTuple

from tiktok_oauth_middleware._core.http import Cookie, Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.origins import origin_of
from tiktok_oauth_middleware.errors import ConfigurationError

from . import messages
from .messages import Messages, Texts
from .navigation import languages

# Logical properties, and no spacing of letters: both would be wrong in Arabic. The
# borders of what has none are for forced colours, which show no backgrounds.
_STYLE = """
:root{color-scheme:light dark;--ink:#1c1d21;--soft:#5b5e66;--paper:#f4f4f6;--card:#fff;
--line:#e0e1e6;--deed:#23345c;--deed-ink:#fff;--focus:#3d63dd}
@media(prefers-color-scheme:dark){:root{--ink:#f1f1f4;--soft:#a9acb5;--paper:#131417;
--card:#1d1f24;--line:#33363d;--deed:#c9d6f8;--deed-ink:#14203c;--focus:#8fa9ff}}
*{box-sizing:border-box}
body{margin:0;min-block-size:100vh;display:grid;place-items:center;
padding:clamp(.5rem,4vw,1.25rem);grid-template-columns:minmax(0,1fr);
font:1.0625rem/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
main{inline-size:100%;max-inline-size:30rem;padding-block:2.25rem;
padding-inline:clamp(1.25rem,6vw,2rem);border:1px solid var(--line);
border-radius:1rem;background:var(--card);overflow-wrap:anywhere}
h1{margin-block:0 .75rem;margin-inline:0;font-size:1.5rem;line-height:1.3}
p{margin-block:0 1rem;margin-inline:0}
form{margin:0}
.ways{display:flex;flex-wrap:wrap;gap:.5rem 1.25rem;align-items:center;
margin-block-start:1.5rem}
.deed,.plain{display:inline-block;font:inherit;cursor:pointer;border-radius:.6rem;
border:1px solid transparent;padding-block:.7rem}
.deed{padding-inline:1.15rem;font-weight:600;text-decoration:none;
color:var(--deed-ink);background:var(--deed)}
.plain{padding-inline:0;text-decoration:underline;color:var(--ink);background:none}
:focus-visible{outline:3px solid var(--focus);outline-offset:3px}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere;direction:ltr;
unicode-bidi:isolate}
footer{margin-block-start:1.75rem;padding-block-start:1rem;
border-block-start:1px solid var(--line);font-size:.875rem;color:var(--soft)}
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


#: The longest head of an answer that is sure to pass, in bytes: nginx by default takes
#: 4,096 of an app, and servers add their own 80.
HEAD_LIMIT = 4016
_STATUS_LINE = 40


@dataclass(frozen=True, slots=True)
class Action:
    """A way on from a page: a link, or a button that posts."""

    label: str
    #: A path of this site, with its query.
    url: str
    #: GET is a link; POST a form with a button and no fields.
    method: Literal["GET", "POST"] = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a page tells a person: what ``page=`` is given. Escape all of it."""

    #: Stable, such as ``login_denied``.
    code: str
    #: The HTTP status of the answer: 200 where a page only asks.
    status: int
    title: str
    #: Sentences, the first one first.
    texts: tuple[str, ...]
    #: Ways on, the first one prominent.
    ways: tuple[Action, ...] = ()
    #: What the line in the log says too, or "".
    reference: str = ""
    #: The language of the texts, as a tag such as ``de``.
    language: str = messages.ENGLISH
    #: For ``<style nonce="...">``; another one each time.
    nonce: str = ""


#: What an app writes pages with: HTML as str or UTF-8; None for ours.
PageMaker = Callable[[Problem], str | bytes | None]

_STATUSES: Mapping[str, int] = {
    "login_denied": 403,
    "login_expired": 400,
    "login_replayed": 400,
    "state_mismatch": 400,
    "already_signed_in": 409,
    "login_failed": 400,
    "tiktok_error": 502,
    "tiktok_unavailable": 503,
    "store_error": 503,
    "scope_required": 403,
    "login_required": 401,
    "login_unfinished": 401,
    "scope_not_offered": 400,
    "not_a_page_visit": 403,
    "cross_site": 403,
    "method_not_allowed": 405,
    "login_by_form": 405,
    "query_too_long": 414,
    "confirm_logout": 200,
    "confirm_disconnect": 200,
    "disconnect_failed": 502,
}
#: Every problem that there is, by code, in English.
PROBLEMS: Mapping[str, Problem] = {
    code: Problem(code=code, status=_STATUSES[code], title=title, texts=tuple(texts))
    for code, (title, *texts) in messages.PROBLEMS.items()
}


class Link(NamedTuple):
    """A way on, before it is said in a language."""

    #: Of `wording.WAYS`.
    name: str
    url: str
    posts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """What a flow answers a person with."""

    #: Of `PROBLEMS`.
    code: str
    ways: Sequence[Link] = ()
    #: Further sentences: names of `wording.NOTES` with their values.
    notes: Sequence[tuple[str, str]] = ()
    #: What the log line about it carries too; an error page that has none is given one.
    reference: str = ""
    #: Further headers, such as Allow or Retry-After.
    headers: Iterable[tuple[str, str]] = ()
    #: To set or delete.
    cookies: Iterable[Cookie] = ()
    #: An address at another origin that a form here leads on to.
    onward: str = ""


_ERROR = 400
#: What flows answer with.
Answer = ErrorPage | Response


class Pages:
    """Writes pages for people: in their language, and in the app's own way."""

    def __init__(
        self, page: PageMaker | None = None, texts: Texts | None = None
    ) -> None:
        """Take what the app says and writes.

        Raises:
            ConfigurationError: `page` is no plain function, or `texts` are wrong.
        """
        if page is not None and (not callable(page) or _is_async(page)):
            message = (
                "page is a plain function that returns HTML or None; pages are written"
                " at once, so it is no async def"
            )
            raise ConfigurationError(message)
        self._make = page
        self._wording = Messages(texts)

    def shown(self, answer: Answer, request: Request) -> Response:
        """Return an answer as it goes out: a page is written, all else is ready."""
        return self.written(answer, languages(request))

    @property
    def is_apps(self) -> bool:
        """Whether the app writes pages."""
        return self._make is not None

    def written(self, answer: Answer, wanted: Sequence[str]) -> Response:
        """Return an answer as it goes out to whoever wants these languages.

        The app may write it: no request, which holds cookies, is in a frame meanwhile.
        """
        if isinstance(answer, Response):
            return answer
        if not answer.reference and PROBLEMS[answer.code].status >= _ERROR:
            answer = replace(answer, reference=secrets.token_hex(4))
            logger.info("request refused [%s]: %s", answer.reference, answer.code)
        problem = self._problem(answer, wanted)
        own = self._own(problem)
        policy = _policy(answer.onward, None if own is None else problem.nonce)
        body = self._ours(problem) if own is None else own
        sent = (cookie.header() for cookie in answer.cookies)
        headers = (*BASE_HEADERS, *policy, *answer.headers, *sent)
        return Response(problem.status, headers, body)

    def _problem(self, page: ErrorPage, wanted: Iterable[str]) -> Problem:
        wording = self._wording
        language = wording.language(page.code, wanted)
        title, *texts = wording.say(language, page.code)
        texts += [wording.note(language, name, value) for name, value in page.notes]
        return replace(
            PROBLEMS[page.code],
            title=title,
            texts=tuple(texts),
            ways=tuple(
                Action(
                    wording.say(language, link.name)[0], link.url, _METHODS[link.posts]
                )
                for link in page.ways
            ),
            reference=page.reference,
            language=language,
            nonce="" if self._make is None else secrets.token_urlsafe(16),
        )

    def _own(self, problem: Problem) -> bytes | None:
        """Return the page that the app writes; None if it does not, or fails."""
        if self._make is None:
            return None
        try:
            made = self._make(problem)
            if made is None or isinstance(made, bytes):
                return made
            if isinstance(made, str):
                return made.encode("utf-8", "replace")
        except Exception as error:  # noqa: BLE001 - foreign code
            logger.error("page raised %s at %s", type(error).__name__, problem.code)
            return None
        kind = type(made).__name__
        logger.error("page returned %s at %s, not HTML", kind, problem.code)
        return None

    def _ours(self, problem: Problem) -> bytes:
        [reference] = self._wording.say(problem.language, "reference")
        return html(problem, reference)


def _is_async(call: Any) -> bool:
    """Whether to call this gives a coroutine; also of an object that can be called."""
    return iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__)


_METHODS: Mapping[bool, Literal["GET", "POST"]] = {False: "GET", True: "POST"}


def _policy(onward: str, nonce: str | None) -> tuple[tuple[str, str], ...]:
    """Return the headers of a page: ours, or the app's own with a nonce.

    A page of the app may show styles, images and fonts of its own site, and no more: no
    script, no third party. Forms lead to this site, and `onward`: Chromium holds
    form-action against the redirect that answers a form, too.
    """
    further = f" {origin_of(onward)}" if onward else ""
    shows = (
        f"style-src 'sha256-{_STYLE_HASH}'; "
        if nonce is None
        else f"style-src 'self' 'nonce-{nonce}'; img-src 'self'; font-src 'self'; "
    )
    return (
        (
            "content-security-policy",
            f"default-src 'none'; {shows}"
            f"form-action 'self'{further}; frame-ancestors 'none'; base-uri 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("content-type", "text/html; charset=utf-8"),
    )


def html(problem: Problem, reference: str = messages.NOTES["reference"]) -> bytes:
    """Return our page about a problem.

    Args:
        problem: what it tells.
        reference: how a reference is called, ``{}`` in its place.
    """
    texts = "".join(f'<p dir="auto">{escape(text)}</p>' for text in problem.texts)
    links = "".join(
        _way(way, "plain" if place else "deed")
        for place, way in enumerate(problem.ways)
    )
    before, _, after = reference.partition("{}")
    foot = (
        f'<footer dir="auto">{escape(before)}<code>'
        f"{escape(problem.reference)}</code>{escape(after)}</footer>"
        if problem.reference
        else ""
    )
    title, language = escape(problem.title), escape(problem.language)
    direction = _direction(problem.title)
    return (
        f'<!doctype html><html lang="{language}" dir="{direction}"><head>'
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f'<body><main><h1 dir="auto">{title}</h1>{texts}'
        f'<div class="ways">{links}</div>{foot}</main></body></html>'
    ).encode("utf-8", "replace")


def _direction(text: str) -> Literal["ltr", "rtl"]:
    """Return which way a text reads: its first letter says, no language's tag does."""
    # dir="auto" on the whole page would not see into parts that have one of their own.
    kinds = map(unicodedata.bidirectional, text)
    first = next((kind for kind in kinds if kind in ("L", "R", "AL")), "L")
    return "ltr" if first == "L" else "rtl"


def _way(way: Action, style: str) -> str:
    url, label = escape(way.url), escape(way.label)
    if way.method == "POST":
        return (
            f'<form method="post" action="{url}">'
            f'<button class="{style}" dir="auto">{label}</button></form>'
        )
    return f'<a class="{style}" dir="auto" href="{url}">{label}</a>'


def json_answer(
    status: int, facts: Mapping[str, object], headers: Iterable[tuple[str, str]] = ()
) -> Response:
    """Return an answer for a program."""
    return Response(
        status,
        (*BASE_HEADERS, ("content-type", "application/json"), *headers),
        json.dumps(facts).encode(),
    )


def without_referrer(response: Response) -> Response:
    """Return an answer whose address no page is told that comes next.

    The address of a callback holds a code and a state. Where it leads from there, also
    to a page of the same site, only the origin is named.
    """
    headers = tuple(
        (name, "strict-origin" if name == "referrer-policy" else value)
        for name, value in response.headers
    )
    return replace(response, headers=headers)


def head_size(response: Response) -> int:
    """Return about what the head of an answer takes, in bytes."""
    lines = (len(name) + len(value) + 4 for name, value in response.headers)
    return _STATUS_LINE + sum(lines)


def redirect(
    location: str, *, status: int = 303, cookies: Iterable[Cookie] = ()
) -> Response:
    """Return a redirect; 303, so that what comes next is a GET."""
    sent = (cookie.header() for cookie in cookies)
    # PEP 3333's own checker wants a type even where there is no body.
    plain = ("content-type", "text/plain; charset=utf-8")
    return Response(status, (*BASE_HEADERS, plain, ("location", location), *sent))

"""Pages for people, in their languages.

A flow returns an `ErrorPage`: a stable code, actions, values. `Pages` turns it into a
`Problem` in the reader's language and renders that with the app's function, if there is
one, else with `html`. In both cases the middleware sets the status and every header.

The built-in page is fixed text; every value in it is escaped. It has no script and
loads nothing, and its one style sheet is allowed by its hash. Every response made here
is ``no-store``.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal, NamedTuple, cast

from tiktok_oauth_middleware._core.http import Cookie, Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.origins import origin_of
from tiktok_oauth_middleware.errors import ConfigurationError, TikTokOAuthError
from tiktok_oauth_middleware.settings.arguments import is_async

from .messages import (
    ACTIONS,
    ENGLISH,
    NOTES,
    PROBLEM_TEXTS,
    ActionName,
    LanguageRanges,
    Messages,
    NoteName,
    ProblemCode,
    Texts,
)
from .messages.messages import is_right_to_left
from .navigation import language_ranges
from .responses import BASE_HEADERS, OPENER_POLICY

# Fonts by name for Chinese, Japanese and Korean: system-ui is the system's own font,
# which draws their shared letters as the system's language does, not the page's.
# Logical properties, and no letter spacing: physical ones and spacing would be wrong in
# Arabic. The transparent borders are for forced colours, which show no backgrounds.
_STYLE = """
:root{color-scheme:light dark;--ink:#1c1d21;--soft:#5b5e66;--paper:#f4f4f6;--card:#fff;
--line:#e0e1e6;--action:#23345c;--action-ink:#fff;--focus:#3d63dd}
@media(prefers-color-scheme:dark){:root{--ink:#f1f1f4;--soft:#a9acb5;--paper:#131417;
--card:#1d1f24;--line:#33363d;--action:#c9d6f8;--action-ink:#14203c;--focus:#8fa9ff}}
*{box-sizing:border-box}
body{margin:0;min-block-size:100vh;display:grid;place-items:center;
padding:clamp(.5rem,4vw,1.25rem);grid-template-columns:minmax(0,1fr);
font:1.0625rem/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
main{inline-size:100%;max-inline-size:30rem;padding-block:2.25rem;
padding-inline:clamp(1.25rem,6vw,2rem);border:1px solid var(--line);
border-radius:1rem;background:var(--card);overflow-wrap:anywhere}
h1{margin-block:0 .75rem;margin-inline:0;font-size:1.5rem;line-height:1.3;
text-wrap:balance}
p{margin-block:0 1rem;margin-inline:0;text-wrap:pretty}
form{margin:0}
body:lang(ja){font-family:-apple-system,"Segoe UI","Hiragino Sans","Yu Gothic UI",
Meiryo,"Noto Sans CJK JP","Noto Sans JP",sans-serif}
body:lang(ko){word-break:keep-all;font-family:-apple-system,"Segoe UI",
"Apple SD Gothic Neo","Malgun Gothic","Noto Sans CJK KR","Noto Sans KR",sans-serif}
body:lang(zh){font-family:-apple-system,"Segoe UI","PingFang SC","Microsoft YaHei UI",
"Noto Sans CJK SC","Noto Sans SC",sans-serif}
body:lang(zh-Hant),body:lang(zh-TW),body:lang(zh-HK){font-family:-apple-system,
"Segoe UI","PingFang TC","Microsoft JhengHei UI","Noto Sans CJK TC","Noto Sans TC",
sans-serif}
h1:lang(ja){word-break:auto-phrase}
.actions{display:flex;flex-wrap:wrap;gap:.5rem 1.25rem;align-items:center;
margin-block-start:1.5rem}
.primary,.secondary{display:inline-block;font:inherit;cursor:pointer;border-radius:.6rem;
border:1px solid transparent;padding-block:.7rem}
.primary{padding-inline:1.15rem;font-weight:600;text-decoration:none;
color:var(--action-ink);background:var(--action)}
.secondary{padding-inline:0;text-align:start;text-decoration:underline;
color:var(--ink);background:none}
:focus-visible{outline:3px solid var(--focus);outline-offset:3px}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere;direction:ltr;
unicode-bidi:isolate}
footer{margin-block-start:1.75rem;padding-block-start:1rem;
border-block-start:1px solid var(--line);font-size:.875rem;color:var(--soft)}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Action:
    """A link, or a button that posts, on a page."""

    label: str
    #: A path of this site, with its query.
    url: str
    #: GET is a link; POST is a form with a button and no fields.
    method: Literal["GET", "POST"] = "GET"
    #: Stable, such as ``try_again``; two actions are compared without it.
    name: str = field(default="", compare=False)


def link(name: ActionName, url: str) -> Action:
    """Return a link, in English."""
    return Action(ACTIONS[name], url, "GET", name)


def button(name: ActionName, url: str) -> Action:
    """Return a button that posts, in English."""
    return Action(ACTIONS[name], url, "POST", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The content of a page, which ``page=`` gets. Escape every value in HTML."""

    #: Stable, such as ``login_denied``.
    code: str
    #: The HTTP status of the response: 200 where the page only asks a question.
    status: int
    title: str
    #: Paragraphs, in order.
    texts: tuple[str, ...]
    #: Links and buttons, the most prominent one first.
    actions: tuple[Action, ...] = ()
    #: The reference that is also in the line of the log, or "".
    reference: str = ""
    #: The language of the texts, as a tag such as ``de``.
    language: str = ENGLISH
    #: For ``<style nonce="...">``; differs in each response.
    nonce: str = ""


#: An app's function that writes pages: HTML as str or UTF-8 bytes, or None for the
#: built-in page.
PageMaker = Callable[[Problem], str | bytes | None]

#: Every problem, by code, in English.
PROBLEMS: Mapping[str, Problem] = {
    code: Problem(code=code, status=row.status, title=row.title, texts=row.paragraphs)
    for code, row in PROBLEM_TEXTS.items()
}


def page_code(error: TikTokOAuthError) -> ProblemCode:
    """Return the code of the page about an error.

    An error class without a page of its own gets that of the nearest class above it.
    """
    codes = (vars(kind).get("code") for kind in type(error).__mro__)
    found = next((code for code in codes if code in PROBLEMS), "login_failed")
    return cast("ProblemCode", found)


class Note(NamedTuple):
    """A sentence with one value in it, before it is translated."""

    name: NoteName
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """A flow's answer for a person, before it is rendered in the reader's language."""

    code: ProblemCode
    actions: Sequence[Action] = ()
    #: Sentences after the paragraphs.
    notes: Sequence[Note] = ()
    #: The reference in the log line about it; an error page without one gets a new one.
    reference: str = ""
    #: Further headers, such as Allow or Retry-After.
    headers: Iterable[tuple[str, str]] = ()
    #: To set or delete.
    cookies: Iterable[Cookie] = ()
    #: A URL at another origin to which the answer to this page's form redirects.
    form_redirects_to: str = ""


_ERROR = 400
#: What a flow returns.
Answer = ErrorPage | Response


class Pages:
    """Renders pages in the reader's language, with the app's function if it has one."""

    def __init__(
        self, page: PageMaker | None = None, texts: Texts | None = None
    ) -> None:
        """Take the app's function and texts.

        Raises:
            ConfigurationError: `page` is not a plain function, or `texts` are wrong.
        """
        if page is not None and (not callable(page) or is_async(page)):
            message = (
                "page must be a plain function that returns HTML or None; pages are"
                " written at once, so it cannot be an async def"
            )
            raise ConfigurationError(message)
        self._page_maker = page
        #: The texts, of buttons on the app's own pages too.
        self.messages = Messages(texts)

    @property
    def runs_app_code(self) -> bool:
        """Whether the app writes pages."""
        return self._page_maker is not None

    def render(self, answer: Answer, request: Request) -> Response:
        """Return a response unchanged; render an `ErrorPage` into one."""
        if isinstance(answer, Response):
            return answer
        ranges = language_ranges(request)
        is_negotiated = request.language is None
        return self.render_for(answer, ranges, is_negotiated=is_negotiated)

    def render_for(
        self, answer: ErrorPage, ranges: LanguageRanges, *, is_negotiated: bool
    ) -> Response:
        """Return the response for a reader who prefers these languages.

        The app's function may run here, and reporters of exceptions record the locals
        of the frames above it: the request, which holds cookies, is in none of them.

        Args:
            answer: of a flow.
            ranges: what the reader prefers.
            is_negotiated: whether `ranges` are from Accept-Language; then the response
                varies by it.
        """
        if not answer.reference and PROBLEMS[answer.code].status >= _ERROR:
            answer = replace(answer, reference=secrets.token_hex(4))
            logger.info("request refused [%s]: %s", answer.reference, answer.code)
        problem = self._problem(answer, ranges)
        body = self._app_body(problem)
        nonce = None if body is None else problem.nonce
        policy = _policy_headers(answer.form_redirects_to, nonce)
        # Only the app knows the language of a page that it wrote.
        language: tuple[tuple[str, str], ...] = ()
        if body is None:
            reference = self.messages.texts(problem.language, "reference")[0]
            body = html(problem, reference)
            language = (("content-language", problem.language),)
        varies = (("vary", "Accept-Language"),) if is_negotiated else ()
        set_cookies = (cookie.header() for cookie in answer.cookies)
        headers = (
            *BASE_HEADERS,
            OPENER_POLICY,
            *policy,
            *language,
            *varies,
            *answer.headers,
            *set_cookies,
        )
        return Response(problem.status, headers, body)

    def _problem(self, page: ErrorPage, ranges: LanguageRanges) -> Problem:
        """Return the content of a page in the best available language."""
        messages = self.messages
        language = messages.language(page.code, ranges)
        title, *texts = messages.texts(language, page.code)
        texts += [
            messages.sentence(language, note.name, note.value) for note in page.notes
        ]
        return replace(
            PROBLEMS[page.code],
            title=title,
            texts=tuple(texts),
            actions=tuple(
                replace(action, label=messages.texts(language, action.name)[0])
                for action in page.actions
            ),
            reference=page.reference,
            language=language,
            nonce="" if self._page_maker is None else secrets.token_urlsafe(16),
        )

    def _app_body(self, problem: Problem) -> bytes | None:
        """Return the page that the app writes; None if it writes none, or fails."""
        if self._page_maker is None:
            return None
        try:
            made = self._page_maker(problem)
            if made is None or isinstance(made, bytes):
                return made
            if isinstance(made, str):
                return made.encode("utf-8", "replace")
        except Exception as error:  # noqa: BLE001 - the app's function
            logger.error("page raised %s at %s", type(error).__name__, problem.code)
            return None
        kind = type(made).__name__
        logger.error("page returned %s at %s, not HTML", kind, problem.code)
        return None


def _policy_headers(
    form_redirects_to: str, nonce: str | None
) -> tuple[tuple[str, str], ...]:
    """Return the headers that limit what a page may load and do.

    A page of the app may show styles, images and fonts of its own site, and no more: no
    script, no third party. Forms lead to this site, and to the origin that its answer
    redirects to: Chromium applies form-action to the redirect too.

    Args:
        form_redirects_to: as in `ErrorPage`.
        nonce: of a page that the app wrote; None for the built-in page.
    """
    further = f" {origin_of(form_redirects_to)}" if form_redirects_to else ""
    sources = (
        f"style-src 'sha256-{_STYLE_HASH}'; "
        if nonce is None
        else f"style-src 'self' 'nonce-{nonce}'; img-src 'self'; font-src 'self'; "
    )
    return (
        (
            "content-security-policy",
            f"default-src 'none'; {sources}"
            f"form-action 'self'{further}; frame-ancestors 'none'; base-uri 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("content-type", "text/html; charset=utf-8"),
    )


def html(problem: Problem, reference: str = NOTES["reference"]) -> bytes:
    """Return the built-in page.

    Args:
        problem: the content of the page.
        reference: the sentence with the reference, ``{}`` in its place.
    """
    direction = _direction(problem)
    texts = "".join(
        f"<p{_dir(text, direction)}>{escape(text)}</p>" for text in problem.texts
    )
    actions = "".join(
        _action_html(action, "secondary" if position else "primary", direction)
        for position, action in enumerate(problem.actions)
    )
    before, _, after = reference.partition("{}")
    footer = (
        f"<footer{_dir(reference, direction)}>{escape(before)}<code>"
        f"{escape(problem.reference)}</code>{escape(after)}</footer>"
        if problem.reference
        else ""
    )
    title, language = escape(problem.title), escape(problem.language)
    return (
        f'<!doctype html><html lang="{language}" dir="{direction}"><head>'
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{texts}"
        f'<div class="actions">{actions}</div>{footer}</main></body></html>'
    ).encode("utf-8", "replace")


#: Languages whose usual script is written from right to left.
_RIGHT_TO_LEFT = frozenset(
    ["ar", "ckb", "dv", "fa", "he", "iw", "ks", "ps", "sd", "ug", "ur", "yi"]
)
Direction = Literal["ltr", "rtl"]


def _direction(problem: Problem) -> Direction:
    """Return the direction of a page, by its title.

    The title's letters decide, since a language tag may not name the script. A title
    that begins with "TikTok" is still right to left if the rest is.
    """
    if not is_right_to_left(problem.title):
        return "ltr"
    if problem.language.partition("-")[0].lower() in _RIGHT_TO_LEFT:
        return "rtl"
    kinds = map(unicodedata.bidirectional, problem.title)
    first = next(kind for kind in kinds if kind in ("L", "R", "AL"))
    return "ltr" if first == "L" else "rtl"


def _dir(text: str, direction: Direction) -> str:
    """Return the attribute for a text, which may be in another language than the page.

    ``auto`` uses the first letter, which is wrong if a sentence of a right-to-left page
    begins with "TikTok".
    """
    if direction == "rtl" and is_right_to_left(text):
        return ""
    return ' dir="auto"'


def _action_html(action: Action, style: str, direction: Direction) -> str:
    url, label = escape(action.url), escape(action.label)
    attributes = f'class="{style}"{_dir(action.label, direction)}'
    if action.method == "POST":
        return (
            f'<form method="post" action="{url}">'
            f"<button {attributes}>{label}</button></form>"
        )
    return f'<a {attributes} href="{url}">{label}</a>'

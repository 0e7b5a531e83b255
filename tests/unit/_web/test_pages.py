"""The pages that people see: fixed texts, other text escaped, and protective
headers.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tiktok_oauth_middleware import Action, Problem
from tiktok_oauth_middleware._core.http import Cookie, Request
from tiktok_oauth_middleware._web.pages import PROBLEMS, ErrorPage, Pages, html
from tiktok_oauth_middleware._web.responses import (
    json_response,
    redirect,
)

VOID = {"meta"}


class Reader(HTMLParser):
    """A parser for a page's tags, attributes, text and nesting."""

    def __init__(self, body):
        super().__init__()
        self.tags = []
        self.text = ""
        self.style = ""
        self.open = []
        self.feed(body.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def read(response):
    reader = Reader(response.body)
    assert not reader.open
    return reader


def asking(language=None):
    """Return a browser's request, with or without a preferred language."""
    given = [] if language is None else [(b"accept-language", language.encode())]
    return Request(
        method="GET", path="/", mount="", query=b"", headers=given, read=None
    )


def page(code, *, actions=(), notes=(), reference="", **parts):
    """Return the answer with a page that has the given texts."""
    problem = PROBLEMS[code]
    problem = replace(
        problem,
        texts=(*problem.texts, *notes),
        actions=tuple(actions),
        reference=reference,
    )
    answer = Pages().render(ErrorPage(code=code, **parts), asking())
    return replace(answer, body=html(problem))


def headers(response):
    assert len({name for name, _ in response.headers}) == len(response.headers)
    return dict(response.headers)


# --- every problem -----------------------------------------------------------------


@pytest.mark.parametrize("code", PROBLEMS)
def test_problem_has_its_page(code):
    """Each code has a page with a title, texts and a status."""
    response, problem = page(code), PROBLEMS[code]
    reader = read(response)
    assert response.status == problem.status
    assert reader.text.count(problem.title) == 2, "as title and as heading"
    for text in problem.texts:
        assert text in reader.text


@pytest.mark.parametrize("code", PROBLEMS)
def test_problem_is_named_by_its_code(code):
    """The table has each problem under its own code, with a text."""
    problem = PROBLEMS[code]
    assert problem.code == code
    assert problem.title
    assert problem.texts
    assert 200 <= problem.status < 600


@pytest.mark.parametrize("code", PROBLEMS)
def test_page_has_no_script(code):
    """No page has a script, an event handler, or content of another site."""
    response = page(
        code,
        actions=[Action("On", "/x"), Action("Post", "/y", method="POST")],
        notes=["note"],
        reference="ref",
    )
    reader = read(response)
    names = {name for name, _ in reader.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "base"}
    attributes = {name for _, attrs in reader.tags for name in attrs}
    assert not [name for name in attributes if name.startswith("on")]
    assert not attributes & {"style", "src", "srcset"}
    assert b"http://" not in response.body
    assert b"https://" not in response.body


@pytest.mark.parametrize("code", PROBLEMS)
def test_page_is_readable_html(code):
    """A page begins with a doctype, and names its language and encoding."""
    response = page(code)
    reader = read(response)
    assert response.body.startswith(b"<!doctype html>")
    assert reader.all("html")[0]["lang"] == "en"
    assert {"charset": "utf-8"} in reader.all("meta")
    assert len(reader.all("h1")) == len(reader.all("main")) == 1


# --- escaping ----------------------------------------------------------------------

MARKUP = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</code></footer></main><script>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "{{7*7}} {0} %s $x",
    "<!--",
    "]]>",
    "\u2028<b>",
    "ü 日本 🎵 <b>",
]

PLACES = {
    "note": lambda text: {"notes": [text]},
    "reference": lambda text: {"reference": text},
    "label of a link": lambda text: {"actions": [Action(text, "/x")]},
    "label of a button": lambda text: {"actions": [Action(text, "/x", method="POST")]},
    "address of a link": lambda text: {"actions": [Action("On", text)]},
    "address of a form": lambda text: {"actions": [Action("On", text, method="POST")]},
}


@pytest.mark.parametrize("markup", MARKUP, ids=ascii)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_markup_in_a_value_is_text(place, markup):
    """Markup in any value of a page is shown as text."""
    plain, marked = (read(page("login_failed", **place(t))) for t in ("plain", markup))
    assert [name for name, _ in plain.tags] == [name for name, _ in marked.tags]
    assert [sorted(attrs) for _, attrs in plain.tags] == [
        sorted(attrs) for _, attrs in marked.tags
    ]
    shown = [marked.text, *(v for _, attrs in marked.tags for v in attrs.values())]
    assert any(markup in text for text in shown)


def test_whole_page_of_markup_has_the_usual_tags():
    """Markup in all values at once adds no tag to the page."""

    def everywhere(text):
        return page(
            "confirm_logout",
            actions=[Action(text, text), Action(text, text, method="POST")],
            notes=[text, text],
            reference=text,
        )

    for markup in MARKUP:
        tags = [name for name, _ in read(everywhere(markup)).tags]
        assert tags == [name for name, _ in read(everywhere("x")).tags]


# --- actions, notes, reference --------------------------------------------------------


def test_link_goes_where_it_says():
    """An action with a path is a link with its label."""
    reader = read(
        page("login_denied", actions=[Action("Try again", "/login?next=/x&y=z")])
    )
    [link] = reader.all("a")
    assert link["href"] == "/login?next=/x&y=z"
    assert "Try again" in reader.text


def test_button_posts():
    """An action that posts is a form with a button."""
    reader = read(
        page("confirm_logout", actions=[Action("Log out", "/logout", method="POST")])
    )
    [form] = reader.all("form")
    assert (form["method"], form["action"]) == ("post", "/logout")
    assert len(reader.all("button")) == 1
    assert not reader.all("a")


def test_first_action_is_prominent():
    """Only the first action is highlighted."""
    actions = [Action("One", "/1"), Action("Two", "/2"), Action("Three", "/3")]
    reader = read(page("login_denied", actions=actions))
    assert [attrs["class"] for attrs in reader.all("a")] == [
        "primary",
        "secondary",
        "secondary",
    ]


def test_actions_may_be_any_iterable():
    """Actions and notes may come from a generator."""
    reader = read(
        page(
            "login_denied",
            actions=(Action(label, "/x") for label in "ab"),
            notes=(note for note in ["first note", "second note"]),
        )
    )
    assert len(reader.all("a")) == 2
    assert reader.text.index("first note") < reader.text.index("second note")


def test_reference_is_shown_if_there_is_one():
    """The page shows the log line's reference, or no line about one."""
    assert "Reference 0a1b2c3d" in read(page("tiktok_error", reference="0a1b2c3d")).text
    assert "Reference" not in read(page("tiktok_error")).text


def test_error_page_without_a_reference_gets_one(caplog):
    """An error page without a reference gets a new one, which is logged."""
    caplog.set_level("INFO")
    given = ErrorPage(code="tiktok_error", reference="0a1b2c3d")
    assert "Reference 0a1b2c3d" in read(Pages().render(given, asking())).text
    asks = Pages().render(ErrorPage(code="confirm_logout"), asking())
    assert "Reference" not in read(asks).text
    assert caplog.messages == []
    shown = read(Pages().render(ErrorPage(code="cross_site"), asking())).text
    [line] = caplog.messages
    assert f"Reference {line[17:25]}" in shown


# --- headers -----------------------------------------------------------------------


def directives(response):
    policy = headers(response)["content-security-policy"]
    return dict(part.strip().split(" ", 1) for part in policy.split(";"))


@pytest.mark.parametrize("code", PROBLEMS)
def test_page_has_every_header(code):
    """A page has the headers against caching, framing, sniffing and access by other
    windows.
    """
    sent = headers(page(code))
    assert sent["cache-control"] == "no-store"
    assert sent["x-content-type-options"] == "nosniff"
    assert sent["referrer-policy"] == "same-origin"
    assert sent["cross-origin-opener-policy"] == "same-origin"
    assert sent["x-frame-options"] == "DENY"
    assert sent["content-type"] == "text/html; charset=utf-8"


def test_policy_allows_nothing_but_our_style_and_form():
    """The content policy allows only the page's style and forms to this site."""
    policy = directives(page("login_failed"))
    style = policy.pop("style-src")
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", style)
    assert policy == {
        "default-src": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }


@pytest.mark.parametrize("code", PROBLEMS)
def test_hash_in_the_policy_is_the_style_on_the_page(code):
    """The page's style has the hash in the policy."""
    response = page(code)
    style = re.search(rb"<style>(.*?)</style>", response.body, re.DOTALL)[1]
    assert response.body.count(b"<style") == 1
    hashed = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert directives(response)["style-src"] == f"'sha256-{hashed}'"


def test_style_fetches_nothing():
    """The style has no import and no URL."""
    style = read(page("login_failed")).style
    assert "@import" not in style
    assert "url(" not in style


def test_further_headers_and_cookies_are_sent():
    """Further headers and cookies are sent together with the usual ones."""
    cookie = Cookie(name="__Host-tiktok", value="", max_age=0, secure=True)
    response = page("store_error", headers=[("retry-after", "5")], cookies=[cookie])
    assert headers(response)["retry-after"] == "5"
    assert headers(response)["set-cookie"] == cookie.header()[1]
    assert headers(response)["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "make",
    [
        lambda value: page("login_failed", headers=[("x-test", value)]),
        lambda value: json_response(401, {}, [("x-test", value)]),
        redirect,
    ],
    ids=["page", "json", "redirect"],
)
@pytest.mark.parametrize("value", ["/x\r\ny: z", "/x\n", "/\x00", "/ü"], ids=ascii)
def test_answer_refuses_a_split_header(make, value):
    """An answer cannot be made with a line break in a header."""
    with pytest.raises(ValueError, match="not a header"):
        make(value)


def test_problem_is_a_value():
    """A problem is immutable."""
    with pytest.raises(AttributeError):
        PROBLEMS["login_failed"].title = "x"
    assert isinstance(PROBLEMS["login_failed"], Problem)

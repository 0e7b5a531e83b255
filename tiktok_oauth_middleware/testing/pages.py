"""The stand-in's pages: the consent page, error pages, and pictures.

They state that this is not TikTok, and use neither its logo nor its colours. They have
no script; every value is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from urllib.parse import urlsplit

from .authorize import ConsentRequest, Refused
from .people import Person
from .provider import SCOPE_TEXTS

_STYLE = """
:root{color-scheme:light dark;--ink:#20242c;--soft:#5a6270;--paper:#eef1f4;--card:#fff;
--line:#d7dce3;--action:#1d5c4d;--action-ink:#fff;--mark:#e3f1ec;--note:#fff4d6;
--note-ink:#5c4300;--switch:#868d99}
@media(prefers-color-scheme:dark){:root{--ink:#eef0f3;--soft:#a7aeba;--paper:#14171b;
--card:#1e2228;--line:#363c46;--action:#9ad9c6;--action-ink:#08342a;--mark:#22352f;
--note:#3a3011;--note-ink:#ffe2a0;--switch:#737b88}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
.note{padding:.65rem 1rem;text-align:center;font-size:.9rem;background:var(--note);
color:var(--note-ink)}
main{width:100%;max-width:30rem;margin:clamp(1rem,6vh,4rem) auto;padding:0 1rem 2rem}
.card{padding:1.75rem 1.5rem;border:1px solid var(--line);border-radius:1.1rem;
background:var(--card)}
h1{margin:0 0 .35rem;font-size:1.4rem;line-height:1.25}
.soft{color:var(--soft)}
p{margin:0 0 1rem}
fieldset{min-width:0;margin:1.4rem 0 0;padding:0;border:0}
legend{padding:0 0 .55rem;font-weight:600}
label{display:flex;align-items:center;gap:.85rem;padding:.7rem .85rem;cursor:pointer;
border:1px solid var(--line);border-radius:.8rem}
label+label{margin-top:.5rem}
label b{display:block;font-weight:600}
label span.words{flex:1;min-width:0}
label small{color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
label:has(:checked){background:var(--mark);border-color:var(--action)}
label img{width:2.6rem;height:2.6rem;border-radius:50%}
input[type=radio]{width:1.15rem;height:1.15rem;margin:0;accent-color:var(--action)}
input.switch{appearance:none;position:relative;flex:none;width:2.75rem;height:1.6rem;
margin:0;border-radius:1rem;background:var(--switch);cursor:pointer}
input.switch::before{content:"";position:absolute;inset-block-start:.2rem;
inset-inline-start:.2rem;width:1.2rem;height:1.2rem;border-radius:50%;background:#fff}
input.switch:checked{background:var(--action)}
input.switch:checked::before{inset-inline-start:1.35rem;background:var(--action-ink)}
label:has(:focus-visible),button:focus-visible{outline:3px solid #4f86f7;
outline-offset:2px}
input:focus-visible{outline:none}
.ways{display:flex;gap:.75rem;margin-top:1.6rem}
details{margin-top:1.2rem;color:var(--soft);font-size:.9rem}
summary{cursor:pointer}
details .ways{flex-wrap:wrap;margin-top:.8rem}
details button{padding:.5rem .7rem}
summary:focus-visible{outline:3px solid #4f86f7;outline-offset:2px}
button{flex:1;padding:.8rem 1rem;font:inherit;font-weight:600;cursor:pointer;
border:1px solid var(--line);border-radius:.8rem;color:var(--ink);background:none}
button.action{border-color:var(--action);color:var(--action-ink);background:var(--action)}
dl{display:grid;grid-template-columns:auto 1fr;gap:.35rem 1rem;margin:1.25rem 0 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere;font-family:ui-monospace,monospace}
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
@media(max-width:30rem){main{margin-top:1rem}.card{padding:1.25rem 1.1rem}
fieldset{margin-top:1rem}label{padding:.6rem .8rem}.ways{margin-top:1.1rem}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_NOTE = "This is a local stand-in for development. It is not TikTok."


def headers(redirect_uri: str = "") -> tuple[tuple[str, str], ...]:
    """Return a page's headers; its form may lead on to the origin of `redirect_uri`.

    Chromium applies form-action to the redirect that answers a form, too.
    """
    parts = urlsplit(redirect_uri)
    onward = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return (
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        (
            "content-security-policy",
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src 'self'; "
            f"form-action 'self'{onward}; frame-ancestors 'none'; base-uri 'none'",
        ),
    )


def consent_page(
    request: ConsentRequest,
    people: Sequence[Person],
    request_id: str,
    chosen: str | None,
) -> bytes:
    """Return the page on which a person decides; `chosen` decided last."""
    site = urlsplit(request.redirect_uri).netloc
    first = chosen or people[0].open_id
    accounts = "".join(
        _account(p, number, is_checked=p.open_id == first)
        for number, p in enumerate(people)
    )
    switches = "".join(_switch(scope) for scope in request.scopes)
    return _page(
        "Continue to the app?",
        f"<h1>Log in to <bdi>{escape(site)}</bdi></h1>"
        '<p class="soft">Choose who you are and what the app may do.</p>'
        '<form method="post" action="/stand-in/decide">'
        f'<input type="hidden" name="request" value="{escape(request_id)}">'
        f"<fieldset><legend>Account</legend>{accounts}</fieldset>"
        f"<fieldset><legend>The app would like to</legend>{switches}</fieldset>"
        # The first button is the one that the Enter key presses.
        '<div class="ways">'
        '<button class="action" name="decision" value="continue">Continue</button>'
        '<button name="decision" value="cancel">Cancel</button></div>'
        "<details><summary>Come back with an error</summary>"
        '<div class="ways">'
        '<button name="decision" value="not_eligible">Not eligible</button>'
        '<button name="decision" value="server_error">Server error</button>'
        '<button name="decision" value="temporarily_unavailable">Unavailable</button>'
        "</div></details>"
        "</form>",
    )


def _account(person: Person, number: int, *, is_checked: bool) -> str:
    checked = " checked" if is_checked else ""
    return (
        f'<label><input type="radio" name="person" value="{escape(person.open_id)}"'
        f'{checked}><img src="/stand-in/face/{number}.svg" alt="">'
        f'<span class="words"><b>{escape(person.display_name)}</b>'
        f"<small>@{escape(person.username)}</small></span></label>"
    )


def _switch(scope: str) -> str:
    words = SCOPE_TEXTS.get(scope, "Use a scope that this stand-in has no words for")
    return (
        f'<label><span class="words"><b>{escape(words)}</b>'
        f"<small>{escape(scope)}</small></span>"
        '<input class="switch" type="checkbox" role="switch" name="scope"'
        f' value="{escape(scope)}" checked></label>'
    )


def error_page(refused: Refused, log_id: str) -> bytes:
    """Return what TikTok shows instead of a callback."""
    facts = {
        "error": refused.error,
        "errCode": str(refused.code or "none known"),
        "error_type": refused.kind,
        "logid": log_id,
    }
    rows = "".join(
        f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()
    )
    text = f"<p>About {escape(refused.kind)}: {escape(refused.text)}.</p>"
    return _page(
        "Something went wrong",
        "<h1>Something went wrong</h1>"
        '<p class="soft">TikTok would end here too: the app gets no answer.</p>'
        f"{text}<dl>{rows}</dl>",
    )


def plain_page(title: str, text: str) -> bytes:
    """Return a page with a sentence."""
    return _page(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>")


def avatar(person: Person) -> bytes:
    """Return a drawn avatar, as SVG."""
    back, front = person.colours
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96">'
        f'<rect width="96" height="96" fill="{back}"/>'
        f'<circle cx="48" cy="38" r="17" fill="{front}"/>'
        f'<path d="M14 96c3-24 17-34 34-34s31 10 34 34z" fill="{front}"/></svg>'
    ).encode()


def cover(name: str) -> bytes:
    """Return a drawn cover of a video, in a colour of its own."""
    hue = hashlib.sha256(name.encode()).digest()[0] * 360 // 256
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 128">'
        f'<rect width="72" height="128" fill="hsl({hue},40%,45%)"/>'
        '<path d="M28 50v28l24-14z" fill="#fff"/></svg>'
    ).encode()


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<header class="note">{_NOTE}</header>'
        f'<main><div class="card">{body}</div></main></body></html>'
    ).encode()

"""The login button: accessible HTML with text and without a logo.

TikTok permits its name in text, and its logo only in the buttons of its own pack
(https://developers.tiktok.com/docs/en/getting-started-design-guidelines), so this
button has only text, in black and white.

It is a link if a login begins by GET, and a form if it begins by POST; the login path
accepts that form only from this site. It has no script, no file, and no ``style``
attribute, which a Content-Security-Policy can only allow for all elements together. Its
style sheet is an element that can have a nonce; if a policy blocks it, the plain link
or button still works. Every value in the HTML is escaped.
"""

from __future__ import annotations

import re
from html import escape
from typing import Literal, get_args

from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware.errors import ConfigurationError

Look = Literal["black", "white", "outline"]

# Sizes in px have a rem beside them: the px keep 44 x 44 (WCAG 2.2, 2.5.5) on sites
# that set the root's font size to 10 px, the rem follow a reader's larger letters.
# Each class is written twice, so that these rules take precedence over a site's own
# rules about links. The ring is white, dark, white, and so visible beside any button on
# any background (WCAG technique C40). In forced colours only the border shows the
# button's edge. Contrasts of text: 12:1 and more.
STYLE = """\
.tiktok-login.tiktok-login{box-sizing:border-box;display:inline-flex;
align-items:center;justify-content:center;max-inline-size:100%;
min-block-size:max(44px,2.75rem);min-inline-size:44px;margin:0;
padding-block:.5rem;padding-inline:max(20px,1.25rem);
border:1px solid;border-radius:4px;cursor:pointer;
font:600 max(16px,1rem)/1.25 system-ui,sans-serif;letter-spacing:normal;
text-align:center;text-decoration:none;text-transform:none;overflow-wrap:anywhere}
.tiktok-login.tiktok-login:focus-visible{outline:3px solid #121212;
outline-offset:2px;box-shadow:0 0 0 7px #fff}
.tiktok-login.tiktok-login-black{background:#121212;color:#fff;border-color:#121212}
.tiktok-login.tiktok-login-black:hover{background:#333}
.tiktok-login.tiktok-login-white{background:#fff;color:#161823;border-color:#fff}
.tiktok-login.tiktok-login-white:hover{background:#e8e8e8}
.tiktok-login.tiktok-login-outline{background:#fff;color:#161823;border-color:#161823}
.tiktok-login.tiktok-login-outline:hover{background:#e8e8e8}
.tiktok-login-form.tiktok-login-form{display:inline-block;max-inline-size:100%;margin:0}
@media(prefers-color-scheme:dark){
.tiktok-login.tiktok-login-black{border-color:#75777f}
.tiktok-login.tiktok-login-outline{background:#121212;color:#fff;border-color:#fff}
.tiktok-login.tiktok-login-outline:hover{background:#333}}
"""
#: A nonce as policies have it (Content Security Policy Level 3, section 2.3.1).
_NONCE = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


class SafeHtml(str):
    """HTML that Jinja2, Django, Mako and other templates do not escape.

    Its methods return plain str objects, which templates escape.
    """

    __slots__ = ()

    def __html__(self) -> str:
        """Return the HTML; template engines ask for it instead of escaping."""
        return str(self)


def check_look(look: str) -> None:
    """Refuse an unknown look.

    Raises:
        ConfigurationError: there is no such look.
    """
    if look not in get_args(Look):
        looks = ", ".join(get_args(Look))
        message = f"look must be one of {looks}; got {one_line(str(look))}"
        raise ConfigurationError(message)


def button_html(
    url: str,
    label: str,
    look: str,
    *,
    is_form: bool,
    language: str = "",
    nonce: str | None = "",
) -> SafeHtml:
    """Return a link or a form that looks like a button.

    Args:
        url: where it leads.
        label: its text, unescaped.
        look: the style, one of `Look`.
        is_form: whether it posts.
        language: the tag of the label's language, or "".
        nonce: for the style sheet; "" for none, None for no style sheet.

    Raises:
        ConfigurationError: there is no such look, the label is empty, or the nonce
            could not be used in a policy.
    """
    check_look(look)
    # To a plain str first: a subclass (Markup) may have its own rules for escaping.
    text = escape(str(label).strip())
    if not text:
        message = "the label of a button is empty, so it would have no name"
        raise ConfigurationError(message)
    marks = f'class="tiktok-login tiktok-login-{look}" dir="auto"'
    if language:
        marks += f' lang="{escape(language)}"'
    address = escape(str(url))
    sheet = _style_sheet(nonce)
    if is_form:
        return SafeHtml(
            f'{sheet}<form class="tiktok-login-form" method="post" action="{address}">'
            f'<button type="submit" {marks}>{text}</button></form>'
        )
    return SafeHtml(f'{sheet}<a {marks} rel="nofollow" href="{address}">{text}</a>')


def _style_sheet(nonce: str | None) -> str:
    """Return the style element.

    Raises:
        ConfigurationError: the nonce could not be used in a policy.
    """
    if nonce is None:
        return ""
    given = str(nonce)  # a framework's nonce may be lazy
    if not given:
        return f"<style>{STYLE}</style>"
    if not _NONCE.fullmatch(given):
        message = "nonce is not one that a Content-Security-Policy can name"
        raise ConfigurationError(message)
    return f'<style nonce="{given}">{STYLE}</style>'

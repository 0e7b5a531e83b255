"""``{% load tiktok %}``: the button that logs in, and the form that logs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import template
from django.utils.html import format_html
from django.utils.translation import gettext

from tiktok_oauth_middleware.auth import auth_in

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

register = template.Library()

_SHAPE = (
    "display:inline-block;padding:12px 20px;border-radius:4px;font:600 16px/20px"
    " system-ui,sans-serif;text-decoration:none;cursor:pointer;"
)
#: Each has a contrast of 12:1 or more between its text and its ground.
LOOKS: Mapping[str, str] = {
    "black": "background:#121212;color:#fff;border:1px solid #121212",
    "white": "background:#fff;color:#121212;border:1px solid #fff",
    "outline": "background:#fff;color:#121212;border:1px solid #121212",
}


def _html(text: str, *values: object) -> SafeString:
    """Return HTML with the values escaped in it."""
    return cast("SafeString", format_html(text, *values))


def _style(look: str) -> str:
    if look not in LOOKS:
        message = f"look is one of {', '.join(LOOKS)}; got {look!r}"
        raise template.TemplateSyntaxError(message)
    return _SHAPE + LOOKS[look]


@register.simple_tag(takes_context=True)
def tiktok_login_button(
    context: Mapping[str, Any],
    next: str | None = None,
    look: str = "black",
    scopes: str = "",
    label: str | None = None,
) -> SafeString:
    """Return a link that looks like a button and logs in: a word, and no logo.

    Args:
        context: of the template, with the request in it.
        next: the path to come back to; the page that it is on if not given.
        look: ``black``, ``white`` or ``outline``.
        scopes: further ones to ask for, with commas between them.
        label: its text; "Log in with TikTok", in the active language, if not given.

    Raises:
        ConfigurationError: there is no TikTok middleware, or a scope is not offered.
        TemplateSyntaxError: there is no such look.
    """
    request = context["request"]
    # Its address depends on no session, so the page may still be cached.
    auth = auth_in(request, required=True)
    target = request.get_full_path() if next is None else next
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    return _html(
        '<a class="tiktok-login" rel="nofollow" href="{}" style="{}">{}</a>',
        auth.login_url(target, wanted),
        _style(look),
        gettext("Log in with TikTok") if label is None else label,
    )


@register.simple_tag(takes_context=True)
def tiktok_logout_button(
    context: Mapping[str, Any], look: str = "outline", label: str | None = None
) -> SafeString:
    """Return a form whose button logs out of TikTok, and of Django.

    Raises:
        ConfigurationError: there is no TikTok middleware.
        TemplateSyntaxError: there is no such look.
    """
    auth = auth_in(context["request"], required=True)
    return _html(
        '<form class="tiktok-logout" method="post" action="{}">'
        '<button type="submit" style="{}">{}</button></form>',
        auth.logout_url,
        _style(look),
        gettext("Log out") if label is None else label,
    )

"""``{% load tiktok %}``: a button to log in, and a form to log out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import template
from django.utils.translation import get_language, gettext

from tiktok_oauth_middleware._web.button import Look, button_html, check_look
from tiktok_oauth_middleware._web.request_auth import auth_in
from tiktok_oauth_middleware.errors import ConfigurationError

if TYPE_CHECKING:
    from tiktok_oauth_middleware._web.button import SafeHtml

register = template.Library()

_LOG_IN, _LOG_OUT = "Log in with TikTok", "Log out"


def _check_look(look: str) -> None:
    """Refuse an unknown look, as a mistake in the template."""
    try:
        check_look(look)
    except ConfigurationError as error:
        raise template.TemplateSyntaxError(str(error)) from error


@register.simple_tag(takes_context=True)
def tiktok_login_button(
    context: Mapping[str, Any],
    next: str | None = None,
    look: Look = "black",
    scopes: str = "",
    label: str | None = None,
    nonce: str | None = "",
) -> SafeHtml:
    """Return `TikTokAuth.login_button`: a link that looks like a button, or a form.

    Args:
        context: of the template, with the request in it.
        next: the path to which the login leads; the current page if not given.
        look: ``black``, ``white`` or ``outline``.
        scopes: further scopes to request, separated by commas.
        label: its text. If not given, the project's translation of "Log in with
            TikTok", or else the text of ``texts`` in the active language.
        nonce: of the page's Content-Security-Policy; None leaves the style sheet out.

    Raises:
        ConfigurationError: there is no TikTok middleware, or a scope is not offered.
        TemplateSyntaxError: there is no such look.
    """
    _check_look(look)
    request = context["request"]
    # Its address depends on no session, so the page may still be cached.
    auth = auth_in(request, required=True)
    if label is None and (translated := gettext(_LOG_IN)) != _LOG_IN:
        label = translated
    return auth.login_button(
        request.get_full_path() if next is None else next,
        look,
        scopes=[scope.strip() for scope in scopes.split(",") if scope.strip()],
        label=label,
        language=get_language(),
        nonce=nonce,
    )


@register.simple_tag(takes_context=True)
def tiktok_logout_button(
    context: Mapping[str, Any],
    look: Look = "outline",
    label: str | None = None,
    nonce: str | None = "",
) -> SafeHtml:
    """Return a form whose button logs out of TikTok, and of Django.

    Args:
        context: of the template, with the request in it.
        look: ``black``, ``white`` or ``outline``.
        label: its text. If not given, Django's or the project's translation of "Log
            out", or else the text ``log_out`` of the pages in the active language.
        nonce: as for `tiktok_login_button`.

    Raises:
        ConfigurationError: there is no TikTok middleware.
        TemplateSyntaxError: there is no such look.
    """
    _check_look(look)
    auth = auth_in(context["request"], required=True)
    tag, text = "", gettext(_LOG_OUT) if label is None else label
    if label is None and text == _LOG_OUT:
        tag, text = auth._mount_point.label("log_out", get_language())
    return button_html(
        auth.logout_url,
        text,
        look,
        is_form=True,
        language=tag,
        nonce=nonce,
    )

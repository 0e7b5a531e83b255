"""TikTok's wire format: addresses, media type, and the forms of values."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._oauth import protocol
from tiktok_oauth_middleware._oauth.protocol import is_visible
from tiktok_oauth_middleware._oauth.scopes import is_scope

# --- addresses ---------------------------------------------------------------------


def test_addresses_are_tiktoks():
    """The four addresses are those of TikTok's documents."""
    assert protocol.AUTHORIZE == "https://www.tiktok.com/v2/auth/authorize/"
    assert protocol.TOKEN == "https://open.tiktokapis.com/v2/oauth/token/"
    assert protocol.REVOKE == "https://open.tiktokapis.com/v2/oauth/revoke/"
    assert protocol.USER_INFO == "https://open.tiktokapis.com/v2/user/info/"


def test_form_has_no_charset():
    """The media type of a form has no charset."""
    assert protocol.FORM == "application/x-www-form-urlencoded"


# --- is_visible and is_scope -------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "!", "~", "act.x!5259.va", "x" * 10])
def test_visible_ascii_is_visible(text):
    """A text of one to ten visible ASCII characters is accepted."""
    assert is_visible(text, 10 if len(text) <= 10 else 99)


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "a\n", "\na", "a\x00", "\x7f", "ü", "\u2028", "\ud800", "x" * 11],
)
def test_other_text_is_not_visible(text):
    """An empty or long text, a space, a control and a non-ASCII character are refused."""
    assert not is_visible(text, 10)


@pytest.mark.parametrize(
    "text", ["user.info.basic", "portability.all.single", "a", "A-_9"]
)
def test_scope_is_letters_digits_and_dots(text):
    """A scope consists of letters, digits, dots, hyphens and underscores."""
    assert is_scope(text)


@pytest.mark.parametrize("text", ["", "a,b", "a b", "a\n", "ü", "a&b", "a%20", "a/b"])
def test_list_of_scopes_is_not_a_scope(text):
    """A text with a comma, a space or another character is not a scope."""
    assert not is_scope(text)


def test_limits_are_those_of_the_requirements():
    """A code has up to 2048 characters, a state up to 512."""
    assert (protocol.LONGEST_CODE, protocol.LONGEST_STATE) == (2048, 512)

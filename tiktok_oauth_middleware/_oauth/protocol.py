"""TikTok's wire format: its addresses, parameters, answers and webhook signature.

Pure: text and bytes in, values or one of our errors out; no I/O, and no clock but the
time given. What TikTok does its own way is here and nowhere else: ``client_key``,
scopes with commas, a PKCE challenge in hex, errors in a body with status 200, two
shapes of error. (https://developers.tiktok.com/doc/oauth-user-access-token-management)

Everything that TikTok sends is foreign: a field that is not what it must be refuses
the whole answer, since half an answer would be half an identity.
"""

from __future__ import annotations

import re

AUTHORIZE = "https://www.tiktok.com/v2/auth/authorize/"
#: The slash at the end is part of it: without, TikTok answers 404.
TOKEN = "https://open.tiktokapis.com/v2/oauth/token/"  # noqa: S105 - an address
REVOKE = "https://open.tiktokapis.com/v2/oauth/revoke/"
USER_INFO = "https://open.tiktokapis.com/v2/user/info/"

#: The bare media type: TikTok may refuse a ``charset`` behind it.
FORM = "application/x-www-form-urlencoded"


LONGEST_CODE = 2048
LONGEST_STATE = 512
LONGEST_TOKEN = 4096
LONGEST_OPEN_ID = 256

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_SCOPE = re.compile(r"[A-Za-z0-9._\-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def is_visible(text: str, longest: int) -> bool:
    """Whether `text` is 1 to `longest` visible ASCII characters: VSCHAR of RFC 6749."""
    return len(text) <= longest and _VISIBLE.fullmatch(text) is not None


def is_scope(text: str) -> bool:
    """Whether `text` can name one scope of TikTok's."""
    return _SCOPE.fullmatch(text) is not None


# --- to TikTok ---------------------------------------------------------------------


_MILLISECONDS = 10**11


# --- the callback ------------------------------------------------------------------


# --- answers -----------------------------------------------------------------------


def is_open_id(text: str) -> bool:
    if not 0 < len(text) <= LONGEST_OPEN_ID or _CONTROL.search(text):
        return False
    return is_encodable(text)


def is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


# --- webhooks ----------------------------------------------------------------------

#: Times from here on are in milliseconds: as seconds they would be after the year 5138,
#: and as milliseconds all before are in or before March 1973.
_MILLISECONDS = 10**11

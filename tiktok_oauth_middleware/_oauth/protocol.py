"""TikTok's addresses, limits and the syntax of its values.

The modules that parse TikTok's data are pure: they take text, bytes and the time,
return values or raise one of our errors, and do no I/O. Only this package knows the
differences between TikTok and OAuth 2.0: ``client_key``, commas between scopes, a PKCE
challenge in hex, errors with status 200, two shapes of error
(https://developers.tiktok.com/doc/oauth-user-access-token-management).

Everything that TikTok sends is untrusted. One invalid field makes the whole answer
invalid, because a user must not be identified by a part of an answer.
"""

from __future__ import annotations

import re

_API = "https://open.tiktokapis.com/v2"
AUTHORIZE = "https://www.tiktok.com/v2/auth/authorize/"
# The slash at the end is part of each address: without it TikTok answers 404.
TOKEN = f"{_API}/oauth/token/"
REVOKE = f"{_API}/oauth/revoke/"
USER_INFO = f"{_API}/user/info/"

#: The bare media type: TikTok may refuse a ``charset`` after it.
FORM = "application/x-www-form-urlencoded"

LONGEST_CODE = 2048
LONGEST_STATE = 512
LONGEST_TOKEN = 4096
LONGEST_OPEN_ID = 256

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
#: Numbers from this one on are times in milliseconds. In seconds they would be after
#: the year 5138; in milliseconds, smaller numbers would be in March 1973 or before.
_MILLISECONDS = 10**11


def is_visible(text: str, longest: int) -> bool:
    """Whether `text` is 1 to `longest` visible ASCII characters: VSCHAR of RFC 6749."""
    return len(text) <= longest and _VISIBLE.fullmatch(text) is not None


def is_open_id(text: str) -> bool:
    """Whether `text` can be a user's open_id: short, encodable, without controls."""
    if not 0 < len(text) <= LONGEST_OPEN_ID or _CONTROL.search(text):
        return False
    return is_encodable(text)


def is_encodable(text: str) -> bool:
    """Whether `text` can be written in UTF-8, which a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_seconds(time: float) -> float:
    """Return a time of TikTok's in seconds since 1970; some of them are milliseconds.

    >>> to_seconds(1767312000), to_seconds(1767312000000)
    (1767312000, 1767312000.0)
    """
    return time / 1000 if time >= _MILLISECONDS else time


def is_usable_time(time: float) -> bool:
    """Whether `time` is a time of TikTok's: more than 0, with 14 digits at most."""
    return 0 < time < _MILLISECONDS * 1000

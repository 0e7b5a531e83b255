"""Data that an app sends through a login: ``login_url(carry=...)``.

A login's link holds the data sealed, so no URL shows it, and the login's cookies keep
it until the callback. If a link were valid everywhere, a hostile page could have a
person log in with the attacker's data, such as an invitation to the attacker's team. So
the seal is bound to a random id in a cookie of the browser for which the link was made.
The link is refused in every other browser, after a logout or a login in this one, after
`LINK_SECONDS`, and if its ``next`` or ``scopes`` were changed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._core.clocks import SERVER_CLOCK_SKEW
from tiktok_oauth_middleware._core.encryption import Box
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal

from .cookie_header import find

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.http import Cookie, Headers
    from tiktok_oauth_middleware._session.cookie import SessionCookies
    from tiktok_oauth_middleware.settings.options import TikTokSettings

#: The longest data that a login carries, in bytes of UTF-8, as JSON without spaces.
#: With an address of 2,048 bytes, the login's cookies have no room for more.
LONGEST_DATA = 512
#: How long a link is valid, in seconds.
LINK_SECONDS = 3600
_LINK_ID_BYTES = 16
#: Longest sealed text that is opened, in characters.
_LONGEST_SEALED = 1024


def pack_carried(carried: Mapping[str, str]) -> str:
    """Return carried data as JSON without spaces."""
    return json.dumps(dict(carried), ensure_ascii=False, separators=(",", ":"))


def unpack_carried(packed: str) -> dict[str, str]:
    """Return the data that `pack_carried` packed."""
    read: dict[str, str] = json.loads(packed)
    return read


def check_carried(carried: object) -> None:
    """Refuse data that a login cannot carry.

    Raises:
        ValueError: it is not a mapping of strings to strings, or too long.
    """
    if not isinstance(carried, Mapping):
        message = (
            "carry must be a mapping from strings to strings, such as"
            f' {{"invite": "abc"}}; got a {type(carried).__name__}'
        )
        raise ValueError(message)  # noqa: TRY004 - one error for all that is wrong
    odd = [
        type(text).__name__
        for pair in carried.items()
        for text in pair
        if not isinstance(text, str)
    ]
    if odd:
        message = (
            "carry must be a mapping from strings to strings; there is a"
            f" {odd[0]} in it"
        )
        raise ValueError(message)
    try:
        length = len(pack_carried(carried).encode())
    except UnicodeEncodeError:
        message = "carry has a lone surrogate in it, which is not a character"
        raise ValueError(message) from None
    if length > LONGEST_DATA:
        message = (
            f"carry takes {length} bytes as JSON; a login carries {LONGEST_DATA} at"
            " most: carry an id, and keep the rest at the site"
        )
        raise ValueError(message)


class CarriedLinks:
    """Seals carried data into links of one browser, and opens them."""

    def __init__(
        self,
        settings: TikTokSettings,
        cookies: SessionCookies,
        clock: Callable[[], float],
        *,
        is_read: bool,
    ) -> None:
        """Derive the keys.

        Args:
            settings: of the app.
            cookies: names the cookie with the browser's id.
            clock: returns seconds since 1970.
            is_read: whether a function of the app gets the carried data.
        """
        keys = [reveal(key) for key in settings.secret_keys]
        self._box = Box(keys, settings.client_key, "carried")
        self._cookies = cookies
        self._clock = clock
        self._is_read = is_read

    def browser_id(self, headers: Headers) -> str:
        """Return the id in a request's cookie, or "" if there is none."""
        value = find(headers, self._cookies.carry_name.encode()) or b""
        return value.decode() if len(from_text(value)) == _LINK_ID_BYTES else ""

    def new_browser_id(self) -> str:
        """Return an id for a browser that has none."""
        return to_text(secrets.token_bytes(_LINK_ID_BYTES))

    def cookie(self, browser_id: str) -> Cookie:
        """Return the cookie with a browser's id, which lives as long as its links."""
        return self._cookies.carry(browser_id, LINK_SECONDS)

    def seal(
        self, carried: Mapping[str, str], browser_id: str, query: Mapping[str, Any]
    ) -> str:
        """Return carried data in the form that a link of one browser holds.

        Args:
            carried: data that `check_carried` accepts.
            browser_id: of the browser that gets the link.
            query: of the link, without the carried data.
        """
        if not self._is_read:
            logger.warning(
                "login_url(carry=...) was called, but there is no on_login to get the"
                " data"
            )
        packed = f"{int(self._clock())}\n{pack_carried(carried)}".encode()
        return to_text(self._box.seal(packed, _associated_data(browser_id, query)))

    def open(
        self, text: str, headers: Headers, query: Mapping[str, Any]
    ) -> Mapping[str, str] | None:
        """Return what a link carries; None if it is not valid here and now.

        Args:
            text: as `seal` returned it.
            headers: of the request for the link.
            query: of the link, decoded.
        """
        browser_id = self.browser_id(headers)
        if not browser_id or len(text) > _LONGEST_SEALED or not text.isascii():
            return None
        packed = self._box.open(
            from_text(text.encode()), _associated_data(browser_id, query)
        )
        if packed is None:
            return None
        at, _, carried = packed.decode().partition("\n")
        if not -SERVER_CLOCK_SKEW <= self._clock() - int(at) <= LINK_SECONDS:
            return None
        return unpack_carried(carried)


def _associated_data(browser_id: str, query: Mapping[str, Any]) -> str:
    """Return the data that the seal authenticates without encrypting it."""
    return "\n".join((browser_id, query.get("next") or "", query.get("scopes") or ""))

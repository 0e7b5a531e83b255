"""Deletes session cookies that name no session, with the app's next response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import AnyStr

from tiktok_oauth_middleware._core.http import Cookie
from tiktok_oauth_middleware._session.cached_session import NoSession

from .response_headers import is_caching

#: For how many seconds after the lookup of a session its cookie may be deleted.
_DELETING_SECONDS = 1.0
_NO_STORE = ("cache-control", "no-store")
_NO_STORE_BYTES = (b"cache-control", b"no-store")


class CookieDeletion:
    """The header that deletes the session cookie, which is always the same."""

    def __init__(self, deletion: Cookie, clock: Callable[[], float]) -> None:
        """Take the cookie with an empty value; `clock` returns seconds since 1970."""
        self._clock = clock
        self._header = name, value = deletion.header()
        self._start = f"{deletion.name}="
        self._header_bytes = name.encode(), value.encode()
        self._start_bytes = self._start.encode()
        # On loopback all ports share cookies, and one that none of our keys signed may
        # belong to another app.
        self._kept = (
            (NoSession.UNKNOWN,)
            if deletion.secure
            else (NoSession.UNKNOWN, NoSession.FORGED)
        )

    def is_due(self, why: NoSession) -> bool:
        """Whether the browser is to delete a cookie that names no session."""
        return why not in self._kept

    def in_text(
        self, headers: Sequence[tuple[str, str]], loaded_at: float
    ) -> Sequence[tuple[str, str]]:
        """Return response headers that also delete the cookie.

        Args:
            headers: of the app's response.
            loaded_at: when the session was looked up. A slow response may arrive after
                that of a login, whose cookie it must not delete. So after a second the
                headers stay as they are, and the next response deletes the old cookie.
        """
        if not 0 <= self._clock() - loaded_at < _DELETING_SECONDS:
            return headers
        return _with_deletion(
            headers, self._header, self._start, ("vary", "set-cookie", _NO_STORE)
        )

    def in_bytes(
        self, headers: Iterable[tuple[bytes, bytes]], loaded_at: float
    ) -> Iterable[tuple[bytes, bytes]]:
        """Return ASGI's response headers as `in_text` does."""
        if not 0 <= self._clock() - loaded_at < _DELETING_SECONDS:
            return headers
        return _with_deletion(
            headers,
            self._header_bytes,
            self._start_bytes,
            (b"vary", b"set-cookie", _NO_STORE_BYTES),
        )


def _with_deletion(
    headers: Iterable[tuple[AnyStr, AnyStr]],
    deletion: tuple[AnyStr, AnyStr],
    start: AnyStr,
    words: tuple[AnyStr, AnyStr, tuple[AnyStr, AnyStr]],
) -> list[tuple[AnyStr, AnyStr]]:
    """Return response headers that also delete a cookie and let no cache store them.

    A response that sets the cookie itself stays as it is. The deletion comes first:
    some adapters keep the last Set-Cookie only, and that must be the app's.

    Args:
        headers: of the app's response.
        deletion: the header that deletes the cookie.
        start: how its value begins.
        words: ``vary``, ``set-cookie`` and the header that forbids storing.
    """
    vary, set_cookie, no_store = words
    given = list(headers)  # ASGI allows any iterable
    kept: list[tuple[AnyStr, AnyStr]] = [deletion]
    for name, value in given:
        if is_caching(name):
            if name.lower() == vary:
                kept.append((name, value))
            continue
        if name.lower() == set_cookie and value.lstrip().startswith(start):
            return given
        kept.append((name, value))
    kept.append(no_store)
    return kept

"""The answers of the token and revocation endpoints."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn, TypedDict

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware.errors import TikTokError

from .answer import is_success, read_answer, retry_after_seconds
from .protocol import LONGEST_TOKEN, is_open_id, is_visible
from .scopes import granted_scopes

_LONGEST_LIFE = 400 * 86400.0
#: The lifetime of a token whose answer has no ``expires_in``, in seconds.
_DEFAULT_LIFE = 3600.0


class TokenFields(TypedDict):
    """The fields of a user's record that hold the tokens; times since 1970."""

    access_token: Secret
    issued_at: int
    expires_at: int
    refresh_token: Secret
    refresh_expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenResponse:
    """A token answer of TikTok's: read and checked."""

    open_id: str
    access_token: Secret
    #: None if the answer has none: the stored one stays valid.
    refresh_token: Secret | None
    #: Granted scopes, comma separated and sorted; None if the answer names none.
    scopes: str | None
    #: Seconds from the moment of the answer.
    expires_in: float
    #: Seconds; None if TikTok did not say.
    refresh_expires_in: float | None
    #: When the answer came, in seconds since 1970; None if that was not noted.
    received_at: float | None = None

    def fields_for_record(
        self, now: float, refresh_token: Secret, refresh_expires_at: int | None
    ) -> TokenFields:
        """Return the tokens and their times as a user's record holds them.

        Args:
            now: seconds since 1970, for an answer without `received_at`. It may be much
                later than the answer, since the app may decide on the login in between.
            refresh_token: the stored one, which stays if the answer has none; or "".
            refresh_expires_at: when the stored one expires; None if that is unknown.
        """
        issued_at = int(now if self.received_at is None else self.received_at)
        life = self.refresh_expires_in
        if self.refresh_token is not None:
            refresh_token, refresh_expires_at = self.refresh_token, None
        if life is not None:
            refresh_expires_at = issued_at + int(life)
        return TokenFields(
            access_token=self.access_token,
            issued_at=issued_at,
            expires_at=issued_at + int(self.expires_in),
            refresh_token=refresh_token,
            refresh_expires_at=refresh_expires_at,
        )


def read_token(
    status: int,
    body: bytes,
    *,
    secrets: Iterable[str] = (),
    retry_after: str = "",
    now: float | None = None,
) -> TokenResponse:
    """Read an answer of the token endpoint; TikTok reports failures with status 200.

    Args:
        status: of the response.
        body: of the response, whole.
        secrets: texts to mask if TikTok's error repeats one.
        retry_after: the header of that name, or "".
        now: when the answer came, in seconds since 1970; None leaves dates in
            `retry_after` unread.

    Raises:
        GrantRevoked: exactly ``invalid_grant``.
        TikTokUnavailable: 5xx, 429, a transient error, or a body that is not an object.
        TikTokError: any other error, or a success with a field that is unusable.
    """
    answer = read_answer(status, body, secrets, retry_after_seconds(retry_after, now))

    def refuse(field: str) -> NoReturn:
        raise TikTokError("", f"unusable {field} in a token answer", "", status)

    if "access_token" not in answer and isinstance(answer.get("data"), dict):
        refuse('access_token (fields under "data" belong to TikTok\'s first API)')
    access, refresh = answer.get("access_token"), answer.get("refresh_token")
    if not (isinstance(access, str) and is_visible(access, LONGEST_TOKEN)):
        refuse("access_token")
    if refresh is not None and not (
        isinstance(refresh, str) and is_visible(refresh, LONGEST_TOKEN)
    ):
        refuse("refresh_token")
    open_id = answer.get("open_id")
    if not (isinstance(open_id, str) and is_open_id(open_id)):
        refuse("open_id")
    # Some answers have none. A token of another type could not be sent as a bearer.
    kind = answer.get("token_type", "bearer")
    if not (isinstance(kind, str) and kind.lower() == "bearer"):
        refuse("token_type")
    scope = answer.get("scope")
    scopes = granted_scopes(scope) if isinstance(scope, str) else None
    if scope is not None and scopes is None:
        refuse("scope")
    try:
        expires_in = _lifetime(answer.get("expires_in"))
        refresh_expires_in = _lifetime(answer.get("refresh_expires_in"))
    except ValueError:
        refuse("lifetime")
    return TokenResponse(
        open_id=open_id,
        access_token=Secret(access),
        refresh_token=None if refresh is None else Secret(refresh),
        scopes=scopes,
        expires_in=_DEFAULT_LIFE if expires_in is None else expires_in,
        refresh_expires_in=refresh_expires_in,
        received_at=now,
    )


def read_revoke(
    status: int,
    body: bytes,
    *,
    secrets: Iterable[str] = (),
    retry_after: str = "",
    now: float | None = None,
) -> None:
    """Read an answer of the revoke endpoint; empty and ``{}`` both mean success.

    Raises:
        GrantRevoked, TikTokUnavailable, TikTokError: as `read_token` does.
    """
    if is_success(status) and not body.strip():
        return
    read_answer(status, body, secrets, retry_after_seconds(retry_after, now))


def _lifetime(value: object) -> float | None:
    """Return a lifetime in seconds, at most 400 days; None if TikTok sent none.

    Raises:
        ValueError: `value` is not a finite number.
    """
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return min(float(value), _LONGEST_LIFE)
    if (isinstance(value, float) and math.isfinite(value)) or type(value) is int:
        return float(min(max(value, 0), _LONGEST_LIFE))
    raise ValueError

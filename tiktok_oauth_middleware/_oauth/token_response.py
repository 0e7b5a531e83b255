"""The answers of the token and revocation endpoints."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import (
    NoReturn,
)

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware.errors import (
    TikTokError,
)

from .answer import is_success, read_answer, wait_of
from .protocol import LONGEST_TOKEN, is_open_id, is_scope, is_visible
from .scopes import join_scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenResponse:
    """What TikTok's token endpoint granted: read, checked, and not yet anybody's."""

    open_id: str
    access_token: Secret
    #: None where the answer had none: the old one stays good.
    refresh_token: Secret | None
    #: Granted scopes, comma separated; None where the answer named none.
    scopes: str | None
    #: Seconds from the moment of the answer.
    expires_in: float
    #: Seconds; None where TikTok did not say.
    refresh_expires_in: float | None


_LONGEST_SCOPES = 4096


_LONGEST_LIFE = 400 * 86400.0


#: What an answer without ``expires_in`` is taken to mean, in seconds.
_USUAL_LIFE = 3600.0


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
        secrets: texts to mask, should TikTok's error repeat one.
        retry_after: the header of that name, or "".
        now: seconds since 1970, to judge a date in `retry_after` by; None leaves dates
            unread.

    Raises:
        GrantRevoked: ``invalid_grant``, to the letter.
        TikTokUnavailable: a 5xx or 429, a passing error, or a body that is no answer.
        TikTokError: anything else that is not the success it must be.
    """
    answer = read_answer(status, body, secrets, wait_of(retry_after, now))

    def refuse(field: str) -> NoReturn:
        raise TikTokError("", f"unusable {field} in a token answer", "", status)

    if "access_token" not in answer and isinstance(answer.get("data"), dict):
        refuse('access_token (what is under "data" is of TikTok\'s first API)')
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
    # Some answers have none; a kind that is not known could not be used as a bearer.
    kind = answer.get("token_type", "bearer")
    if not (isinstance(kind, str) and kind.lower() == "bearer"):
        refuse("token_type")
    scope = answer.get("scope")
    if scope is not None and not (isinstance(scope, str) and _is_scope_list(scope)):
        refuse("scope")
    try:
        expires_in = _seconds(answer.get("expires_in"))
        refresh_expires_in = _seconds(answer.get("refresh_expires_in"))
    except ValueError:
        refuse("lifetime")
    return TokenResponse(
        open_id=open_id,
        access_token=Secret(access),
        refresh_token=None if refresh is None else Secret(refresh),
        scopes=None if scope is None else _tidy_scopes(scope),
        expires_in=_USUAL_LIFE if expires_in is None else expires_in,
        refresh_expires_in=refresh_expires_in,
    )


def read_revoke(
    status: int,
    body: bytes,
    *,
    secrets: Iterable[str] = (),
    retry_after: str = "",
    now: float | None = None,
) -> None:
    """Read an answer of the revoke endpoint; empty and ``{}`` both mean done.

    Raises:
        GrantRevoked, TikTokUnavailable, TikTokError: as `read_token` does.
    """
    if is_success(status) and not body.strip():
        return
    read_answer(status, body, secrets, wait_of(retry_after, now))


#: TikTok separates scopes by commas; blanks were seen, too.
_BETWEEN_SCOPES = re.compile(r"[ \t,]+")


def _is_scope_list(text: str) -> bool:
    return len(text) <= _LONGEST_SCOPES and all(
        is_scope(scope) for scope in _BETWEEN_SCOPES.split(text) if scope
    )


def _tidy_scopes(text: str) -> str:
    return join_scopes({s for s in _BETWEEN_SCOPES.split(text) if s})


def _seconds(value: object) -> float | None:
    """Return a lifetime between 0 and 400 days; None for none; else ValueError."""
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError  # noqa: TRY004 - TikTok's mistake, not a caller's
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return float(min(max(value, 0), _LONGEST_LIFE))

"""What a guard does with a request, and why it refuses one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tiktok_oauth_middleware.auth import _NO_SCOPES, auth_in

#: How a WebSocket is closed where its handshake can not be answered with HTTP.
CLOSE_CODES: Mapping[int, int] = {401: 4401, 403: 4403}


@dataclass(frozen=True, slots=True)
class Challenge:
    """Why a guard turned a request away: nobody is signed in, or scopes are missing."""

    is_signed_in: bool = False
    #: Scopes that the guard asks for and nobody here has granted.
    missing: frozenset[str] = field(default=_NO_SCOPES)

    @property
    def status(self) -> int:
        """401 to sign in, 403 to grant more."""
        return 403 if self.is_signed_in else 401

    def is_answered_by(self, status: int, headers: Iterable[tuple[str, str]]) -> bool:
        """Whether an app's answer still is the guard's refusal.

        An app may catch the refusal and answer with something else, which is then left
        alone: another status, or a 401 that asks for other credentials.

        Args:
            status: of the answer.
            headers: of the answer.
        """
        return status == self.status and all(
            name.lower() != "www-authenticate" for name, _ in headers
        )


def guard(found: object, scopes: Iterable[str]) -> Challenge | None:
    """Return why a request may not pass, having marked it for the middleware; or None.

    The guard in a framework ends the view with that framework's own 401 or 403; the
    middleware around it then replaces that answer by ours.

    Raises:
        ConfigurationError: there is no middleware around the app.
    """
    auth = auth_in(found, required=True)
    missing = auth.missing_scopes(*scopes)
    if auth.is_authenticated and not missing:
        return None
    challenge = Challenge(auth.is_authenticated, missing)
    auth._challenge = challenge  # noqa: SLF001 - ours to mark, not the app's
    return challenge

"""Guards: who may pass, why not, and how the middleware recognises a refusal.

Raising an exception through the app does not work: Starlette and Flask turn it into a
500 before the middleware sees it. So a guard marks the request's `TikTokAuth` with a
`Challenge` and ends the view with the framework's own 401 or 403; the middleware
replaces that response if it still is that refusal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tiktok_oauth_middleware.auth import auth_in

from .misuse import check_scopes, check_view, guarded_by, not_for_fastapi

#: How a WebSocket is closed where its handshake cannot be answered with HTTP.
CLOSE_CODES: Mapping[int, int] = {401: 4401, 403: 4403}
#: The annotation with which FastAPI refuses a decorator as a dependency.
NOT_A_DEPENDENCY = not_for_fastapi(
    "requires_tiktok is a decorator: as a dependency take SignedIn, or"
    " Security(tiktok_auth, scopes=[...]), of tiktok_oauth_middleware.fastapi"
)


class ResponseHead(NamedTuple):
    """Status and headers of an app's response."""

    status: int
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Challenge:
    """Why a request may not pass: it is anonymous, or scopes are missing."""

    is_signed_in: bool = False
    #: Scopes that the guard requires and the user has not granted.
    missing: frozenset[str] = frozenset()
    #: Whether it is a CORS preflight below a path rule, which the app answers.
    is_preflight: bool = False

    @property
    def status(self) -> int:
        """401 to log in, 403 to grant more."""
        return 403 if self.is_signed_in else 401

    def is_answered_by(self, head: ResponseHead) -> bool:
        """Whether an app's response still is the refusal, or answers a preflight.

        An app may catch the refusal and answer with something else, which is then left
        alone: another status, or a 401 that asks for other credentials.
        """
        return self.is_preflight or (
            head.status == self.status
            and all(name.lower() != "www-authenticate" for name, _ in head.headers)
        )


def guard(connection: object, scopes: Iterable[str]) -> Challenge | None:
    """Return why a request may not pass, and mark its `TikTokAuth`; None if it may.

    Args:
        connection: as for `auth_in`.
        scopes: that the user must have granted.

    Raises:
        ConfigurationError: there is no middleware around the app.
    """
    auth = auth_in(connection, required=True)
    missing = auth.missing_scopes(*scopes)
    if auth.is_authenticated and not missing:
        return None
    challenge = Challenge(auth.is_authenticated, missing)
    auth._challenge = challenge  # noqa: SLF001 - read by the middleware only
    return challenge


def decorate(
    given: tuple[Any, ...], wrap: Callable[[Any, tuple[str, ...]], Any]
) -> Any:
    """Return what ``requires_tiktok(*given)`` is: a guarded view, or a decorator.

    Args:
        given: one view, or scopes.
        wrap: puts an integration's guard around a view, with the scopes it requires.

    Raises:
        TypeError: what is to be guarded is no view, or a scope is no string.
        ValueError: a scope is not the name of one.
    """
    if len(given) == 1 and callable(given[0]):
        return _guarded(given[0], (), wrap)
    check_scopes(given)
    return functools.partial(_guarded, scopes=given, wrap=wrap)


def _guarded(
    view: Any, scopes: tuple[str, ...], wrap: Callable[[Any, tuple[str, ...]], Any]
) -> Any:
    check_view(view)
    return guarded_by(view, wrap(view, scopes))


_guarded.__annotations__["view"] = NOT_A_DEPENDENCY

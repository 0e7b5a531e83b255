"""Guards: whether a request may pass, and how the middleware recognises a refusal.

Raising an exception through the app does not work: Starlette and Flask turn it into a
500 before it reaches the middleware. So a guard marks the request's `TikTokAuth` with a
`Challenge` and ends the view with the framework's own 401 or 403; the middleware
replaces that response if the app has not changed it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .misuse import (
    check_max_age,
    check_scopes,
    check_view,
    not_for_fastapi,
)
from .request_auth import auth_in
from .unguarded_views import guarded_by

#: The codes that close a WebSocket if its handshake cannot be answered with HTTP.
CLOSE_CODES: Mapping[int, int] = {401: 4401, 403: 4403}
#: The annotation with which FastAPI refuses a decorator as a dependency.
NOT_A_DEPENDENCY = not_for_fastapi(
    "requires_tiktok is a decorator: as a dependency use SignedIn, or"
    " Security(tiktok_auth, scopes=[...]), of tiktok_oauth_middleware.fastapi"
)


class ResponseHead(NamedTuple):
    """Status and headers of an app's response."""

    status: int
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Challenge:
    """Why a request may not pass: no login, none that is recent, or missing scopes."""

    is_signed_in: bool = False
    #: Scopes that the guard requires and the user has not granted.
    missing: frozenset[str] = frozenset()
    #: Whether it is a CORS preflight below a path rule, which the app answers.
    is_preflight: bool = False
    #: The most seconds since the login, if that was longer ago; else None.
    max_age: float | None = None

    @property
    def status(self) -> int:
        """401 to log in, for the first time or once more; 403 to grant more."""
        return 403 if self.is_signed_in and self.max_age is None else 401

    @property
    def code(self) -> str:
        """The ``error`` of the JSON that the middleware answers with."""
        if not self.is_signed_in:
            return "login_required"
        return "scope_required" if self.max_age is None else "reauthentication_required"

    def is_answered_by(self, head: ResponseHead) -> bool:
        """Whether an app's response is still the refusal, or answers a preflight.

        If an app catches the refusal and answers with another status, or with a 401
        that asks for other credentials, that response is not replaced.
        """
        return self.is_preflight or (
            head.status == self.status
            and all(name.lower() != "www-authenticate" for name, _ in head.headers)
        )


class Requirements(NamedTuple):
    """What a guard requires besides a login."""

    #: The scopes that the user must have granted.
    scopes: tuple[str, ...] = ()
    #: The most seconds since the login, or None.
    max_age: float | None = None


def guard(
    connection: object, scopes: Iterable[str], max_age: float | None = None
) -> Challenge | None:
    """Return why a request may not pass, and mark its `TikTokAuth`; None if it may.

    Args:
        connection: as for `auth_in`.
        scopes: the scopes that the user must have granted.
        max_age: the most seconds since the login, or None.

    Raises:
        ConfigurationError: there is no middleware around the app.
    """
    auth = auth_in(connection, required=True)
    missing = auth.missing_scopes(*scopes)
    is_signed_in = auth.is_authenticated
    if not is_signed_in or max_age is None or auth.logged_in_within(max_age):
        max_age = None
    if is_signed_in and not missing and max_age is None:
        return None
    challenge = Challenge(is_signed_in, missing, max_age=max_age)
    auth._refuse(challenge)  # noqa: SLF001 - apps do not call it
    return challenge


def decorate(
    given: tuple[Any, ...],
    max_age: float | None,
    wrap: Callable[[Any, Requirements], Any],
    *,
    is_recorded: bool = True,
) -> Any:
    """Return the result of ``requires_tiktok(*given)``: a guarded view or a decorator.

    Args:
        given: one view, or scopes.
        max_age: the most seconds since the login, or None.
        wrap: puts an integration's guard around a view, with what it requires.
        is_recorded: whether `check_guards` looks for the view without its guard; False
            for Django, whose ``method_decorator`` makes a view for each request.

    Raises:
        TypeError: the guarded object is not a view, a scope is not a string, or
            `max_age` is not a number.
        ValueError: a scope is not the name of one, or `max_age` is negative or not
            finite.
    """
    check_max_age(max_age)
    put = functools.partial(_guarded, wrap=wrap, is_recorded=is_recorded)
    if len(given) == 1 and callable(given[0]):
        return put(given[0], required=Requirements(max_age=max_age))
    check_scopes(given)
    return functools.partial(put, required=Requirements(given, max_age))


def _guarded(
    view: Any,
    *,
    required: Requirements,
    wrap: Callable[[Any, Requirements], Any],
    is_recorded: bool,
) -> Any:
    check_view(view)
    guarded = wrap(view, required)
    return guarded_by(view, guarded) if is_recorded else guarded


_guarded.__annotations__["view"] = NOT_A_DEPENDENCY

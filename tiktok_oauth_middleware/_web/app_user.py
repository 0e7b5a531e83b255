"""The app's own user of a request, whom the app's ``current_user`` names."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._session.connections import user_id_fault
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.arguments import is_async

from .connect_refusals import Undecided, answer_in
from .misuse import callback_fault

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.http import Request
    from tiktok_oauth_middleware.auth import CurrentUser, TikTokAuth
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .mount import MountPoint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class AppUser:
    """Asks the app which of its users is signed in to it."""

    settings: TikTokSettings
    backend: Backend
    current_user: CurrentUser
    #: Returns the request's `TikTokAuth`, which `current_user` may read.
    load_auth: Callable[[Request, MountPoint], Awaitable[TikTokAuth]]

    async def connection(self, request: Request, mount_point: MountPoint) -> Any:
        """Return the scope, the environ or the framework's request, for the app.

        Raises:
            StoreError: the store failed, so the TikTok user is unknown.
        """
        auth = await self.load_auth(request, mount_point)
        return auth if request.for_app is None else request.for_app(auth)

    async def id_of(self, connection: Any) -> str | None:
        """Return the id of the user who is signed in to the app, or None.

        Raises:
            Undecided: the app raised, took too long, or returned another type.
        """
        outcome = await self.backend.ask_app(
            partial(self.current_user, connection),
            self.settings.timeout,
            is_async=is_async(self.current_user),
        )
        user_id = answer_in(outcome, "current_user", self.settings.timeout)
        if user_id is None:
            return None
        fault = user_id_fault(user_id)
        if fault:
            if inspect.iscoroutine(user_id):
                user_id.close()  # it would warn that it was never awaited
            message = f"current_user returned {fault}"
            raise Undecided(message)
        return str(user_id)


def check_current_user(
    settings: TikTokSettings, current_user: object, *, is_blocking: bool
) -> None:
    """Check an app's ``current_user``.

    Raises:
        ConfigurationError: there is no ``connect_path``, or the function takes no
            argument, or it is async under WSGI.
    """
    if settings.connect_path is None:
        message = "current_user is given, and the option connect_path is not set"
        raise ConfigurationError(message)
    argument = "the scope under ASGI, the environ under WSGI"
    fault = callback_fault(
        "current_user", current_user, argument, is_blocking=is_blocking
    )
    if fault:
        raise ConfigurationError(fault)

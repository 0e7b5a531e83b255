"""The app's decision about a login: accept, lead to another path, or refuse.

``on_login`` is called when TikTok has confirmed who the person is and before anything
is stored. Only None and a path of this site accept the login; any other result and any
exception refuse it. No frame of the flow is on the stack while it runs: reporters of
exceptions record the locals of every frame, and those of the flow hold tokens.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.origins import local_part
from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware._core.return_to import safe_return_to
from tiktok_oauth_middleware.errors import (
    ConfigurationError,
    LoginRefused,
    LoginUndecided,
)
from tiktok_oauth_middleware.settings.arguments import is_async

from .misuse import callback_fault

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware.auth import Login, OnLogin

    from .mount import MountPoint

#: Longest text that a refused person reads, in characters.
_LONGEST_TEXT = 2000


class RefusedByApp(LoginRefused):
    """`LoginRefused` with the login that was refused, raised by the flow.

    The app's exception is not raised again, because it refers to the app's frames.
    """

    def __init__(self, refused: LoginRefused, login: Login) -> None:
        super().__init__(str(refused.text)[:_LONGEST_TEXT], revoke=bool(refused.revoke))
        self.login = login


class UndecidedByApp(LoginUndecided):
    """`LoginUndecided` with the login, and with what the app raised, if anything."""

    def __init__(
        self, detail: str, login: Login, raised: BaseException | None = None
    ) -> None:
        super().__init__()
        self.args = (detail,)
        self.login = login
        self.raised = raised


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LoginDecision:
    """Asks an app's ``on_login``."""

    on_login: OnLogin
    backend: Backend
    #: How long it may take, in seconds.
    seconds: float

    def __post_init__(self) -> None:
        """Check the function.

        Raises:
            ConfigurationError: it takes no login, or it is async under WSGI.
        """
        fault = on_login_fault(self.on_login, is_blocking=self.backend.is_blocking)
        if fault:
            raise ConfigurationError(fault)

    async def ask(self, login: Login, mount_point: MountPoint) -> str:
        """Return the path to which the login leads instead of `login.next`, or "".

        Raises:
            LoginRefused: the app refused it.
            LoginUndecided: the app raised, took too long, or returned another value.
        """
        began = time.monotonic()
        outcome = await self.backend.ask_app(
            partial(self.on_login, login),
            self.seconds,
            is_async=is_async(self.on_login),
        )
        if not outcome.is_set:
            message = f"on_login took longer than {self.seconds:g} seconds"
            raise UndecidedByApp(message, login)
        if isinstance(outcome.error, LoginRefused):
            raise RefusedByApp(outcome.error, login)
        if outcome.error is not None:
            message = f"on_login raised {type(outcome.error).__name__}"
            raise UndecidedByApp(message, login, outcome.error)
        took = time.monotonic() - began
        if took > self.seconds:  # only under WSGI, where nothing can stop it
            logger.warning(
                "on_login took %.1f seconds, and a person waited; under WSGI it cannot"
                " be stopped",
                took,
            )
        path, fault = _landing_path(outcome.value, mount_point)
        if fault:
            message = f"on_login returned {fault}"
            raise UndecidedByApp(message, login)
        return path


def _landing_path(answer: object, mount_point: MountPoint) -> tuple[str, str]:
    """Return the path that the app returned, and what is wrong with it, or ""."""
    if answer is None:
        return "", ""
    if not isinstance(answer, str):
        if inspect.iscoroutine(answer):
            answer.close()  # it would warn that it was never awaited
        return "", f"a {type(answer).__name__}"
    path = safe_return_to(local_part(answer, mount_point.origin), mount_point.own_paths)
    if path is None:
        return "", f"{one_line(answer)!r}, which is not a path of this site"
    return path, ""


def on_login_fault(on_login: object, *, is_blocking: bool) -> str | None:
    """Return what is wrong with an ``on_login``, or None.

    Args:
        on_login: as the app passed it.
        is_blocking: whether it is called under WSGI.
    """
    return callback_fault("on_login", on_login, "the login", is_blocking=is_blocking)

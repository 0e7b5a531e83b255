"""Refusals to connect an account: errors, pages, and the event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._observe.causes import reason_of
from tiktok_oauth_middleware.errors import (
    LoginDenied,
    LoginError,
    TikTokError,
    TikTokOAuthError,
)
from tiktok_oauth_middleware.events import Event

from .pages import ErrorPage, button, link
from .responses import DELETED_AT_ONCE
from .unfinished_login import cause_for_log

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.outcome import Outcome
    from tiktok_oauth_middleware._core.http import Cookie
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .login_results import LoginResult
    from .messages import ProblemCode
    from .mount import MountPoint
    from .unfinished_login import UnfinishedLogins, Visit


class ConnectRefused(LoginError):
    """An account is not connected, for a reason other than an error of TikTok's."""

    #: The exception of the app's code.
    raised: BaseException | None = None


class OtherUser(ConnectRefused):
    """The user who began is no longer signed in to the app."""

    code = "connect_other_user"


class Undecided(ConnectRefused):
    """The app's code failed to say who is signed in to it."""

    code = "connect_undecided"

    def __init__(self, detail: str, raised: BaseException | None = None) -> None:
        super().__init__()
        self.args = (detail,)
        self.raised = raised


class Taken(ConnectRefused):
    """The account is connected to another user."""

    code = "account_taken"


class Full(ConnectRefused):
    """The user already has the maximum number of accounts."""

    code = "connect_full"


def answer_in(outcome: Outcome, name: str, seconds: float) -> Any:
    """Return the result of the app's code.

    Args:
        outcome: the call's outcome.
        name: the code's name, for the log.
        seconds: its time limit.

    Raises:
        Undecided: the code raised an error, or took too long.
    """
    if not outcome.is_set:
        message = f"{name} took longer than {seconds:g} seconds"
        raise Undecided(message)
    if outcome.error is not None:
        message = f"{name} raised {type(outcome.error).__name__}"
        raise Undecided(message, outcome.error)
    return outcome.value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ConnectRefusals:
    """Reports attempts that failed, and writes the pages about them."""

    settings: TikTokSettings
    unfinished: UnfinishedLogins
    emit: Emitter

    def question(
        self, url: str, mount_point: MountPoint, cookies: Sequence[Cookie] = ()
    ) -> ErrorPage:
        """Return the page that asks whether to connect, with a button that connects.

        Args:
            url: to which the button posts.
            mount_point: of the request.
            cookies: that the page sets or deletes.
        """
        return ErrorPage(
            code="confirm_connect",
            actions=[button("connect", url), link("stay", mount_point.home)],
            cookies=cookies,
            form_redirects_to=self.settings.endpoints.authorize,
        )

    def failure(self, error: TikTokOAuthError) -> LoginResult:
        """Return the result of an attempt that failed."""
        result = self.unfinished.failure(error, event="connect_rejected")
        return replace(result, code=_page_code(error))

    async def reject(
        self,
        error: TikTokOAuthError,
        visit: Visit,
        retry: str = "",
        user_id: str | None = None,
    ) -> ErrorPage:
        """Report that nothing was connected, and return the page that explains it.

        Args:
            error: why it failed.
            visit: the request.
            retry: the address that begins the same attempt again, if any.
            user_id: of the app's user, if that is known.
        """
        result = self.failure(error)
        await self.emit(
            rejected(result, error, user_id),
            why=cause_for_log(error),
            raised=getattr(error, "raised", None),
        )
        return self.page(result, visit, retry)

    def page(self, result: LoginResult, visit: Visit, retry: str = "") -> ErrorPage:
        """Return the page that explains why nothing was connected."""
        actions = [link("back", visit.mount_point.home)]
        if retry and result.code not in ("connect_other_user", "connect_full"):
            # The link is on a page of this site, so connecting begins without a
            # question.
            is_taken = result.code == "account_taken"
            actions.insert(0, link("other_account" if is_taken else "try_again", retry))
        return ErrorPage(
            code=result.code or "connect_failed",
            actions=actions,
            notes=result.notes,
            reference=result.reference,
            cookies=visit.spent[:DELETED_AT_ONCE],
            headers=result.headers,
        )


def _page_code(error: TikTokOAuthError) -> ProblemCode:
    """Return the code of the page about an attempt that failed."""
    if isinstance(error, ConnectRefused):
        return error.code  # type: ignore[return-value]
    if isinstance(error, LoginDenied):
        return "connect_denied"
    return (
        "connect_tiktok_failed" if isinstance(error, TikTokError) else "connect_failed"
    )


def rejected(
    result: LoginResult, error: TikTokOAuthError, user_id: str | None
) -> Event:
    """Return the event of an attempt that failed.

    Args:
        result: of the attempt.
        error: why it failed.
        user_id: of the app's user, if that is known.
    """
    return Event(
        name="connect_rejected",
        reason=reason_of(error),
        reference=result.reference,
        user_id=user_id,
    )

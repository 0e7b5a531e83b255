"""Logins that failed: their events, and the pages that explain them.

A page never redirects to TikTok by itself, which could repeat for ever: it has a link
that tries once more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._oauth.answer import TRANSIENT
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._observe.causes import CONFIGURATION, reason_of
from tiktok_oauth_middleware.errors import (
    LoginDenied,
    LoginError,
    LoginExpired,
    LoginRefused,
    StateMismatch,
    TikTokError,
    TikTokOAuthError,
    TikTokUnavailable,
)
from tiktok_oauth_middleware.events import Event

from .login_results import LoginResult
from .pages import ErrorPage, Note, link, page_code
from .responses import DELETED_AT_ONCE

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.http import Cookie
    from tiktok_oauth_middleware._oauth.authorize import Callback
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.cookie import Ticket
    from tiktok_oauth_middleware.auth import Login
    from tiktok_oauth_middleware.events import EventName
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .carried import CarriedLinks
    from .messages import ProblemCode
    from .mount import MountPoint
    from .transaction import LoginTransactions

_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


_NOTHING: Mapping[str, str] = {}


class Visit(NamedTuple):
    """The parts of a callback's request that its error page needs."""

    mount_point: MountPoint
    #: Of the browser's present session cookie, if that is genuine.
    ticket: Ticket | None
    #: The parameters for a link that tries once more, if they are known.
    retry: Retry | None = None
    #: Deletions of the login's cookies.
    spent: Sequence[Cookie] = ()
    #: The id to which links of this browser are bound; "" without one or without data.
    browser_id: str = ""


class Retry(NamedTuple):
    """The parameters of a link that tries a login once more."""

    return_to: str
    requested: str
    chooses_account: bool = False
    carried: Mapping[str, str] = _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class UnfinishedLogins:
    """Reports logins that failed, and writes the pages about them."""

    settings: TikTokSettings
    transactions: LoginTransactions
    carried_links: Callable[[], CarriedLinks]
    emit: Emitter
    #: Seconds since 1970.
    clock: Callable[[], float]

    def failure(
        self,
        error: TikTokOAuthError,
        level: int | None = None,
        *,
        event: EventName = "login_rejected",
    ) -> LoginResult:
        """Return the result of a login that failed, and is reported as `event`."""
        notes: list[Note] = []
        if isinstance(error, LoginDenied):
            pass  # the page explains it
        elif isinstance(error, LoginRefused):
            notes = [Note("refused_because", error.text)] if error.text else []
        elif isinstance(error, LoginError) and error.error:
            notes = [Note("tiktok_sent", error.error)]
        elif isinstance(error, TikTokError) and error.log_id:
            notes = [Note("tiktok_reference", error.log_id)]
        is_temporary = isinstance(error, TikTokUnavailable)
        return LoginResult(
            at=int(self.clock()),
            code=page_code(error),
            notes=notes,
            reference=self.emit.reference_for(event, cause_for_log(error), level),
            headers=[("retry-after", "5")] if is_temporary else [],
        )

    def now(self) -> int:
        """Return the time, in whole seconds since 1970."""
        return int(self.clock())

    async def reject(
        self,
        error: TikTokOAuthError,
        visit: Visit,
        *,
        code: ProblemCode | None = None,
        level: int | None = None,
    ) -> ErrorPage:
        """Report a login that failed, and return the page that explains it.

        Args:
            error: what went wrong.
            visit: the request.
            code: the page's code, instead of the error's.
            level: the level in the log, instead of the error's.
        """
        result = self.failure(error, level)
        await self.emit(
            rejected_event(result, error), why=cause_for_log(error), level=level
        )
        if isinstance(error, StateMismatch):
            usual = self.transactions.default_return_to(visit.mount_point)
            leads = Note("begins_at", usual)
            if visit.retry is not None:
                leads = Note("leads_to", visit.retry.return_to or usual)
            address = Note("address", self.settings.origin)
            result = replace(result, notes=[address, leads])
        if code:
            result = replace(result, code=code, notes=())
        return self.page(result, visit)

    def page(self, result: LoginResult, visit: Visit) -> ErrorPage:
        """Return the page that explains why a login failed, with links to go on.

        It never redirects to TikTok by itself: that could repeat for ever.
        """
        is_refused = result.code == "login_refused"
        url, cookies = self.retry(visit, choose_account=is_refused)
        back = link("back", visit.mount_point.home)
        if is_refused:
            actions = [back, link("other_account", url)]
        else:
            actions = [link("try_again", url), back]
            if visit.ticket is not None:
                actions.reverse()
        return ErrorPage(
            code=result.code or "login_failed",
            actions=actions,
            notes=result.notes,
            reference=result.reference,
            cookies=cookies,
            headers=result.headers,
        )

    def retry(
        self, visit: Visit, *, choose_account: bool = False
    ) -> tuple[str, list[Cookie]]:
        """Return the URL that begins the same login again, and its page's cookies."""
        links, cookies = self.carried_links, [*visit.spent[:DELETED_AT_ONCE]]
        browser_id = visit.browser_id
        if visit.retry is not None and visit.retry.carried:
            browser_id = browser_id or links().new_browser_id()
            cookies.append(links().cookie(browser_id))
        url = self._retry_url(visit, browser_id, choose_account=choose_account)
        return url, cookies

    def _retry_url(self, visit: Visit, browser_id: str, *, choose_account: bool) -> str:
        retry, mount_point = visit.retry, visit.mount_point
        if retry is None:
            return mount_point.login_url(choose_account=choose_account)
        usual = self.transactions.default_return_to(mount_point)
        return mount_point.login_url(
            None if retry.return_to in ("", usual) else retry.return_to,
            split_scopes(retry.requested),
            choose_account=choose_account or retry.chooses_account,
            carried=retry.carried,
            browser_id=browser_id,
        )


def rejected_event(result: LoginResult, error: TikTokOAuthError) -> Event:
    """Return the event of a login that failed."""
    event = Event(
        name="login_rejected", reason=reason_of(error), reference=result.reference
    )
    login: Login | None = getattr(error, "login", None)
    if login is None:
        return event
    return replace(
        event,
        open_id=login.open_id,
        scopes=login.scopes,
        user=login.user,
        is_new=login.is_new,
    )


def cause_for_log(error: TikTokOAuthError) -> BaseException:
    """Return the error for the log: TikTok's own, if it refused the code."""
    return (isinstance(error, LoginExpired) and error.__cause__) or error


def is_error(callback: Callback) -> bool:
    """Whether TikTok's answer is an error; some have neither ``error`` nor a code."""
    return bool(callback.error or (callback.details and not callback.code))


def error_of(callback: Callback) -> LoginError | TikTokUnavailable:
    """Return the login error for an error in TikTok's callback.

    ``access_denied`` means that the person cancelled, or that TikTok does not let the
    account log in here; sometimes the description shows which.
    """
    error, description = callback.error, callback.description
    if error == "access_denied":
        return LoginDenied(error, description, callback.details)
    if error in TRANSIENT:
        return TikTokUnavailable(error, description)
    known = error if not error or _ERROR_CODE.fullmatch(error) else "unknown_error"
    return LoginError(known, description, callback.details)


def unmatched_level(error: Exception) -> int:
    """Return the log level of an error that belongs to no login of this browser.

    Any client can send one, so it is a warning only if it names a mistake of the app,
    which TikTok may report without a state.
    """
    is_mistake = isinstance(error, LoginError) and error.error in CONFIGURATION
    return logging.WARNING if is_mistake else logging.INFO

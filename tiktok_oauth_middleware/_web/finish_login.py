"""The callback path: signs in the browser that comes back from TikTok.

The callback is answered only for a browser that brings the login's cookies (see
`transaction`); the result of the login is decided once (see `conclude_login`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.http import (
    QUERY_LIMIT,
    BadQuery,
    Cookie,
    FinishedLogin,
    Request,
    Response,
)
from tiktok_oauth_middleware._oauth.authorize import Callback, read_callback
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware.errors import (
    LoginDenied,
    LoginError,
    LoginExpired,
    StateMismatch,
    StoreError,
    TikTokOAuthError,
    TikTokUnavailable,
)

from .begin_login import has_logged_out
from .conclude_login import ConcludeLogin, login_id_of
from .cookie_header import find
from .pages import Answer, ErrorPage
from .responses import (
    DELETED_AT_ONCE,
    HEAD_LIMIT,
    head_size,
    redirect,
    redirect_with_cookies,
)
from .unfinished_login import (
    Retry,
    UnfinishedLogins,
    Visit,
    cause_for_log,
    error_of,
    is_error,
    rejected_event,
    unmatched_level,
)

if TYPE_CHECKING:
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
    from tiktok_oauth_middleware._session.records import Records
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .connecting_login import ConnectingLogins
    from .finish_connect import FinishConnect
    from .login_results import LoginResult
    from .mount import MountPoint
    from .recent_logins import RecentLogins
    from .transaction import LoginTransaction, LoginTransactions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FinishLogin:
    """Answers the callback path."""

    settings: TikTokSettings
    records: Records
    cookies: SessionCookies
    transactions: LoginTransactions
    recent: RecentLogins
    conclude: ConcludeLogin
    unfinished: UnfinishedLogins
    emit: Emitter
    #: Answers callbacks that are to connect an account; None if the app has no such
    #: path.
    connect: FinishConnect | None
    #: None if no login of the app connects its account to a user.
    connecting: ConnectingLogins | None

    async def respond(
        self, request: Request, mount_point: MountPoint, ticket: Ticket | None
    ) -> Answer:
        """Answer the callback path: exchange TikTok's code for a session.

        Args:
            request: with TikTok's answer in the query.
            mount_point: of the request.
            ticket: of the browser's present session cookie, if that is genuine.

        Raises:
            StoreError: the store failed. If that was before TikTok was asked, the same
                callback finishes the login when the store works again; if after, the
                code is used up, and a new login is needed.
        """
        if request.method != "GET":
            return ErrorPage(code="method_not_allowed", headers=[("allow", "GET")])
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        visit = Visit(mount_point, ticket)
        try:
            callback = read_callback(request.query, [self.settings.client_secret])
        except BadQuery:
            return await self.unfinished.reject(LoginError(), visit)
        transaction = self.transactions.find(request.headers, callback.state)
        if transaction is None:
            return await self._finish_unmatched(callback, visit)
        if transaction.user_hash:
            if self.connect is None:  # the app has dropped connect_path since
                return await self.unfinished.reject(LoginExpired(), visit)
            return await self.connect.respond(request, transaction, callback, visit)
        page = await self._other_user(request, transaction, visit)
        return page or await self._finish(request, transaction, callback, visit)

    async def _other_user(
        self, request: Request, transaction: LoginTransaction, visit: Visit
    ) -> ErrorPage | None:
        """Return the page about a login that began for another user of the app."""
        if self.connecting is None or not transaction.connects_to:
            return None
        spent = self.transactions.cookies.ended(request.headers, transaction.state)
        visit = visit._replace(spent=spent)
        return await self.connecting.check(request, transaction, visit)

    async def _finish(
        self,
        request: Request,
        transaction: LoginTransaction,
        callback: Callback,
        visit: Visit,
    ) -> Answer:
        """Answer a callback that brought its login's cookies."""
        ticket = visit.ticket
        # From here on the login's cookies are used up, whatever the result.
        spent = self.transactions.cookies.ended(request.headers, transaction.state)
        retry = Retry(
            transaction.return_to,
            transaction.requested,
            transaction.prompt == "choose",
            transaction.carried,
        )
        visit = visit._replace(retry=retry, spent=spent)
        if transaction.carried:
            browser_id = self.unfinished.carried_links().browser_id(request.headers)
            visit = visit._replace(browser_id=browser_id)
        try:
            result, is_own = await self.conclude.result_of(
                transaction,
                callback,
                lambda: self.conclude.log_in(
                    transaction, callback, ticket, visit.mount_point
                ),
            )
        except StoreError:
            raise
        except TikTokOAuthError as error:
            if is_error(callback) and await self._is_signed_in_anyway(
                transaction, error, ticket
            ):
                event = rejected_event(self.unfinished.failure(error), error)
                await self.emit(event, why=cause_for_log(error))
                lands_on = transaction.lands_on or transaction.return_to
                return redirect_with_cookies(lands_on, spent)
            return await self.unfinished.reject(error, visit)
        if result.code:
            return self.unfinished.page(result, visit)
        request.finished = self._finished(transaction, result, visit)
        keeps_session = not is_own and await self._has_other_session(ticket, result)
        if has_logged_out(request, self.cookies):
            spent.append(self.cookies.choose(0))
        if find(request.headers, self.cookies.carry_name.encode()) is not None:
            # Links that were made for an earlier user of the browser end here.
            spent.append(self.cookies.carry("", 0))
        second = None
        if result.asks_again and not keeps_session:
            second = self._second_trip(request, transaction, result, spent)
        return second or self._signed_in(result, spent, keeps_session=keeps_session)

    def _finished(
        self, transaction: LoginTransaction, result: LoginResult, visit: Visit
    ) -> FinishedLogin:
        """Return the facts about a login that an integration gets."""
        question = None
        # A copy: cookies that are appended later are deleted by an accepted login only.
        visit = visit._replace(spent=tuple(visit.spent[:DELETED_AT_ONCE]))
        if self.connecting is not None:
            question = partial(self.connecting.question, visit)
        return FinishedLogin(
            return_to=transaction.return_to,
            carried=transaction.carried,
            is_new=result.is_new,
            may_connect=bool(transaction.connects_to),
            question=question,
            spent=visit.spent,
        )

    def _second_trip(
        self,
        request: Request,
        transaction: LoginTransaction,
        result: LoginResult,
        spent: Sequence[Cookie],
    ) -> Response | None:
        """Sign in, and send the person to TikTok's page for scopes that are missing.

        A login goes to TikTok twice at most: no third trip follows. A person who closes
        the page is still signed in.

        Returns:
            None if the response's headers would be too long.
        """
        second = self.transactions.renewed(transaction, result.lands_on)
        cookies = [*spent, self._session_cookie(result)]
        response = self.transactions.redirect_to_tiktok(request, second, cookies)
        if response is None or head_size(response) > HEAD_LIMIT:
            return None
        self.recent.remember(second.state, second.return_to, second.requested)
        return response

    async def _is_signed_in_anyway(
        self,
        transaction: LoginTransaction,
        error: TikTokOAuthError,
        ticket: Ticket | None,
    ) -> bool:
        """Whether a second trip failed for a person whom the first trip signed in.

        They are redirected to the login's `next`, and not asked again automatically.

        Raises:
            StoreError: the store failed.
        """
        if transaction.prompt != "again" or ticket is None:
            return False
        stored = await self.records.load_if_active(ticket)
        if stored is None:
            return False
        if isinstance(error, LoginDenied):
            granted = split_scopes(stored.record.scopes)
            missing = self.transactions.all_scopes(transaction) - granted
            await self.records.denied_scopes.note(stored.record_id, missing)
        return True

    async def _finish_unmatched(self, callback: Callback, visit: Visit) -> Answer:
        """Answer a callback without its login's cookies, which signs in no browser.

        The browser that finished the login is redirected to the login's `next`. The
        store is read for that only if the session cookie is genuine.
        """
        if is_error(callback):
            # An error that belongs to no login here is shown, and ends no pending
            # login.
            error = error_of(callback)
            if isinstance(error, TikTokUnavailable):
                # Any client can send such a callback, and no server failed.
                error = LoginError(error.error, error.description, callback.details)
            return await self.unfinished.reject(
                error, visit, level=unmatched_level(error)
            )
        ticket, is_signed_in = visit.ticket, False
        if ticket is not None and callback.state:
            is_signed_in = await self.conclude.is_alive(ticket)
            result = await self.conclude.results.find(login_id_of(callback.state))
            if (
                is_signed_in
                and result is not None
                and self.conclude.ticket_of(result) == ticket
            ):
                return redirect(result.return_to)
        recent = self.recent.find(callback.state)
        return await self.unfinished.reject(
            StateMismatch(),
            visit._replace(retry=recent and Retry(*recent)),
            code="already_signed_in" if is_signed_in else None,
        )

    async def _has_other_session(
        self, ticket: Ticket | None, result: LoginResult
    ) -> bool:
        """Whether another login has signed the browser in meanwhile."""
        if ticket is None or ticket == self.conclude.ticket_of(result):
            return False
        return await self.conclude.is_alive(ticket)

    def _signed_in(
        self, result: LoginResult, spent: Sequence[Cookie], *, keeps_session: bool
    ) -> Response:
        # The session's cookie comes last: some adapters keep one Set-Cookie only.
        session = [] if keeps_session else [self._session_cookie(result)]
        return redirect_with_cookies(result.return_to, [*spent, *session])

    def _session_cookie(self, result: LoginResult) -> Cookie:
        max_age = int(self.settings.session_lifetime)
        return self.cookies.session(result.session, max_age)

"""The login flow: to TikTok and back.

The callback is answered only for a browser that brings the login's cookies (see
`transaction`). The store is asked once before TikTok is: to mark the state as used, so
that equal callbacks at the same moment make one exchange. The same row then holds the
result, and for a minute every request with the login's cookies gets it: a callback that
was cut off, sent again or sent twice ends as the first one did.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from tiktok_oauth_middleware._core.http import (
    QUERY_LIMIT,
    BadQuery,
    Cookie,
    Request,
    Response,
    read_query,
)
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.return_to import return_to_of
from tiktok_oauth_middleware._oauth.answer import TRANSIENT
from tiktok_oauth_middleware._oauth.authorize import Callback, read_callback
from tiktok_oauth_middleware._oauth.scopes import parse_scopes, split_scopes
from tiktok_oauth_middleware._observe.causes import CONFIGURATION, reason_of
from tiktok_oauth_middleware._session.cookie import record_id, to_text
from tiktok_oauth_middleware.auth import read_profile
from tiktok_oauth_middleware.errors import (
    LoginDenied,
    LoginError,
    LoginExpired,
    LoginReplayed,
    StateMismatch,
    StoreError,
    TikTokError,
    TikTokOAuthError,
    TikTokUnavailable,
)
from tiktok_oauth_middleware.events import Event

from .code_exchange import CodeExchange
from .cookie_header import find
from .login_cookies import LoginCookies
from .login_results import SHOWN_SECONDS, LoginResult, LoginResults
from .mount import MountPoint
from .navigation import is_document, is_other_host, is_prefetch, is_same_origin
from .pages import (
    DELETED_AT_ONCE,
    HEAD_LIMIT,
    Answer,
    ErrorPage,
    Note,
    button,
    head_size,
    link,
    page_code,
    redirect,
    redirect_with_cookies,
)
from .recent_logins import RecentLogins
from .transaction import (
    SERVER_CLOCK_SKEW,
    LoginTransaction,
    LoginTransactions,
    Prompt,
)

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
    from tiktok_oauth_middleware._session.profiles import Profiles
    from tiktok_oauth_middleware._session.record import UserRecord
    from tiktok_oauth_middleware._session.records import Records
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .messages import ProblemCode

#: The cookies outlive the login by this, in seconds, so that the callback of a login
#: that took too long can be distinguished from one that began in another browser.
_AFTERLIFE = 1200
#: In the query of a login that was redirected to the site's own address: it is
#: redirected once.
_MOVED = "moved"
#: How long a store may take to write a login's result, in seconds.
_WRITE_SECONDS = 5
#: Longest list of scopes that a login may request, in characters: all scopes that
#: TikTok has take 700.
_LONGEST_SCOPES = 4096
#: In the query of a login, "1" or "0".
_CHOOSE = "choose_account"
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


class _Visit(NamedTuple):
    """What a page about a callback needs to know of its request."""

    mount_point: MountPoint
    #: Of the browser's present session cookie, if that is genuine.
    ticket: Ticket | None
    #: What a link that tries once more repeats, if that is known.
    retry: _Retry | None = None
    #: Deletions of the login's cookies.
    spent: Sequence[Cookie] = ()


class _Retry(NamedTuple):
    """What a link that tries a login once more repeats."""

    return_to: str
    requested: str
    chooses_account: bool = False


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class LoginFlow:
    """The login and callback paths of one TikTok app."""

    settings: TikTokSettings
    backend: Backend
    records: Records
    cookies: SessionCookies
    #: Seals transactions.
    login_box: Box
    #: Seals results.
    result_box: Box
    client: Callable[[], Awaitable[TikTokClient]]
    emit: Emitter
    clock: Callable[[], float]
    profiles: Profiles
    transactions: LoginTransactions = field(init=False)
    _exchange: CodeExchange = field(init=False)
    _recent: RecentLogins = field(init=False)
    _results: LoginResults = field(init=False)

    def __post_init__(self) -> None:
        """Make what only this flow uses.

        Raises:
            ConfigurationError: `cookie_name` leaves no room for the login's cookies.
        """
        settings, clock = self.settings, self.clock
        max_age = settings.login_lifetime + _AFTERLIFE
        login_cookies = LoginCookies(self.cookies, self.login_box, int(max_age))
        self.transactions = LoginTransactions(
            settings=settings, cookies=login_cookies, clock=clock
        )
        self._exchange = CodeExchange(
            settings=settings,
            records=self.records,
            cookies=self.cookies,
            profiles=self.profiles,
            client=self.client,
            clock=clock,
        )
        self._recent = RecentLogins(max_age, clock)
        self._results = LoginResults(
            records=self.records,
            backend=self.backend,
            box=self.result_box,
            clock=clock,
            used_seconds=settings.login_lifetime + SERVER_CLOCK_SKEW,
            # The exchange, the profile, perhaps the profile again without a field that
            # was refused, and the record.
            exchange_seconds=3 * settings.timeout + _WRITE_SECONDS,
        )

    # --- to TikTok ---------------------------------------------------------------

    def begin(self, request: Request, mount_point: MountPoint) -> Answer:
        """Answer the login path: put a transaction into cookies, redirect to TikTok."""
        if request.method not in self.settings.login_methods:
            return self._wrong_method(request, mount_point)
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        if is_prefetch(request) or not is_document(request):
            # An image or a frame that points here is no person who logs in.
            actions = [link("log_in", mount_point.login_url())]
            return ErrorPage(code="not_a_page_visit", actions=actions)
        moved = self._redirect_to_own_host(request, mount_point)
        if moved is not None:
            return moved
        origin = self.settings.origin
        if request.method == "POST" and not is_same_origin(request, origin):
            return ErrorPage(
                code="cross_site",
                actions=[
                    link("log_in", mount_point.login_url()),
                    link("back", mount_point.home),
                ],
                notes=[Note("address", origin)],
            )
        try:
            requested = self._requested_scopes(request, mount_point)
            prompt = self._prompt(request, requested)
        except BadQuery:
            actions = [link("log_in_without", mount_point.login_url())]
            return ErrorPage(code="scope_not_offered", actions=actions)
        usual = self.transactions.default_return_to(mount_point)
        return_to = return_to_of(
            request.query, usual, mount_point.own_paths, mount_point.origin
        )
        transaction = self.transactions.create(return_to, requested, prompt)
        response = self.transactions.redirect_to_tiktok(request, transaction)
        if response is None or head_size(response) > HEAD_LIMIT:
            # A long address besides many scopes: the address gives way.
            transaction = replace(transaction, return_to=usual)
            response = self.transactions.redirect_to_tiktok(request, transaction)
        if response is None:
            return ErrorPage(code="query_too_long")
        special = "" if transaction.return_to == usual else transaction.return_to
        self._recent.remember(transaction.state, special, transaction.requested)
        return response

    def _redirect_to_own_host(
        self, request: Request, mount_point: MountPoint
    ) -> Response | None:
        """Return a redirect to the login at the site's own address, if this is another.

        TikTok sends the person back to the redirect URI, where cookies of another host
        are missing, so the login must begin there. Host decides nothing but that; the
        address is the configured one. Where a proxy changes Host the browser is there
        already: it is redirected once, and then the login goes on.
        """
        origin = self.settings.origin
        if not is_other_host(request, origin):
            return None
        try:
            has_moved = _MOVED in read_query(request.query, [_MOVED])
        except BadQuery:
            has_moved = True
        if has_moved:
            return None
        path = self._path_with_query(request, mount_point)
        moved = redirect(f"{origin}{path}{'&' if '?' in path else '?'}{_MOVED}=1")
        if head_size(moved) > HEAD_LIMIT:
            moved = redirect(f"{origin}{mount_point.login_url()}?{_MOVED}=1")
        return moved

    @staticmethod
    def _path_with_query(request: Request, mount_point: MountPoint) -> str:
        """Return the login path with the query that was sent."""
        query = quote(request.query, safe="%/?:@!$&'()*+,;=~")
        return mount_point.login_url() + (f"?{query}" if query else "")

    def _wrong_method(self, request: Request, mount_point: MountPoint) -> Answer:
        """Return 405; where logins are posted, with the form that does it."""
        allow = [("allow", ", ".join(self.settings.login_methods))]
        if request.method != "GET":
            return ErrorPage(code="method_not_allowed", headers=allow)
        path = self._path_with_query(request, mount_point)
        return self._redirect_to_own_host(request, mount_point) or ErrorPage(
            code="login_by_form",
            actions=[button("log_in", path), link("back", mount_point.home)],
            headers=allow,
            form_redirects_to=self.settings.endpoints.authorize,
        )

    @staticmethod
    def _requested_scopes(request: Request, mount_point: MountPoint) -> frozenset[str]:
        """Return the scopes in the query; BadQuery if one may not be requested."""
        text = read_query(request.query, ["scopes"]).get("scopes", "")
        if len(text) > _LONGEST_SCOPES:
            raise BadQuery
        requested = parse_scopes(text)
        if not requested <= mount_point.allowed_scopes:
            raise BadQuery
        return requested

    def _prompt(self, request: Request, requested: frozenset[str]) -> Prompt:
        """Return why TikTok is to show its page; BadQuery if the query is invalid."""
        chooses = read_query(request.query, [_CHOOSE]).get(_CHOOSE, "0")
        if chooses not in ("0", "1"):
            raise BadQuery
        # At the login after a logout TikTok would take the same account without asking.
        if chooses == "1" or self._has_logged_out(request):
            return "choose"
        return "consent" if requested or self.settings.always_ask_consent else ""

    def _has_logged_out(self, request: Request) -> bool:
        return find(request.headers, self.cookies.choose_name.encode()) is not None

    # --- and back ----------------------------------------------------------------

    async def finish(
        self, request: Request, mount_point: MountPoint, ticket: Ticket | None
    ) -> Answer:
        """Answer the callback path: exchange TikTok's code for a session.

        Args:
            request: with TikTok's answer in the query.
            mount_point: of the request.
            ticket: of the browser's present session cookie, if that is genuine.

        Raises:
            StoreError: the store failed. If that was before TikTok was asked, the same
                callback finishes the login when the store is back; if after, the code
                is spent, and a new login is needed.
        """
        if request.method != "GET":
            return ErrorPage(code="method_not_allowed", headers=[("allow", "GET")])
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        try:
            callback = read_callback(request.query, [self.settings.client_secret])
        except BadQuery:
            return await self._reject(LoginError(), _Visit(mount_point, ticket))
        transaction = self.transactions.find(request.headers, callback.state)
        if transaction is None:
            return await self._finish_unmatched(callback, _Visit(mount_point, ticket))
        return await self._finish(
            request, transaction, callback, _Visit(mount_point, ticket)
        )

    async def _finish(
        self,
        request: Request,
        transaction: LoginTransaction,
        callback: Callback,
        visit: _Visit,
    ) -> Answer:
        """Answer a callback that brought its login's cookies."""
        ticket = visit.ticket
        # From here on the login's cookies are spent, however it ends.
        spent = self.transactions.cookies.ended(request.headers, transaction.state)
        retry = _Retry(
            transaction.return_to,
            transaction.requested,
            transaction.prompt == "choose",
        )
        visit = visit._replace(retry=retry, spent=spent)
        try:
            result, is_own = await self._result_of(transaction, callback, ticket)
        except StoreError:
            raise
        except TikTokOAuthError as error:
            if _is_error(callback) and await self._is_signed_in_anyway(
                transaction, error, ticket
            ):
                event = _rejected(self._failure(error), error)
                await self.emit(event, why=_cause(error))
                return redirect_with_cookies(transaction.return_to, spent)
            return await self._reject(error, visit)
        if result.code:
            return self._page(result, visit)
        keeps_session = not is_own and await self._has_other_session(ticket, result)
        if self._has_logged_out(request):
            spent.append(self.cookies.choose(0))
        second = None
        if result.asks_again and not keeps_session:
            second = self._second_trip(request, transaction, result, spent)
        return second or self._signed_in(result, spent, keeps_session=keeps_session)

    def _second_trip(
        self,
        request: Request,
        transaction: LoginTransaction,
        result: LoginResult,
        spent: Sequence[Cookie],
    ) -> Response | None:
        """Sign in, and send the person to TikTok's page for what was not granted.

        It follows an answer of TikTok's, and is not followed by another: a login goes
        to TikTok twice at most. A person who closes the page is signed in all the same.

        Returns:
            None if that is too long for one response.
        """
        second = self.transactions.renewed(transaction)
        cookies = [*spent, self._session_cookie(result)]
        response = self.transactions.redirect_to_tiktok(request, second, cookies)
        if response is None or head_size(response) > HEAD_LIMIT:
            return None
        self._recent.remember(second.state, second.return_to, second.requested)
        return response

    async def _is_signed_in_anyway(
        self,
        transaction: LoginTransaction,
        error: TikTokOAuthError,
        ticket: Ticket | None,
    ) -> bool:
        """Whether a second trip failed for a person who is signed in since the first.

        They go where the login led, and are not asked again automatically.

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
            await self.records.note_denied(stored.record_id, missing)
        return True

    async def _finish_unmatched(self, callback: Callback, visit: _Visit) -> Answer:
        """Answer a callback without its login's cookies: it signs nobody in.

        The browser that finished the login is redirected to where it led. Only for a
        genuine session cookie is the store asked about that.
        """
        if _is_error(callback):
            # An error without a login of ours is shown, and ends none under way.
            error = _error_of(callback)
            if isinstance(error, TikTokUnavailable):
                # Anybody can send one, and no server of ours or TikTok's failed.
                error = LoginError(error.error, error.description, callback.details)
            return await self._reject(error, visit, level=_unmatched_level(error))
        ticket, is_signed_in = visit.ticket, False
        if ticket is not None and callback.state:
            is_signed_in = await self._is_alive(ticket)
            result = await self._results.find(_login_id(callback.state))
            if (
                is_signed_in
                and result is not None
                and self._ticket_of(result) == ticket
            ):
                return redirect(result.return_to)
        recent = self._recent.find(callback.state)
        return await self._reject(
            StateMismatch(),
            visit._replace(retry=recent and _Retry(*recent)),
            code="already_signed_in" if is_signed_in else None,
        )

    async def _result_of(
        self,
        transaction: LoginTransaction,
        callback: Callback,
        ticket: Ticket | None,
    ) -> tuple[LoginResult, bool]:
        """Return the result of a login, and whether this request produced it.

        Raises:
            LoginError: there is none that may be shown.
            StoreError: the store failed.
        """
        login_id = _login_id(transaction.state)
        produced: list[str] = []
        if not self.transactions.is_current(transaction):
            # It may have been finished in time, and be requested once more.
            sealed = None if _is_error(callback) else await self._results.wait(login_id)
            if sealed is None:
                raise LoginExpired
        elif _is_error(callback) or not callback.code:
            # Nothing is spent, so nothing is written.
            raise _error_of(callback)
        else:
            # Equal requests in this process wait for the first one's result; the
            # exchange goes on to its end even if that one's browser is gone.
            sealed = await self.backend.single_flight(
                ("login", login_id),
                lambda: self._conclude(transaction, callback, ticket, produced),
                wait=True,
            )
        result = sealed and self._results.opened(login_id, sealed)
        if not result:
            raise LoginReplayed
        if not produced and not await self._may_be_shown(result):
            raise LoginReplayed
        return result, bool(produced)

    async def _may_be_shown(self, result: LoginResult) -> bool:
        """Whether a result is recent, and its session has not been ended since."""
        age = self.clock() - result.at
        if not -SERVER_CLOCK_SKEW <= age <= SHOWN_SECONDS:
            return False
        own = self._ticket_of(result)
        return bool(result.code) or (own is not None and await self._is_alive(own))

    def _ticket_of(self, result: LoginResult) -> Ticket | None:
        return self.cookies.read(result.session.encode())

    async def _is_alive(self, ticket: Ticket) -> bool:
        """Whether a session has not ended, asked of the store."""
        return await self.records.load_if_active(ticket) is not None

    async def _has_other_session(
        self, ticket: Ticket | None, result: LoginResult
    ) -> bool:
        """Whether the browser is signed in by another login than this one by now."""
        if ticket is None or ticket == self._ticket_of(result):
            return False
        return await self._is_alive(ticket)

    def _signed_in(
        self, result: LoginResult, spent: Sequence[Cookie], *, keeps_session: bool
    ) -> Response:
        # The session's cookie comes last: some adapters keep one Set-Cookie only.
        session = [] if keeps_session else [self._session_cookie(result)]
        return redirect_with_cookies(result.return_to, [*spent, *session])

    def _session_cookie(self, result: LoginResult) -> Cookie:
        max_age = int(self.settings.session_lifetime)
        return self.cookies.session(result.session, max_age)

    # --- the exchange ------------------------------------------------------------

    async def _conclude(
        self,
        transaction: LoginTransaction,
        callback: Callback,
        ticket: Ticket | None,
        produced: list[str],
    ) -> bytes | None:
        """Finish a login, or wait for the request that does; return the sealed result.

        Args:
            transaction: whose cookies the browser brought.
            callback: with TikTok's code.
            ticket: of the browser's present session cookie.
            produced: gets the login's id if the login is finished here.
        """
        login_id = _login_id(transaction.state)
        marker = await self._results.begin(login_id)
        if marker is None:
            return await self._results.wait(login_id)
        produced.append(login_id)
        try:
            # No secret is in a local of this frame while the app's on_event runs.
            sealed, event, session, why = await self._attempt(
                transaction, callback, ticket
            )
        except StoreError:
            # The code is spent. A repeated callback need not wait to learn that.
            lost = self._results.seal(login_id, self._failure(LoginReplayed()))
            with contextlib.suppress(StoreError):
                await self._results.finish(login_id, marker, lost)
            raise
        try:
            await self._results.finish(login_id, marker, sealed)
        except StoreError as error:
            logger.warning("the result of a login could not be kept: %s", error)
        await self.emit(event, session=session, why=why)
        return sealed

    async def _attempt(
        self,
        transaction: LoginTransaction,
        callback: Callback,
        ticket: Ticket | None,
    ) -> tuple[bytes, Event, str, object]:
        """Exchange the code.

        Returns:
            The sealed result, the event to emit, and the session's digest and the cause
            to emit with it.
        """
        digest, why = "", None
        try:
            session = await self._exchange.run(transaction, callback.code, ticket)
            asks_again = await self._asks_again(transaction, session.record)
            record, digest = session.record, session.digest
            result = LoginResult(
                at=int(self.clock()),
                session=session.cookie,
                return_to=transaction.return_to,
                asks_again=asks_again,
            )
            event = Event(
                name="login",
                open_id=record.open_id,
                scopes=split_scopes(record.scopes),
                user=read_profile(record.open_id, record.profile),
                is_new=session.is_new_user,
            )
        except StoreError:
            raise
        except TikTokOAuthError as error:
            result = self._failure(error)
            event, why = _rejected(result, error), error
        sealed = self._results.seal(_login_id(transaction.state), result)
        return sealed, event, digest, _cause(why) if why else ""

    async def _asks_again(
        self, transaction: LoginTransaction, record: UserRecord
    ) -> bool:
        """Whether to show TikTok's page for scopes that the person was not asked for.

        TikTok reconnects a person who consented before without its page, and with the
        scopes of that consent: a scope that the site has requested since then is never
        granted by itself. What a person denied on the page is theirs to ask for.
        """
        user_record_id = record_id(self.settings.client_key, record.open_id)
        requested = self.transactions.all_scopes(transaction)
        missing = requested - split_scopes(record.scopes)
        try:
            if transaction.prompt:
                await self.records.note_denied(user_record_id, missing, requested)
                return False
            return bool(missing and missing - await self.records.denied(user_record_id))
        except StoreError as error:
            # The login itself is written.
            logger.warning("denied scopes could not be written or read: %s", error)
            return False

    # --- failures ----------------------------------------------------------------

    def _failure(
        self, error: TikTokOAuthError, level: int | None = None
    ) -> LoginResult:
        """Return the result of a login that failed."""
        notes: list[Note] = []
        if isinstance(error, LoginDenied):
            pass  # the page explains it
        elif isinstance(error, LoginError) and error.error:
            notes = [Note("tiktok_sent", error.error)]
        elif isinstance(error, TikTokError) and error.log_id:
            notes = [Note("tiktok_reference", error.log_id)]
        is_temporary = isinstance(error, TikTokUnavailable)
        return LoginResult(
            at=int(self.clock()),
            code=page_code(error),
            notes=notes,
            reference=self.emit.reference_for("login_rejected", _cause(error), level),
            headers=[("retry-after", "5")] if is_temporary else [],
        )

    async def _reject(
        self,
        error: TikTokOAuthError,
        visit: _Visit,
        *,
        code: ProblemCode | None = None,
        level: int | None = None,
    ) -> ErrorPage:
        """Report that nobody was signed in, and return the page that explains it.

        Args:
            error: what went wrong.
            visit: the request.
            code: of the page, instead of the error's.
            level: in the log, instead of the one that the error has.
        """
        result = self._failure(error, level)
        await self.emit(_rejected(result, error), why=_cause(error), level=level)
        if isinstance(error, StateMismatch):
            usual = self.transactions.default_return_to(visit.mount_point)
            leads = Note("begins_at", usual)
            if visit.retry is not None:
                leads = Note("leads_to", visit.retry.return_to or usual)
            address = Note("address", self.settings.origin)
            result = replace(result, notes=[address, leads])
        if code:
            result = replace(result, code=code, notes=())
        return self._page(result, visit)

    def _page(self, result: LoginResult, visit: _Visit) -> ErrorPage:
        """Return the page that explains why nobody was signed in, with links on.

        It never redirects to TikTok by itself: that could repeat for ever.
        """
        actions = [
            link("try_again", self._retry_url(visit.retry, visit.mount_point)),
            link("back", visit.mount_point.home),
        ]
        if visit.ticket is not None:
            actions.reverse()
        return ErrorPage(
            code=result.code or "login_failed",
            actions=actions,
            notes=result.notes,
            reference=result.reference,
            cookies=visit.spent[:DELETED_AT_ONCE],
            headers=result.headers,
        )

    def _retry_url(self, retry: _Retry | None, mount_point: MountPoint) -> str:
        """Return the URL that begins the same login again."""
        if retry is None:
            return mount_point.login_url()
        usual = self.transactions.default_return_to(mount_point)
        return mount_point.login_url(
            None if retry.return_to in ("", usual) else retry.return_to,
            split_scopes(retry.requested),
            choose_account=retry.chooses_account,
        )


def _rejected(result: LoginResult, error: TikTokOAuthError) -> Event:
    """Return the event of a login that failed."""
    reason = reason_of(error)
    return Event(name="login_rejected", reason=reason, reference=result.reference)


def _cause(error: TikTokOAuthError) -> BaseException:
    """Return the error for the log: TikTok's own, where it refused the code."""
    return (isinstance(error, LoginExpired) and error.__cause__) or error


def _login_id(state: str) -> str:
    """Return the name of a login's row: a hash of its state."""
    return to_text(hashlib.sha256(state.encode()).digest()[:9])


def _is_error(callback: Callback) -> bool:
    """Whether TikTok's answer is an error; some have neither ``error`` nor a code."""
    return bool(callback.error or (callback.details and not callback.code))


def _error_of(callback: Callback) -> LoginError | TikTokUnavailable:
    """Return what an error in TikTok's callback means for the login.

    ``access_denied`` is a person who cancels, or an account that TikTok does not let
    log in here; its description says which, if anything does.
    """
    error, description = callback.error, callback.description
    if error == "access_denied":
        return LoginDenied(error, description, callback.details)
    if error in TRANSIENT:
        return TikTokUnavailable(error, description)
    known = error if not error or _ERROR_CODE.fullmatch(error) else "unknown_error"
    return LoginError(known, description, callback.details)


def _unmatched_level(error: Exception) -> int:
    """Return the log level of an error that belongs to no login of this browser.

    Anybody can send one, so it is a warning only where it names a mistake of the app's,
    which TikTok may report without a state.
    """
    is_mistake = isinstance(error, LoginError) and error.error in CONFIGURATION
    return logging.WARNING if is_mistake else logging.INFO

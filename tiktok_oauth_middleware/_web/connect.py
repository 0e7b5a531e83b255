"""Connecting: a person connects a TikTok account to their user of the app.

The trip to TikTok is a login's: the same cookies, transaction, exchange and single use.
It is bound to the browser, as a login is, and to the app's user: a hash of the user's
id is sealed into the transaction, and ``current_user`` is asked when the trip begins
and again when it ends, before TikTok is. Whoever signs out of the app or signs in as
another user in between connects nothing.

A page of another site must begin no such trip, because its end gives an account to a
user: a POST must come from a page of this site, and so must a GET, or the person is
asked first. TikTok always shows its page then, with the account that is connected.
"""

from __future__ import annotations

import contextlib
import hmac
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.http import QUERY_LIMIT, BadQuery, Request
from tiktok_oauth_middleware._core.return_to import return_to_of
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._observe.causes import reason_of
from tiktok_oauth_middleware._session.connections import user_id_fault
from tiktok_oauth_middleware._session.cookie import digest, record_id
from tiktok_oauth_middleware.auth import Login, read_profile
from tiktok_oauth_middleware.errors import (
    ConfigurationError,
    LoginDenied,
    LoginError,
    StoreError,
    TikTokError,
    TikTokOAuthError,
)
from tiktok_oauth_middleware.events import Event

from .begin_login import BeginLogin, path_with_query
from .conclude_login import Attempted, ConcludeLogin, login_id_of
from .login_results import LoginResult
from .misuse import is_async
from .navigation import is_document, is_prefetch, is_same_origin
from .pages import (
    DELETED_AT_ONCE,
    Answer,
    ErrorPage,
    Note,
    button,
    link,
    redirect_with_cookies,
)
from .unfinished_login import UnfinishedLogins, Visit, cause_for_log

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.backends.base import Outcome as AppOutcome
    from tiktok_oauth_middleware._oauth.authorize import Callback
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.connections import Connections, Outcome
    from tiktok_oauth_middleware._session.record import UserRecord
    from tiktok_oauth_middleware.auth import TikTokAuth
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .code_exchange import CodeExchange
    from .login import AppUsers
    from .messages import ProblemCode
    from .mount import MountPoint
    from .transaction import LoginTransaction, LoginTransactions

#: Whether a user of the app may have an account, where the app keeps accounts itself;
#: gets what ``current_user`` gets, the user's id and the account. Under ASGI it may
#: return an awaitable.
Claim = Callable[[Any, str, Login], Any]


class _Refused(LoginError):
    """An account is not connected, for a reason that is not TikTok's."""

    #: The person's user of the app, if that is known.
    user_id: str | None = None
    #: What the app's own code raised.
    raised: BaseException | None = None


class _SignedOut(_Refused):
    """Nobody is signed in to the app."""

    code = "connect_signed_out"


class _OtherUser(_Refused):
    """Another user of the app is signed in than when the trip began, or none is."""

    code = "connect_other_user"


class _Undecided(_Refused):
    """``current_user`` gave no answer that is allowed."""

    code = "connect_undecided"

    def __init__(self, detail: str, raised: BaseException | None = None) -> None:
        super().__init__()
        self.args = (detail,)
        self.raised = raised


class _Taken(_Refused):
    """The account is connected to another user."""

    code = "account_taken"


class _Full(_Refused):
    """The user has as many accounts as are allowed."""

    code = "connect_full"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Connect:
    """Answers the connect path, and the callbacks of trips that began there."""

    settings: TikTokSettings
    backend: Backend
    app_users: AppUsers
    #: Returns the request's `TikTokAuth`, which `current_user` may read.
    load_auth: Callable[[Request, MountPoint], Awaitable[TikTokAuth]]
    connections: Callable[[], Connections]
    begin_login: BeginLogin
    transactions: LoginTransactions
    exchange: CodeExchange
    conclude: ConcludeLogin
    unfinished: UnfinishedLogins
    emit: Emitter
    #: Ends a user's access at TikTok with the tokens of an account without a record.
    revoke: Callable[[str, UserRecord], Awaitable[None]]

    # --- to TikTok ---------------------------------------------------------------

    async def begin(self, request: Request, mount_point: MountPoint) -> Answer:
        """Answer the connect path: put a transaction into cookies, go to TikTok."""
        refusal = self._check_request(request, mount_point)
        if refusal is not None:
            return refusal
        moved = self.begin_login.redirect_to_own_host(request, mount_point)
        if moved is not None:
            return moved
        visit = Visit(mount_point, None)
        try:
            user_id = await self._user_of(await self._connection(request, mount_point))
        except _Undecided as error:
            return await self._reject(error, visit)
        if user_id is None:
            back = [link("back", mount_point.home)]
            return ErrorPage(code="connect_signed_out", actions=back)
        # Its button posts, so a POST is enough whatever `login_methods` are.
        is_meant = request.method == "POST" or (
            "GET" in self.settings.login_methods
            and is_same_origin(request, self.settings.origin)
        )
        if not is_meant:
            return self._question(request, mount_point)
        try:
            requested = self.begin_login.requested_scopes(request, mount_point)
        except BadQuery:
            back = [link("back", mount_point.home)]
            return ErrorPage(code="scope_not_offered", actions=back)
        usual = self.transactions.default_return_to(mount_point)
        return_to = return_to_of(
            request.query, usual, mount_point.own_paths, mount_point.origin
        )
        # "choose": TikTok shows its page, so that the person sees which account it is.
        transaction = self.transactions.create(return_to, requested, "choose", {})
        transaction = replace(transaction, user_hash=digest(user_id.encode()))
        response, _ = self.begin_login.redirect_to_tiktok(request, transaction, usual)
        return response or ErrorPage(code="query_too_long")

    def _check_request(
        self, request: Request, mount_point: MountPoint
    ) -> ErrorPage | None:
        """Return the page for a request that no person's browser sends on purpose."""
        if request.method not in ("GET", "POST"):
            allow = [("allow", "GET, POST")]
            return ErrorPage(code="method_not_allowed", headers=allow)
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        origin = self.settings.origin
        if request.method == "POST" and not is_same_origin(request, origin):
            back = [link("back", mount_point.home)]
            notes = [Note("address", origin)]
            return ErrorPage(code="cross_site", actions=back, notes=notes)
        if is_prefetch(request) or not is_document(request):
            return self._question(request, mount_point)
        return None

    def _question(self, request: Request, mount_point: MountPoint) -> ErrorPage:
        """Return the page that asks whether to connect, with a button that does."""
        path = path_with_query(request, mount_point)
        return ErrorPage(
            code="confirm_connect",
            actions=[button("connect", path), link("stay", mount_point.home)],
            form_redirects_to=self.settings.endpoints.authorize,
        )

    async def _connection(self, request: Request, mount_point: MountPoint) -> Any:
        """Return the scope, the environ or the framework's request, for the app.

        Raises:
            StoreError: the store could not say who is signed in with TikTok.
        """
        auth = await self.load_auth(request, mount_point)
        return auth if request.for_app is None else request.for_app(auth)

    async def _user_of(self, connection: Any) -> str | None:
        """Ask the app who is signed in to it; return None if nobody is.

        Raises:
            _Undecided: the app gave no answer that is allowed.
        """
        outcome = await self.backend.ask_app(
            partial(self.app_users.current_user, connection),
            self.settings.timeout,
            is_async=is_async(self.app_users.current_user),
        )
        if not outcome.is_set:
            message = f"current_user took longer than {self.settings.timeout:g} seconds"
            raise _Undecided(message)
        if outcome.error is not None:
            message = f"current_user raised {type(outcome.error).__name__}"
            raise _Undecided(message, outcome.error)
        user_id = outcome.value
        if user_id is None:
            return None
        fault = user_id_fault(user_id)
        if fault:
            if inspect.iscoroutine(user_id):
                user_id.close()  # it would warn that it was never awaited
            message = f"current_user returned {fault}"
            raise _Undecided(message)
        return str(user_id)

    # --- and back ----------------------------------------------------------------

    async def finish(
        self,
        request: Request,
        transaction: LoginTransaction,
        callback: Callback,
        visit: Visit,
    ) -> Answer:
        """Answer a callback that brought the cookies of a trip that began here.

        Raises:
            StoreError: the store failed; see `FinishLogin.respond`.
        """
        spent = self.transactions.cookies.ended(request.headers, transaction.state)
        visit = visit._replace(spent=spent)
        retry = visit.mount_point.connect_url(
            transaction.return_to, split_scopes(transaction.requested)
        )
        user_id: str | None = None
        try:
            connection = await self._connection(request, visit.mount_point)
            user_id = await self._user_of(connection)
            presented = "" if user_id is None else digest(user_id.encode())
            if user_id is None or not hmac.compare_digest(
                presented, transaction.user_hash
            ):
                raise _OtherUser
            owner = user_id
            result, _ = await self.conclude.result_of(
                transaction,
                callback,
                lambda: self._attempt(connection, transaction, callback, owner),
            )
        except StoreError:
            raise
        except TikTokOAuthError as error:
            return await self._reject(error, visit, retry, user_id)
        if result.code:
            return self._page(result, visit, retry)
        return redirect_with_cookies(result.return_to, spent)

    async def _attempt(
        self,
        connection: Any,
        transaction: LoginTransaction,
        callback: Callback,
        user_id: str,
    ) -> Attempted:
        """Exchange the code, and connect the account that it is for."""
        cause: object = ""
        try:
            record, is_new = await self._connect(
                connection, transaction, callback, user_id
            )
            result = LoginResult(
                at=self.unfinished.now(), return_to=transaction.return_to
            )
            event = Event(
                name="connect",
                open_id=record.open_id,
                user_id=user_id,
                scopes=split_scopes(record.scopes),
                user=read_profile(record.open_id, record.profile),
                is_new=is_new,
            )
        except StoreError:
            raise
        except TikTokOAuthError as error:
            result = self._failure(error)
            event, cause = _rejected(result, error, user_id), cause_for_log(error)
        sealed = self.conclude.results.seal(login_id_of(transaction.state), result)
        return Attempted(sealed, event, cause=cause)

    async def _connect(
        self,
        connection: Any,
        transaction: LoginTransaction,
        callback: Callback,
        user_id: str,
    ) -> tuple[UserRecord, bool]:
        """Connect the account of a code; return its record, and whether it is new.

        Raises:
            _Taken, _Full: the account is not connected to this user.
            LoginExpired, TikTokError: as `CodeExchange.ask`.
            StoreError: the store failed.
        """
        tokens, profile = await self.exchange.ask(transaction, callback.code)
        name = record_id(self.settings.client_key, tokens.open_id)
        make = partial(self.exchange.record, transaction, tokens, profile)
        connections = self.connections()
        claim, is_claimed = self.app_users.claim, False
        if claim is not None and not await connections.is_taken(user_id, name):
            record = make(None)
            login = Login(
                open_id=record.open_id,
                scopes=split_scopes(record.scopes),
                user=read_profile(record.open_id, record.profile),
                next=transaction.return_to,
            )
            if not await self._claimed(partial(claim, connection, user_id, login)):
                raise _Taken
            is_claimed = True
        outcome: Outcome = "taken"
        try:
            outcome, record_now = await connections.connect(user_id, name, make)
        finally:
            release = self.app_users.release
            if outcome in ("taken", "full") and is_claimed and release is not None:
                await self._ask_app(partial(release, connection))
        if outcome == "taken":
            raise _Taken
        if outcome == "full":
            if record_now is None:
                # No record has these tokens, so nobody could end the access later.
                await self.revoke(name, make(None))
            raise _Full
        if record_now is None:
            raise AssertionError  # a connected account has a record
        if self.app_users.announce is not None:
            # Now, and not before: the app may use the tokens at once.
            await self._ask_app(partial(self.app_users.announce, connection))
        missing = self.transactions.all_scopes(transaction) - split_scopes(
            record_now.scopes
        )
        with contextlib.suppress(StoreError):  # the connection is written
            await self.conclude.records.note_denied(
                name, missing, self.transactions.all_scopes(transaction)
            )
        return record_now, outcome == "connected"

    async def _claimed(self, claim: Callable[[], Any]) -> bool:
        """Ask the app whether its user may have an account.

        Raises:
            _Undecided: the app's own code or database failed.
        """
        outcome = await self._ask_app(claim)
        if not outcome.is_set:
            message = f"the app's accounts took longer than {self.settings.timeout:g} s"
            raise _Undecided(message)
        if outcome.error is not None:
            message = f"the app's accounts raised {type(outcome.error).__name__}"
            raise _Undecided(message, outcome.error)
        return bool(outcome.value)

    async def _ask_app(self, call: Callable[[], Any]) -> AppOutcome:
        """Return what an app's code returned; no frame above it holds a token."""
        return await self.backend.ask_app(
            call, self.settings.timeout, is_async=not self.backend.is_blocking
        )

    # --- failures ----------------------------------------------------------------

    def _failure(self, error: TikTokOAuthError) -> LoginResult:
        """Return the result of an attempt that failed."""
        result = self.unfinished.failure(error, event="connect_rejected")
        return replace(result, code=_page_code(error))

    async def _reject(
        self,
        error: TikTokOAuthError,
        visit: Visit,
        retry: str = "",
        user_id: str | None = None,
    ) -> ErrorPage:
        """Report that nothing was connected, and return the page that explains it."""
        result = self._failure(error)
        await self.emit(
            _rejected(result, error, user_id),
            why=cause_for_log(error),
            raised=getattr(error, "raised", None),
        )
        return self._page(result, visit, retry)

    @staticmethod
    def _page(result: LoginResult, visit: Visit, retry: str = "") -> ErrorPage:
        """Return the page that explains why nothing was connected."""
        actions = [link("back", visit.mount_point.home)]
        if retry and result.code not in ("connect_other_user", "connect_full"):
            # The link is on a page of this site, so the trip begins without a question.
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
    if isinstance(error, _Refused):
        return error.code  # type: ignore[return-value]
    if isinstance(error, LoginDenied):
        return "connect_denied"
    return (
        "connect_tiktok_failed" if isinstance(error, TikTokError) else "connect_failed"
    )


def _rejected(
    result: LoginResult, error: TikTokOAuthError, user_id: str | None
) -> Event:
    """Return the event of an attempt that failed."""
    return Event(
        name="connect_rejected",
        reason=reason_of(error),
        reference=result.reference,
        user_id=user_id,
    )


def check_current_user(
    settings: TikTokSettings, current_user: object, *, is_blocking: bool
) -> None:
    """Check an app's ``current_user``.

    Raises:
        ConfigurationError: there is no ``connect_path``, or the function takes no
            argument, or it is async under WSGI.
    """
    fault = None
    if settings.connect_path is None:
        fault = "current_user is given, and the option connect_path is not set"
    elif not callable(current_user):
        fault = (
            f"current_user is a {type(current_user).__name__}; it must be a function"
        )
    elif is_blocking and is_async(current_user):
        fault = (
            "current_user is an async def; under WSGI it must be a plain function,"
            " which may block (under ASGI it may be either)"
        )
    else:
        with contextlib.suppress(ValueError):  # a built-in without a signature
            try:
                inspect.signature(current_user).bind(None)
            except TypeError:
                fault = (
                    "current_user must take one argument: the scope under ASGI, the"
                    " environ under WSGI"
                )
    if fault:
        raise ConfigurationError(fault)

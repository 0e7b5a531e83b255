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
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware._session.connections import user_id_fault
from tiktok_oauth_middleware._session.cookie import digest, record_id
from tiktok_oauth_middleware.auth import Login
from tiktok_oauth_middleware.errors import (
    ConfigurationError,
    LoginExpired,
    StoreError,
    TikTokOAuthError,
)
from tiktok_oauth_middleware.events import Event

from .begin_login import BeginLogin, path_with_query
from .conclude_login import Attempted, ConcludeLogin, login_id_of
from .connect_refusals import (
    Full,
    OtherUser,
    Taken,
    Undecided,
    answer_in,
    rejected,
)
from .login_results import LoginResult
from .misuse import is_async
from .navigation import is_document, is_prefetch, is_same_origin
from .pages import (
    Answer,
    ErrorPage,
    Note,
    link,
    redirect_with_cookies,
)
from .unfinished_login import UnfinishedLogins, Visit, cause_for_log

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend, Outcome
    from tiktok_oauth_middleware._oauth.authorize import Callback
    from tiktok_oauth_middleware._session.connections import Connections
    from tiktok_oauth_middleware._session.record import UserRecord
    from tiktok_oauth_middleware.auth import CurrentUser, TikTokAuth
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .code_exchange import CodeExchange
    from .connect_refusals import ConnectRefusals
    from .login import AppUsers
    from .mount import MountPoint
    from .transaction import LoginTransaction, LoginTransactions

#: Whether a user of the app may have an account, where the app keeps accounts itself;
#: gets what ``current_user`` gets, the user's id and the account. Under ASGI it may
#: return an awaitable.
Claim = Callable[[Any, str, Login], Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Connect:
    """Answers the connect path, and the callbacks of trips that began there."""

    settings: TikTokSettings
    backend: Backend
    app_users: AppUsers
    current_user: CurrentUser
    #: Returns the request's `TikTokAuth`, which `current_user` may read.
    load_auth: Callable[[Request, MountPoint], Awaitable[TikTokAuth]]
    connections: Callable[[], Connections]
    begin_login: BeginLogin
    transactions: LoginTransactions
    exchange: CodeExchange
    conclude: ConcludeLogin
    unfinished: UnfinishedLogins
    refusals: ConnectRefusals
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
        except Undecided as error:
            return await self.refusals.reject(error, visit)
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
        return self.refusals.question(path, mount_point)

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
            Undecided: the app gave no answer that is allowed.
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
                raise OtherUser
            owner = user_id
            result, _ = await self.conclude.result_of(
                transaction,
                callback,
                lambda: self._attempt(connection, transaction, callback, owner),
            )
        except StoreError:
            raise
        except TikTokOAuthError as error:
            return await self.refusals.reject(error, visit, retry, user_id)
        if result.code:
            return self.refusals.page(result, visit, retry)
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
            result = self.refusals.failure(error)
            event, cause = rejected(result, error, user_id), cause_for_log(error)
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
            Taken, Full: the account is not connected to this user.
            LoginExpired, TikTokError: as `CodeExchange.ask`.
            StoreError: the store failed.
        """
        began_at = self.exchange.clock()
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
                raise Taken
            is_claimed = True
        is_connected = False
        try:
            outcome, record_now = await connections.connect(user_id, name, make)
            if record_now is not None:
                await self._check_alive(user_id, record_now, began_at)
            is_connected = outcome not in ("taken", "full")
        finally:
            # What `claim` gave is taken back, also if the access ended meanwhile.
            release = self.app_users.release
            if is_claimed and not is_connected and release is not None:
                await self._ask_app(partial(release, connection))
        if outcome == "taken":
            raise Taken
        if outcome == "full":
            if record_now is None:
                # No record has these tokens, so nobody could end the access later.
                await self.revoke(name, make(None))
            raise Full
        if record_now is None:
            raise AssertionError  # a connected account has a record
        if self.app_users.announce is not None:
            # Now, and not before: the app may use the tokens at once.
            await self._ask_app(partial(self.app_users.announce, connection))
        missing = self.transactions.all_scopes(transaction) - split_scopes(
            record_now.scopes
        )
        with contextlib.suppress(StoreError):  # the connection is written
            await self.conclude.records.denied_scopes.note(
                name, missing, self.transactions.all_scopes(transaction)
            )
        return record_now, outcome == "connected"

    async def _check_alive(
        self, user_id: str, record: UserRecord, began_at: float
    ) -> None:
        """Disconnect an account whose access at TikTok ended during the trip.

        Raises:
            LoginExpired: it did.
            StoreError: the store failed.
        """
        try:
            await self.exchange.check_alive(record, began_at)
        except LoginExpired:
            name = record_id(self.settings.client_key, record.open_id)
            await self.connections().unlist(user_id, name)
            raise

    async def _claimed(self, claim: Callable[[], Any]) -> bool:
        """Ask the app whether its user may have an account.

        Raises:
            Undecided: the app's own code or database failed.
        """
        outcome = await self._ask_app(claim)
        return bool(answer_in(outcome, "the app's accounts", self.settings.timeout))

    async def _ask_app(self, call: Callable[[], Any]) -> Outcome:
        """Return what an app's code returned; no frame above it holds a token."""
        return await self.backend.ask_app(
            call, self.settings.timeout, is_async=not self.backend.is_blocking
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

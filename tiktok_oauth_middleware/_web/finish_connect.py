"""Callbacks of logins that began at the connect path: connect the account."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.http import Request
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware._session.record import digest, record_id
from tiktok_oauth_middleware.auth import Login
from tiktok_oauth_middleware.errors import (
    LoginExpired,
    StoreError,
    TikTokOAuthError,
)
from tiktok_oauth_middleware.events import Event

from .conclude_login import Attempted, ConcludeLogin, login_id_of
from .connect_refusals import Full, OtherUser, Taken, answer_in, rejected
from .login_results import LoginResult
from .pages import Answer
from .responses import redirect_with_cookies
from .unfinished_login import UnfinishedLogins, Visit, cause_for_log

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.backends.outcome import Outcome
    from tiktok_oauth_middleware._oauth.authorize import Callback
    from tiktok_oauth_middleware._session.connections import Connections
    from tiktok_oauth_middleware._session.record import UserRecord
    from tiktok_oauth_middleware._session.revocation import Revocation
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .app_user import AppUser
    from .app_users import AppUsers
    from .code_exchange import CodeExchange
    from .connect_refusals import ConnectRefusals
    from .transaction import LoginTransaction, LoginTransactions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FinishConnect:
    """Answers callbacks of logins that began at the connect path."""

    settings: TikTokSettings
    backend: Backend
    app_user: AppUser
    app_users: AppUsers
    connections: Callable[[], Connections]
    transactions: LoginTransactions
    exchange: CodeExchange
    conclude: ConcludeLogin
    unfinished: UnfinishedLogins
    refusals: ConnectRefusals
    #: Returns what ends it with the tokens of an account that gets no record.
    revocation: Callable[[], Revocation]

    async def respond(
        self,
        request: Request,
        transaction: LoginTransaction,
        callback: Callback,
        visit: Visit,
    ) -> Answer:
        """Answer a callback with the cookies of a login from the connect path.

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
            connection = await self.app_user.connection(request, visit.mount_point)
            user_id = await self.app_user.id_of(connection)
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
        """Exchange the code, and connect its account."""
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
        """Connect a code's account; return its record, and whether the record is new.

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
        login = _login(make(None), transaction)
        is_claimed = await self._claim(connection, user_id, login)
        is_connected = False
        try:
            status, record_now = await connections.connect(user_id, name, make)
            # Set now, since the record names this user even if the store fails later.
            is_connected = status not in ("taken", "full")
            if record_now is not None:
                await self._check_alive(user_id, record_now, began_at)
        except LoginExpired:
            is_connected = False
            raise
        finally:
            # The app takes the account back, also if the access ended meanwhile.
            release = self.app_users.release
            if is_claimed and not is_connected and release is not None:
                await self._ask_app(partial(release, connection))
        if status == "taken":
            raise Taken
        if status == "full":
            if record_now is None:
                # No record has these tokens, so the access could not be ended later.
                await self.revocation().revoke_refused(name, make(None))
            raise Full
        if record_now is None:
            raise AssertionError  # a connected account has a record
        if self.app_users.announce is not None:
            # Called last, since the app may use the tokens at once.
            await self._ask_app(partial(self.app_users.announce, connection))
        missing = self.transactions.all_scopes(transaction) - split_scopes(
            record_now.scopes
        )
        with contextlib.suppress(StoreError):  # the connection is written
            await self.conclude.records.denied_scopes.note(
                name, missing, self.transactions.all_scopes(transaction)
            )
        return record_now, status == "connected"

    async def _check_alive(
        self, user_id: str, record: UserRecord, began_at: float
    ) -> None:
        """Disconnect the account if its access at TikTok ended meanwhile.

        Raises:
            LoginExpired: the access ended.
            StoreError: the store failed.
        """
        try:
            await self.exchange.check_alive(record, began_at)
        except LoginExpired:
            name = record_id(self.settings.client_key, record.open_id)
            await self.connections().unlist(user_id, name)
            raise

    async def _claim(self, connection: Any, user_id: str, login: Login) -> bool:
        """Ask the app whether its user may have an account.

        Returns:
            Whether the app was asked; it is not if another user has the account.

        Raises:
            Taken: the user may not have the account.
            Undecided: the app's own code or database failed.
            StoreError: the store failed.
        """
        claim = self.app_users.claim
        name = record_id(self.settings.client_key, login.open_id)
        if claim is None or await self.connections().is_taken(user_id, name):
            return False
        outcome = await self._ask_app(partial(claim, connection, user_id, login))
        if not answer_in(outcome, "the app's accounts", self.settings.timeout):
            raise Taken
        return True

    async def _ask_app(self, call: Callable[[], Any]) -> Outcome:
        """Return the result of an app's code; no frame above it holds a token."""
        return await self.backend.ask_app(
            call, self.settings.timeout, is_async=not self.backend.is_blocking
        )


def _login(record: UserRecord, transaction: LoginTransaction) -> Login:
    """Return the `Login` that the app gets."""
    return Login(
        open_id=record.open_id,
        scopes=split_scopes(record.scopes),
        user=read_profile(record.open_id, record.profile),
        next=transaction.return_to,
    )

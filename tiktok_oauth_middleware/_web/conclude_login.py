"""One result for each login, however often its callback is sent.

Before TikTok is asked, the store marks the state as used, so that equal callbacks at
the same moment make one exchange. The same row then holds the result, and for a minute
every request with the login's cookies gets it: a callback that is sent again, as after
an interruption, has the same result as the first.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.backends.single_flight import InFlight
from tiktok_oauth_middleware._core.base64url import to_text
from tiktok_oauth_middleware._core.clocks import SERVER_CLOCK_SKEW
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware.errors import (
    LoginExpired,
    LoginReplayed,
    StoreError,
    TikTokOAuthError,
)
from tiktok_oauth_middleware.events import Event

from .login_results import SHOWN_SECONDS, LoginResult, LoginResults
from .transaction import LoginTransaction, LoginTransactions
from .unfinished_login import cause_for_log, error_of, is_error, rejected_event

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._oauth.authorize import Callback
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
    from tiktok_oauth_middleware._session.record import UserRecord
    from tiktok_oauth_middleware._session.records import Records
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .code_exchange import CodeExchange
    from .mount import MountPoint
    from .unfinished_login import UnfinishedLogins


class Attempted(NamedTuple):
    """The outcome of exchanging a code: the sealed result, and the event to emit."""

    sealed: bytes
    event: Event
    #: The digest of the new session; "" if there is none.
    digest: str = ""
    #: The cause of a failure, for the log.
    cause: object = ""
    #: The exception that the app's ``on_login`` raised, if any.
    raised: BaseException | None = None


#: Exchanges a login's code.
Exchanging = Callable[[], Awaitable[Attempted]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ConcludeLogin:
    """Exchanges a login's code once, and keeps the result."""

    settings: TikTokSettings
    backend: Backend
    records: Records
    cookies: SessionCookies
    transactions: LoginTransactions
    exchange: CodeExchange
    results: LoginResults
    unfinished: UnfinishedLogins
    emit: Emitter
    #: Seconds since 1970.
    clock: Callable[[], float]

    async def result_of(
        self,
        transaction: LoginTransaction,
        callback: Callback,
        attempt: Exchanging,
    ) -> tuple[LoginResult, bool]:
        """Return the result of a login, and whether this request produced it.

        Args:
            transaction: the login; the browser sent its cookies.
            callback: TikTok's answer.
            attempt: exchanges the code; called at most once for each login.

        Raises:
            LoginError: there is no result that may be shown.
            StoreError: the store failed.
        """
        login_id = login_id_of(transaction.state)
        produced: list[str] = []
        if not self.transactions.is_current(transaction):
            # The login may have finished in time; this is then a repeated callback.
            sealed = None if is_error(callback) else await self.results.wait(login_id)
            if sealed is None:
                raise LoginExpired
        elif is_error(callback) or not callback.code:
            # No code is used up, so nothing is written.
            raise error_of(callback)
        else:
            # Equal requests in this process wait for the result of the first. The
            # exchange goes on to its end even if that request's browser disconnects.
            postponed = self.emit.postponed()
            conclude = partial(self._conclude, transaction, attempt, produced)
            try:
                sealed = await self.backend.single_flight(
                    ("login", login_id),
                    partial(postponed.during, conclude),
                    wait=self.results.exchange_seconds,
                    afterwards=postponed.deliver,
                )
            except InFlight:
                sealed = None
        result = sealed and self.results.opened(login_id, sealed)
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
        if not result.session:  # a failed login, or a connected account
            return True
        own = self.ticket_of(result)
        return own is not None and await self.is_alive(own)

    def ticket_of(self, result: LoginResult) -> Ticket | None:
        return self.cookies.read(result.session.encode())

    async def is_alive(self, ticket: Ticket) -> bool:
        """Whether the store has a session that has not ended."""
        return await self.records.load_if_active(ticket) is not None

    async def _conclude(
        self,
        transaction: LoginTransaction,
        attempt: Exchanging,
        produced: list[str],
    ) -> bytes | None:
        """Finish a login, or wait for the request that does; return the sealed result.

        Args:
            transaction: the login; the browser sent its cookies.
            attempt: exchanges the code.
            produced: gets the login's id if the login is finished here.
        """
        login_id = login_id_of(transaction.state)
        marker = await self.results.begin(login_id)
        if marker is None:
            return await self.results.wait(login_id)
        produced.append(login_id)
        try:
            # No secret is in a local of this frame while the app's on_event runs.
            sealed, event, session, why, raised = await attempt()
        except GeneratorExit:  # no more awaiting is allowed
            raise
        except BaseException:
            # The code is used up: the store failed, or an interrupt or a cancellation
            # ended on_login. A repeated callback need not wait for a result.
            lost = self.results.seal(login_id, self.unfinished.failure(LoginReplayed()))
            with contextlib.suppress(StoreError):
                await self.results.finish(login_id, marker, lost)
            raise
        try:
            await self.results.finish(login_id, marker, sealed)
        except StoreError as error:
            logger.warning("the result of a login could not be kept: %s", error)
        await self.emit(event, session=session, why=why, raised=raised)
        return sealed

    async def log_in(
        self,
        transaction: LoginTransaction,
        callback: Callback,
        ticket: Ticket | None,
        mount_point: MountPoint,
    ) -> Attempted:
        """Exchange the code for a session."""
        digest, why, raised = "", None, None
        try:
            session = await self.exchange.run(
                transaction, callback.code, ticket, mount_point
            )
            asks_again = await self._asks_again(transaction, session.record)
            record, digest = session.record, session.digest
            result = LoginResult(
                at=int(self.clock()),
                session=session.cookie,
                return_to=session.lands_on or transaction.return_to,
                lands_on=session.lands_on,
                is_new=session.is_new_user,
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
            result = self.unfinished.failure(error)
            event, why = rejected_event(result, error), error
            raised = getattr(error, "raised", None)
        sealed = self.results.seal(login_id_of(transaction.state), result)
        cause = cause_for_log(why) if why else ""
        return Attempted(sealed, event, digest, cause, raised)

    async def _asks_again(
        self, transaction: LoginTransaction, record: UserRecord
    ) -> bool:
        """Whether to show TikTok's page for scopes that the person has not been shown.

        TikTok reconnects a person who consented before without its page, and with the
        scopes of that consent, so a scope that the site began to request later is never
        granted without the page. Scopes that the person denied on the page are not
        requested again automatically.
        """
        user_record_id = record_id(self.settings.client_key, record.open_id)
        requested = self.transactions.all_scopes(transaction)
        missing = requested - split_scopes(record.scopes)
        denied = self.records.denied_scopes
        try:
            if transaction.prompt:
                await denied.note(user_record_id, missing, requested)
                return False
            return bool(missing and missing - await denied.read(user_record_id))
        except StoreError as error:
            # The login itself is stored already.
            logger.warning("denied scopes could not be written or read: %s", error)
            return False


def login_id_of(state: str) -> str:
    """Return the name of a login's row: a hash of its state."""
    return to_text(hashlib.sha256(state.encode()).digest()[:9])

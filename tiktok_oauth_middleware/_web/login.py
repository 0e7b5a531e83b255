"""The login flow of one TikTok app: its steps, wired together.

`begin_login` sends the browser to TikTok. `finish_login` answers the callback, with
`conclude_login` for the steps that happen once even if the callback is sent again, and
`unfinished_login` for failed logins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.clocks import SERVER_CLOCK_SKEW

from .begin_login import BeginLogin
from .code_exchange import CodeExchange
from .conclude_login import ConcludeLogin
from .finish_login import FinishLogin
from .login_cookies import LoginCookies
from .login_results import LoginResults
from .recent_logins import RecentLogins
from .transaction import LoginTransactions
from .unfinished_login import UnfinishedLogins

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._core.http import Request
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.connections import Connections
    from tiktok_oauth_middleware._session.cookie import SessionCookies
    from tiktok_oauth_middleware._session.endings import Endings
    from tiktok_oauth_middleware._session.profiles import Profiles
    from tiktok_oauth_middleware._session.records import Records
    from tiktok_oauth_middleware._session.revocation import Revocation
    from tiktok_oauth_middleware.auth import CurrentUser, OnLogin, TikTokAuth
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .app_users import AppUsers
    from .begin_connect import BeginConnect
    from .carried import CarriedLinks
    from .connect_refusals import ConnectRefusals
    from .connecting_login import ConnectingLogins, FindUser
    from .finish_connect import FinishConnect
    from .login_decision import LoginDecision
    from .mount import MountPoint
    from .pages import Answer

#: For how many seconds the cookies outlive the login, so that the callback of a login
#: that took too long is not mistaken for one that began in another browser.
_AFTERLIFE = 1200
#: How long a store may take to write a login's result, in seconds.
_RESULT_WRITE_SECONDS = 5


class Connecting(NamedTuple):
    """The parts that are needed only to connect accounts; see `begin_connect`."""

    app_users: AppUsers
    current_user: CurrentUser
    load_auth: Callable[[Request, MountPoint], Awaitable[TikTokAuth]]
    connections: Callable[[], Connections]


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
    #: Opens a connection to TikTok in the background.
    connect_ahead: Callable[[], None]
    emit: Emitter
    clock: Callable[[], float]
    profiles: Profiles
    carried_links: Callable[[], CarriedLinks]
    endings: Endings
    #: Returns what ends a user's access at TikTok, after a login that was refused.
    revocation: Callable[[], Revocation]
    #: The app's function; see `login_decision`.
    on_login: OnLogin | None
    #: The parts for connecting accounts; None if the app has no such path.
    connecting: Connecting | None
    #: Finds the user to whom a login connects its account; None if no login does.
    find_user: FindUser | None
    transactions: LoginTransactions = field(init=False)
    #: Answers the login path.
    begin: BeginLogin = field(init=False)
    #: Answers the callback path.
    finish: FinishLogin = field(init=False)
    #: Answers the connect path; None if the app has no such path.
    connect: BeginConnect | None = field(init=False)

    def __post_init__(self) -> None:
        """Make the steps, and the objects that only they use.

        Raises:
            ConfigurationError: `cookie_name` leaves no room for the login's cookies, or
                `on_login` is not valid.
        """
        settings, clock = self.settings, self.clock
        max_age = settings.login_lifetime + _AFTERLIFE
        login_cookies = LoginCookies(self.cookies, self.login_box, int(max_age))
        self.transactions = LoginTransactions(
            settings=settings,
            cookies=login_cookies,
            clock=clock,
            connect_ahead=self.connect_ahead,
        )
        recent = RecentLogins(max_age, clock)
        unfinished = UnfinishedLogins(
            settings=settings,
            transactions=self.transactions,
            carried_links=self.carried_links,
            emit=self.emit,
            clock=clock,
        )
        connecting = self._connecting_logins(unfinished)
        self.begin = BeginLogin(
            settings=settings,
            cookies=self.cookies,
            transactions=self.transactions,
            recent=recent,
            carried_links=self.carried_links,
            connecting=connecting,
        )
        conclude = self._conclude(unfinished)
        self.connect, finish_connect = self._connect(conclude, unfinished)
        self.finish = FinishLogin(
            settings=settings,
            records=self.records,
            cookies=self.cookies,
            transactions=self.transactions,
            recent=recent,
            conclude=conclude,
            unfinished=unfinished,
            emit=self.emit,
            connect=finish_connect,
            connecting=connecting,
        )

    def _connecting_logins(
        self, unfinished: UnfinishedLogins
    ) -> ConnectingLogins | None:
        if self.find_user is None:
            return None
        from .connecting_login import ConnectingLogins

        return ConnectingLogins(
            settings=self.settings,
            backend=self.backend,
            refusals=self._refusals(unfinished),
            find_user=self.find_user,
        )

    def _refusals(self, unfinished: UnfinishedLogins) -> ConnectRefusals:
        from .connect_refusals import ConnectRefusals

        return ConnectRefusals(
            settings=self.settings, unfinished=unfinished, emit=self.emit
        )

    def _connect(
        self, conclude: ConcludeLogin, unfinished: UnfinishedLogins
    ) -> tuple[BeginConnect, FinishConnect] | tuple[None, None]:
        if self.connecting is None:
            return None, None
        from .app_user import AppUser
        from .begin_connect import BeginConnect
        from .finish_connect import FinishConnect

        app_user = AppUser(
            settings=self.settings,
            backend=self.backend,
            current_user=self.connecting.current_user,
            load_auth=self.connecting.load_auth,
        )
        begin = BeginConnect(
            settings=self.settings,
            app_user=app_user,
            begin_login=self.begin,
            transactions=self.transactions,
            refusals=self._refusals(unfinished),
        )
        finish = FinishConnect(
            settings=self.settings,
            backend=self.backend,
            app_user=app_user,
            app_users=self.connecting.app_users,
            connections=self.connecting.connections,
            transactions=self.transactions,
            exchange=conclude.exchange,
            conclude=conclude,
            unfinished=unfinished,
            refusals=begin.refusals,
            revocation=self.revocation,
        )
        return begin, finish

    async def begin_connect(self, request: Request, mount_point: MountPoint) -> Answer:
        """Answer the connect path.

        Raises:
            StoreError: the store failed.
        """
        if self.connect is None:
            raise AssertionError  # the path exists only with `connecting`
        return await self.connect.respond(request, mount_point)

    def _decision(self) -> LoginDecision | None:
        if self.on_login is None:
            return None
        from .login_decision import LoginDecision

        return LoginDecision(
            on_login=self.on_login,
            backend=self.backend,
            seconds=self.settings.timeout,
        )

    def _conclude(self, unfinished: UnfinishedLogins) -> ConcludeLogin:
        settings, clock = self.settings, self.clock
        exchange = CodeExchange(
            settings=settings,
            records=self.records,
            cookies=self.cookies,
            profiles=self.profiles,
            client=self.client,
            clock=clock,
            decision=self._decision(),
            endings=self.endings,
            revocation=self.revocation,
        )
        results = LoginResults(
            notes=self.records.notes,
            backend=self.backend,
            box=self.result_box,
            clock=clock,
            used_seconds=settings.login_lifetime + SERVER_CLOCK_SKEW,
            # One timeout each for the exchange, the profile, the profile again without
            # a field that was refused, and on_login; then the time to write.
            exchange_seconds=(3 if self.on_login is None else 4) * settings.timeout
            + _RESULT_WRITE_SECONDS,
        )
        return ConcludeLogin(
            settings=settings,
            backend=self.backend,
            records=self.records,
            cookies=self.cookies,
            transactions=self.transactions,
            exchange=exchange,
            results=results,
            unfinished=unfinished,
            emit=self.emit,
            clock=clock,
        )

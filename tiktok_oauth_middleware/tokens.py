"""TikTokTokens: users' tokens outside of requests, as in a job.

Tokens are refreshed as in the web workers, under the same lock and in the same store.
A job needs no session: set ``keep_grants=True`` if the job must keep working for users
whose last session has ended.

Each operation is written once, and takes a service as its argument. It has two public
methods: a blocking one, and an async one whose name begins with ``a``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from ._core.backends.event_loop import AsyncBackend
from ._core.backends.one_step import run
from ._core.backends.threads import ThreadBackend
from ._core.tracebacks import without_frames
from ._oauth.user import User, read_profile
from ._observe.emit import OnEvent
from ._session.due import DUE, Demand, fingerprint
from ._session.record import record_id
from ._session.service import SessionService
from ._session.stored_users import (
    ConnectedAccount,
    SessionInfo,
    StoredUser,
    UserPage,
    connected_account,
    count_unreadable,
    ending_before,
    sessions_of,
    user_pages,
)
from ._session.sweep import RefreshSummary, sweep
from .auth import Token
from .errors import NotSignedIn, TikTokError, TikTokUnavailable
from .settings.arguments import check_options

if TYPE_CHECKING:
    from ._core.backends.base import Backend
    from ._session.versioned_record import VersionedRecord
    from .settings.options import TikTokSettings


class TikTokTokens:
    """The access tokens of an app's users, fresh, by open_id.

    >>> TikTokTokens(settings, store).get(open_id)  # doctest: +SKIP
    <Token expires_at=1767311999>
    """

    def __init__(
        self,
        settings: TikTokSettings,
        store: Any = None,
        *,
        on_event: OnEvent | None = None,
        transport: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the settings and store of the web app; nothing is opened yet.

        `close` closes the store that the settings name, but not a `store` given here.

        Raises:
            ConfigurationError: `settings` is not a `TikTokSettings`, `store` is not a
                store, or `on_event` or `clock` is not a function.
        """
        check_options(settings, store, {"on_event": on_event, "clock": clock})
        self._settings = settings
        self._options: dict[str, Any] = {
            "store": store,
            "on_event": on_event,
            "transport": transport,
            "clock": clock,
        }
        self._clock = clock

    #: Made when first used.
    _sync: SessionService | None = None
    _async: SessionService | None = None

    @classmethod
    def beside(cls, service: SessionService) -> Self:
        """Return the tokens of a middleware's users, through the middleware's service.

        Under WSGI the blocking methods share the middleware's HTTP client and cache,
        and under ASGI the async methods do. The other methods open their own when first
        used.
        """
        made = cls(
            service.settings,
            service.store,
            on_event=service.on_event,
            transport=service.transport,
            clock=service.clock,
        )
        if service.backend.is_blocking:
            made._sync = service
        else:
            made._async = service
        return made

    @property
    def settings(self) -> TikTokSettings:
        """The settings of the web app."""
        return self._settings

    def get(self, open_id: str) -> Token:
        """Return a user's token, refreshed if it is due.

        Raises:
            NotSignedIn: there is no grant of this user, or it has ended.
            TikTokUnavailable: the token has expired and TikTok sent no new one; or it
                is being refreshed in the event loop that this call blocks.
            StoreError: the store failed.
        """
        return run(self._get(self._sync_service(), open_id))

    async def aget(self, open_id: str) -> Token:
        """Return a user's token, as `get` does, from an event loop."""
        return await self._get(self._async_service(), open_id)

    def renew(self, open_id: str, *, rejected: str | None = None) -> Token:
        """Return a user's token, refreshed now even if it is not due.

        If several callers do this at the same time, TikTok is asked once.

        Args:
            open_id: the user's.
            rejected: the access token that TikTok refused as ``access_token_invalid``.
                If a newer token is stored, it is returned and nothing is refreshed.

        Raises:
            NotSignedIn: there is no grant of this user, or it has ended.
            TikTokUnavailable: TikTok sent no new token, or failed so recently that it
                is not asked again yet.
            StoreError: the store failed.
        """
        # `on_event` runs below this frame, which must not keep the token.
        dead, rejected = rejected and fingerprint(rejected), None
        return run(self._renew(self._sync_service(), open_id, dead))

    async def arenew(self, open_id: str, *, rejected: str | None = None) -> Token:
        """Return a user's token, as `renew` does, from an event loop."""
        dead, rejected = rejected and fingerprint(rejected), None
        return await self._renew(self._async_service(), open_id, dead)

    def profile(self, open_id: str) -> User:
        """Request a user's profile from TikTok now, and store it for `auth.user`.

        Without the scope ``user.info.basic`` TikTok is not asked; with
        ``fetch_user=False`` the profile is not stored.

        Raises:
            NotSignedIn: there is no grant of this user, or it has ended.
            TikTokUnavailable: TikTok did not answer, or the token has expired.
            TikTokError: TikTok refused; the stored profile stays.
            StoreError: the store failed.
        """
        return run(self._profile(self._sync_service(), open_id))

    async def aprofile(self, open_id: str) -> User:
        """Return a user's profile, as `profile` does, from an event loop."""
        return await self._profile(self._async_service(), open_id)

    def refresh_expiring(
        self, within: float, *, progress: Callable[[int], object] | None = None
    ) -> RefreshSummary:
        """Refresh every token that expires within `within` seconds: a sweep for cron.

        No token is refreshed before half of its lifetime is over, so that more frequent
        sweeps, or several at once, do not refresh more often. Up to 48 tokens are
        refreshed at the same time, each under its user's lock; a token is left out
        during its user's back-off. `on_event` may be called from as many threads. A
        grant that has ended is deleted and reported as ``session_ended``. After
        Ctrl-C no further refresh begins, those under way are finished, and the next
        sweep does the rest.

        Args:
            within: seconds; use twice the time between two sweeps, so that one may
                fail.
            progress: called now and then with the number of users read so far.

        Raises:
            StoreError: the store failed, or cannot list its users.
        """
        return run(sweep(self._sync_service(), within, progress))

    async def arefresh_expiring(
        self, within: float, *, progress: Callable[[int], object] | None = None
    ) -> RefreshSummary:
        """Refresh expiring tokens, as `refresh_expiring` does, from an event loop."""
        return await sweep(self._async_service(), within, progress)

    def ending(self, within: float) -> list[StoredUser]:
        """Return the users whose grant ends within `within` seconds, the soonest first.

        Ask them to log in again, which begins a new grant; refreshing does not prolong
        a grant. Users are left out if TikTok did not say when their grant ends.

        Args:
            within: seconds, such as ``30 * 86400``.

        Raises:
            StoreError: the store failed, or cannot list its users.
        """
        return run(ending_before(self._sync_service().records, self._clock() + within))

    async def aending(self, within: float) -> list[StoredUser]:
        """Return users whose grant ends soon, as `ending` does, from an event loop."""
        return await ending_before(
            self._async_service().records, self._clock() + within
        )

    def users(self) -> list[StoredUser]:
        """Return all stored users, without tokens.

        Raises:
            StoreError: the store failed, or cannot list its users.
        """
        # By open_id, since some stores list a record twice at times.
        return [*{user.open_id: user for user in self.iter_users()}.values()]

    async def ausers(self) -> list[StoredUser]:
        """Return all stored users, as `users` does, from an event loop."""
        return [*{user.open_id: user async for user in self.aiter_users()}.values()]

    def iter_users(self, *, after: str = "") -> Generator[StoredUser, None, int]:
        """Yield all stored users, without tokens, as they are read from the store.

        They are in the order of the store, and a few hundred are in memory at a time. A
        user who logs in or out meanwhile may be missing, and Redis may list a user
        twice while it resizes its table. The generator returns how many records cannot
        be opened, see `unreadable`.

        Args:
            after: the open_id of a user, to go on where an earlier iteration ended: the
                users up to this one are left out. If this user is not stored, none is
                yielded.

        Raises:
            StoreError: the store failed, or cannot list its users.
        """
        pages, unreadable = self._user_pages(self._sync_service(), after), 0
        try:
            while (page := run(_next(pages))) is not None:
                unreadable += page.unreadable
                yield from page.users
        finally:
            run(_closed(pages))
        return unreadable

    async def aiter_users(self, *, after: str = "") -> AsyncGenerator[StoredUser, None]:
        """Yield all stored users, as `iter_users` does, in an event loop."""
        async with aclosing(self._user_pages(self._async_service(), after)) as pages:
            async for page in pages:
                for user in page.users:
                    yield user

    def unreadable(self) -> int:
        """Return how many stored records none of ``secret_keys`` can open.

        They were sealed with a key that is no longer listed, or are corrupt; their
        users count as signed out and are not among `users`.

        Raises:
            StoreError: the store failed, or cannot list its users.
        """
        return run(count_unreadable(self._sync_service().records))

    async def aunreadable(self) -> int:
        """Return how many records cannot be opened, as `unreadable` does."""
        return await count_unreadable(self._async_service().records)

    def accounts(self, user_id: str) -> list[ConnectedAccount]:
        """Return the TikTok accounts that are connected to a user of the app.

        The oldest connection comes first. `disconnect` ends a connection; to delete a
        user of the app, do that for each of their accounts.

        Args:
            user_id: the app's own id of the user, as ``current_user`` returned it.

        Raises:
            TypeError, ValueError: `user_id` is not a valid id.
            StoreError: the store failed.
        """
        return run(self._accounts(self._sync_service(), user_id))

    async def aaccounts(self, user_id: str) -> list[ConnectedAccount]:
        """Return a user's TikTok accounts, as `accounts` does, from an event loop."""
        return await self._accounts(self._async_service(), user_id)

    def forget(self, open_id: str) -> bool:
        """Delete a stored user with all their sessions.

        If the account is connected to a user of the app, the connection ends. The
        user's consent at TikTok stays; `disconnect` revokes it too.

        Returns:
            Whether the user was stored.

        Raises:
            StoreError: the store failed.
        """
        return run(self._forget(self._sync_service(), open_id))

    async def aforget(self, open_id: str) -> bool:
        """Delete a stored user, as `forget` does, from an event loop."""
        return await self._forget(self._async_service(), open_id)

    def sessions(self, open_id: str) -> list[SessionInfo]:
        """Return a user's sessions that have not ended, the last used first.

        `TikTokAuth.session_id` is the id of a request's own session. The list is empty
        if the user is not stored.

        Raises:
            StoreError: the store failed.
        """
        return run(self._sessions(self._sync_service(), open_id))

    async def asessions(self, open_id: str) -> list[SessionInfo]:
        """Return a user's sessions, as `sessions` does, from an event loop."""
        return await self._sessions(self._async_service(), open_id)

    def end_session(self, open_id: str, session_id: str) -> bool:
        """End one of a user's sessions, in every process within a second.

        This logs that browser out: with the last session the user's tokens are deleted
        too, unless ``keep_grants`` is set or the account is connected to a user of the
        app. TikTok is not called. In a request take the `open_id` from `TikTokAuth`,
        never from a form: otherwise one user could end another user's session.

        Returns:
            Whether the user had such a session; False for an unknown id, and for a
            session that has ended already.

        Raises:
            TypeError: `session_id` is not a string.
            StoreError: the store failed; the session may live on.
        """
        return run(self._end_session(self._sync_service(), open_id, session_id))

    async def aend_session(self, open_id: str, session_id: str) -> bool:
        """End one session, as `end_session` does, from an event loop."""
        return await self._end_session(self._async_service(), open_id, session_id)

    def end_other_sessions(self, open_id: str, session_id: str) -> int:
        """End all of a user's sessions but one, in every process within a second.

        If the user has no session with this id (it may have been ended from another
        browser a moment ago), all of them end, and with the last one the user's tokens
        are deleted, as `end_session` says.

        Args:
            open_id: the user's; in a request, that of its `TikTokAuth`.
            session_id: of the session that stays, such as `TikTokAuth.session_id`.

        Returns:
            How many sessions were ended.

        Raises:
            TypeError: `session_id` is not a string.
            StoreError: the store failed; the sessions may live on.
        """
        return run(self._end_others(self._sync_service(), open_id, session_id))

    async def aend_other_sessions(self, open_id: str, session_id: str) -> int:
        """End other sessions, as `end_other_sessions` does, from an event loop."""
        return await self._end_others(self._async_service(), open_id, session_id)

    def disconnect(self, open_id: str) -> str:
        """Delete a stored user and revoke the app's access at TikTok.

        Returns:
            ``revoked``; ``gone`` if the user was not stored, or TikTok had already
            ended the access; ``failed`` if TikTok did not confirm the revocation, or if
            a refresh has to end first, which then revokes its new token. The user is
            deleted from the store in every case.

        Raises:
            StoreError: the store failed before anything was done.
        """
        return run(self._disconnect(self._sync_service(), open_id))

    async def adisconnect(self, open_id: str) -> str:
        """Delete a user and revoke, as `disconnect` does, from an event loop."""
        return await self._disconnect(self._async_service(), open_id)

    def close(self) -> None:
        """Close the blocking methods' connections; the next call reopens them."""
        if self._sync is not None:
            run(self._sync.aclose())

    async def aclose(self) -> None:
        """Close the connections that the async methods opened in this event loop."""
        if self._async is not None:
            await self._async.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- each operation -----------------------------------------------------------

    async def _get(self, service: SessionService, open_id: str) -> Token:
        return self._token_of(service, await self._fresh(service, open_id, DUE))

    async def _renew(
        self, service: SessionService, open_id: str, dead: str | None
    ) -> Token:
        """Replace the token with the fingerprint `dead`; None means the present one."""
        if dead is None:
            stored = await self._load(service, open_id)
            dead = fingerprint(stored.record.access_token)
        demand = Demand(replacing=dead)
        after = await self._fresh(service, open_id, demand)
        if fingerprint(after.record.access_token) == demand.replacing:
            raise _not_renewed(service, after)
        return self._token_of(service, after)

    async def _load(self, service: SessionService, open_id: str) -> VersionedRecord:
        """Return a user's record; raise NotSignedIn if there is none."""
        stored = await service.records.load(self._named(open_id))
        if stored is None or stored.record.open_id != open_id:
            raise _not_signed_in()
        return stored

    async def _fresh(
        self, service: SessionService, open_id: str, demand: Demand
    ) -> VersionedRecord:
        """Return a user's record, refreshed if due; raise NotSignedIn if it ended."""
        stored = await self._load(service, open_id)
        fresh = await service.renewed(stored, demand)
        if fresh is None or fresh.record.open_id != open_id:
            raise _not_signed_in()
        return fresh

    async def _profile(self, service: SessionService, open_id: str) -> User:
        stored = await self._fresh(service, open_id, DUE)
        self._token_of(service, stored)
        packed, refused = await _ask_profile(service, stored)
        if refused is not None and refused.error == "access_token_invalid":
            # TikTok refused a token that has not expired: refresh it and try once more.
            await self._renew(service, open_id, fingerprint(stored.record.access_token))
            stored = await self._load(service, open_id)
            packed, refused = await _ask_profile(service, stored)
        if refused is not None:
            raise refused
        if packed is None:
            raise _not_signed_in()
        return read_profile(open_id, packed)

    def _token_of(self, service: SessionService, stored: VersionedRecord) -> Token:
        record = stored.record
        if record.expires_at <= self._clock():
            raise _not_renewed(service, stored)
        return Token(record.access_token.reveal(), record.expires_at, record.scopes)

    def _user_pages(
        self, service: SessionService, after: str
    ) -> AsyncGenerator[UserPage, None]:
        return user_pages(service.records, self._named(after) if after else "")

    async def _accounts(
        self, service: SessionService, user_id: str
    ) -> list[ConnectedAccount]:
        from ._session.connections import user_id_fault

        fault = user_id_fault(user_id)
        if fault:
            kind = ValueError if isinstance(user_id, str) else TypeError
            message = f"user_id is {fault}"
            raise kind(message)
        found = await service.connections.of_user(user_id)
        return [connected_account(service.records, stored.record) for stored in found]

    async def _forget(self, service: SessionService, open_id: str) -> bool:
        return await service.forget(self._named(open_id)) is not None

    async def _sessions(
        self, service: SessionService, open_id: str
    ) -> list[SessionInfo]:
        stored = await service.records.load(self._named(open_id))
        if stored is None or stored.record.open_id != open_id:
            return []
        return sessions_of(service.records, stored.record)

    async def _end_session(
        self, service: SessionService, open_id: str, session_id: str
    ) -> bool:
        _check_session_id(session_id)
        ended = await service.end_sessions(
            self._named(open_id), lambda session: session.public_id == session_id
        )
        return ended > 0

    async def _end_others(
        self, service: SessionService, open_id: str, session_id: str
    ) -> int:
        _check_session_id(session_id)
        return await service.end_sessions(
            self._named(open_id), lambda session: session.public_id != session_id
        )

    async def _disconnect(self, service: SessionService, open_id: str) -> str:
        return await service.revocation.disconnect(self._named(open_id))

    def _named(self, open_id: str) -> str:
        return record_id(self._settings.client_key, open_id)

    def _sync_service(self) -> SessionService:
        return self._sync or self._made("_sync", ThreadBackend())

    def _async_service(self) -> SessionService:
        return self._async or self._made("_async", AsyncBackend())

    def _made(self, name: str, backend: Backend) -> SessionService:
        """Return a new service, or the one that another thread has made meanwhile."""
        made = SessionService(self._settings, backend, **self._options)
        service: SessionService = vars(self).setdefault(name, made)  # atomic
        return service


def _not_renewed(service: SessionService, stored: VersionedRecord) -> TikTokUnavailable:
    """Return the error about a token that was to be replaced, with a reason."""
    why = "could not be renewed; the log says why"
    if service.refresh.is_held_up(stored.record_id):
        why = (
            "is being renewed by code that this call holds up: in an event loop await"
            " aget() or arenew() instead"
        )
    has_expired = stored.record.expires_at <= service.clock()
    return TikTokUnavailable("", f"the token {'expired and ' * has_expired}{why}")


async def _next(pages: AsyncGenerator[UserPage, None]) -> UserPage | None:
    return await anext(pages, None)


async def _closed(pages: AsyncGenerator[UserPage, None]) -> None:
    await pages.aclose()


def _check_session_id(session_id: object) -> None:
    """Refuse anything but a string, above all None, the id of an anonymous request."""
    if not isinstance(session_id, str):
        message = (
            "session_id must be a string, such as auth.session_id of a signed-in"
            f" request; got a {type(session_id).__name__}"
        )
        raise TypeError(message)


async def _ask_profile(
    service: SessionService, stored: VersionedRecord
) -> tuple[str | None, TikTokError | None]:
    """Return a user's profile, or TikTok's error without its traceback.

    The call's frames hold the token, and reporters of exceptions record their locals.
    """
    handled = sys.exception()
    try:
        return await service.profiles.renew(stored), None
    except TikTokError as error:
        return None, without_frames(error, handled)


def _not_signed_in() -> NotSignedIn:
    return NotSignedIn("this user has not signed in, or their grant has ended")

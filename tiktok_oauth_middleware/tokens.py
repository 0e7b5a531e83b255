"""TikTokTokens: a user's token where there is no request, as in a job.

The same refresh under the same lock as the web workers', over the same store. A job
needs no session: give the settings ``keep_grants=True`` if it shall go on working for
users whose last session has ended.

Each step is written once, over a core; its plain word blocks, its ``a`` twin awaits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .cookies import grant_id
from .core import Core
from .errors import NotSignedIn, TikTokUnavailable
from .models import Token, split_scopes
from .outcomes import OnEvent
from .runtime import Blocking, Cooperative, run

if TYPE_CHECKING:
    from .grants import Held
    from .settings import TikTokSettings


#: Longer than any token lives, in seconds.
_ALWAYS = 500 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUser:
    """What is kept of a user, without any token; times in seconds since 1970."""

    open_id: str
    scopes: frozenset[str]
    token_expires_at: int
    #: None where TikTok did not say.
    refresh_expires_at: int | None
    #: Browser sessions that have not ended.
    sessions: int
    #: Failed refreshes in a row.
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What `TikTokTokens.refresh_expiring` did."""

    refreshed: int = 0
    #: Still kept: TikTok could not be asked, or gave no token.
    failed: int = 0
    #: Gone: TikTok said that the grant is over.
    ended: int = 0


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
        """Take the settings and store of the web app; nothing is opened yet."""
        self._settings = settings
        self._options: dict[str, Any] = {
            "store": store,
            "on_event": on_event,
            "transport": transport,
            "clock": clock,
        }
        self._clock = clock
        self._blocking: Core | None = None
        self._cooperative: Core | None = None

    def get(self, open_id: str) -> Token:
        """Return a user's token, refreshed if it is due.

        Raises:
            NotSignedIn: there is no grant of this user, or it has ended.
            TikTokUnavailable: the token has expired and TikTok did not give another.
            StoreError: the store failed.
        """
        return run(self._get(self._sync_core(), open_id))

    async def aget(self, open_id: str) -> Token:
        """Return a user's token, as `get` does, from an event loop."""
        return await self._get(self._async_core(), open_id)

    def renew(self, open_id: str) -> Token:
        """Return a user's token, refreshed now although it may not be due.

        Raises:
            NotSignedIn, TikTokUnavailable, StoreError: as `get` does.
        """
        return run(self._get(self._sync_core(), open_id, ahead=_ALWAYS))

    async def arenew(self, open_id: str) -> Token:
        """Return a user's token, refreshed now, from an event loop."""
        return await self._get(self._async_core(), open_id, ahead=_ALWAYS)

    def refresh_expiring(self, within: float) -> Sweep:
        """Refresh every token that ends within so many seconds: a sweep for cron.

        One after the other, each under its user's lock; users who are still in a
        back-off are left alone.

        Raises:
            StoreError: the store failed, or can not list its users.
        """
        return run(self._sweep(self._sync_core(), within))

    async def arefresh_expiring(self, within: float) -> Sweep:
        """Refresh what ends soon, as `refresh_expiring` does, from an event loop."""
        return await self._sweep(self._async_core(), within)

    def users(self) -> list[StoredUser]:
        """Return what is kept of every user, without tokens.

        Raises:
            StoreError: the store failed, or can not list its users.
        """
        return run(self._users(self._sync_core()))

    async def ausers(self) -> list[StoredUser]:
        """Return what is kept of every user, as `users` does, from an event loop."""
        return await self._users(self._async_core())

    def forget(self, open_id: str) -> bool:
        """Delete what is kept of a user, and with it every session of theirs.

        Local: TikTok is not told.

        Returns:
            Whether there was anything.

        Raises:
            StoreError: the store failed.
        """
        return run(self._forget(self._sync_core(), open_id))

    async def aforget(self, open_id: str) -> bool:
        """Delete what is kept of a user, as `forget` does, from an event loop."""
        return await self._forget(self._async_core(), open_id)

    def disconnect(self, open_id: str) -> str:
        """Forget a user and tell TikTok, which disconnects the app from their account.

        Returns:
            ``revoked``; ``gone`` if there was nothing, or TikTok had ended it before;
            ``failed`` if TikTok could not be told, though the user is forgotten here.

        Raises:
            StoreError: the store failed before anything was done.
        """
        return run(self._disconnect(self._sync_core(), open_id))

    async def adisconnect(self, open_id: str) -> str:
        """Forget a user and tell TikTok, as `disconnect` does, from an event loop."""
        return await self._disconnect(self._async_core(), open_id)

    def close(self) -> None:
        """Close the connections that the plain words opened; they open again."""
        if self._blocking is not None:
            run(self._blocking.aclose())

    async def aclose(self) -> None:
        """Close the connections that the ``a`` twins opened in this event loop."""
        if self._cooperative is not None:
            await self._cooperative.aclose()

    # --- each step, once -----------------------------------------------------------

    async def _get(self, core: Core, open_id: str, ahead: float = 0) -> Token:
        held = await core.grants.load(self._named(open_id))
        if held is not None:
            held = await core.refresh.fresh(held, ahead)
        if held is None or held.grant.open_id != open_id:
            message = "this user has not signed in, or their grant has ended"
            raise NotSignedIn(message)
        grant = held.grant
        if grant.expires_at <= self._clock():
            raise TikTokUnavailable("", "the token expired and could not be renewed")
        return Token(grant.access_token.reveal(), grant.expires_at, grant.scopes)

    async def _sweep(self, core: Core, within: float) -> Sweep:
        refreshed = failed = ended = 0
        for name in await core.grants.ids():
            held = await core.grants.load(name)
            if held is None or not core.refresh.is_due(held.grant, within):
                continue
            fresh = await core.refresh.fresh(held, within)
            if fresh is None:
                ended += 1
            elif _is_renewed(held, fresh):
                refreshed += 1
            else:
                failed += 1
        return Sweep(refreshed=refreshed, failed=failed, ended=ended)

    async def _users(self, core: Core) -> list[StoredUser]:
        found = [await core.grants.load(name) for name in await core.grants.ids()]
        return [
            StoredUser(
                open_id=held.grant.open_id,
                scopes=split_scopes(held.grant.scopes),
                token_expires_at=held.grant.expires_at,
                refresh_expires_at=held.grant.refresh_expires_at,
                sessions=len(core.grants.living(held.grant)),
                failures=held.grant.failures,
            )
            for held in found
            if held is not None
        ]

    async def _forget(self, core: Core, open_id: str) -> bool:
        return await core.grants.forget(self._named(open_id)) is not None

    async def _disconnect(self, core: Core, open_id: str) -> str:
        return await core.logout.end_grant(self._named(open_id))

    def _named(self, open_id: str) -> str:
        return grant_id(self._settings.client_key, open_id)

    def _sync_core(self) -> Core:
        if self._blocking is None:
            self._blocking = Core(self._settings, Blocking(), **self._options)
        return self._blocking

    def _async_core(self) -> Core:
        if self._cooperative is None:
            self._cooperative = Core(self._settings, Cooperative(), **self._options)
        return self._cooperative


def _is_renewed(before: Held, after: Held) -> bool:
    return before.grant.access_token != after.grant.access_token

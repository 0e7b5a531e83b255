"""TikTokTokens: a user's token where there is no request, as in a job.

The same refresh under the same lock as the web workers', over the same store. A job
needs no session: give the settings ``keep_grants=True`` if it shall go on working for
users whose last session has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .cookies import grant_id
from .core import Core, OnEvent
from .errors import NotSignedIn, TikTokUnavailable
from .models import Token
from .runtime import Blocking, Cooperative, run

if TYPE_CHECKING:
    from .settings import TikTokSettings


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

    def close(self) -> None:
        """Close the connections that `get` opened; they open again when needed."""
        if self._blocking is not None:
            run(self._blocking.aclose())

    async def aclose(self) -> None:
        """Close the connections that `aget` opened in this event loop."""
        if self._cooperative is not None:
            await self._cooperative.aclose()

    async def _get(self, core: Core, open_id: str) -> Token:
        held = await core.grants.load(grant_id(self._settings.client_key, open_id))
        if held is not None:
            held = await core.refresh.fresh(held)
        if held is None or held.grant.open_id != open_id:
            message = "this user has not signed in, or their grant has ended"
            raise NotSignedIn(message)
        grant = held.grant
        if grant.expires_at <= self._clock():
            raise TikTokUnavailable("", "the token expired and could not be renewed")
        return Token(grant.access_token.reveal(), grant.expires_at, grant.scopes)

    async def _forget(self, core: Core, open_id: str) -> bool:
        named = grant_id(self._settings.client_key, open_id)
        return await core.grants.forget(named) is not None

    def _sync_core(self) -> Core:
        if self._blocking is None:
            self._blocking = Core(self._settings, Blocking(), **self._options)
        return self._blocking

    def _async_core(self) -> Core:
        if self._cooperative is None:
            self._cooperative = Core(self._settings, Cooperative(), **self._options)
        return self._cooperative

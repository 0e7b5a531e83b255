"""Who is signed in: from a session cookie to what its user granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .cookies import Ticket
from .models import DIGEST, GRANT_ID, Session, Sight

if TYPE_CHECKING:
    from .cookies import CookieJar
    from .grants import Grants, Held
    from .refresh import Refresh
    from .settings import TikTokSettings
    from .sights import Sights

_FRESH_SECONDS = 1.0
#: "Last seen" is written this often at most, in seconds: a request writes nothing.
_SEEN_SECONDS = 300.0


class Sessions:
    """The browser sessions of one TikTok app, as this process knows them."""

    def __init__(
        self,
        settings: TikTokSettings,
        grants: Grants,
        sights: Sights,
        refresh: Refresh,
        jar: CookieJar,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._grants = grants
        self._sights = sights
        self._refresh = refresh
        self._jar = jar
        self._clock = clock
        self._seen_step = min(_SEEN_SECONDS, settings.session_idle / 10)

    async def look(self, value: bytes) -> Sight | None:
        """Return what a session cookie stands for, or None if for nobody.

        Raises:
            StoreError: the store could not say.
        """
        ticket = self.ticket(value)
        if ticket is None:
            return None
        held = await self._grants.load(ticket.grant_id)
        if held is None or self._grants.find(held.grant, ticket.digest) is None:
            return None
        held = await self._refresh.fresh(held)
        session = held and self._grants.find(held.grant, ticket.digest)
        if held is None or session is None:
            return None
        if self._clock() - session.seen >= self._seen_step:
            held, session = await self._touch(held, session)
        sight = self._sight(held, session, ticket)
        self._sights.remember(value, sight, held.changes)
        return sight

    def ticket(self, value: bytes) -> Ticket | None:
        """Return what a session cookie says, or None if it is not genuine."""
        known = self._sights.live.get(value)
        if known is not None:
            return Ticket(known[GRANT_ID], known[DIGEST])
        return self._jar.read(value)

    async def _touch(self, held: Held, session: Session) -> tuple[Held, Session]:
        """Note that the browser was here; a later request does it if this one loses."""
        seen = session._replace(seen=int(self._clock()))
        sessions = tuple(seen if s is session else s for s in held.grant.sessions)
        written = await self._grants.replace(
            held, replace(held.grant, sessions=sessions)
        )
        return (held, session) if written is None else (written, seen)

    def _sight(self, held: Held, session: Session, ticket: Ticket) -> Sight:
        # From when the record was asked for: a slow answer is an old one.
        grant, at = held.grant, held.at
        until = min(
            at + _FRESH_SECONDS,
            session.seen + self._settings.session_idle,
            session.born + self._settings.session_lifetime,
        )
        due_at = self._refresh.due_at(grant)
        return (
            at,
            min(until, due_at) if due_at > at else until,
            grant.open_id,
            grant.scopes,
            grant.access_token.reveal(),
            grant.expires_at,
            grant.profile,
            grant.declined,
            ticket.grant_id,
            ticket.digest,
        )

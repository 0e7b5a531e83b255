"""Who is signed in: from a session cookie to what its user granted.

A table remembers what genuine cookies were found to say, for a second at most, because
a logout elsewhere must be seen within that second; a write in this process forgets it
at once. Only what was verified enters the table, so it can not be flooded, and an entry
that is no longer fresh still saves checking the cookie's MAC again (5 us).
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .models import DIGEST, GRANT_ID, SINCE, UNTIL, Grant, Session, Sight

if TYPE_CHECKING:
    from .cookies import CookieJar, Ticket
    from .grants import Grants, Held
    from .refresh import Refresh
    from .settings import TikTokSettings

#: How many browser sessions are remembered; beyond, the oldest are read anew.
REMEMBERED: Final = 16384
_FRESH_SECONDS = 1.0
#: "Last seen" is written this often at most, in seconds: a request writes nothing.
_SEEN_SECONDS = 300.0


class Sessions:
    """The browser sessions of one TikTok app, as this process knows them."""

    def __init__(
        self,
        settings: TikTokSettings,
        grants: Grants,
        refresh: Refresh,
        jar: CookieJar,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._grants = grants
        self._refresh = refresh
        self._jar = jar
        self._clock = clock
        self._seen_step = min(_SEEN_SECONDS, settings.session_idle / 10)
        #: Cookie value to sight; the shells look here before anything else.
        self.live: dict[bytes, Sight] = {}
        self._values: dict[str, tuple[bytes, ...]] = {}
        self._changes = 0
        self._guard = threading.Lock()

    async def look(self, value: bytes) -> Sight | None:
        """Return what a session cookie stands for, or None if for nobody.

        Raises:
            StoreError: the store could not say.
        """
        ticket = self.ticket(value)
        if ticket is None:
            return None
        changes = self._changes
        held = await self._grants.load(ticket.grant_id)
        session = None if held is None else self._find(held.grant, ticket)
        if held is None or session is None:
            return None
        if self._refresh.is_due(held.grant):
            changes = self._changes
            held = await self._refresh.fresh(held)
            session = None if held is None else self._find(held.grant, ticket)
            if held is None or session is None:
                return None
        if self._clock() - session.seen >= self._seen_step:
            held, session = await self._touch(held, session)
        sight = self._sight(held, session, ticket)
        self._remember(value, sight, changes)
        return sight

    def ticket(self, value: bytes) -> Ticket | None:
        """Return what a session cookie says, or None if it is not genuine."""
        from .cookies import Ticket  # noqa: PLC0415 - loaded by who made the jar

        known = self.live.get(value)
        if known is not None:
            return Ticket(known[GRANT_ID], known[DIGEST])
        return self._jar.read(value)

    def _find(self, grant: Grant, ticket: Ticket) -> Session | None:
        """Return the ticket's session if it is there and has not ended."""
        now, digest = self._clock(), ticket.digest.encode()
        for session in grant.sessions:
            if hmac.compare_digest(session.digest.encode(), digest):
                return session if self.is_alive(session, now) else None
        return None

    def is_alive(self, session: Session, now: float) -> bool:
        """Whether a session is within its idle and its absolute limit."""
        return (
            now - session.seen < self._settings.session_idle
            and now - session.born < self._settings.session_lifetime
        )

    async def _touch(self, held: Held, session: Session) -> tuple[Held, Session]:
        """Note that the browser was here; a later request does it if this one loses."""
        seen = session._replace(seen=int(self._clock()))
        sessions = tuple(seen if s is session else s for s in held.grant.sessions)
        written = await self._grants.replace(
            held, replace(held.grant, sessions=sessions)
        )
        return (held, session) if written is None else (written, seen)

    def _sight(self, held: Held, session: Session, ticket: Ticket) -> Sight:
        grant, now = held.grant, self._clock()
        until = min(
            now + _FRESH_SECONDS,
            session.seen + self._settings.session_idle,
            session.born + self._settings.session_lifetime,
        )
        due_at = self._refresh.due_at(grant)
        return (
            now,
            min(until, due_at) if due_at > now else until,
            grant.open_id,
            grant.scopes,
            grant.access_token.reveal(),
            grant.expires_at,
            grant.profile,
            grant.declined,
            ticket.grant_id,
            ticket.digest,
        )

    def _remember(self, value: bytes, sight: Sight, changes: int) -> None:
        """Keep a sight, unless a record changed while it was being read."""
        with self._guard:
            if changes != self._changes:
                return
            if value not in self.live:
                while len(self.live) >= REMEMBERED:
                    self._drop(next(iter(self.live)))
                grant_id = sight[GRANT_ID]
                self._values[grant_id] = (*self._values.get(grant_id, ()), value)
            self.live[value] = sight

    def _drop(self, value: bytes) -> None:
        sight = self.live.pop(value)
        left = tuple(v for v in self._values.pop(sight[GRANT_ID], ()) if v != value)
        if left:
            self._values[sight[GRANT_ID]] = left

    def forget(self, grant_id: str) -> None:
        """Believe nothing remembered of a grant: its record was written or deleted."""
        with self._guard:
            self._changes += 1
            for value in self._values.pop(grant_id, ()):
                self.live.pop(value, None)

    def is_fresh(self, sight: Sight) -> bool:
        """Whether a sight may still be used without asking the store."""
        return sight[SINCE] <= self._clock() < sight[UNTIL]

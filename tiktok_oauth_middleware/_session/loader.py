"""Who is signed in: from a session cookie to what its user granted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.fork import renew_after_fork
from tiktok_oauth_middleware._core.log import logger

from .cached_session import (
    DIGEST,
    EXPIRES_AT,
    FETCHED_AT,
    FRESH_UNTIL,
    GRANT_ID,
    REVALIDATE_UNTIL,
    SEALED,
    CachedSession,
)
from .cookie import Ticket
from .record import Session
from .refresh import is_from_future

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .cache import SessionCache
    from .cookie import SessionCookies
    from .deferred_writes import DeferredWrites
    from .profiles import Profiles
    from .records import Records, VersionedRecord
    from .refresh import Refresh

_FRESH_SECONDS = 1.0
#: "Last seen" is written this often at most, in seconds: a request writes nothing.
_SEEN_SECONDS = 300.0


#: Cookies of ended sessions that are remembered for a second, at most.
_DEAD_COOKIES = 1024


class _UnreadableError(Exception):
    """A record is there and does not open."""


class SessionLoader:
    """The browser sessions of one TikTok app, as this process knows them."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        settings: TikTokSettings,
        grants: Records,
        sights: SessionCache,
        refresh: Refresh,
        jar: SessionCookies,
        clock: Callable[[], float],
        deferrable: DeferredWrites,
        profiles: Profiles,
    ) -> None:
        self._settings = settings
        self._profiles = profiles
        self._grants = grants
        self._deferrable = deferrable
        self._sights = sights
        self._refresh = refresh
        self._jar = jar
        self._clock = clock
        self._seen_step = min(_SEEN_SECONDS, settings.session_idle / 10)
        #: False where every process has a store of its own. Set by `Core`.
        self.is_store_shared = True
        #: Genuine cookies that the store knows no session for, and since when.
        self._dead: dict[bytes, float] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew with an open lock."""
        self._dead_guard = threading.Lock()

    async def look(self, value: bytes) -> CachedSession | None:
        """Return what a session cookie stands for, or None if for nobody.

        Raises:
            StoreError: the store could not say.
        """
        if self._is_known_dead(value):
            return None
        ticket = self.ticket(value)
        if ticket is None:
            return None
        changes, at = self._sights.changes, self._clock()
        try:
            sight = await self._found(value, ticket, changes, at)
        except _UnreadableError:
            return None
        if sight is None:
            self._note_dead(value, at)
        return sight

    def is_to_be_deleted(self, value: bytes) -> bool:
        """Whether a cookie that `look` has just found nobody for is good for nothing.

        It is where the store said so, or where it has our shape and no key of ours made
        it. On loopback all ports share their cookies, and there such a one may be
        another app's. A record that is there and does not open may be another
        worker's, whose keys are newer.
        """
        if self._is_known_dead(value):
            return True
        return self._jar.secure and self._jar.read(value) is None

    def _is_known_dead(self, value: bytes) -> bool:
        at = self._dead.get(value)
        return at is not None and at <= self._clock() < at + _FRESH_SECONDS

    def _note_dead(self, value: bytes, at: float) -> None:
        """Remember for a second that a genuine cookie names no session."""
        with self._dead_guard:
            if len(self._dead) >= _DEAD_COOKIES:
                self._dead.clear()
            self._dead[value] = at

    async def _found(
        self, value: bytes, ticket: Ticket, changes: int, at: float
    ) -> CachedSession | None:
        """Return what the record says of a session."""
        if self._has_ended(value, at) and self._refresh.is_under_way(ticket.grant_id):
            # All that the record could say is that there is something to wait for.
            held = await self._refresh.result(ticket.grant_id)
            known = self._sights.live.get(value)
            if known and at <= known[FETCHED_AT] and self._clock() < known[FRESH_UNTIL]:
                return known  # by another request of this browser that waited
            if held is None or held.at >= at:  # not older than this request
                return self._remembered(value, ticket, held)
        sealed = await self._grants.sealed(ticket.grant_id)
        known = self._sights.live.get(value)
        if (
            known
            and known[SEALED] == sealed
            and known[FETCHED_AT] <= at < known[REVALIDATE_UNTIL]
        ):
            # To open what was opened before would give the same, for 10 us.
            sight = (at, min(at + _FRESH_SECONDS, known[REVALIDATE_UNTIL]), *known[2:])
            self._sights.remember(value, sight, changes)
            return sight
        self._hint(sealed)
        held = self._grants.opened(ticket.grant_id, sealed, changes, at)
        if held is None and sealed is not None:
            raise _UnreadableError
        if held is None or self._grants.find(held.grant, ticket.digest) is None:
            return None
        held = await self._refresh.fresh(held)
        if held is not None:
            held = await self._profiles.fresh(held)
        if held is not None and self._clock() - held.at >= _FRESH_SECONDS:
            # It took long, and what was true when it began need not be so any more.
            held = await self._grants.load(ticket.grant_id)
        session = held and self._grants.find(held.grant, ticket.digest)
        if (
            held
            and session
            and self._clock() - session.seen >= self._seen_step
            and self._deferrable.may_try()
        ):
            with self._deferrable.attempt():
                held = await self._touch(held, session)
        return self._remembered(value, ticket, held)

    def _hint(self, sealed: bytes | None) -> None:
        """Say why a genuine cookie may name no record, where others cannot see it."""
        if sealed is None and not self.is_store_shared:
            logger.warning(
                "a genuine session cookie names a user that this process's memory store"
                " does not hold: the process was restarted, or another worker signed"
                " them in; memory:// is for one process, sqlite:/// and redis:// for"
                " several"
            )

    def _has_ended(self, value: bytes, at: float) -> bool:
        """Whether a session's access token is known to have expired by `at`."""
        known = self._sights.live.get(value)
        return known is not None and known[EXPIRES_AT] <= at

    def _remembered(
        self, value: bytes, ticket: Ticket, held: VersionedRecord | None
    ) -> CachedSession | None:
        """Return what a fresh record says of a session, and remember it."""
        session = held and self._grants.find(held.grant, ticket.digest)
        if held is None or session is None:
            return None
        sight = self._sight(held, session, ticket)
        self._sights.remember(value, sight, held.changes)
        return sight

    def ticket(self, value: bytes) -> Ticket | None:
        """Return what a session cookie says, or None if it is not genuine."""
        known = self._sights.live.get(value)
        if known is not None:
            return Ticket(known[GRANT_ID], known[DIGEST])
        return self._jar.read(value)

    async def _touch(self, held: VersionedRecord, session: Session) -> VersionedRecord:
        """Note that the browser was here; a later request does it if this one loses."""
        seen = session._replace(seen=int(self._clock()))
        sessions = tuple(seen if s is session else s for s in held.grant.sessions)
        written = await self._grants.replace(
            held, replace(held.grant, sessions=sessions)
        )
        return held if written is None else written

    def _sight(
        self, held: VersionedRecord, session: Session, ticket: Ticket
    ) -> CachedSession:
        # From when the record was asked for: a slow answer is an old one.
        grant, at = held.grant, held.at
        end, due_at = self._grants.end_of(session), self._refresh.due_at(grant)
        if due_at <= at or is_from_future(grant, at):
            # Could not be renewed now, and is to be tried again. An expired token is
            # not kept at all: another process may have its successor by now.
            until = min(at + _FRESH_SECONDS, end, grant.expires_at)
            keeps_until = at
        else:
            changes_at = self._profiles.changes_at(held.grant_id, grant)
            keeps_until = min(end, due_at, session.seen + self._seen_step, changes_at)
            until = min(at + _FRESH_SECONDS, end, due_at)
        return (
            at,
            until,
            grant.open_id,
            grant.scopes,
            grant.access_token.reveal(),
            grant.expires_at,
            grant.profile,
            grant.declined,
            ticket.grant_id,
            ticket.digest,
            keeps_until,
            held.sealed,
        )

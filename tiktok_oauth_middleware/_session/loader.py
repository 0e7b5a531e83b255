"""Who is signed in: from a session cookie to what its user granted."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.fork import renew_after_fork
from tiktok_oauth_middleware._core.log import logger

from .cached_session import (
    DIGEST,
    EXPIRES_AT,
    FETCHED_AT,
    FRESH_UNTIL,
    RECORD_ID,
    REVALIDATE_UNTIL,
    SEALED,
    CachedSession,
)
from .cookie import Ticket
from .record import Session
from .refresh import is_from_future

if TYPE_CHECKING:
    from .cookie import SessionCookies
    from .records import VersionedRecord
    from .service import SessionService

_FRESH_SECONDS = 1.0
#: "Last seen" is written this often at most, in seconds: a request writes nothing.
_SEEN_SECONDS = 300.0


#: Cookies of ended sessions that are remembered for a second, at most.
_DEAD_COOKIES = 1024


class _UnreadableError(Exception):
    """A record is there and does not open."""


class SessionLoader:
    """The browser sessions of one TikTok app, as this process knows them."""

    def __init__(self, service: SessionService, cookies: SessionCookies) -> None:
        settings, shared = service.settings, service.shared
        self._settings = settings
        self._profiles = service.profiles
        self._records = shared.records
        self._deferred_writes = shared.deferred_writes
        self._cache = shared.cache
        self._refresh = service.refresh
        self._cookies = cookies
        self._clock = shared.clock
        self._seen_step = min(_SEEN_SECONDS, settings.session_idle / 10)
        self._is_store_shared = service.is_store_shared
        #: Genuine cookies that the store knows no session for, and since when.
        self._dead: dict[bytes, float] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew with an open lock."""
        self._dead_guard = threading.Lock()

    async def load_session(self, value: bytes) -> CachedSession | None:
        """Return what a session cookie stands for, or None if for nobody.

        Raises:
            StoreError: the store could not say.
        """
        if self._is_known_dead(value):
            return None
        ticket = self.ticket(value)
        if ticket is None:
            return None
        changes, at = self._cache.changes, self._clock()
        try:
            cached = await self._found(value, ticket, changes, at)
        except _UnreadableError:
            return None
        if cached is None:
            self._note_dead(value, at)
        return cached

    def is_to_be_deleted(self, value: bytes) -> bool:
        """Whether a cookie that `look` has just found nobody for is good for nothing.

        It is where the store said so, or where it has our shape and no key of ours made
        it. On loopback all ports share their cookies, and there such a one may be
        another app's. A record that is there and does not open may be another
        worker's, whose keys are newer.
        """
        if self._is_known_dead(value):
            return True
        return self._cookies.secure and self._cookies.read(value) is None

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
        if self._has_ended(value, at) and self._refresh.is_under_way(ticket.record_id):
            # All that the record could say is that there is something to wait for.
            stored = await self._refresh.result(ticket.record_id)
            known = self._cache.live.get(value)
            if known and at <= known[FETCHED_AT] and self._clock() < known[FRESH_UNTIL]:
                return known  # by another request of this browser that waited
            if stored is None or stored.at >= at:  # not older than this request
                return self._remembered(value, ticket, stored)
        sealed = await self._records.sealed(ticket.record_id)
        known = self._cache.live.get(value)
        if (
            known
            and known[SEALED] == sealed
            and known[FETCHED_AT] <= at < known[REVALIDATE_UNTIL]
        ):
            # To open what was opened before would give the same, for 10 us.
            cached = (at, min(at + _FRESH_SECONDS, known[REVALIDATE_UNTIL]), *known[2:])
            self._cache.remember(value, cached, changes)
            return cached
        self._hint(sealed)
        stored = self._records.opened(ticket.record_id, sealed, changes, at)
        if stored is None and sealed is not None:
            raise _UnreadableError
        if stored is None or self._records.find(stored.record, ticket.digest) is None:
            return None
        stored = await self._refresh.fresh(stored)
        if stored is not None:
            stored = await self._profiles.fresh(stored)
        if stored is not None and self._clock() - stored.at >= _FRESH_SECONDS:
            # It took long, and what was true when it began need not be so any more.
            stored = await self._records.load(ticket.record_id)
        session = stored and self._records.find(stored.record, ticket.digest)
        if (
            stored
            and session
            and self._clock() - session.last_seen_at >= self._seen_step
            and self._deferred_writes.may_try()
        ):
            with self._deferred_writes.attempt():
                stored = await self._touch(stored, session)
        return self._remembered(value, ticket, stored)

    def _hint(self, sealed: bytes | None) -> None:
        """Say why a genuine cookie may name no record, where others cannot see it."""
        if sealed is None and not self._is_store_shared:
            logger.warning(
                "a genuine session cookie names a user that this process's memory store"
                " does not hold: the process was restarted, or another worker signed"
                " them in; memory:// is for one process, sqlite:/// and redis:// for"
                " several"
            )

    def _has_ended(self, value: bytes, at: float) -> bool:
        """Whether a session's access token is known to have expired by `at`."""
        known = self._cache.live.get(value)
        return known is not None and known[EXPIRES_AT] <= at

    def _remembered(
        self, value: bytes, ticket: Ticket, stored: VersionedRecord | None
    ) -> CachedSession | None:
        """Return what a fresh record says of a session, and remember it."""
        session = stored and self._records.find(stored.record, ticket.digest)
        if stored is None or session is None:
            return None
        cached = self._cached(stored, session, ticket)
        self._cache.remember(value, cached, stored.changes)
        return cached

    def ticket(self, value: bytes) -> Ticket | None:
        """Return what a session cookie says, or None if it is not genuine."""
        known = self._cache.live.get(value)
        if known is not None:
            return Ticket(known[RECORD_ID], known[DIGEST])
        return self._cookies.read(value)

    async def _touch(
        self, stored: VersionedRecord, session: Session
    ) -> VersionedRecord:
        """Note that the browser was here; a later request does it if this one loses."""
        seen = session._replace(last_seen_at=int(self._clock()))
        sessions = tuple(seen if s is session else s for s in stored.record.sessions)
        written = await self._records.replace(
            stored, replace(stored.record, sessions=sessions)
        )
        return stored if written is None else written

    def _cached(
        self, stored: VersionedRecord, session: Session, ticket: Ticket
    ) -> CachedSession:
        # From when the record was asked for: a slow answer is an old one.
        record, at = stored.record, stored.at
        end, due_at = self._records.end_of(session), self._refresh.due_at(record)
        if due_at <= at or is_from_future(record, at):
            # Could not be renewed now, and is to be tried again. An expired token is
            # not kept at all: another process may have its successor by now.
            until = min(at + _FRESH_SECONDS, end, record.expires_at)
            keeps_until = at
        else:
            changes_at = self._profiles.changes_at(stored.record_id, record)
            keeps_until = min(
                end, due_at, session.last_seen_at + self._seen_step, changes_at
            )
            until = min(at + _FRESH_SECONDS, end, due_at)
        return (
            at,
            until,
            record.open_id,
            record.scopes,
            record.access_token.reveal(),
            record.expires_at,
            record.profile,
            record.denied,
            ticket.record_id,
            ticket.digest,
            keeps_until,
            stored.sealed,
        )

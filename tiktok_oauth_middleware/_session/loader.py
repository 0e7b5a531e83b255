"""Session loading: the session that a cookie names, revalidated or loaded."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.log import logger

from .cached_session import (
    DIGEST,
    EXPIRES_AT,
    FETCHED_AT,
    FRESH_UNTIL,
    RECORD_ID,
    REVALIDATE_UNTIL,
    SEALED,
    SEEN_SECONDS,
    CachedSession,
    NoSession,
)
from .cookie import Ticket
from .due import is_from_future
from .record import Session
from .shared import Part

if TYPE_CHECKING:
    from .cookie import SessionCookies
    from .service import SessionService
    from .versioned_record import VersionedRecord

#: On CPython 3.11 a member of an enum is found by a Python function.
_FORGED, _ENDED, _UNKNOWN = NoSession.FORGED, NoSession.ENDED, NoSession.UNKNOWN
_FRESH_SECONDS = 1.0
#: The most cookies of ended sessions that are remembered, for a second each.
_DEAD_COOKIES = 1024
#: For how many seconds after a login of the same user a cookie without a session is
#: not said to be of an ended one: the response of that login may be on its way.
_AFTER_LOGIN_SECONDS = 10.0


class _UnknownError(Exception):
    """Whether the cookie's session has ended cannot be told.

    The record cannot be opened: another worker with newer keys may have sealed it. Or
    its user has just logged in, perhaps in the browser whose cookie it is.
    """


class _Lookup(NamedTuple):
    """One cookie, and when the lookup of its session began."""

    value: bytes
    record_id: str
    #: The hash of the session's secret.
    digest: str
    #: `SessionCache.changes` before the store was read.
    changes: int
    #: Seconds since 1970.
    at: float


class SessionLoader(Part):
    """Finds the session that a cookie names, in the cache or in the store."""

    def __init__(self, service: SessionService, cookies: SessionCookies) -> None:
        super().__init__(service.shared)
        self._profiles = service.profiles
        self._refresh = service.refresh
        self._due = service.refresh.due
        self._cookies = cookies
        self._seen_step = min(SEEN_SECONDS, self._settings.session_idle / 10)
        self._is_store_shared = service.is_store_shared
        #: Genuine cookies without a session in the store, and when that was found.
        self._dead: dict[bytes, float] = {}
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which another thread may have held during the fork."""
        self._dead_guard = threading.Lock()

    async def load_session(self, value: bytes) -> CachedSession | NoSession:
        """Return the session that a cookie names, or why it names none.

        The terms are those of HTTP caching (RFC 9111): a cached session is fresh for a
        second. After that it is revalidated: if the stored record has not changed, it
        need not be opened; otherwise it is loaded.

        Raises:
            StoreError: the store failed.
        """
        if value in self._dead and self._is_known_dead(value):
            return _ENDED
        lookup = self._lookup(value)
        if lookup is None:
            return _FORGED
        try:
            cached = await self._found(lookup)
        except _UnknownError:
            cached = None
        else:
            if cached is None and not await self._records.copy_marks.is_moving():
                self._note_dead(value, lookup.at)
        if cached is not None:
            return cached
        return _ENDED if self._is_known_dead(value) else _UNKNOWN

    def _lookup(self, value: bytes) -> _Lookup | None:
        """Return the lookup of a cookie that begins now; None if it is not genuine."""
        changes, at = self._cache.changes, self._clock()
        cached = self._cache.live.get(value)
        if cached is not None:  # it was verified before
            named = cached[RECORD_ID], cached[DIGEST]
        elif (ticket := self._cookies.read(value)) is not None:
            named = ticket
        else:
            return None
        # Not `_Lookup(...)`: binding the arguments one by one takes twice as long.
        return tuple.__new__(_Lookup, (value, *named, changes, at))

    async def _found(self, lookup: _Lookup) -> CachedSession | None:
        """Return the session; a record is opened only if necessary."""
        record_id = lookup.record_id
        if self._token_has_expired(lookup) and self._refresh.is_under_way(record_id):
            # The token has expired, and the record has no newer one yet:
            # wait for the refresh that is running in this process.
            stored = await self._refresh.result(record_id)
            # Another request of this browser may have cached the result by now.
            fresh = self._fresh(lookup)
            if fresh is not None:
                return fresh
            if stored is None or stored.at >= lookup.at:
                return self._remembered(lookup, stored)
        sealed = await self._records.read_sealed(record_id)
        return self._revalidated(lookup, sealed) or await self._loaded(lookup, sealed)

    def _fresh(self, lookup: _Lookup) -> CachedSession | None:
        """Return the cached session, if it was fetched since the lookup began."""
        cached = self._cache.live.get(lookup.value)
        if cached is None or cached[FETCHED_AT] < lookup.at:
            return None
        return cached if self._clock() < cached[FRESH_UNTIL] else None

    def _revalidated(
        self, lookup: _Lookup, sealed: bytes | None
    ) -> CachedSession | None:
        """Return the cached session, if it was made from the record that is stored.

        The sealed bytes are compared, because opening them would take 10 us.
        """
        cached, at = self._cache.live.get(lookup.value), lookup.at
        if (
            cached is None
            or cached[SEALED] != sealed
            or not cached[FETCHED_AT] <= at < cached[REVALIDATE_UNTIL]
        ):
            return None
        fresh_until = min(at + _FRESH_SECONDS, cached[REVALIDATE_UNTIL])
        renewed = (at, fresh_until, *cached[2:])
        self._cache.remember(lookup.value, renewed, lookup.changes)
        return renewed

    async def _loaded(
        self, lookup: _Lookup, sealed: bytes | None
    ) -> CachedSession | None:
        """Open a stored record, renew what is due in it, and return its session.

        Raises:
            StoreError: the store could not be read; or the token has expired, and the
                store could not be written.
            _UnknownError: there is a record, and no key opens it, or it has a new
                session.
        """
        record_id, digest = lookup.record_id, lookup.digest
        self._warn_of_lost_memory(sealed)
        stored = self._records.open_record(record_id, sealed, lookup.changes, lookup.at)
        if stored is None and sealed is not None:
            raise _UnknownError
        session = self._session_of(stored, digest)
        if stored is None or session is None:
            return None
        cached = self._cached(stored, session, lookup)
        now = self._clock()
        if (
            stored.at <= now < cached[REVALIDATE_UNTIL]
            and now - stored.at < _FRESH_SECONDS
        ):
            # Nothing in it is due. Each step below would check that again, and a cookie
            # that is new to this process would take a third longer.
            self._cache.remember(lookup.value, cached, stored.changes)
            return cached
        stored = await self._refresh.fresh(stored)
        if stored is not None:
            stored = await self._profiles.fresh(stored)
        if stored is not None and self._clock() - stored.at >= _FRESH_SECONDS:
            # That took long, and the record may have changed since it was read.
            stored = await self._records.load(record_id)
        if stored is not None:
            stored = await self._with_last_seen(stored, digest)
        return self._remembered(lookup, stored)

    def _session_of(
        self, stored: VersionedRecord | None, digest: str
    ) -> Session | None:
        """Return the session in a record, if there is one that has not ended.

        Raises:
            _UnknownError: there is none, and the record has one that has just begun.
        """
        if stored is None:
            return None
        session = self._lifetimes.find_session(stored.record, digest)
        if session is None:
            began = max((s.created_at for s in stored.record.sessions), default=0)
            if began > self._clock() - _AFTER_LOGIN_SECONDS:
                raise _UnknownError
        return session

    def _is_known_dead(self, value: bytes) -> bool:
        at = self._dead.get(value)
        return at is not None and at <= self._clock() < at + _FRESH_SECONDS

    def _note_dead(self, value: bytes, at: float) -> None:
        """Remember for a second that a genuine cookie names no session."""
        with self._dead_guard:
            if len(self._dead) >= _DEAD_COOKIES:
                self._dead.clear()
            self._dead[value] = at

    def _warn_of_lost_memory(self, sealed: bytes | None) -> None:
        """Explain why a genuine cookie may name no record of this process's store."""
        if sealed is None and not self._is_store_shared:
            logger.warning(
                "a genuine session cookie names a user that this process's memory store"
                " does not hold: the process was restarted, or another worker signed"
                " them in; memory:// is for one process, sqlite:/// and redis:// for"
                " several"
            )

    def _token_has_expired(self, lookup: _Lookup) -> bool:
        """Whether the access token in the cached session has expired."""
        cached = self._cache.live.get(lookup.value)
        return cached is not None and cached[EXPIRES_AT] <= lookup.at

    def _remembered(
        self, lookup: _Lookup, stored: VersionedRecord | None
    ) -> CachedSession | None:
        """Return the session of a fresh record, and cache it."""
        session = self._session_of(stored, lookup.digest)
        if stored is None or session is None:
            return None
        cached = self._cached(stored, session, lookup)
        self._cache.remember(lookup.value, cached, stored.changes)
        return cached

    def ticket(self, value: bytes) -> Ticket | None:
        """Return the ticket in a session cookie, or None if it is not genuine."""
        cached = self._cache.live.get(value)
        if cached is not None:
            return Ticket(cached[RECORD_ID], cached[DIGEST])
        return self._cookies.read(value)

    async def _with_last_seen(
        self, stored: VersionedRecord, digest: str
    ) -> VersionedRecord:
        """Update the session's "last seen", every few minutes.

        If the record has changed meanwhile, a later request updates it.
        """
        session = self._lifetimes.find_session(stored.record, digest)
        if session is None or self._clock() - session.last_seen_at < self._seen_step:
            return stored
        if self._deferred_writes.may_try():
            with self._deferred_writes.attempt():
                seen = session._replace(last_seen_at=int(self._clock()))
                sessions = tuple(
                    seen if s is session else s for s in stored.record.sessions
                )
                changed = stored.record._replace(sessions=sessions)
                return await self._records.replace(stored, changed) or stored
        return stored

    def _cached(
        self, stored: VersionedRecord, session: Session, lookup: _Lookup
    ) -> CachedSession:
        # All times count from the start of the read, since the answer may be slow.
        record, at = stored.record, stored.at
        end, due_at = (
            self._lifetimes.session_ends_at(session),
            self._due.due_at(record),
        )
        if due_at <= at or is_from_future(record, at):
            # The refresh failed, and is tried again soon. An expired token is not
            # cached at all: another process may have stored a new one by now.
            fresh_until = min(at + _FRESH_SECONDS, end, record.expires_at)
            revalidate_until = at
        else:
            revalidate_until = min(
                end,
                due_at,
                session.last_seen_at + self._seen_step,
                self._profiles.due_at(stored.record_id, record),
            )
            fresh_until = min(at + _FRESH_SECONDS, end, due_at)
        return (
            at,
            fresh_until,
            record.open_id,
            record.scopes,
            record.access_token.reveal(),
            record.expires_at,
            record.profile,
            record.denied,
            lookup.record_id,
            lookup.digest,
            revalidate_until,
            stored.sealed,
            session.logged_in_at,
        )

"""The session service: changes and ends users' records and tokens, without HTTP.

Jobs need only this; the middleware adds paths, cookies and pages. Both refresh a token
with the same code, under the same lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.encryption import derive
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._oauth.tls_context import TLSContext
from tiktok_oauth_middleware._observe.emit import Emitter, OnEvent
from tiktok_oauth_middleware._observe.metrics import meter
from tiktok_oauth_middleware.errors import (
    ConfigurationError,
    GrantRevoked,
    StoreError,
    TikTokError,
)
from tiktok_oauth_middleware.events import Event
from tiktok_oauth_middleware.settings.arguments import check_options, is_async
from tiktok_oauth_middleware.stores.registry import open_store

from .cache import SessionCache
from .deferred_writes import DeferredWrites
from .endings import Endings
from .profiles import Profiles
from .record import Session, UserRecord
from .records import Records
from .refresh import Refresh
from .shared import Shared

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._observe.traces import Traces
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .connections import Connections
    from .due import Demand
    from .versioned_record import VersionedRecord

#: How long to wait for TikTok to confirm a disconnect, in seconds: the user waits too.
REVOKE_SECONDS = 2.5
#: The most calls that a sweep makes to TikTok at the same time. With TikTok 80 ms away
#: a call takes a quarter of a second, most of it waiting.
CALLS_AT_ONCE = 48
#: How a disconnect ended.
REVOKED, GONE, FAILED = "revoked", "gone", "failed"


class SessionService:
    """The users of one app, over one backend: threads or event loops."""

    def __init__(
        self,
        settings: TikTokSettings,
        backend: Backend,
        *,
        store: Any = None,
        on_event: OnEvent | None = None,
        transport: Any = None,
        clock: Callable[[], float],
    ) -> None:
        """Build what can be built without I/O; the rest is made when first needed.

        Raises:
            ConfigurationError: `settings` is not a TikTokSettings, or `store` or
                `on_event` does not fit the backend.
            TypeError: `transport` does not fit the backend.
        """
        check_options(settings, store, {"on_event": on_event, "clock": clock})
        if transport is not None:
            from tiktok_oauth_middleware._oauth.http_clients import check_transport

            check_transport(transport, blocking=backend.is_blocking)
        if backend.is_blocking and on_event is not None and is_async(on_event):
            message = "on_event is an async def; under WSGI it must be a plain function"
            raise ConfigurationError(message)
        self.settings = settings
        self.backend = backend
        self.clock = clock
        self.transport = transport
        self._tls = TLSContext()
        self.on_event = on_event
        self._owns_store = store is None
        self.store: Any = (
            open_store(reveal(settings.store), clock=clock) if store is None else store
        )
        self._meter = meter()
        adapter = backend.adapt_store(self.store)
        #: The spans of flows; None without OpenTelemetry's API.
        self.traces: Traces | None = None
        if self._meter is not None:
            from tiktok_oauth_middleware._observe.observed_store import ObservedStore
            from tiktok_oauth_middleware._observe.traces import Traces

            self.traces = Traces(settings.endpoints, self.store)
            adapter = ObservedStore(adapter, self._meter, self.traces)
        self._adapter = adapter
        self.check_workers()
        log_key = derive(reveal(settings.secret_keys[0]), settings.client_key, "log")
        self.emit = Emitter(backend, log_key, on_event, self._meter, self.traces)
        self.cache = SessionCache(settings.remembered_sessions)
        self.records = Records(settings, adapter, self.cache, clock)
        self.endings = Endings(self.records.notes, clock)
        self.shared = Shared(
            settings=settings,
            backend=backend,
            records=self.records,
            cache=self.cache,
            client=self.client,
            emit=self.emit,
            traces=self.traces,
            clock=clock,
            deferred_writes=DeferredWrites(clock),
            connections=lambda: self.connections,
        )
        self.refresh = Refresh(self.shared)
        self.profiles = Profiles(self.shared)

    @property
    def is_store_shared(self) -> bool:
        """Whether other processes have the same store."""
        return bool(getattr(self.store, "is_shared", True))

    @cached_property
    def connections(self) -> Connections:
        """The accounts that are connected to users of the app."""
        from .connections import Connections

        return Connections(self.settings, self._adapter, self.records, self.clock)

    async def run_all(
        self, works: Iterable[Callable[[], Coroutine[Any, Any, None]]]
    ) -> None:
        """Run all tasks to their end, up to `CALLS_AT_ONCE` at the same time.

        They run one after the other if the store can be used by the calling thread
        only, as within its transaction.
        """
        limit = 1 if getattr(self.store, "is_bound_to_thread", False) else CALLS_AT_ONCE
        await self.backend.run_all(
            works,
            limit,
            at_thread_end=getattr(self.store, "close_thread", _close_nothing),
        )

    def check_workers(self, evidence: str | None = None) -> None:
        """If only this process can use the store, make it warn of other workers.

        Args:
            evidence: how other workers were detected; None to let the store check.
        """
        check = getattr(self.store, "check_workers", None)
        if check is not None:
            check(evidence)

    # --- the client for TikTok -----------------------------------------------------

    async def client(self) -> TikTokClient:
        """Return the client for TikTok; loaded in a thread when first needed."""
        return await self.backend.get_or_create(self._make_client, self, "client")

    def _make_client(self) -> TikTokClient:
        from tiktok_oauth_middleware._oauth.client import TikTokClient

        return TikTokClient(
            self.settings,
            self.backend,
            transport=self.transport,
            clock=self.clock,
            timing=self._observed_call(),
            on_status=None if self.traces is None else self.traces.note_status,
            tls=self._tls,
        )

    def _observed_call(self) -> Callable[[str], AbstractContextManager[None]] | None:
        """Return the function that measures and traces a call to TikTok, if any."""
        meter, traces = self._meter, self.traces
        if meter is None or traces is None:
            return None

        @contextlib.contextmanager
        def observed(name: str) -> Iterator[None]:
            with traces.call(name), meter.call(name):
                yield

        return observed

    def connect_ahead(self) -> None:
        """Open a connection to TikTok, in the background, for a login that has begun.

        It imports nothing: without a client, no connection is opened.
        """
        client: TikTokClient | None = self.backend.created(self, "client")
        if client is not None:
            client.http.connect_ahead()

    async def warm(self) -> None:
        """Make the client for TikTok before a request waits for it.

        Importing it takes 0.3 s, during which other threads run only every 5 ms.
        """
        try:
            await (await self.client()).http.get()
        except Exception as error:  # noqa: BLE001 - a login that fails too reports it
            logger.warning(
                "the HTTP client for TikTok could not be created yet: %s",
                type(error).__name__,
            )

    async def aclose(self) -> None:
        """Close this process's or event loop's connections, and a store opened here."""
        # Wait for running refreshes: TikTok sends new tokens only once.
        await self.backend.drain(self.refresh.longest)
        client = self.backend.pop_created(self, "client")
        if client is not None:
            await client.aclose()
        if self._owns_store:
            with contextlib.suppress(StoreError):
                await self._adapter.close()

    # --- how tokens are renewed outside of requests ---------------------------------

    async def renewed(
        self, stored: VersionedRecord, demand: Demand
    ) -> VersionedRecord | None:
        """Refresh a record's token if due, then renew its profile if due; return it.

        The profile is renewed only after a refresh, since many jobs never read it.

        Returns:
            None if the grant has ended.

        Raises:
            StoreError: the store failed.
        """
        fresh = await self.refresh.fresh(stored, demand)
        if fresh is None or fresh.record.access_token == stored.record.access_token:
            return fresh
        return await self.profiles.fresh(fresh)

    # --- how a session and a record end --------------------------------------------

    async def end_session(self, record_id: str, digest: str) -> None:
        """End one session, and report it as a logout.

        Raises:
            StoreError: the store failed; the session may still exist.
        """
        ended = await self.records.end_session(record_id, digest)
        if ended is not None:
            event = Event(name="logout", open_id=ended.open_id)
            await self.emit(event, session=digest)

    async def forget(self, record_id: str) -> UserRecord | None:
        """Delete a record, its sessions and its connection; return it as it was.

        Raises:
            StoreError: the store failed; the record may still exist.
        """
        ended = await self.records.forget(record_id)
        if ended is not None and ended.user_id:
            await self.connections.unlist(ended.user_id, record_id)
        return ended

    async def end_sessions(
        self, record_id: str, ends: Callable[[Session], bool]
    ) -> int:
        """End some of a user's sessions, and report each as a logout by the app.

        Args:
            record_id: the user's record.
            ends: whether an active session is to end.

        Returns:
            How many sessions were ended.

        Raises:
            StoreError: the store failed; the sessions may still exist.
        """

        def is_to_end(session: Session) -> bool:
            return self.records.lifetimes.is_active(session) and ends(session)

        record = await self.records.end_sessions(record_id, is_to_end)
        ended = [] if record is None else [*filter(is_to_end, record.sessions)]
        if record is not None:
            event = Event(name="logout", reason="ended_by_app", open_id=record.open_id)
            for session in ended:
                await self.emit(event, session=session.digest, why="ended by the app")
        return len(ended)

    async def disconnect(self, record_id: str) -> str:
        """Delete a user's record, then revoke the access at TikTok.

        Returns:
            `REVOKED`; `GONE` if there was no record, or TikTok had ended the access
            before; `FAILED` if TikTok did not confirm within `REVOKE_SECONDS`. The
            record is deleted in each case.

        Raises:
            StoreError: the store failed before anything was done.
        """
        # A caller that is cancelled must not stop it halfway: the record would be
        # deleted, the access not revoked, and nothing left to revoke it with.
        return await self.backend.shielded(lambda: self._disconnect(record_id))

    async def _disconnect(self, record_id: str) -> str:
        began_at = await self.endings.begin_revoke(record_id)
        ended = await self.forget(record_id)
        if ended is None:
            await self.endings.end_revoke(record_id, began_at, was_asked=False)
            return GONE
        result, why = await self._revoke_and_note(record_id, ended, began_at)
        await self._announce(ended.open_id, ended.user_id, result, why)
        return result

    async def revoke_refused(self, record_id: str, record: UserRecord) -> None:
        """End a user's access at TikTok with the tokens of a login that was refused.

        TikTok ends all tokens that the user has for this app, so the user's record, if
        there is one, is deleted.

        Args:
            record_id: of the user.
            record: with the new tokens; it is not stored.
        """
        await self.backend.shielded(lambda: self._revoke_refused(record_id, record))

    async def _revoke_refused(self, record_id: str, record: UserRecord) -> None:
        ended = began_at = None
        why: object
        try:
            began_at = await self.endings.begin_revoke(record_id)
            ended = await self.forget(record_id)
        except StoreError as error:
            # TikTok ends the record's tokens, and the next refresh ends its sessions.
            logger.warning("the record of a refused login was not deleted: %s", error)
        result, why = await self._revoke_and_note(record_id, record, began_at)
        user_id = ended.user_id if ended else ""
        await self._announce(record.open_id, user_id, result, why)

    async def _announce(
        self, open_id: str, user_id: str, result: str, why: object
    ) -> None:
        """Report a disconnect, with the user of the app if the account had one."""
        event = Event(
            name="disconnect", reason=result, open_id=open_id, user_id=user_id or None
        )
        await self.emit(event, why=why)

    async def _revoke_and_note(
        self, record_id: str, record: UserRecord, began_at: int | None
    ) -> tuple[str, object]:
        """Revoke at TikTok, and store the time; return the result and its reason."""
        ended = await self._revoke(record_id, record)
        # The record is deleted already. If this note cannot be stored, the webhook asks
        # TikTok whether the tokens still work.
        with contextlib.suppress(StoreError):
            await self.endings.end_revoke(record_id, began_at)
        return ended

    async def _revoke(self, record_id: str, record: UserRecord) -> tuple[str, object]:
        """Revoke, if necessary with a refreshed token; return result and reason."""
        seconds = REVOKE_SECONDS / 2
        access = record.access_token
        try:
            client = await self.client()
            if record.expires_at <= self.clock() and record.refresh_token:
                refresh_token = record.refresh_token.reveal()
                answer = await client.refresh(refresh_token, seconds=seconds)
                access = answer.access_token
            await client.revoke(access.reveal(), seconds=seconds)
        except TikTokError as error:
            is_refused = (
                isinstance(error, GrantRevoked) or error.error == "access_token_invalid"
            )
            if is_refused and not await self._may_be_refreshing(record_id, record):
                return GONE, error
            return FAILED, error
        return REVOKED, ""

    async def _may_be_refreshing(self, record_id: str, record: UserRecord) -> bool:
        """Whether a refresh may have replaced a record's tokens at TikTok.

        The refresh drops the new tokens, since the record is deleted: the access stays.
        """
        try:
            return await self.records.attempts.is_under_way(record_id, record)
        except StoreError:
            return True


def _close_nothing() -> None:
    """Do nothing at the end of a thread: most stores' connections need no closing."""

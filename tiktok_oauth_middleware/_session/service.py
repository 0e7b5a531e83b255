"""The session service: users' records and tokens, without HTTP.

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
    StoreError,
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
    from .revocation import Revocation
    from .versioned_record import VersionedRecord

#: The most calls that a sweep makes to TikTok at the same time. With TikTok 80 ms away
#: a call takes a quarter of a second, most of it waiting.
CALLS_AT_ONCE = 48


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
            revocation=lambda: self.revocation,
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

    @cached_property
    def revocation(self) -> Revocation:
        """What ends the access to users' accounts at TikTok."""
        from .revocation import Revocation

        return Revocation(self.shared, self.refresh, self.endings, self.forget)

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
        try:
            if client is not None:
                await client.aclose()
        finally:
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


def _close_nothing() -> None:
    """Do nothing at the end of a thread: most stores' connections need no closing."""

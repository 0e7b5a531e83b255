"""Objects that refresh, profiles and sessions share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._observe.traces import Traces
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .cache import SessionCache
    from .connections import Connections
    from .deferred_writes import DeferredWrites
    from .records import Records
    from .revocation import Revocation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Shared:
    """The shared objects; an app has one of each."""

    settings: TikTokSettings
    backend: Backend
    records: Records
    cache: SessionCache
    #: Returns the client for TikTok, made when first needed.
    client: Callable[[], Awaitable[TikTokClient]]
    emit: Emitter
    #: None without OpenTelemetry's API.
    traces: Traces | None
    #: Seconds since 1970.
    clock: Callable[[], float]
    deferred_writes: DeferredWrites
    #: Returns the accounts that are connected to users of the app.
    connections: Callable[[], Connections]
    #: Returns what ends the access to users' accounts at TikTok.
    revocation: Callable[[], Revocation]


class Part:
    """Base class with the shared objects as attributes."""

    def __init__(self, shared: Shared) -> None:
        self._settings = shared.settings
        self._backend = shared.backend
        self._records = shared.records
        self._lifetimes = shared.records.lifetimes
        self._cache = shared.cache
        self._client = shared.client
        self._emit = shared.emit
        self._traces = shared.traces
        self._clock = shared.clock
        self._deferred_writes = shared.deferred_writes
        self._connections = shared.connections
        self._revocation = shared.revocation

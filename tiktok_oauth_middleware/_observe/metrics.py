"""Counters and histograms through OpenTelemetry's API, if it is installed.

Nothing here is imported before a middleware is built, and nothing is measured where the
API is missing: the store and the client are then used as they are. A signed-in request
that is fresh in memory passes none of this either way.

What is measured where, and a dashboard, are in docs/metrics.md.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.store_adapter import LockHandle, StoreAdapter
from tiktok_oauth_middleware.errors import TikTokOAuthError
from tiktok_oauth_middleware.events import COUNTERS, EVENTS, Count

if TYPE_CHECKING:
    from tiktok_oauth_middleware.events import EventName

SCOPE = "tiktok_oauth_middleware"
CALLS = "tiktok_oauth.call.duration"
STORE = "tiktok_oauth.store.duration"


#: Histograms by name, with what they measure.
HISTOGRAMS: Mapping[str, str] = {
    CALLS: "Calls to TikTok, from the request to the read answer",
    STORE: "Operations of the store, waiting for a thread included",
}
#: Upper bounds of their buckets, in seconds.
_BUCKETS: Mapping[str, tuple[float, ...]] = {
    CALLS: (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10),
    STORE: (1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 0.02, 0.1, 0.5, 2),
}
_ERRORS = "tiktok_oauth.tiktok.errors"
#: The statuses that are counted each by itself; of others the class is.
_STATUSES = frozenset(
    (200, 400, 401, 403, 404, 407, 408, 429, 500, 502, 503, 504)  # no more than these
)
#: What each event is counted as.
COUNTED: Mapping[EventName, tuple[Count, ...]] = {
    name: kind.counts for name, kind in EVENTS.items()
}


class Meter:
    """The instruments of OpenTelemetry that this package has."""

    def __init__(self, api: Any) -> None:
        """Make the instruments with `api`, a Meter of OpenTelemetry."""
        self._counters = {
            name: api.create_counter(name, unit="1", description=text)
            for name, text in COUNTERS.items()
        }
        self._histograms = {
            name: _histogram(api, name, text) for name, text in HISTOGRAMS.items()
        }

    def count(self, event: EventName, reason: str) -> None:
        """Count an event."""
        for counter, attribute, value in COUNTED[event]:
            attributes = {attribute: value or reason or "other"} if attribute else {}
            self._counters[counter].add(1, attributes)

    def count_error(self, cause: str, status: int) -> None:
        """Count an error of TikTok's by its cause, of a closed list, and its status."""
        kind = "none" if status == 0 else f"{status // 100 % 10}xx"
        shown = str(status) if status in _STATUSES else kind
        self._counters[_ERRORS].add(1, {"error": cause, "status": shown})

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Measure a call to TikTok."""
        with self._timed(CALLS, "call", name):
            yield

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Measure an operation of the store."""
        with self._timed(STORE, "operation", name):
            yield

    @contextmanager
    def _timed(self, histogram: str, attribute: str, value: str) -> Iterator[None]:
        attributes = {attribute: value}
        begun = time.perf_counter()
        try:
            yield
        except BaseException as error:
            known = isinstance(error, TikTokOAuthError)
            # As OpenTelemetry's conventions name it; ours are stable, others many.
            attributes["error.type"] = error.code if known else "other"  # type: ignore[attr-defined]
            raise
        finally:
            taken = time.perf_counter() - begun
            self._histograms[histogram].record(taken, attributes)


def _histogram(api: Any, name: str, text: str) -> Any:
    said = {"unit": "s", "description": text}
    try:
        bounds = list(_BUCKETS[name])
        return api.create_histogram(
            name, explicit_bucket_boundaries_advisory=bounds, **said
        )
    except TypeError:  # before version 1.30
        return api.create_histogram(name, **said)


@lru_cache(maxsize=1)
def meter() -> Meter | None:
    """Return the process's meter; None where OpenTelemetry's API is not installed.

    The app may set its meter provider before or after.
    """
    try:
        if find_spec("opentelemetry.metrics") is None:
            return None
    except ModuleNotFoundError:
        return None
    from opentelemetry.metrics import get_meter

    from tiktok_oauth_middleware import __version__

    return Meter(get_meter(SCOPE, __version__))


class MeasuredStore(StoreAdapter):
    """A port whose operations are measured."""

    def __init__(self, port: StoreAdapter, meter: Meter) -> None:
        """Stand before `port`."""
        self._port = port
        self._meter = meter
        self.renews = port.renews

    async def get(self, key: str) -> bytes | None:
        with self._meter.operation("get"):
            return await self._port.get(key)

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        with self._meter.operation("compare_and_set"):
            return await self._port.compare_and_set(key, old, new, ttl)

    @asynccontextmanager
    async def lock(self, key: str, ttl: float) -> AsyncIterator[LockHandle]:
        async with AsyncExitStack() as stack:
            # To take it, not what is done under it.
            with self._meter.operation("lock"):
                hold = await stack.enter_async_context(self._port.lock(key, ttl))
            yield hold

    async def keys(self, prefix: str) -> list[str]:
        with self._meter.operation("keys"):
            return await self._port.keys(prefix)

    async def close(self) -> None:
        await self._port.close()

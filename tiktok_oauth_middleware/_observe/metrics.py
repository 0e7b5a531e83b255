"""Counters and histograms through OpenTelemetry's API, if it is installed.

This module is imported when a middleware is built, not before. Without the API nothing
is measured: the store and the client are used as they are. An authenticated request
whose session is fresh in memory measures nothing in either case.

docs/operations/metrics.md lists the instruments, and has a dashboard.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware.errors import TikTokOAuthError
from tiktok_oauth_middleware.events import COUNTERS, EVENTS

if TYPE_CHECKING:
    from tiktok_oauth_middleware.events import EventName

SCOPE = "tiktok_oauth_middleware"
CALLS = "tiktok_oauth.call.duration"
STORE = "tiktok_oauth.store.duration"


#: Histograms by name, with their descriptions.
HISTOGRAMS: Mapping[str, str] = {
    CALLS: "Calls to TikTok, until the answer has been read",
    STORE: "Operations of the store, waiting for a thread included",
}
#: Upper bounds of their buckets, in seconds.
_BUCKETS: Mapping[str, tuple[float, ...]] = {
    CALLS: (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10),
    STORE: (1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 0.02, 0.1, 0.5, 2),
}
#: The modules of the API's own providers.
_API_MODULES = ("opentelemetry.metrics", "opentelemetry.trace")
#: The attributes of a read, which are not changed.
_READ_ATTRIBUTES = {"operation": "get"}
_TIKTOK_ERRORS = "tiktok_oauth.tiktok.errors"
#: The statuses that have an attribute value of their own; others count by class.
_STATUSES = frozenset((200, 400, 401, 403, 404, 407, 408, 429, 500, 502, 503, 504))


class Meter:
    """The OpenTelemetry instruments of this package."""

    def __init__(self, api: Any) -> None:
        """Make the instruments with `api`, a Meter of OpenTelemetry."""
        self._counters = {
            name: api.create_counter(name, unit="1", description=text)
            for name, text in COUNTERS.items()
        }
        self._histograms = {
            name: _histogram(api, name, text) for name, text in HISTOGRAMS.items()
        }
        self._store_duration = self._histograms[STORE]

    def count(self, event: EventName, reason: str) -> None:
        """Count an event; a reason that is not in its table counts as ``other``."""
        kind = EVENTS[event]
        listed = reason if reason in kind.reasons else "other"
        for counter, attribute, value in kind.counts:
            self._counters[counter].add(
                1, {attribute: value or listed} if attribute else {}
            )

    def count_error(self, cause: str, status: int) -> None:
        """Count an error of TikTok's by its cause, of a closed list, and its status."""
        status_class = f"{status // 100 % 10}xx" if status else "none"
        shown = str(status) if status in _STATUSES else status_class
        self._counters[_TIKTOK_ERRORS].add(1, {"error": cause, "status": shown})

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

    def record_read(self, seconds: float, error: BaseException | None = None) -> None:
        """Record a read of the store; without a provider this costs 700 instructions.

        Args:
            seconds: how long it took.
            error: the error that it raised.
        """
        if error is None:
            self._store_duration.record(seconds, _READ_ATTRIBUTES)
        else:
            attributes = {**_READ_ATTRIBUTES, "error.type": error_type(error)}
            self._store_duration.record(seconds, attributes)

    @contextmanager
    def _timed(self, histogram: str, attribute: str, value: str) -> Iterator[None]:
        attributes = {attribute: value}
        started = time.perf_counter()
        try:
            yield
        except BaseException as error:
            attributes["error.type"] = error_type(error)
            raise
        finally:
            taken = time.perf_counter() - started
            self._histograms[histogram].record(taken, attributes)


def error_type(error: BaseException) -> str:
    """Return the ``error.type`` of an exception (OpenTelemetry's conventions).

    Our codes are a closed list, the classes of other errors are not.
    """
    return error.code if isinstance(error, TikTokOAuthError) else "other"


def _histogram(api: Any, name: str, text: str) -> Any:
    make = partial(api.create_histogram, name, unit="s", description=text)
    try:
        return make(explicit_bucket_boundaries_advisory=list(_BUCKETS[name]))
    except TypeError:  # before version 1.30
        return make()


def has_provider() -> bool:
    """Whether the app has set a provider of metrics or traces.

    The API's own providers, which are used until then, record nothing.
    """
    from opentelemetry.metrics import get_meter_provider
    from opentelemetry.trace import get_tracer_provider

    providers = (get_meter_provider(), get_tracer_provider())
    return any(not type(each).__module__.startswith(_API_MODULES) for each in providers)


@lru_cache(maxsize=1)
def meter() -> Meter | None:
    """Return the process's meter, or None if OpenTelemetry's API is not installed.

    The app may set its meter provider before this call or after it.
    """
    try:
        if find_spec("opentelemetry.metrics") is None:
            return None
    except ModuleNotFoundError:
        return None
    from opentelemetry.metrics import get_meter

    from tiktok_oauth_middleware import __version__

    return Meter(get_meter(SCOPE, __version__))

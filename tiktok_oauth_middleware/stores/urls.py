"""Which store a URL names; each kind is loaded when it is named."""

from __future__ import annotations

import time
from collections.abc import Callable

from tiktok_oauth_middleware.checks import store_fault
from tiktok_oauth_middleware.errors import ConfigurationError

from .base import Store


def open_store(url: str, *, clock: Callable[[], float] = time.time) -> Store:
    """Return the store that a URL names; nothing is connected to or created yet.

    Args:
        url: See `store_fault` for what it may be.
        clock: What the store judges expiry by. Redis has a clock of its own.

    Raises:
        ConfigurationError: there is no such store, or its library is not installed.
    """
    fault = store_fault(url)
    if fault is not None:
        raise ConfigurationError(fault)
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return _memory_store(clock)
    if scheme == "sqlite":
        return _sqlite_store(rest[1:], clock)
    return _redis_store(url)


# Imported when used: sqlite3 and redis cost more than the rest of the package.


def _memory_store(clock: Callable[[], float]) -> Store:
    from .memory import MemoryStore  # noqa: PLC0415

    return MemoryStore(clock=clock)


def _sqlite_store(path: str, clock: Callable[[], float]) -> Store:
    from .sqlite import SQLiteStore  # noqa: PLC0415

    return SQLiteStore(path, clock=clock)


def _redis_store(url: str) -> Store:
    from .redis import RedisStore  # noqa: PLC0415

    return RedisStore(url)

"""Which store a URL names; each kind is loaded when it is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.validate import store_fault, store_kind

from .base import Store


def open_store(url: str, *, clock: Callable[[], float] = time.time) -> Store:
    """Return the store that a URL names; nothing is connected to or created yet.

    Args:
        url: See `store_fault` for what it may be.
        clock: What the store judges expiry by. Redis has a clock of its own.

    Raises:
        ConfigurationError: there is no such store, or its library is not installed.
    """
    url = reveal(url)
    fault = store_fault(url)
    if fault is not None:
        raise ConfigurationError(fault)
    kind = store_kind(url.partition("://")[0])
    opened = _OPENERS.get(kind or "")
    if opened is None:
        known = ", ".join(f"{name}://" for name in _OPENERS)
        message = f"store begins with {kind}://, which nothing opens; known are {known}"
        raise ConfigurationError(message)
    return opened(url, clock)


# Imported when used: sqlite3, redis and SQLAlchemy cost more than the rest of the
# package.


def _memory_store(_: str, clock: Callable[[], float]) -> Store:
    from .memory import MemoryStore

    return MemoryStore(clock=clock)


def _sqlite_store(url: str, clock: Callable[[], float]) -> Store:
    from .sqlite import SQLiteStore

    return SQLiteStore(url.removeprefix("sqlite:///"), clock=clock)


def _redis_store(url: str, _: Callable[[], float]) -> Store:
    from .redis import RedisStore

    return RedisStore(url)


def _sql_store(url: str, clock: Callable[[], float]) -> Store:
    from .sql import SQLStore

    return SQLStore(url, clock=None if clock is time.time else clock)


def _django_store(url: str, clock: Callable[[], float]) -> Store:
    from .django import DjangoStore

    alias = url.removeprefix("django://")
    return DjangoStore(alias, clock=None if clock is time.time else clock)


#: By kind of store: what opens a URL of it.
_OPENERS: Mapping[str, Callable[[str, Callable[[], float]], Store]] = {
    "memory": _memory_store,
    "sqlite": _sqlite_store,
    "redis": _redis_store,
    "rediss": _redis_store,
    "unix": _redis_store,
    "postgresql": _sql_store,
    "mysql": _sql_store,
    "mariadb": _sql_store,
    "sqlite+": _sql_store,
    "django": _django_store,
}

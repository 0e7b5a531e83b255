"""Where grants are kept: in memory, SQLite, Redis, an SQL database, or your own.

A name is imported when it is first used: whoever keeps rows in Redis never loads
SQLite, and the other way round.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import AsyncStore, Store
    from .django import DjangoStore
    from .memory import MemoryStore
    from .redis import RedisStore
    from .registry import open_store
    from .sql import SQLStore
    from .sqlite import SQLiteStore

__all__ = [
    "AsyncStore",
    "DjangoStore",
    "MemoryStore",
    "RedisStore",
    "SQLStore",
    "SQLiteStore",
    "Store",
    "open_store",
]

_HOMES = {
    "AsyncStore": "base",
    "DjangoStore": "django",
    "MemoryStore": "memory",
    "RedisStore": "redis",
    "SQLStore": "sql",
    "SQLiteStore": "sqlite",
    "Store": "base",
    "open_store": "registry",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    # Found here from now on, without coming by again.
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__

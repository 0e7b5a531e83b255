"""Where records are stored: in memory, SQLite, Redis, an SQL database, or your own.

Here are the protocols and the stores that need no database library. The other stores
are names of `tiktok_oauth_middleware`, which loads each when it is first used.
"""

from .base import AsyncStore, Store
from .memory import MemoryStore
from .registry import open_store

__all__ = ["AsyncStore", "MemoryStore", "Store", "open_store"]

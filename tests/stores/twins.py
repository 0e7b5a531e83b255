"""The methods of a store for asyncio, under the names that its contract calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager


class Twins:
    """The asyncio face of a store, under the plain names that the contract calls."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def get(self, key: str) -> bytes | None:
        return await self._store.aget(key)

    async def compare_and_set(self, *args: Any) -> bool:
        return await self._store.acompare_and_set(*args)

    async def get_many(self, keys: Any) -> Any:
        return await self._store.aget_many(keys)

    async def create_many(self, rows: Any) -> Any:
        return await self._store.acreate_many(rows)

    async def keys(self, prefix: str) -> list[str]:
        return await self._store.akeys(prefix)

    def pages(self, prefix: str) -> AsyncIterator[list[str]]:
        return self._store.apages(prefix)

    def rows(self, prefix: str) -> AsyncIterator[list[tuple[str, bytes]]]:
        return self._store.arows(prefix)

    def lock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        return self._store.alock(key, ttl)

    async def close(self) -> None:
        await self._store.aclose()

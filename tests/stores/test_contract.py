"""One contract, every store; the ones over Redis in both of their faces."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tiktok_oauth_middleware import RedisStore, SQLiteStore
from tiktok_oauth_middleware.stores import MemoryStore
from tiktok_oauth_middleware.testing.stores import AsyncStoreContract, StoreContract

from .twins import Twins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Return a URL without a server: the port is bound, without a listener."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


class WithClock(StoreContract):
    @pytest.fixture
    def tick(self, clock: Any) -> Callable[[float], None]:
        return clock.advance


class TestMemoryStore(WithClock):
    @pytest.fixture
    def store(self, clock: Any) -> MemoryStore:
        return MemoryStore(clock=clock)

    # It has no part that could fail.
    test_a_failure_is_a_store_error = None  # type: ignore[assignment]


class TestSQLiteStore(WithClock):
    @pytest.fixture
    def store(self, clock: Any, tmp_path: Path) -> Iterator[SQLiteStore]:
        store = SQLiteStore(tmp_path / "store.sqlite3", clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def failing_store(self, tmp_path: Path) -> SQLiteStore:
        return SQLiteStore(tmp_path / "no such directory" / "store.sqlite3")


class TestRedisStore(StoreContract):
    @pytest.fixture
    def store(self, redis_url: str) -> Iterator[RedisStore]:
        store = RedisStore(redis_url)
        yield store
        store.close()

    @pytest.fixture
    def failing_store(self, nowhere: str) -> RedisStore:
        return RedisStore(nowhere)


class TestRedisStoreFromAClient(StoreContract):
    @pytest.fixture
    def store(self, redis_url: str) -> Iterator[RedisStore]:
        redis = pytest.importorskip("redis")
        with redis.Redis.from_url(redis_url) as client:
            yield RedisStore(client)

    @pytest.fixture
    def failing_store(self, nowhere: str) -> RedisStore:
        redis = pytest.importorskip("redis")
        no_retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return RedisStore(redis.Redis.from_url(nowhere, retry=no_retry))


class TestRedisStoreInALoop(AsyncStoreContract):
    @pytest.fixture
    def open_store(self, redis_url: str) -> Callable[[], Twins]:
        return lambda: Twins(RedisStore(redis_url))

    @pytest.fixture
    def open_failing_store(self, nowhere: str) -> Callable[[], Twins]:
        return lambda: Twins(RedisStore(nowhere))

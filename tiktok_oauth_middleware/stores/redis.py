"""A store in Redis or Valkey, for workers on several hosts.

A read is a single GET; reads that an event loop makes at the same time are combined
into one MGET. A swap is one Lua script, which the server runs atomically. No call waits
for longer than the timeout, and a dead connection costs one retry, in which a swap that
has taken place recognizes its own value: see `redis_rows`.

The class has blocking methods, and methods prefixed with ``a`` for asyncio. Made from a
URL, it offers both, with one client for each process and one for each event loop; made
from a client, it offers the kind of method that the client has.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from functools import partial
from importlib import import_module
from inspect import iscoroutinefunction
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from tiktok_oauth_middleware._core.secret import Secret, reveal
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .base import Waits
from .paging import PAGE, ROWS, in_batches
from .redis_connections import (
    RedisConnections,
    blocking_connections,
    check_url,
    create_rows,
    given_connections,
    loop_connections,
    mget,
)
from .redis_errors import failure, is_reply
from .redis_rows import (
    MARK,
    found_rows,
    marked_rows,
    pattern_of,
    swap_values,
    without_marks,
)
from .registry import missing_library
from .shared_reads import ReadResult, SharedReads
from .swap_locks import AsyncSwapLock, SwapLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

T = TypeVar("T")


class RedisStore:
    """Rows in Redis; the first use connects.

    A swap that deletes leaves no mark. If its answer is lost, it may return False
    although it deleted the row; it never returns True to two callers.

    Args:
        url_or_client: ``redis://``, ``rediss://`` or ``unix://`` as redis-py reads
            them (options in the query override ours), or a client of redis-py or
            valkey-py, also of a cluster or from Sentinel. A client keeps its own
            timeouts and retries, must not decode responses, and is never closed here.
        timeout: The most seconds to wait for a connection, and for an answer.

    Raises:
        ConfigurationError: redis-py is not installed, or the argument is not such a
            URL or client.
    """

    waits: ClassVar[Waits] = "always"
    #: OpenTelemetry's name of the database, for traces.
    db_system: ClassVar[str] = "redis"
    renews: ClassVar[bool] = True

    def __init__(self, url_or_client: Any, *, timeout: float = 2.0) -> None:
        self._timeout = timeout
        self._url = Secret("")
        self._given: RedisConnections | None = None
        self._has_loop_client = False
        # Clients made from the URL. A forked child has no entry of its own yet; its
        # parent's client stays, unused and not closed.
        self._by_process: dict[int, RedisConnections] = {}
        self._by_loop: dict[Any, RedisConnections] = {}
        if isinstance(url_or_client, str):
            try:
                import_module("redis")
            except ModuleNotFoundError as missing:
                raise missing_library("redis://") from missing
            check_url(reveal(url_or_client), timeout)
            self._url = Secret(url_or_client)
        else:
            self._given = given_connections(url_or_client)
            self._has_loop_client = iscoroutinefunction(url_or_client.execute_command)

    def __repr__(self) -> str:
        if self._given is not None:
            return f"RedisStore(<{type(self._given.client).__name__}>)"
        parts = urlsplit(self._url.reveal())
        return (
            f"RedisStore('{parts.scheme}://{_host_and_port(parts.netloc)}{parts.path}')"
        )

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        found = self._call_with_retries(
            "read", lambda connections: connections.client.get(key)
        )
        return None if found is None else found[:-MARK]

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        values = swap_values(old, new, ttl)
        return bool(
            self._call_with_retries(
                "write",
                lambda connections: connections.swap(keys=(key,), args=values),
            )
        )

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        found: list[bytes | None] = []
        for some in in_batches(keys, ROWS):
            values = self._call_with_retries("read", partial(mget, some))
            found += without_marks(values)
        return found

    def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that does not exist; return which were written, in order.

        The commands for a few hundred rows are sent at once.
        """
        created: list[bool] = []
        for some in in_batches(rows, ROWS):
            create = partial(create_rows, marked_rows(some))
            answers = self._call_with_retries("write", create)
            created += map(bool, answers)
        return created

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that begin with `prefix`, of every node."""
        pattern = pattern_of(prefix)

        def scan(connections: RedisConnections) -> list[str]:
            found = connections.client.scan_iter(match=pattern, count=PAGE)
            # SCAN may name a key twice (https://redis.io/docs/latest/commands/scan/).
            return sorted({key.decode() for key in found})

        return self._call_with_retries("read", scan)

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """Yield the keys that begin with `prefix`, a thousand at a time.

        SCAN may name a key twice; a connection that fails on the way ends the scan.

        Raises:
            StoreError: Redis failed.
        """
        pattern = pattern_of(prefix)
        try:
            found = self._connections().client.scan_iter(match=pattern, count=PAGE)
            while page := [key.decode() for key in islice(found, PAGE)]:
                yield page
        except Exception as error:
            raise failure("read", error) from error

    def rows(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys begin with `prefix`, several at a time.

        Raises:
            StoreError: Redis failed.
        """
        for keys in self.pages(prefix):
            for some in in_batches(keys, ROWS):
                values = self._call_with_retries("read", partial(mget, some))
                yield found_rows(some, values)

    def facts(self) -> dict[str, Any]:
        """Return the server's INFO, and its ``save`` setting if CONFIG is permitted.

        Raises:
            StoreError: The server cannot be reached, or does not permit INFO.
        """
        client = self._connections().client
        try:
            facts = dict(client.info())
        except Exception as error:
            raise failure("report its state", error) from error
        with suppress(Exception):  # a Redis provider may have disabled CONFIG
            facts.update(client.config_get("save"))
        return facts

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones.

        `aclose` closes those of an event loop, in that loop.
        """
        connections = self._by_process.pop(os.getpid(), None)
        if connections is not None:
            connections.client.close()

    async def aget(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        connections = self._loop_connections()
        if connections.reads is None:
            connections.reads = SharedReads(self._get_one, self._get_several)
        if connections.is_cluster:
            return await self._get_one(key)
        return await connections.reads.get(key)

    async def _get_one(self, key: str) -> bytes | None:
        found = await self._acall_with_retries(
            "read", lambda connections: connections.client.get(key)
        )
        return None if found is None else found[:-MARK]

    async def _get_several(self, keys: list[str]) -> list[ReadResult]:
        """Return the values of keys, or why one could not be read, in their order."""
        from asyncio import gather

        try:
            found = await self._acall_with_retries("read", partial(mget, keys))
        except StoreError as error:
            # The server may refuse MGET, or these keys in one command, and still allow
            # GET. After any other failure GET would fail as well.
            if not is_reply(error.__cause__):
                raise
            found = [None] * len(keys)
        if len(found) != len(keys):  # a proxy's fault; they match no keys
            message = f"Redis could not read: {len(found)} answers to {len(keys)} keys"
            raise StoreError(message)
        # For a value of another type MGET finds nothing, while GET reports an error.
        missing = [key for key, value in zip(keys, found, strict=True) if value is None]
        again: dict[str, Any] = dict(
            zip(
                missing,
                await gather(*map(self._get_one, missing), return_exceptions=True),
                strict=True,
            )
        )
        return [
            again[key] if value is None else value[:-MARK]
            for key, value in zip(keys, found, strict=True)
        ]

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        values = swap_values(old, new, ttl)
        return bool(
            await self._acall_with_retries(
                "write", lambda connections: connections.swap(keys=(key,), args=values)
            )
        )

    async def aget_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        found: list[bytes | None] = []
        for some in in_batches(keys, ROWS):
            values = await self._acall_with_retries("read", partial(mget, some))
            found += without_marks(values)
        return found

    async def acreate_many(
        self, rows: Sequence[tuple[str, bytes, float]]
    ) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        created: list[bool] = []
        for some in in_batches(rows, ROWS):
            create = partial(create_rows, marked_rows(some))
            answers = await self._acall_with_retries("write", create)
            created += map(bool, answers)
        return created

    def alock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return AsyncSwapLock(self, key, ttl)

    async def akeys(self, prefix: str) -> list[str]:
        """Return the keys of rows that begin with `prefix`, of every node."""
        pattern = pattern_of(prefix)

        async def scan(connections: RedisConnections) -> list[str]:
            found = connections.client.scan_iter(match=pattern, count=PAGE)
            return sorted({key.decode() async for key in found})

        return await self._acall_with_retries("read", scan)

    async def apages(self, prefix: str) -> AsyncIterator[list[str]]:
        """Yield the keys that begin with `prefix`, a thousand or so at a time.

        Raises:
            StoreError: Redis failed.
        """
        pattern = pattern_of(prefix)
        client, page = self._loop_connections().client, []
        try:
            await self._begin(client)
            async for key in client.scan_iter(match=pattern, count=PAGE):
                page.append(key.decode())
                if len(page) == PAGE:
                    yield page
                    page = []
        except Exception as error:
            raise failure("read", error) from error
        if page:
            yield page

    async def arows(self, prefix: str) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys begin with `prefix`, several at a time.

        Raises:
            StoreError: Redis failed.
        """
        async for keys in self.apages(prefix):
            for some in in_batches(keys, ROWS):
                values = await self._acall_with_retries("read", partial(mget, some))
                yield found_rows(some, values)

    async def aclose(self) -> None:
        """Close the connections of this event loop, and this process's others.

        A later call opens new ones.
        """
        from asyncio import get_running_loop

        try:
            loop = get_running_loop()
        except RuntimeError:  # under Trio, where the blocking connections serve
            loop = None
        connections = self._by_loop.pop(loop, None)
        if connections is not None:
            await connections.client.aclose()
        self.close()

    def _call_with_retries(self, what: str, call: Callable[[RedisConnections], T]) -> T:
        """Return the result of a call, retried on a new connection after a failover.

        A failover may leave the old primary alive as a replica, with our connections
        still open to it, while its service or virtual address already leads to the new
        primary. The connection returns to the pool after the error, so idle connections
        are dropped.
        """
        connections = self._connections()
        tries = _PRIMARY_TRIES
        while True:
            tries -= 1
            try:
                return call(connections)
            except Exception as error:
                if not tries or not connections.may_try_again(error):
                    raise failure(what, error) from error
            _drop_idle(connections.pool)

    async def _acall_with_retries(
        self, what: str, call: Callable[[RedisConnections], Awaitable[T]]
    ) -> T:
        """Return the result of a call in the event loop; see `_call_with_retries`."""
        connections = self._loop_connections()
        tries = _PRIMARY_TRIES
        while True:
            tries -= 1
            try:
                await self._begin(connections.client)
                return await call(connections)
            except Exception as error:
                if not tries or not connections.may_try_again(error):
                    raise failure(what, error) from error
            with suppress(Exception):  # a cluster's client has no pool and reconnects
                await connections.pool.disconnect(inuse_connections=False)

    @property
    def has_blocking_methods(self) -> bool:
        """Whether the plain methods work beside those for asyncio: true for a URL."""
        return self._given is None

    async def _begin(self, client: Any) -> None:
        # When several tasks use a redis-py cluster client first at the same time,
        # their commands fail. `initialize` makes them wait for one another, once.
        if self._given is not None:
            await client.initialize()

    def _connections(self) -> RedisConnections:
        if self._given is not None:
            return self._only(has_loop_client=False)
        process = os.getpid()
        connections = self._by_process.get(process)
        if connections is None:
            # Two threads may each make a client; both use the first one stored, and
            # the other never connects.
            made = blocking_connections(self._url.reveal(), self._timeout)
            connections = self._by_process.setdefault(process, made)
        return connections

    def _loop_connections(self) -> RedisConnections:
        if self._given is not None:
            return self._only(has_loop_client=True)
        from asyncio import get_running_loop

        loop = get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            self._forget_closed_loops()
            connections = self._by_loop[loop] = loop_connections(
                self._url.reveal(), self._timeout
            )
        return connections

    def _only(self, *, has_loop_client: bool) -> RedisConnections:
        """Return the given client if it is of the required kind."""
        if self._given is None or self._has_loop_client is not has_loop_client:
            message = (
                "store is a RedisStore made from a client for asyncio, used where"
                " calls must block (WSGI, a thread, Trio); give it redis.Redis or a URL"
                if self._has_loop_client
                else "store is a RedisStore made from a blocking client, used in an"
                " event loop; give it redis.asyncio.Redis or a URL"
            )
            raise ConfigurationError(message)
        return self._given

    def _forget_closed_loops(self) -> None:
        # A client refers to its loop, so a weak dictionary would never drop it.
        # A copy, made in one step: other threads with event loops also call this, and
        # without the interpreter's lock tuple() takes several.
        for loop in [loop for loop in self._by_loop.copy() if loop.is_closed()]:
            self._by_loop.pop(loop, None)


def _drop_idle(pool: Any) -> None:
    with suppress(Exception):  # a cluster's client has no pool and reconnects itself
        try:
            pool.disconnect(inuse_connections=False)
        except TypeError:  # some pools of redis-py 6 can only drop all
            pool.disconnect()


def _host_and_port(netloc: str) -> str:
    """Return host and port, without user and password."""
    return netloc.rpartition("@")[2]


#: Tries of a call when replies show that another server is the primary: between tries,
#: other threads may return more connections of the old primary to the pool.
_PRIMARY_TRIES = 4

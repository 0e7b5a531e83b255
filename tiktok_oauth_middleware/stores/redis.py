"""A store in Redis or Valkey, for workers on several hosts.

A read is a single GET; those that an event loop makes at once are one MGET. A swap is
one Lua script, which the server runs atomically. No call waits for longer than the
timeout, and a dead connection costs one retry.

When the answer to a swap is lost, the retry runs the swap twice, and the second run
would find the new value and return False. Therefore each value ends in a random mark of
the call that wrote it: a script that finds its own mark returns True.

The class has blocking methods, and methods prefixed with ``a`` for asyncio. Made from a
URL, it offers both, with one client for each process and one for each event loop; made
from a client, it offers the kind of method that the client has.
"""

from __future__ import annotations

import errno
import math
import os
import re
import socket
import ssl
import time
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    suppress,
)
from functools import partial
from importlib import import_module
from inspect import iscoroutinefunction
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from tiktok_oauth_middleware._core.secret import Secret, reveal
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .base import (
    PAGE,
    ROWS,
    AsyncSwapLock,
    SwapLock,
    Waits,
    in_batches,
    refuse_empty_swap,
)
from .registry import missing_library
from .shared_reads import Answer, SharedReads

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterator,
        Sequence,
    )

T = TypeVar("T")

#: Bytes at the end of a value that name the call which wrote it.
_MARK = 8

# Arguments: "1" if a value is expected, else "0"; the expected value; the new value
# with its mark, or "" to delete the row; the time to live in milliseconds.
_SWAP = f"""
local found = redis.call('GET', KEYS[1])
local new = ARGV[3]
if new ~= '' and found == new then
    return 1
end
if ARGV[1] == '0' then
    if found then return 0 end
elseif not found or string.sub(found, 1, -{_MARK + 1}) ~= ARGV[2] then
    return 0
end
if new == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], new, 'PX', ARGV[4])
end
return 1
"""

_MAX_CONNECTIONS = 50


class _Connections:
    """A client and its registered swap script."""

    __slots__ = ("_dropped", "client", "is_cluster", "reads", "swap")

    def __init__(self, client: Any, swap: Any) -> None:
        self.client = client
        self.swap = swap
        #: Whether each key may be on another node.
        self.is_cluster = hasattr(client, "mget_nonatomic")
        #: Collects the reads of an event loop into one MGET; made at its first read.
        self.reads: SharedReads | None = None
        self._dropped: float | None = None

    def may_try_again(self, error: Exception) -> bool:
        """Whether a call that failed may succeed on a new connection.

        It may if the reply shows that another server is the primary, or if idle
        connections were just dropped for that reason: some pools also close
        connections that another thread is using.
        """
        dropped = self._dropped
        is_ours = dropped is not None and (
            time.monotonic() - dropped < _DROP_SECONDS
            # After any delay: redis-py read from a buffer that was closed.
            or isinstance(error, ValueError)
        )
        return _reply_of(error) in _FAILOVER_REPLIES or is_ours

    @property
    def pool(self) -> Any:
        """The client's pool, about to be emptied; None for a cluster's client."""
        self._dropped = time.monotonic()
        return getattr(self.client, "connection_pool", None)


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
        self._given: _Connections | None = None
        self._has_loop_client = False
        # Clients made from the URL. A forked child has no entry of its own yet; its
        # parent's client stays, unused and not closed.
        self._by_process: dict[int, _Connections] = {}
        self._by_loop: dict[Any, _Connections] = {}
        if isinstance(url_or_client, str):
            try:
                import_module("redis")
            except ModuleNotFoundError as missing:
                raise missing_library("redis://") from missing
            _check_url(reveal(url_or_client), timeout)
            self._url = Secret(url_or_client)
        else:
            self._given = _given(url_or_client)
            self._has_loop_client = iscoroutinefunction(url_or_client.execute_command)

    def __repr__(self) -> str:
        if self._given is not None:
            return f"RedisStore(<{type(self._given.client).__name__}>)"
        parts = urlsplit(self._url.reveal())
        return f"RedisStore('{parts.scheme}://{_place(parts.netloc)}{parts.path}')"

    def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        found = _call_with_retries(
            self._connections(), "read", lambda connections: connections.client.get(key)
        )
        return None if found is None else found[:-_MARK]

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; return whether `old` was there."""
        values = _swap_values(old, new, ttl)
        return bool(
            _call_with_retries(
                self._connections(),
                "write",
                lambda connections: connections.swap(keys=(key,), args=values),
            )
        )

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        found: list[bytes | None] = []
        for some in in_batches(keys, ROWS):
            values = _call_with_retries(
                self._connections(), "read", partial(_mget, some)
            )
            found += _without_marks(values)
        return found

    def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that does not exist; return which were written, in order.

        The commands of some hundred rows are sent at once.
        """
        created: list[bool] = []
        for some in in_batches(rows, ROWS):
            create = partial(_create_rows, _marked_rows(some))
            answers = _call_with_retries(self._connections(), "write", create)
            created += map(bool, answers)
        return created

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that begin with `prefix`, of every node."""
        pattern = _escaped_pattern(prefix) + "*"

        def scan(connections: _Connections) -> list[str]:
            found = connections.client.scan_iter(match=pattern, count=1000)
            # SCAN may name a key twice (https://redis.io/docs/latest/commands/scan/).
            return sorted({key.decode() for key in found})

        return _call_with_retries(self._connections(), "read", scan)

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """Yield the keys that begin with `prefix`, a thousand at a time.

        SCAN may name a key twice; a connection that fails on the way ends the scan.

        Raises:
            StoreError: Redis failed.
        """
        pattern = _escaped_pattern(prefix) + "*"
        try:
            found = self._connections().client.scan_iter(match=pattern, count=PAGE)
            while page := [key.decode() for key in islice(found, PAGE)]:
                yield page
        except Exception as error:
            raise _failure("read", error) from error

    def rows(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys begin with `prefix`, some at a time.

        Raises:
            StoreError: Redis failed.
        """
        for keys in self.pages(prefix):
            for some in in_batches(keys, ROWS):
                values = _call_with_retries(
                    self._connections(), "read", partial(_mget, some)
                )
                yield _rows_of(some, values)

    def facts(self) -> dict[str, Any]:
        """Return the server's INFO, and its ``save`` setting if CONFIG is permitted.

        Raises:
            StoreError: The server cannot be reached, or does not permit INFO.
        """
        client = self._connections().client
        try:
            facts = dict(client.info())
        except Exception as error:
            raise _failure("report its state", error) from error
        with suppress(Exception):  # a Redis provider may have disabled CONFIG
            facts.update(client.config_get("save"))
        return facts

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones.

        Those of an event loop are closed by `aclose` in that loop.
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
        return None if found is None else found[:-_MARK]

    async def _get_several(self, keys: list[str]) -> list[Answer]:
        """Return the values of keys, or why one could not be read, in their order."""
        from asyncio import gather

        try:
            found = await self._acall_with_retries("read", partial(_mget, keys))
        except StoreError as error:
            # The server may refuse MGET, or these keys in one command, and still allow
            # GET. After any other failure GET would fail as well.
            if not _is_reply(error.__cause__):
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
            again[key] if value is None else value[:-_MARK]
            for key, value in zip(keys, found, strict=True)
        ]

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; return whether `old` was there."""
        values = _swap_values(old, new, ttl)
        return bool(
            await self._acall_with_retries(
                "write", lambda connections: connections.swap(keys=(key,), args=values)
            )
        )

    async def aget_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        found: list[bytes | None] = []
        for some in in_batches(keys, ROWS):
            values = await self._acall_with_retries("read", partial(_mget, some))
            found += _without_marks(values)
        return found

    async def acreate_many(
        self, rows: Sequence[tuple[str, bytes, float]]
    ) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        created: list[bool] = []
        for some in in_batches(rows, ROWS):
            create = partial(_create_rows, _marked_rows(some))
            answers = await self._acall_with_retries("write", create)
            created += map(bool, answers)
        return created

    def alock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside the block if it is free; do not wait."""
        return AsyncSwapLock(self, key, ttl)

    async def akeys(self, prefix: str) -> list[str]:
        """Return the keys of rows that begin with `prefix`, of every node."""
        pattern = _escaped_pattern(prefix) + "*"

        async def scan(connections: _Connections) -> list[str]:
            found = connections.client.scan_iter(match=pattern, count=1000)
            return sorted({key.decode() async for key in found})

        return await self._acall_with_retries("read", scan)

    async def apages(self, prefix: str) -> AsyncIterator[list[str]]:
        """Yield the keys that begin with `prefix`, a thousand or so at a time.

        Raises:
            StoreError: Redis failed.
        """
        pattern = _escaped_pattern(prefix) + "*"
        client, page = self._loop_connections().client, []
        try:
            await self._begin(client)
            async for key in client.scan_iter(match=pattern, count=PAGE):
                page.append(key.decode())
                if len(page) == PAGE:
                    yield page
                    page = []
        except Exception as error:
            raise _failure("read", error) from error
        if page:
            yield page

    async def arows(self, prefix: str) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Yield the rows whose keys begin with `prefix`, some at a time.

        Raises:
            StoreError: Redis failed.
        """
        async for keys in self.apages(prefix):
            for some in in_batches(keys, ROWS):
                values = await self._acall_with_retries("read", partial(_mget, some))
                yield _rows_of(some, values)

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

    async def _acall_with_retries(
        self, what: str, call: Callable[[_Connections], Awaitable[T]]
    ) -> T:
        """Return the result of a call in the event loop; see `_call_with_retries`."""
        connections = self._loop_connections()
        tries = _TRIES
        while True:
            tries -= 1
            try:
                await self._begin(connections.client)
                return await call(connections)
            except Exception as error:
                if not tries or not connections.may_try_again(error):
                    raise _failure(what, error) from error
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

    def _connections(self) -> _Connections:
        if self._given is not None:
            return self._only(has_loop_client=False)
        process = os.getpid()
        connections = self._by_process.get(process)
        if connections is None:
            # Two threads may each make a client; both use the first one stored, and
            # the other never connects.
            made = _blocking_connections(self._url.reveal(), self._timeout)
            connections = self._by_process.setdefault(process, made)
        return connections

    def _loop_connections(self) -> _Connections:
        if self._given is not None:
            return self._only(has_loop_client=True)
        from asyncio import get_running_loop

        loop = get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            self._forget_closed_loops()
            connections = self._by_loop[loop] = _loop_connections(
                self._url.reveal(), self._timeout
            )
        return connections

    def _only(self, *, has_loop_client: bool) -> _Connections:
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


def _call_with_retries(
    connections: _Connections, what: str, call: Callable[[_Connections], T]
) -> T:
    """Return the result of a call, retried on a new connection after a failover.

    A failover may leave the old primary alive as a replica, with our connections still
    open to it, while its service or virtual address already leads to the new primary.
    The connection returns to the pool after the error, so idle connections are dropped.
    """
    tries = _TRIES
    while True:
        tries -= 1
        try:
            return call(connections)
        except Exception as error:
            if not tries or not connections.may_try_again(error):
                raise _failure(what, error) from error
        _drop_idle(connections.pool)


def _mget(keys: Sequence[str], connections: _Connections) -> Any:
    """Call MGET; a cluster's client sends each node the keys that it has."""
    client = connections.client
    return (client.mget_nonatomic if connections.is_cluster else client.mget)(keys)


def _rows_of(keys: Sequence[str], values: list[Any]) -> list[tuple[str, bytes]]:
    """Return the rows that are still there, without the marks of their writers."""
    return [
        (key, value[:-_MARK])
        for key, value in zip(keys, values, strict=True)
        if value is not None
    ]


def _without_marks(values: list[Any]) -> list[bytes | None]:
    return [None if value is None else value[:-_MARK] for value in values]


def _marked_rows(
    rows: Sequence[tuple[str, bytes, float]],
) -> list[tuple[str, bytes, int]]:
    """Return key, value with its mark and milliseconds of each row.

    If the answer is lost, the call is repeated with the same marks. Rows that the first
    call created then count as not created, as if another caller had created them.
    """
    found = []
    for key, value, ttl in rows:
        milliseconds = max(1, math.ceil(ttl * 1000))
        found.append((key, value + os.urandom(_MARK), milliseconds))
    return found


def _create_rows(rows: list[tuple[str, bytes, int]], connections: _Connections) -> Any:
    """Create rows, each by a command of its own, and return the answers."""
    pipeline = connections.client.pipeline(transaction=False)
    for key, value, milliseconds in rows:
        pipeline.set(key, value, px=milliseconds, nx=True)
    return pipeline.execute()


def _drop_idle(pool: Any) -> None:
    with suppress(Exception):  # a cluster's client has no pool and reconnects itself
        try:
            pool.disconnect(inuse_connections=False)
        except TypeError:  # some pools of redis-py 6 can only drop all
            pool.disconnect()


def _reply_of(error: BaseException) -> str:
    """Return the code of the server's error reply, or "".

    Before Redis 7 the reply to a script names the script first and then the error of
    the command in it: ``ERR Error running script (...): -READONLY You can't ...``.
    """
    found = _REPLY.search(str(error))
    if found is not None:
        return found[1]
    # redis-py removes the code from some replies.
    for kind in type(error).__mro__:
        if kind.__name__ in _CLASSES:
            return _CLASSES[kind.__name__]
    return ""


def _is_reply(error: BaseException | None) -> bool:
    """Whether an error is the server's answer, of redis-py's or valkey-py's class."""
    return any(kind.__name__ == "ResponseError" for kind in type(error).__mro__)


def _escaped_pattern(text: str) -> str:
    """Return a pattern of SCAN that matches this text alone."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)


def _given(client: Any) -> _Connections:
    """Return the connections of a client that the app made."""
    methods = ("execute_command", "get_encoder", "register_script", "get")
    if not all(callable(getattr(client, name, None)) for name in methods):
        kind = type(client)
        message = (
            "store is a RedisStore made from neither a URL nor a client of redis-py"
            f" or valkey-py, but from {kind.__module__}.{kind.__qualname__}; give it"
            " redis://host:6379/0, redis.Redis(...) or redis.asyncio.Redis(...)"
        )
        raise ConfigurationError(message)
    _refuse_decoding(is_decoding=client.get_encoder().decode_responses)
    return _connections_of(client)


def _blocking_connections(url: str, timeout: float) -> _Connections:
    import redis

    return _connections_of(redis.Redis.from_pool(_pool(url, timeout)))


def _loop_connections(url: str, timeout: float) -> _Connections:
    import redis.asyncio

    return _connections_of(redis.asyncio.Redis.from_pool(_loop_pool(url, timeout)))


def _connections_of(client: Any) -> _Connections:
    return _Connections(client, client.register_script(_SWAP))


def _pool(url: str, timeout: float) -> Any:
    """Return a pool of blocking connections; opens none yet."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    retry = Retry(NoBackoff(), 1, (redis.ConnectionError,))
    options = _options(timeout)
    return redis.BlockingConnectionPool.from_url(url, **options, retry=retry)


def _loop_pool(url: str, timeout: float) -> Any:
    """Return a pool of connections for the running event loop; opens none yet."""
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    retry = Retry(NoBackoff(), 1, (redis.ConnectionError,))
    options = _options(timeout)
    return redis.asyncio.BlockingConnectionPool.from_url(url, **options, retry=retry)


def _options(timeout: float) -> dict[str, Any]:
    return {
        "max_connections": _MAX_CONNECTIONS,
        "timeout": timeout,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        # With RESP3 redis-py expects push messages on an idle connection, and no
        # longer detects that the server has closed it.
        "protocol": 2,
    }


def _check_url(url: str, timeout: float) -> None:
    try:
        connection = _pool(url, timeout).make_connection()  # does not connect
    except (ValueError, TypeError):
        message = "store is no URL that redis-py can read; use redis://host:6379/0"
        # Without the cause, which may quote the password.
        raise ConfigurationError(message) from None
    _refuse_decoding(is_decoding=connection.encoder.decode_responses)


def _refuse_decoding(*, is_decoding: bool) -> None:
    if is_decoding:
        message = "store decodes what Redis answers; leave decode_responses out"
        raise ConfigurationError(message)


def _swap_values(old: bytes | None, new: bytes | None, ttl: float) -> tuple[Any, ...]:
    refuse_empty_swap(old, new)
    # Redis rejects a time to live of zero, so such a value is not written.
    is_kept = new is not None and ttl > 0
    marked = (new or b"") + os.urandom(_MARK) if is_kept else b""
    milliseconds = max(1, math.ceil(ttl * 1000)) if is_kept else 0
    return (b"0" if old is None else b"1", old or b"", marked, milliseconds)


def _place(netloc: str) -> str:
    """Return host and port, without user and password."""
    return netloc.rpartition("@")[2]


def _failure(what: str, error: Exception) -> StoreError:
    """Return the error for a call that failed with any exception.

    redis-py, valkey-py, a cluster's client and sockets each raise exceptions of their
    own; all become a StoreError. Their texts may name hosts, so the message does not
    repeat them.
    """
    return StoreError(f"Redis could not {what}: {_cause(error)}")


def _cause(error: Exception) -> str:
    """Return why a call failed, without the server's address."""
    reply = _reply_of(error)
    if reply in _REPLY_MEANINGS:
        return f"{reply}, {_REPLY_MEANINGS[reply]}"
    for each in _chain(error):
        meaning = _of_socket(each)
        if meaning:
            return meaning
    text = str(error) or type(error).__name__
    for pattern, meaning in _MESSAGE_MEANINGS:
        if re.search(pattern, text):
            return meaning
    return type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, ten at most."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _of_socket(error: BaseException) -> str:
    """Return the meaning of a socket or TLS error, or ""."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its TLS certificate is not trusted ({error.verify_message}); name the CA"
            " in ssl_ca_certs"
        )
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "the handshake failed"
        if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN"):
            return "the port speaks no TLS; use redis://, or the port that does"
        return f"TLS failed ({reason})"
    if isinstance(error, socket.gaierror):
        return "its host name cannot be resolved"
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return _ERRNOS[error.errno]
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return _CLOSED  # asyncio raises it without a number: "Connection lost"
    return ""


#: Tries of a call when replies show that another server is the primary: between tries,
#: other threads may return more connections of the old primary to the pool.
_TRIES = 4
#: For so many seconds after connections were dropped, that may cause any error.
_DROP_SECONDS = 2.0
#: Error replies which mean that another server is, or will soon be, the primary.
_FAILOVER_REPLIES = frozenset(
    ("READONLY", "MASTERDOWN", "NOREPLICAS", "LOADING", "UNBLOCKED", "CLUSTERDOWN")
)
#: Meanings of error replies (https://redis.io/docs/latest/develop/reference/protocol-spec/).
_REPLY_MEANINGS = {
    "READONLY": "the server is a replica and takes no writes",
    "MASTERDOWN": "the server is a replica that has lost its primary",
    "NOREPLICAS": "the server takes no writes without its replicas",
    "LOADING": "the server is still loading its data",
    "CLUSTERDOWN": "the cluster is down",
    "UNBLOCKED": "the server has become a replica",
    "MOVED": "the server is a cluster's node; give RedisStore a RedisCluster client",
    "ASK": "the server is a cluster's node; give RedisStore a RedisCluster client",
    "CROSSSLOT": "the keys of one script are on two nodes",
    "TRYAGAIN": "the cluster is moving the row, which will be available in a moment",
    "OOM": "the server's memory is full, and it evicts nothing",
    "MISCONF": "the server cannot write to its disk, and takes no writes until it can",
    "NOAUTH": "the server asks for a password",
    "WRONGPASS": "wrong user or password",
    "NOPERM": "this user may not run the commands that a store needs (GET, SET, DEL,"
    " EVALSHA, SCRIPT) on its keys",
    "WRONGTYPE": "another program keeps another kind of value under our key",
    "BUSY": "the server is busy with a script",
}
_REPLY = re.compile(rf"(?:^|[\s(:-]-?)({'|'.join(_REPLY_MEANINGS)})(?=[\s,]|$)")
#: Classes of redis-py and valkey-py whose text no longer contains the reply's code.
_CLASSES = {
    "ReadOnlyError": "READONLY",
    "MasterDownError": "MASTERDOWN",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "OutOfMemoryError": "OOM",
    "NoPermissionError": "NOPERM",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "TryAgainError": "TRYAGAIN",
}
#: Also if TLS is sent to a server without TLS, which then waits for the line to end.
_SILENT = "no answer in time; if the URL is rediss://, does the port speak TLS?"
_CLOSED = "the server closed the connection; it may speak TLS (rediss://)"
_ERRNOS = {
    errno.ECONNREFUSED: "the connection was refused; nothing listens there",
    errno.ECONNRESET: _CLOSED,
    errno.EPIPE: _CLOSED,
    errno.EHOSTUNREACH: "its host cannot be reached",
    errno.ENETUNREACH: "its network cannot be reached",
    errno.ETIMEDOUT: _SILENT,
    errno.ENOENT: "there is no such socket",
    errno.EACCES: "its socket may not be opened by this user",
    errno.EMFILE: "this process has too many files open",
}
#: Meanings of client messages with neither a reply code nor a socket error.
_MESSAGE_MEANINGS = (
    (r"(?i)invalid username-password|invalid password", "wrong user or password"),
    (r"(?i)authentication required", "the server asks for a password"),
    (r"(?i)without any password configured", "the server has no password; give none"),
    (r"(?i)AUTH.*password", "wrong user or password"),
    (
        r"(?i)DB index is out of range|invalid DB index",
        "it has no database of that number",
    ),
    (
        r"(?i)Protocol Error|\\x15\\x03",
        "the port does not speak Redis without TLS; is it the TLS port (rediss://)?",
    ),
    (
        r"(?i)connection closed by server|closed the connection|Connection reset",
        _CLOSED,
    ),
    (
        r"(?i)no connection available|too many connections|max number of clients",
        "all connections are in use",
    ),
    (
        r"(?i)name or service not known|nodename nor servname|name resolution",
        "its host name cannot be resolved",
    ),
    (r"(?i)refused", "the connection was refused; nothing listens there"),
    (r"(?i)time(d)? ?out", _SILENT),
    (r"(?i)no master found", "Sentinel names no primary"),
)

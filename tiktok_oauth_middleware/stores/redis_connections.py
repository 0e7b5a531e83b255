"""The clients of Redis that a store uses, each with its registered swap script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware.errors import ConfigurationError

from .redis_errors import FAILOVER_REPLIES, reply_of
from .redis_rows import SWAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .shared_reads import SharedReads

_MAX_CONNECTIONS = 50
#: Seconds for which any error may be the result of connections that were dropped.
_DROP_SECONDS = 2.0


class RedisConnections:
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
        return reply_of(error) in FAILOVER_REPLIES or is_ours

    @property
    def pool(self) -> Any:
        """The client's pool, about to be emptied; None for a cluster's client."""
        self._dropped = time.monotonic()
        return getattr(self.client, "connection_pool", None)


def mget(keys: Sequence[str], connections: RedisConnections) -> Any:
    """Call MGET; a cluster's client sends each node the keys that it has."""
    client = connections.client
    return (client.mget_nonatomic if connections.is_cluster else client.mget)(keys)


def create_rows(
    rows: list[tuple[str, bytes, int]], connections: RedisConnections
) -> Any:
    """Create rows, each by a command of its own, and return the answers.

    Except on a cluster, either all are executed or none; none if the connection is lost
    before all were sent.
    """
    pipeline = connections.client.pipeline(transaction=not connections.is_cluster)
    for key, value, milliseconds in rows:
        pipeline.set(key, value, px=milliseconds, nx=True)
    return pipeline.execute()


def given_connections(client: Any) -> RedisConnections:
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


def blocking_connections(url: str, timeout: float) -> RedisConnections:
    """Return a blocking client of the URL; it does not connect yet."""
    import redis

    return _connections_of(redis.Redis.from_pool(_pool(url, timeout)))


def loop_connections(url: str, timeout: float) -> RedisConnections:
    """Return a client for the running event loop; it does not connect yet."""
    import redis.asyncio

    return _connections_of(redis.asyncio.Redis.from_pool(_loop_pool(url, timeout)))


def _connections_of(client: Any) -> RedisConnections:
    return RedisConnections(client, client.register_script(SWAP))


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


def check_url(url: str, timeout: float) -> None:
    """Raise a ConfigurationError if redis-py cannot read the URL."""
    try:
        connection = _pool(url, timeout).make_connection()  # does not connect
    except (ValueError, TypeError):
        message = "store is not a URL that redis-py can read; use redis://host:6379/0"
        # Without the cause, which may quote the password.
        raise ConfigurationError(message) from None
    _refuse_decoding(is_decoding=connection.encoder.decode_responses)


def _refuse_decoding(*, is_decoding: bool) -> None:
    if is_decoding:
        message = "store decodes what Redis answers; leave decode_responses out"
        raise ConfigurationError(message)

"""A store in Redis or Valkey, for workers on several hosts.

A read is one GET and nothing else. A swap is one Lua script, which the server runs
without anything in between. Nothing waits for longer than the time-out, and a
connection that turns out dead costs one more try.

That try makes a swap run twice when the answer to the first got lost, and the second
would find its own value and say False. So a value ends in a mark of the call that
wrote it: a script that finds its own mark knows that it has been here before.

One class has two faces: plain methods, and twins in ``a`` for asyncio. From a URL it
has both, with one client for each process and one for each event loop; from a client
of yours it has the face that the client has.
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
from importlib import import_module
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from tiktok_oauth_middleware._core.secret import Secret, reveal
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .base import AsyncSwapLock, SwapLock, Waits, refuse_empty_swap
from .registry import missing_library

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

#: Bytes at the end of a value that name the call which wrote it.
_MARK = 8

# "1" and what must be there, or "0"; what to put there, with its mark, or nothing;
# for how many milliseconds.
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


class _Face:
    """A client and the script that swaps through it."""

    __slots__ = ("_dropped", "client", "swap")

    def __init__(self, client: Any, swap: Any) -> None:
        self.client = client
        self.swap = swap
        self._dropped: float | None = None

    def may_try_again(self, error: Exception) -> bool:
        """Whether a call that failed may succeed on a new connection.

        It may where the answer said that another server is meant, and where we have
        just dropped connections for that: some pools close under another thread's
        hands what it has taken out.
        """
        dropped = self._dropped
        is_ours = dropped is not None and (
            time.monotonic() - dropped < _DROP_SECONDS
            # However long it waited: redis-py read on in a buffer that was closed.
            or isinstance(error, ValueError)
        )
        return _reply_of(error) in _ELSEWHERE or is_ours

    @property
    def pool(self) -> Any:
        """The client's pool, about to be emptied; None for a cluster's client."""
        self._dropped = time.monotonic()
        return getattr(self.client, "connection_pool", None)


class RedisStore:
    """Rows in Redis; nothing is connected to before the first use.

    A swap that deletes leaves no mark. If its answer gets lost it may say False
    though it was the one that deleted; never True to two callers.

    Args:
        url_or_client: ``redis://``, ``rediss://`` or ``unix://`` as redis-py reads
            them (options in the query win over ours), or a client of redis-py or
            valkey-py, also of a cluster or from Sentinel. A client keeps its own
            time-outs and retries, must not decode responses, and is yours to close.
        timeout: Seconds for a connection, and for an answer.

    Raises:
        ConfigurationError: redis-py is not installed, or it is no such URL or client.
    """

    waits: ClassVar[Waits] = "always"
    renews: ClassVar[bool] = True

    def __init__(self, url_or_client: Any, *, timeout: float = 2.0) -> None:
        self._timeout = timeout
        self._url = Secret("")
        self._given: _Face | None = None
        self._has_loop_client = False
        # Clients from the URL. A child of fork() finds none of its own here; what
        # belongs to its parent stays, unused and not closed.
        self._by_process: dict[int, _Face] = {}
        self._by_loop: dict[Any, _Face] = {}
        if isinstance(url_or_client, str):
            try:
                import_module("redis")
            except ModuleNotFoundError as missing:
                raise missing_library("redis") from missing
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
        found = _insist(self._face(), "read", lambda face: face.client.get(key))
        return None if found is None else found[:-_MARK]

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Put `new` where `old` is; say whether `old` was there."""
        values = _swap_values(old, new, ttl)
        return bool(
            _insist(
                self._face(),
                "write",
                lambda face: face.swap(keys=(key,), args=values),
            )
        )

    def lock(self, key: str, ttl: float) -> AbstractContextManager[bool]:
        """Hold the lock inside, if nobody else does; does not wait."""
        return SwapLock(self, key, ttl)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of rows that begin with `prefix`, of every node."""
        pattern = _only_itself(prefix) + "*"

        def scan(face: _Face) -> list[str]:
            found = face.client.scan_iter(match=pattern, count=1000)
            # SCAN may name a key twice (https://redis.io/docs/latest/commands/scan/).
            return sorted({key.decode() for key in found})

        return _insist(self._face(), "read", scan)

    def facts(self) -> dict[str, Any]:
        """Return what the server says of itself: INFO, and ``save`` if it may be told.

        Raises:
            StoreError: it can not be reached, or may not be asked.
        """
        client = self._face().client
        try:
            said = dict(client.info())
        except Exception as error:
            raise _failure("report its state", error) from error
        with suppress(Exception):  # a host of Redis may have shut CONFIG off
            said.update(client.config_get("save"))
        return said

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones.

        Those of an event loop are closed by `aclose` in that loop.
        """
        face = self._by_process.pop(os.getpid(), None)
        if face is not None:
            face.client.close()

    async def aget(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        found = await self._ainsist("read", lambda face: face.client.get(key))
        return None if found is None else found[:-_MARK]

    async def acompare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Put `new` where `old` is; say whether `old` was there."""
        values = _swap_values(old, new, ttl)
        return bool(
            await self._ainsist(
                "write", lambda face: face.swap(keys=(key,), args=values)
            )
        )

    def alock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside, if nobody else does; does not wait."""
        return AsyncSwapLock(self, key, ttl)

    async def akeys(self, prefix: str) -> list[str]:
        """Return the keys of rows that begin with `prefix`, of every node."""
        pattern = _only_itself(prefix) + "*"

        async def scan(face: _Face) -> list[str]:
            found = face.client.scan_iter(match=pattern, count=1000)
            return sorted({key.decode() async for key in found})

        return await self._ainsist("read", scan)

    async def aclose(self) -> None:
        """Close the connections of this event loop, and this process's others.

        A later call opens new ones.
        """
        from asyncio import get_running_loop

        try:
            loop = get_running_loop()
        except RuntimeError:  # under Trio, where the blocking connections serve
            loop = None
        face = self._by_loop.pop(loop, None)
        if face is not None:
            await face.client.aclose()
        self.close()

    async def _ainsist(self, what: str, call: Callable[[_Face], Awaitable[T]]) -> T:
        """Return what a call of the event loop's client gives; see `_insist`."""
        face = self._loop_face()
        tries = _TRIES
        while True:
            tries -= 1
            try:
                await self._begin(face.client)
                return await call(face)
            except Exception as error:
                if not tries or not face.may_try_again(error):
                    raise _failure(what, error) from error
            with suppress(Exception):  # a cluster's client has no pool, and finds out
                await face.pool.disconnect(inuse_connections=False)

    @property
    def has_blocking_methods(self) -> bool:
        """Whether the plain methods work beside those for asyncio: made from a URL."""
        return self._given is None

    async def _begin(self, client: Any) -> None:
        # redis-py's cluster fails commands of tasks that are the first to use it at
        # the same time. In here they wait for one another, and later for nothing.
        if self._given is not None:
            await client.initialize()

    def _face(self) -> _Face:
        if self._given is not None:
            return self._only(has_loop_client=False)
        process = os.getpid()
        face = self._by_process.get(process)
        if face is None:
            # Two threads may both make one; both use the one that came first, and
            # the other never connected.
            made = _blocking_face(self._url.reveal(), self._timeout)
            face = self._by_process.setdefault(process, made)
        return face

    def _loop_face(self) -> _Face:
        if self._given is not None:
            return self._only(has_loop_client=True)
        from asyncio import get_running_loop

        loop = get_running_loop()
        face = self._by_loop.get(loop)
        if face is None:
            self._forget_closed_loops()
            face = self._by_loop[loop] = _loop_face(self._url.reveal(), self._timeout)
        return face

    def _only(self, *, has_loop_client: bool) -> _Face:
        """Return the given client if it is of the kind that is called for."""
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
        # A client refers to its loop, so a weak dictionary would never let go.
        # A copy, for threads with event loops of their own come here too.
        for loop in [loop for loop in tuple(self._by_loop) if loop.is_closed()]:
            self._by_loop.pop(loop, None)


def _insist(face: _Face, what: str, call: Callable[[_Face], T]) -> T:
    """Return what a call gives, once more on a new connection where that may help.

    A failover may leave the old primary alive as a replica, and our connections on it:
    its address, a service or a virtual one, leads to the new primary by then. The error
    goes back to the pool with its connection, so what lies idle there is dropped.
    """
    tries = _TRIES
    while True:
        tries -= 1
        try:
            return call(face)
        except Exception as error:
            if not tries or not face.may_try_again(error):
                raise _failure(what, error) from error
        _drop_idle(face.pool)


def _drop_idle(pool: Any) -> None:
    with suppress(Exception):  # a cluster's client has no pool, and finds out by itself
        try:
            pool.disconnect(inuse_connections=False)
        except TypeError:  # some pools of redis-py 6 drop all, and are not asked which
            pool.disconnect()


def _reply_of(error: BaseException) -> str:
    """Return the code that an error reply of the server begins with, or "".

    Before Redis 7 the reply to a script names the script first and then what a command
    in it was told: ``ERR Error running script (...): -READONLY You can't ...``.
    """
    found = _REPLY.search(str(error))
    if found is not None:
        return found[1]
    # redis-py takes the code of some replies away.
    for kind in type(error).__mro__:
        if kind.__name__ in _CLASSES:
            return _CLASSES[kind.__name__]
    return ""


def _only_itself(text: str) -> str:
    """Return a pattern of SCAN that matches this text alone."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)


def _given(client: Any) -> _Face:
    """Return the face of a client that the app made."""
    words = ("execute_command", "get_encoder", "register_script", "get")
    if not all(callable(getattr(client, word, None)) for word in words):
        kind = type(client)
        message = (
            "store is a RedisStore made from neither a URL nor a client of redis-py"
            f" or valkey-py, but from {kind.__module__}.{kind.__qualname__}; give it"
            " redis://host:6379/0, redis.Redis(...) or redis.asyncio.Redis(...)"
        )
        raise ConfigurationError(message)
    _refuse_decoding(is_decoding=client.get_encoder().decode_responses)
    return _face_of(client)


def _blocking_face(url: str, timeout: float) -> _Face:
    import redis

    return _face_of(redis.Redis.from_pool(_pool(url, timeout)))


def _loop_face(url: str, timeout: float) -> _Face:
    import redis.asyncio

    return _face_of(redis.asyncio.Redis.from_pool(_loop_pool(url, timeout)))


def _face_of(client: Any) -> _Face:
    return _Face(client, client.register_script(_SWAP))


def _pool(url: str, timeout: float) -> Any:
    """Return a pool of blocking connections; none is made yet."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    retry = Retry(NoBackoff(), 1, (redis.ConnectionError,))
    options = _options(timeout)
    return redis.BlockingConnectionPool.from_url(url, **options, retry=retry)


def _loop_pool(url: str, timeout: float) -> Any:
    """Return a pool of connections for the running event loop; none is made yet."""
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
        # With RESP3 redis-py expects pushed messages on an idle connection, and no
        # longer sees there that the server hung up.
        "protocol": 2,
    }


def _check_url(url: str, timeout: float) -> None:
    try:
        connection = _pool(url, timeout).make_connection()  # which connects nothing
    except (ValueError, TypeError):
        message = "store is no URL that redis-py can read; use redis://host:6379/0"
        # Not from the error, which may quote the password.
        raise ConfigurationError(message) from None
    _refuse_decoding(is_decoding=connection.encoder.decode_responses)


def _refuse_decoding(*, is_decoding: bool) -> None:
    if is_decoding:
        message = "store decodes what Redis answers; leave decode_responses out"
        raise ConfigurationError(message)


def _swap_values(old: bytes | None, new: bytes | None, ttl: float) -> tuple[Any, ...]:
    refuse_empty_swap(old, new)
    # Redis refuses a life of no time; what would be gone at once is not written.
    is_kept = new is not None and ttl > 0
    marked = (new or b"") + os.urandom(_MARK) if is_kept else b""
    milliseconds = max(1, math.ceil(ttl * 1000)) if is_kept else 0
    return (b"0" if old is None else b"1", old or b"", marked, milliseconds)


def _place(netloc: str) -> str:
    """Return host and port, without who logs in there."""
    return netloc.rpartition("@")[2]


def _failure(what: str, error: Exception) -> StoreError:
    """Return the error for a call that failed with any exception.

    redis-py and valkey-py have their own exception trees, a cluster's client raises
    others, and so do sockets; all mean the same here. Their texts may name hosts, so
    the message does not repeat them.
    """
    return StoreError(f"Redis could not {what}: {_cause(error)}")


def _cause(error: Exception) -> str:
    """Return in words why a call failed, with nothing of the address in it."""
    reply = _reply_of(error)
    if reply in _WORDS:
        return f"{reply}, {_WORDS[reply]}"
    for each in _chain(error):
        said = _of_socket(each)
        if said:
            return said
    text = str(error) or type(error).__name__
    for pattern, said in _TEXTS:
        if re.search(pattern, text):
            return said
    return type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _of_socket(error: BaseException) -> str:
    """Return what an error of a socket or of TLS means, or ""."""
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
        return "the name of its host can not be resolved"
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return _ERRNOS[error.errno]
    return ""


#: How often a call is tried where an answer says that another server is meant: threads
#: may put back more connections of the old one meanwhile.
_TRIES = 4
#: For so long after connections were dropped any error may come of that, in seconds.
_DROP_SECONDS = 2.0
#: Error replies whose server is, or soon will be, another one.
_ELSEWHERE = frozenset(
    ("READONLY", "MASTERDOWN", "NOREPLICAS", "LOADING", "UNBLOCKED", "CLUSTERDOWN")
)
#: What error replies mean (https://redis.io/docs/latest/develop/reference/protocol-spec/).
_WORDS = {
    "READONLY": "the server is a replica and takes no writes",
    "MASTERDOWN": "the server is a replica that has lost its primary",
    "NOREPLICAS": "the server takes no writes without its replicas",
    "LOADING": "the server is still loading its data",
    "CLUSTERDOWN": "the cluster is down",
    "UNBLOCKED": "the server has become a replica",
    "MOVED": "the server is a cluster's node; give RedisStore a RedisCluster client",
    "ASK": "the server is a cluster's node; give RedisStore a RedisCluster client",
    "CROSSSLOT": "the keys of one script are on two nodes",
    "TRYAGAIN": "the cluster is moving the row; it can be had in a moment",
    "OOM": "the server's memory is full, and it evicts nothing",
    "MISCONF": "the server can not write to its disk, and takes no writes until it can",
    "NOAUTH": "the server asks for a password",
    "WRONGPASS": "wrong user or password",
    "NOPERM": "this user may not run the commands that a store needs (GET, SET, DEL,"
    " EVALSHA, SCRIPT) on its keys",
    "WRONGTYPE": "something else keeps another kind of value under our key",
    "BUSY": "the server is busy with a script",
}
_REPLY = re.compile(rf"(?:^|[\s(:-]-?)({'|'.join(_WORDS)})(?=[\s,]|$)")
#: Classes of redis-py and valkey-py whose text no longer says which reply it was.
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
#: What a server of plain text answers to TLS, too: it waits for the end of a line.
_SILENT = "no answer in time; if the URL is rediss://, does the port speak TLS?"
_ERRNOS = {
    errno.ECONNREFUSED: "the connection was refused; nothing listens there",
    errno.ECONNRESET: "the server closed the connection; it may speak TLS (rediss://)",
    errno.EPIPE: "the server closed the connection; it may speak TLS (rediss://)",
    errno.EHOSTUNREACH: "its host can not be reached",
    errno.ENETUNREACH: "its network can not be reached",
    errno.ETIMEDOUT: _SILENT,
    errno.ENOENT: "there is no such socket",
    errno.EACCES: "its socket may not be opened by this user",
    errno.EMFILE: "this process has too many files open",
}
#: Texts of the clients where there is neither a code nor an error of a socket.
_TEXTS = (
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
        "the server closed the connection; it may speak TLS (rediss://)",
    ),
    (
        r"(?i)no connection available|too many connections|max number of clients",
        "all connections are in use",
    ),
    (
        r"(?i)name or service not known|nodename nor servname|name resolution",
        "the name of its host can not be resolved",
    ),
    (r"(?i)refused", "the connection was refused; nothing listens there"),
    (r"(?i)time(d)? ?out", _SILENT),
    (r"(?i)no master found", "Sentinel names no primary"),
)

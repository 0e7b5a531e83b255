"""What failed in Redis: the meaning of error replies, sockets and client messages.

redis-py, valkey-py, a cluster's client and sockets each raise exceptions of their own;
all become a `StoreError`.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import TYPE_CHECKING

from tiktok_oauth_middleware.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Error replies which mean that another server is, or will soon be, the primary.
FAILOVER_REPLIES = frozenset(
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


def failure(what: str, error: Exception) -> StoreError:
    """Return the error for a call that failed with any exception.

    The texts of these exceptions may name hosts, so the message does not repeat them.
    """
    return StoreError(f"Redis could not {what}: {_cause(error)}")


def _cause(error: Exception) -> str:
    """Return why a call failed, without the server's address."""
    reply = reply_of(error)
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


def reply_of(error: BaseException) -> str:
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


def is_reply(error: BaseException | None) -> bool:
    """Whether an error is the server's answer, of redis-py's or valkey-py's class."""
    return any(kind.__name__ == "ResponseError" for kind in type(error).__mro__)


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

"""Codes of network failures, found in the errors of the HTTP library."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

from .http_library import httpx

#: The codes of `TikTokUnavailable.failure`, with their words in the message.
FAILURES: Mapping[str, str] = {
    "name_not_found": "the name was not found",
    "certificate": "the certificate was not accepted",
    "tls": "TLS failed",
    "proxy": "the proxy failed",
    "refused": "the connection was refused",
    "timeout": "no connection or answer in time",
    "network": "the network failed",
}
#: The most errors that are examined, since errors may refer to each other in a circle.
_MOST_ERRORS = 20


def failure_of(error: BaseException) -> str:
    """Return the code of a network error, which is in `FAILURES`.

    The HTTP library wraps the cause several times, and anyio wraps it in a group.
    """
    waiting = [error]
    for _ in range(_MOST_ERRORS):
        if not waiting:
            break
        current = waiting.pop(0)
        code = _own_code(current)
        if code is not None:
            return code
        inner = [current.__cause__, current.__context__]
        inner += getattr(current, "exceptions", ())
        waiting += [e for e in inner if isinstance(e, BaseException)]
    return "network"


def _own_code(error: BaseException) -> str | None:
    """Return the code of an error itself; None if only its causes have one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, httpx.ProxyError):
        return "proxy"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, socket.gaierror):
        return "name_not_found"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return "timeout"
    return None

"""The TLS settings that the HTTP clients of one middleware share."""

from __future__ import annotations

from typing import Any


class TLSContext:
    """Makes the TLS settings at the first call, and keeps them.

    Reading the system's certificates costs 20 ms and more. An HTTP client belongs to an
    event loop and ends with a lifespan, which on serverless platforms is one request;
    TLS settings are bound to neither.
    """

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context: Any = None

    def get(self) -> Any:
        """Return an `ssl.SSLContext` of the HTTP library, with HTTP/1.1 only."""
        if self._context is None:
            from .http_library import httpx

            context = httpx.create_ssl_context()
            context.set_alpn_protocols(["http/1.1"])
            self._context = context
        return self._context

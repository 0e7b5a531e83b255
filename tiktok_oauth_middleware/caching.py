"""Helpers for caches inside the app, whose entries may depend on the session.

The middleware marks a response that depended on the session with ``Vary: Cookie`` and
``Cache-Control: private``, for browsers, proxies and CDNs. A cache inside the app has
stored the response before that. An app with such a cache uses one of these:
`PrivateResponses` for a cache that reads response headers, `depends_on_session` for one
that asks a function whether to store, `session_key` for one that asks a function for
the key. docs/integrations/caches.md has recipes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any

from ._core.app_parts import comes_from
from ._web.request_auth import auth_in
from ._web.response_headers import private_byte_headers, waits_for_body

__all__ = ["PrivateResponses", "depends_on_session", "session_key"]

_Message = MutableMapping[str, Any]


def depends_on_session(connection: Any) -> bool:
    """Return whether the app has read the session in this request.

    This does not count as reading. False where there is no middleware around the app.

    Args:
        connection: a request object with a ``scope`` or ``environ``, either of these
            themselves, or the request's `TikTokAuth`.
    """
    auth = auth_in(connection)
    return auth is not None and auth._accessed  # noqa: SLF001 - properties mark it


def session_key(connection: Any) -> str:
    """Return a text that no two users share, for use in a cache's keys.

    It changes with the scopes that the user granted, and is the same for all anonymous
    requests. It reveals nothing about the user, and counts as reading the session: a
    response from the app's cache is private outside of the app.

    Args:
        connection: as for `depends_on_session`.

    Raises:
        ConfigurationError: there is no middleware around the app.
    """
    auth = auth_in(connection, required=True)
    if not auth.is_authenticated:
        return "anonymous"
    text = "\n".join((auth.open_id or "", *sorted(auth.scopes)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class PrivateResponses:
    """An ASGI middleware that marks responses as private before the app's cache.

    Put it directly inside the cache. It changes only responses that depended on the
    session::

        app.add_middleware(PrivateResponses)  # called first: the innermost
        app.add_middleware(CacheMiddleware, cache=cache)
        app.add_middleware(TikTokOAuthMiddleware, settings=settings)
    """

    def __init__(
        self,
        app: Callable[[Any, Any, Any], Awaitable[None]],
    ) -> None:
        """Wrap an ASGI app."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        auth = auth_in(scope) if scope["type"] == "http" else None
        if auth is None:
            await self.app(scope, receive, send)
            return

        waiting: list[_Message] = []

        async def marking(message: _Message) -> None:
            is_head = message["type"] == "http.response.start"
            if is_head and not depends_on_session(auth) and waits_for_body(message):
                waiting.append(message)  # the first chunk may depend on the session
                return
            messages = [*waiting, message]
            waiting.clear()
            for each in messages:
                marked = each
                if each["type"] == "http.response.start" and depends_on_session(auth):
                    headers = private_byte_headers(each.get("headers", ()))
                    marked = {**each, "headers": headers}
                await send(marked)

        await self.app(scope, receive, marking)


# --- Django ------------------------------------------------------------------------


def keep_out_of_djangos_caches(parts: Iterable[object]) -> None:
    """Keep Django's caches from storing responses that depended on the session.

    Django's cache middleware, per site or around one view, reads an attribute of the
    request just before it stores a response. Without Django nothing is changed.

    Args:
        parts: the parts of the app, from `parts_of`.
    """
    for part in parts:
        if comes_from(part, ("django",)) and hasattr(part, "request_class"):
            handler: Any = part
            handler.request_class = watched_request(handler.request_class)


def watched_request(kind: type) -> Any:
    """Return a request class of Django's that refuses storing once the session is read.

    The session is read before the response is stored, so the value is right whether the
    cache is around one view (``cache_page``) or around all views.
    """
    return kind if "_tiktok_watches" in vars(kind) else _watched_request(kind)


@lru_cache(maxsize=16)
def _watched_request(kind: Any) -> Any:
    name = "_cache_update_cache"  # of django.middleware.cache

    def read(self: Any) -> Any:
        if name not in vars(self):
            raise AttributeError(name)
        return vars(self)[name] and not depends_on_session(self)

    def write(self: Any, value: Any) -> None:
        vars(self)[name] = value

    body = {name: property(read, write), "_tiktok_watches": True}
    body["__module__"] = kind.__module__
    body["__qualname__"] = kind.__qualname__
    return type(kind.__name__, (kind,), body)

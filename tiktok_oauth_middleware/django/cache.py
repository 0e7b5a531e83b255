"""Django's caches: no response that depended on the session is stored for others."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import markcoroutinefunction

from tiktok_oauth_middleware.caching import depends_on_session, watched_request

from .exchange import mark_private


class TikTokCacheMiddleware:
    """Marks responses that depended on the session as private, inside Django.

    The middleware around Django does the same, but only after a cache of Django has
    stored the response. With this one anywhere in ``MIDDLEWARE``,
    ``UpdateCacheMiddleware`` and ``cache_page`` store no such response, and other
    middlewares see ``Vary: Cookie`` and ``private`` in its headers.

    For sync and async projects. It does nothing in requests that do not come through
    the middleware around Django, such as those of Django's test client. A project with
    `TikTokMiddleware` in ``MIDDLEWARE`` does not need it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        """Take the next middleware or the view, which Django passes."""
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Return the response; under ASGI an awaitable that gives it."""
        # The middleware around Django may not have found Django inside a wrapper of the
        # project, so Django's request class is watched here too.
        request.__class__ = watched_request(type(request))
        if self._is_async:
            return self._later(request)
        return _private_if_read(request, self.get_response(request))

    async def _later(self, request: Any) -> Any:
        return _private_if_read(request, await self.get_response(request))


def _private_if_read(request: Any, response: Any) -> Any:
    """Return a response, private if the session was read."""
    if depends_on_session(request):
        mark_private(response)
    return response

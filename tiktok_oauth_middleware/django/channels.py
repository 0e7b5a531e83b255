"""Channels: a WebSocket's scope has Django's user and the TikTok user.

Django's MIDDLEWARE serves no WebSockets. In ``asgi.py``::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": TikTokAuthMiddlewareStack(URLRouter(websocket_urlpatterns)),
    })
"""

from __future__ import annotations

from typing import Any

from channels.auth import AuthMiddlewareStack
from django.contrib.auth.models import AnonymousUser

from tiktok_oauth_middleware.asgi import TikTokOAuthMiddleware

from .bound_user import BOUND_TO
from .project import installation

__all__ = ["TikTokAuthMiddlewareStack"]


def TikTokAuthMiddlewareStack(inner: Any) -> Any:  # noqa: N802 - as Channels names its own
    """Return Channels' ``AuthMiddlewareStack`` with ``scope["tiktok"]`` in it.

    ``scope["user"]`` is anonymous if a TikTok login began the Django session and has
    ended since. A WebSocket from a page of another origin is anonymous, also if the
    Django session began with a password.

    Args:
        inner: the app for WebSockets.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    installed = installation()
    settings = installed.settings
    allowed = {settings.origin, *settings.websocket_origins}
    return TikTokOAuthMiddleware(
        AuthMiddlewareStack(_Bound(inner, allowed)),
        settings,
        store=installed.store,
        on_event=installed.events,
        transport=installed.options.transport,
        clock=installed.options.clock,
        current_user=None if settings.connect_path is None else _nobody,
    )


def _nobody(_scope: Any) -> None:
    """Return None: no WebSocket connects an account."""


class _Bound:
    """Makes the user anonymous if the TikTok login behind the session has ended.

    The user is anonymous, too, if a page of another origin opened the socket: browsers
    send Django's cookies with that request as well.
    """

    def __init__(self, app: Any, allowed: set[str]) -> None:
        self.app = app
        self._allowed = {origin.encode() for origin in allowed}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        # The stack has loaded the session already, to find the user.
        open_id = scope["session"].get(BOUND_TO)
        is_over = open_id is not None and scope["tiktok"].open_id != open_id
        if is_over or self._is_foreign(scope):
            scope = {**scope, "user": AnonymousUser()}
        return await self.app(scope, receive, send)

    def _is_foreign(self, scope: Any) -> bool:
        """Whether a page of another origin opened the socket."""
        return any(
            name == b"origin" and value not in self._allowed
            for name, value in scope["headers"]
        )

"""TikTokBackend: Django's authentication by a TikTok login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.backends import ModelBackend

if TYPE_CHECKING:
    from tiktok_oauth_middleware.auth import Login


class TikTokBackend(ModelBackend):
    """Finds or creates the Django user of a TikTok account.

    Permissions are those of ``ModelBackend``; it accepts no password.
    """

    def authenticate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: Any, tiktok_login: Login | None = None
    ) -> Any:
        """Return the user; None if the login is refused or the user is not active.

        Args:
            request: the callback's request.
            tiktok_login: the login that TikTok confirmed; the middleware passes it.
        """
        from tiktok_oauth_middleware.auth import Login

        from .accounts import find_or_make

        if not isinstance(tiktok_login, Login):
            return None
        user = find_or_make(request, tiktok_login)
        return user if user is not None and self.user_can_authenticate(user) else None

    async def aauthenticate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: Any, tiktok_login: Login | None = None
    ) -> Any:
        """Return the result of `authenticate`, in an event loop."""
        from asgiref.sync import sync_to_async

        return await sync_to_async(self.authenticate)(request, tiktok_login)

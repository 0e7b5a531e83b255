"""Django Ninja: ``auth=TikTokSession()`` requires a user who is signed in with TikTok.

::

    api = NinjaAPI(auth=TikTokSession())

    @api.get("/videos", auth=TikTokSession("video.list"))
    def videos(request):
        return call_tiktok(request.auth.token)

A cookie authenticates the request, so one that changes something needs Django's CSRF
token.
"""

from __future__ import annotations

from typing import Any

from ninja.errors import HttpError
from ninja.security.apikey import APIKeyCookie

from tiktok_oauth_middleware._web.guard import guard
from tiktok_oauth_middleware._web.misuse import check_max_age, check_scopes
from tiktok_oauth_middleware._web.request_auth import auth_in
from tiktok_oauth_middleware.auth import TikTokAuth

__all__ = ["TikTokSession"]


class TikTokSession(APIKeyCookie):
    """An auth callable of Ninja's; ``request.auth`` is the `TikTokAuth`.

    Other requests get 401 or 403, with JSON that names what is missing and the login
    URL.
    """

    def __init__(self, *scopes: str, max_age: float | None = None) -> None:
        """Take the required scopes, and the largest age of the login.

        Args:
            scopes: the scopes that the user must have granted.
            max_age: the most seconds since the login. Fewer than 10 count as 10.

        Raises:
            TypeError: a scope is not a string, or `max_age` is not a number.
            ValueError: a scope is not the name of one, or `max_age` is negative or not
                finite.
        """
        check_scopes(scopes)
        check_max_age(max_age)
        self._scopes = scopes
        self._max_age = max_age
        # In the schema only: the middleware reads the cookie.
        self.param_name = "__Host-tiktok"
        super().__init__(csrf=True)

    def __call__(self, request: Any) -> TikTokAuth | None:
        """Return the `TikTokAuth`, or None for an anonymous request.

        Raises:
            ConfigurationError: there is no TikTok middleware.
            HttpError: scopes or Django's CSRF token are missing, or the login is too
                old.
        """
        challenge = guard(request, self._scopes, self._max_age)
        if challenge is None:
            self._get_key(request)  # which checks the token
            return auth_in(request, required=True)
        if challenge.is_signed_in:
            raise HttpError(challenge.status, challenge.code)
        return None

    def authenticate(self, request: Any, _key: str | None) -> TikTokAuth | None:
        """Return the result of `__call__`; Ninja requires this method."""
        return self(request)

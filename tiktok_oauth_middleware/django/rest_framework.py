"""Django REST framework: authentication and permissions by the TikTok session.

::

    class Videos(APIView):
        authentication_classes = [TikTokAuthentication]
        permission_classes = [TikTokPermission.requiring("video.list")]

A cookie authenticates the request, so one that changes something needs Django's CSRF
token, as with REST framework's own SessionAuthentication.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission

from tiktok_oauth_middleware._web.guard import Challenge, guard
from tiktok_oauth_middleware._web.misuse import check_max_age, check_scopes
from tiktok_oauth_middleware._web.request_auth import auth_in
from tiktok_oauth_middleware.auth import TikTokAuth

from .local_accounts import backend_path

__all__ = ["TikTokAuthentication", "TikTokPermission", "TikTokUser"]


class TikTokUser(AnonymousUser):
    """The user of a TikTok session, in a project without Django users for them."""

    def __init__(self, auth: TikTokAuth) -> None:
        self._auth = auth

    @property
    def is_authenticated(self) -> bool:
        """Always True: it is made for authenticated requests only."""
        return True

    @property
    def is_anonymous(self) -> bool:
        """Always False."""
        return False

    def get_username(self) -> str:
        """Return the open_id."""
        return self._auth.open_id or ""

    def __str__(self) -> str:
        return self.get_username()


class TikTokAuthentication(SessionAuthentication):
    """Gives ``request.user`` and, as ``request.auth``, the `TikTokAuth`.

    The user is Django's. Without `TikTokBackend` it is a `TikTokUser` if nobody is
    signed in to Django.
    """

    def authenticate(self, request: Any) -> tuple[Any, TikTokAuth] | None:
        """Return the user and the `TikTokAuth`; None for an anonymous request.

        With `TikTokBackend` a request without a Django user is anonymous: its user may
        have been deactivated.

        Raises:
            ConfigurationError: there is no TikTok middleware.
            PermissionDenied: a request that changes something has no CSRF token.
        """
        plain = request._request
        auth = auth_in(plain, required=True)
        if not auth.is_authenticated:
            return None
        user = _django_user(plain)
        if user is None:
            if _lacks_user(plain):
                return None
            user = TikTokUser(auth)
        elif not getattr(user, "is_active", True):
            return None
        self.enforce_csrf(request)
        return user, auth


def _django_user(request: Any) -> Any:
    """Return the user who is signed in to Django, or None.

    If none of a view's authentication classes found a user, REST framework has made
    ``request.user`` anonymous, whoever is signed in to Django.
    """
    for name in ("user", "_tiktok_user"):
        user = getattr(request, name, None)
        if user is not None and user.is_authenticated:
            return user
    return None


def _lacks_user(request: Any) -> bool:
    """Whether `TikTokBackend` is used, and nobody is signed in to Django."""
    return backend_path() is not None and _django_user(request) is None


class _Refused(APIException):
    """A refusal without content, which the middleware replaces."""

    def __init__(self, challenge: Challenge) -> None:
        super().__init__(challenge.code, challenge.code)
        self.status_code = challenge.status


class TikTokPermission(BasePermission):
    """Permits requests of users who are signed in and granted the scopes.

    Other requests get 401 or 403, with JSON that names what is missing and the login
    URL.
    """

    required_scopes: ClassVar[tuple[str, ...]] = ()
    #: The most seconds since the login; None sets no limit.
    login_max_age: ClassVar[float | None] = None

    @classmethod
    def requiring(
        cls, *scopes: str, max_age: float | None = None
    ) -> type[TikTokPermission]:
        """Return a permission that also requires scopes, or a recent login.

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
        members = {"required_scopes": scopes, "login_max_age": max_age}
        return type(cls.__name__, (cls,), members)

    def has_permission(self, request: Any, _view: Any) -> bool:
        """Return True, or raise the refusal.

        Raises:
            ConfigurationError: there is no TikTok middleware.
        """
        plain = request._request
        challenge = guard(plain, self.required_scopes, self.login_max_age)
        if challenge is None and not _lacks_user(plain):
            return True
        if challenge is None:  # the login gives the session its user again
            challenge = Challenge()
            auth_in(plain, required=True)._refuse(challenge)
        raise _Refused(challenge)

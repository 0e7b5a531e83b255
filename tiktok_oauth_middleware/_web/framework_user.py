"""The user that frameworks read from an ASGI scope: Starlette's, and Django's.

Neither framework is imported: the classes have the shape that they expect.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tiktok_oauth_middleware._core.app_parts import comes_from
from tiktok_oauth_middleware.auth import TikTokAuth


class StarletteUser:
    """The authenticated user as Starlette's ``request.user`` and ``request.auth``.

    It has the attributes of the classes in `starlette.authentication`.
    """

    __slots__ = ("_auth", "_user")

    # Set by the middleware, without the call of an __init__ (0.1 us for each request).
    _auth: TikTokAuth
    _user: Any

    @property
    def is_authenticated(self) -> bool:
        """Whether a user is signed in."""
        return self._auth.is_authenticated

    @property
    def display_name(self) -> str:
        """The name that the user shows on TikTok, or ""."""
        user = self._auth.user
        return (user.display_name if user else "") or ""

    @property
    def identity(self) -> str:
        """TikTok's stable id of the user in this app, or ""."""
        return self._auth.open_id or ""

    @property
    def scopes(self) -> list[str]:
        """``authenticated`` and the granted scopes, for Starlette's ``@requires``."""
        return _scopes_of(self._auth)

    @property
    def _wrapped(self) -> Any:
        return self

    @_wrapped.setter
    def _wrapped(self, user: Any) -> None:
        """Become Django's user, which Channels puts into the object in the scope.

        Channels' AuthMiddleware makes an object only if there is none, and one app may
        contain Starlette and Channels.
        """
        self._user = user
        # The two classes have the same slots, so that one can become the other.
        object.__setattr__(self, "__class__", _DjangoUser)


class _DjangoUser:
    """Django's user in place of a `StarletteUser`, like Django's lazy object."""

    __slots__ = ("_auth", "_user")

    _auth: TikTokAuth
    _user: Any

    # isinstance() reads __class__, which Django's lazy objects also define.
    __class__ = property(lambda self: type(self._user))  # pyright: ignore[reportIncompatibleMethodOverride]

    def __getattr__(self, name: str) -> Any:
        if name == "_wrapped":
            return self._user
        try:
            return getattr(self._user, name)
        except AttributeError:
            if name != "scopes":
                raise
            # Starlette's ``request.auth``, which is the same object.
            return _scopes_of(self._auth)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_wrapped":
            object.__setattr__(self, "_user", value)
        else:
            setattr(self._user, name, value)

    def __eq__(self, other: object) -> bool:
        return bool(self._user == other)

    def __hash__(self) -> int:
        return hash(self._user)

    def __bool__(self) -> bool:
        return bool(self._user)

    def __str__(self) -> str:
        return str(self._user)

    def __repr__(self) -> str:
        return repr(self._user)

    def __dir__(self) -> list[str]:
        return dir(self._user)


def _scopes_of(auth: TikTokAuth) -> list[str]:
    return ["authenticated", *sorted(auth.scopes)] if auth.is_authenticated else []


def may_read_starlette_user(parts: Collection[object]) -> bool:
    """Whether one of the parts of an app may read Starlette's ``request.user``.

    In Django and Channels ``scope["user"]`` is Django's user, unless the app also
    routes to an app of Starlette or FastAPI.
    """
    if any(comes_from(part, ("starlette", "fastapi")) for part in parts):
        return True
    return not any(comes_from(part, ("channels", "django")) for part in parts)

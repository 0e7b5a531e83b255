"""Django: log in with TikTok in a project's MIDDLEWARE, accounts, admin and database.

::

    INSTALLED_APPS = [..., "tiktok_oauth_middleware.django"]
    MIDDLEWARE = [..., "tiktok_oauth_middleware.django.TikTokMiddleware"]
    AUTHENTICATION_BACKENDS = [..., "tiktok_oauth_middleware.django.TikTokBackend"]
    TIKTOK_OAUTH = {"client_key": ..., ...}

The names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backends import TikTokBackend
    from .cache import TikTokCacheMiddleware
    from .guards import TikTokRequiredMixin, requires_tiktok
    from .middleware import TikTokMiddleware
    from .project import installation

__all__ = [
    "TikTokBackend",
    "TikTokCacheMiddleware",
    "TikTokMiddleware",
    "TikTokRequiredMixin",
    "installation",
    "requires_tiktok",
]

_HOMES = {
    "TikTokBackend": "backends",
    "TikTokCacheMiddleware": "cache",
    "TikTokMiddleware": "middleware",
    "TikTokRequiredMixin": "guards",
    "installation": "project",
    "requires_tiktok": "guards",
}


if not TYPE_CHECKING:  # a type checker would accept every name

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return __all__

"""Django: what a project with a cache of its own adds to its settings.

::

    MIDDLEWARE = [
        "tiktok_oauth_middleware.django.TikTokCacheMiddleware",
        ...
    ]

The names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cache import TikTokCacheMiddleware

__all__ = ["TikTokCacheMiddleware"]

_HOMES = {"TikTokCacheMiddleware": "cache"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__

"""Log in with TikTok, for any ASGI or WSGI app.

The public names are loaded when first used: importing the package imports no framework,
no HTTP client and no cryptography.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._oauth.user import User
    from ._session.stored_users import ConnectedAccount, SessionInfo, StoredUser
    from ._session.sweep import RefreshSummary
    from ._web.pages import Action, Problem
    from .asgi import TikTokOAuthMiddleware
    from .auth import Login, TikTokAuth, Token
    from .bearer import TikTokBearer, raise_for_tiktok
    from .errors import (
        ConfigurationError,
        GrantRevoked,
        LoginDenied,
        LoginError,
        LoginExpired,
        LoginRefused,
        LoginReplayed,
        LoginUndecided,
        NotSignedIn,
        StateMismatch,
        StoreError,
        TikTokError,
        TikTokOAuthError,
        TikTokUnavailable,
        WebhookRejected,
    )
    from .events import Event
    from .settings.endpoints import TikTokEndpoints
    from .settings.options import TikTokSettings
    from .stores.base import AsyncStore, Store
    from .stores.memory import MemoryStore
    from .stores.redis import RedisStore
    from .stores.sql import SQLStore
    from .stores.sqlite import SQLiteStore
    from .tokens import TikTokTokens
    from .wsgi import TikTokOAuthWSGIMiddleware

__version__ = "0.2.0"

_HOMES = {
    "Action": "_web.pages",
    "AsyncStore": "stores.base",
    "ConfigurationError": "errors",
    "ConnectedAccount": "_session.stored_users",
    "Event": "events",
    "GrantRevoked": "errors",
    "Login": "auth",
    "LoginDenied": "errors",
    "LoginError": "errors",
    "LoginExpired": "errors",
    "LoginRefused": "errors",
    "LoginReplayed": "errors",
    "LoginUndecided": "errors",
    "MemoryStore": "stores.memory",
    "NotSignedIn": "errors",
    "Problem": "_web.pages",
    "RedisStore": "stores.redis",
    "RefreshSummary": "_session.sweep",
    "SQLStore": "stores.sql",
    "SQLiteStore": "stores.sqlite",
    "SessionInfo": "_session.stored_users",
    "StateMismatch": "errors",
    "Store": "stores.base",
    "StoreError": "errors",
    "StoredUser": "_session.stored_users",
    "TikTokAuth": "auth",
    "TikTokBearer": "bearer",
    "TikTokEndpoints": "settings.endpoints",
    "TikTokError": "errors",
    "TikTokOAuthError": "errors",
    "TikTokOAuthMiddleware": "asgi",
    "TikTokOAuthWSGIMiddleware": "wsgi",
    "TikTokSettings": "settings.options",
    "TikTokTokens": "tokens",
    "TikTokUnavailable": "errors",
    "Token": "auth",
    "User": "_oauth.user",
    "WebhookRejected": "errors",
    "raise_for_tiktok": "bearer",
}

__all__ = [
    "Action",
    "AsyncStore",
    "ConfigurationError",
    "ConnectedAccount",
    "Event",
    "GrantRevoked",
    "Login",
    "LoginDenied",
    "LoginError",
    "LoginExpired",
    "LoginRefused",
    "LoginReplayed",
    "LoginUndecided",
    "MemoryStore",
    "NotSignedIn",
    "Problem",
    "RedisStore",
    "RefreshSummary",
    "SQLStore",
    "SQLiteStore",
    "SessionInfo",
    "StateMismatch",
    "Store",
    "StoreError",
    "StoredUser",
    "TikTokAuth",
    "TikTokBearer",
    "TikTokEndpoints",
    "TikTokError",
    "TikTokOAuthError",
    "TikTokOAuthMiddleware",
    "TikTokOAuthWSGIMiddleware",
    "TikTokSettings",
    "TikTokTokens",
    "TikTokUnavailable",
    "Token",
    "User",
    "WebhookRejected",
    "raise_for_tiktok",
]


if not TYPE_CHECKING:  # a type checker would accept every name

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f".{home}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""Whether the project signs its own users in, and the module that does it.

That module needs the app's models, so it is imported only if the project has our
authentication backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.http import FinishedLogin
    from tiktok_oauth_middleware._session.cached_session import CachedSession
    from tiktok_oauth_middleware._web.connecting_login import SignedInUser
    from tiktok_oauth_middleware.auth import Login

    from .accounts import Refusal


def backend_path() -> str | None:
    """Return the path of our authentication backend, as the project names it."""
    from .backends import TikTokBackend

    for path in settings.AUTHENTICATION_BACKENDS:
        try:
            found = import_string(path)
        except ImportError:
            continue
        if isinstance(found, type) and issubclass(found, TikTokBackend):
            return str(path)
    return None


class LocalAccounts(Protocol):
    """The functions of the module of local accounts, which needs the app's models.

    See `accounts` for what each function does.
    """

    def signed_in_user(self, request: Any) -> SignedInUser | None: ...

    def login_of(self, cached: CachedSession, finished: FinishedLogin) -> Login: ...

    def sign_in(
        self, request: Any, login: Login, *, may_connect: bool
    ) -> Refusal | None: ...

    def sign_out(self, request: Any, *, only_bound: bool) -> None: ...

    def take(self, request: Any, login: Login) -> bool: ...

    def announce(self, request: Any) -> None: ...

    def release(self, request: Any) -> None: ...


def accounts_module() -> LocalAccounts | None:
    """Return the module of local accounts; None where `TikTokBackend` is not used."""
    if backend_path() is None:
        return None
    from . import accounts

    return accounts

"""Connecting TikTok accounts to Django users, by ``connect_path``.

With `TikTokBackend` the table of `TikTokAccount` also decides which user has an
account: a connected account gets a row, so that the user can log in with it. An account
that another user has a row for cannot be connected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from tiktok_oauth_middleware._web.app_users import AppUsers

from .local_accounts import accounts_module

if TYPE_CHECKING:
    from tiktok_oauth_middleware._web.connecting_login import FindUser
    from tiktok_oauth_middleware.auth import Login as ConfirmedLogin


def signed_in_user_id(request: Any) -> str | None:
    """Return the key of the user who is signed in, as a str, or None.

    Raises:
        ImproperlyConfigured: AuthenticationMiddleware is not listed before ours.
    """
    user = getattr(request, "user", None)
    if user is None:
        message = (
            "connect_path needs AuthenticationMiddleware before TikTokMiddleware in"
            " MIDDLEWARE, or current_user in TIKTOK_OAUTH_OPTIONS"
        )
        raise ImproperlyConfigured(message)
    return str(user.pk) if user.is_authenticated else None


def login_users(*, is_async: bool) -> AppUsers | None:
    """Return the users to whom logins connect their accounts.

    Args:
        is_async: whether requests are served in an event loop.

    Returns:
        None without `TikTokBackend`: a login connects nothing then.
    """
    find = _find_user(is_async=is_async)
    return None if find is None else AppUsers(find_user=find)


def _find_user(*, is_async: bool) -> FindUser | None:
    accounts = accounts_module()
    if accounts is None:
        return None
    find: FindUser = accounts.signed_in_user
    return sync_to_async(find, thread_sensitive=True) if is_async else find


def app_users(
    current_user: Callable[[Any], str | None] | None, *, is_async: bool
) -> AppUsers:
    """Return the project's users.

    Args:
        current_user: the project's own function, if it has one.
        is_async: whether requests are served in an event loop.
    """
    accounts = accounts_module()
    chosen = current_user or signed_in_user_id

    def ask(request: Any) -> str | None:
        if accounts is not None and hasattr(request, "session"):
            # A session that a TikTok login began may have ended with it.
            from .bound_user import bind_user

            bind_user(request)
        return chosen(request)

    async def ask_in_thread(request: Any) -> str | None:
        return await sync_to_async(ask, thread_sensitive=True)(request)

    def here(call: Callable[..., Any]) -> Callable[..., Any]:
        return sync_to_async(call, thread_sensitive=True) if is_async else call

    find_user = _find_user(is_async=is_async)
    if accounts is None or current_user is not None:
        # The project's own function may name users of another table than Django's.
        return AppUsers(ask_in_thread if is_async else ask, find_user=find_user)
    take, announce, release = accounts.take, accounts.announce, accounts.release

    def claim(request: Any, _user_id: str, login: ConfirmedLogin) -> Any:
        return here(take)(request, login)

    return AppUsers(
        ask_in_thread if is_async else ask,
        claim,
        here(announce),
        here(release),
        find_user,
    )

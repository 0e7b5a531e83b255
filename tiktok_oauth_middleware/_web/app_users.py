"""What an app says of its own users, to whom TikTok accounts are connected."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tiktok_oauth_middleware.auth import CurrentUser, Login

    from .connecting_login import FindUser


class AppUsers(NamedTuple):
    """The app's own users, to whom TikTok accounts are connected."""

    #: Returns the user who is signed in to the app. The field is None if the app has no
    #: connect path.
    current_user: CurrentUser | None = None
    #: Whether a user of the app may have an account, if the app keeps accounts itself;
    #: asked before the account is connected. Its arguments are that of `current_user`,
    #: the user's id and the account. Under ASGI it may return an awaitable.
    claim: Callable[[Any, str, Login], Any] | None = None
    #: Called when a claimed account is connected, with the first argument of `claim`.
    announce: Callable[[Any], Any] | None = None
    #: Called instead if the account could not be connected; withdraws the claim.
    release: Callable[[Any], Any] | None = None
    #: Finds the user to whom a login connects its account; None if no login does. See
    #: `ConnectingLogins`.
    find_user: FindUser | None = None

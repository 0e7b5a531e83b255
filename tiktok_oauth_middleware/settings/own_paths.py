"""The options that name the middleware's own paths, and what answers at each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .options import TikTokSettings

#: The function that answers one of the middleware's own paths.
RouteName = Literal["login", "callback", "logout", "disconnect", "connect", "webhook"]

#: The route of each option. The callback is not here: its path is in ``redirect_uri``,
#: with the mount point before it.
ROUTES: Mapping[str, RouteName] = {
    "login_path": "login",
    "logout_path": "logout",
    "disconnect_path": "disconnect",
    "connect_path": "connect",
    "webhook_path": "webhook",
}


def own_paths(settings: TikTokSettings) -> Mapping[str, str]:
    """Return the middleware's own paths that are set, by their options."""
    paths = {option: getattr(settings, option) for option in ROUTES}
    return {option: path for option, path in paths.items() if path is not None}

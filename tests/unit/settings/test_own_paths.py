"""The table of the middleware's own paths."""

from __future__ import annotations

from typing import get_args

from tiktok_oauth_middleware.settings.options import TikTokSettings
from tiktok_oauth_middleware.settings.own_paths import ROUTES, RouteName, own_paths
from tiktok_oauth_middleware.settings.rows import rows_of

from ...conftest import make_settings


def test_every_option():
    """Each option that is a path has its route, and each route except the callback."""
    assert [*ROUTES] == [name for name in rows_of(TikTokSettings) if "_path" in name]
    assert {*ROUTES.values(), "callback"} == {*get_args(RouteName)}


def test_own_paths():
    """Paths are listed by their options; an option that is not set is left out."""
    settings = make_settings(disconnect_path="/leave")
    assert own_paths(settings) == {
        "login_path": settings.login_path,
        "logout_path": settings.logout_path,
        "disconnect_path": "/leave",
    }

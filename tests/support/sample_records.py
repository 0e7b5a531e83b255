"""A record, a cached session and a TikTokAuth with known values."""

from __future__ import annotations

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import UserRecord
from tiktok_oauth_middleware._web.mount import MountPoint
from tiktok_oauth_middleware.auth import TikTokAuth

from .tiktok_answers import OPEN_ID

PLAIN = "act.PLAINSECRET!5259.va"
REFRESH = "rft.OTHERSECRET!5294.va"
NOW = 1_767_225_605


def a_record(**changes):
    fields = {
        "open_id": OPEN_ID,
        "access_token": Secret(PLAIN),
        "issued_at": NOW,
        "expires_at": NOW + 86400,
        "refresh_token": Secret(REFRESH),
        "refresh_expires_at": NOW + 31536000,
        "scopes": "user.info.basic,video.list",
    }
    return UserRecord(**(fields | changes))


def a_cached_session(**changes):
    fields = {
        "fetched_at": NOW,
        "fresh_until": NOW + 60,
        "open_id": OPEN_ID,
        "scopes": "user.info.basic,video.list",
        "access_token": PLAIN,
        "expires_at": NOW + 100,
        "profile": '{"display_name": "Example Creator"}',
        "denied": "",
        "record_id": "grant",
        "digest": "digest",
        "revalidate_until": NOW + 60,
        "sealed": b"sealed",
        "logged_in_at": NOW - 30,
    }
    return tuple((fields | changes).values())


def a_mount_point(now=NOW, mount="", **changes):
    routes = {
        "/auth/tiktok/login": "login",
        "/auth/tiktok/logout": "logout",
        "/auth/tiktok/callback": "callback",
    }
    given = {
        "mount": mount,
        "routes": routes,
        "allowed_scopes": frozenset({"user.info.basic", "video.list", "video.upload"}),
        "clock": lambda: now,
    }
    return MountPoint(**(given | changes))


def an_auth(cached, mount_point):
    """Return what the middleware makes for a request."""
    auth = TikTokAuth()
    auth._cached, auth._mount_point = cached, mount_point
    auth._accessed, auth._challenge = False, None
    return auth

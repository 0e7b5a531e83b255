"""User: a TikTok user's profile, as an app reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

#: Longest profile that is cached, and the number of cached ones: 2 MB at most. TikTok's
#: profiles are shorter (1.5 kB with three signed links), but have no documented limit.
_LONGEST_REMEMBERED_PROFILE = 4096
_REMEMBERED_PROFILES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A TikTok user's profile, as far as the granted scopes cover it.

    A field whose scope was not granted is None
    (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info).
    """

    #: The user's id in this app, which never changes; compare it byte for byte.
    open_id: str
    #: The user's id in all apps of one developer; may be missing.
    union_id: str | None = None
    #: Signed links that expire: show them, do not store them.
    avatar_url: str | None = None
    avatar_url_100: str | None = None
    avatar_large_url: str | None = None
    display_name: str | None = None
    #: With ``user.info.profile``.
    bio_description: str | None = None
    profile_deep_link: str | None = None
    profile_web_link: str | None = None
    is_verified: bool | None = None
    username: str | None = None
    #: With ``user.info.stats``.
    follower_count: int | None = None
    following_count: int | None = None
    likes_count: int | None = None
    video_count: int | None = None


def read_profile(open_id: str, profile: str) -> User:
    """Return the user of a packed profile (see `UserRecord.profile`)."""
    if len(profile) > _LONGEST_REMEMBERED_PROFILE:
        return _parse_profile(open_id, profile)
    return _remembered_profile(open_id, profile)


def _parse_profile(open_id: str, profile: str) -> User:
    return User(open_id=open_id, **json.loads(profile or "{}"))


@lru_cache(maxsize=_REMEMBERED_PROFILES)
def _remembered_profile(open_id: str, profile: str) -> User:
    return _parse_profile(open_id, profile)

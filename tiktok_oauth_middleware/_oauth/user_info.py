"""The user's profile: the fields of each scope, and the endpoint's answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping

from tiktok_oauth_middleware.errors import TikTokError

from .answer import read_answer, retry_after_seconds
from .protocol import is_encodable, to_seconds
from .scopes import BASIC_SCOPE, split_scopes

#: The profile fields that each scope permits
#: (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info).
FIELDS: Mapping[str, tuple[str, ...]] = {
    BASIC_SCOPE: (
        "open_id",
        "union_id",
        "avatar_url",
        "avatar_url_100",
        "avatar_large_url",
        "display_name",
    ),
    "user.info.profile": (
        "bio_description",
        "profile_deep_link",
        "profile_web_link",
        "is_verified",
        "username",
    ),
    "user.info.stats": (
        "follower_count",
        "following_count",
        "likes_count",
        "video_count",
    ),
}


_SCOPES = {field: scope for scope, names in FIELDS.items() for field in names}
_COUNTS = frozenset(FIELDS["user.info.stats"])
_LINKS = ("avatar_url", "avatar_url_100", "avatar_large_url")
#: How each link begins in a packed profile.
_LINK_STARTS = tuple(f'"{name}": "' for name in _LINKS)
#: The expiry in a signed link, as TikTok's CDN writes it: seconds, or milliseconds. The
#: pattern begins with the name and checks the character before it afterwards, because
#: `re` finds a constant several times as fast as a character class.
_LINK_END = re.compile(r"x-expires=(?<=[?&]x-expires=)([0-9]{1,14})(?![0-9])")
_LONGEST_FIELD = 4096
_LARGEST_COUNT = 2**63 - 1  # int64 in TikTok's documents


def fields_for(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the profile fields that these granted scopes permit.

    TikTok refuses the whole call if one field needs a scope that was not granted, so
    nothing is requested without ``user.info.basic``.
    """
    granted = set(scopes)
    if BASIC_SCOPE not in granted:
        return ()
    return tuple(
        f for scope, names in FIELDS.items() if scope in granted for f in names
    )


def join_profiles(new: str, old: str, scopes: str) -> str:
    """Return a packed profile: the new one, completed from an older one.

    Args:
        new: TikTok's answer; "" for none.
        old: the stored one; "" for none.
        scopes: granted now; old fields that they do not permit are left out.
    """
    granted = split_scopes(scopes)
    fields = json.loads(old or "{}")
    kept = {f: value for f, value in fields.items() if _SCOPES.get(f) in granted}
    return pack_profile({**kept, **json.loads(new or "{}")})


def links_end(profile: str) -> float:
    """Return when the first avatar link of a packed profile expires, or infinity.

    Seconds since 1970.

    >>> links_end('{"avatar_url": "https://cdn.example/a?x-expires=1767312000&s=b"}')
    1767312000.0
    """
    end = math.inf
    for start in _LINK_STARTS:
        at = profile.find(start)
        if at < 0:
            continue
        # Not by `json.loads`, which would parse the whole profile. `pack_profile`
        # writes a backslash before each quote of a text, so a field begins here. It
        # ends at the next quote, since URLs contain none (RFC 3986 section 2).
        stop = profile.find('"', at + len(start))
        link = _LINK_END.search(profile, at, stop)
        time = int(link[1]) if link else 0
        if time:
            end = min(end, to_seconds(float(time)))
    return end


def read_user(
    status: int,
    body: bytes,
    *,
    open_id: str,
    secrets: Iterable[str] = (),
    retry_after: str = "",
    now: float | None = None,
) -> str:
    """Read an answer of the user-info endpoint; return the packed profile.

    A field of a wrong type is left out.

    Args:
        status: of the response.
        body: of the response, whole.
        open_id: the user whose token was sent.
        secrets: texts to mask if TikTok's error repeats one.
        retry_after: the header of that name, or "".
        now: seconds since 1970, for a date in `retry_after`; None leaves dates unread.

    Raises:
        TikTokUnavailable, TikTokError: as `read_token` does; the latter also if the
            profile is another user's.
    """
    answer = read_answer(status, body, secrets, retry_after_seconds(retry_after, now))
    data = answer.get("data")
    user = data.get("user") if isinstance(data, dict) else None
    if not isinstance(user, dict):
        raise TikTokError("", "no user in a profile answer", "", status)
    if user.get("open_id") != open_id:
        raise TikTokError("", "a profile of another user", "", status)
    fields = {f: user.get(f) for f in _SCOPES}
    fields |= {f: _count(fields[f]) for f in _COUNTS}
    return pack_profile({f: v for f, v in fields.items() if _is_valid(f, v)})


def _count(value: object) -> object:
    """Return a count as a number, if it was written as text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        return int(value)
    return value


def _is_valid(name: str, value: object) -> bool:
    if name == "is_verified":
        return isinstance(value, bool)
    if name in _COUNTS:
        return type(value) is int and 0 <= value <= _LARGEST_COUNT
    return (
        isinstance(value, str) and len(value) <= _LONGEST_FIELD and is_encodable(value)
    )


def pack_profile(fields: Mapping[str, object]) -> str:
    """Return profile fields, without the open_id, as one line of JSON."""
    kept = {k: v for k, v in fields.items() if k != "open_id" and v is not None}
    return json.dumps(kept, sort_keys=True) if kept else ""

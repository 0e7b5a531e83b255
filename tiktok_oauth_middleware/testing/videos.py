"""The stand-in's videos: the answers of ``/v2/video/*`` and of the creator info.

A person has as many public videos as their ``video_count`` says. They are derived from
the open_id, so they are always the same. Shapes and limits are those of TikTok's pages
(https://developers.tiktok.com/doc/tiktok-api-v2-video-list,
.../tiktok-api-v2-video-query and .../content-posting-api-reference-query-creator-info).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn

from .wire import STATUS_OF

if TYPE_CHECKING:
    from .people import Person

#: The fields of TikTok's video object.
VIDEO_FIELDS = (
    "id",
    "create_time",
    "cover_image_url",
    "share_url",
    "video_description",
    "duration",
    "height",
    "width",
    "title",
    "embed_html",
    "embed_link",
    "like_count",
    "comment_count",
    "share_count",
    "view_count",
)
_PRIVACY = ("PUBLIC_TO_EVERYONE", "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY")
_MOST_VIDEOS = 20
_USUAL = 10
_DAY = 86400
#: When the newest of a person's videos was posted: 2026-11-01, 12:00 UTC.
_NEWEST = 1793534400
_TITLES = ("Morning light", "How it is made", "A walk", "Questions and answers")

MakeLink = Callable[[str], str]


class ApiRefused(Exception):
    """An error of a resource endpoint: its code, status and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.status = STATUS_OF[code]
        self.text = text


def list_videos(
    person: Person, fields: str | None, body: bytes, link: MakeLink
) -> dict[str, object]:
    """Return a page of a person's videos, newest first.

    Raises:
        ApiRefused: with TikTok's error.
    """
    names = _requested_fields(fields)
    given = read_json(body)
    most = _integer(given, "max_count", _USUAL)
    cursor = _integer(given, "cursor", 0)
    if not 1 <= most <= _MOST_VIDEOS:
        _refuse(f"max_count must be between 1 and {_MOST_VIDEOS}")
    if cursor < 0:
        _refuse("cursor must be a time in milliseconds")
    # 0 or no cursor: begin with the newest; otherwise, with the first one before it.
    before = cursor or float("inf")
    rest = [n for n in _numbers(person) if _posted(n) * 1000 < before]
    page = rest[:most]
    return {
        "videos": [_video(person, n, names, link) for n in page],
        "cursor": _posted(page[-1]) * 1000 if page else cursor,
        "has_more": len(rest) > len(page),
    }


def query_videos(
    person: Person, fields: str | None, body: bytes, link: MakeLink
) -> dict[str, object]:
    """Return the requested videos, as far as they are the person's own.

    Raises:
        ApiRefused: with TikTok's error.
    """
    names = _requested_fields(fields)
    filters = read_json(body).get("filters")
    ids = filters.get("video_ids") if isinstance(filters, dict) else None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        _refuse("filters.video_ids must be a list of strings")
    if not 1 <= len(ids) <= _MOST_VIDEOS:
        _refuse(f"filters.video_ids must hold 1 to {_MOST_VIDEOS} ids")
    found = [n for n in _numbers(person) if _id(person, n) in ids]
    return {"videos": [_video(person, n, names, link) for n in found]}


def creator_info(person: Person, avatar: str) -> dict[str, object]:
    """Return the data that an app must show before it posts for this person."""
    return {
        "creator_avatar_url": avatar,
        "creator_username": person.username,
        "creator_nickname": person.display_name,
        "privacy_level_options": list(_PRIVACY),
        "comment_disabled": False,
        "duet_disabled": False,
        "stitch_disabled": False,
        "max_video_post_duration_sec": 600 if person.is_verified else 300,
    }


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request; an empty body is an empty object.

    Raises:
        ApiRefused: it is anything else.
    """
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        _refuse("the body must be a JSON object")
    return given


def _requested_fields(fields: str | None) -> tuple[str, ...]:
    if not fields:
        _refuse("fields is required")
    names = tuple(fields.split(","))
    for name in names:
        if name not in VIDEO_FIELDS:
            _refuse(f"unknown field {name}")
    return names


def _integer(given: dict[str, Any], name: str, usual: int) -> int:
    value = given.get(name, usual)
    if type(value) is not int:
        _refuse(f"{name} must be an integer")
    return value


def _refuse(text: str) -> NoReturn:
    raise ApiRefused("invalid_params", text)


def _numbers(person: Person) -> Iterator[int]:
    return iter(range(person.video_count))


def _posted(number: int) -> int:
    """Return when the video of a number was posted: every other day, going back."""
    return _NEWEST - number * 2 * _DAY


def _seed(person: Person, number: int) -> int:
    text = f"{person.open_id} {number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _id(person: Person, number: int) -> str:
    """Return nineteen digits that begin with 7, like the ids of recent videos."""
    return str(7 * 10**18 + _seed(person, number) % 10**18)


def _video(
    person: Person, number: int, names: Iterable[str], link: MakeLink
) -> dict[str, object]:
    seed, name = _seed(person, number), _id(person, number)
    title = f"{_TITLES[seed % len(_TITLES)]} {person.video_count - number}"
    views = seed % 100_000
    source = "utm_campaign=tt4d_open_api&utm_source=stand-in"
    share = f"https://www.tiktok.example/@{person.username}/video/{name}?{source}"
    quoted = f'<blockquote class="tiktok-embed" cite="{escape(share)}"></blockquote>'
    embed = f"https://www.tiktok.example/embed/v2/{name}?{source}"
    whole: dict[str, object] = {
        "id": name,
        "create_time": _posted(number),
        "cover_image_url": link(f"video-{name}.svg"),
        "share_url": share,
        "video_description": f"{title} #standin",
        "duration": 8 + seed % 52,
        "height": 1024,
        "width": 576,
        "title": title,
        "embed_html": quoted,
        "embed_link": embed,
        "like_count": views // 12,
        "comment_count": views // 90,
        "share_count": views // 140,
        "view_count": views,
    }
    return {each: whole[each] for each in names}

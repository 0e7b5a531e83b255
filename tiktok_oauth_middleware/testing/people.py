"""The people who can log in at the stand-in, and their profiles."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person who can log in at the stand-in."""

    open_id: str
    display_name: str
    username: str
    #: Two colours of the drawn avatar.
    colours: tuple[str, str] = ("#335c67", "#e9c46a")
    bio: str = ""
    follower_count: int = 0
    following_count: int = 0
    likes_count: int = 0
    video_count: int = 0
    is_verified: bool = False


PEOPLE: tuple[Person, ...] = (
    Person(
        open_id="-000Vq3ZbT7rN_x1KdW9mGf5s-Hc8JpLu2Ea",
        display_name="Demo creator",
        username="demo.creator",
        colours=("#264653", "#e9c46a"),
        bio="Shows what a login looks like.",
        follower_count=12840,
        following_count=81,
        likes_count=203400,
        video_count=57,
        is_verified=True,
    ),
    Person(
        open_id="-000hM4_Rk8tXyB2vQ6nPz0w-Sj7LdFgA9iU",
        display_name="Second creator",
        username="second.creator",
        colours=("#5f0f40", "#fb8b24"),
        bio="For tests that need two people.",
        follower_count=310,
        following_count=122,
        likes_count=1904,
        video_count=9,
    ),
    Person(
        open_id="-000-_eD5oWl3qJr9HnKx7TbYvZmCf6Gs8Pt",
        display_name="New account",
        username="new.account",
        colours=("#386641", "#f2e8cf"),
    ),
)


def picture_name(person: Person, size: str) -> str:
    """Return the name of a person's avatar in one of TikTok's sizes."""
    return f"{quote(person.username, safe='')}~c5_{size}.svg"


def profile_fields(person: Person, link: Callable[[str], str]) -> dict[str, object]:
    """Return all fields of a profile, with the addresses that `link` makes."""
    avatar, small, large = (
        link(picture_name(person, size)) for size in ("168x168", "100x100", "1080x1080")
    )
    page = f"https://www.tiktok.example/@{person.username}"
    union_id = uuid.uuid5(uuid.NAMESPACE_OID, person.open_id)
    return {
        "open_id": person.open_id,
        "union_id": str(union_id),
        "avatar_url": avatar,
        "avatar_url_100": small,
        "avatar_large_url": large,
        "display_name": person.display_name,
        "bio_description": person.bio,
        "profile_deep_link": page,
        "profile_web_link": page,
        "is_verified": person.is_verified,
        "username": person.username,
        "follower_count": person.follower_count,
        "following_count": person.following_count,
        "likes_count": person.likes_count,
        "video_count": person.video_count,
    }

"""Scopes in TikTok's form: one text, separated by commas."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

#: Longest text, and how many, whose scopes are remembered. All of TikTok's scopes
#: together are longer, what a user grants seldom is: and then it is read again.
_REMEMBERED_SCOPES = 256


def split_scopes(text: str) -> frozenset[str]:
    """Return the scopes of a comma-separated text; TikTok's form, never spaces.

    >>> sorted(split_scopes("user.info.basic, video.list"))
    ['user.info.basic', 'video.list']
    """
    if len(text) > _REMEMBERED_SCOPES:
        return parse_scopes(text)
    return _remembered_scopes(text)


def parse_scopes(text: str) -> frozenset[str]:
    """Return the scopes of a text that anybody may have sent: nothing is remembered."""
    return frozenset(filter(None, (scope.strip() for scope in text.split(","))))


@lru_cache(maxsize=_REMEMBERED_SCOPES)
def _remembered_scopes(text: str) -> frozenset[str]:
    return parse_scopes(text)


def join_scopes(scopes: Iterable[str]) -> str:
    """Return `scopes` in TikTok's form, sorted, so that equal sets are equal texts.

    A plain string is taken for what it says, not for its letters. It may be an app's
    visitor who wrote it, so nothing is remembered.
    """
    return ",".join(sorted(parse_scopes(scopes) if isinstance(scopes, str) else scopes))

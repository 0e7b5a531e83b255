"""Scopes in TikTok's form: one text, separated by commas."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

#: The scope of Login Kit itself, without which TikTok gives no profile.
BASIC_SCOPE = "user.info.basic"
_SCOPE = re.compile(r"[A-Za-z0-9._\-]+")
#: TikTok separates granted scopes by commas; blanks have been observed, too.
_BETWEEN_GRANTED = re.compile(r"[ \t,]+")
_LONGEST_GRANTED = 4096
#: The longest text whose scopes are cached, and the number of cached texts. All of
#: TikTok's scopes together are longer; one user's grant seldom is.
_CACHED_TEXTS = 256


def is_scope(text: str) -> bool:
    """Whether `text` can be the name of one scope."""
    return _SCOPE.fullmatch(text) is not None


def split_scopes(text: str) -> frozenset[str]:
    """Return the scopes of a comma-separated text; TikTok's form, never spaces.

    >>> sorted(split_scopes("user.info.basic, video.list"))
    ['user.info.basic', 'video.list']
    """
    return parse_scopes(text) if len(text) > _CACHED_TEXTS else _cached_scopes(text)


def parse_scopes(text: str) -> frozenset[str]:
    """Return the scopes of a text from a client, which is not cached."""
    return frozenset(filter(None, (scope.strip() for scope in text.split(","))))


@lru_cache(maxsize=_CACHED_TEXTS)
def _cached_scopes(text: str) -> frozenset[str]:
    return parse_scopes(text)


def join_scopes(scopes: Iterable[str]) -> str:
    """Return `scopes` in TikTok's form, sorted, so that equal sets are equal texts.

    A plain string is split at its commas, not into its letters. A visitor may have
    written it, so nothing is cached.
    """
    return ",".join(sorted(parse_scopes(scopes) if isinstance(scopes, str) else scopes))


def granted_scopes(text: str) -> str | None:
    """Return the scopes of a token answer in TikTok's form, sorted.

    None if the text is too long, or if one of the names cannot be a scope.
    """
    scopes = {scope for scope in _BETWEEN_GRANTED.split(text) if scope}
    if len(text) > _LONGEST_GRANTED or not all(map(is_scope, scopes)):
        return None
    return join_scopes(scopes)

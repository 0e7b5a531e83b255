"""Languages that a reader prefers: the Accept-Language header, and language ranges.

A header is read as RFC 9110 section 12.5.4 says. A range is looked up as RFC 4647
section 3.4 says: the range itself first, then each wider one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

#: Longest header that is read, in bytes, and most ranges in it. A browser's has 60
#: bytes and five ranges, or twenty for a person who reads many languages.
_LONGEST_ACCEPT_LANGUAGE = 1024
_MOST_RANGES = 32
#: Longest language tag (RFC 5646 section 4.4.1).
_LONGEST_TAG = 35
#: A longer text, in characters, is not a tag: an app may pass on a client's text.
_LONGEST_GIVEN = 255
_RANGE = re.compile(
    r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)"
    r"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)
#: Regions that imply a script that the tag leaves out: Taiwan, Hong Kong and Macao
#: write Traditional Chinese; and today's tags of Hebrew, Indonesian and Yiddish, whose
#: old ones some clients still send (RFC 5646 section 2.2.1).
_IMPLIED = {
    "zh-tw": "zh-hant",
    "zh-hk": "zh-hant",
    "zh-mo": "zh-hant",
    "iw": "he",
    "in": "id",
    "ji": "yi",
}


class LanguageRanges(NamedTuple):
    """Language ranges, in lower case."""

    #: The most preferred one first. ``*`` is left out: it means any language, and gives
    #: the default.
    preferred: tuple[str, ...] = ()
    #: Those with the quality 0, ``*`` among them.
    excluded: frozenset[str] = frozenset()

    def excludes(self, tag: str) -> bool:
        """Whether the reader does not want a language, by the range that fits best."""
        for each in wider(tag.lower()):
            if each in self.preferred:
                return False
            if each in self.excluded:
                return True
        return False


NO_PREFERENCE = LanguageRanges()


def parse_accept_language(values: Sequence[bytes]) -> LanguageRanges:
    """Return the ranges of an Accept-Language header.

    Invalid ranges are left out. A header that is longer than a browser's is not read.

    Args:
        values: of each header line with that name.
    """
    if len(values) > _MOST_RANGES or sum(map(len, values)) > _LONGEST_ACCEPT_LANGUAGE:
        return NO_PREFERENCE
    items = b",".join(values).decode("latin-1").split(",", _MOST_RANGES)
    if len(items) > _MOST_RANGES:
        return NO_PREFERENCE
    matches = [_RANGE.fullmatch(item.strip(" \t")) for item in items]
    ranges = [
        (float(m[2] or 1), m[1].lower())
        for m in matches
        if m and len(m[1]) <= _LONGEST_TAG
    ]
    ranges.sort(key=lambda item: -item[0])
    return LanguageRanges(
        tuple(tag for quality, tag in ranges if quality and tag != "*"),
        frozenset(tag for quality, tag in ranges if not quality),
    )


def wider(tag: str) -> Iterator[str]:
    """Yield a language tag in lower case, then each wider one, unless it is too long.

    >>> [*wider("zh-tw")]
    ['zh-tw', 'zh-hant', 'zh']
    >>> [*wider("iw-il")]
    ['iw-il', 'iw', 'he']
    """
    while 0 < len(tag) <= _LONGEST_GIVEN:
        yield tag
        shorter = tag.rpartition("-")[0]
        # A subtag of one character only begins an extension (RFC 4647 section 3.4).
        if shorter[-2:-1] == "-":
            shorter = shorter[:-2]
        tag = _IMPLIED.get(tag, shorter)

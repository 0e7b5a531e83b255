"""Foreign text, made fit for one line of a log or one field of an error.

What a browser, TikTok or a person's profile sends is data: it is cut, its controls
are spelled out, and a secret of ours that it repeats is masked. HTML is escaped
where HTML is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

#: Longest foreign text that reaches a log or an error.
LIMIT = 200

# C0, DEL, C1, line and paragraph separators, bidirectional controls and marks, lone
# surrogates: whatever could break a line, reorder it, or fail to encode.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_SHORTEST_SECRET = 4


def one_line(text: str, limit: int = LIMIT) -> str:
    """Return `text` cut at `limit` characters, with every control spelled out."""
    cut = text[: limit + 1]
    shown = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", cut)
    return shown if len(shown) <= limit else shown[:limit] + "…"


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with each of `secrets` in it replaced by asterisks."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin another
        if len(secret) >= _SHORTEST_SECRET:
            # As it is, and as a form or a URL would write it.
            quoted = (
                quote(secret, "", errors="replace"),
                quote_plus(secret, errors="replace"),
            )
            for written in {secret, *quoted}:
                text = text.replace(written, "***")
    return text

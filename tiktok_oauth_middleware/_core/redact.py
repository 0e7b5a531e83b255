"""Redaction of foreign text for a line of a log or a field of an error.

Text from a browser, from TikTok or from a person's profile is shortened, its control
characters are escaped, and secrets of ours that it repeats are masked. HTML is escaped
where HTML is written.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

#: Longest foreign text in a log or an error, in characters.
LIMIT = 200

# C0, DEL, C1, line and paragraph separators, bidirectional controls and marks, lone
# surrogates: characters that break a line, reorder it, or cannot be encoded.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_SHORTEST_SECRET = 4


def one_line(text: str, limit: int = LIMIT) -> str:
    """Return `text` cut at `limit` characters, with control characters escaped."""
    if not text:
        return ""
    cut = text[: limit + 1]
    shown = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", cut)
    return shown if len(shown) <= limit else shown[:limit] + "…"


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with each of `secrets` in it replaced by asterisks."""
    if not text:
        return ""
    for secret in sorted(
        secrets, key=len, reverse=True
    ):  # one may be the beginning of another
        # Most texts are empty or "ok", and no spelling is shorter than the secret.
        if _SHORTEST_SECRET <= len(secret) <= len(text):
            for written in _spellings(secret):
                text = text.replace(written, "***")
    return text


def _spellings(secret: str) -> set[str]:
    """Return a secret in plain text, percent-encoded, in hex and in base64."""
    # `encode` returns the text of a `Secret`, `str` would return asterisks.
    plain = secret.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
    raw = plain.encode(errors="replace")
    quoted = {quote(raw, ""), quote(raw), quote_plus(raw), raw.hex()}
    quoted |= {re.sub("%..", lambda found: found[0].lower(), q) for q in quoted}
    coded = {b64encode(raw), urlsafe_b64encode(raw)}
    return {
        plain,
        *quoted,
        raw.hex().upper(),
        *(code.decode().rstrip("=") for code in coded),
    }

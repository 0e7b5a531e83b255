"""Path spellings: the texts that programs take for one and the same path.

They decode a path several times, ignore case, merge slashes, and cut off what follows a
semicolon. `path_readings` yields the other paths that a program may read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
#: How many times in all a server, a proxy and a framework may percent-decode a path.
_DECODINGS = 3
#: The largest number of different texts to which one path may be decoded.
_MAX_TEXTS = 24
# `casefold` turns the Turkish dotted capital I into "i" and this combining dot, which
# `fold` removes.
_DOT_ABOVE = "\u0307"


def fold(text: str) -> str:
    """Return a text without the differences that frameworks and file systems ignore.

    >>> fold("/Straße") == fold("/STRASSE")
    True
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).upper().casefold()
    folded = unicodedata.normalize("NFKC", folded).replace("i" + _DOT_ABOVE, "i")
    return "".join(c for c in folded if unicodedata.category(c) != "Cf")


def spellings(path: str) -> Iterator[str | None]:
    """Yield a path in every spelling; None if a program's reading is unknown.

    A reading is unknown if the path has too many decodings, holds a control character,
    or contains ``..`` (see `_shapes`).
    """
    texts = _decodings_of(path)
    if texts is None:
        yield None
        return
    for text in texts:
        yield from _shapes(text)


def _decodings_of(path: str) -> list[str] | None:
    """Return every decoding of a path; None if a reading is unknown.

    No browser sends a control character. Patterns, URL parsers and file systems differ:
    they drop it, end the path at it, or fail.
    """
    texts = {path: None}
    level = [path]
    for _ in range(_DECODINGS + 1):
        decoded: dict[str, None] = {}
        for text in level:
            if _CONTROLS.search(text):
                return None
            decoded.update(dict.fromkeys(_decoded_once(text)))
        level = [text for text in decoded if text not in texts]
        texts.update(dict.fromkeys(level))
        if not level:
            break
        if len(texts) > _MAX_TEXTS:
            return None
    return [*texts]


def _decoded_once(text: str) -> Iterator[str]:
    """Yield a text decoded once more, in each way that a program may decode it."""
    if not text.isascii():
        yield text.replace("\ufffd", "")
        yield unicodedata.normalize("NFKC", text)
    if "%" in text:
        raw = unquote_to_bytes(text.encode("utf-8", "replace"))
        yield from decoded_bytes(raw)


def decoded_bytes(raw: bytes) -> Iterator[str]:
    """Yield the texts to which frameworks decode some bytes.

    Werkzeug and Falcon replace bytes that are not UTF-8, Bottle drops them, and a plain
    WSGI app may decode each byte as one character (Latin-1).
    """
    yield raw.decode("utf-8", "replace")
    if not raw.isascii():
        yield raw.decode("utf-8", "ignore")
        yield raw.decode("latin-1")


def _shapes(text: str) -> Iterator[str | None]:
    """Yield a decoded path as frameworks may split it; None if it contains ``..``.

    A segment of two dots leaves a folder whose name on disk is unknown here: a file
    handler that serves a folder named ``files`` under ``/static`` reads
    ``/static/../files/secret`` as ``/static/secret``. No ordinary client sends that.
    """
    for cut in {text, re.split(r"[?#]", text, maxsplit=1)[0]}:
        segments = cut.replace("\\", "/").split("/")
        bare = [segment.partition(";")[0].strip() for segment in segments]
        if ".." in segments or ".." in bare:
            yield None
            return
        tidy = [segment.rstrip(". ") for segment in bare]
        yield _joined(segments)
        yield _joined(tidy)
        if cut[1:2] in ("/", "\\"):  # "//host/path", to URL parsers
            yield _joined(segments[3:])
            yield _joined(tidy[3:])


def _joined(segments: Iterable[str]) -> str:
    return "/" + "/".join(s for s in segments if s not in ("", "."))

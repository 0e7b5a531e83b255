"""Path readings: the paths that servers and frameworks make of one request.

Servers and frameworks disagree over a path: they replace or drop bytes that are not
UTF-8, or take them for Latin-1; they ignore case, join slashes, or cut off a prefix
that another program put there. This module yields the path as each of them is known to
read it, so that a rule can be asked about every reading.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from .mount import without_mount

if TYPE_CHECKING:
    from .app_structure import AppStructure

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
#: How often a server, a proxy and a framework may percent-decode one after another.
_DECODINGS = 3
#: Most different texts that one path may be decoded to.
_MAX_TEXTS = 24
#: Most headers of a request whose value the path begins with.
_MAX_CLAIMED_MOUNTS = 6
# Besides the letters that `casefold` knows: the dot that stays behind when the Turkish
# capital I is folded.
_DOT_ABOVE = "\u0307"


# --- spellings of one path -------------------------------------------------------


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
    """Yield a path in every spelling; None where some program's reading is unknown.

    It is unknown where the path has too many decodings, holds a control character, or
    leads upwards (see `_shapes`).
    """
    texts = _decodings_of(path)
    if texts is None:
        yield None
        return
    for text in texts:
        yield from _shapes(text)


def _decodings_of(path: str) -> list[str] | None:
    """Return a path as any program may decode it; None where it holds a control.

    No browser sends a control character, and patterns, URL parsers and file systems
    each drop it, end at it, or fail on it.
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
    """Yield a text decoded once more, in each way that a program may do it."""
    if not text.isascii():
        yield text.replace("\ufffd", "")
        yield unicodedata.normalize("NFKC", text)
    if "%" in text:
        raw = unquote_to_bytes(text.encode("utf-8", "replace"))
        yield from _decoded_bytes(raw)


def _decoded_bytes(raw: bytes) -> Iterator[str]:
    """Yield bytes as the texts that frameworks make of them.

    Werkzeug and Falcon replace what is not UTF-8, Bottle drops it, and a plain WSGI app
    may take each byte for a character.
    """
    yield raw.decode("utf-8", "replace")
    if not raw.isascii():
        yield raw.decode("utf-8", "ignore")
        yield raw.decode("latin-1")


def _shapes(text: str) -> Iterator[str | None]:
    """Yield a decoded path as frameworks may split it; None where it leads upwards.

    A segment of two dots leads out of a folder whose name on disk is unknown here:
    ``/static/../files/secret`` is ``/static/secret`` to a file handler of a folder
    named ``files``. No client sends one.
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


# --- other paths that a program may see ------------------------------------------


class RequestPath(NamedTuple):
    """A request's path in all the forms that an app may take it from."""

    #: Decoded, without the mount point.
    path: str
    #: With the mount point, as far as the server leaves it there.
    full_path: str
    #: The mount point, as the server gives it.
    mount: str
    #: Header values that may be a mount point: programs in the app may believe them.
    claimed_mounts: Collection[bytes] = ()
    #: The bytes of the full path, percent-decoded; None where `full_path` is
    #: equivalent.
    raw: bytes | None = None
    #: The full path as it was sent, not decoded, or "".
    target: str = ""


class Reading(NamedTuple):
    """A path that some program may read; see `PathRules.protects` for the fields."""

    path: str
    is_certain: bool = True
    public_path: str | None = None


def readings(request: RequestPath, structure: AppStructure) -> Iterator[Reading]:
    """Yield the paths that the apps inside the middleware may read."""
    path, full_path, mount = request.path, request.full_path, request.mount
    if mount:
        yield from _below_mount(full_path, mount)
    for prefix in {prefix() for prefix in structure.prefixes}:
        yield from _with_app_prefix(path, full_path, prefix)
    for claim in {claim.rstrip(b"/") for claim in request.claimed_mounts}:
        yield from _without_claim(request, claim)
    if request.raw is not None:
        for text in _decoded_bytes(request.raw):
            yield Reading(without_mount(text, mount), is_certain=False)
            yield Reading(text, is_certain=False)
    if structure.routes_raw_path:
        target = "/" + (request.target or full_path).removeprefix(mount).lstrip("/")
        yield Reading(target)
        for stem in (stem for stems in structure.stems for stem in stems()):
            yield from _with_slash_behind(path, stem)
            yield from _with_slash_behind(target, stem)


def with_matching_claims(request: RequestPath) -> RequestPath | None:
    """Return the path with only those claimed mounts that it begins with.

    None if those are more than `_MAX_CLAIMED_MOUNTS`: each costs a reading, and a
    client may send hundreds of headers. A proxy sends the mount point in two or three.
    """
    paths = {request.path, request.full_path}
    raw = request.raw or b""
    matching = [
        claim
        for claim in request.claimed_mounts
        if any(path.startswith(_claim_texts(claim)) for path in paths)
        or raw.startswith(claim)
    ]
    if len(matching) > _MAX_CLAIMED_MOUNTS:
        return None
    return request._replace(claimed_mounts=matching)


def _claim_texts(claim: bytes) -> tuple[str, ...]:
    """Return a header's bytes as the texts that programs make of them."""
    bare = claim.rstrip(b"/")
    text = bare.decode("latin-1")
    return (text,) if text.isascii() else (text, bare.decode("utf-8", "replace"))


def _without_claim(request: RequestPath, claim: bytes) -> Iterator[Reading]:
    """Yield a path without the prefix that a header of the request holds."""
    for path in {request.path, request.full_path}:
        for text in {*_claim_texts(claim)}:
            if path.startswith(text):
                yield Reading("/" + path[len(text) :].lstrip("/"))
    if request.raw is not None and request.raw.startswith(claim):
        for text in _decoded_bytes(request.raw[len(claim) :]):
            yield Reading("/" + text.lstrip("/"))


def _below_mount(full_path: str, mount: str) -> Iterator[Reading]:
    """Yield the paths that frameworks make of one below a mount point."""
    # Some know no mount points. Daphne takes one from a client's header, which must not
    # turn a protected path into a public one.
    yield Reading(full_path, is_certain="daphne.http_protocol" in sys.modules)
    for prefix in {mount, "/" + mount.strip("/")}:
        # Litestar cuts behind it wherever it stands; Quart, BlackSheep and Django do
        # not check for a slash behind it.
        if prefix.strip("/") and prefix in full_path:
            yield Reading("/" + full_path.split(prefix, 1)[1].lstrip("/"))


def _with_app_prefix(path: str, full_path: str, prefix: str) -> Iterator[Reading]:
    """Yield a path without and with a prefix that a framework takes off by itself.

    No framework adds it, but rules may be written with it.
    """
    prefix = "/" + prefix.strip("/")
    if prefix == "/":
        return
    for given in {path, full_path}:
        if given.startswith(prefix):
            yield Reading("/" + given[len(prefix) :].lstrip("/"))
        yield Reading(prefix + given, is_certain=False)


def _with_slash_behind(path: str, stem: str) -> Iterator[Reading]:
    """Yield a path with the slash behind a stem that its route does not require."""
    stem = "/" + stem.strip("/")
    if stem != "/" and path.lower().startswith(stem.lower()):
        yield Reading(stem + "/" + path[len(stem) :].lstrip("/"), public_path=path)

"""Path readings: the paths that servers and frameworks may read in one request.

Servers and frameworks interpret a path differently: they replace or drop bytes that are
not UTF-8, or decode them as Latin-1; they ignore case, merge slashes, or cut off a
prefix that another program added. This module yields the path in every form in which
one of them is known to read it, so that a rule can be checked against each form.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_to_bytes

from .mount import without_mount

if TYPE_CHECKING:
    from .app_structure import AppStructure

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
#: How many times in all a server, a proxy and a framework may percent-decode a path.
_DECODINGS = 3
#: The largest number of different texts to which one path may be decoded.
_MAX_TEXTS = 24
#: The largest number of header values of a request that are a prefix of its path.
_MAX_CLAIMED_MOUNTS = 6
# `casefold` turns the Turkish dotted capital I into "i" and this combining dot, which
# `fold` removes.
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
        yield from _decoded_bytes(raw)


def _decoded_bytes(raw: bytes) -> Iterator[str]:
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


# --- other paths that a program may read -----------------------------------------


class RequestPath(NamedTuple):
    """A request's path in all forms that an app may read."""

    #: Decoded, without the mount point.
    path: str
    #: With the mount point, unless the server has removed it.
    full_path: str
    #: The mount point, as the server gives it.
    mount: str
    #: Header values that may be a mount point: code in the app may trust them.
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
        for below, is_certain in below_mount(full_path, mount):
            yield Reading(below, is_certain)
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


def claimed_mounts(environ: Mapping[str, Any], longest: int) -> set[bytes]:
    """Return the values of a request's headers that may be a mount point.

    Args:
        environ: of the request, as WSGI and Django give its headers.
        longest: the largest length of such a value in bytes, without the slashes at
            its end.
    """
    # Names that begin with HTTP_, and values that begin with a slash, and go on after
    # it. In ASCII "`" follows the underscore and "0" the slash, and two comparisons
    # take half the time of `startswith`.
    return {
        value.encode("latin-1", "replace")
        for name, value in environ.items()
        if name < "HTTP`" and name > "HTTP_" and isinstance(value, str)
        if value < "0" and value > "/"
        if len(value) <= longest or value[-1] == "/"
    }


def with_matching_claims(request: RequestPath) -> RequestPath | None:
    """Return the path with only the claimed mounts that are a prefix of it.

    Return None if there are more than `_MAX_CLAIMED_MOUNTS`: each costs a reading, and
    a client may send hundreds of headers. A proxy sends the mount point in two or three
    headers.
    """
    paths = {request.path, request.full_path}
    raw = request.raw or b""
    matching = [
        claim
        for claim in request.claimed_mounts
        if any(path.startswith(_claim_texts(claim)) for path in paths)
        or raw.startswith(claim.rstrip(b"/"))
    ]
    if len(matching) > _MAX_CLAIMED_MOUNTS:
        return None
    return request._replace(claimed_mounts=matching)


def _claim_texts(claim: bytes) -> tuple[str, ...]:
    """Return the texts to which programs decode a header's bytes."""
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


def below_mount(full_path: str, mount: str) -> list[tuple[str, bool]]:
    """Return a path below a mount point, in each form that frameworks read.

    Each pair is the first two fields of a `Reading`.
    """
    # Some frameworks do not support mount points. Daphne takes the mount point from a
    # client's header, which must not turn a protected path into a public one.
    return [
        (full_path, "daphne.http_protocol" in sys.modules),
        # Litestar cuts after the prefix wherever it occurs; Quart, BlackSheep and
        # Django do not check whether a slash follows it.
        *[
            ("/" + full_path.split(prefix, 1)[1].lstrip("/"), True)
            for prefix in {mount, "/" + mount.strip("/")}
            if prefix.strip("/") and prefix in full_path
        ],
    ]


def _with_app_prefix(path: str, full_path: str, prefix: str) -> Iterator[Reading]:
    """Yield a path without and with a prefix that a framework removes by itself.

    No framework adds the prefix, but rules may be written with it.
    """
    prefix = "/" + prefix.strip("/")
    if prefix == "/":
        return
    for given in {path, full_path}:
        if given.startswith(prefix):
            yield Reading("/" + given[len(prefix) :].lstrip("/"))
        yield Reading(prefix + given, is_certain=False)


def _with_slash_behind(path: str, stem: str) -> Iterator[Reading]:
    """Yield a path with a slash after its stem, if it begins with that.

    BlackSheep requires no slash there; see `AppStructure.stems`.
    """
    stem = "/" + stem.strip("/")
    if stem != "/" and path.lower().startswith(stem.lower()):
        yield Reading(stem + "/" + path[len(stem) :].lstrip("/"), public_path=path)

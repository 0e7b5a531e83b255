"""Path readings: the paths that servers and frameworks may read in one request.

Servers and frameworks interpret a path differently: they replace or drop bytes that are
not UTF-8, or decode them as Latin-1, or cut off a prefix that another program added.
This module yields each path that one of them is known to read, so that a rule can be
checked against it, in each of its spellings: see `path_spellings`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .mount import without_mount
from .path_spellings import decoded_bytes

if TYPE_CHECKING:
    from .app_structure import AppStructure

#: The largest number of header values of a request that are a prefix of its path.
_MAX_CLAIMED_MOUNTS = 6


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
        for text in decoded_bytes(request.raw):
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
        for text in decoded_bytes(request.raw[len(claim) :]):
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

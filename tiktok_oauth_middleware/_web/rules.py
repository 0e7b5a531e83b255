"""Path rules: which paths need a login, in whatever way an app may read them.

Servers and frameworks disagree over a path: bytes that are no UTF-8 are replaced,
dropped or taken for Latin-1, case is ignored, slashes are joined, a prefix is cut off
that another program put there. So a path is read in every way that one of them is known
to have, and is protected if it is in any; what can be read in no certain way is
protected as well. `public` rules hold for the path exactly as it is written.

A path of the usual characters, as browsers send them, has two readings: as it is, and
in lower case. Only others cost more.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from .routes import Inner

#: What a path may hold that has no other reading than itself and its lower case.
_ODD = re.compile(r"//|/\.|\.(?:/|\Z)|[^!$&'()*+,\-./0-9:=@A-Z_a-z~]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
#: Longest path that is read, and longest with odd characters, in characters. gunicorn
#: takes 4,094 bytes and nginx 8,192; beyond, a path is held protected.
_LONGEST = 16_384
_LONGEST_ODD = 1024
#: How often a server, a proxy and a framework may decode percents behind each other.
_DECODINGS = 3
_MOST_TEXTS = 24
#: Most headers whose values a path begins with.
_MOST_CLAIMS = 6
# Besides the letters that `casefold` knows: a dot that stays behind when the capital I
# of Turkish is folded.
_DOT_ABOVE = "\u0307"


class PathRules:
    """The `protect` and `public` rules of an app: of those that fit, the longest."""

    __slots__ = ("_protect", "_public")

    def __init__(self, protect: Iterable[str], public: Iterable[str]) -> None:
        """Take rules as the settings checked them."""
        #: Rule, the same with a slash, and its length; the longest first. Those that
        #: protect are folded, and as long as they were written.
        self._protect = [(fold(a), fold(b), n) for a, b, n in _longest_first(protect)]
        self._public = _longest_first(public)

    def __bool__(self) -> bool:
        """Whether any path is protected."""
        return bool(self._protect)

    def protects(
        self, path: str, *, is_certain: bool = True, free_by: str | None = None
    ) -> bool:
        """Whether a path needs a login in any of its spellings.

        Args:
            path: decoded, as the server hands it over.
            is_certain: False where rules may have been written for such a path, and no
                framework serves it instead of the one that was asked for. The rule "/"
                says nothing of it that it does not say of that one.
            free_by: the path that `public` rules are asked about, if it is another.
        """
        path = path or "/"
        if len(path) > _LONGEST or not (path.isascii() or _is_short(path)):
            return bool(self._protect)
        if self._decides(path, free_by, is_certain=is_certain):
            return True
        if _ODD.search(path) is None and path[:1] == "/":
            return False
        return self._protects_odd(path, free_by, is_certain=is_certain)

    def _decides(self, path: str, free_by: str | None, *, is_certain: bool) -> bool:
        """Whether the longest rule that fits a path protects it.

        Case counts for no `protect` rule, since some frameworks (BlackSheep) and file
        systems ignore it, and counts for every `public` rule.
        """
        free = 0
        given = path if free_by is None else free_by
        for rule, below_rule, length in self._public:
            if given == rule or given.startswith(below_rule):
                free = length
                break
        folded = path.lower() if path.isascii() else fold(path)
        for rule, below_rule, length in self._protect:
            if length <= free:
                return False
            if folded == rule or folded.startswith(below_rule):
                return is_certain or length > 1
        return False

    def _protects_odd(
        self, path: str, free_by: str | None, *, is_certain: bool
    ) -> bool:
        if path[:1] != "/" or len(path) > _LONGEST_ODD:
            # A whole URL to some, or more than is worth reading.
            return bool(self._protect)
        texts = _texts(path)
        if texts is None:
            return bool(self._protect)
        for text in texts:
            for shape in _shapes(text):
                if shape is None:
                    return bool(self._protect)
                if self._decides(shape, free_by, is_certain=is_certain):
                    return True
        return False


def _is_short(text: str) -> bool:
    """Whether a text is short, and stays so when it is normalised.

    One character may become 18 (U+FDFA), which a few words of Arabic hold once.
    """
    if len(text) > _LONGEST_ODD:
        return False
    return len(unicodedata.normalize("NFKC", text)) <= 3 * len(text) + 32


def _longest_first(rules: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return rules less a slash at the end, the same with one, and their lengths."""
    bare = dict.fromkeys(rule.rstrip("/") or "/" for rule in rules)
    made = [(rule, rule.rstrip("/") + "/", len(rule)) for rule in bare]
    return sorted(made, key=lambda rule: -rule[2])


def fold(text: str) -> str:
    """Return a text in which nothing is left that frameworks or file systems ignore.

    >>> _fold("/Straße") == _fold("/STRASSE")
    True
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).upper().casefold()
    folded = unicodedata.normalize("NFKC", folded).replace("i" + _DOT_ABOVE, "i")
    return "".join(c for c in folded if unicodedata.category(c) != "Cf")


def _texts(path: str) -> list[str] | None:
    """Return a path as any program may decode it; None where it holds a control.

    No browser sends a control character, and patterns, parsers of URLs and file systems
    each drop it, end at it, or stumble over it.
    """
    texts = {path: None}
    level = [path]
    for _ in range(_DECODINGS + 1):
        following: dict[str, None] = {}
        for text in level:
            if _CONTROLS.search(text):
                return None
            following.update(dict.fromkeys(_decoded(text)))
        level = [text for text in following if text not in texts]
        texts.update(dict.fromkeys(level))
        if not level:
            break
        if len(texts) > _MOST_TEXTS:
            return None
    return [*texts]


def _decoded(text: str) -> Iterator[str]:
    """Return a text decoded once more, in each way that this may be done."""
    if not text.isascii():
        yield text.replace("\ufffd", "")
        yield unicodedata.normalize("NFKC", text)
    if "%" in text:
        raw = unquote_to_bytes(text.encode("utf-8", "replace"))
        yield from decodings(raw)


def decodings(raw: bytes) -> Iterator[str]:
    """Return bytes as the texts that frameworks make of them.

    Werkzeug and Falcon replace what is no UTF-8, Bottle drops it, and a plain WSGI app
    may take each byte for a character.
    """
    yield raw.decode("utf-8", "replace")
    if not raw.isascii():
        yield raw.decode("utf-8", "ignore")
        yield raw.decode("latin-1")


def _shapes(text: str) -> Iterator[str | None]:
    """Return a decoded path as frameworks may cut it up; None where it climbs.

    A segment of two dots leads out of a folder whose name on disk is known to nobody
    here: ``/static/../files/secret`` is ``/static/secret`` to file handlers of a folder
    named ``files``. No client sends one, so it is protected by whatever rule there is.
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
        if cut[1:2] in ("/", "\\"):  # "//host/path", to parsers of URLs
            yield _joined(segments[3:])
            yield _joined(tidy[3:])


def _joined(segments: Iterable[str]) -> str:
    return "/" + "/".join(s for s in segments if s not in ("", "."))


# --- mount points ------------------------------------------------------------------


def below(path: str, mount: str) -> str:
    """Return a path less the mount point; servers differ in whether it is in it."""
    if (
        mount
        and path.startswith(mount)
        and path[len(mount) : len(mount) + 1] in ("", "/")
    ):
        return path[len(mount) :] or "/"
    return path


class Sought(NamedTuple):
    """A path in all the forms that an app may take it in."""

    #: Decoded, and less the mount point: what `PathRules.protects` was asked about.
    path: str
    #: With the mount point, as far as the server leaves it there.
    whole: str
    #: As the server says it.
    mount: str
    #: What a client says a mount point is, in whatever header: programs in the app may
    #: believe it.
    claimed: Collection[bytes] = ()
    #: The bytes of the whole path, decoded; None where `whole` says it all.
    raw: bytes | None = None
    #: The whole path as it was sent, or "".
    target: str = ""


class Reading(NamedTuple):
    """What some program takes a path for; see `PathRules.protects`."""

    path: str
    is_certain: bool = True
    free_by: str | None = None


def readings(sought: Sought, inner: Inner) -> Iterator[Reading]:
    """Return what the apps in the middleware may take a path for."""
    path, whole, mount = sought.path, sought.whole, sought.mount
    if mount:
        yield from _mounted(whole, mount)
    for prefix in {prefix() for prefix in inner.prefixes}:
        yield from _prefixed(path, whole, prefix)
    for prefix_sent in {claim.rstrip(b"/") for claim in sought.claimed}:
        yield from _claimed(sought, prefix_sent)
    if sought.raw is not None:
        for text in decodings(sought.raw):
            yield Reading(below(text, mount), is_certain=False)
            yield Reading(text, is_certain=False)
    if inner.reads_target:
        cut = "/" + (sought.target or whole).removeprefix(mount).lstrip("/")
        yield Reading(cut)
        for stem in (stem for stems in inner.stems for stem in stems()):
            yield from _stemmed(path, stem)
            yield from _stemmed(cut, stem)


def claims(sought: Sought) -> Sought | None:
    """Return a path with those claims alone that it begins with; None if too many.

    Each costs a reading of the path, and a client may send hundreds of headers. A proxy
    says the mount point in two or three.
    """
    given = {sought.path, sought.whole}
    raw = sought.raw or b""
    found = [
        claim
        for claim in sought.claimed
        if any(text.startswith(_texts_of(claim)) for text in given)
        or raw.startswith(claim)
    ]
    if len(found) > _MOST_CLAIMS:
        return None
    return sought._replace(claimed=found)


def _texts_of(claim: bytes) -> tuple[str, ...]:
    """Return a header's bytes as the texts that programs make of them."""
    bare = claim.rstrip(b"/")
    text = bare.decode("latin-1")
    return (text,) if text.isascii() else (text, bare.decode("utf-8", "replace"))


def _claimed(sought: Sought, prefix: bytes) -> Iterator[Reading]:
    """Return a path less a prefix that a header of the request holds."""
    for given in {sought.path, sought.whole}:
        for text in {*_texts_of(prefix)}:
            if given.startswith(text):
                yield Reading("/" + given[len(text) :].lstrip("/"))
    if sought.raw is not None and sought.raw.startswith(prefix):
        for text in decodings(sought.raw[len(prefix) :]):
            yield Reading("/" + text.lstrip("/"))


def _mounted(whole: str, mount: str) -> Iterator[Reading]:
    """Return the paths that frameworks make of one below a mount point."""
    # If they know no mount points. Daphne lets a client make one up, which must not
    # turn a path that is protected into one that is public.
    yield Reading(whole, is_certain="daphne.http_protocol" in sys.modules)
    for prefix in {mount, "/" + mount.strip("/")}:
        # Litestar cuts behind it, wherever it is; Quart, BlackSheep and Django look for
        # no slash behind it.
        if prefix.strip("/") and prefix in whole:
            yield Reading("/" + whole.split(prefix, 1)[1].lstrip("/"))


def _prefixed(path: str, whole: str, prefix: str) -> Iterator[Reading]:
    """Return a path less a prefix that a framework takes off by itself, and with it.

    No framework puts it before a path, but rules may be written with it.
    """
    prefix = "/" + prefix.strip("/")
    if prefix == "/":
        return
    for given in {path, whole}:
        if given.startswith(prefix):
            yield Reading("/" + given[len(prefix) :].lstrip("/"))
        yield Reading(prefix + given, is_certain=False)


def _stemmed(path: str, stem: str) -> Iterator[Reading]:
    """Return a path with the slash that a route does without behind its stem."""
    stem = "/" + stem.strip("/")
    if stem != "/" and path.lower().startswith(stem.lower()):
        yield Reading(stem + "/" + path[len(stem) :].lstrip("/"), free_by=path)


# --- rules that guard nothing --------------------------------------------------------

"""Path rules: which paths need a login, however an app may read them.

A path is protected if any of its readings is (see `path_readings`), and also if it has
no certain reading. A `public` rule applies only to the path exactly as it is written.

A path of the usual characters, as browsers send them, has two readings: unchanged, and
in lower case. Only other paths take longer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.log import logger

from .app_structure import AppStructure, inspect_app, rules_without_route
from .guard import Challenge
from .path_readings import (
    RequestPath,
    below_mount,
    readings,
    with_matching_claims,
)
from .path_spellings import fold, spellings

if TYPE_CHECKING:
    from tiktok_oauth_middleware.auth import TikTokAuth
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .mount import MountPoint

#: Matches a path that may have readings other than itself and its lower case: one with
#: an unusual character, or with a dot at the beginning or end of a segment. A path with
#: "//" may have them too, but is not matched.
_ODD = re.compile(r"[^!$&'()*+,\-/0-9:=@A-Z_a-z~](?:(?<!\.)|(?<=/\.)|(?=/|\Z))")
#: The longest path that is read, in characters, and the longest one with odd
#: characters: a longer path counts as protected. gunicorn takes 4,094 bytes and nginx
#: 8,192.
_LONGEST_PATH = 16_384
_LONGEST_ODD = 1024


class AppRules:
    """The path rules of one app, applied to every path that the app may read."""

    def __init__(self, settings: TikTokSettings) -> None:
        self._settings = settings
        self._rules = PathRules(settings.protected, settings.public)
        self._recent = PathRules(settings.protect_recent, settings.public)
        self._has_recent = bool(self._recent)
        self._structure: AppStructure | None = None

    def __bool__(self) -> bool:
        """Whether any path is protected."""
        return bool(self._rules)

    def challenge(
        self, auth: TikTokAuth, needs_recent: Callable[[], bool]
    ) -> Challenge | None:
        """Return why a request for a protected path may not pass; None if it may.

        Args:
            auth: of the request.
            needs_recent: whether the path needs a recent login in any reading.
        """
        if not auth.is_authenticated:  # which also marks the response as private
            return Challenge()
        max_age = self._settings.protect_max_age
        if not self._has_recent or auth.logged_in_within(max_age) or not needs_recent():
            return None
        return Challenge(is_signed_in=True, max_age=max_age)

    def protects(
        self, path: str, mount_point: MountPoint, *, recent: bool = False
    ) -> bool:
        """Whether the rules require a login for any spelling of a path.

        Below a mount point that does not contain the callback, every path is protected:
        a client may have invented it, and apps without support for mount points then
        serve another path.

        Args:
            path: decoded, without the mount point.
            mount_point: of the request.
            recent: whether to apply only the rules that need a recent login.
        """
        rules = self._recent if recent else self._rules
        return mount_point.is_stray or rules.protects(path)

    def protects_reading(
        self, app: object, request: RequestPath, *, recent: bool = False
    ) -> bool:
        """Whether the rules protect another path that the app may read.

        Called only if `protects` returned False.
        """
        structure = self._structure or self._inspected(app)
        matching = with_matching_claims(request) if request.claimed_mounts else request
        if matching is None:
            return True
        rules = self._recent if recent else self._rules
        if (
            matching.mount
            and not matching.claimed_mounts
            and matching.raw is None
            and self.app_reads_once(app)
        ):
            # The usual request below a mount point: `readings` yields these only.
            return any(
                rules.protects(path, is_certain=is_certain)
                for path, is_certain in below_mount(matching.full_path, matching.mount)
                if path != request.path
            )
        return any(
            rules.protects(path, is_certain=is_certain, public_path=public_path)
            for path, is_certain, public_path in readings(matching, structure)
            if path != request.path
        )

    def app_reads_once(self, app: object) -> bool:
        """Whether `protects_reading` is False for paths that the server reads one way.

        It does so if the request has no mount point and no header that may be one, and
        if its path needed no decoding. Nearly all requests are such; `readings` yields
        nothing for them, unless the app changes paths by itself.
        """
        structure = self._structure or self._inspected(app)
        if structure.prefixes:
            prefixes = "".join([prefix() for prefix in structure.prefixes])
            return not (structure.routes_raw_path or prefixes.strip("/"))
        return not structure.routes_raw_path

    def _inspected(self, app: object) -> AppStructure:
        self._structure = structure = inspect_app(app)
        self._warn_of_unused(app, structure)
        return structure

    def _warn_of_unused(self, app: object, structure: AppStructure) -> None:
        """Report rules that match no route of the app: most likely misspelt ones."""
        prefixes = [prefix() for prefix in structure.prefixes]
        found = [
            rule
            for rule in rules_without_route(self._settings.protected, app)
            if not any(rule.startswith(prefix) for prefix in prefixes if prefix)
        ]
        if found:
            logger.warning(
                "protect lists paths that match no route of the app: %s", found
            )


class PathRules:
    """`protect` and `public` rules; the longest rule that matches a path decides."""

    __slots__ = ("_protect", "_public", "_starts")

    def __init__(self, protect: Iterable[str], public: Iterable[str]) -> None:
        """Take rules that the settings have checked."""
        #: The rule, the same with a slash at the end, and its length as written; the
        #: longest first. `protect` rules are folded.
        self._protect = [(fold(a), fold(b), n) for a, b, n in _longest_first(protect)]
        self._public = _longest_first(public)
        #: A folded path that begins with none of these matches no `protect` rule.
        self._starts = tuple(text for rule in self._protect for text in rule[:2])

    def __bool__(self) -> bool:
        """Whether any path is protected."""
        return bool(self._protect)

    def protects(
        self, path: str, *, is_certain: bool = True, public_path: str | None = None
    ) -> bool:
        """Whether a path needs a login in any of its spellings.

        Args:
            path: decoded, as the server gives it.
            is_certain: False for a form of the path that no framework serves in place
                of the requested path, but for which a rule may have been written. The
                rule "/" does not count for such a form: if it applies, it protects the
                requested path anyway.
            public_path: the path to which `public` rules are applied, if not `path`.
        """
        path = path or "/"
        if len(path) > _LONGEST_PATH:
            return bool(self._protect)
        given = path if public_path is None else public_path
        if path[:1] == "/" and "//" not in path and _ODD.search(path) is None:
            return self._decides(path.lower(), given, is_certain=is_certain)
        if not (path.isascii() or _is_short(path)):
            return bool(self._protect)
        return self._decides(
            fold(path), given, is_certain=is_certain
        ) or self._protects_odd(path, public_path, is_certain=is_certain)

    def _decides(self, folded: str, given: str, *, is_certain: bool) -> bool:
        """Whether the longest rule that matches a path protects it.

        `protect` rules ignore case, as some frameworks (BlackSheep) and file systems
        do; `public` rules do not.

        Args:
            folded: the path without differences of case.
            given: the path to which `public` rules are applied.
            is_certain: as for `protects`.
        """
        if not folded.startswith(self._starts):  # the usual case
            return False
        public_length = 0
        for rule, below_rule, length in self._public:
            if given == rule or given.startswith(below_rule):
                public_length = length
                break
        for rule, below_rule, length in self._protect:
            if length <= public_length:
                return False
            if folded == rule or folded.startswith(below_rule):
                return is_certain or length > 1
        return False

    def _protects_odd(
        self, path: str, public_path: str | None, *, is_certain: bool
    ) -> bool:
        """Whether any spelling is protected.

        An unknown spelling counts as protected if there are `protect` rules.
        """
        # Some programs read a path without a slash in front as a whole URL.
        if path[:1] != "/" or len(path) > _LONGEST_ODD:
            return bool(self._protect)
        for spelling in spellings(path):
            if spelling is None:
                return bool(self._protect)
            given = spelling if public_path is None else public_path
            if self._decides(fold(spelling), given, is_certain=is_certain):
                return True
        return False


def _is_short(text: str) -> bool:
    """Whether a text is short, and stays so when it is normalised.

    NFKC turns one character (U+FDFA) into 18; ordinary Arabic text may contain one.
    """
    if len(text) > _LONGEST_ODD:
        return False
    return len(unicodedata.normalize("NFKC", text)) <= 3 * len(text) + 32


def _longest_first(rules: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return rules without a slash at the end, with one, and their lengths."""
    bare = dict.fromkeys(rule.rstrip("/") or "/" for rule in rules)
    made = [(rule, rule.rstrip("/") + "/", len(rule)) for rule in bare]
    return sorted(made, key=lambda rule: -rule[2])

"""Path rules decide in a short way about most paths, and as they would in the long way.

The long way is written here once more, without any shortcut: every rule, every
spelling, every header, every reading. Whatever the path, mount point, headers and app,
each middleware gives the same answer.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware
from tiktok_oauth_middleware._web.app_structure import AppStructure
from tiktok_oauth_middleware._web.path_readings import (
    RequestPath,
    readings,
    with_matching_claims,
)
from tiktok_oauth_middleware._web.path_spellings import fold, spellings
from tiktok_oauth_middleware._web.rules import AppRules, PathRules, _is_short

from ..conftest import make_settings
from ..support.odd_paths import spelled

EXAMPLES = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 300
PROFILE = settings(
    deadline=None,
    derandomize=EXAMPLES == 300,
    max_examples=EXAMPLES,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# --- the long way ------------------------------------------------------------------


class LongRules:
    """`PathRules` by its documentation."""

    def __init__(self, protect, public):
        self.protect, self.public = protect, public

    def protects(self, path, *, is_certain=True, public_path=None):
        path = path or "/"
        if path[:1] != "/" or not (path.isascii() or _is_short(path)):
            return bool(self.protect)
        for spelling in [path, *spellings(path)]:
            if spelling is None:
                return bool(self.protect)
            given = spelling if public_path is None else public_path
            public = longest(self.public, given, lambda text: text)
            protected = longest(self.protect, fold(spelling), fold)
            if protected > public and (is_certain or protected > 1):
                return True
        return False


def longest(rules, path, spell):
    """Return the length of the longest rule that fits a path; 0 if none does."""
    bare = [rule.rstrip("/") for rule in rules]
    fitting = [
        len(rule) or 1
        for rule in bare
        if path == spell(rule or "/") or path.startswith(spell(rule + "/"))
    ]
    return max(fitting, default=0)


def is_protected(rules, case, mount_point, request):
    """Return the answer for a request, of which `request` has every header."""
    if mount_point.is_stray or rules.protects(request.path):
        return True
    matching = with_matching_claims(request)
    return matching is None or any(
        rules.protects(each, is_certain=is_certain, public_path=public_path)
        for each, is_certain, public_path in readings(matching, case.structure)
        if each != request.path
    )


def asgi_request(scope, path):
    full_path, target = scope["path"], scope["raw_path"]
    claimed = {v for _, v in scope["headers"] if v.startswith(b"/") and v != b"/"}
    raw, text = None, ""
    if target is not None and target != full_path.encode("utf-8", "replace"):
        target = target.partition(b"?")[0]
        raw, text = unquote_to_bytes(target), target.decode("latin-1")
    return RequestPath(path, full_path, scope["root_path"], claimed, raw, text)


def sent_in(environ):
    """Return the headers of an environ that may be a mount point."""
    return {
        value.encode("latin-1")
        for name, value in environ.items()
        if name.startswith("HTTP_") and value.startswith("/") and value != "/"
    }


# --- inputs ------------------------------------------------------------------------

PROTECT = ["/app", "/static/Private", "/café", "/api/v1/other"]
PUBLIC = ["/app/open", "/café/Karte"]
SEGMENTS = [
    "app",
    "App",
    "open",
    "x",
    "apple",
    "static",
    "private",
    "api",
    "v1",
    "other",
]
PIECES = [
    *("/" + segment for segment in SEGMENTS),
    *SEGMENTS,
    *[
        "/",
        "//",
        "\\",
        ".",
        "..",
        "./",
        "/.",
        ";",
        ";x=y",
        "?",
        "#",
        "%",
        "%2f",
        "%61pp",
    ],
    *["%2e%2e", "%252f", "%c3%a9", "%ff", "~", "@", "-", " ", "\n", "\x7f", "é", "É"],
    *["/café", "Karte", "\ufffd", "\u200b", "\uff41", "\u2025", "\u0301", "\ufdfa"],
]
plain_paths = st.lists(st.sampled_from(SEGMENTS), max_size=4).map(
    lambda segments: "/" + "/".join(segments)
)
odd_paths = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
any_paths = st.text(max_size=12).map(
    lambda text: "/" + text.encode("utf-8", "replace").decode()
)
#: Prefixes that a server, an app or a program before it may remove, and what is left.
PREFIXES = ["/api/v1", "/api", "/x", "/é", "/shop", "/app/open", "/"]
RESTS = ["/app", "app", "/APP/x", "/static/private", "/café", "/ap\ufffdp", "/x"]
paths = st.sampled_from(RESTS) | plain_paths | odd_paths | any_paths
rule_lists = st.sampled_from(
    [
        (PROTECT, PUBLIC),
        (PROTECT, []),
        (["/"], PUBLIC),
        (["/app/open/x", "/app"], PUBLIC),
    ]
)


@st.composite
def asked(draw):
    """Return a request, and the app's structure: mostly one thing is out of the usual.

    That is a mount point, a header, a prefix that the app removes, or an app that reads
    the raw path.
    """
    odd = draw(st.sampled_from([["mount"], ["header"], ["app"], ["raw"], []]))
    if draw(st.integers(0, 3)) == 0:
        odd = ["mount", "header", "app", "raw"]
    prefix = draw(st.sampled_from(PREFIXES))
    rest = draw(st.just("/staticprivate") | paths if odd == ["raw"] else paths)
    mounts, headers, prefixes, stems = [""], [[]], [[]], [[]]
    if "mount" in odd:
        mounts = [prefix, prefix + "/", prefix[1:], "/", "/shop"]
    if "header" in odd:
        headers = [[prefix], [prefix + "/"], ["/", prefix], ["/x"], [prefix, "/q"]]
    if "app" in odd:
        prefixes = [[prefix], ["", prefix], ["/", prefix + "/"], ["/"]]
    if "raw" in odd:
        stems = [[], ["/app/open", "/static"]]
    sent = draw(st.sampled_from(headers))
    if draw(st.booleans()):
        others = st.sampled_from(["", "/", "0", "*/*", "text/html", "api"])
        sent = [*sent, *draw(st.lists(others | odd_paths, max_size=3))]
    strip, found = draw(st.sampled_from(prefixes)), draw(st.sampled_from(stems))
    return SimpleNamespace(
        path=draw(st.sampled_from([rest, prefix + rest, prefix + rest])),
        mount=draw(st.sampled_from(mounts)),
        headers=[each.encode("utf-8", "replace") for each in sent],
        rules=draw(rule_lists),
        structure=AppStructure(
            [lambda each=each: each for each in strip],
            [lambda: found],
            routes_raw_path="raw" in odd,
        ),
    )


def case_of(path, *, mount="", header=None, prefix="", stem=None, rules=(PROTECT, [])):
    """Return a request of which one thing decides, and which is protected by it."""
    return SimpleNamespace(
        path=path,
        mount=mount,
        headers=[] if header is None else [header],
        rules=rules,
        structure=AppStructure(
            [lambda: prefix],
            [lambda: [] if stem is None else [stem]],
            routes_raw_path=stem is not None,
        ),
    )


MOUNTED = case_of("/y", mount="/app")
SENT = case_of("/api/app", header=b"/api")
STRIPPED = case_of("/api/app", prefix="/api")
UNDECODED = case_of("/staticprivate", stem="/static")
LATIN = case_of("/café")
OPEN = case_of("/x/app")
#: The prefix alone is as long as the path; the slashes behind it do not count.
SLASHES = case_of(
    "/app/open", header=b"/app/open" + 40 * b"/", rules=(["/"], ["/app/open"])
)


def check(kind, case, mount_point, request, *given):
    """Compare the answer of a middleware with that of the long way."""
    protect, public = case.rules
    rules = AppRules(make_settings(protect=protect, public=public))
    rules._structure = case.structure
    middleware = SimpleNamespace(
        _core=SimpleNamespace(rules=rules), _rules=rules, app=None, get_response=None
    )
    expected = is_protected(LongRules(protect, public), case, mount_point, request)
    assert kind._is_protected(middleware, *given) is expected


def environ_of(case):
    """Return WSGI's entries: headers, and others that must not count as one."""
    return {
        "HTTP": "/x",
        "HTTPS_X": "/x",
        "GUNICORN_URI": "/x",
        "REQUEST_URI": "/x",
        "wsgi.input": None,
        "SCRIPT_NAME": case.mount.encode().decode("latin-1"),
        **{
            f"HTTP_X_{number}": value.decode("latin-1")
            for number, value in enumerate(case.headers)
        },
    }


USUAL = SimpleNamespace(is_stray=False, mount="")


@PROFILE
@given(paths, rule_lists, st.booleans(), st.none() | paths)
def test_one_path(path, lists, is_certain, public_path):
    """A path that needs no second look has no other spelling."""
    more = {"is_certain": is_certain, "public_path": public_path}
    expected = LongRules(*lists).protects(path, **more)
    assert PathRules(*lists).protects(path, **more) is expected


@pytest.mark.parametrize("path", ["/app", "/app/open", "/café/Karte", "/x/app"])
def test_each_odd_spelling(path):
    """The same for each spelling of a path that some program takes for another."""
    short, long = PathRules(PROTECT, PUBLIC), LongRules(PROTECT, PUBLIC)
    for each in spelled(path):
        assert short.protects(each) is long.protects(each), ascii(each)


@PROFILE
@given(asked(), st.booleans(), st.sampled_from("uql-"))
@example(MOUNTED, True, "u")
@example(SENT, False, "u")
@example(STRIPPED, False, "u")
@example(UNDECODED, False, "u")
@example(LATIN, False, "l")
@example(OPEN, False, "u")
@example(SLASHES, False, "u")
def test_asgi(case, is_below, target):
    """Under ASGI: with the mount point in the path or not, and any raw path."""
    path, sent_path = case.path, ""
    if target == "l":  # bytes of Latin-1, which are no UTF-8
        sent_path = quote(path, encoding="latin-1", errors="replace")
        path = unquote_to_bytes(sent_path).decode("utf-8", "replace")
    mount = case.mount if is_below else ""
    full_path = mount + path
    raw_path = {
        "u": full_path.encode("utf-8", "replace"),
        "q": quote(full_path).encode() + b"?next=/app",
        "l": (quote(mount) + sent_path).encode(),
        "-": None,
    }[target]
    scope = {
        "path": full_path,
        "root_path": case.mount,
        "raw_path": raw_path,
        "headers": [(b"x", value) for value in case.headers],
    }
    request = asgi_request(scope, path)
    check(TikTokOAuthMiddleware, case, USUAL, request, scope, path, USUAL)


@PROFILE
@given(
    asked(), st.just(b"") | st.binary(max_size=3), st.sampled_from(["utf-8", "latin-1"])
)
@example(MOUNTED, b"", "utf-8")
@example(SENT, b"", "utf-8")
@example(STRIPPED, b"", "utf-8")
@example(UNDECODED, b"", "utf-8")
@example(LATIN, b"", "latin-1")
@example(OPEN, b"", "utf-8")
@example(SLASHES, b"", "utf-8")
def test_wsgi(case, more, encoding):
    """Under WSGI: bytes that are no text, and entries that are no headers."""
    raw = case.path.encode(encoding, "replace") + more
    environ = {**environ_of(case), "PATH_INFO": raw.decode("latin-1")}
    path = raw.decode("utf-8", "replace") or "/"
    bare = case.mount.strip("/")
    mount_point = SimpleNamespace(is_stray=False, mount=f"/{bare}" if bare else "")
    request = RequestPath(
        path,
        mount_point.mount + path,
        case.mount,
        sent_in(environ),
        None if raw.isascii() else raw,
    )
    given = (environ, path, mount_point)
    check(TikTokOAuthWSGIMiddleware, case, mount_point, request, *given)


@PROFILE
@given(asked())
@example(SENT)
@example(STRIPPED)
@example(UNDECODED)
@example(OPEN)
@example(SLASHES)
def test_django(case):
    """In Django's MIDDLEWARE: with paths as Django decodes them."""
    from tiktok_oauth_middleware.django.middleware import TikTokMiddleware

    meta, whole = environ_of(case), case.mount.rstrip("/") + case.path
    project = SimpleNamespace(path_info=case.path, path=whole, META=meta)
    request = RequestPath(case.path, whole, meta["SCRIPT_NAME"], sent_in(meta))
    check(TikTokMiddleware, case, USUAL, request, project, USUAL)

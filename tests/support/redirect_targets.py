"""Targets of redirects: those that must be refused, and those that must be accepted.

`REFUSED` has typical open redirects, chosen by hand and built from parts: slashes,
hosts, schemes, control characters, dots. `HARMLESS` targets look similar and stay on
the site; `GOOD` has paths of ordinary sites, in all usual spellings. The tests check
with a browser's parser which targets leave the site.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

#: The longest target, in percent-encoded bytes.
LONGEST = 2048

# --- refused -----------------------------------------------------------------------
#: Chosen by hand: each has fooled some check, or breaks a parser.
BY_HAND = [
    # another scheme or host, plainly
    "https://evil.example",
    "http://evil.example/",
    "HTTPS://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/////evil.example/%2f..",
    "//evil.example/%2f%2e%2e",
    "//evil.example:443/",
    "//[::1]/",
    "//0x7f000001/",
    "//app.example.com@evil.example/",
    "//evil.example#@app.example.com",
    "//evil.example?app.example.com",
    "ftp://evil.example/",
    "ws://evil.example/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "\x01javascript:alert(1)",
    "javascript://app.example.com/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "blob:https://app.example.com/x",
    "mailto:x@evil.example",
    # similar to our address
    "https://app.example.com.evil.example/",
    "https://app.example.com@evil.example/",
    "https://app.example.com:pw@evil.example/",
    "https://app.example.com\\@evil.example/",
    "https://app.example.com\t@evil.example/",
    "https://evil.example/https://app.example.com/",
    "https://evil.example\\.app.example.com/",
    "https://evil.example%00.app.example.com/",
    "https://app.example.com%2eevil.example/",
    "https://app.example.com/",
    "//app.example.com/",
    # backslashes are slashes to a browser
    "\\\\evil.example",
    "\\/evil.example",
    "/\\evil.example",
    "/\\\\evil.example",
    "/\\/evil.example",
    "\\/\\/evil.example",
    "/x/../\\evil.example",
    "/\\\tevil.example",
    "/\\evil.example\\@app.example.com",
    # browsers remove tabs and line breaks
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    "\n//evil.example",
    "/\t\\evil.example",
    "/\t\t//evil.example",
    "h\nttps://evil.example",
    "/\x00/evil.example",
    "\x00//evil.example",
    "/\x0b/evil.example",
    "/\x0c/evil.example",
    "/\x1f/evil.example",
    "/\x7f/evil.example",
    # browsers remove leading blanks
    " //evil.example",
    "  https://evil.example",
    "\u00a0//evil.example",
    "\u2003//evil.example",
    "\ufeff//evil.example",
    "\x85//evil.example",
    # dot segments
    "/.//evil.example",
    "/..//evil.example",
    "/./\\evil.example",
    "/%2e//evil.example",
    "/%2E%2e//evil.example",
    "/x/..//evil.example",
    "/x/../..//evil.example",
    "/.%2e/\\/evil.example",
    "/x/%2e%2e//evil.example",
    "/x/.",
    "/x/..",
    "/..",
    "/.",
    "/x/%2E%2E",
    "/.?x",
    "/..#x",
    # relative paths
    "evil.example",
    "evil.example/x",
    "x",
    "./x",
    "../x",
    "../../x",
    "?x",
    "#x",
    ";//evil.example",
    "@evil.example",
    ":80//evil.example",
    "*",
    "",
    " ",
    # headers
    "/x\r\nSet-Cookie: a=b",
    "/x\nLocation: https://evil.example",
    "/x\r\n\r\n<script>",
    "/x\x00",
    "/x\x1b[31m",
    # not a text, host or address
    "//[",
    "//[::1",
    "https://[::1",
    "https://evil.example:99999/",
    "https://evil.example:port/",
    "//\u2100.evil.example/",
    "//evil\u3002example/",
    "\uff0f\uff0fevil.example",
    "\u2044evil.example",
    "\u29f8\u29f8evil.example",
    "/\ud800",
    "/x\udfff",
    "\ud800",
    # our own addresses
    "/auth/tiktok/login",
    "/auth/tiktok/callback",
    "/auth/tiktok/logout",
    "/auth/tiktok/login?next=/x",
    "/auth/tiktok/login#x",
    "/auth/tiktok/%6cogin",
    "/%61uth/tiktok/%6C%6f%67%69%6e?x",
    "/auth%2ftiktok%2flogin",
    "/auth/x/../tiktok/login",
]

HOSTS = [
    "evil.example",
    "EVIL.EXAMPLE",
    "evil.example.",
    "evil.example:443",
    "evil.example:80",
    "evil.example:",
    "app.example.com@evil.example",
    "app.example.com:443@evil.example",
    "app.example.com%40evil.example",
    "app.example.com.evil.example",
    "app.example.com%2eevil.example",
    "evil.example#app.example.com",
    "evil.example?.app.example.com",
    "evil.example\\.app.example.com",
    "evil.example/app.example.com",
    "evil.example%00.app.example.com",
    "e\tvil.example",
    "evil\n.example",
    "evil\u3002example",
    "evil\uff0eexample",
    "\u24d4vil.example",
    "xn--bcher-kva.example",
    "b\u00fccher.example",
    "198.51.100.7",
    "3325256711",
    "0xc6336407",
    "0306.063.0144.07",
    "[2001:db8::7]",
    "[::ffff:198.51.100.7]",
    "app.example.com",
]

#: Prefixes that make the rest a host to a browser, server or proxy.
SLASHES = [
    "//",
    "///",
    "////",
    "/////////",
    "\\\\",
    "\\/",
    "/\\",
    "/\\/",
    "/\\\\",
    "\\\\\\",
    "\\",
    "/\t/",
    "/\n/",
    "/\r/",
    "/\r\n/",
    "/\t\\",
    "/\n\\",
    "\t//",
    "\n//",
    "\r\n//",
    "\x00//",
    "\x01//",
    "\x1f//",
    "\x7f//",
    " //",
    "  //",
    "\u00a0//",
    "\u3000//",
    "\ufeff//",
    "/\x00/",
    "/\x0b/",
    "/\x7f/",
    "/.//",
    "/..//",
    "/../..//",
    "/./\\",
    "/%2e//",
    "/%2E%2E//",
    "/x/..//",
    "/x/%2e%2E//",
    "//\t/",
    "//\\",
    "%2f%2f",
    "%2F/",
    "%5c%5c",
    "%09//",
    "%0d%0a//",
    "%20//",
    "%00//",
    "\uff0f\uff0f",
    "\u2215\u2215",
    "\u29f8/",
]

SCHEMES = [
    "http:",
    "https:",
    "HTTPS:",
    "hTTp:",
    "h\tttps:",
    "https\n:",
    " https:",
    "\x01https:",
    "\u00a0https:",
    "https%3a",
    "ftp:",
    "ws:",
    "wss:",
    "file:",
    "javascript:",
    "JavaScript:",
    "java\nscript:",
    "\tjavascript:",
    "javascript&colon;",
    "data:text/html,",
    "vbscript:",
    "blob:https:",
    "filesystem:https:",
    "view-source:https:",
    "about:",
    "intent:",
    "tiktok:",
    "snssdk1233:",
    "x-evil:",
    "mailto:",
    "tel:",
]

#: Texts that end or split a header.
BREAKS = ["\r\n", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f"]
BROKEN = ["Location: https://evil.example", "Set-Cookie: a=b", "\r\n<script>", ""]

TOO_LONG = [
    "/" + "a" * LONGEST,
    "/" + "a/" * LONGEST,
    "/" + "\u00fc" * (LONGEST // 6 + 1),
    "/" + " " * (LONGEST // 3 + 1),
    "/p?u=" + "%41" * LONGEST,
    "/#" + "a" * LONGEST,
    "//evil.example/" + "a" * LONGEST,
    "https://evil.example/" + "a" * 40_000,
    "/" * 5000,
    "/\\" * 5000,
]


def _built() -> Iterable[str]:
    for slashes, host in itertools.product(SLASHES, HOSTS):
        yield f"{slashes}{host}"
    for scheme, slashes in itertools.product(SCHEMES, ["", "/", "//", "///", "\\\\"]):
        yield f"{scheme}{slashes}evil.example/x"
        yield f"{scheme}{slashes}app.example.com@evil.example"
    for where, line, what in itertools.product(["/", "/x?y=", "/#"], BREAKS, BROKEN):
        yield f"{where}{line}{what}"
    for dots in (".", "..", "%2e", "%2E%2e", ".%2e", "%2e."):
        for tail in ("", "/", "/x", "?x", "#x", "//evil.example"):
            yield f"/{dots}{tail}"
            yield f"/a/b/{dots}{tail}"
    yield from TOO_LONG


#: For each of these targets the login ends at the default page.
REFUSED = [*dict.fromkeys([*BY_HAND, *_built()])]

# --- harmless: looks like an attack, and is a path of this site --------------------
HARMLESS = [
    *(
        f"/{inner}evil.example/x"
        for inner in (
            "",
            "@",
            ":",
            ":80/",
            ";/",
            ";//",
            "x//",
            "x///",
            "https://",
            "https:/",
            "https:",
            "javascript:",
            "%2f",
            "%2F%2F",
            "%5c",
            "%5C/",
            "%09/",
            "%0a/",
            "%0d%0a/",
            "%00/",
            "%20/",
            "%252f",
            "%255c%255c",
            "%25252f",
            "...//",
            "..;/",
            ".x/..y/",
            "~//",
            "*//",
            "$//",
            "app.example.com@",
            "app.example.com:443@",
        )
    ),
    *(
        f"/p{mark}{inner}"
        for mark in ("?u=", "?u=a&next=", "#", "?#", "?x#")
        for inner in (
            "https://evil.example/",
            "//evil.example",
            "%5C%5Cevil.example",
            "javascript:alert(1)",
            "/../..//evil.example",
            "..",
            "@evil.example",
            "%0d%0aLocation:%20https://evil.example",
        )
    ),
]

# --- good --------------------------------------------------------------------------
PATHS = [
    "/",
    "/videos",
    "/videos/",
    "/a/b/c/d/e/f/g/h.html",
    "/a//b",
    "/user/@name",
    "/user:1;v=2",
    "/.well-known/x",
    "/..a/b..",
    "/...",
    "/a%20b",
    "/a%2Fb",
    "/100%25",
    "/%C3%BC",
    "/caf\u00e9",
    "/\u65e5\u672c\u8a9e/\u30da\u30fc\u30b8",
    "/\u0645\u0631\u062d\u0628\u0627",
    "/\U0001f3b5",
    "/a b",
    "/a'b(c)!*~$&=+,",
    "/auth/tiktok",
    "/auth/tiktok/logins",
    "/auth/tiktok/login/x",
]
QUERIES = [
    "",
    "?",
    "?page=2",
    "?page=2&sort=new&tag=a&tag=b",
    "?u=https://elsewhere.example/x?y=z",
    "?u=https%3A%2F%2Felsewhere.example%2F",
    "?next=/auth/tiktok/login",
    "?q=a+b%2Bc",
    "?q=caf\u00e9",
    "?q=\u65e5\u672c&r=\U0001f3b5",
    "?filter[name]=x",
    "?a=1;b=2",
    "?t=12:30",
    "?q=%FF%00",
]
FRAGMENTS = ["", "#", "#top", "#/route?x=y", "#caf\u00e9"]

#: For each of these targets the login ends exactly there.
GOOD = [
    *("".join(parts) for parts in itertools.product(PATHS, QUERIES, FRAGMENTS)),
    "/" + "x" * (LONGEST - 1),
    "/p?q=" + "x" * (LONGEST - 5),
    "/" + "\u00fc" * 341,
]

"""Findings about keys, cookies and sessions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.findings import Finding, good, note, wrong
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.settings.validate import KEY_COMMAND

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

_BITS = 128
#: Alphabets of keys, the smallest first, with their size.
_ALPHABETS = (
    (re.compile(r"[0-9]+"), 10),
    (re.compile(r"[0-9a-f]+|[0-9A-F]+"), 16),
    (re.compile(r"[a-z0-9]+|[A-Z0-9]+"), 36),
    (re.compile(r"[A-Za-z0-9_-]+"), 64),
)
_MANY_KEYS = 3
#: Cookie names of frameworks. On loopback ours has no prefix that distinguishes it.
_FRAMEWORK_COOKIES = ("session", "sessionid", "csrftoken")


def findings(settings: TikTokSettings) -> Iterator[Finding]:
    """Return the findings about keys, cookies and sessions."""
    yield from _keys(settings)
    yield from _cookies(settings)
    if settings.session_idle >= settings.session_lifetime:
        yield note(
            "idle_never_counts",
            "session_idle",
            "session_idle is as long as session_lifetime or longer, so it never counts;"
            " that is harmless: sessions end after session_lifetime",
            "nothing, unless unused sessions should end sooner",
        )
    if not settings.pkce:
        yield note(
            "pkce_off",
            "pkce",
            "pkce is off: a stolen code works without its verifier",
            "turn it on, unless TikTok's page complains of code_challenge",
        )


def _keys(settings: TikTokSettings) -> Iterator[Finding]:
    keys = [reveal(key) for key in settings.secret_keys]
    for place, key in enumerate(keys):
        bits = _bits(key)
        if bits < _BITS:
            yield note(
                "weak_key",
                "secret_keys",
                f"secret_keys[{place}] has at most {bits} bits of randomness, judged by"
                " its characters and length",
                f"make one with {KEY_COMMAND}",
            )
    if len(keys) > _MANY_KEYS:
        yield note(
            "many_keys",
            "secret_keys",
            f"secret_keys lists {len(keys)} keys, and anyone who has one can sign in"
            " as any user",
            "remove those that have not been the first for session_lifetime",
        )
    yield good(
        "secret_keys",
        "secret_keys",
        f"secret_keys: {len(keys)} in use, the first of {len(keys[0])} characters",
    )


def _bits(key: str) -> int:
    """Return the most bits that a random key of this alphabet and length has."""
    sizes = (size for alphabet, size in _ALPHABETS if alphabet.fullmatch(key))
    return int(len(key) * math.log2(next(sizes, 94)))


def _cookies(settings: TikTokSettings) -> Iterator[Finding]:
    if not settings.is_loopback:
        yield good(
            "cookies",
            "redirect_uri",
            f"cookies are __Host-{settings.cookie_name}, Secure, HttpOnly,"
            f" SameSite=Lax: for {settings.origin} alone, over https",
        )
    elif settings.cookie_name in _FRAMEWORK_COOKIES:
        yield wrong(
            "cookie_collides",
            "cookie_name",
            f"cookie_name is {settings.cookie_name}, the name of a framework's own"
            " cookie; on loopback ours lacks the prefix __Host-",
            "choose another name",
        )
    else:
        yield note(
            "cookies_plain",
            "redirect_uri",
            f"cookies have neither Secure nor __Host-, over plain http to"
            f" {settings.origin}",
            "nothing, in development; with an https redirect_uri they have both",
        )
    for origin in settings.websocket_origins:
        if origin.startswith("http://") and not settings.is_loopback:
            yield note(
                "websocket_origin_plain",
                "websocket_origins",
                f"websocket_origins trusts {origin}, a page over plain http",
                "serve it over https: anyone in between can change such a page",
            )

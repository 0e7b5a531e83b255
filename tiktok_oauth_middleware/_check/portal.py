"""Findings about the settings: TikTok's portal, scopes, and the app's own paths.

https://developers.tiktok.com/doc/login-kit-web and .../login-kit-desktop say what the
portal accepts. A rule that TikTok does not document, and only developers have reported,
gives a note.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tiktok_oauth_middleware._core.findings import Finding, good, note, wrong
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._oauth.scopes import BASIC_SCOPE
from tiktok_oauth_middleware.settings.endpoints import ADDRESSES
from tiktok_oauth_middleware.settings.own_paths import own_paths
from tiktok_oauth_middleware.settings.validate import DESKTOP_HOSTS

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

#: Names whose ownership cannot be proved (RFC 6761, RFC 6762, RFC 9476, ICANN).
_PRIVATE_NAMES = ("local", "localhost", "internal", "test", "example", "invalid", "alt")
_KEY_BEGINNINGS = ("aw", "sb")
#: The form of TikTok's client keys so far.
_CLIENT_KEY = re.compile(r"(aw|sb)[a-z0-9]{10,20}")
#: The default key of `FakeTikTok`, which ``sandbox`` prints; a test compares the two.
STAND_IN_KEY = "awstandinclientkey"
#: Seconds; a smaller `profile_max_age` can exceed TikTok's rate limit.
_SHORT_PROFILE_AGE = 600


def findings(settings: TikTokSettings, mount: str) -> Iterator[Finding]:
    """Return the findings about TikTok's portal, and about the app's own paths."""
    yield from _redirect_uri(settings)
    yield from _paths(settings, mount)
    yield from _client_key(settings)
    yield from _previous_secret(settings)
    yield from _scope_findings(settings)
    yield from _rules(settings)
    yield from _endpoints(settings)


def registration(settings: TikTokSettings, mount: str) -> dict[str, Any]:
    """Return the values to enter in TikTok's portal."""
    webhook = settings.webhook_path
    return {
        "tab": "Desktop" if _is_desktop(settings) else "Web",
        "redirect_uri": settings.redirect_uri,
        "scopes": sorted({*settings.scopes, *settings.optional_scopes}),
        "webhook": None if webhook is None else f"{settings.origin}{mount}{webhook}",
    }


def _is_desktop(settings: TikTokSettings) -> bool:
    """Whether TikTok's portal takes the redirect URI in its Desktop tab only."""
    return urlsplit(settings.redirect_uri).hostname in DESKTOP_HOSTS


def _redirect_uri(settings: TikTokSettings) -> Iterator[Finding]:
    if _is_desktop(settings):
        yield note(
            "redirect_uri_loopback",
            "redirect_uri",
            "redirect_uri is on loopback: it is for development, and belongs in"
            " TikTok's Desktop tab",
            f"open the app at {settings.origin}/ and no other spelling; for users, use"
            " an https address of your own",
        )
        return
    odd = [*_host(settings)]
    yield from odd
    if not odd:
        yield good("redirect_uri", "redirect_uri", "redirect_uri fits TikTok's Web tab")


def _host(settings: TikTokSettings) -> Iterator[Finding]:
    host = urlsplit(settings.redirect_uri).hostname or ""
    if _is_address(host):
        yield note(
            "redirect_uri_address",
            "redirect_uri",
            "redirect_uri has an IP address as its host, which TikTok's Web tab is"
            " reported to refuse",
            "use a domain of yours",
        )
    elif "." not in host or host.rpartition(".")[2] in _PRIVATE_NAMES:
        yield note(
            "redirect_uri_private",
            "redirect_uri",
            f"redirect_uri is at {host}: outside a sandbox TikTok demands a proof that"
            " you own the domain, and nobody can own this one",
            "use a domain of yours, or a tunnel with a fixed one; in development,"
            " http://127.0.0.1:PORT/... in the Desktop tab",
        )
    if settings.redirect_uri != f"{settings.origin}{settings.callback_path}":
        yield note(
            "redirect_uri_spelling",
            "redirect_uri",
            "redirect_uri is not written as browsers show it: scheme and host in lower"
            " case, no :443",
            "TikTok compares byte for byte: write it as a browser shows it, here and in"
            " the portal",
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _paths(settings: TikTokSettings, mount: str) -> Iterator[Finding]:
    callback = settings.callback_path
    if not callback.startswith(mount + "/"):
        yield wrong(
            "callback_outside_mount",
            "redirect_uri",
            f"redirect_uri's path {callback} is not below the mount point {mount}: no"
            " login can be finished",
            f"register {settings.origin}{mount}{callback}, if the app is mounted there",
        )
        return
    below = callback.removeprefix(mount)
    taken = [name for name, path in own_paths(settings).items() if path == below]
    for name in taken:
        yield wrong(
            "paths_collide",
            name,
            f"{name} is {below}, and without the mount point {mount} the callback has"
            " the same path",
            "give one of them another path",
        )
    if not taken:
        yield good(
            "paths", "redirect_uri", "no two paths of the middleware are the same"
        )


def _client_key(settings: TikTokSettings) -> Iterator[Finding]:
    """Check the beginning of the key; TikTok documents neither prefix."""
    key, secret = settings.client_key, reveal(settings.client_secret)
    leads_to_tiktok = settings.endpoints.token == ADDRESSES["token"]
    if key == STAND_IN_KEY and leads_to_tiktok:
        yield wrong(
            "stand_in_key",
            "client_key",
            "client_key is that of this package's stand-in, and the endpoints lead to"
            " TikTok, which does not know it",
            "take key and secret of your app from TikTok's portal; or set all variables"
            " that the stand-in prints",
        )
    elif key == STAND_IN_KEY:
        yield good(
            "client_key",
            "client_key",
            "client_key is that of this package's stand-in, for development and tests",
        )
    elif _CLIENT_KEY.fullmatch(secret) and not key.startswith(_KEY_BEGINNINGS):
        yield wrong(
            "key_and_secret_swapped",
            "client_key",
            "client_secret looks like a client key, and client_key does not: they seem"
            " to be swapped",
            "client_key is the shorter one, and begins with aw or sb",
        )
    elif re.fullmatch(r"[0-9]{15,}", key):
        yield wrong(
            "key_of_another_portal",
            "client_key",
            "client_key has digits only, like an app_id of TikTok's business or shop"
            " portal",
            "take the client key of an app at developers.tiktok.com, with Login Kit",
        )
    elif key.startswith("sb"):
        yield note(
            "sandbox_key",
            "client_key",
            "client_key looks like that of a sandbox, where only target users can log"
            " in",
            "in production take both key and secret from the app's Production tab",
        )
    elif not key.startswith("aw"):
        yield note(
            "odd_key",
            "client_key",
            "client_key does not begin with aw or sb, as TikTok's keys do so far",
            "compare it with the portal: it is the client key, not the app's id",
        )
    elif settings.is_loopback and leads_to_tiktok:
        yield note(
            "production_key",
            "client_key",
            "client_key looks like a production key, with a redirect_uri for"
            " development",
            "develop with a sandbox's key and secret: its scopes need no review",
        )
    else:
        yield good("client_key", "client_key", "client_key looks like a production key")


def _previous_secret(settings: TikTokSettings) -> Iterator[Finding]:
    if settings.previous_client_secret is not None:
        yield note(
            "previous_client_secret",
            "previous_client_secret",
            "previous_client_secret is set: it can still sign webhooks",
            "leave it out when TikTok has used the new secret for three days",
        )


#: The scopes as of November 2026.
#: https://developers.tiktok.com/docs/en/tiktok-api-scopes; copies of that page differ,
#: and TikTok adds scopes, so a scope that is missing here is only a note.
KNOWN_SCOPES = frozenset(
    (
        BASIC_SCOPE,
        "user.info.profile",
        "user.info.stats",
        "video.list",
        "video.upload",
        "video.publish",
        *(
            f"portability.{what}.{how}"
            for what in ("all", "postsandprofile", "activity", "directmessages")
            for how in ("single", "ongoing")
        ),
        "research.data.basic",
        "research.data.u18eu",
        "research.adlib.basic",
        "local.product.manage",
        "local.shop.manage",
        "local.voucher.manage",
        "artist.certification.read",
        "artist.certification.update",
        "minis.public.upsert",
    )
)
_OTHER_PORTAL = "a scope of TikTok's business portal, which has logins of its own"
#: Scopes of other APIs that appear in code, with an explanation.
_FOREIGN_SCOPES: Mapping[str, str] = {
    "video.create": "not a scope of this API; video.upload or video.publish is",
    "share.sound.create": "a scope of TikTok's first API, which was shut down",
    "video.query": "not a scope: video.list covers it",
    "user.info.email": "not a scope: TikTok gives no e-mail address",
    "user.info.phone": "not a scope: TikTok gives no phone number",
    "email": "not a scope: TikTok gives no e-mail address",
    "openid": "a scope of OpenID Connect, which TikTok does not speak",
    "profile": "a scope of OpenID Connect; TikTok's is user.info.profile",
    "offline_access": "a scope of OpenID Connect; TikTok gives a refresh token anyway",
}
_FOREIGN_BEGINNINGS = (
    "comment.",
    "message.",
    "biz.",
    "tto.",
    "ad.",
    "ads.",
    "user.insights",
    "user.account",
    "video.insights",
    "discovery.",
)


def _unknown_scopes(requested: AbstractSet[str]) -> Iterator[Finding]:
    for scope in sorted(requested - KNOWN_SCOPES):
        near = difflib.get_close_matches(scope, KNOWN_SCOPES, n=1, cutoff=0.75)
        if scope in _FOREIGN_SCOPES:
            what = _FOREIGN_SCOPES[scope]
        elif scope.startswith(_FOREIGN_BEGINNINGS):
            what = _OTHER_PORTAL
        else:
            what = "not known in November 2026"
            what += f": did you mean {near[0]}?" if near else ""
        yield note(
            "unknown_scope",
            "scopes",
            f"scopes ask for {scope}, which is {what}",
            "compare it with the scopes of your app in TikTok's portal: one that the"
            " app does not have makes every login fail",
        )


def _scope_findings(settings: TikTokSettings) -> Iterator[Finding]:
    requested = {*settings.scopes, *settings.optional_scopes}
    yield from _unknown_scopes(requested)
    if settings.fetch_user and not any(s.startswith("user.info.") for s in requested):
        yield note(
            "no_profile",
            "scopes",
            f"scopes contain no user.info.*: auth.user has only open_id, though"
            f" fetch_user is {settings.fetch_user}",
            f"ask for {BASIC_SCOPE}",
        )
    elif BASIC_SCOPE not in settings.scopes:
        yield note(
            "no_basic_scope",
            "scopes",
            f"scopes leave out {BASIC_SCOPE}, which comes with Login Kit",
            f"ask for {BASIC_SCOPE}, unless it is left out on purpose",
        )
    if settings.fetch_user and settings.profile_max_age < _SHORT_PROFILE_AGE:
        yield note(
            "profile_often",
            "profile_max_age",
            f"profile_max_age is {settings.profile_max_age:g} s: a user's requests ask"
            " TikTok for the profile that often, and TikTok accepts 600 such calls a"
            " minute for all users together",
            f"leave it at a day, or at {_SHORT_PROFILE_AGE} s or more",
        )
    yield good("scopes", "scopes", f"scopes ask for {', '.join(sorted(requested))}")


def _rules(settings: TikTokSettings) -> Iterator[Finding]:
    if settings.public and not settings.protected:
        yield note(
            "public_alone",
            "public",
            "public has rules and protect has none: every path is open anyway",
            "list in protect the paths that need a login",
        )
    if _asks(settings, settings.after_logout):
        yield note(
            "after_logout_protected",
            "after_logout",
            f"after_logout is {settings.after_logout}, which needs a login: a user who"
            " logs out is sent to log in",
            "let logout end on a public path",
        )


def _asks(settings: TikTokSettings, path: str) -> bool:
    """Whether a path needs a login; rules of `protect` ignore case."""
    path = unquote(urlsplit(path).path)
    folded = path.casefold()
    rules = [(r.rstrip("/"), folded, True) for r in settings.protected]
    rules = [(r.casefold(), path, asks) for r, path, asks in rules]
    rules += [(r.rstrip("/"), path, False) for r in settings.public]
    covering = [(r, asks) for r, at, asks in rules if f"{at}/".startswith(f"{r}/")]
    return max(covering, key=lambda rule: len(rule[0]), default=("", False))[1]


def _endpoints(settings: TikTokSettings) -> Iterator[Finding]:
    others = [
        name
        for name, usual in ADDRESSES.items()
        if getattr(settings.endpoints, name) != usual
    ]
    if others:
        yield note(
            "stand_in",
            "endpoints",
            f"endpoints do not lead to TikTok: {', '.join(others)}",
            "leave TIKTOK_ENDPOINTS_* unset, unless this is the stand-in",
        )

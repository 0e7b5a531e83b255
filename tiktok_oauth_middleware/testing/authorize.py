"""TikTok's checks of an authorization request, before its consent page.

A refusal is a page on TikTok's site, never a callback. It shows ``error``, ``errCode``,
the offending parameter as ``error_type``, and ``logid``. Only error codes that have
been observed are used; the others are 0.
(https://developers.tiktok.com/doc/login-kit-web and .../login-kit-desktop)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

Pairs = Sequence[tuple[str, str]]

_LOOPBACK = ("localhost", "127.0.0.1")
_MOST_REDIRECT_URIS = 10
_LONGEST_REDIRECT_URI = 511
_LONGEST_SHOWN = 200
_OURS = (
    "client_key",
    "response_type",
    "scope",
    "redirect_uri",
    "state",
    "disable_auto_auth",
    "code_challenge",
    "code_challenge_method",
)
_WRONG_CLIENT = 10003
_NO_CHALLENGE = 10007
_NO_METHOD = 10008


class Refused(Exception):
    """TikTok shows its own error page, and there is no callback."""

    def __init__(self, error: str, code: int, kind: str, text: str) -> None:
        number = f"errCode {code}, " if code else ""
        super().__init__(f"{error} ({number}error_type {kind}): {text}")
        self.error = error
        #: TikTok's ``errCode``; 0 if none has been observed.
        self.code = code
        #: TikTok's ``error_type``: the parameter that is wrong.
        self.kind = kind
        #: What is wrong, in the stand-in's words; TikTok's page says less.
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRequest:
    """A valid authorization request that the user has not decided on yet."""

    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    challenge: str
    ask_again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An app as it is registered in TikTok's portal."""

    client_key: str
    #: None accepts any that the portal would register.
    redirect_uris: tuple[str, ...] | None
    #: The scopes that the app is approved for.
    scopes: Collection[str]
    #: None: if the redirect URI is on loopback, as TikTok's documents say.
    require_pkce: bool | None = None


def read_authorize(query: Pairs, app: Registration) -> ConsentRequest:
    """Return the request of a query; parameters that TikTok does not know are ignored.

    Raises:
        Refused: TikTok would show its error page.
    """
    given = _known(query)
    if given.get("client_key") != app.client_key:
        text = _mismatch(given.get("client_key"), [app.client_key])
        _refuse("param_error", "client_key", text, _WRONG_CLIENT)
    if given.get("response_type") != "code":
        _refuse("unsupported_response_type", "response_type", "it must be code")
    uri = given.get("redirect_uri", "")
    _check_redirect_uri(uri, app.redirect_uris)
    scopes = tuple(dict.fromkeys(given.get("scope", "").split(",")))
    for scope in scopes:  # two scopes with a space between are one unknown scope
        if scope not in app.scopes:
            _refuse("invalid_scope", "scope", f"{scope!r} is not approved for the app")
    if not given.get("state"):
        _refuse("invalid_request", "state", "it is missing")
    if given.get("disable_auto_auth", "0") not in ("0", "1"):
        _refuse("invalid_request", "disable_auto_auth", "it must be 0 or 1")
    return ConsentRequest(
        redirect_uri=uri,
        scopes=scopes,
        state=given["state"],
        challenge=_challenge(given, app),
        ask_again=given.get("disable_auto_auth") == "1",
    )


def _refuse(error: str, kind: str, text: str, code: int = 0) -> NoReturn:
    raise Refused(error, code, kind, text)


def _mismatch(sent: str | None, registered: Sequence[str]) -> str:
    """Return a sentence with the sent and the registered value."""
    shown = f"the app sent {sent[:_LONGEST_SHOWN]!r}" if sent else "the app sent none"
    known = " and ".join(map(repr, registered)) or "none"
    return f"{shown}, and {known} is registered"


def _known(query: Pairs) -> Mapping[str, str]:
    """Return TikTok's parameters; refuse one that appears twice.

    RFC 6749 section 3.1: parameters must not be included more than once.
    """
    counted = Counter(name for name, _ in query if name in _OURS)
    twice = [name for name, times in counted.items() if times > 1]
    if twice:
        _refuse("invalid_request", twice[0], "it appears twice")
    return {name: value for name, value in query if name in _OURS}


def _challenge(given: Mapping[str, str], app: Registration) -> str:
    """Return the PKCE challenge; base64url is accepted, and fails at the exchange."""
    challenge = given.get("code_challenge", "")
    method = given.get("code_challenge_method")
    if not challenge:
        is_required = app.require_pkce
        if is_required is None:
            is_required = is_loopback(given["redirect_uri"])
        if is_required or method is not None:
            _refuse("param_error", "code_challenge", "it is required", _NO_CHALLENGE)
    elif method != "S256":
        _refuse("param_error", "code_challenge_method", "it must be S256", _NO_METHOD)
    return challenge


# --- redirect URIs -----------------------------------------------------------------


def is_loopback(uri: str) -> bool:
    """Whether TikTok's portal accepts this redirect URI only in its Desktop tab."""
    parts = _parts(uri)
    return parts is not None and parts.hostname in _LOOPBACK


def redirect_uri_fault(uri: str) -> str | None:
    """Return why TikTok's portal would not register `uri`; None if it would."""
    parts = _parts(uri)
    if parts is None or not parts.hostname or "@" in parts.netloc:
        return "it is not the address of a site"
    if len(uri) > _LONGEST_REDIRECT_URI:
        return "it has 512 characters or more"
    if "?" in uri or "#" in uri:
        return "it has a query or a fragment"
    if parts.hostname in _LOOPBACK:
        fits = parts.scheme in ("http", "https") and parts.port is not None
        return None if fits else "on loopback it must be http or https, with a port"
    if _is_ip(parts.hostname):
        return "its host is an IP address; only 127.0.0.1 may be"
    return None if parts.scheme == "https" else "it is not https"


def redirect_uri_faults(uris: Sequence[str]) -> list[str]:
    """Return why TikTok's portal would refuse an app's redirect URIs, if it would."""
    found = [f"{uri!r}: {fault}" for uri in uris if (fault := redirect_uri_fault(uri))]
    if len(uris) > _MOST_REDIRECT_URIS:
        found.append(f"more than {_MOST_REDIRECT_URIS} redirect URIs")
    return found


def _check_redirect_uri(uri: str, registered: Sequence[str] | None) -> None:
    """Compare byte for byte, or with the rules if nothing is registered."""
    if registered is None:
        fault = redirect_uri_fault(uri)
        if fault or ":*" in uri:
            _refuse("invalid_request", "redirect_uri", fault or "it has no real port")
    elif not any(_is_registered(known, uri) for known in registered):
        _refuse("invalid_request", "redirect_uri", _mismatch(uri, registered))


def _is_registered(registered: str, uri: str) -> bool:
    """Whether `uri` is the registered one; on loopback a port may be ``*`` there."""
    if not is_loopback(registered) or ":*" not in registered:
        return registered == uri
    before, after = map(re.escape, registered.split(":*", 1))
    return re.fullmatch(f"{before}:[0-9]{{1,5}}{after}", uri) is not None


def _parts(uri: str) -> SplitResult | None:
    """Return the parts of an address; None if its host or port is invalid."""
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e]+", uri):  # visible ASCII, no backslash
        return None
    try:
        parts = urlsplit(uri)
        if parts.hostname in _LOOPBACK:
            parts = urlsplit(uri.replace(":*", ":1", 1))
        _ = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    return parts if re.fullmatch(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+", host) else None


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

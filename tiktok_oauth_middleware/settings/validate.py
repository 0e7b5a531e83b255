"""Checks of the settings, by the rules of TikTok, of browsers and of this package.

Each check yields one sentence for each fault: the option, what is wrong, and what would
be right. No sentence shows a secret. An option of a wrong type is reported and replaced
by a valid value for the other checks, so that one fault does not hide another.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from tiktok_oauth_middleware._core import references
from tiktok_oauth_middleware._core.origins import LOOPBACK_HOSTS, origin_of
from tiktok_oauth_middleware._core.return_to import safe_return_to
from tiktok_oauth_middleware._oauth import protocol
from tiktok_oauth_middleware._oauth.scopes import is_scope
from tiktok_oauth_middleware.stores.registry import store_fault

from .endpoints import ADDRESSES, TikTokEndpoints
from .own_paths import ROUTES
from .rows import OptionRow

DESKTOP_HOSTS = LOOPBACK_HOSTS[:2]  # TikTok's Desktop tab takes no other
#: The length of the shortest secret key, in characters.
SHORTEST_KEY = 32
_LEAST_ENTROPY_BITS = 80
_LEAST_STEPS = 8
_LONGEST_REDIRECT_URI = 511


def _phrases(*phrases: str) -> str:
    """Return a pattern of the phrases, with at most one character between words.

    Each word is in small letters, in capitals, or capitalized: in any mixture of them,
    one random key in a million holds ``dummy`` by chance.
    """
    return "|".join(
        ".?".join(f"(?:{w}|{w.upper()}|{w.capitalize()})" for w in phrase.split())
        for phrase in phrases
    )


_TEMPLATES = _phrases(
    "change me", "replace me", "your secret", "your key", "placeholder", "place holder"
)
#: What is to be replaced: such words, only dots or other marks, or <a-name-like-this>.
_TEMPLATE = re.compile(
    rf"{_TEMPLATES}|{_phrases('your client', 'xxxxxx')}|\A[^A-Za-z0-9]+\Z|\A<.*>\Z"
)
#: A reference, also to a variable without braces or into a program for secrets, such as
#: vault://path. It has to be the whole text, because a random key may contain any of
#: these marks.
_REFERENCE = re.compile(
    rf"{references.REFERENCE}|\$[A-Za-z_]\w*|[a-z]+://[\w./-]+", re.DOTALL
)
_REFERENCE_FAULT = f"is {references.FAULT}"
#: Keys of a usual alphabet with another mark than a comma between two of them.
_JOINED_KEYS = re.compile(
    rf"(?:[\w+/=-]{{{SHORTEST_KEY},}}[;:| ])+[\w+/=-]{{{SHORTEST_KEY},}}"
)
_PLACEHOLDERS = re.compile(
    rf"{_TEMPLATES}|{_phrases('example', 'password', 'pass word', 'insecure')}"
    rf"|{_phrases('xxxxxx')}"
    # A word of five letters counts only where a word begins, or behind other words.
    rf"|(?<![A-Za-z0-9])(?:{_phrases('dummy')})"
    r"|(?<![A-Z])Dummy|\A[^A-Z0-9]*dummy|\A[^a-z0-9]*DUMMY"
)
_URI_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+/?|/")
_RULE = re.compile(r"/[^?#%\\\x00-\x1f\x7f]*")
#: Characters of globs, of frameworks' routes and of regular expressions that no usual
#: path contains: * {id} <id> [id] /:id /$id | ^ .+ .? $ at the end, \\d.
_PATTERN = re.compile(r"[*{}<>\[\]|^]|/[:$]|[.][+?]|[$]/?$|\\[A-Za-z.]|[(][?]|%[a-z(]")
_NETLOC = re.compile(
    r"(?:[^@]*@)?(?:[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.?|\[[0-9a-fA-F:.]+\])"
    r"(?::[1-9][0-9]{0,4})?(?:[?#].*)?"
)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: A command that prints a new key for ``secret_keys``.
KEY_COMMAND = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
_MAKE_A_KEY = f"make one with: {KEY_COMMAND}"


def faults(options: Mapping[str, Any], rows: Mapping[str, OptionRow]) -> Iterator[str]:
    """Yield a sentence for each fault of the options, all of them.

    Args:
        options: the value of every option, by name.
        rows: the row of every option, by name.
    """
    usable = dict(options)
    for name, row in rows.items():
        expected = row.wrong_type(options[name])
        if expected:
            yield f"{name} must be {expected}; got a {type(options[name]).__name__}"
            usable[name] = row.stand_in
    yield from _credential_faults(usable)
    yield from _redirect_uri_faults(usable)
    yield from _scope_faults(usable)
    yield from _path_faults(usable)
    yield from _rule_faults(usable)
    yield from _number_faults(usable, rows)
    yield from _endpoint_faults(usable["endpoints"])
    yield from _other_faults(usable)


def _credential_faults(options: Mapping[str, Any]) -> Iterator[str]:
    key, secret = options["client_key"], options["client_secret"]
    for name in ("client_key", "client_secret"):
        fault = _copied_fault(options[name])
        if fault:
            yield f"{name} {fault}; copy it from your app's page in TikTok's portal"
    if key and key == secret:
        yield "client_secret equals client_key; TikTok's portal shows two values"
    previous = options["previous_client_secret"]
    if previous is not None:
        fault = _previous_secret_fault(previous, options)
        if fault:
            yield f"previous_client_secret {fault}"
    keys = options["secret_keys"]
    if not keys:
        yield f"secret_keys is empty; {_MAKE_A_KEY}"
    for place, secret_key in enumerate(keys):
        fault = _key_fault(secret_key, (secret, previous))
        if fault:
            yield f"secret_keys[{place}] {fault}; {_MAKE_A_KEY}"
    if len(set(keys)) < len(keys):
        yield "secret_keys lists one key twice; list each once, newest first"


def _previous_secret_fault(previous: str, options: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the previous secret, without showing it."""
    if not protocol.is_visible(previous, 200):
        return "is empty or holds a space; leave it out unless the secret is rotated"
    if previous == options["client_secret"]:
        return "equals client_secret; give the former secret, or leave it out"
    if previous == options["client_key"]:
        return "equals client_key; TikTok's portal shows two values"
    if _REFERENCE.fullmatch(previous):
        return f"{_REFERENCE_FAULT}; leave it out unless the secret is rotated"
    if _TEMPLATE.search(previous):
        return "looks like a placeholder; leave it out unless the secret is rotated"
    return None


#: Quotes, also those of editors and chat programs.
QUOTES = frozenset("\"'`\u201c\u201d\u2018\u2019")


def _copied_fault(value: str) -> str | None:
    """Return the fault that copying made in a key or secret, without showing it."""
    if not value:
        return "is empty"
    if value[0] in QUOTES or value[-1] in QUOTES:
        return "begins or ends with a quote, which is not part of it"
    if value != value.strip():
        return "begins or ends with a space or line break"
    if "=" in value[:24] and value.upper().startswith(("TIKTOK_", "CLIENT_")):
        return "begins with its own name, as a line of an .env file does"
    if not protocol.is_visible(value, 200):
        return "holds a space, a line break or a character beyond ASCII, or is too long"
    if _REFERENCE.fullmatch(value):
        return _REFERENCE_FAULT
    if _TEMPLATE.search(value):
        return "looks like a placeholder"
    return None


def _key_fault(key: str, client_secrets: tuple[str, str | None]) -> str | None:
    """Return what is wrong with a key, without showing it."""
    if key[:1] in QUOTES and key[:1] == key[-1:]:
        return "is in quotes, which are not part of it"
    if any("\ud800" <= letter <= "\udfff" for letter in "".join(key)):
        return "is not UTF-8"
    damage = _file_damage(key)
    if damage:
        return damage
    if len(key) < SHORTEST_KEY:
        return f"is shorter than {SHORTEST_KEY} characters"
    if key in client_secrets:
        return "equals client_secret: if one of them leaks, the other has leaked too"
    if _PLACEHOLDERS.search(key):
        return "looks like a placeholder"
    if _is_repetitive(key):
        return "does not look random"
    return None


def _file_damage(key: str) -> str | None:
    """Return what a file, or what should have read it, did to a key.

    Such a key would be accepted, but the process that reads the same file in another
    way would have another key, and could read no record of this one.
    """
    if key != key.strip():
        return "begins or ends with a space or line break, which is not part of it"
    if re.search(r"[\r\n]|\s#", key):
        return (
            "holds a line break or a comment; in a file of variables a comment stands"
            " on a line of its own"
        )
    if _REFERENCE.fullmatch(key):
        return _REFERENCE_FAULT
    if key.upper().startswith("TIKTOK_SECRET_KEYS="):
        return "begins with its own name, as a line of an .env file does"
    if _JOINED_KEYS.fullmatch(key):
        return "looks like several keys; in a variable, commas separate them"
    return None


def _is_repetitive(key: str) -> bool:
    """Whether a key repeats a text, counts in even steps, or has too little entropy."""
    text = "".join(key)
    if text in (text + text)[1:-1]:
        return True
    shares = [text.count(char) / len(text) for char in set(text)]
    entropy = -sum(share * math.log2(share) for share in shares)
    steps = {ord(b) - ord(a) for a, b in itertools.pairwise(text)}
    return entropy * len(text) < _LEAST_ENTROPY_BITS or len(steps) < _LEAST_STEPS


def _redirect_uri_faults(options: Mapping[str, Any]) -> Iterator[str]:
    """Check the redirect URI by TikTok's rules.

    https://developers.tiktok.com/doc/login-kit-web and .../login-kit-desktop
    """
    uri = options["redirect_uri"]
    parts = _split(uri)
    if uri and uri.split() != [uri]:
        place = "holds" if uri == uri.strip() else "begins or ends with"
        yield (
            f"redirect_uri {place} a space or line break; leave it out, and any comment"
            " behind it"
        )
        return
    if not uri.isascii():
        yield (
            "redirect_uri holds a character beyond ASCII; write its host as browsers"
            " send it, such as xn--mnchen-3ya.example, and a path of ASCII letters"
        )
        return
    if parts is None or not parts.hostname:
        yield (
            "redirect_uri is not an address; it looks like"
            " https://app.example.com/auth/tiktok/callback"
        )
        return
    if len(uri) > _LONGEST_REDIRECT_URI:
        yield "redirect_uri has 512 characters or more; TikTok takes fewer"
    if "?" in uri or "#" in uri:
        yield "redirect_uri has a query or fragment; TikTok takes neither"
    if "@" in parts.netloc:
        yield "redirect_uri has a user name before the host; leave it out"
    if parts.path in ("", "/") or _is_odd(parts.path):
        yield (
            "redirect_uri needs a plain path, such as /auth/tiktok/callback, without"
            " percent signs, double slashes or dots alone"
        )
    if parts.hostname in DESKTOP_HOSTS and parts.scheme in ("http", "https"):
        yield from _desktop_faults(parts, pkce=options["pkce"])
    elif parts.scheme != "https":
        yield (
            "redirect_uri must begin with https://; plain http is accepted only for"
            " http://localhost:PORT or http://127.0.0.1:PORT, for development"
        )


def _desktop_faults(parts: SplitResult, *, pkce: bool) -> Iterator[str]:
    """Check an address that TikTok's portal takes in its Desktop tab only."""
    if parts.port is None:
        yield "redirect_uri on loopback needs a port, such as http://127.0.0.1:8000/..."
    if not pkce:
        yield "pkce is False; TikTok demands PKCE where redirect_uri is on loopback"


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL whose port is a port; None if it is not a URL."""
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e]+", url):  # visible ASCII, no backslash
        return None
    if not _NETLOC.fullmatch(url.partition("://")[2].partition("/")[0]):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_odd(path: str) -> bool:
    """Whether servers and browsers could read a path differently."""
    dots = any(segment in (".", "..") for segment in path.split("/"))
    return dots or not _URI_PATH.fullmatch(path)


def _scope_faults(options: Mapping[str, Any]) -> Iterator[str]:
    if not options["scopes"]:
        yield 'scopes is empty; the least is ["user.info.basic"]'
    for name in ("scopes", "optional_scopes"):
        scopes = options[name]
        for scope in scopes:
            if not is_scope(scope):
                yield (
                    f"{name} holds {scope!r}; each item must be one scope, such as"
                    ' ["user.info.basic", "video.list"], or in a variable'
                    " user.info.basic,video.list"
                )
        if len(set(scopes)) < len(scopes):
            yield f"{name} lists one scope twice; list each once"


def _path_faults(options: Mapping[str, Any]) -> Iterator[str]:
    redirect_uri = _split(options["redirect_uri"])
    taken = {redirect_uri.path: "redirect_uri"} if redirect_uri else {}
    for name in ROUTES:
        path = options[name]
        if path is None:
            continue
        if path == "/" or _is_odd(path):
            yield (
                f"{name} is {path!r}; it must be a plain path, such as"
                " /auth/tiktok/login"
            )
        elif path in taken:
            yield f"{name} and {taken[path]} are both {path!r}; give each its own path"
        taken[path] = name
    for name in ("after_login", "after_logout"):
        if safe_return_to(options[name], taken) != options[name]:
            yield (
                f"{name} is {options[name]!r}; it must be a path of this site that"
                " begins with one slash, percent-encoded, and not one of the"
                " middleware's own paths"
            )


def _rule_faults(options: Mapping[str, Any]) -> Iterator[str]:
    for name in ("protect", "protect_recent", "public"):
        for rule in options[name]:
            fault = _rule_fault(rule)
            if fault:
                yield f"{name} holds {rule!r}; {fault}"
    for name in ("protect", "protect_recent"):
        folded = {rule.rstrip("/").casefold() for rule in options[name]}
        both = [r for r in options["public"] if r.rstrip("/").casefold() in folded]
        if both:
            yield f"{name} and public both list {min(both)!r}; list it in only one"


def _rule_fault(rule: str) -> str | None:
    """Return what is wrong with a path rule, and what to write instead.

    A rule that is not a path would protect nothing, without a warning.
    """
    usual = "a path rule is a decoded path that begins with a slash, such as '/app'"
    if rule != rule.strip():
        return f"{usual}, without a space around it; write {rule.strip()!r}"
    if re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]", rule):
        path = "/" + re.sub(r"^[^/]*//[^/]*/?", "", rule)
        return f"{usual}, without scheme and host; write {path!r}"
    if re.search("[?#]", rule) and not _PATTERN.search(rule):
        path = re.split("[?#]", rule, maxsplit=1)[0] or "/"
        return f"{usual}; it has no query and no fragment; write {path!r}"
    if _PATTERN.search(rule):
        before = "/" + "/".join(_segments_before_pattern(rule.lstrip("^")))
        return (
            f"{usual}, and no pattern: it covers all that is below it; write {before!r}"
        )
    if not rule.startswith("/"):
        return f"{usual}; write {'/' + rule!r}"
    rules = re.split(r"[\s,;:]+(?=/)", rule)
    if len(rules) > 1:
        return f"{usual}; write {rules!r}, or in a variable {','.join(rules)}"
    if "%" in rule:
        fix = f"; write {unquote(rule)!r}" if unquote(rule) != rule else ""
        return f"{usual}, without percent signs{fix}"
    if not _RULE.fullmatch(rule) or "//" in rule or {".", ".."} & {*rule.split("/")}:
        return f"{usual}, without doubled slashes, dots alone, backslashes and controls"
    return None


def _segments_before_pattern(rule: str) -> Iterator[str]:
    for segment in filter(None, rule.split("/")):
        plain = segment.rstrip("$*")  # "/app$" and "/app*" mean "/app"
        if plain in ("", ".") or _PATTERN.search("/" + plain):
            return
        yield plain


def _number_faults(
    options: Mapping[str, Any], rows: Mapping[str, OptionRow]
) -> Iterator[str]:
    for name, row in rows.items():
        bounds = row.out_of_bounds(options[name])
        if bounds:
            yield f"{name} is {options[name]}; it must be {bounds}"


def _endpoint_faults(endpoints: TikTokEndpoints) -> Iterator[str]:
    for name, usual in ADDRESSES.items():
        url = getattr(endpoints, name)
        parts = _split(url)
        if parts is None or not parts.hostname:
            yield f"endpoints.{name} is not an address; TikTok's is {usual}"
            continue
        local = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
        if not (parts.scheme == "https" or local) or "@" in parts.netloc:
            yield (
                f"endpoints.{name} must begin with https:// and have no user name;"
                " plain http is accepted only for a stand-in on localhost, 127.0.0.1"
                " or [::1]"
            )
        if "?" in url or "#" in url:
            yield f"endpoints.{name} has a query or fragment; leave it out"
        if name != "authorize" and not parts.path.endswith("/"):
            yield f"endpoints.{name} must end with a slash; TikTok answers 404 without"


def _other_faults(options: Mapping[str, Any]) -> Iterator[str]:
    methods = {*options["login_methods"]}
    if not methods or not methods <= {"GET", "POST"}:
        yield 'login_methods must list "GET", "POST" or both'
    if not _NAME.fullmatch(options["cookie_name"]):
        yield "cookie_name must be 1 to 64 letters, digits, - or _"
    elif "-login-" in options["cookie_name"] + "-":
        yield "cookie_name holds -login, which marks the cookies of logins"
    elif options["cookie_name"].endswith("-choose"):
        yield "cookie_name ends with -choose, as the cookie that a logout leaves does"
    elif options["cookie_name"].endswith("-carry"):
        yield "cookie_name ends with -carry, as the cookie of login_url(carry=...) does"
    elif options["cookie_name"].lower().startswith(("__host-", "__secure-")):
        yield "cookie_name begins with a prefix of browsers; leave it out: it is added"
    for origin in options["websocket_origins"]:
        parts = _split(origin)
        if (
            parts is None
            or parts.scheme not in ("https", "http")
            or not parts.hostname
            or origin != origin_of(origin)
        ):
            yield (
                f"websocket_origins holds {origin!r}; an origin is scheme, host and"
                " port: https://app.example.com"
            )
    fault = store_fault(options["store"])
    if fault:
        yield fault

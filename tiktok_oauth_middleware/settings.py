"""TikTokSettings: every option once, and every fault of them told at once.

A settings object is frozen and checked when it is built, so that a wrong option stops
the deployment and not a person's login. Many of TikTok's own refusals never reach a
callback, they end on a page of TikTok's; its redirect-URI rules are therefore checked
here (https://developers.tiktok.com/doc/login-kit-web).
"""

from __future__ import annotations

import difflib
import math
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from urllib.parse import SplitResult, urlsplit

from . import tiktok
from .errors import ConfigurationError
from .http import origin_of
from .models import Secret
from .redirects import safe_target

DAY = 86400

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KEY_LENGTH = 32
_PLACEHOLDERS = re.compile(
    r"change.?me|replace.?me|your.?(secret|key)|placeholder|example|password|insecure"
    r"|to.?do|dummy|xxxx",
    re.IGNORECASE,
)
_URI_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+/?|/")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TikTokEndpoints:
    """TikTok's addresses; a stand-in brings its own, plain http only on loopback."""

    authorize: str = tiktok.AUTHORIZE
    token: str = tiktok.TOKEN
    revoke: str = tiktok.REVOKE
    user_info: str = tiktok.USER_INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class TikTokSettings:
    """How an app logs users in with TikTok; durations are seconds.

    Raises:
        ConfigurationError: an option is wrong; its ``faults`` name every one.
    """

    #: From TikTok's portal. The key is public, the secret signs for your app.
    client_key: str
    client_secret: str = field(repr=False)
    #: As registered at TikTok, byte for byte; its path is the callback path.
    redirect_uri: str
    #: Newest first: it seals and signs, all open and verify. 32 characters or more
    #: of randomness each, such as ``secrets.token_urlsafe(32)``.
    secret_keys: Sequence[str] = field(repr=False)
    #: Asked of everybody who logs in.
    scopes: Sequence[str] = ("user.info.basic",)
    #: What a page may ask for beside them when it needs it.
    optional_scopes: Sequence[str] = ()
    login_path: str = "/auth/tiktok/login"
    logout_path: str = "/auth/tiktok/logout"
    #: Where a user disconnects the app from their TikTok account; None: nowhere.
    disconnect_path: str | None = None
    #: Where TikTok delivers webhooks; None: nowhere.
    webhook_path: str | None = None
    after_login: str = "/"
    after_logout: str = "/"
    #: Path prefixes that need a login, and exceptions; the longest one decides.
    protect: Sequence[str] = ()
    public: Sequence[str] = ()
    login_methods: Sequence[str] = ("GET", "POST")
    #: A session ends this long after the login, and after the last request.
    session_lifetime: float = 30 * DAY
    session_idle: float = 8 * 3600
    #: How long somebody may stay on TikTok's pages; at most 900.
    login_lifetime: float = 600
    #: Refresh this long before the access token ends, or a tenth of its life.
    refresh_leeway: float = 300
    #: Keep a user's tokens for jobs when their last session has ended.
    keep_grants: bool = False
    #: Ask for the user's profile at login.
    fetch_user: bool = True
    #: Send a PKCE challenge, in TikTok's hex form.
    pkce: bool = True
    #: Show TikTok's consent page at every login.
    always_ask_consent: bool = False
    #: Further origins whose WebSockets carry the session.
    websocket_origins: Sequence[str] = ()
    #: Put ``request.user`` and ``request.auth`` of Starlette into the scope.
    starlette_auth: bool = True
    #: ``sqlite:///file``, ``memory://`` or ``redis://host``.
    store: str = "sqlite:///tiktok-oauth.sqlite3"
    #: Total time for one answer of TikTok.
    timeout: float = 10
    #: Distinguishes the cookies of two apps on one host.
    cookie_name: str = "tiktok"
    endpoints: TikTokEndpoints = field(default_factory=TikTokEndpoints)

    def __post_init__(self) -> None:
        """Freeze the lists, wrap the secrets, and report all that is wrong."""
        faults = [*_type_faults(self)]
        if not faults:
            for name in _LISTS:
                object.__setattr__(self, name, tuple(getattr(self, name)))
            keys = tuple(Secret(key) for key in self.secret_keys)
            object.__setattr__(self, "secret_keys", keys)
            object.__setattr__(self, "client_secret", Secret(self.client_secret))
            faults = [*_faults(self)]
        if faults:
            raise ConfigurationError(faults)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> TikTokSettings:
        """Return the settings in ``TIKTOK_`` and each option's name in capitals.

        Lists are split at commas; booleans are ``true`` or ``false``; the endpoints are
        ``TIKTOK_ENDPOINTS_TOKEN`` and so on.

        Raises:
            ConfigurationError: an option is wrong, missing, or misspelt.
        """
        return _from_env(cls, os.environ if environ is None else environ)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the site: those of the redirect URI."""
        return origin_of(self.redirect_uri)

    @property
    def callback_path(self) -> str:
        """The path of the redirect URI, mount point included."""
        return urlsplit(self.redirect_uri).path

    @property
    def is_loopback(self) -> bool:
        """Whether this is development over plain http on this machine."""
        return self.redirect_uri.startswith("http:")


_LISTS = (
    "secret_keys",
    "scopes",
    "optional_scopes",
    "protect",
    "public",
    "login_methods",
    "websocket_origins",
)
_PATHS = ("login_path", "logout_path", "disconnect_path", "webhook_path")
_DURATIONS = (
    "session_lifetime",
    "session_idle",
    "login_lifetime",
    "refresh_leeway",
    "timeout",
)


def _type_faults(settings: TikTokSettings) -> Iterator[str]:
    """Say which options are of a wrong type; the other checks need the right ones."""
    hints = typing.get_type_hints(TikTokSettings)
    for option in fields(TikTokSettings):
        value, hint = getattr(settings, option.name), hints[option.name]
        if option.name in _LISTS:
            right = isinstance(value, list | tuple) and all(
                isinstance(item, str) for item in value
            )
            wanted = f'a list of strings, such as ["{_EXAMPLES[option.name]}"]'
        elif option.name in _DURATIONS:
            right = isinstance(value, int | float) and not isinstance(value, bool)
            wanted = "a number of seconds"
        else:
            right = isinstance(value, hint)
            wanted = _type_name(hint)
        if not right:
            yield f"{option.name} is {wanted}; got {_shown_type(value)}"


_EXAMPLES = {
    "secret_keys": "32 random characters or more",
    "scopes": "user.info.basic",
    "optional_scopes": "video.list",
    "protect": "/app",
    "public": "/app/help",
    "login_methods": "GET",
    "websocket_origins": "https://app.example.com",
}


def _type_name(hint: object) -> str:
    if isinstance(hint, types.UnionType):
        return "a string or None"
    names = {str: "a string", bool: "True or False"}
    return names.get(hint, "a TikTokEndpoints")  # type: ignore[call-overload, no-any-return]


def _shown_type(value: object) -> str:
    return f"a {type(value).__name__}"


def _faults(settings: TikTokSettings) -> Iterator[str]:
    yield from _credential_faults(settings)
    yield from _redirect_uri_faults(settings)
    yield from _scope_faults(settings)
    yield from _path_faults(settings)
    yield from _duration_faults(settings)
    yield from _endpoint_faults(settings.endpoints)
    yield from _other_faults(settings)


def _credential_faults(settings: TikTokSettings) -> Iterator[str]:
    if not tiktok.is_visible(settings.client_key, 200):
        yield (
            "client_key is empty or holds a space; copy it from your app's page in"
            " TikTok's portal"
        )
    if not tiktok.is_visible(
        settings.client_secret.strip() and settings.client_secret, 200
    ):
        yield (
            "client_secret is empty or holds a space; copy it from your app's page in"
            " TikTok's portal"
        )
    elif settings.client_secret == settings.client_key:
        yield "client_secret equals client_key; TikTok's portal shows two values"
    if not settings.secret_keys:
        yield f"secret_keys is empty; {_MAKE_A_KEY}"
    for place, key in enumerate(settings.secret_keys):
        fault = _key_fault(key, settings.client_secret)
        if fault:
            yield f"secret_keys[{place}] {fault}; {_MAKE_A_KEY}"
    if len(set(settings.secret_keys)) < len(settings.secret_keys):
        yield "secret_keys lists one key twice; list each once, newest first"


_MAKE_A_KEY = (
    'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
)


def _key_fault(key: str, client_secret: str) -> str | None:
    """Say what is wrong with a key, without showing it."""
    if len(key) < _KEY_LENGTH:
        return f"is shorter than {_KEY_LENGTH} characters"
    if key == client_secret:
        return "equals client_secret: whoever has one would have both"
    if _PLACEHOLDERS.search(key):
        return "looks like a placeholder"
    if _is_repetitive(key):
        return "does not look random"
    return None


def _is_repetitive(key: str) -> bool:
    """Whether a key repeats itself, or says fewer than 80 bits by its characters."""
    if key in (key + key)[1:-1]:  # a shorter text, written again and again
        return True
    shares = [key.count(char) / len(key) for char in set(key)]
    entropy = -sum(share * math.log2(share) for share in shares)
    steps = {ord(b) - ord(a) for a, b in zip(key, key[1:], strict=False)}
    return entropy * len(key) < 80 or len(steps) < 8  # noqa: PLR2004


def _redirect_uri_faults(settings: TikTokSettings) -> Iterator[str]:
    """Hold the redirect URI against the rules of TikTok's portal."""
    uri = settings.redirect_uri
    parts = _split(uri)
    if parts is None or not parts.hostname:
        yield (
            "redirect_uri is not an address; it looks like"
            " https://app.example.com/auth/tiktok/callback"
        )
        return
    if len(uri) >= 512:  # noqa: PLR2004 - TikTok's limit
        yield "redirect_uri has 512 characters or more; TikTok takes fewer"
    if "?" in uri or "#" in uri:
        yield "redirect_uri has a query or fragment; TikTok takes neither"
    if "@" in parts.netloc:
        yield "redirect_uri has a user name before the host; leave it out"
    if not _URI_PATH.fullmatch(parts.path) or _has_dots(parts.path):
        yield (
            "redirect_uri needs a plain path, such as /auth/tiktok/callback, without"
            " percent signs, double slashes or dots alone"
        )
    if parts.scheme == "https":
        return
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
        yield (
            "redirect_uri begins with https://; plain http is taken only for"
            " http://localhost:PORT or http://127.0.0.1:PORT, for development"
        )
        return
    if parts.port is None:
        yield "redirect_uri on loopback needs a port, such as http://127.0.0.1:8000/..."
    if not settings.pkce:
        yield "pkce is False; TikTok demands PKCE where redirect_uri is on loopback"


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL whose port is a port; None if it is not a URL."""
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e]+", url):  # visible ASCII, no backslash
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _has_dots(path: str) -> bool:
    return any(segment in (".", "..") for segment in path.split("/"))


def _scope_faults(settings: TikTokSettings) -> Iterator[str]:
    if not settings.scopes:
        yield 'scopes is empty; the least is ["user.info.basic"]'
    for option in ("scopes", "optional_scopes"):
        scopes = getattr(settings, option)
        for scope in scopes:
            if not tiktok.is_scope(scope):
                yield (
                    f"{option} holds {scope!r}; write one scope an item, such as"
                    ' ["user.info.basic", "video.list"]'
                )
        if len(set(scopes)) < len(scopes):
            yield f"{option} lists one scope twice; list each once"


def _path_faults(settings: TikTokSettings) -> Iterator[str]:
    paths = {name: getattr(settings, name) for name in _PATHS}
    taken = (
        {settings.callback_path: "redirect_uri"}
        if _split(settings.redirect_uri)
        else {}
    )
    for name, path in paths.items():
        if path is None:
            continue
        if not _URI_PATH.fullmatch(path) or path == "/" or _has_dots(path):
            yield f"{name} is {path!r}; it is a plain path, such as /auth/tiktok/login"
        elif path in taken:
            yield f"{name} and {taken[path]} are both {path!r}; give each its own path"
        taken[path] = name
    for name in ("after_login", "after_logout"):
        own = {path for path in taken if path}
        if safe_target(getattr(settings, name), own) != getattr(settings, name):
            yield (
                f"{name} is {getattr(settings, name)!r}; it is a path of this site that"
                " begins with one slash, percent-encoded, and none of the login's own"
            )
    for name in ("protect", "public"):
        for rule in getattr(settings, name):
            if not rule.startswith("/") or "//" in rule or _has_dots(rule):
                yield f"{name} holds {rule!r}; a path rule begins with a slash: '/app'"
    both = set(settings.protect) & set(settings.public)
    if both:
        yield f"protect and public both list {sorted(both)[0]!r}; decide for one"


def _duration_faults(settings: TikTokSettings) -> Iterator[str]:
    ranges = {
        "session_lifetime": (1, 400 * DAY),
        "session_idle": (1, 400 * DAY),
        "login_lifetime": (1, 900),
        "refresh_leeway": (0, DAY),
        "timeout": (0.1, 60),
    }
    for name, (least, most) in ranges.items():
        seconds = getattr(settings, name)
        if not least <= seconds <= most:
            yield f"{name} is {seconds}; it is {least} to {most} seconds"


def _endpoint_faults(endpoints: TikTokEndpoints) -> Iterator[str]:
    for name in _ENDPOINTS:
        url = getattr(endpoints, name)
        parts = _split(url) if isinstance(url, str) else None
        if parts is None or not parts.hostname:
            yield f"endpoints.{name} is not an address; TikTok's is {_ENDPOINTS[name]}"
            continue
        safe = parts.scheme == "https" or (
            parts.scheme == "http" and parts.hostname in _LOOPBACK
        )
        if not safe or "@" in parts.netloc:
            yield (
                f"endpoints.{name} begins with https:// and has no user name; plain http"
                " is taken only for a stand-in on localhost, 127.0.0.1 or [::1]"
            )
        if "?" in url or "#" in url:
            yield f"endpoints.{name} has a query or fragment; leave it out"
        if name != "authorize" and not parts.path.endswith("/"):
            yield f"endpoints.{name} ends with a slash; TikTok answers 404 without"


_ENDPOINTS = {
    "authorize": tiktok.AUTHORIZE,
    "token": tiktok.TOKEN,
    "revoke": tiktok.REVOKE,
    "user_info": tiktok.USER_INFO,
}


def _other_faults(settings: TikTokSettings) -> Iterator[str]:
    methods = set(settings.login_methods)
    if not methods or not methods <= {"GET", "POST"}:
        yield 'login_methods lists "GET", "POST" or both'
    if not _NAME.fullmatch(settings.cookie_name):
        yield "cookie_name is 1 to 64 letters, digits, - or _"
    for origin in settings.websocket_origins:
        parts = _split(origin)
        if parts is None or not parts.hostname or origin != origin_of(origin):
            yield (
                f"websocket_origins holds {origin!r}; an origin is scheme, host and"
                " port: https://app.example.com"
            )
    if not re.match(r"(memory|sqlite|rediss?|unix)://", settings.store):
        yield (
            "store is memory://, sqlite:///file.sqlite3 or redis://host; pass an object"
            " as the middleware's own store="
        )


def _from_env(cls: type[TikTokSettings], environ: Mapping[str, str]) -> TikTokSettings:
    options = {option.name: option for option in fields(cls)}
    names = {f"TIKTOK_{name.upper()}": name for name in options if name != "endpoints"}
    endpoints = {f"TIKTOK_ENDPOINTS_{name.upper()}": name for name in _ENDPOINTS}
    faults = [*_misspelt(environ, [*names, *endpoints])]
    given: dict[str, typing.Any] = {}
    for variable, name in names.items():
        if variable not in environ:
            continue
        try:
            given[name] = _parse(name, environ[variable])
        except ValueError as error:
            faults.append(f"{variable} {error}")
    faults += [
        f"TIKTOK_{name.upper()} is not set"
        for name in ("client_key", "client_secret", "redirect_uri", "secret_keys")
        if name not in given
    ]
    if faults:
        raise ConfigurationError(faults)
    addresses = {name: environ[v] for v, name in endpoints.items() if v in environ}
    return cls(**given, endpoints=TikTokEndpoints(**addresses))


def _misspelt(environ: Mapping[str, str], known: Iterable[str]) -> Iterator[str]:
    """Name variables that mean an option and miss it: they would count for nothing."""
    known = list(known)
    for variable in sorted(environ):
        if variable.startswith("TIKTOK_") and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.9)
            if near:
                yield f"{variable} is no option; {near[0]} is"


def _parse(name: str, text: str) -> object:
    """Return an option's value from its text in the environment."""
    if name in _LISTS:
        return [item.strip() for item in text.split(",") if item.strip()]
    if name in _DURATIONS:
        try:
            return float(text)
        except ValueError:
            message = "is not a number of seconds"
            raise ValueError(message) from None
    if name in _FLAGS:
        values = {"true": True, "1": True, "yes": True}
        values |= {"false": False, "0": False, "no": False}
        if text.lower() not in values:
            message = "is neither true nor false"
            raise ValueError(message)
        return values[text.lower()]
    return (text or None) if name in ("disconnect_path", "webhook_path") else text


_FLAGS = (
    "keep_grants",
    "fetch_user",
    "pkce",
    "always_ask_consent",
    "starlette_auth",
)

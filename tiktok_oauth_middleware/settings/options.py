"""TikTokSettings: every option once, and every fault of them told at once.

A settings object is frozen and checked when it is built, so that a wrong option stops
the deployment and not a person's login: many of TikTok's own refusals never reach a
callback, they end on a page of TikTok's.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from tiktok_oauth_middleware._core.origins import origin_of
from tiktok_oauth_middleware._core.secret import Secret, reveal
from tiktok_oauth_middleware._oauth import protocol
from tiktok_oauth_middleware.errors import ConfigurationError

from .validate import (
    COUNTS,
    DAY,
    DURATIONS,
    ENDPOINTS,
    FLAGS,
    LISTS,
    MAY_BE_NONE,
    SAMPLES,
    faults,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TikTokEndpoints:
    """TikTok's addresses; a stand-in brings its own, plain http only on loopback."""

    authorize: str = protocol.AUTHORIZE
    token: str = protocol.TOKEN
    revoke: str = protocol.REVOKE
    user_info: str = protocol.USER_INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class TikTokSettings:
    """How an app logs users in with TikTok; durations are seconds.

    Raises:
        ConfigurationError: an option is wrong; its ``faults`` name every one.
    """

    #: From TikTok's portal. The key is public, the secret signs for your app.
    client_key: str
    client_secret: str = field(repr=False)
    #: The one before, while the portal's secret is rotated: webhooks signed with either
    #: are taken, and TikTok is asked once more with it where it refuses the new one.
    previous_client_secret: str | None = field(default=None, repr=False)
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
    #: Ask for the user's profile, at login and when it is old.
    fetch_user: bool = True
    #: Ask for the profile again when it is so old; sooner when its links have ended
    #: and the app looks at it.
    profile_max_age: float = DAY
    #: Send a PKCE challenge, in TikTok's hex form.
    pkce: bool = True
    #: Show TikTok's consent page at every login.
    always_ask_consent: bool = False
    #: Further origins whose WebSockets carry the session.
    websocket_origins: Sequence[str] = ()
    #: Put ``request.user`` and ``request.auth`` of Starlette into the scope.
    starlette_auth: bool = True
    #: ``sqlite:///file``, ``memory://``, ``redis://host`` or a URL of SQLAlchemy, as
    #: ``postgresql+psycopg://host/database``; may hold a password.
    store: str = field(default="sqlite:///tiktok-oauth.sqlite3", repr=False)
    #: Total time for one answer of TikTok.
    timeout: float = 10
    #: How many browser sessions each process keeps in memory, about 2 kB each; those
    #: beyond are read from the store at every request.
    remembered_sessions: int = 16384
    #: Distinguishes the cookies of two apps on one host.
    cookie_name: str = "tiktok"
    endpoints: TikTokEndpoints = field(default_factory=TikTokEndpoints)

    def __post_init__(self) -> None:
        """Freeze the lists, wrap the secrets, and report all that is wrong."""
        found = [*faults({o.name: _plain(getattr(self, o.name)) for o in fields(self)})]
        if found:
            raise ConfigurationError(found)
        for name in LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        keys = tuple(Secret(key) for key in self.secret_keys)
        object.__setattr__(self, "secret_keys", keys)
        object.__setattr__(self, "client_secret", Secret(self.client_secret))
        if self.previous_client_secret is not None:
            previous = Secret(self.previous_client_secret)
            object.__setattr__(self, "previous_client_secret", previous)
        if "@" in self.store:  # with who logs in there
            object.__setattr__(self, "store", Secret(self.store))

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
        return urlsplit(self.redirect_uri).scheme == "http"


def _plain(option: Any) -> Any:
    """Return an option as it was written: settings made of others hold secrets."""
    if isinstance(option, str):
        return reveal(option)
    if type(option) in (list, tuple):
        return [*map(_plain, option)]
    return option


def _from_env(cls: type[TikTokSettings], environ: Mapping[str, str]) -> TikTokSettings:
    names = {f"TIKTOK_{o.name.upper()}": o.name for o in fields(cls)}
    del names["TIKTOK_ENDPOINTS"]
    endpoints = {f"TIKTOK_ENDPOINTS_{name.upper()}": name for name in ENDPOINTS}
    found = [*_misspelt(environ, [*names, *endpoints])]
    given: dict[str, Any] = {}
    for variable, name in names.items():
        if variable in environ:
            try:
                given[name] = _parse(name, environ[variable])
            except ValueError as error:
                found.append(f"{variable} {error}")
    missing = [name for name in _REQUIRED if f"TIKTOK_{name.upper()}" not in environ]
    found += [*_quoted(environ, [*names, *endpoints])]
    found += [_missing(name, environ) for name in missing]
    addresses = {name: environ[v] for v, name in endpoints.items() if v in environ}
    stand_ins = {name: SAMPLES[name] for name in missing}
    settings = None
    try:
        settings = cls(**given, **stand_ins, endpoints=TikTokEndpoints(**addresses))
    except ConfigurationError as error:
        found += error.faults
    if found or settings is None:
        raise ConfigurationError(found)
    return settings


#: What others call the options that must be set, by option: other portals of TikTok,
#: other providers, other libraries.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "client_key": ("CLIENT_ID", "KEY", "APP_ID", "APP_KEY", "API_KEY"),
    "client_secret": ("SECRET", "APP_SECRET", "API_SECRET", "CLIENT_SECRET_KEY"),
    "redirect_uri": (
        "REDIRECT_URL",
        "CALLBACK_URL",
        "CALLBACK_URI",
        "CALLBACK",
        "REDIRECT",
    ),
    "secret_keys": ("SECRET_KEY", "SESSION_SECRET", "COOKIE_SECRET"),
}
_OTHER_PORTALS = ("APP_ID", "APP_KEY", "APP_SECRET")


def _missing(name: str, environ: Mapping[str, str]) -> str:
    """Say that an option is not set, and which variable seems to mean it."""
    variable = f"TIKTOK_{name.upper()}"
    others = (other for other in _OTHER_NAMES[name] if f"TIKTOK_{other}" in environ)
    other = next(others, None)
    if other is None:
        return f"{variable} is not set"
    portal = (
        ", and is what TikTok's business and shop portals give: this login takes the"
        " client key and secret of developers.tiktok.com"
        if other in _OTHER_PORTALS
        else ""
    )
    return f"{variable} is not set; TIKTOK_{other} is, which is no option{portal}"


_QUOTES = "\"'`\u201c\u201d\u2018\u2019"


def _quoted(environ: Mapping[str, str], known: Iterable[str]) -> Iterator[str]:
    """Name variables whose value is in quotes: no option is written so."""
    for variable in known:
        value = environ.get(variable, "")
        if value[:1] in tuple(_QUOTES) and variable not in _MAY_BEGIN_WITH_QUOTES:
            yield (
                f"{variable} begins with a quote, which whatever read it from a file"
                " left there; write it without"
            )


#: The settings themselves say so of these.
_MAY_BEGIN_WITH_QUOTES = (
    "TIKTOK_CLIENT_KEY",
    "TIKTOK_CLIENT_SECRET",
    "TIKTOK_SECRET_KEYS",
)
_REQUIRED = ("client_key", "client_secret", "redirect_uri", "secret_keys")


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
    if name in LISTS:
        return [item.strip() for item in text.split(",") if item.strip()]
    if name in DURATIONS:
        try:
            return float(text)
        except ValueError:
            message = "is not a number of seconds"
            raise ValueError(message) from None
    if name in COUNTS:
        if not re.fullmatch("[0-9]{1,9}", text):
            message = "is not a whole number"
            raise ValueError(message)
        return int(text)
    if name in FLAGS:
        if text.lower() not in _BOOLEANS:
            message = "is neither true nor false"
            raise ValueError(message)
        return _BOOLEANS[text.lower()]
    return (text or None) if name in MAY_BE_NONE else text


_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes"), True),
    **dict.fromkeys(("false", "0", "no"), False),
}

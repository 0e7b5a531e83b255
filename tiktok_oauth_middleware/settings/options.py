"""TikTokSettings: every option, with its row.

Settings are frozen and checked when they are built, so that a wrong option stops the
deployment and not a user's login: TikTok shows many refusals on a page of its own, and
the app gets no callback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Any
from urllib.parse import urlsplit

from tiktok_oauth_middleware._core.origins import origin_of
from tiktok_oauth_middleware._core.secret import Secret, reveal
from tiktok_oauth_middleware._core.tracebacks import without_frames
from tiktok_oauth_middleware._oauth.scopes import BASIC_SCOPE
from tiktok_oauth_middleware.errors import ConfigurationError

from .endpoints import TikTokEndpoints
from .environment import read_environment
from .rows import (
    COUNT,
    DAY,
    ENDPOINTS,
    FLAG,
    LIST,
    OPTIONAL_TEXT,
    SECONDS,
    TEXT,
    meant_option,
    option,
    row,
    rows_of,
)
from .validate import KEY_COMMAND, faults

_FROM_PORTAL = (
    "copy it from your app's page in TikTok's portal, or try the stand-in:"
    " python -m tiktok_oauth_middleware sandbox"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TikTokSettings:
    """How an app logs users in with TikTok; durations are in seconds.

    Raises:
        ConfigurationError: an option is wrong; its ``faults`` name every one.
    """

    client_key: str = field(
        metadata=row(
            TEXT,
            "from TikTok's portal",
            stand_in="awsample",
            if_missing=_FROM_PORTAL,
            other_names=("CLIENT_ID", "KEY", "APP_ID", "APP_KEY", "API_KEY"),
        )
    )
    client_secret: str = field(
        repr=False,
        metadata=row(
            TEXT,
            "from TikTok's portal",
            stand_in="a-secret-of-the-samples",
            if_missing=_FROM_PORTAL,
            other_names=("SECRET", "APP_SECRET", "API_SECRET", "CLIENT_SECRET_KEY"),
        ),
    )
    previous_client_secret: str | None = option(
        OPTIONAL_TEXT,
        "the former secret, while the secret is rotated: accepted for webhooks, and"
        " used for a call if TikTok refuses the new one",
        default=None,
        show=False,
    )
    redirect_uri: str = field(
        metadata=row(
            TEXT,
            "as registered at TikTok, byte for byte. Its path is the callback path, and"
            " its origin is your site's. https, or http with a port on `localhost` or"
            " `127.0.0.1` for development",
            stand_in="https://app.example.com/auth/tiktok/callback",
            if_missing="set the address that you registered at TikTok",
            other_names=(
                "REDIRECT_URL",
                "CALLBACK_URL",
                "CALLBACK_URI",
                "CALLBACK",
                "REDIRECT",
            ),
        )
    )
    secret_keys: Sequence[str] = field(
        repr=False,
        metadata=row(
            LIST,
            "newest first: the first seals and signs, all of them open and verify. 32"
            " random characters or more each",
            stand_in=("Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo",),
            example="32 random characters or more",
            if_missing=f"make one with: {KEY_COMMAND}",
            other_names=("SECRET_KEY", "SESSION_SECRET", "COOKIE_SECRET"),
        ),
    )
    scopes: Sequence[str] = option(
        LIST,
        "requested at every login",
        default=(BASIC_SCOPE,),
        example=BASIC_SCOPE,
    )
    optional_scopes: Sequence[str] = option(
        LIST,
        "further scopes that a page may request",
        default=(),
        example="video.list",
    )
    login_path: str = option(
        TEXT,
        "begins a login; takes `next`, `scopes` and `choose_account=1` in its query",
        default="/auth/tiktok/login",
    )
    logout_path: str = option(
        TEXT,
        "ends the session; POST only; takes `next`",
        default="/auth/tiktok/logout",
    )
    disconnect_path: str | None = option(
        OPTIONAL_TEXT,
        "disconnects your app from the user's TikTok account; None: there is no such"
        " path",
        default=None,
    )
    connect_path: str | None = option(
        OPTIONAL_TEXT,
        "connects a TikTok account to the user of your app that `current_user` names;"
        " takes `next` and `scopes`; None: there is no such path",
        default=None,
    )
    webhook_path: str | None = option(
        OPTIONAL_TEXT,
        "the path to which TikTok delivers webhooks; None: there is no such path",
        default=None,
    )
    after_login: str = option(
        TEXT,
        "the path to which a login without `next` leads, below the mount point",
        default="/",
    )
    after_logout: str = option(
        TEXT, "the path to which a logout without `next` leads", default="/"
    )
    protect: Sequence[str] = option(
        LIST, "path rules that need a login", default=(), example="/app"
    )
    protect_recent: Sequence[str] = option(
        LIST,
        "path rules that need a login of the last `protect_max_age` seconds",
        default=(),
        example="/app/payments",
    )
    protect_max_age: float = option(
        SECONDS,
        "the largest age of a login for the paths of `protect_recent`; fewer than 10"
        " count as 10",
        default=300,
        least=0,
        most=400 * DAY,
    )
    public: Sequence[str] = option(
        LIST,
        "path rules that need no login; the longest matching rule decides",
        default=(),
        example="/app/help",
    )
    login_methods: Sequence[str] = option(
        LIST,
        'the methods by which a login may begin. With `("POST",)` only a form begins'
        " one: links and the redirects of guards, which are GET requests, lead to a"
        " page with a button that posts it",
        default=("GET", "POST"),
        example="GET",
    )
    session_lifetime: float = option(
        SECONDS,
        "a session ends this long after its login",
        default=30 * DAY,
        least=1,
        most=400 * DAY,
    )
    session_idle: float = option(
        SECONDS,
        "a session also ends this long after its last request",
        default=8 * 3600,
        least=1,
        most=400 * DAY,
    )
    login_lifetime: float = option(
        SECONDS,
        "how long a user may stay on TikTok's pages",
        default=600,
        least=1,
        most=900,
    )
    refresh_leeway: float = option(
        SECONDS,
        "refresh the access token this long before it expires, or a tenth of its life"
        " if that is less",
        default=300,
        least=0,
        most=DAY,
    )
    keep_grants: bool = option(
        FLAG,
        "keep a user's tokens for jobs after their last session has ended",
        default=False,
    )
    fetch_user: bool = option(
        FLAG,
        "request the profile from TikTok, at login and when it is old",
        default=True,
    )
    connect_ahead: bool = option(
        FLAG,
        "open the callback's connection to TikTok while a person is on TikTok's page",
        default=True,
    )
    profile_max_age: float = option(
        SECONDS,
        "request the profile again at this age; sooner if an avatar link has expired"
        " and `auth.user` is read",
        default=DAY,
        least=1,
        most=400 * DAY,
    )
    pkce: bool = option(
        FLAG, "send a PKCE challenge in TikTok's hex form", default=True
    )
    always_ask_consent: bool = option(
        FLAG,
        "show TikTok's consent page at every login, so that the user can switch"
        " accounts",
        default=False,
    )
    websocket_origins: Sequence[str] = option(
        LIST,
        "further origins whose WebSockets carry the session",
        default=(),
        example="https://app.example.com",
    )
    starlette_auth: bool = option(
        FLAG, "fill Starlette's `request.user` and `request.auth`", default=True
    )
    store: str = option(
        TEXT,
        "the URL of the store: `memory://`, `sqlite:///relative`,"
        " `sqlite:////absolute`, `redis://`, `rediss://`, `unix://`, or of a database:"
        " `postgresql+psycopg://`, `mysql+pymysql://`, or"
        " `django://alias` in a Django project. The URL may contain a password",
        default="sqlite:///tiktok-oauth.sqlite3",
        show=False,
    )
    timeout: float = option(
        SECONDS, "total time for one answer of TikTok", default=10, least=0.1, most=60
    )
    remembered_sessions: int = option(
        COUNT,
        "browser sessions that each process keeps in memory, about 2 kB each; all"
        " others are read from the store at every request",
        default=16384,
        least=1,
        most=10_000_000,
    )
    cookie_name: str = option(
        TEXT, "distinguishes the cookies of two apps on one host", default="tiktok"
    )
    endpoints: TikTokEndpoints = field(
        default_factory=TikTokEndpoints,
        metadata=row(
            ENDPOINTS,
            "TikTok's addresses (`authorize`, `token`, `revoke`, `user_info`), for a"
            " stand-in",
            stand_in=TikTokEndpoints(),
        ),
    )

    def __post_init__(self) -> None:
        """Report everything that is wrong, freeze the lists, and wrap the secrets."""
        rows = rows_of(type(self))
        plain = {name: _plain(getattr(self, name)) for name in rows}
        found = [*faults(plain, rows)]
        if found:
            raise ConfigurationError(found)
        for name, each in rows.items():
            if each.kind is LIST:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        keys = tuple(Secret(key) for key in self.secret_keys)
        object.__setattr__(self, "secret_keys", keys)
        object.__setattr__(self, "client_secret", Secret(self.client_secret))
        if self.previous_client_secret is not None:
            previous = Secret(self.previous_client_secret)
            object.__setattr__(self, "previous_client_secret", previous)
        if "@" in self.store:  # a user name, and perhaps a password
            object.__setattr__(self, "store", Secret(self.store))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> TikTokSettings:
        """Return the settings in environment variables.

        A variable is ``TIKTOK_`` and the option's name in capitals. Lists are split at
        commas; booleans are ``true`` or ``false``; the endpoints are
        ``TIKTOK_ENDPOINTS_TOKEN`` and so on.

        Args:
            environ: the variables; None reads those of the process.

        Raises:
            ConfigurationError: an option is wrong, missing, or misspelt.
        """
        found = read_environment(cls, os.environ if environ is None else environ)
        if isinstance(found, ConfigurationError):
            del environ  # reporters of exceptions record the locals of this frame
            raise found
        return found

    @property
    def origin(self) -> str:
        """Scheme, host and port of the site: those of the redirect URI."""
        return _origin_of(self.redirect_uri)

    @property
    def callback_path(self) -> str:
        """The path of the redirect URI, mount point included."""
        return urlsplit(self.redirect_uri).path

    @property
    def protected(self) -> tuple[str, ...]:
        """All path rules that need a login, a recent one or any."""
        return (*self.protect, *self.protect_recent)

    @property
    def is_loopback(self) -> bool:
        """Whether the app is in development, over plain http on this machine."""
        return urlsplit(self.redirect_uri).scheme == "http"


rows_of(TikTokSettings)  # an option without a row stops the import
#: Cached, since logins and logouts compare addresses with it: to parse the address of
#: the settings each time takes 5 us. No other address gets here.
_origin_of = lru_cache(maxsize=16)(origin_of)


def _refuse_unknown(names: Iterable[str]) -> None:
    """Raise TypeError for a name that is not an option, with the one that is meant."""
    rows = rows_of(TikTokSettings)
    for name in names:
        if name not in rows:
            meant = meant_option(name, TikTokSettings)
            message = f"{name!r} is not an option of TikTokSettings"
            raise TypeError(f"{message}; did you mean {meant!r}?" if meant else message)


def _without_frames(make: Callable[..., None]) -> Callable[..., None]:
    """Return an ``__init__`` whose exceptions come from a frame without secrets.

    Reporters of exceptions record the locals of every frame: here, the options.
    """

    @wraps(make)
    def checked(self: TikTokSettings, **options: Any) -> None:
        failure, handled = None, sys.exception()
        try:
            _refuse_unknown([*options])
            make(self, **options)
        except (ConfigurationError, TypeError) as error:
            failure = without_frames(error, handled)
        if failure is not None:
            options.clear()
            del self
            raise failure

    return checked


TikTokSettings.__init__ = _without_frames(TikTokSettings.__init__)  # type: ignore[method-assign]


def _plain(value: Any) -> Any:
    """Return an option as it was given, without the wrapper of a secret."""
    if isinstance(value, str):
        return reveal(value)
    if type(value) in (list, tuple):
        return [*map(_plain, value)]
    return value

"""The values the story is told in: Token, User, Grant, TikTokAuth.

What an app sees (`TikTokAuth`, `Token`, `User`) is read-only. What holds a secret
prints none: not in ``repr``, ``str`` or a format string, nor as a pickle. The grant,
one record for each TikTok user, packs itself into lines of text; sealing that text
is somebody else's step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    NoReturn,
    Self,
    SupportsIndex,
    cast,
    overload,
)
from urllib.parse import quote, urlencode

from .errors import ConfigurationError, NotSignedIn
from .text import local_part, one_line


class Secret(str):
    """Text that must not be shown: it is asterisks to all that print, and not pickled.

    As a string it holds ``***``, so code that reads strings without asking (``json``,
    ``csv``, ``str.join``, `html.escape`, reporters of exceptions) finds nothing else.
    It compares, hashes, measures and encodes as the text it stands for; a slice of it,
    or it and other text put together, is a secret again. `reveal` gives the plain text.
    """

    __slots__ = ("_text",)

    _text: str

    def __new__(cls, text: str) -> Self:
        """Wrap `text`, itself perhaps a secret."""
        plain = text.reveal() if isinstance(text, Secret) else str.__str__(text)
        secret = super().__new__(cls, "***" if plain else "")
        secret._text = plain
        return secret

    def reveal(self) -> str:
        """Return the secret itself, as a plain string."""
        return self._text

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the bytes of the text itself: to be hashed, sealed or sent."""
        return self._text.encode(encoding, errors)

    def __eq__(self, other: object) -> bool:
        return self._text == (other._text if isinstance(other, Secret) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        return Secret(self._text[key])

    def __add__(self, other: str) -> Secret:
        return Secret(self._text + reveal(other))

    def __radd__(self, other: str) -> Secret:
        return Secret(reveal(other) + self._text)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __html__(self) -> str:
        """Return what templates show (MarkupSafe, Jinja, Django)."""
        return "***"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "a secret is not pickled"
        raise TypeError(message)


def reveal(text: str) -> str:
    """Return the text that a string stands for, if it is a secret."""
    return text.reveal() if isinstance(text, Secret) else text


#: Longest text, and how many, whose scopes are remembered. All of TikTok's scopes
#: together are longer, what a user grants seldom is: and then it is read again.
_REMEMBERED_SCOPES = 256


def split_scopes(text: str) -> frozenset[str]:
    """Return the scopes of a comma-separated text; TikTok's form, never spaces.

    >>> sorted(split_scopes("user.info.basic, video.list"))
    ['user.info.basic', 'video.list']
    """
    if len(text) > _REMEMBERED_SCOPES:
        return parse_scopes(text)
    return _remembered_scopes(text)


def parse_scopes(text: str) -> frozenset[str]:
    """Return the scopes of a text that anybody may have sent: nothing is remembered."""
    return frozenset(filter(None, (scope.strip() for scope in text.split(","))))


@lru_cache(maxsize=_REMEMBERED_SCOPES)
def _remembered_scopes(text: str) -> frozenset[str]:
    return parse_scopes(text)


def join_scopes(scopes: Iterable[str]) -> str:
    """Return `scopes` in TikTok's form, sorted, so that equal sets are equal texts.

    A plain string is taken for what it says, not for its letters. It may be an app's
    visitor who wrote it, so nothing is remembered.
    """
    return ",".join(sorted(parse_scopes(scopes) if isinstance(scopes, str) else scopes))


class Token:
    """A user's access token, valid at the moment it was asked for."""

    __slots__ = ("_access_token", "_expires_at", "_scopes")

    def __init__(self, access_token: str, expires_at: float, scopes: str) -> None:
        self._access_token = access_token
        self._expires_at = expires_at
        self._scopes = scopes

    @property
    def access_token(self) -> str:
        """What goes behind ``Authorization: Bearer``."""
        return self._access_token

    @property
    def expires_at(self) -> float:
        """When TikTok stops taking it, in seconds since 1970 UTC."""
        return self._expires_at

    @property
    def scopes(self) -> frozenset[str]:
        """What the user granted it for."""
        return split_scopes(self._scopes)

    def __repr__(self) -> str:
        return f"<Token expires_at={self._expires_at:.0f}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "a token is not pickled"
        raise TypeError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A TikTok user's profile, as far as the granted scopes show it.

    A field whose scope was not granted is None
    (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info).
    """

    #: Stable for this user in this app; compare it byte for byte.
    open_id: str
    #: Stable for this user in all apps of one developer; may be missing.
    union_id: str | None = None
    #: Signed links that expire: show them, do not keep them.
    avatar_url: str | None = None
    avatar_url_100: str | None = None
    avatar_large_url: str | None = None
    display_name: str | None = None
    #: With ``user.info.profile``.
    bio_description: str | None = None
    profile_deep_link: str | None = None
    profile_web_link: str | None = None
    is_verified: bool | None = None
    username: str | None = None
    #: With ``user.info.stats``.
    follower_count: int | None = None
    following_count: int | None = None
    likes_count: int | None = None
    video_count: int | None = None


#: Longest profile that is remembered, and how many are: 2 MB at most. TikTok's are
#: shorter (1.5 kB with three signed links), but nothing holds them to that.
_LONGEST_REMEMBERED_PROFILE = 4096
_REMEMBERED_PROFILES = 512


def read_profile(open_id: str, profile: str) -> User:
    """Return the user whose packed profile (see `Grant.profile`) this is."""
    if len(profile) > _LONGEST_REMEMBERED_PROFILE:
        return _parse_profile(open_id, profile)
    return _remembered_profile(open_id, profile)


def _parse_profile(open_id: str, profile: str) -> User:
    return User(open_id=open_id, **json.loads(profile or "{}"))


@lru_cache(maxsize=_REMEMBERED_PROFILES)
def _remembered_profile(open_id: str, profile: str) -> User:
    return _parse_profile(open_id, profile)


def pack_profile(fields: Mapping[str, object]) -> str:
    """Return profile fields, without the open_id, as one line of JSON."""
    kept = {k: v for k, v in fields.items() if k != "open_id" and v is not None}
    return json.dumps(kept, sort_keys=True) if kept else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """What TikTok's token endpoint granted: read, checked, and not yet anybody's."""

    open_id: str
    access_token: Secret
    #: None where the answer had none: the old one stays good.
    refresh_token: Secret | None
    #: Granted scopes, comma separated; None where the answer named none.
    scopes: str | None
    #: Seconds from the moment of the answer.
    expires_in: float
    #: Seconds; None where TikTok did not say.
    refresh_expires_in: float | None


class Session(NamedTuple):
    """One browser of a user: the hash of its secret, and when it came and was here."""

    digest: str
    born: int
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """All we keep of one TikTok user: tokens, granted scopes, browser sessions.

    Times are whole seconds since 1970 UTC. `pack` and `unpack` are exact opposites;
    the text holds secrets, so only its sealed form leaves the process.
    """

    open_id: str
    access_token: Secret
    #: When the access token was issued, and when it ends.
    issued_at: int
    expires_at: int
    #: "" where TikTok gave none.
    refresh_token: Secret
    #: None where TikTok did not say.
    refresh_expires_at: int | None
    #: Granted scopes, comma separated and sorted.
    scopes: str
    #: Scopes asked for one by one and declined, in the same form.
    declined: str = ""
    #: The user's profile as one line of JSON, or "".
    profile: str = ""
    #: When TikTok gave it; 0 for never.
    profile_at: int = 0
    #: Failures to get it in a row, and the time before which not to try again.
    profile_failures: int = 0
    profile_retry_at: int = 0
    #: Failed refreshes in a row, and the time before which not to try again.
    failures: int = 0
    retry_at: int = 0
    #: Oldest first.
    sessions: tuple[Session, ...] = ()

    def pack(self) -> bytes:
        """Return the grant as lines: a version, one line a field, one a session.

        Version 1, which is still read, had no line about the age of the profile.
        """
        end = "" if self.refresh_expires_at is None else str(self.refresh_expires_at)
        lines = [
            "2",
            self.open_id,
            self.access_token.reveal(),
            f"{self.issued_at} {self.expires_at}",
            self.refresh_token.reveal(),
            end,
            self.scopes,
            self.declined,
            self.profile,
            f"{self.failures} {self.retry_at}",
            f"{self.profile_at} {self.profile_failures} {self.profile_retry_at}",
            *(f"{digest} {born} {seen}" for digest, born, seen in self.sessions),
        ]
        return "\n".join(lines).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> Grant | None:
        """Return the grant packed in these bytes, or None where they are no grant."""
        try:
            version, open_id, access, life, refresh, end, *more = packed.decode().split(
                "\n"
            )
            scopes, declined, profile, failed, *sessions = more
            issued_at, expires_at = map(int, life.split(" "))
            if version == "1":
                # As old as its tokens, so that not all users' are due at once.
                age = f"{issued_at if profile else 0} 0 0"
            elif version == "2":
                age, *sessions = sessions
            else:
                return None
            profile_at, profile_failures, profile_retry_at = map(int, age.split(" "))
            failures, retry_at = map(int, failed.split(" "))
            browsers = (line.split(" ") for line in sessions)
            return cls(
                open_id=open_id,
                access_token=Secret(access),
                issued_at=issued_at,
                expires_at=expires_at,
                refresh_token=Secret(refresh),
                refresh_expires_at=int(end) if end else None,
                scopes=scopes,
                declined=declined,
                profile=profile,
                profile_at=profile_at,
                profile_failures=profile_failures,
                profile_retry_at=profile_retry_at,
                failures=failures,
                retry_at=retry_at,
                sessions=tuple(
                    Session(digest, int(born), int(seen))
                    for digest, born, seen in browsers
                ),
            )
        except ValueError:  # too few fields, no number, not UTF-8
            return None


#: What one browser session may see of its user's grant, and from when until when that
#: is known to be true. An exact tuple of atoms, because the garbage collector leaves
#: those alone: 100,000 small objects cost it 12 to 29 ms at each full run, these none.
Sight = tuple[float, float, str, str, str, int, str, str, str, str, float, bytes]
SINCE: Final = 0
UNTIL: Final = 1
OPEN_ID: Final = 2
SCOPES: Final = 3
ACCESS_TOKEN: Final = 4
EXPIRES_AT: Final = 5
PROFILE: Final = 6
DECLINED: Final = 7
GRANT_ID: Final = 8
DIGEST: Final = 9
#: Until when all of it stays true if the record does not change: nothing in it is due.
KEEPS_UNTIL: Final = 10
#: The record as it was read.
SEALED: Final = 11

_NO_SCOPES: frozenset[str] = frozenset()


class Site:
    """Where the middleware is reached below one mount point, and what time it is.

    One for each mount point, shared by all its requests.
    """

    __slots__ = (
        "_login",
        "_logout",
        "askable",
        "clock",
        "is_stray",
        "mount",
        "origin",
        "own_paths",
        "prefix",
        "profile_was_read",
        "routes",
    )

    def __init__(  # noqa: PLR0913 - what its links and answers need
        self,
        *,
        mount: str,
        routes: Mapping[str, str],
        askable: frozenset[str],
        clock: Callable[[], float],
        origin: str = "",
        profile_was_read: Callable[[Sight], object] = lambda _: None,
        is_stray: bool = False,
    ) -> None:
        #: Whether the callback is not below it, so that no login can be finished here.
        self.is_stray: bool = is_stray
        #: The prefix that the server took off the path: root_path, SCRIPT_NAME.
        self.mount: str = mount
        #: Path below the mount point to what is answered there: "login", "callback"...
        self.routes: Mapping[str, str] = routes
        #: The same paths as a browser asks for them: no login returns to one.
        self.own_paths: frozenset[str] = frozenset(mount + path for path in routes)
        #: The scopes that a login may ask for.
        self.askable: frozenset[str] = askable
        self.clock: Callable[[], float] = clock
        #: The site's configured origin, whatever a request says.
        self.origin: str = origin
        #: Called where an app looks at a user's profile.
        self.profile_was_read: Callable[[Sight], object] = profile_was_read
        #: The mount point as a link begins with it.
        self.prefix: str = quote(mount, safe="/")
        paths = {name: mount + path for path, name in routes.items()}
        self._login = quote(paths["login"], safe="/")
        self._logout = quote(paths["logout"], safe="/")

    @property
    def home(self) -> str:
        """The way back to the app's first page."""
        return self.prefix + "/"

    def login_url(
        self,
        target: str | None = None,
        scopes: Iterable[str] = (),
        *,
        choose_account: bool = False,
    ) -> str:
        """Return the path and query that begin a login."""
        asked = join_scopes(scopes)
        query = {
            "next": target and local_part(target, self.origin),
            "scopes": asked or None,
            "choose_account": "1" if choose_account else None,
        }
        return self._with_query(self._login, query)

    def logout_url(self, target: str | None = None) -> str:
        """Return the path and query to POST to."""
        return self._with_query(self._logout, {"next": target})

    @staticmethod
    def _with_query(path: str, query: Mapping[str, str | None]) -> str:
        given = {name: value for name, value in query.items() if value is not None}
        # A lone surrogate comes out as a question mark: it leads nowhere anyway.
        query_string = urlencode(given, safe="/,", errors="replace")
        return f"{path}?{query_string}" if given else path


#: How a WebSocket is closed where its handshake can not be answered with HTTP.
CLOSE_CODES: Mapping[int, int] = {401: 4401, 403: 4403}


@dataclass(frozen=True, slots=True)
class Challenge:
    """Why a guard turned a request away: nobody is signed in, or scopes are missing."""

    is_signed_in: bool = False
    #: Scopes that the guard asks for and nobody here has granted.
    missing: frozenset[str] = field(default=_NO_SCOPES)

    @property
    def status(self) -> int:
        """401 to sign in, 403 to grant more."""
        return 403 if self.is_signed_in else 401

    def is_answered_by(self, status: int, headers: Iterable[tuple[str, str]]) -> bool:
        """Whether an app's answer still is the guard's refusal.

        An app may catch the refusal and answer with something else, which is then left
        alone: another status, or a 401 that asks for other credentials.

        Args:
            status: of the answer.
            headers: of the answer.
        """
        return status == self.status and all(
            name.lower() != "www-authenticate" for name, _ in headers
        )


class TikTokAuth:
    """Who is signed in with TikTok in this request: always there, signed in or not.

    Read-only, made for one request, and it holds no connection. The first look at any
    property is noted: a response that depended on it must not be shared by caches.
    """

    # A slotted class, not a frozen dataclass: 0.11 against 0.67 us, once a request.
    __slots__ = ("_challenge", "_looked", "_sight", "_site")

    # Set by the middleware that makes it: the call of an __init__ costs 0.1 us.
    _sight: Sight | None
    _site: Site
    #: Whether anybody looked, and what a guard found missing.
    _looked: bool
    _challenge: Challenge | None

    @property
    def is_authenticated(self) -> bool:
        """Whether somebody is signed in."""
        self._looked = True
        return self._sight is not None

    @property
    def open_id(self) -> str | None:
        """TikTok's stable id of the user in this app, or None."""
        self._looked = True
        return None if self._sight is None else self._sight[OPEN_ID]

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that the user granted; not those that were asked for."""
        self._looked = True
        return _NO_SCOPES if self._sight is None else split_scopes(self._sight[SCOPES])

    @property
    def token(self) -> Token | None:
        """The access token, or None: signed out, or TikTok could not renew it."""
        self._looked = True
        sight = self._sight
        if sight is None or sight[EXPIRES_AT] <= self._site.clock():
            return None
        return Token(sight[ACCESS_TOKEN], sight[EXPIRES_AT], sight[SCOPES])

    @property
    def user(self) -> User | None:
        """The user's profile by granted scope, or None when nobody is signed in.

        As TikTok gave it at the login or later, ``profile_max_age`` old at most unless
        TikTok did not answer. An avatar link that has ended is renewed at the next
        request after somebody looked.
        """
        self._looked = True
        sight = self._sight
        if sight is None:
            return None
        self._site.profile_was_read(sight)
        return read_profile(sight[OPEN_ID], sight[PROFILE])

    def missing_scopes(self, *scopes: str) -> frozenset[str]:
        """Return those of `scopes` that the user has not granted."""
        return frozenset(scopes) - self.scopes

    def login_url(
        self,
        next: str | None = None,  # noqa: A002 - the query's own word
        scopes: Iterable[str] = (),
        *,
        choose_account: bool = False,
    ) -> str:
        """Return the link that begins a login, or asks for further scopes.

        Args:
            next: the path of this site to come back to, or its whole address, such as
                ``str(request.url)``; `after_login` if not given. An address at any
                other origin than that of the redirect URI leads to `after_login` too.
            scopes: scopes to ask for beside the usual ones; each must be in the
                settings' ``scopes`` or ``optional_scopes``.
            choose_account: show TikTok's page, where the person can switch to another
                account; otherwise TikTok reconnects the last one without asking.

        Raises:
            ConfigurationError: a scope is in neither: such a link would lead nowhere.
        """
        asked = parse_scopes(scopes) if isinstance(scopes, str) else {*scopes}
        odd = asked - self._site.askable
        if odd:
            message = (
                f"login_url asks for {one_line(', '.join(sorted(odd)))}, which is in"
                " neither scopes nor optional_scopes: list it in one of them"
            )
            raise ConfigurationError(message)
        return self._site.login_url(next, asked, choose_account=choose_account)

    @property
    def logout_url(self) -> str:
        """The address to POST to, from a form of this site, to log out."""
        return self._site.logout_url()

    def __repr__(self) -> str:
        if self._sight is None:
            return "<TikTokAuth: nobody signed in>"
        return f"<TikTokAuth open_id={self._sight[OPEN_ID]!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "TikTokAuth belongs to one request and is not pickled"
        raise TypeError(message)


class SignedInAuth(TikTokAuth):
    """A `TikTokAuth` behind a guard, as type checkers see it: its fields are there.

    No object is of this class. Where somebody is certainly signed in it says so of the
    same object: ``open_id`` is a str and ``user`` a `User`. The token may be missing
    still, where TikTok could not renew it.
    """

    __slots__ = ()

    @property
    def is_authenticated(self) -> Literal[True]:
        """Whether somebody is signed in."""
        return cast("Literal[True]", super().is_authenticated)

    @property
    def open_id(self) -> str:
        """TikTok's stable id of the user in this app."""
        return cast("str", super().open_id)

    @property
    def user(self) -> User:
        """The user's profile by granted scope."""
        return cast("User", super().user)


def signed_in_auth_in(connection: Any) -> SignedInAuth:
    """Return what the middleware put into a request in which somebody is signed in.

    Raises:
        ConfigurationError: there is no middleware around the app.
        NotSignedIn: nobody is signed in; no guard stands before the caller.
    """
    auth = auth_in(connection, required=True)
    if auth.is_authenticated:
        return cast("SignedInAuth", auth)
    message = "nobody is signed in, and no guard has asked: put requires_tiktok before"
    raise NotSignedIn(message)


@overload
def auth_in(connection: Any, *, required: Literal[True]) -> TikTokAuth: ...
@overload
def auth_in(connection: Any) -> TikTokAuth | None: ...
def auth_in(connection: Any, *, required: bool = False) -> TikTokAuth | None:
    """Return what the middleware put into a request.

    Below an adapter such as a2wsgi a WSGI app is asked through an ASGI middleware: the
    adapter hands the scope on in the environ.

    Args:
        connection: a request object, its ``scope`` or ``environ``, or what is sought.
        required: whether it must be there.

    Raises:
        ConfigurationError: it is required and there is no middleware around the app.
    """
    if isinstance(connection, TikTokAuth):
        return connection
    held = connection
    if not isinstance(held, Mapping):
        held = getattr(connection, "scope", None)  # Starlette's; Django's under ASGI
        if not isinstance(held, Mapping):
            held = getattr(connection, "environ", None)  # Flask's; Django's under WSGI
    auth: Any = None
    if isinstance(held, Mapping):
        auth = held.get("tiktok") or held.get("tiktok.auth")
        if auth is None and "asgi.scope" in held:
            auth = held["asgi.scope"].get("tiktok")
    if auth is None:
        auth = asgi_auth.get()
    if isinstance(auth, TikTokAuth):
        return auth
    if not required:
        return None
    message = (
        "there is no TikTok middleware around this app: wrap it in"
        " TikTokOAuthMiddleware (ASGI) or TikTokOAuthWSGIMiddleware (WSGI)"
    )
    raise ConfigurationError(message)


#: The object of the request at hand, set under ASGI where a WSGI app may be inside:
#: asgiref's WsgiToAsgi and Starlette's WSGIMiddleware hand no scope on.
asgi_auth: ContextVar[TikTokAuth | None] = ContextVar("tiktok_auth", default=None)


#: Every event that there is; what each says and counts is in the table of events.py.
EventName = Literal[
    "login",
    "login_rejected",
    "refresh",
    "refresh_failed",
    "scopes_changed",
    "logout",
    "session_ended",
    "disconnect",
    "withdrawal",
    "webhook",
    "webhook_rejected",
    "store_error",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a user's login, told to ``on_event``; no secret in it.

    `name` is one of ``login``, ``login_rejected``, ``refresh``, ``refresh_failed``,
    ``scopes_changed``, ``logout``, ``session_ended``, ``disconnect``, ``withdrawal``,
    ``webhook``, ``webhook_rejected``, ``store_error``.
    """

    name: EventName
    #: Why, where there is a why: a stable code, never foreign text.
    reason: str = ""
    open_id: str | None = None
    #: Granted scopes after the event.
    scopes: frozenset[str] = _NO_SCOPES
    #: The reference that the user's page and the log carry too.
    reference: str = ""
    #: TikTok's own ``error``; "" where it named none. Like the next two it is TikTok's
    #: text, cut at 200 characters, on one line, and masked where it repeats a secret.
    error: str = ""
    #: TikTok's free text; never match on it.
    error_description: str = ""
    #: What TikTok's support asks for.
    log_id: str = ""
    #: The HTTP status that TikTok answered with; 0 where there was no answer.
    status: int = 0
    #: At a login: the user's profile as it is kept now, by granted scope.
    user: User | None = None
    #: At a login: whether nothing was kept of this user before. What was kept may have
    #: ended since the last visit: it goes with the last session, unless `keep_grants`.
    is_new: bool | None = None
    #: Further plain facts, such as a webhook's own event name and content, or what a
    #: callback without ``error`` held (``errCode``, ``error_code``, ``error_msg``,
    #: ``error_type``, ``log_id``, ``logid``).
    details: Mapping[str, Any] = field(default_factory=dict)

"""The authentication of a request for an app: `TikTokAuth`, `Token` and `Login`.

All are read-only. No secret appears in a ``repr``, a ``str`` or a format string, and
objects that hold one cannot be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, cast

from ._core.clocks import WRONG_CLOCK_SECONDS
from ._core.redact import one_line
from ._oauth.scopes import parse_scopes, split_scopes
from ._oauth.user import User, read_profile
from ._session.cached_session import (
    ACCESS_TOKEN,
    DIGEST,
    EXPIRES_AT,
    LOGGED_IN_AT,
    OPEN_ID,
    PROFILE,
    SCOPES,
    CachedSession,
)
from ._session.record import public_id
from .errors import ConfigurationError, NotSignedIn

if TYPE_CHECKING:
    from ._core.http import Cookie, Headers
    from ._web.button import SafeHtml
    from ._web.guard import Challenge
    from ._web.mount import MountPoint
    from .bearer import TikTokBearer


class Token:
    """A user's access token; it was valid when `TikTokAuth.token` returned it."""

    __slots__ = ("_access_token", "_expires_at", "_scopes")

    def __init__(self, access_token: str, expires_at: float, scopes: str) -> None:
        self._access_token = access_token
        self._expires_at = expires_at
        self._scopes = scopes

    @property
    def access_token(self) -> str:
        """The token to send after ``Authorization: Bearer``."""
        return self._access_token

    @property
    def expires_at(self) -> float:
        """When it expires, in seconds since 1970 UTC."""
        return self._expires_at

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that the user granted."""
        return split_scopes(self._scopes)

    def __repr__(self) -> str:
        return f"<Token expires_at={self._expires_at:.0f}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "a token cannot be pickled"
        raise TypeError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A login that TikTok has confirmed and about which ``on_login`` decides.

    Nothing about it is stored yet, and the browser is not signed in by it.
    """

    #: TikTok's stable id of the user in this app.
    open_id: str
    #: The scopes that the user granted.
    scopes: frozenset[str]
    #: The user's profile, as far as scopes were granted.
    user: User
    #: The path of this site that the login leads to.
    next: str = "/"
    #: The data in the link of the login: ``login_url(carry=...)``.
    carried: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Whether there is no record of this user. A record ends with the last session,
    #: unless ``keep_grants`` is on, so a user who returns may be new.
    is_new: bool = True


#: An app's function that decides about a login; under ASGI it may be an ``async def``.
OnLogin = Callable[[Login], Any]
#: An app's function that returns the app's own id of the user who is signed in to it,
#: or None; its argument is the scope or the environ. Under ASGI it may be an ``async
#: def``.
CurrentUser = Callable[[Any], Any]

_NO_SCOPES: frozenset[str] = frozenset()
#: The shortest time for which a login counts as recent, in seconds, however small
#: `max_age` is: after the login the page is requested again, perhaps over a slow
#: network.
_LANDING_SECONDS = 10


#: Why a link cannot carry data.
NO_RESPONSE = (
    "login_url(carry=...) sets a cookie, and this response has begun, or is not an"
    " HTTP response: make the link before the response begins, or in the page that"
    " leads to it"
)


class TikTokAuth:
    """The TikTok authentication of a request, authenticated or anonymous.

    Read-only, and made for one request. Reading any property is noted, because a
    response that depends on one must not be stored in shared caches.
    """

    # A slotted class, not a frozen dataclass: 0.11 against 0.67 us, once a request.
    __slots__ = ("_accessed", "_browser_id", "_cached", "_challenge", "_mount_point")

    # The middleware sets these: calling an __init__ would cost 0.1 us.
    _cached: CachedSession | None
    _mount_point: MountPoint
    #: Whether a property was read, and why a guard refused the request.
    _accessed: bool
    _challenge: Challenge | None
    #: The id that binds links with data to this browser; not set before such a link.
    _browser_id: str

    @property
    def is_authenticated(self) -> bool:
        """Whether the request is authenticated; False if it is anonymous."""
        self._accessed = True
        return self._cached is not None

    @property
    def open_id(self) -> str | None:
        """TikTok's stable id of the user in this app, or None."""
        self._accessed = True
        return None if self._cached is None else self._cached[OPEN_ID]

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that the user granted; not those that were asked for."""
        self._accessed = True
        return (
            _NO_SCOPES if self._cached is None else split_scopes(self._cached[SCOPES])
        )

    @property
    def logged_in_at(self) -> int | None:
        """When the user last logged in, in seconds since 1970; None if anonymous.

        A login that TikTok may have answered without showing its page does not count if
        this browser was signed in as the same user: any web page can begin such a login
        without the person.
        """
        self._accessed = True
        return None if self._cached is None else self._cached[LOGGED_IN_AT]

    @property
    def session_id(self) -> str | None:
        """The id of this browser's session, or None; safe to show and to log.

        `TikTokTokens.sessions` lists the same ids. No cookie can be made from it.
        """
        self._accessed = True
        return None if self._cached is None else public_id(self._cached[DIGEST])

    @property
    def token(self) -> Token | None:
        """The access token; None if anonymous, or expired and not yet refreshed."""
        self._accessed = True
        cached = self._cached
        if cached is None or cached[EXPIRES_AT] <= self._mount_point.clock():
            return None
        return Token(cached[ACCESS_TOKEN], cached[EXPIRES_AT], cached[SCOPES])

    @property
    def user(self) -> User | None:
        """The user's profile, as far as scopes were granted; None if anonymous.

        It is at most ``profile_max_age`` old, unless TikTok did not answer. If the app
        reads it after its avatar link has expired, the user's next request renews it.
        """
        self._accessed = True
        cached = self._cached
        if cached is None:
            return None
        self._mount_point.profile_was_read(cached)
        return read_profile(cached[OPEN_ID], cached[PROFILE])

    @property
    def bearer(self) -> TikTokBearer:
        """The ``auth`` of a client of httpx2 or httpx, for calls as this user.

        It sends the user's token, refreshed if due, only to TikTok's API. A blocking
        client in an ASGI app needs an `on_event` that is not an ``async def``.

        Raises:
            NotSignedIn: the request is anonymous.
        """
        self._accessed = True
        if self._cached is None:
            message = "auth.bearer of an anonymous request: put requires_tiktok before"
            raise NotSignedIn(message)
        from .bearer import TikTokBearer

        return TikTokBearer(self._mount_point.tokens(), self._cached[OPEN_ID])

    def missing_scopes(self, *scopes: str) -> frozenset[str]:
        """Return those of `scopes` that the user has not granted.

        Raises:
            TypeError: a list of scopes was given as one argument.
        """
        try:
            return frozenset(scopes) - self.scopes
        except TypeError:
            if all(isinstance(scope, str) for scope in scopes):
                raise
            message = (
                "missing_scopes takes each scope as an argument of its own:"
                ' missing_scopes("user.info.stats", "video.list")'
            )
            raise TypeError(message) from None

    def logged_in_within(self, max_age: float) -> bool:
        """Whether the user logged in within `max_age` seconds; False if anonymous.

        Fewer than 10 seconds count as 10, so that the page after a login can be opened
        within them. A login in the future counts only within 300 seconds, by which the
        clocks of two servers may differ.
        """
        logged_in_at = self.logged_in_at
        if logged_in_at is None:
            return False
        age = self._mount_point.clock() - logged_in_at
        return -WRONG_CLOCK_SECONDS <= age <= max(max_age, _LANDING_SECONDS)

    def login_url(
        self,
        next: str | None = None,
        scopes: Iterable[str] = (),
        *,
        choose_account: bool = False,
        carry: Mapping[str, str] | None = None,
    ) -> str:
        """Return the link that begins a login, or asks for further scopes.

        Args:
            next: the path of this site to return to, with the mount point, or its
                whole URL, such as ``str(request.url)``; `after_login` if not given. Of
                an object, such as Starlette's ``URL``, its `str` is taken. A URL at
                another origin than the redirect URI's leads to `after_login` too.
            scopes: scopes to request besides the settings' ``scopes``; each must be in
                ``scopes`` or ``optional_scopes``.
            choose_account: show TikTok's page, where the person can switch to another
                account; otherwise TikTok reconnects the last one without asking.
            carry: data for ``on_login``, which gets it as `Login.carried`: at most 512
                bytes as JSON in UTF-8. It is sealed in the link, which works for an
                hour and in this browser only, and it makes the response set a cookie.

        Raises:
            ConfigurationError: a scope is in neither list, and could not be requested;
                or data is carried, and the response has begun.
            ValueError: `carry` is not a mapping of strings to strings, or too long.
        """
        if carry is not None:
            self._mount_point.check_carried(carry)
        requested = self._requested("login_url", scopes)
        if not carry:
            return self._mount_point.login_url(
                next, requested, choose_account=choose_account
            )
        return self._mount_point.login_url(
            next,
            requested,
            choose_account=choose_account,
            carried=carry,
            browser_id=self._bind_to_browser(),
        )

    def login_button(  # noqa: PLR0913 - those of login_url, and what it looks like
        self,
        next: str | None = None,
        look: Literal["black", "white", "outline"] = "black",
        *,
        scopes: Iterable[str] = (),
        choose_account: bool = False,
        carry: Mapping[str, str] | None = None,
        label: str | None = None,
        language: str | None = None,
        nonce: str | None = "",
    ) -> SafeHtml:
        """Return the HTML of a button that begins a login, with text and no logo.

        It is a link, or a form if ``login_methods`` has no GET. Templates do not escape
        it; everything in it is escaped. Like the URL it depends on no session.

        Args:
            next: as for `login_url`.
            look: ``black``; ``white``, for dark backgrounds; or ``outline``, which
                follows the reader's colour scheme.
            scopes: as for `login_url`.
            choose_account: as for `login_url`.
            carry: as for `login_url`; then the response sets a cookie.
            label: its text, plain; ``log_in_with_tiktok`` of ``texts=`` if not given.
            language: the tag of the page's language, for the label; the first language
                of ``texts=`` if not given, or English.
            nonce: of the page's Content-Security-Policy, for the style sheet; None
                leaves the style sheet out.

        Raises:
            ConfigurationError: as for `login_url`; or the look is unknown, the label is
                empty, or the nonce is invalid.
            ValueError: as for `login_url`.
        """
        url = self.login_url(next, scopes, choose_account=choose_account, carry=carry)
        return self._mount_point.login_button(
            url, look, label=label, language=language, nonce=nonce
        )

    def connect_url(self, next: str | None = None, scopes: Iterable[str] = ()) -> str:
        """Return the address that connects a TikTok account to the user of the app.

        Use it for a form that posts, or for a link on a page of this site; from another
        site it leads to a page that asks first. A login in the browser is not changed.

        Args:
            next: as for `login_url`.
            scopes: as for `login_url`.

        Raises:
            ConfigurationError: as for `login_url`; or ``connect_path`` is not set.
        """
        requested = self._requested("connect_url", scopes)
        return self._mount_point.connect_url(next, requested)

    @property
    def logout_url(self) -> str:
        """The address to POST to, from a form of this site, to log out."""
        return self._mount_point.logout_url()

    # --- not for apps ---------------------------------------------------------------

    @classmethod
    def of(cls, cached: CachedSession | None, mount_point: MountPoint) -> Self:
        """Return the authentication of a session, or of an anonymous request."""
        made = cls()
        made._cached, made._mount_point = cached, mount_point
        made._accessed, made._challenge = False, None
        return made

    def _refuse(self, challenge: Challenge) -> None:
        """Note why a guard refused the request, for the middleware.

        A preflight that passed a path rule keeps the rule's own mark. So the client
        gets only CORS headers, even if the app catches the guard's refusal.
        """
        if self._challenge is None or not self._challenge.is_preflight:
            self._challenge = challenge

    def _requested(self, name: str, scopes: Iterable[str]) -> set[str] | frozenset[str]:
        """Return the scopes that a URL is to request.

        Raises:
            ConfigurationError: a scope is in neither list of the settings.
        """
        requested = parse_scopes(scopes) if isinstance(scopes, str) else {*scopes}
        unlisted = requested - self._mount_point.allowed_scopes
        if unlisted:
            message = (
                f"{name} asks for {one_line(', '.join(sorted(unlisted)))}, which is"
                " in neither scopes nor optional_scopes: list it in one of them"
            )
            raise ConfigurationError(message)
        return requested

    def _bind_to_browser(self) -> str:
        """Return the id to which links of this browser are bound; the response sets it.

        Raises:
            ConfigurationError: the response has begun, or there is none.
        """
        self._accessed = True
        if not hasattr(self, "_browser_id"):
            links = self._mount_point.carried_links()
            browser_id = links.browser_id(self._cookie_headers())
            browser_id = browser_id or links.new_browser_id()
            # Set it again if the browser has it, since the link may live longer.
            self._set_cookie(links.cookie(browser_id))
            self._browser_id = browser_id
        return self._browser_id

    def _cookie_headers(self) -> Headers:
        """Return the request's headers, or only those with cookies."""
        return ()

    def _set_cookie(self, cookie: Cookie) -> None:  # noqa: ARG002 - none here
        """Add a cookie to the response; each middleware overrides this."""
        raise ConfigurationError(NO_RESPONSE)

    def __repr__(self) -> str:
        if self._cached is None:
            return "<TikTokAuth anonymous>"
        return f"<TikTokAuth open_id={self._cached[OPEN_ID]!r}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = (
            "TikTokAuth belongs to one request and cannot be pickled or copied; put a"
            " middleware that copies the scope outside the TikTok middleware"
        )
        raise TypeError(message)


class SignedInAuth(TikTokAuth):
    """The type of a `TikTokAuth` that is authenticated, for type checkers.

    There are no instances of this class. In a guarded view type checkers see the
    request's `TikTokAuth` as this type: ``open_id`` is a str and ``user`` a `User`. The
    token may still be None, if it has expired and TikTok did not refresh it.
    """

    __slots__ = ()

    @property
    def is_authenticated(self) -> Literal[True]:
        """Whether the request is authenticated; False if it is anonymous."""
        return cast("Literal[True]", super().is_authenticated)

    @property
    def open_id(self) -> str:
        """TikTok's stable id of the user in this app."""
        return cast("str", super().open_id)

    @property
    def user(self) -> User:
        """The user's profile, as far as scopes were granted."""
        return cast("User", super().user)

    @property
    def logged_in_at(self) -> int:
        """When the user last logged in, in seconds since 1970."""
        return cast("int", super().logged_in_at)

    @property
    def session_id(self) -> str:
        """The id of this browser's session; safe to show and to log."""
        return cast("str", super().session_id)

"""Mount points: prefixes of the app, and the URLs of the middleware's paths below them.

An app may be mounted below a prefix, which the server gives as ASGI's ``root_path`` or
WSGI's ``SCRIPT_NAME``. One app may have several mount points.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, urlencode

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.origins import local_part
from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware._oauth.scopes import join_scopes
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.own_paths import ROUTES, own_paths

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.http import Request
    from tiktok_oauth_middleware._session.cached_session import CachedSession
    from tiktok_oauth_middleware.settings.options import TikTokSettings
    from tiktok_oauth_middleware.settings.own_paths import RouteName
    from tiktok_oauth_middleware.tokens import TikTokTokens

    from .button import SafeHtml
    from .carried import CarriedLinks
    from .messages import ActionName, Messages

#: How often a mount point without the callback is reported, in seconds.
_STRAY_LOG_SECONDS = 60.0


def without_mount(path: str, mount: str) -> str:
    """Return a path without its mount point, which some servers leave in the path.

    >>> without_mount("/shop/items", "/shop")
    '/items'
    """
    if (
        mount
        and path.startswith(mount)
        and path[len(mount) : len(mount) + 1] in ("", "/")
    ):
        return path[len(mount) :] or "/"
    return path


def no_tokens() -> NoReturn:
    """Raise: the middleware was built without tokens."""
    message = "this middleware was built without tokens"
    raise ConfigurationError(message)


def no_carried_links() -> NoReturn:
    """Raise: the mount point was built without links that carry data."""
    message = "this mount point was built without links that carry data"
    raise ConfigurationError(message)


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class MountPoint:
    """One mount point, shared by all its requests: its URLs, and the clock."""

    #: The prefix that the server took off the path: root_path, SCRIPT_NAME.
    mount: str
    #: The function that answers each path below the mount point.
    routes: Mapping[str, RouteName]
    #: The scopes that a login may request.
    allowed_scopes: frozenset[str]
    clock: Callable[[], float]
    #: The configured origin of the site, whatever a request's Host says.
    origin: str = ""
    #: Called when an app reads a user's profile.
    profile_was_read: Callable[[CachedSession], object] = lambda _: None
    #: Returns the tokens of the app's users, for calls to TikTok's API.
    tokens: Callable[[], TikTokTokens] = no_tokens
    #: Returns the object that seals data into links, for ``login_url(carry=...)``.
    carried_links: Callable[[], CarriedLinks] = no_carried_links
    #: Whether the callback is outside the mount point: no login can finish here.
    is_stray: bool = False
    #: Whether a login begins by POST only.
    is_login_posted: bool = False
    #: The texts of the app's buttons; the built-in ones if None.
    messages: Messages | None = None
    #: The routes as a browser requests them: no login returns to one.
    own_paths: frozenset[str] = field(init=False)
    #: The mount point, percent-encoded, as a URL begins with it.
    prefix: str = field(init=False)
    _login: str = field(init=False)
    _logout: str = field(init=False)
    #: None if the app connects no accounts.
    _connect: str | None = field(init=False)

    def __post_init__(self) -> None:
        """Compute the URLs once."""
        self.own_paths = frozenset(self.mount + path for path in self.routes)
        self.prefix = quote(self.mount, safe="/")
        paths = {name: self.mount + path for path, name in self.routes.items()}
        self._login = quote(paths["login"], safe="/")
        self._logout = quote(paths["logout"], safe="/")
        self._connect = (
            quote(paths["connect"], safe="/") if "connect" in paths else None
        )

    @property
    def home(self) -> str:
        """The path of the app's first page."""
        return self.prefix + "/"

    def login_url(
        self,
        return_to: str | None = None,
        scopes: Iterable[str] = (),
        *,
        choose_account: bool = False,
        carried: Mapping[str, str] | None = None,
        browser_id: str = "",
    ) -> str:
        """Return the path and query that begin a login.

        Args:
            return_to: where it leads.
            scopes: further scopes to request.
            choose_account: whether TikTok is to show its page.
            carried: data for ``on_login``.
            browser_id: of the browser that gets the link, if it carries data.
        """
        requested = join_scopes(scopes)
        query = {
            "next": return_to and local_part(str(return_to), self.origin),
            "scopes": requested or None,
            "choose_account": "1" if choose_account else None,
        }
        if carried:
            query["carried"] = self.carried_links().seal(carried, browser_id, query)
        return self._with_query(self._login, query)

    def login_button(
        self,
        url: str,
        look: str,
        *,
        label: str | None,
        language: str | None,
        nonce: str | None,
    ) -> SafeHtml:
        """Return the button that opens a login URL, by the method that begins a login.

        Args:
            url: of `login_url`.
            look: the style, one of `button.Look`.
            label: the button's text; None for the text of `messages`.
            language: the tag of the language for the text of `messages`.
            nonce: as for `button.button_html`.

        Raises:
            ConfigurationError: as `button.button_html` does.
        """
        from .button import button_html

        tag = ""
        if label is None:
            tag, label = self.label("log_in_with_tiktok", language)
        return button_html(
            url,
            label,
            look,
            is_form=self.is_login_posted,
            language=tag,
            nonce=nonce,
        )

    def label(self, name: ActionName, language: str | None) -> tuple[str, str]:
        """Return the text of a button on the app's pages, and the tag of its language.

        Args:
            name: the name of the text.
            language: the tag of the wanted language.
        """
        from .messages import LanguageRanges, Messages

        messages = self.messages or Messages()
        ranges = LanguageRanges((language.lower(),) if language else ())
        tag = messages.language(name, ranges)
        return tag, messages.texts(tag, name)[0]

    @staticmethod
    def check_carried(carried: object) -> None:
        """Refuse data that a login cannot carry.

        Raises:
            ValueError: it is not a mapping of strings to strings, or too long.
        """
        from .carried import check_carried

        check_carried(carried)

    def connect_url(
        self, return_to: str | None = None, scopes: Iterable[str] = ()
    ) -> str:
        """Return the path and query that begin to connect a TikTok account.

        Raises:
            ConfigurationError: ``connect_path`` is not set.
        """
        if self._connect is None:
            message = (
                "connect_url needs the option connect_path, and current_user, which"
                " says who is signed in to the app"
            )
            raise ConfigurationError(message)
        query = {
            "next": return_to and local_part(str(return_to), self.origin),
            "scopes": join_scopes(scopes) or None,
        }
        return self._with_query(self._connect, query)

    def logout_url(self, return_to: str | None = None) -> str:
        """Return the path and query to POST to."""
        return self._with_query(self._logout, {"next": return_to})

    @staticmethod
    def _with_query(path: str, query: Mapping[str, str | None]) -> str:
        given = {name: value for name, value in query.items() if value is not None}
        # A lone surrogate becomes a question mark: no valid address contains one.
        query_string = urlencode(given, safe="/,", errors="replace")
        return f"{path}?{query_string}" if given else path


class MountPoints:
    """The mount points of one app; each is made at its first request."""

    def __init__(
        self,
        settings: TikTokSettings,
        clock: Callable[[], float],
        profile_was_read: Callable[[CachedSession], object],
        tokens: Callable[[], TikTokTokens] = no_tokens,
        messages: Messages | None = None,
        carried_links: Callable[[], CarriedLinks] = no_carried_links,
    ) -> None:
        self._messages = messages
        self._settings = settings
        self._clock = clock
        self._profile_was_read = profile_was_read
        self._tokens = tokens
        self._carried_links = carried_links
        self._stray_logged_at = -_STRAY_LOG_SECONDS
        #: By mount point as the server gives it. Only those that contain the callback:
        #: a client may choose the mount point (daphne takes it from Daphne-Root-Path),
        #: and so the segments of the callback's path bound the number of entries.
        self.known: dict[str, MountPoint] = {}

    def at(self, given: str) -> MountPoint:
        """Return the mount point that a server gives as root_path or SCRIPT_NAME."""
        return self.known.get(given) or self._make(given)

    def _make(self, given: str) -> MountPoint:
        settings = self._settings
        # "/" mounts nothing, and "//x" would make every URL lead to another host.
        mount = "/" + given.strip("/") if given.strip("/") else ""
        callback = settings.callback_path
        is_stray = not callback.startswith(mount + "/")
        if is_stray:
            self._log_stray(mount)
            mount = mount if len(mount) <= len(callback) else ""
        elif mount in self.known:  # the server spelled it differently
            return self.known[mount]
        paths = own_paths(settings).items()
        routes: dict[str, RouteName] = {path: ROUTES[name] for name, path in paths}
        routes[callback.removeprefix(mount)] = "callback"
        mount_point = MountPoint(
            mount=mount,
            routes=routes,
            allowed_scopes=frozenset((*settings.scopes, *settings.optional_scopes)),
            clock=self._clock,
            origin=settings.origin,
            profile_was_read=self._profile_was_read,
            tokens=self._tokens,
            carried_links=self._carried_links,
            is_stray=is_stray,
            is_login_posted="GET" not in settings.login_methods,
            messages=self._messages,
        )
        if not is_stray:
            self.known[mount] = mount_point
        return mount_point

    def _log_stray(self, mount: str) -> None:
        """Report a mount point without the callback, once a minute at most."""
        now = time.monotonic()
        if now - self._stray_logged_at < _STRAY_LOG_SECONDS:
            return
        self._stray_logged_at = now
        logger.error(
            "redirect_uri's path %s is not below the mount point %s: no login can be"
            " finished here%s",
            self._settings.callback_path,
            one_line(mount),
            ", and every path is protected" if self._settings.protected else "",
        )


def path_with_query(request: Request, mount_point: MountPoint) -> str:
    """Return the path and query of a request for one of our paths."""
    path = quote(mount_point.mount + request.path, safe="/")
    query = quote(request.query, safe="%/?:@!$&'()*+,;=~")
    return f"{path}?{query}" if query else path

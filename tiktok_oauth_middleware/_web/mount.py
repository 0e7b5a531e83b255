"""The mount point: where the middleware is reached, and the links that begin there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, urlencode

from tiktok_oauth_middleware._core.origins import local_part
from tiktok_oauth_middleware._oauth.scopes import join_scopes
from tiktok_oauth_middleware._session.cached_session import CachedSession


class MountPoint:
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
        profile_was_read: Callable[[CachedSession], object] = lambda _: None,
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
        self.profile_was_read: Callable[[CachedSession], object] = profile_was_read
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

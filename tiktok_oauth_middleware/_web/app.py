"""The core of a middleware: wires its parts, and dispatches its own paths.

Every middleware (ASGI, WSGI, Django) has one `Core` and uses its parts: `mount_points`
finds the middleware's own paths, `load_session` finds the session, `rules` decides
whether a request may pass, and `challenges` makes the response if it may not. A request
whose session is fresh in memory awaits nothing: it needs one scan of the headers, one
lookup and one comparison of times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from tiktok_oauth_middleware._core.encryption import Box, derive
from tiktok_oauth_middleware._core.http import Headers, Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._session.cookie import SessionCookies
from tiktok_oauth_middleware._session.loader import SessionLoader
from tiktok_oauth_middleware._session.service import SessionService
from tiktok_oauth_middleware.auth import TikTokAuth
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.events import Event

from .app_users import AppUsers
from .challenge import Challenges
from .cookie_deletion import CookieDeletion
from .cookie_header import find
from .login import Connecting, LoginFlow
from .logout import Logout
from .misuse import check_wrapping, report_shared_cookie
from .mount import MountPoints, no_tokens
from .navigation import is_page_visit, language_ranges
from .pages import Answer, ErrorPage, Pages, page_code
from .responses import json_response, without_referrer
from .rules import AppRules
from .unguarded_views import check_guards
from .webhook import Webhook

if TYPE_CHECKING:
    from tiktok_oauth_middleware._session.cookie import Ticket
    from tiktok_oauth_middleware.auth import OnLogin
    from tiktok_oauth_middleware.settings.options import TikTokSettings
    from tiktok_oauth_middleware.tokens import TikTokTokens

    from .carried import CarriedLinks
    from .connecting_login import FindUser
    from .mount import MountPoint

_RETRY_SECONDS = "5"


def _carried_links(
    settings: TikTokSettings,
    cookies: SessionCookies,
    clock: Callable[[], float],
    is_read: bool,  # noqa: FBT001 - for a partial
) -> CarriedLinks:
    """Return the object that seals data into links, made at the first such link."""
    from .carried import CarriedLinks

    return CarriedLinks(settings, cookies, clock, is_read=is_read)


class _Middleware(Protocol):
    """The attribute of a middleware that `Core.check_app` reads."""

    app: Any


class Core:
    """The part that all middlewares share, without ASGI and WSGI."""

    def __init__(
        self,
        service: SessionService,
        pages: Pages | None = None,
        tokens: Callable[[], TikTokTokens] = no_tokens,
        *,
        on_login: OnLogin | None = None,
        reads_carried: bool = False,
        app_users: AppUsers | None = None,
    ) -> None:
        """Build the parts; nothing is opened or connected yet.

        Args:
            service: for the app's users.
            pages: that people see; the built-in ones if not given.
            tokens: returns the tokens of the app's users, for `TikTokAuth.bearer`.
            on_login: decides about each login; see `LoginDecision`.
            reads_carried: whether the app gets carried data without `on_login`.
            app_users: the app's own users, to whom accounts are connected.

        Raises:
            ConfigurationError: `on_login` or ``current_user`` is not a function of one
                argument, or async under WSGI; or ``connect_path`` and ``current_user``
                are not given together.
        """
        settings, clock = service.settings, service.clock
        self.service = service
        self.settings = settings
        self.clock = clock
        self._backend = service.backend
        self._pages = pages or Pages()
        self._emit = service.emit
        self.profiles = service.profiles
        if settings.is_loopback:
            logger.warning(
                "development: cookies are set without Secure, since the site is %s",
                settings.origin,
            )
        self._wire(
            [reveal(key) for key in settings.secret_keys],
            on_login,
            self._connecting(app_users),
            None if app_users is None else app_users.find_user,
            reads_carried=reads_carried or on_login is not None,
        )
        self.mount_points = MountPoints(
            settings,
            clock,
            self.profiles.note_read,
            tokens,
            self._pages.messages,
            self._carried_links,
        )
        self.rules = AppRules(settings)
        self.challenges = Challenges(
            settings.origin, self._pages, self._login.transactions
        )
        self._is_app_checked = self._is_cookie_checked = False

    def _wire(
        self,
        keys: list[str],
        on_login: OnLogin | None,
        connecting: Connecting | None,
        find_user: FindUser | None,
        *,
        reads_carried: bool,
    ) -> None:
        """Build the parts, each with its collaborators and its own keys."""
        settings, clock = self.settings, self.clock
        signing = [derive(key, settings.client_key, "session") for key in keys]
        self.cookies = SessionCookies(
            settings.cookie_name, signing, secure=not settings.is_loopback
        )
        #: Adds the deletion of a cookie that names no session to the app's response.
        self.deletion = CookieDeletion(self.cookies.session("", 0), clock)
        self.cookie_name = self.cookies.session_name.encode()
        #: How the session cookie begins in a Cookie header.
        self.cookie_start = self.cookie_name + b"="
        self.sessions = SessionLoader(self.service, self.cookies)
        #: Loads the session of a cookie, from the store if necessary.
        self.load_session = self.sessions.load_session
        #: Cookie value to cached session, for the middlewares' fast path.
        self.live = self.service.cache.live
        self._carried_links = cache(
            partial(_carried_links, settings, self.cookies, clock, reads_carried)
        )
        shared = self.service.shared
        self._login = LoginFlow(
            settings=settings,
            backend=shared.backend,
            records=shared.records,
            cookies=self.cookies,
            login_box=Box(keys, settings.client_key, "login"),
            result_box=Box(keys, settings.client_key, "login result"),
            client=shared.client,
            connect_ahead=self.service.connect_ahead,
            emit=shared.emit,
            clock=clock,
            profiles=self.profiles,
            carried_links=self._carried_links,
            endings=self.service.endings,
            revocation=lambda: self.service.revocation,
            on_login=on_login,
            connecting=connecting,
            find_user=find_user,
        )
        self.logout = Logout(service=self.service, cookies=self.cookies)
        self._webhook = Webhook(service=self.service)

    def _connecting(self, app_users: AppUsers | None) -> Connecting | None:
        """Return the parts for connecting accounts; None if the app has no such path.

        Raises:
            ConfigurationError: ``connect_path`` and ``current_user`` are not given
                together, or as `check_current_user` does.
        """
        if app_users is None or app_users.current_user is None:
            if self.settings.connect_path is None:
                return None
            message = (
                "connect_path is set, and current_user is missing: pass a function that"
                " returns the id of the user who is signed in to your app, or None"
            )
            raise ConfigurationError(message)
        from .app_user import check_current_user

        check_current_user(
            self.settings,
            app_users.current_user,
            is_blocking=self._backend.is_blocking,
        )
        return Connecting(
            app_users=app_users,
            current_user=app_users.current_user,
            load_auth=self._load_auth,
            connections=lambda: self.service.connections,
        )

    async def _load_auth(self, request: Request, mount_point: MountPoint) -> TikTokAuth:
        """Return the `TikTokAuth` of a request for one of our own paths.

        Raises:
            StoreError: the store failed, so the session is unknown.
        """
        value = find(request.headers, self.cookie_name)
        found = None if value is None else await self.load_session(value)
        cached = found if isinstance(found, tuple) else None
        return TikTokAuth.of(cached, mount_point)

    def check_app(self, middleware: _Middleware) -> bool:
        """Check once how the app is put together; return whether this call did it.

        Raises:
            ConfigurationError: the app wraps the middleware, or a guard is in a place
                where it has no effect.
        """
        if self._is_app_checked:
            return False
        check_wrapping(middleware, middleware.app)
        check_guards(middleware.app)
        self._is_app_checked = True
        self.report_shared_cookie()
        return True

    def report_shared_cookie(self) -> None:
        """Log an error, once, if another middleware's cookies have the same name.

        Called before the first request: many middlewares may be made and not used.
        """
        if not self._is_cookie_checked:
            self._is_cookie_checked = True
            report_shared_cookie(self.settings.origin, self.cookies)

    # --- requests to the middleware's own paths ----------------------------------

    async def respond(self, request: Request, mount_point: MountPoint) -> Response:
        """Return the response to a request for one of the middleware's own paths."""
        traces = self.service.traces
        if traces is None or not traces.is_provided():
            return await self._respond(request, mount_point)
        with traces.flow(mount_point.routes[request.path]):
            return await self._respond(request, mount_point)

    async def _respond(self, request: Request, mount_point: MountPoint) -> Response:
        answer = await self._dispatch(request, mount_point)
        response = await self.render(answer, request)
        if mount_point.routes[request.path] == "callback":
            return without_referrer(response)
        return response

    async def render(self, answer: Answer, request: Request) -> Response:
        """Return the response for a flow's answer: a page in the reader's language."""
        if isinstance(answer, Response) or not self._pages.runs_app_code:
            return self._pages.render(answer, request)
        render = partial(
            self._pages.render_for,
            answer,
            language_ranges(request),
            is_negotiated=request.language is None,
        )
        response: Response = await self._backend.call_app_code(render)
        return response

    async def _dispatch(self, request: Request, mount_point: MountPoint) -> Answer:
        route = mount_point.routes[request.path]
        if route == "login":  # it does not depend on the session
            return await self._login.begin.respond(request, mount_point)
        ticket = self._ticket(request.headers)
        try:
            match route:
                case "callback":
                    return await self._login.finish.respond(
                        request, mount_point, ticket
                    )
                case "logout":
                    return await self.logout.answer(request, mount_point, ticket)
                case "disconnect":
                    return await self.logout.disconnect(request, mount_point, ticket)
                case "connect":
                    return await self._login.begin_connect(request, mount_point)
                case "webhook":
                    return await self._webhook.answer(request)
        except StoreError as error:
            return await self.store_error_response(request, error)

    def _ticket(self, headers: Headers) -> Ticket | None:
        """Return the ticket in a request's session cookie, or None if it is forged."""
        value = find(headers, self.cookie_name)
        return None if value is None else self.sessions.ticket(value)

    # --- what other requests need ------------------------------------------------

    async def store_error_response(
        self, request: Request, error: StoreError
    ) -> Response:
        """Return 503: the store failed, so it is unknown whether there is a session."""
        reference = self._emit.reference_for("store_error", error)
        event = Event(name="store_error", reason=error.code, reference=reference)
        await self._emit(event, why=error)
        headers = [("retry-after", _RETRY_SECONDS)]
        if is_page_visit(request):
            page = ErrorPage(
                code=page_code(error), reference=reference, headers=headers
            )
            return await self.render(page, request)
        return json_response(
            503, {"error": error.code, "reference": reference}, headers
        )

"""The middleware for ASGI apps (https://asgi.readthedocs.io).

HTTP and WebSocket requests get ``scope["tiktok"]``; every other connection passes
untouched. Responses are not buffered: only the head of a stream waits for its first
chunk, as the spec of ASGI requires of servers, since the app may read the session until
then. Only two of the app's messages are changed: the head of a response that depended
on the session, and the response to a request that a guard refused.

Read in this order: `TikTokOAuthMiddleware.__init__` builds the core, `__call__` serves
one connection, and `_WatchedAuth` receives the app's messages and passes them to the
server's ``send``. `_asgi_exchange` translates between ASGI and the core.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from functools import cache, partial
from typing import Any
from urllib.parse import unquote_to_bytes

from ._asgi_exchange import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    asgi_request,
    no_body,
    send_instead,
    send_response,
    without_body,
)
from ._core.app_parts import parts_of
from ._core.backends.event_loop import AsyncBackend
from ._core.http import Cookie, Headers, Response
from ._core.log import logger
from ._observe.emit import OnEvent
from ._session.cached_session import FETCHED_AT, FRESH_UNTIL, CachedSession, NoSession
from ._session.cookie import SESSION_LENGTH
from ._session.service import SessionService
from ._web.app import Core
from ._web.app_users import AppUsers
from ._web.cookie_header import value_of
from ._web.framework_user import StarletteUser, may_read_starlette_user
from ._web.guard import CLOSE_CODES, Challenge, ResponseHead
from ._web.messages import Texts
from ._web.misuse import check_app, is_inside_a_route
from ._web.mount import MountPoint, without_mount
from ._web.navigation import is_preflight
from ._web.pages import PageMaker, Pages
from ._web.path_readings import RequestPath
from ._web.request_auth import asgi_auth
from ._web.response_headers import (
    byte_headers,
    private_byte_headers,
    text_headers,
    waits_for_body,
    with_cookie_set,
)
from .auth import NO_RESPONSE, CurrentUser, OnLogin, TikTokAuth
from .caching import keep_out_of_djangos_caches
from .errors import ConfigurationError, StoreError
from .settings.options import TikTokSettings
from .tokens import TikTokTokens

#: The codes with which frameworks and our guards close a WebSocket that they refuse
#: (RFC 6455 section 7.4.1: normal closure, policy violation).
_REFUSING_CODES = frozenset({1000, 1008, *CLOSE_CODES.values()})
#: Keys of the scope that middlewares for metrics and logs read when the app responds:
#: the route, by which they group requests, and ``request.state``, which the app makes
#: on a server without a lifespan.
_READ_OUTSIDE = ("endpoint", "route", "path_params", "state")


class TikTokOAuthMiddleware:
    """Logs users of an ASGI app in with TikTok.

    >>> app = TikTokOAuthMiddleware(app, settings)  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913 - its options
        self,
        app: App,
        settings: TikTokSettings,
        *,
        store: Any = None,
        on_event: OnEvent | None = None,
        transport: Any = None,
        clock: Callable[[], float] = time.time,
        page: PageMaker | None = None,
        texts: Texts | None = None,
        on_login: OnLogin | None = None,
        current_user: CurrentUser | None = None,
    ) -> None:
        """Wrap `app`; nothing is opened or connected yet.

        Args:
            app: any ASGI app.
            settings: checked when they were built.
            store: used instead of the one that the settings name. The middleware does
                not close it.
            on_event: called with each event; plain or ``async def``.
            transport: a transport of httpx2, used instead of the network in tests.
            clock: returns seconds since 1970; used for every time.
            page: writes the pages that people see: a plain function from a `Problem`
                to HTML, or to None for the built-in page.
            texts: texts of the pages, by language tag and name.
            on_login: decides about each login. It gets a `Login`, and returns None to
                accept it, or a path of this site to which it leads instead; or raises
                `LoginRefused`; plain or ``async def``.
            current_user: for ``connect_path``: gets the scope, with ``scope["tiktok"]``
                in it, and returns the id that your app gives its signed-in user, as a
                str, or None; plain or ``async def``.

        Raises:
            ConfigurationError: an argument is wrong.
            TypeError: `transport` is of another HTTP library.
        """
        check_app(app, is_wsgi=False)
        self.app = app
        service = SessionService(
            settings,
            AsyncBackend(),
            store=store,
            on_event=on_event,
            transport=transport,
            clock=clock,
        )
        tokens = cache(partial(TikTokTokens.beside, service))
        self._core = Core(
            service,
            Pages(page, texts),
            tokens,
            on_login=on_login,
            app_users=None if current_user is None else AppUsers(current_user),
        )
        # Every request reads these: an attribute of this object is the fastest access.
        self._clock = clock
        parts = list(parts_of(app))
        self._sets_user = settings.starlette_auth and may_read_starlette_user(parts)
        self._calls_wsgi_app = _calls_wsgi_app(parts)
        self._mount_points = self._core.mount_points.known
        self._live = self._core.live
        self._cookie_start = self._core.cookie_start
        self._has_rules = bool(self._core.rules)
        keep_out_of_djangos_caches(parts)

    async def __call__(  # noqa: C901, PLR0912, PLR0915 - a request's steps, in line
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve one connection.

        For a session that is fresh in memory, and for a request without a cookie, only
        the app is awaited. The steps are written inline because each call would cost
        0.1 us.
        """
        # 1. Other connections, and the middleware's own paths.
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            if kind == "lifespan":
                await self._check_at_startup(receive, send)
                self._core.service.backend.expect_drain()
                await self._core.service.warm()
            await self.app(scope, receive, self._closing_at_shutdown(send))
            return
        mount = scope.get("root_path", "")
        mount_point = self._mount_points.get(mount) or self._new_mount_point(scope)
        path = without_mount(scope["path"], mount) if mount else scope["path"]
        if kind == "http" and path in mount_point.routes:
            request = asgi_request(scope, path, mount_point.mount, receive)
            response = await self._core.respond(request, mount_point)
            await send_response(scope, send, response)
            return
        # 2. The session cookie, and the session that it names.
        value: bytes | None = None
        for name, header in scope["headers"]:
            if name == b"cookie":
                value = value_of(header.partition(self._cookie_start), value)
        if kind == "websocket" and value is not None and not self._is_trusted(scope):
            value = None
        session: CachedSession | None = None
        # The length first: a lookup of 4 kB in a table costs 2 us.
        if value is not None and len(value) == SESSION_LENGTH:
            session = self._live.get(value)
            if (
                session is None
                or not session[FETCHED_AT] <= self._clock() < session[FRESH_UNTIL]
            ):
                session = None  # keeps tokens out of the locals of a frame that waits
                found: CachedSession | NoSession | None
                try:
                    found = await self._core.load_session(value)
                except StoreError as error:
                    request = asgi_request(scope, path, mount_point.mount, receive)
                    response = await self._core.store_error_response(request, error)
                    await send_instead(scope, receive, send, response)
                    return
                if isinstance(found, tuple):
                    session = found
                elif kind == "http" and self._core.deletion.is_due(found):
                    send = _deleting_cookie(self._core, send)
                found = None
        # 3. The app's object. Filled here: the call of an __init__ costs 0.1 us.
        auth = _WatchedAuth()
        auth._cached = session
        auth._mount_point = mount_point
        auth._accessed = auth._is_replaced = auth._is_open = False
        auth._challenge = None
        auth._core = self._core
        auth._scope = scope
        auth._send = send
        # Reporters of exceptions record the locals of every frame on the way up.
        session = value = header = None
        # 4. Path rules.
        if (
            self._has_rules
            and self._is_protected(scope, path, mount_point)
            and (
                refusal := self._core.rules.challenge(
                    auth,
                    partial(self._is_protected, scope, path, mount_point, recent=True),
                )
            )
        ):
            challenges = self._core.challenges
            request = challenges.without_cookies(
                asgi_request(scope, path, mount_point.mount, receive)
            )
            if kind != "http" or not is_preflight(request):
                response = challenges.challenge_response(
                    request, mount_point, None, refusal
                )
                await send_instead(scope, receive, send, response)
                return
            auth._challenge = Challenge(is_preflight=True)
            receive = without_body(receive)
        # 5. The app.
        inner = dict(scope)
        inner["tiktok"] = auth
        if self._sets_user and "user" not in scope and "auth" not in scope:
            inner["user"] = inner["auth"] = user = StarletteUser()
            user._auth = auth
        auth._inner, size = inner, len(inner)
        watched: Send = auth._send_http if kind == "http" else auth._send_websocket
        if self._calls_wsgi_app:
            await self._call_with_context(inner, receive, watched)
            return
        try:
            await self.app(inner, receive, watched)
        finally:
            auth._inner = None  # a cycle: that scope holds this object
            if len(inner) != size:
                _copy_outside(inner, scope)

    async def _call_with_context(
        self, inner: Scope, receive: Receive, send: Send
    ) -> None:
        """Call an app that calls a WSGI app through an adapter.

        The adapters of asgiref and Starlette do not pass the scope on, so the WSGI app
        finds its `TikTokAuth` in a context variable. asgiref's adapter warns if
        ``send`` is not a coroutine function, so it gets one.
        """

        async def send_message(message: Message) -> None:
            await send(message)

        token = asgi_auth.set(inner["tiktok"])
        try:
            await self.app(inner, receive, send_message)
        finally:
            inner["tiktok"]._inner = None
            asgi_auth.reset(token)
            _copy_outside(inner, inner["tiktok"]._scope)

    def _new_mount_point(self, scope: Scope) -> MountPoint:
        """Return the mount point of its first request.

        Raises:
            ConfigurationError: as `Core.check_app` does.
        """
        if self._core.check_app(self) and is_inside_a_route(scope):
            logger.error(
                "the middleware runs inside the app's routes, so requests for %s never"
                " reach it and nobody can log in: wrap the whole app in it",
                self._core.settings.login_path,
            )
        return self._core.mount_points.at(scope.get("root_path", ""))

    async def _check_at_startup(self, receive: Receive, send: Send) -> None:
        """Refuse to start an app whose guards or wrapping are wrong.

        Raises:
            ConfigurationError: as `Core.check_app` does; the server gets the message.
        """
        try:
            self._core.check_app(self)
        except ConfigurationError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    def _is_protected(
        self, scope: Scope, path: str, mount_point: MountPoint, *, recent: bool = False
    ) -> bool:
        """Whether the rules protect a path that the app may read.

        Args:
            scope: of the request.
            path: decoded, without the mount point.
            mount_point: of the request.
            recent: whether to apply only the rules that need a recent login.
        """
        rules, mount = self._core.rules, scope.get("root_path", "")
        if rules.protects(path, mount_point, recent=recent):
            return True
        full_path, target = scope["path"], scope.get("raw_path") or b""
        longest = 4 * len(full_path)
        # Values that begin with a slash and go on after it. In ASCII "0" follows the
        # slash, and two comparisons take half the time of `startswith`.
        claimed = {
            value
            for _, value in scope["headers"]
            if value < b"0" and value > b"/"
            if len(value) <= longest or value[-1:] == b"/"
        }
        if not target or target == full_path.encode("utf-8", "replace"):  # usual
            if not mount and not claimed and rules.app_reads_once(self.app):
                return False
            request_path = RequestPath(path, full_path, mount, claimed)
        else:
            target = target.partition(b"?")[0]
            raw, text = unquote_to_bytes(target), target.decode("latin-1")
            request_path = RequestPath(path, full_path, mount, claimed, raw, text)
        return rules.protects_reading(self.app, request_path, recent=recent)

    def _is_trusted(self, scope: Scope) -> bool:
        """Whether a WebSocket was opened by a page that may use the session.

        A WebSocket obeys no same-origin rule and sends cookies from any page
        (RFC 6455 section 10.2); without an allowed Origin it is anonymous.
        """
        settings = self._core.settings
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        allowed = {settings.origin, *settings.websocket_origins}
        return len(origins) == 1 and origins[0].decode("latin-1") in allowed

    def _closing_at_shutdown(self, send: Send) -> Send:
        """Return `send`; before the end of a lifespan it closes the connections.

        The server may stop the event loop after that message.
        """

        async def send_message(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self.aclose()
            await send(message)

        return send_message

    async def aclose(self) -> None:
        """Close this event loop's connections; they open again when needed.

        Called at the end of a lifespan. If the server has no lifespan, or the app is
        mounted below another, call it yourself, or let the process's end close them.
        """
        await self._core.service.aclose()


# --- between the app and the server's send ---------------------------------------


class _WatchedAuth(TikTokAuth):
    """One request's `TikTokAuth`, whose methods are the app's ``send``.

    Making a bound method and calling it twice takes 1,700 instructions, a `partial`
    2,800.
    """

    __slots__ = (
        "_core",
        "_inner",
        "_is_open",
        "_is_replaced",
        "_scope",
        "_send",
    )

    # Set by the middleware.
    _core: Core
    _scope: Scope
    _send: Send
    #: The app's scope, until the head of its response is sent.
    _inner: Scope | None
    #: Whether our response was sent in place of the app's.
    _is_replaced: bool
    #: Whether a WebSocket was accepted.
    _is_open: bool

    def _send_http(self, message: Message) -> Awaitable[None]:
        """Send the app's message, with a changed head if it depended on the session.

        It is not a coroutine function: a message that is passed on unchanged needs no
        coroutine.
        """
        inner = self._inner
        if inner is not None and message["type"] == "http.response.start":
            self._inner = None
            if "endpoint" in inner:
                _copy_outside(inner, self._scope)
            # A guard also sets `_accessed`.
            if not self._accessed and waits_for_body(message):
                self._send = self._holding(message, self._send)
                return _drop()
        if not self._accessed:
            return self._send(message)
        if self._is_replaced:
            return _drop()
        if message["type"] == "http.response.start":
            if self._challenge is not None:
                response = self._replacement(message)
                if response is not None:
                    self._is_replaced = True
                    return send_response(self._scope, self._send, response)
            message = dict(message)  # a copy: the app may send its own again
            message["headers"] = private_byte_headers(message.get("headers", ()))
        return self._send(message)

    def _holding(self, start: Message, send: Send) -> Send:
        """Return `send`, which sends the head of a stream before its first chunk.

        Until then the app may read the session, or a guard may refuse.
        """

        async def send_both(message: Message) -> None:
            self._send = send
            if self._accessed:
                send_each: Send = self._send_http
            else:
                send_each = send
            await send_each(start)
            await send_each(message)

        return send_both

    def _send_websocket(self, message: Message) -> Awaitable[None]:
        """Send the app's message, or our response to a handshake that was refused."""
        kind = message["type"]
        if self._is_replaced:
            return _drop()
        if kind == "websocket.accept":
            self._is_open = True
        # Once a WebSocket is open there is no handshake left to answer.
        ends = kind in ("websocket.close", "websocket.http.response.start")
        if ends and not self._is_open and self._challenge is not None:
            response = self._replacement(message)
            if response is not None:
                self._is_replaced = True
                return send_response(self._scope, self._send, response)
        return self._send(message)

    def _cookie_headers(self) -> Headers:
        headers: Headers = self._scope["headers"]
        return headers

    def _set_cookie(self, cookie: Cookie) -> None:
        if self._scope["type"] != "http" or self._inner is None:
            raise ConfigurationError(NO_RESPONSE)
        self._send = _setting_cookie(cookie, self._send)

    def _replacement(self, message: Message) -> Response | None:
        """Return our response in place of the app's, or None if the app's is sent."""
        challenge = self._challenge
        if challenge is None:
            return None
        if message["type"] == "websocket.close":
            is_refusal = message.get("code", 1000) in _REFUSING_CODES
            head = ResponseHead(challenge.status if is_refusal else 0, ())
        else:
            # ASGI allows any iterable, also one that can be read only once.
            message["headers"] = [*message.get("headers", ())]
            head = ResponseHead(message["status"], text_headers(message["headers"]))
        if not challenge.is_answered_by(head):
            return None
        scope, mount_point = self._scope, self._mount_point
        path = without_mount(scope["path"], scope.get("root_path", ""))
        challenges = self._core.challenges
        request = challenges.without_cookies(
            asgi_request(scope, path, mount_point.mount, no_body)
        )
        return challenges.replacement(
            request, mount_point, self._cached, challenge, head
        )


def _setting_cookie(cookie: Cookie, send: Send) -> Send:
    """Return `send`, which sets a cookie with the head of the response."""

    def send_message(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = text_headers(message.get("headers", ()))
            changed = byte_headers(with_cookie_set(headers, cookie))
            message = {**message, "headers": changed}
        return send(message)

    return send_message


def _deleting_cookie(core: Core, send: Send) -> Send:
    """Return `send`, which deletes a session cookie that names no session."""
    deletion, loaded_at = core.deletion, core.clock()

    def send_message(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = deletion.in_bytes(message.get("headers", ()), loaded_at)
            message = {**message, "headers": headers}
        return send(message)

    return send_message


async def _drop() -> None:
    """Drop a message of a response that was replaced, or that waits."""


def _copy_outside(inner: Scope, outer: Scope) -> None:
    """Show middlewares around this one which route of the app a request reached."""
    for name in _READ_OUTSIDE:
        if name in inner:
            outer[name] = inner[name]


def _calls_wsgi_app(parts: Iterable[object]) -> bool:
    """Whether a WSGI app is called through an adapter that does not pass the scope."""
    kinds = [type(part) for part in parts]
    return any(
        "wsgi" in kind.__name__.lower() and "wsgi" in kind.__module__ for kind in kinds
    )

"""TikTokOAuthMiddleware: the shell for ASGI apps (https://asgi.readthedocs.io).

HTTP and WebSocket requests get ``scope["tiktok"]``; everything else passes untouched.
What passes is not buffered, and its messages are only touched where they must be: the
head of a response that depended on the session, and an answer that a guard refused.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from ._core.app_parts import comes_from, parts_of
from ._core.backends.event_loop import AsyncBackend
from ._core.http import Request, Response
from ._observe.emit import OnEvent
from ._session.cached_session import FETCHED_AT, FRESH_UNTIL, CachedSession
from ._session.cookie import SESSION_LENGTH
from ._web.app import Core
from ._web.cookie_header import value_of
from ._web.guard import CLOSE_CODES, Challenge, ResponseHead
from ._web.messages import Texts
from ._web.misuse import check_app, check_guards, check_wrapping
from ._web.mount import MountPoint, without_mount
from ._web.navigation import is_preflight
from ._web.pages import PageMaker, Pages
from ._web.path_readings import RequestPath
from ._web.response_headers import byte_headers, private_byte_headers, text_headers
from .auth import TikTokAuth, asgi_auth
from .caching import keep_out_of_djangos_caches
from .errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from .settings.options import TikTokSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_TRY_AGAIN_LATER = 1013
#: How frameworks close a WebSocket that they refuse, as ours do and as their own
#: guards do (RFC 6455 section 7.4.1: normal, policy violation).
_REFUSING_CODES = frozenset({1000, 1008, *CLOSE_CODES.values()})
#: What metrics and logs outside of us read when the app answers: the route, by
#: which they group requests, and ``request.state``, which a server without a lifespan
#: leaves to the app to make.
_FOR_OUTSIDE = ("endpoint", "route", "path_params", "state")


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
    ) -> None:
        """Wrap `app`; nothing is opened or connected yet.

        Args:
            app: any ASGI app.
            settings: checked already, since they were built.
            store: instead of the one that the settings name.
            on_event: told of logins, refreshes, logouts; plain or ``async def``.
            transport: instead of the network, for tests: one of httpx2.
            clock: seconds since 1970; whatever judges a time asks it.
            page: writes the pages that people see: a plain function from a `Problem`
                to HTML, or to None for ours.
            texts: of our pages, by language tag and name.

        Raises:
            ConfigurationError: `store`, `page` or `texts` do not fit.
            TypeError: `transport` is of another HTTP library.
        """
        check_app(app, is_wsgi=False)
        self.app = app
        self._core = Core(
            settings,
            AsyncBackend(),
            store=store,
            on_event=on_event,
            transport=transport,
            clock=clock,
            pages=Pages(page, texts),
        )
        # What every request looks at, one look-up away.
        self._clock = clock
        self._fills_user = settings.starlette_auth and _may_read_starlettes(app)
        self._has_wsgi_inside = _has_wsgi_inside(app)
        self._mount_points = self._core.mount_points.known
        self._live = self._core.live
        self._cookie_start = self._core.cookie_start
        self._rules = self._core.rules
        self._is_checked = False
        keep_out_of_djangos_caches(app)

    async def __call__(  # noqa: C901, PLR0912, PLR0915 - a request's steps, in line
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve one connection.

        Signed in and fresh in memory, or nobody at all, a request awaits nothing here
        but the app; the steps stand in line because each call would cost 0.1 us.
        """
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            if kind == "lifespan":
                await self._check_start(receive, send)
                await self._core.warm()
            await self.app(scope, receive, self._closing(send))
            return
        mount = scope.get("root_path", "")
        mount_point = self._mount_points.get(mount) or self._new_mount_point(mount)
        path = without_mount(scope["path"], mount) if mount else scope["path"]
        if kind == "http" and path in mount_point.routes:
            request = _request(scope, path, mount_point.mount, receive)
            await _respond(scope, send, await self._core.answer(request, mount_point))
            return
        value: bytes | None = None
        for name, header in scope["headers"]:
            if name == b"cookie":
                value = value_of(header.partition(self._cookie_start), value)
        if kind == "websocket" and value is not None and not self._is_trusted(scope):
            value = None
        cached: CachedSession | None = None
        # The length first: to look 4 kB up in a table costs 2 us.
        if value is not None and len(value) == SESSION_LENGTH:
            cached = self._live.get(value)
            if (
                cached is None
                or not cached[FETCHED_AT] <= self._clock() < cached[FRESH_UNTIL]
            ):
                cached = None  # nothing of an old one in a frame that waits
                try:
                    cached = await self._core.load_session(value)
                except StoreError as error:
                    request = _request(scope, path, mount_point.mount, receive)
                    response = await self._core.store_failed(request, error)
                    await _refuse(scope, receive, send, response)
                    return
                if cached is None and kind == "http":
                    send = _deleting(self._core, value, send)
        # Filled here: the call of an __init__ costs 0.1 us.
        auth = _Auth()
        auth._cached = cached
        auth._site = mount_point
        auth._looked = auth._is_replaced = auth._is_open = False
        auth._challenge = None
        auth._core = self._core
        auth._scope = scope
        auth._send = send
        # Reporters of exceptions record the locals of every frame that one passes.
        cached = value = header = None
        if (
            self._rules
            and (
                self._rules.protects(path, mount_point)
                or self._protects_reading(scope, path, mount)
            )
            and not auth.is_authenticated  # that it was asked is noted, too
        ):
            request = self._core.challenges.without_cookies(
                _request(scope, path, mount_point.mount, receive)
            )
            if kind != "http" or not is_preflight(request):
                response = self._core.challenges.challenge_response(
                    request, mount_point, None, Challenge()
                )
                await _refuse(scope, receive, send, response)
                return
            auth._challenge = Challenge(is_preflight=True)
            receive = _without_body(receive)
        inner = dict(scope)
        inner["tiktok"] = auth
        if self._fills_user and "user" not in scope and "auth" not in scope:
            inner["user"] = inner["auth"] = user = StarletteUser()
            user._auth = auth
        auth._inner, size = inner, len(inner)
        watched: Send = auth._watched if kind == "http" else auth._watched_socket
        if self._has_wsgi_inside:
            await self._call_bridge(inner, receive, watched)
            return
        try:
            await self.app(inner, receive, watched)
        finally:
            auth._inner = None  # which holds this object, too
            if len(inner) != size:
                _hand_out(inner, scope)

    async def _call_bridge(self, inner: Scope, receive: Receive, send: Send) -> None:
        """Call an app that calls a WSGI app through an adapter.

        Those of asgiref and Starlette hand no scope on, and asgiref's warns of what is
        no coroutine function.
        """

        async def sending(message: Message) -> None:
            await send(message)

        token = asgi_auth.set(inner["tiktok"])
        try:
            await self.app(inner, receive, sending)
        finally:
            inner["tiktok"]._inner = None
            asgi_auth.reset(token)
            _hand_out(inner, inner["tiktok"]._scope)

    def _new_mount_point(self, mount: str) -> MountPoint:
        """Return what is the same below one mount point, at its first request.

        Raises:
            ConfigurationError: the app is put together in a way that leaves views open.
        """
        self._check()
        return self._core.mount_points.at(mount)

    def _check(self) -> None:
        if not self._is_checked:
            check_wrapping(self, self.app)
            check_guards(self.app)
            self._is_checked = True

    async def _check_start(self, receive: Receive, send: Send) -> None:
        """Let an app that is put together wrongly not start; the server is told why.

        Raises:
            ConfigurationError: as `_check` does.
        """
        try:
            self._check()
        except ConfigurationError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    def _protects_reading(self, scope: Scope, path: str, mount: str) -> bool:
        """Whether the rules protect what the app may take a path for."""
        whole, target = scope["path"], scope.get("raw_path") or b""
        claimed = {
            value
            for _, value in scope["headers"]
            if value[:1] == b"/" and 1 < len(value) <= 4 * len(whole)
        }
        if not target or target == whole.encode("utf-8", "replace"):  # mostly
            request_path = RequestPath(path, whole, mount, claimed)
        else:
            target = target.partition(b"?")[0]
            raw, text = unquote_to_bytes(target), target.decode("latin-1")
            request_path = RequestPath(path, whole, mount, claimed, raw, text)
        return self._rules.protects_reading(self.app, request_path)

    def _is_trusted(self, scope: Scope) -> bool:
        """Whether a WebSocket was opened by a page that may use the session.

        A WebSocket obeys no same-origin rule and sends cookies from any page
        (RFC 6455 section 10.2); without an Origin of ours it is nobody's.
        """
        settings = self._core.settings
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        allowed = {settings.origin, *settings.websocket_origins}
        return len(origins) == 1 and origins[0].decode("latin-1") in allowed

    def _closing(self, send: Send) -> Send:
        """Return `send`, closing what is ours before the server may stop the loop.

        It does so at the end of a lifespan; other messages pass as they are.
        """

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self.aclose()
            await send(message)

        return closing

    async def aclose(self) -> None:
        """Close this event loop's connections; they open again when needed.

        Called at the end of a lifespan. Where the server has none, or the app is
        mounted below another, call it yourself or leave it to the process's end.
        """
        await self._core.aclose()


class StarletteUser:
    """Who is signed in, as Starlette's ``request.user`` and ``request.auth``.

    Made to the shape of `starlette.authentication`, which is not imported.
    """

    __slots__ = ("_auth", "_user")

    # Set by the middleware, without the call of an __init__ (0.1 us for each request).
    _auth: TikTokAuth
    _user: Any

    @property
    def is_authenticated(self) -> bool:
        """Whether somebody is signed in."""
        return self._auth.is_authenticated

    @property
    def display_name(self) -> str:
        """The name that the user shows on TikTok, or ""."""
        user = self._auth.user
        return (user.display_name if user else "") or ""

    @property
    def identity(self) -> str:
        """TikTok's stable id of the user in this app, or ""."""
        return self._auth.open_id or ""

    @property
    def scopes(self) -> list[str]:
        """``authenticated`` and the granted scopes, for Starlette's ``@requires``."""
        return _scopes_of(self._auth)

    @property
    def _wrapped(self) -> Any:
        return self

    @_wrapped.setter
    def _wrapped(self, user: Any) -> None:
        """Become Django's user, which Channels puts into what it finds in the scope.

        Channels' AuthMiddleware makes an object of its own only where there is none,
        and one app may hold Starlette and Channels side by side.
        """
        self._user = user
        # The two have the same slots, so that one can become the other.
        object.__setattr__(self, "__class__", _DjangoUser)


class _DjangoUser:
    """Django's user in the place of a `StarletteUser`, as a lazy object of Django's."""

    __slots__ = ("_auth", "_user")

    _auth: TikTokAuth
    _user: Any

    # As isinstance() asks it, and as lazy objects of Django's answer.
    __class__ = property(lambda self: type(self._user))  # pyright: ignore[reportIncompatibleMethodOverride]

    def __getattr__(self, name: str) -> Any:
        if name == "_wrapped":
            return self._user
        try:
            return getattr(self._user, name)
        except AttributeError:
            if name != "scopes":
                raise
            # Starlette's ``request.auth``, which is the same object.
            return _scopes_of(self._auth)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_wrapped":
            object.__setattr__(self, "_user", value)
        else:
            setattr(self._user, name, value)

    def __eq__(self, other: object) -> bool:
        return bool(self._user == other)

    def __hash__(self) -> int:
        return hash(self._user)

    def __bool__(self) -> bool:
        return bool(self._user)

    def __str__(self) -> str:
        return str(self._user)

    def __repr__(self) -> str:
        return repr(self._user)

    def __dir__(self) -> list[str]:
        return dir(self._user)


def _scopes_of(auth: TikTokAuth) -> list[str]:
    return ["authenticated", *sorted(auth.scopes)] if auth.is_authenticated else []


def _hand_out(inner: Scope, outer: Scope) -> None:
    """Let what is outside of us see which route of the app a request came to."""
    for name in _FOR_OUTSIDE:
        if name in inner:
            outer[name] = inner[name]


def _may_read_starlettes(app: object) -> bool:
    """Whether something in an app may read Starlette's ``request.user``.

    Below Django and Channels ``scope["user"]`` means Django's, unless an app of
    Starlette's or FastAPI's is routed to as well.
    """
    parts = list(parts_of(app))
    if any(comes_from(part, ("starlette", "fastapi")) for part in parts):
        return True
    return not any(comes_from(part, ("channels", "django")) for part in parts)


def _has_wsgi_inside(app: object) -> bool:
    """Whether a WSGI app is called through an adapter that hands no scope on."""
    kinds = [type(part) for part in parts_of(app)]
    return any(
        "wsgi" in kind.__name__.lower() and "wsgi" in kind.__module__ for kind in kinds
    )


class _Auth(TikTokAuth):
    """Who is signed in, watching what the app sends: one object for each request.

    Its methods stand in the place of the server's ``send``. To make a bound method and
    call it twice takes 1,700 instructions, a `partial` 2,800.
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
    #: The scope that the app has, until the head of its response is sent.
    _inner: Scope | None
    #: Whether ours went out instead of the app's response; whether a WebSocket is open.
    _is_replaced: bool
    _is_open: bool

    def _watched(self, message: Message) -> Awaitable[None]:
        """Send what the app sends, changing the head of what depended on the session.

        No coroutine of its own, and nothing to do where nobody looked.
        """
        inner = self._inner
        if inner is not None:  # at the head
            self._inner = None
            if "endpoint" in inner:
                _hand_out(inner, self._scope)
        if not self._looked:  # a guard looks too
            return self._send(message)
        if self._is_replaced:
            return _nothing()
        if message["type"] == "http.response.start":
            if self._challenge is not None:
                answer = self._replacement(message)
                if answer is not None:
                    self._is_replaced = True
                    return _respond(self._scope, self._send, answer)
            message = dict(message)  # the app's own, which it may send again
            message["headers"] = private_byte_headers(message.get("headers", ()))
        return self._send(message)

    def _watched_socket(self, message: Message) -> Awaitable[None]:
        """Send what the app sends; answer the handshake that a guard refused."""
        kind = message["type"]
        if self._is_replaced:
            return _nothing()
        if kind == "websocket.accept":
            self._is_open = True
        # Once a WebSocket is open there is no handshake left to answer.
        is_answer = kind in ("websocket.close", "websocket.http.response.start")
        if is_answer and not self._is_open and self._challenge is not None:
            answer = self._replacement(message)
            if answer is not None:
                self._is_replaced = True
                return _respond(self._scope, self._send, answer)
        return self._send(message)

    def _replacement(self, message: Message) -> Response | None:
        """Return our answer in the place of the app's, or None where its own goes out.

        That is the refusal of a guard of ours, or what it says to a CORS preflight. An
        app that caught the refusal and answers with something else is left alone.
        """
        challenge = self._challenge
        if message["type"] == "websocket.close":
            is_refusal = challenge and message.get("code", 1000) in _REFUSING_CODES
            status = challenge.status if challenge and is_refusal else 0
            sent: list[tuple[bytes, bytes]] = []
        else:
            status = message["status"]
            # Any iterable, says ASGI: what can be iterated once is not lost here.
            sent = message["headers"] = [*message.get("headers", ())]
        head = ResponseHead(status, text_headers(sent))
        if challenge is None or not challenge.is_answered_by(head):
            return None
        scope, mount_point, core = self._scope, self._site, self._core
        path = without_mount(scope["path"], scope.get("root_path", ""))
        request = core.challenges.without_cookies(
            _request(scope, path, mount_point.mount, _no_body)
        )
        return core.challenges.replacement(
            request, mount_point, self._cached, challenge, head
        )


def _request(scope: Scope, path: str, mount: str, receive: Receive) -> Request:
    async def read(limit: int) -> bytes | None:
        return await _body(receive, limit)

    return Request(
        method=scope.get("method", "GET"),
        path=path,
        mount=mount,
        query=scope.get("query_string", b""),
        headers=scope["headers"],
        read=read,
        is_websocket=scope["type"] == "websocket",
    )


async def _body(receive: Receive, limit: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _deleting(core: Core, value: bytes, send: Send) -> Send:
    """Return `send`, deleting a session cookie that is good for nothing."""
    change = core.deleting(value)
    if change is None:
        return send

    def deleting(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = dict(message)
            text = text_headers(message.get("headers", ()))
            message["headers"] = byte_headers(change(text))
        return send(message)

    return deleting


def _without_body(receive: Receive) -> Receive:
    """Return `receive` of a request whose body, if there is any, the app never sees.

    HTTP/2 says neither its length nor that there is one.
    """
    has_begun = False

    async def received() -> Message:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        message = await receive()
        while message["type"] == "http.request":
            message = await receive()
        return message

    return received


async def _no_body() -> Message:
    return {"type": "http.disconnect"}


async def _nothing() -> None:
    """Drop a message of an answer that was replaced."""


def _head(response: Response) -> list[tuple[bytes, bytes]]:
    head = [(k.encode(), v.encode("latin-1")) for k, v in response.headers]
    if response.status == HTTPStatus.NO_CONTENT:  # RFC 9110 section 8.6
        return head
    return [*head, (b"content-length", str(len(response.body)).encode())]


async def _respond(scope: Scope, send: Send, response: Response) -> None:
    """Answer instead of the app; a WebSocket is refused before it is accepted."""
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            code = CLOSE_CODES.get(response.status, _TRY_AGAIN_LATER)
            await send({"type": "websocket.close", "code": code})
            return
        kind = "websocket.http"
    body = b"" if scope.get("method") == "HEAD" else response.body
    start = {"status": response.status, "headers": _head(response)}
    await send({"type": f"{kind}.response.start", **start})
    await send({"type": f"{kind}.response.body", "body": body})


async def _refuse(
    scope: Scope, receive: Receive, send: Send, response: Response
) -> None:
    """Answer without ever calling the app."""
    if scope["type"] == "websocket":
        await receive()  # the handshake: it must be taken before it is refused
    await _respond(scope, send, response)

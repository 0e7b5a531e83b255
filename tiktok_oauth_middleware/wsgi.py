"""The middleware for WSGI apps (PEP 3333).

The flows are those of ASGI; `run` finishes their coroutines in one step. Every request
gets ``environ["tiktok.auth"]``.

The head of a response waits for the app's first chunk, as PEP 3333 requires of servers:
until then a plain WSGI app may still read the session. Lists and files run no code of
the app and are passed on unchanged, so that the server still recognizes its
``wsgi.file_wrapper``.

Read in this order: `TikTokOAuthWSGIMiddleware.__init__` builds the core, `__call__`
serves one request, and `_WatchedAuth` receives the app's ``start_response`` and passes
it to the server. `_wsgi_exchange` translates between WSGI and the core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ._core.app_parts import parts_of
from ._core.backends.one_step import run
from ._core.backends.threads import ThreadBackend
from ._core.http import Cookie, Headers
from ._observe.emit import OnEvent
from ._session.cached_session import FETCHED_AT, FRESH_UNTIL, CachedSession, NoSession
from ._session.cookie import SESSION_LENGTH
from ._session.service import SessionService
from ._web.app import Core
from ._web.app_users import AppUsers
from ._web.cookie_header import value_of
from ._web.guard import Challenge, ResponseHead
from ._web.messages import Texts
from ._web.misuse import check_app
from ._web.mount import MountPoint
from ._web.navigation import is_preflight
from ._web.pages import PageMaker, Pages
from ._web.path_readings import RequestPath, claimed_mounts
from ._web.response_headers import EVENT_STREAM, keep_private, with_cookie_set
from ._wsgi_exchange import (
    decoded_native,
    decoded_path,
    start_own_response,
    wsgi_request,
)
from .auth import NO_RESPONSE, CurrentUser, OnLogin, TikTokAuth
from .caching import keep_out_of_djangos_caches
from .errors import ConfigurationError, StoreError
from .settings.options import TikTokSettings
from .tokens import TikTokTokens

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class TikTokOAuthWSGIMiddleware:
    """Logs users of a WSGI app in with TikTok.

    >>> app.wsgi_app = TikTokOAuthWSGIMiddleware(
    ...     app.wsgi_app, settings
    ... )  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913 - its options
        self,
        app: WSGIApplication,
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
            app: any WSGI app.
            settings: checked when they were built.
            store: used instead of the one that the settings name. The middleware does
                not close it.
            on_event: called with each event; a plain function.
            transport: a transport of httpx2, used instead of the network in tests.
            clock: returns seconds since 1970; used for every time.
            page: writes the pages that people see: a plain function from a `Problem`
                to HTML, or to None for the built-in page.
            texts: texts of the pages, by language tag and name.
            on_login: decides about each login. It gets a `Login`, and returns None to
                accept it, or a path of this site to which it leads instead; or raises
                `LoginRefused`; a plain function.
            current_user: for ``connect_path``: gets the environ, with
                ``environ["tiktok.auth"]`` in it, and returns the id that your app gives
                its signed-in user, as a str, or None; a plain function.

        Raises:
            ConfigurationError: an argument is wrong, or async where it must not be.
            TypeError: `transport` is of another HTTP library.
        """
        check_app(app, is_wsgi=True)
        self.app = app
        service = SessionService(
            settings,
            ThreadBackend(),
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
        self._mount_points = self._core.mount_points.known
        self._live = self._core.live
        self._cookie_name = self._core.cookies.session_name
        self._cookie_start = self._core.cookie_start
        self._has_rules = bool(self._core.rules)
        keep_out_of_djangos_caches(parts_of(app))

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve one request.

        The steps are written inline because each call would cost 0.1 us.
        """
        # 1. The middleware's own paths: they are ASCII, and compared undecoded.
        core = self._core
        mount = environ.get("SCRIPT_NAME", "")
        mount_point = self._mount_points.get(mount) or self._new_mount_point(
            mount, environ
        )
        if environ.get("PATH_INFO") in mount_point.routes:
            # The request is not a local variable: reporters of exceptions would record
            # the cookies.
            response = run(
                core.respond(wsgi_request(environ, mount_point), mount_point)
            )
            return start_own_response(environ, start_response, response)
        # 2. The session cookie, and the session that it names.
        session: CachedSession | None = None
        if self._cookie_name in environ.get("HTTP_COOKIE", ""):
            try:
                session, start_response = self._find_session(environ, start_response)
            except StoreError as error:
                response = run(
                    core.store_error_response(wsgi_request(environ, mount_point), error)
                )
                return start_own_response(environ, start_response, response)
        # 3. The app's object. Filled here: the call of an __init__ costs 0.1 us.
        auth = environ["tiktok.auth"] = _WatchedAuth()
        auth._cached = session
        auth._mount_point = mount_point
        auth._accessed = auth._has_begun = auth._is_waiting = auth._is_written = False
        auth._challenge = auth._app_head = None
        auth._start_response = start_response
        auth._cookies = environ.get("HTTP_COOKIE", "")
        # Reporters of exceptions record the locals of every frame that an error passes.
        session = None
        # 4. Path rules.
        path = decoded_path(environ) if self._has_rules else ""
        if (
            path
            and self._is_protected(environ, path, mount_point)
            and (
                refusal := core.rules.challenge(
                    auth,
                    partial(
                        self._is_protected, environ, path, mount_point, recent=True
                    ),
                )
            )
        ):
            request = core.challenges.without_cookies(
                wsgi_request(environ, mount_point, path)
            )
            if _has_body(environ) or not is_preflight(request):
                response = core.challenges.challenge_response(
                    request, mount_point, None, refusal
                )
                return start_own_response(environ, start_response, response)
            auth._challenge = Challenge(is_preflight=True)
        # 5. The app.
        body = self.app(environ, auth._start_watched)
        if not (
            (auth._accessed and auth._has_begun)
            or isinstance(body, list | tuple)
            or _is_file(body, environ)
        ):
            # The app may read the session, or call start_response, as late as when it
            # makes its first chunk; a file runs no code of the app.
            body = _WithFirstChunk(body, auth._is_event_stream)
        challenge = auth._challenge
        if challenge is None or not auth._is_refused():
            if auth._is_waiting:
                auth._start()
            return body
        return self._replacement(environ, auth, challenge, body)

    def _is_protected(
        self,
        environ: WSGIEnvironment,
        path: str,
        mount_point: MountPoint,
        *,
        recent: bool = False,
    ) -> bool:
        """Whether the rules protect a path that the app may read.

        Args:
            environ: of the request.
            path: of the request, decoded.
            mount_point: of the request.
            recent: whether to apply only the rules that need a recent login.
        """
        rules = self._core.rules
        if rules.protects(path, mount_point, recent=recent):
            return True
        mount, native = (
            decoded_native(environ.get("SCRIPT_NAME", "")),
            environ.get("PATH_INFO", ""),
        )
        full_path = mount_point.mount + path
        longest = max(len(full_path), len(native))  # in bytes, like the headers
        claimed = claimed_mounts(environ, longest)
        raw = None if native.isascii() else native.encode("latin-1")
        if raw is None and not mount and not claimed and rules.app_reads_once(self.app):
            return False
        request_path = RequestPath(path, full_path, mount, claimed, raw)
        return rules.protects_reading(self.app, request_path, recent=recent)

    def _new_mount_point(self, mount: str, environ: WSGIEnvironment) -> MountPoint:
        """Return a mount point at its first request.

        Raises:
            ConfigurationError: as `Core.check_app` does.
        """
        if self._core.check_app(self) and environ.get("wsgi.multiprocess"):
            self._core.service.check_workers("the server runs several processes")
        return self._core.mount_points.at(decoded_native(mount))

    def _find_session(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> tuple[CachedSession | None, StartResponse]:
        """Return the session of the cookie; from memory while it is fresh.

        Returns:
            The session, and `start_response`, which deletes the cookie if it names no
            session.

        Raises:
            StoreError: the store failed.
        """
        cookies = environ["HTTP_COOKIE"].encode("latin-1", "replace")
        value = value_of(cookies.partition(self._cookie_start), None)
        cookies = b""
        if value is None or len(value) != SESSION_LENGTH:
            return None, start_response
        session = self._live.get(value)
        if (
            session is not None
            and session[FETCHED_AT] <= self._clock() < session[FRESH_UNTIL]
        ):
            return session, start_response
        loading = self._core.load_session(value)
        session = value = None  # on_event may run below this frame
        found: CachedSession | NoSession = run(loading)
        if isinstance(found, tuple):
            return found, start_response
        if self._core.deletion.is_due(found):
            start_response = _deleting_cookie(self._core, start_response)
        return None, start_response

    def _replacement(
        self,
        environ: WSGIEnvironment,
        auth: _WatchedAuth,
        challenge: Challenge,
        body: Iterable[bytes],
    ) -> Iterable[bytes]:
        """Return our response in place of the app's, unless the app's was sent."""
        if auth._is_written:
            return body
        _close_body(body)
        challenges, mount_point = self._core.challenges, auth._mount_point
        response = challenges.replacement(
            challenges.without_cookies(wsgi_request(environ, mount_point)),
            mount_point,
            auth._cached,
            challenge,
            auth._response_head() or ResponseHead(challenge.status, ()),
        )
        auth._is_waiting, auth._exc_info = False, None
        return start_own_response(environ, auth._start_response, response)

    def close(self) -> None:
        """Close this process's connections; they open again when needed."""
        run(self._core.service.aclose())


class _WatchedAuth(TikTokAuth):
    """One request's `TikTokAuth`, whose method is the app's ``start_response``."""

    __slots__ = (
        "_app_head",
        "_cookies",
        "_exc_info",
        "_has_begun",
        "_is_waiting",
        "_is_written",
        "_start_response",
        "_write_to_server",
    )

    # Set by the middleware.
    _start_response: StartResponse
    #: The request's Cookie header, or "".
    _cookies: str
    #: Whether the app has called start_response.
    _has_begun: bool
    #: Whether the arguments of that call still have to be passed to the server.
    _is_waiting: bool
    #: Status and headers that the app gave last, even after the server has them.
    _app_head: tuple[str, list[tuple[str, str]]] | None
    #: The exception that the app gave with them; set with `_is_waiting`.
    _exc_info: Any
    #: Whether some of the body went to the server through write().
    _is_written: bool
    #: The server's write().
    _write_to_server: Callable[[bytes], object]

    def _start_watched(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Take the head of the app's response; pass it to the server with the body.

        Until then a guard may refuse, or the app may replace the head in a call with
        `exc_info`. If the server already had the first head, gunicorn and cheroot would
        add the headers of the second to it.
        """
        if self._has_begun and (not self._is_waiting or exc_info is None):
            # The server decides about the second of two heads (PEP 3333,
            # start_response).
            if self._is_waiting:
                self._start()
            self._app_head, self._exc_info = (status, headers), exc_info
            self._start()
            return self._write_to_server
        self._app_head, self._exc_info = (status, headers), exc_info
        self._has_begun = self._is_waiting = True
        return self._write

    def _cookie_headers(self) -> Headers:
        return ((b"cookie", self._cookies.encode("latin-1", "replace")),)

    def _set_cookie(self, cookie: Cookie) -> None:
        if self._has_begun and not self._is_waiting:
            raise ConfigurationError(NO_RESPONSE)
        begin = self._start_response

        def start(
            status: str, headers: list[tuple[str, str]], *exc_info: Any
        ) -> Callable[[bytes], object]:
            return begin(status, with_cookie_set(headers, cookie), *exc_info)

        self._start_response = start

    def _start(self) -> None:
        """Pass the head to the server, changed if it depended on the session."""
        self._is_waiting = False
        if self._app_head is None:
            return
        status, headers = self._app_head
        if self._accessed:  # a guard also sets it
            headers = keep_private(headers)
        if self._exc_info is None:
            self._write_to_server = self._start_response(status, headers)
            return
        exc_info, self._exc_info = self._exc_info, None
        self._write_to_server = self._start_response(status, headers, exc_info)

    def _is_refused(self) -> bool:
        """Whether our response is sent in place of the app's."""
        challenge = self._challenge
        if challenge is None:
            return False
        head = self._response_head()
        return head is None or challenge.is_answered_by(head)

    def _response_head(self) -> ResponseHead | None:
        if self._app_head is None:
            return None
        status, headers = self._app_head
        return ResponseHead(int(status[:3]), headers)

    def _is_event_stream(self) -> bool:
        """Whether the app has begun a response of server-sent events."""
        _, headers = self._app_head or ("", [])
        kinds = (value for name, value in headers if name.lower() == "content-type")
        return any(value.startswith(EVENT_STREAM) for value in kinds)

    def _write(self, data: bytes) -> None:
        """Write the app's data, unless its response is to be replaced."""
        if self._is_waiting:
            if self._is_refused():
                return
            self._start()
        self._is_written = True
        self._write_to_server(data)


def _deleting_cookie(core: Core, start_response: StartResponse) -> StartResponse:
    """Return `start_response`, which deletes a cookie that names no session."""
    deletion, loaded_at = core.deletion, core.clock()

    def start(
        status: str, headers: list[tuple[str, str]], *exc_info: Any
    ) -> Callable[[bytes], object]:
        changed = [*deletion.in_text(headers, loaded_at)]
        return start_response(status, changed, *exc_info)

    return start


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    """Whether an iterable is a file, or the server's wrapper around one.

    The wrapper is a class in most servers; in uWSGI it is a function that returns the
    file.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(body, wrapper):
        return True
    # wsgiref's wrapper, and others like it, keep the file in `filelike`.
    return hasattr(body, "read") or hasattr(body, "filelike")


class _WithFirstChunk:
    """An app's iterable whose first chunk was taken already.

    Empty chunks before it are dropped, because some servers send the head at an empty
    chunk. An event stream's are not, as in ASGI: from the head a page learns that the
    stream is open, though there may be no event for long.
    """

    def __init__(
        self, body: Iterable[bytes], is_event_stream: Callable[[], bool]
    ) -> None:
        """Take the body, and whether it is known to be an event stream."""
        self._body = body
        self._first: list[bytes] = []
        try:
            self._rest = iter(body)
            for chunk in self._rest:
                if chunk or is_event_stream():
                    self._first.append(chunk)
                    break
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        yield from self._first
        self._first = []
        yield from self._rest

    def close(self) -> None:
        _close_body(self._body)


def _close_body(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _has_body(environ: WSGIEnvironment) -> bool:
    return (environ.get("CONTENT_LENGTH") or "0") != "0"

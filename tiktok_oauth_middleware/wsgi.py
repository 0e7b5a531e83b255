"""TikTokOAuthWSGIMiddleware: the shell for WSGI apps (PEP 3333).

The same flows as under ASGI, finished by `runtime.run` in one step. Every request
gets ``environ["tiktok.auth"]``.

The head of a response waits until the app's first chunk is there, as PEP 3333 has
servers do anyway: until then a plain WSGI app may still read the session. Lists and
files run no code of the app and are handed on as they are, so the server still sees
its ``wsgi.file_wrapper``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ._core.backends.base import run
from ._core.backends.threads import ThreadBackend
from ._core.http import Request, Response
from ._observe.emit import OnEvent
from ._session.cached_session import FETCHED_AT, FRESH_UNTIL, CachedSession
from ._session.cookie import SESSION_LENGTH
from ._web.app import Core
from ._web.cookie_header import value_of
from ._web.guard import Challenge, ResponseHead
from ._web.messages import Texts
from ._web.misuse import check_app, check_guards, check_wrapping
from ._web.mount import MountPoint
from ._web.navigation import is_preflight
from ._web.pages import PageMaker, Pages
from ._web.path_readings import RequestPath
from ._web.response_headers import keep_private
from .auth import TikTokAuth
from .caching import keep_out_of_djangos_caches
from .errors import StoreError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .settings.options import TikTokSettings


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
    ) -> None:
        """Wrap `app`; nothing is opened or connected yet.

        Args:
            app: any WSGI app.
            settings: checked already, since they were built.
            store: instead of the one that the settings name.
            on_event: told of logins, refreshes, logouts; a plain function.
            transport: instead of the network, for tests: one of httpx2.
            clock: seconds since 1970; whatever judges a time asks it.
            page: writes the pages that people see: a plain function from a `Problem`
                to HTML, or to None for ours.
            texts: of our pages, by language tag and name.

        Raises:
            ConfigurationError: `store`, `on_event` or `page` is async, or `texts` are
                wrong.
            TypeError: `transport` is of another HTTP library.
        """
        check_app(app, is_wsgi=True)
        self.app = app
        self._core = Core(
            settings,
            ThreadBackend(),
            store=store,
            on_event=on_event,
            transport=transport,
            clock=clock,
            pages=Pages(page, texts),
        )
        # What every request looks at, one look-up away.
        self._clock = clock
        self._mount_points = self._core.mount_points.known
        self._live = self._core.live
        self._cookie_name = self._core.cookies.session_name
        self._cookie_start = self._core.cookie_start
        self._rules = self._core.rules
        self._is_checked = False
        keep_out_of_djangos_caches(app)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve one request.

        The steps stand in line because each call would cost 0.1 us.
        """
        core = self._core
        mount = environ.get("SCRIPT_NAME", "")
        mount_point = self._mount_points.get(mount) or self._new_mount_point(
            mount, environ
        )
        # Our paths are ASCII, so they are told before anything is decoded.
        if environ.get("PATH_INFO") in mount_point.routes:
            # No local: reporters of exceptions would find the cookies in it.
            answer = run(core.respond(_request(environ, mount_point), mount_point))
            return _respond(environ, start_response, answer)
        cached: CachedSession | None = None
        if self._cookie_name in environ.get("HTTP_COOKIE", ""):
            try:
                cached = self._look(environ)
            except StoreError as error:
                response = run(
                    core.store_error_response(_request(environ, mount_point), error)
                )
                return _respond(environ, start_response, response)
            if cached is None:
                start_response = self._deleting(environ, start_response)
        # Filled here: the call of an __init__ costs 0.1 us.
        auth = environ["tiktok.auth"] = _Auth()
        auth._cached = cached
        auth._mount_point = mount_point
        auth._looked = auth._has_begun = auth._is_written = False
        auth._challenge = auth._head = auth._app_head = None
        auth._start_response = start_response
        # Reporters of exceptions record the locals of every frame that one passes.
        cached = None
        if (
            self._rules
            and self._is_protected(environ, mount_point)
            and not auth.is_authenticated  # that it was asked is noted, too
        ):
            request = core.challenges.without_cookies(_request(environ, mount_point))
            if _has_body(environ) or not is_preflight(request):
                response = core.challenges.challenge_response(
                    request, mount_point, None, Challenge()
                )
                return _respond(environ, start_response, response)
            auth._challenge = Challenge(is_preflight=True)
        body = self.app(environ, auth._watched)
        if not ((auth._looked and auth._has_begun) or isinstance(body, list | tuple)):
            # The app may read the session, or call start_response at all, only while
            # it makes its first chunk; files run no code of its.
            body = body if _is_file(body, environ) else _Pulled(body)
        challenge = auth._challenge
        if challenge is None or not auth._is_refused():
            if auth._head is not None:
                auth._begin()
            return body
        return self._replacement(environ, auth, challenge, body)

    def _is_protected(self, environ: WSGIEnvironment, mount_point: MountPoint) -> bool:
        """Whether the rules protect what the app may take a path for."""
        path = _path(environ)
        if self._rules.protects(path, mount_point):
            return True
        mount, native = (
            _text(environ.get("SCRIPT_NAME", "")),
            environ.get("PATH_INFO", ""),
        )
        whole = mount_point.mount + path
        length = max(len(whole), len(native))  # in bytes, as the headers are
        claimed = {
            value.encode("latin-1")
            for name, value in environ.items()
            if name.startswith("HTTP_")
            and value[:1] == "/"
            and 1 < len(value) <= length
        }
        raw = None if native.isascii() else native.encode("latin-1")
        request_path = RequestPath(path, whole, mount, claimed, raw)
        return self._rules.protects_reading(self.app, request_path)

    def _new_mount_point(self, mount: str, environ: WSGIEnvironment) -> MountPoint:
        """Return what is the same below one mount point, at its first request.

        Raises:
            ConfigurationError: the app is put together in a way that leaves views open.
        """
        if not self._is_checked:
            check_wrapping(self, self.app)
            check_guards(self.app)
            self._is_checked = True
            if environ.get("wsgi.multiprocess"):
                self._core.service.check_workers("the server runs several processes")
        return self._core.mount_points.at(_text(mount))

    def _look(self, environ: WSGIEnvironment) -> CachedSession | None:
        """Return whom the session cookie stands for; from memory while it is fresh.

        Raises:
            StoreError: the store could not say.
        """
        value = self._session_cookie(environ)
        if value is None or len(value) != SESSION_LENGTH:
            return None
        cached = self._live.get(value)
        if (
            cached is not None
            and cached[FETCHED_AT] <= self._clock() < cached[FRESH_UNTIL]
        ):
            return cached
        look = self._core.load_session(value)
        cached = value = None  # no secret in a frame below which on_event may run
        return run(look)

    def _session_cookie(self, environ: WSGIEnvironment) -> bytes | None:
        cookies = environ["HTTP_COOKIE"].encode("latin-1")
        return value_of(cookies.partition(self._cookie_start), None)

    def _deleting(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> StartResponse:
        """Return `start_response`, deleting a session cookie good for nothing."""
        cookies = environ["HTTP_COOKIE"].encode("latin-1")
        value = value_of(cookies.partition(self._cookie_start), None)
        if value is None or len(value) != SESSION_LENGTH:
            return start_response
        change = self._core.cookie_deletion(value)
        if change is None:
            return start_response

        def deleting(
            status: str, headers: list[tuple[str, str]], *exc_info: Any
        ) -> Callable[[bytes], object]:
            return start_response(status, [*change(headers)], *exc_info)

        return deleting

    def _replacement(
        self,
        environ: WSGIEnvironment,
        auth: _Auth,
        challenge: Challenge,
        body: Iterable[bytes],
    ) -> Iterable[bytes]:
        """Return the answer to a request that a guard refused, instead of the app's."""
        if auth._is_written:
            return body
        _close(body)
        response = self._challenge_response(environ, auth, challenge)
        if not auth._has_begun or auth._head is not None:
            auth._head = None
            return _respond(environ, auth._start_response, response)
        # The guard came after the head. Nothing is sent yet, and PEP 3333 lets a head
        # be replaced by whoever names an exception.
        late = RuntimeError("a guard refused what had begun")
        return _respond(
            environ, auth._start_response, response, (RuntimeError, late, None)
        )

    def _challenge_response(
        self, environ: WSGIEnvironment, auth: _Auth, challenge: Challenge
    ) -> Response:
        challenges, mount_point = self._core.challenges, auth._mount_point
        request = challenges.without_cookies(_request(environ, mount_point))
        head = auth._response_head() or ResponseHead(challenge.status, ())
        return challenges.replacement(
            request, mount_point, auth._cached, challenge, head
        )

    def close(self) -> None:
        """Close this process's connections; they open again when needed."""
        run(self._core.service.aclose())


class _Auth(TikTokAuth):
    """Who is signed in, watching what the app answers: one object for each request.

    Its method stands in the place of the server's ``start_response``.
    """

    __slots__ = (
        "_app_head",
        "_has_begun",
        "_head",
        "_is_written",
        "_start_response",
        "_write_on",
    )

    # Set by the middleware.
    _start_response: StartResponse
    #: Whether the app has called start_response.
    _has_begun: bool
    #: What it called it with, until that is handed to the server.
    _head: tuple[Any, ...] | None
    #: Status and headers that the app gave last, also once the server has them.
    _app_head: tuple[str, list[tuple[str, str]]] | None
    #: Whether some of the body went to the server through write().
    _is_written: bool
    #: The server's write().
    _write_on: Callable[[bytes], object]

    def _watched(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Take the head of the app's response; the server gets it with the body.

        It gets it at once where there is nothing left to wait for.
        """
        self._app_head = status, headers
        if self._looked and self._challenge is None and self._head is None:
            self._has_begun = True
            headers = keep_private(headers)
            if exc_info is None:
                return self._start_response(status, headers)
            return self._start_response(status, headers, exc_info)
        head = (status, headers) if exc_info is None else (status, headers, exc_info)
        if self._has_begun and (self._head is None or exc_info is None):
            # The server judges the second of two heads (PEP 3333, start_response).
            if self._head is not None:
                self._begin()
            self._head = head
            self._begin()
            return self._write_on
        self._has_begun = True
        self._head = head
        return self._write

    def _begin(self) -> None:
        """Hand the head to the server, changed where it depended on the session."""
        head, self._head = self._head, None
        if head is None:
            return
        status, headers, *exc_info = head
        if self._looked:  # a guard looks too
            headers = keep_private(headers)
        self._write_on = self._start_response(status, headers, *exc_info)

    def _is_refused(self) -> bool:
        """Whether ours goes out in the place of the app's answer.

        That is where the answer still is the refusal of a guard of ours, and where it
        answers a CORS preflight.
        """
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

    def _write(self, data: bytes) -> None:
        """Write what the app writes, unless its answer is to be replaced."""
        if self._head is not None:
            if self._is_refused():
                return
            self._begin()
        self._is_written = True
        self._write_on(data)


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    """Whether an iterable is a file, or the server's wrapper around one.

    The wrapper is a class with most servers, and a function that hands the file back
    with uWSGI.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(body, wrapper):
        return True
    # `filelike` is where wsgiref's own wrapper, and those made after it, keep the file.
    return hasattr(body, "read") or hasattr(body, "filelike")


class _Pulled:
    """An app's iterable whose first chunk was pulled already.

    Empty ones before it are dropped: with them a server would send the head.
    """

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self._first: list[bytes] = []
        try:
            self._rest = iter(body)
            for chunk in self._rest:
                if chunk:
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
        _close(self._body)


def _close(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _text(native: str) -> str:
    """Return a path that PEP 3333 hands over as Latin-1, in which it is UTF-8."""
    return native.encode("latin-1").decode("utf-8", "replace")


def _path(environ: WSGIEnvironment) -> str:
    return _text(environ.get("PATH_INFO", "")) or "/"


def _request(environ: WSGIEnvironment, mount_point: MountPoint) -> Request:
    async def read(limit: int) -> bytes | None:
        return _body(environ, limit)

    headers = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    return Request(
        method=environ["REQUEST_METHOD"],
        path=_path(environ),
        mount=mount_point.mount,
        query=environ.get("QUERY_STRING", "").encode("latin-1"),
        headers=headers,
        read=read,
    )


def _has_body(environ: WSGIEnvironment) -> bool:
    return (environ.get("CONTENT_LENGTH") or "0") != "0"


def _body(environ: WSGIEnvironment, limit: int) -> bytes | None:
    length = environ.get("CONTENT_LENGTH")
    if not length and environ.get("wsgi.input_terminated"):
        # A chunked body, on servers that say where it ends (PEP 3333 knows no such).
        chunked: bytes = environ["wsgi.input"].read(limit + 1)
        return None if len(chunked) > limit else chunked
    length = length or "0"
    if not re.fullmatch(r"[0-9]{1,10}", length) or int(length) > limit:
        return None
    body: bytes = environ["wsgi.input"].read(int(length))
    return body


def _respond(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    response: Response,
    *exc_info: Any,
) -> Iterable[bytes]:
    headers = [*response.headers]
    if response.status != HTTPStatus.NO_CONTENT:  # RFC 9110 section 8.6
        headers.append(("content-length", str(len(response.body))))
    reason = HTTPStatus(response.status).phrase
    start_response(f"{response.status} {reason}", headers, *exc_info)
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else response.body]

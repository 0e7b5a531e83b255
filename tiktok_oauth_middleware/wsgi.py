"""TikTokOAuthWSGIMiddleware: the shell for WSGI apps (PEP 3333).

The same flows as under ASGI, finished by `runtime.run` in one step. Every request
gets ``environ["tiktok.auth"]``. The app's iterable is handed on as it is, so the
server still sees a ``wsgi.file_wrapper``; it is only replaced where a guard refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from .cookies import SESSION_LENGTH, value_of
from .core import Core
from .errors import StoreError
from .http import Request, Response, keep_private
from .models import SINCE, UNTIL, Challenge, Sight, Site, TikTokAuth
from .outcomes import OnEvent
from .pages import PageMaker, Pages
from .runtime import Blocking, run
from .wording import Texts

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .settings import TikTokSettings


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
        self.app = app
        self._core = Core(
            settings,
            Blocking(),
            store=store,
            on_event=on_event,
            transport=transport,
            clock=clock,
            pages=Pages(page, texts),
        )
        # What every request looks at, one look-up away.
        self._clock = clock
        self._sites = self._core.sites
        self._live = self._core.live
        self._cookie_name = self._core.jar.session_name
        self._cookie_start = self._core.cookie_start
        self._has_rules = self._core.has_rules

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve one request.

        The steps stand in line because each call would cost 0.1 us.
        """
        core = self._core
        mount = environ.get("SCRIPT_NAME", "")
        site = self._sites.get(mount) or core.site(_text(mount))
        # Our paths are ASCII, so they are told before anything is decoded.
        if environ.get("PATH_INFO") in site.routes:
            request = _request(environ, site)
            return _respond(environ, start_response, run(core.answer(request, site)))
        sight: Sight | None = None
        if self._cookie_name in environ.get("HTTP_COOKIE", ""):
            try:
                sight = self._look(environ["HTTP_COOKIE"])
            except StoreError as error:
                response = run(core.store_failed(_request(environ, site), error))
                return _respond(environ, start_response, response)
        # Filled here: the call of an __init__ costs 0.1 us.
        auth = environ["tiktok.auth"] = _Auth()
        auth._sight = sight
        auth._site = site
        auth._looked = auth._has_begun = False
        auth._challenge = None
        auth._start_response = start_response
        # Reporters of exceptions record the locals of every frame that one passes.
        sight = None
        if (
            self._has_rules
            and core.is_protected(_path(environ))
            and not auth.is_authenticated  # that it was asked is noted, too
        ):
            request = _request(environ, site)
            response = core.turned_away(request, site, None, Challenge())
            return _respond(environ, start_response, response)
        body = self.app(environ, auth._watched)
        if not auth._has_begun:
            # A generator calls start_response with its first chunk, and only then is
            # it known whether a guard refused.
            body = _Pulled(body)
        if auth._challenge is None:  # marked by our guard
            return body
        _close(body)
        return _respond(environ, start_response, self._challenged(environ, auth))

    def _look(self, cookies: str) -> Sight | None:
        """Return whom the session cookie stands for; from memory while it is fresh.

        Raises:
            StoreError: the store could not say.
        """
        parts = cookies.encode("latin-1").partition(self._cookie_start)
        value = value_of(parts, None)
        if value is None or len(value) != SESSION_LENGTH:
            return None
        sight = self._live.get(value)
        if sight is not None and sight[SINCE] <= self._clock() < sight[UNTIL]:
            return sight
        return run(self._core.look(value))

    def _challenged(self, environ: WSGIEnvironment, auth: _Auth) -> Response:
        request = _request(environ, auth._site)
        challenge = auth._challenge or Challenge()
        return self._core.turned_away(request, auth._site, auth._sight, challenge)

    def close(self) -> None:
        """Close this process's connections; they open again when needed."""
        run(self._core.aclose())


class _Auth(TikTokAuth):
    """Who is signed in, watching what the app answers: one object for each request.

    Its method stands in the place of the server's ``start_response``.
    """

    __slots__ = ("_has_begun", "_start_response")

    # Set by the middleware.
    _start_response: StartResponse
    _has_begun: bool

    def _watched(
        self, status: str, headers: list[tuple[str, str]], *exc_info: Any
    ) -> Any:
        """Start the app's response, changing what depended on the session."""
        self._has_begun = True
        if self._looked:  # a guard looks too
            if self._challenge is not None:
                return _drop
            headers = keep_private(headers)
        return self._start_response(status, headers, *exc_info)


class _Pulled:
    """An app's iterable whose first chunk was pulled already."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self._rest = iter(body)
        try:
            self._first: list[bytes] = [next(self._rest)]
        except StopIteration:
            self._first = []
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


def _drop(_: bytes) -> None:
    """Take what the app writes of an answer that is replaced."""


def _text(native: str) -> str:
    """Return a path that PEP 3333 hands over as Latin-1, in which it is UTF-8."""
    return native.encode("latin-1").decode("utf-8", "replace")


def _path(environ: WSGIEnvironment) -> str:
    return _text(environ.get("PATH_INFO", "")) or "/"


def _request(environ: WSGIEnvironment, site: Site) -> Request:
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
        mount=site.mount,
        query=environ.get("QUERY_STRING", "").encode("latin-1"),
        headers=headers,
        read=read,
    )


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
    environ: WSGIEnvironment, start_response: StartResponse, response: Response
) -> Iterable[bytes]:
    headers = [*response.headers, ("content-length", str(len(response.body)))]
    reason = HTTPStatus(response.status).phrase
    start_response(f"{response.status} {reason}", headers)
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else response.body]

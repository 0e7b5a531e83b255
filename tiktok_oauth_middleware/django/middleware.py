"""TikTokMiddleware: the middleware for Django's MIDDLEWARE, sync and async.

It uses the same core and the same flows as the middlewares around an ASGI or WSGI app.
One coroutine serves each request. Under WSGI `run` finishes it in one step, and it
calls the next middleware; under ASGI it is awaited. Only queries of Django's database
under ASGI run in a thread.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import FileResponse

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._session.cached_session import (
    DIGEST,
    FETCHED_AT,
    FRESH_UNTIL,
    RECORD_ID,
    CachedSession,
)
from tiktok_oauth_middleware._session.cookie import SESSION_LENGTH
from tiktok_oauth_middleware._web.cookie_header import value_of
from tiktok_oauth_middleware._web.guard import Challenge, ResponseHead
from tiktok_oauth_middleware._web.login_decision import on_login_fault
from tiktok_oauth_middleware._web.navigation import is_preflight
from tiktok_oauth_middleware._web.path_readings import RequestPath, claimed_mounts
from tiktok_oauth_middleware._web.request_auth import auth_in
from tiktok_oauth_middleware._web.response_headers import with_cookie_set
from tiktok_oauth_middleware.auth import NO_RESPONSE, TikTokAuth
from tiktok_oauth_middleware.caching import watched_request
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from . import exchange
from .local_accounts import accounts_module
from .own_paths import OwnPaths
from .project import installation

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from tiktok_oauth_middleware._core.http import Cookie, Headers
    from tiktok_oauth_middleware._web.mount import MountPoint


class TikTokMiddleware:
    """Logs the users of a Django project in with TikTok.

    List it after ``AuthenticationMiddleware``. Every request gets ``request.tiktok``, a
    `TikTokAuth`.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[..., Any]) -> None:
        """Take the next middleware or the view, which Django passes.

        Raises:
            ConfigurationError: the settings are wrong.
        """
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        installed = installation()
        on_login = installed.options.on_login
        fault = on_login and on_login_fault(on_login, is_blocking=not self._is_async)
        if fault:
            raise ConfigurationError(fault)
        core = self._core = installed.core(is_async=self._is_async)
        # Every request needs these: an attribute of this object is the fastest access.
        self._clock = core.clock
        self._mount_points = core.mount_points.known
        self._live = core.live
        self._cookie_name = core.cookies.session_name
        self._cookie_start = core.cookie_start
        self._rules = core.rules
        accounts = accounts_module()
        self._own_paths = OwnPaths(core, accounts, is_async=self._is_async)
        self._bind_user: Callable[[HttpRequest], None] | None = None
        if accounts is not None:
            from .bound_user import bind_user

            self._bind_user = bind_user

    def __call__(self, request: HttpRequest) -> Any:
        """Return the response; under ASGI an awaitable that gives it."""
        flow = self._serve(request)
        return flow if self._is_async else run(flow)

    async def _serve(self, request: HttpRequest) -> HttpResponseBase:
        """Serve one request; the steps are those of the ASGI middleware."""
        core = self._core
        mount = request.META.get("SCRIPT_NAME", "")
        mount_point = self._mount_points.get(mount) or self._new_mount_point(
            mount, request
        )
        if request.path_info in mount_point.routes:
            return await self._own_paths.respond(request, mount_point)
        auth = RequestAuth()
        auth._cookies = request.META.get("HTTP_COOKIE", "")
        auth._new_cookie = None
        auth._is_answered = auth._ends = False
        auth._cached = None
        auth._mount_point = mount_point
        auth._accessed = False
        auth._challenge = None
        change = None
        if self._cookie_name in request.META.get("HTTP_COOKIE", ""):
            try:
                change = await self._find(request, auth)
            except StoreError as error:
                core_request = exchange.to_core_request(request, mount_point.mount)
                answer = await core.store_error_response(core_request, error)
                return exchange.django_response(request, answer)
            exchange.hide_cookies(request, core.cookies)
        marked: Any = request
        marked.__class__ = watched_request(type(request))
        marked.tiktok = auth
        if (
            self._rules
            and self._is_protected(request, mount_point)
            and (
                why := core.rules.challenge(
                    auth, partial(self._is_protected, request, mount_point, recent=True)
                )
            )
        ):
            core_request = core.challenges.without_cookies(
                exchange.to_core_request(request, mount_point.mount)
            )
            if exchange.has_body(request) or not is_preflight(core_request):
                refusal = core.challenges.challenge_response(
                    core_request, mount_point, None, why
                )
                return _changed(exchange.django_response(request, refusal), change)
            auth._challenge = Challenge(is_preflight=True)
        if self._bind_user is not None:
            self._bind_user(request)
        response: HttpResponseBase = (
            await self.get_response(request)
            if self._is_async
            else self.get_response(request)
        )
        return await self._finished(request, response, change)

    async def _find(self, request: HttpRequest, auth: TikTokAuth) -> Any:
        """Put the session of the request's cookie into `auth`.

        Returns:
            A function that changes the response's headers if the cookie is to be
            deleted.

        Raises:
            StoreError: the store failed.
        """
        cookies = request.META["HTTP_COOKIE"].encode("latin-1", "replace")
        value = value_of(cookies.partition(self._cookie_start), None)
        cookies = b""
        if value is None or len(value) != SESSION_LENGTH:
            return None
        cached = self._live.get(value)
        if (
            cached is not None
            and cached[FETCHED_AT] <= self._clock() < cached[FRESH_UNTIL]
        ):
            auth._cached = cached
            return None
        cached = None  # on_event may run below this frame
        core = self._core
        found = await core.load_session(value)
        if isinstance(found, tuple):
            auth._cached = found
            return None
        if not core.deletion.is_due(found):
            return None
        return partial(core.deletion.in_text, loaded_at=core.clock())

    def _new_mount_point(self, mount: str, request: HttpRequest) -> MountPoint:
        """Return a mount point at its first request.

        Raises:
            ConfigurationError: there is another TikTok middleware around Django.
        """
        if auth_in(request) is not None:
            message = (
                "there is a TikTok middleware around Django, and TikTokMiddleware in"
                " MIDDLEWARE: keep one of them"
            )
            raise ConfigurationError(message)
        if request.META.get("wsgi.multiprocess"):
            self._core.service.check_workers("the server runs several processes")
        self._core.report_shared_cookie()
        return self._core.mount_points.at(mount)

    def _is_protected(
        self, request: HttpRequest, mount_point: MountPoint, *, recent: bool = False
    ) -> bool:
        """Whether the rules protect a path that the project may read.

        Args:
            request: the project's.
            mount_point: of the request.
            recent: whether to apply only the rules that need a recent login.
        """
        path, whole = request.path_info, request.path
        if self._rules.protects(path, mount_point, recent=recent):
            return True
        longest = 4 * len(whole)  # in bytes, like the headers
        claimed = claimed_mounts(request.META, longest)
        mount = request.META.get("SCRIPT_NAME", "")
        if not mount and not claimed and self._rules.app_reads_once(self.get_response):
            return False
        return self._rules.protects_reading(
            self.get_response,
            RequestPath(path, whole, mount, claimed),
            recent=recent,
        )

    # --- responses of the project ----------------------------------------------------

    async def _finished(
        self, request: Any, response: HttpResponseBase, change: Any
    ) -> HttpResponseBase:
        """Return the project's response, or ours in place of a guard's refusal."""
        auth: RequestAuth = request.tiktok
        auth._is_answered = True
        refusal = self._refusal(request, auth, response)
        if refusal is not None:
            response = refusal
        else:
            if auth._accessed or _may_look_later(auth, response):
                exchange.mark_private(response)
            if auth._new_cookie is not None:
                before = exchange.headers_of(response)
                after = with_cookie_set(before, auth._new_cookie)
                exchange.change_headers(response, before, after)
        if auth._ends and auth._cached is not None:
            return await self._ended(request, auth._cached, response)
        return _changed(response, change)

    def _refusal(
        self, request: HttpRequest, auth: RequestAuth, response: HttpResponseBase
    ) -> HttpResponseBase | None:
        """Return our response in place of a guard's refusal; None if there is none."""
        challenge = auth._challenge
        if challenge is None:
            return None
        head = ResponseHead(response.status_code, exchange.headers_of(response))
        if not challenge.is_answered_by(head):
            return None
        challenges, mount_point = self._core.challenges, auth._mount_point
        core_request = challenges.without_cookies(
            exchange.to_core_request(request, mount_point.mount)
        )
        answer = challenges.replacement(
            core_request, mount_point, auth._cached, challenge, head
        )
        return exchange.django_response(request, answer)

    async def _ended(
        self, request: HttpRequest, cached: CachedSession, response: HttpResponseBase
    ) -> HttpResponseBase:
        """End the TikTok session after a logout of Django; change the cookies."""
        core, ids = self._core, (cached[RECORD_ID], cached[DIGEST])
        del cached
        try:
            await core.service.end_session(*ids)
        except StoreError as error:
            # The session still exists, so its cookie stays.
            mount = request.META.get("SCRIPT_NAME", "")
            core_request = exchange.to_core_request(request, mount).without_cookies()
            answer = await core.store_error_response(core_request, error)
            return exchange.django_response(request, answer)
        before = exchange.headers_of(response)
        cookies = core.logout.choose_account_next(), core.cookies.session("", 0)
        after = [*before, *(cookie.header() for cookie in cookies)]
        exchange.change_headers(response, before, after)
        return response


class RequestAuth(TikTokAuth):
    """One request's `TikTokAuth`, which may set a cookie of the response."""

    __slots__ = ("_cookies", "_ends", "_is_answered", "_new_cookie")

    # Set by the middleware.
    #: The request's Cookie header, or "".
    _cookies: str
    _new_cookie: Cookie | None
    #: Whether the view has returned.
    _is_answered: bool
    #: Whether the session ends after the response, because Django's has.
    _ends: bool

    def _cookie_headers(self) -> Headers:
        return ((b"cookie", self._cookies.encode("latin-1", "replace")),)

    def _set_cookie(self, cookie: Cookie) -> None:
        if self._is_answered:
            raise ConfigurationError(NO_RESPONSE)
        self._new_cookie = cookie

    def end_after_response(self) -> None:
        """Request that the middleware ends the session after the response."""
        self._ends = True


def _changed(response: HttpResponseBase, change: Any) -> HttpResponseBase:
    """Return a response whose headers were changed by what `_find` returned."""
    if change is not None:
        before = exchange.headers_of(response)
        exchange.change_headers(response, before, change(before))
    return response


def _may_look_later(auth: TikTokAuth, response: Any) -> bool:
    """Whether a stream of the project may read a session after its head is sent.

    Not if it is a file, which runs no code of the project.
    """
    is_streamed = response.streaming and not isinstance(response, FileResponse)
    return bool(is_streamed) and auth._cached is not None

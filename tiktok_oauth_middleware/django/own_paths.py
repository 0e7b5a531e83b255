"""Our own paths in a Django project: login, callback, logout and the others.

The flows are the core's. With `TikTokBackend`, a callback also signs the user in to
Django, and a logout or disconnect signs the user out.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.handlers.exception import response_for_exception

from tiktok_oauth_middleware._session.cached_session import DIGEST, RECORD_ID
from tiktok_oauth_middleware._web.pages import ErrorPage, link
from tiktok_oauth_middleware._web.responses import without_referrer
from tiktok_oauth_middleware.errors import StoreError

from . import exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from tiktok_oauth_middleware._core.http import Cookie, FinishedLogin, Response
    from tiktok_oauth_middleware._web.app import Core
    from tiktok_oauth_middleware._web.mount import MountPoint

    from .accounts import Refusal
    from .local_accounts import LocalAccounts


class OwnPaths:
    """Answers requests for our own paths."""

    def __init__(
        self, core: Core, accounts: LocalAccounts | None, *, is_async: bool
    ) -> None:
        """Take the core, and what signs users in to Django; None if nothing does.

        Args:
            core: of the middleware.
            accounts: as `accounts_module` returns it.
            is_async: whether requests are served in an event loop.
        """
        self._core = core
        self._accounts = accounts
        self._is_async = is_async

    async def respond(
        self, request: HttpRequest, mount_point: MountPoint
    ) -> HttpResponseBase:
        """Answer one of our paths; begin or end Django's session to match."""
        core, name = self._core, mount_point.routes[request.path_info]
        if core.cookies.session_name in request.META.get("HTTP_COOKIE", ""):
            exchange.hide_cookies(request, core.cookies)
        core_request = exchange.to_core_request(request, mount_point.mount)
        answer = await core.respond(core_request, mount_point)
        finished = core_request.finished
        del core_request  # the project's hooks run below this frame
        accounts = self._accounts
        if accounts is not None:
            if name == "callback" and finished is not None:
                try:
                    answer = await self._signed_in(
                        request, mount_point, answer, finished, accounts
                    )
                except Exception as error:  # noqa: BLE001 - reported as Django does
                    return await self._failed(request, finished, error)
            elif name in ("logout", "disconnect") and answer.status in (302, 303):
                # A disconnect ends only access at TikTok: a session that a password
                # began stays.
                only_bound = name == "disconnect"
                sign_out = partial(accounts.sign_out, only_bound=only_bound)
                await self._in_django(sign_out, request)
        return exchange.django_response(request, answer)

    async def _signed_in(
        self,
        request: HttpRequest,
        mount_point: MountPoint,
        answer: Response,
        finished: FinishedLogin,
        accounts: LocalAccounts,
    ) -> Response:
        """Sign the callback's user in to Django, and return the answer."""
        core = self._core
        value = exchange.cookie_named(answer, core.cookies.session_name)
        if value is None:
            return answer
        spent: Sequence[Cookie] = ()
        try:
            cached: Any = await core.load_session(value)
            value = None
            if not isinstance(cached, tuple):  # ended by another request already
                return answer
            ids = cached[RECORD_ID], cached[DIGEST]
            login = accounts.login_of(cached, finished)
            cached = None
            sign_in = partial(accounts.sign_in, may_connect=finished.may_connect)
            try:
                refused = await self._in_django(sign_in, request, login)
            except Exception:
                # A hook or the database failed: no browser gets this session.
                spent = finished.spent
                with suppress(StoreError):
                    await core.service.records.end_session(*ids)
                raise
            if refused is None:
                return answer
            await self._end_refused(refused, *ids)
        except StoreError as error:
            core_request = exchange.to_core_request(request, mount_point.mount)
            answer = await core.store_error_response(
                core_request.without_cookies(), error
            )
            deleted = (each.header() for each in spent)
            return replace(answer, headers=(*answer.headers, *deleted))
        return await self._refused(request, mount_point, finished, refused)

    async def _end_refused(self, refused: Refusal, record_id: str, digest: str) -> None:
        """End what the refusal of a login names: its session, record or access.

        An account that is connected to a user of the project keeps its record.

        Raises:
            StoreError: the store failed.
        """
        service, ends = self._core.service, refused.ends
        if ends != "session" and await self._is_connected(record_id):
            ends = "session"
        if ends == "access":
            await service.revocation.disconnect(record_id)
        elif ends == "record":
            await service.forget(record_id)
        else:
            await service.records.end_session(record_id, digest)

    async def _refused(
        self,
        request: HttpRequest,
        mount_point: MountPoint,
        finished: FinishedLogin,
        refused: Refusal,
    ) -> Response:
        """Return the page about a refused login, which deletes the login's cookies."""
        core = self._core
        page = ErrorPage(
            code=refused.code,
            actions=[link("back", mount_point.home)],
            cookies=finished.spent,
        )
        if refused.code == "confirm_connect" and finished.question is not None:
            page = finished.question()
        page = replace(page, cookies=[*page.cookies, core.cookies.session("", 0)])
        core_request = exchange.to_core_request(
            request, mount_point.mount
        ).without_cookies()
        return without_referrer(await core.render(page, core_request))

    async def _failed(
        self, request: HttpRequest, finished: FinishedLogin, error: Exception
    ) -> HttpResponseBase:
        """Return Django's response to an exception, with the login's cookies deleted.

        Django would make the same response around this middleware, where no cookie can
        be added to it.
        """
        respond: Any = response_for_exception
        if self._is_async:
            respond = sync_to_async(respond, thread_sensitive=False)
            response = await respond(request, error)
        else:
            response = respond(request, error)
        cookies = [*finished.spent, self._core.cookies.session("", 0)]
        exchange.change_headers(response, [], [each.header() for each in cookies])
        exchange.mark_private(response)
        return response

    async def _is_connected(self, record_id: str) -> bool:
        """Whether a TikTok account is connected to a user of the project.

        Raises:
            StoreError: the store failed.
        """
        stored = await self._core.service.records.load(record_id)
        return stored is not None and bool(stored.record.user_id)

    async def _in_django(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return the result of a function that uses Django's database."""
        if self._is_async:
            return await sync_to_async(call, thread_sensitive=True)(*args)
        return call(*args)

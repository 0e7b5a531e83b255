"""Wires the rest: which flow answers which path, who may pass, who is signed in.

Both shells hold one `Core` and ask it four things: is this path ours, who is signed in,
may they pass, and what is the answer if not. A signed-in request whose session is fresh
in memory awaits nothing: one scan of the headers, one look-up, one comparison of times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.backends.base import TLSContext
from tiktok_oauth_middleware._core.encryption import Box, derive
from tiktok_oauth_middleware._core.http import Headers, Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._observe.emit import Emitter, OnEvent
from tiktok_oauth_middleware._observe.metrics import MeasuredStore, meter
from tiktok_oauth_middleware._session.cache import SessionCache
from tiktok_oauth_middleware._session.cookie import SessionCookies
from tiktok_oauth_middleware._session.deferred_writes import DeferredWrites
from tiktok_oauth_middleware._session.loader import SessionLoader
from tiktok_oauth_middleware._session.profiles import Profiles
from tiktok_oauth_middleware._session.records import Records
from tiktok_oauth_middleware._session.refresh import Refresh
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.events import Event
from tiktok_oauth_middleware.settings.arguments import check_options
from tiktok_oauth_middleware.stores.registry import open_store

from .challenge import Challenges
from .cookie_header import find
from .login import LoginFlow
from .logout import Logout
from .mount import MountPoints
from .navigation import is_page_visit, languages
from .pages import (
    Answer,
    ErrorPage,
    Pages,
    json_response,
    page_code,
    without_referrer,
)
from .response_headers import with_cookie_deleted
from .rules import AppRules
from .webhook import Webhook

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._session.cookie import Ticket
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .mount import MountPoint

_RETRY_SECONDS = "5"
#: How long after the cookie was looked at an answer's head may still delete it.
_DELETING_SECONDS = 1.0
#: Changes the headers of an answer.
HeadChange = Callable[[Sequence[tuple[str, str]]], Sequence[tuple[str, str]]]


class Core:
    """Everything that one middleware does, with neither ASGI nor WSGI in it."""

    def __init__(  # noqa: PLR0913 - the shells' options
        self,
        settings: TikTokSettings,
        runtime: Backend,
        *,
        store: Any,
        on_event: OnEvent | None,
        transport: Any,
        clock: Callable[[], float],
        pages: Pages | None = None,
    ) -> None:
        """Build what can be built without I/O; the rest is made when first needed.

        Raises:
            ConfigurationError: `store` or `on_event` do not fit the runtime.
            TypeError: `transport` does not.
        """
        check_options(settings, store, {"on_event": on_event, "clock": clock})
        if transport is not None:
            from tiktok_oauth_middleware._oauth.client import check_transport

            check_transport(transport, blocking=runtime.is_blocking)
        if runtime.is_blocking and iscoroutinefunction(on_event):
            message = "on_event is an async def; under WSGI it must be a plain function"
            raise ConfigurationError(message)
        self.settings = settings
        self.clock = clock
        self._runtime = runtime
        self._pages = pages or Pages()
        self._transport = transport
        self._tls = TLSContext()
        self._own_store = store is None
        opened = (
            open_store(reveal(settings.store), clock=clock) if store is None else store
        )
        self._meter = meter()
        self._port = runtime.port(opened)
        if self._meter is not None:
            self._port = MeasuredStore(self._port, self._meter)
        self._store = opened
        self.check_workers()
        self._warn()
        keys = [reveal(key) for key in settings.secret_keys]
        log_key = derive(keys[0], settings.client_key, "log")
        self._emit = Emitter(runtime, log_key, on_event, self._meter)
        self._wire(keys)
        self.mount_points = MountPoints(settings, clock, self.profiles.was_read)
        self.rules = AppRules(settings)
        self.challenges = Challenges(
            settings.origin, self._pages, self._login.transactions
        )

    def _wire(self, keys: list[str]) -> None:
        settings, clock = self.settings, self.clock
        signing = [derive(key, settings.client_key, "session") for key in keys]
        self.cookies = SessionCookies(
            settings.cookie_name, signing, secure=not settings.is_loopback
        )
        self.cookie_name = self.cookies.session_name.encode()
        #: What the session cookie begins with in a Cookie header.
        self.cookie_start = self.cookie_name + b"="
        cache = SessionCache(settings.remembered_sessions)
        self.records = Records(
            settings,
            self._port,
            Box(keys, settings.client_key, "grant"),
            cache,
            clock,
        )
        deferrable = DeferredWrites(clock)
        self.refresh = Refresh(
            settings,
            self._runtime,
            self.records,
            self.client,
            self._emit,
            clock,
            deferrable,
        )
        self.profiles = Profiles(
            settings,
            self._runtime,
            self.records,
            cache,
            self.client,
            clock,
            deferrable,
        )
        self.sessions = SessionLoader(
            settings,
            self.records,
            cache,
            self.refresh,
            self.cookies,
            clock,
            deferrable,
            self.profiles,
        )
        self.sessions.is_store_shared = getattr(self._store, "is_shared", True)
        #: Whom a session cookie stands for, from the store if need be.
        self.load_session = self.sessions.load_session
        #: Cookie value to sight, for the shells' fast path.
        self.live = cache.live
        self._login = LoginFlow(
            settings=settings,
            backend=self._runtime,
            records=self.records,
            cookies=self.cookies,
            login_box=Box(keys, settings.client_key, "login"),
            result_box=Box(keys, settings.client_key, "login result"),
            client=self.client,
            emit=self._emit,
            clock=clock,
            profiles=self.profiles,
        )
        self.logout = Logout(
            settings=settings,
            backend=self._runtime,
            records=self.records,
            cookies=self.cookies,
            client=self.client,
            emit=self._emit,
            clock=clock,
        )
        self._webhook = Webhook(
            settings=settings,
            records=self.records,
            refresh=self.refresh,
            client=self.client,
            emit=self._emit,
            clock=clock,
        )

    def check_workers(self, seen: str | None = None) -> None:
        """Let a store of this process alone warn where there are other workers.

        Args:
            seen: how it was seen that there are.
        """
        check = getattr(self._store, "check_workers", None)
        if check is not None:
            check(seen)

    def _warn(self) -> None:
        if self.settings.is_loopback:
            logger.warning(
                "development: cookies without Secure, for %s only",
                self.settings.origin,
            )

    async def client(self) -> TikTokClient:
        """Return the client for TikTok; loaded in a thread when first needed."""
        return await self._runtime.shared(self._make_client, self, "client")

    def _make_client(self) -> TikTokClient:
        from tiktok_oauth_middleware._oauth.client import TikTokClient

        return TikTokClient(
            self.settings,
            self._runtime,
            transport=self._transport,
            clock=self.clock,
            timing=None if self._meter is None else self._meter.call,
            tls=self._tls,
        )

    async def warm(self) -> None:
        """Make the client for TikTok before anybody waits for it.

        Loading it takes 0.3 s, in which other threads get their turn every 5 ms only.
        """
        try:
            await (await self.client()).warm()
        except Exception as error:  # noqa: BLE001 - a login will meet it, and tell
            logger.warning("no client for TikTok yet: %s", type(error).__name__)

    async def aclose(self) -> None:
        """Close this process's or event loop's connections; a store if opened here."""
        # An answer of TikTok that is still on its way is the only one there will be.
        await self._runtime.settle(self.refresh.longest)
        client = self._runtime.taken_back(self, "client")
        if client is not None:
            await client.aclose()
        if self._own_store:
            with contextlib.suppress(StoreError):
                await self._port.close()

    # --- requests to our own paths --------------------------------------------------

    async def answer(self, request: Request, mount_point: MountPoint) -> Response:
        """Answer one of our own paths."""
        answer = await self.shown(await self._answer(request, mount_point), request)
        if mount_point.routes[request.path] == "callback":
            return without_referrer(answer)
        return answer

    async def shown(self, answer: Answer, request: Request) -> Response:
        """Return an answer as it is sent: a page in the reader's language."""
        if isinstance(answer, Response) or not self._pages.runs_app_code:
            return self._pages.render(answer, request)
        write = partial(self._pages.render_for, answer, languages(request))
        shown: Response = await self._runtime.outside(write)
        return shown

    async def _answer(self, request: Request, mount_point: MountPoint) -> Answer:
        name = mount_point.routes[request.path]
        if name == "login":
            return self._login.begin(request, mount_point)  # whoever is signed in
        ticket = self._ticket(request.headers)
        try:
            match name:
                case "callback":
                    return await self._login.finish(request, mount_point, ticket)
                case "logout":
                    return await self.logout.answer(request, mount_point, ticket)
                case "disconnect":
                    return await self.logout.disconnect(request, mount_point, ticket)
                case _:
                    return await self._webhook.answer(request)
        except StoreError as error:
            return await self.store_failed(request, error)

    def _ticket(self, headers: Headers) -> Ticket | None:
        value = find(headers, self.cookie_name)
        return None if value is None else self.sessions.ticket(value)

    # --- who is signed in ----------------------------------------------------------

    async def store_failed(self, request: Request, error: StoreError) -> Response:
        """Return 503: who this is can not be said, which is not to say "nobody"."""
        reference = self._emit.reference_for("store_error", error)
        event = Event(name="store_error", reason=error.code, reference=reference)
        await self._emit(event, why=error)
        headers = [("retry-after", _RETRY_SECONDS)]
        if is_page_visit(request):
            said = ErrorPage(
                code=page_code(error), reference=reference, headers=headers
            )
            return await self.shown(said, request)
        return json_response(
            503, {"error": error.code, "reference": reference}, headers
        )

    def deleting(self, value: bytes) -> HeadChange | None:
        """Return what deletes a session cookie in an answer's head; None if nothing.

        Args:
            value: the cookie's, which `look` has just found nobody for.
        """
        if not self.sessions.is_to_be_deleted(value):
            return None
        deletion, clock = self.cookies.session("", 0), self.clock
        began = clock()

        def change(headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
            # A head that was long in coming may arrive after a login's: the next
            # answer does it.
            if not 0 <= clock() - began < _DELETING_SECONDS:
                return headers
            return with_cookie_deleted(headers, deletion)

        return change

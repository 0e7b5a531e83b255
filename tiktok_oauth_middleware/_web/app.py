"""Wires the rest: which flow answers which path, who may pass, who is signed in.

Both shells hold one `Core` and ask it four things: is this path ours, who is signed in,
may they pass, and what is the answer if not. A signed-in request whose session is fresh
in memory awaits nothing: one scan of the headers, one look-up, one comparison of times.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tiktok_oauth_middleware._core.backends.base import TLSContext
from tiktok_oauth_middleware._core.encryption import Box, derive
from tiktok_oauth_middleware._core.http import Headers, Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware._core.return_to import LONGEST
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._observe.emit import Emitter, OnEvent
from tiktok_oauth_middleware._observe.metrics import MeasuredStore, meter
from tiktok_oauth_middleware._session.cache import SessionCache
from tiktok_oauth_middleware._session.cached_session import DECLINED, CachedSession
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

from .cookie_header import find
from .guard import Challenge
from .login import LoginFlow
from .logout import Logout
from .mount import MountPoint
from .navigation import is_page_visit, languages, referring_path
from .pages import (
    Answer,
    ErrorPage,
    Note,
    Pages,
    json_response,
    link,
    page_code,
    redirect,
    without_referrer,
)
from .response_headers import cors_headers, with_cookie_deleted
from .routes import Inner, look_inside, unmatched
from .rules import PathRules, Sought, claims, readings
from .webhook import Webhook

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._session.cookie import Ticket
    from tiktok_oauth_middleware.settings.options import TikTokSettings

_STRAY_SECONDS = 60.0
_RETRY_SECONDS = "5"
#: How long after the cookie was looked at an answer's head may still delete it.
_DELETING_SECONDS = 1.0
#: Changes the headers of an answer.
HeadChange = Callable[[Sequence[tuple[str, str]]], Sequence[tuple[str, str]]]
#: Longest link that begins a login, in bytes: a redirect's other headers take 300 more.
_LONGEST_LINK = 3400
# RFC 9110 section 11.6.1: a 401 names a scheme. No browser asks for this one.
_AUTHENTICATE = (("www-authenticate", "Cookie"),)
#: What an app may answer a CORS preflight with: yes, or no.
_PREFLIGHT_STATUSES = frozenset({200, 204, 400, 401, 403, 404, 405})


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
        #: By mount point; of those that the callback is below, and of no others.
        self.sites: dict[str, MountPoint] = {}
        self._stray_logged_at = -_STRAY_SECONDS
        self._rules = PathRules(settings.protect, settings.public)
        self._inner: Inner | None = None

    def _wire(self, keys: list[str]) -> None:
        settings, clock = self.settings, self.clock
        signing = [derive(key, settings.client_key, "session") for key in keys]
        self.jar = SessionCookies(
            settings.cookie_name, signing, secure=not settings.is_loopback
        )
        self.cookie_name = self.jar.session_name.encode()
        #: What the session cookie begins with in a Cookie header.
        self.cookie_start = self.cookie_name + b"="
        sights = SessionCache(settings.remembered_sessions)
        self.grants = Records(
            settings,
            self._port,
            Box(keys, settings.client_key, "grant"),
            sights,
            clock,
        )
        deferrable = DeferredWrites(clock)
        self.refresh = Refresh(
            settings,
            self._runtime,
            self.grants,
            self.client,
            self._emit,
            clock,
            deferrable,
        )
        self.profiles = Profiles(
            settings,
            self._runtime,
            self.grants,
            sights,
            self.client,
            clock,
            deferrable,
        )
        self.sessions = SessionLoader(
            settings,
            self.grants,
            sights,
            self.refresh,
            self.jar,
            clock,
            deferrable,
            self.profiles,
        )
        self.sessions.is_store_shared = getattr(self._store, "is_shared", True)
        #: Whom a session cookie stands for, from the store if need be.
        self.look = self.sessions.look
        #: Cookie value to sight, for the shells' fast path.
        self.live = sights.live
        self._login = LoginFlow(
            settings,
            self._runtime,
            self.grants,
            self.jar,
            (
                Box(keys, settings.client_key, "login"),
                Box(keys, settings.client_key, "login result"),
            ),
            self.client,
            self._emit,
            clock,
            self.profiles,
        )
        self.logout = Logout(
            settings,
            self._runtime,
            self.grants,
            self.jar,
            self.client,
            self._emit,
            clock,
        )
        self._webhook = Webhook(
            settings, self.grants, self.refresh, self.client, self._emit, clock
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

    # --- which path is ours --------------------------------------------------------

    def site(self, mount: str) -> MountPoint:
        """Return what is the same for all requests below one mount point."""
        known = self.sites.get(mount)
        return known if known is not None else self._new_site(mount)

    def _new_site(self, given: str) -> MountPoint:
        settings = self.settings
        # "/" mounts nothing, and "//x" would make every link lead to another host.
        mount = "/" + given.strip("/") if given.strip("/") else ""
        callback = settings.callback_path
        is_stray = not callback.startswith(mount + "/")
        if is_stray:
            self._log_stray(mount)
            mount = mount if len(mount) <= len(callback) else ""
        elif mount in self.sites:  # said in another spelling
            return self.sites[mount]
        paths = {
            settings.login_path: "login",
            settings.logout_path: "logout",
            settings.disconnect_path: "disconnect",
            settings.webhook_path: "webhook",
            callback.removeprefix(mount): "callback",
        }
        site = MountPoint(
            mount=mount,
            routes={path: name for path, name in paths.items() if path is not None},
            askable=frozenset((*settings.scopes, *settings.optional_scopes)),
            clock=self.clock,
            origin=settings.origin,
            profile_was_read=self.profiles.was_read,
            is_stray=is_stray,
        )
        # A client may say where an app is mounted (daphne takes Daphne-Root-Path from
        # it): what is remembered is bounded by the segments of the callback's path.
        if not is_stray:
            self.sites[mount] = site
        return site

    def _log_unmatched(self, app: object, inner: Inner) -> None:
        """Report rules that guard nothing: misspelt ones, most likely."""
        prefixes = [prefix() for prefix in inner.prefixes]
        found = [
            rule
            for rule in unmatched(self.settings.protect, app)
            if not any(rule.startswith(prefix) for prefix in prefixes if prefix)
        ]
        if found:
            logger.warning("protect lists what no route of the app fits: %s", found)

    def _log_stray(self, mount: str) -> None:
        """Report a mount point that the callback is not below, once a minute."""
        now = time.monotonic()
        if now - self._stray_logged_at < _STRAY_SECONDS:
            return
        self._stray_logged_at = now
        logger.error(
            "redirect_uri's path %s is not below the mount point %s: no login can be"
            " finished here%s",
            self.settings.callback_path,
            one_line(mount),
            ", and every path is protected" if self.has_rules else "",
        )

    async def answer(self, request: Request, site: MountPoint) -> Response:
        """Answer one of our own paths."""
        answer = await self._shown(await self._answer(request, site), request)
        if site.routes[request.path] == "callback":
            return without_referrer(answer)
        return answer

    async def _shown(self, answer: Answer, request: Request) -> Response:
        if isinstance(answer, Response) or not self._pages.runs_app_code:
            return self._pages.render(answer, request)
        write = partial(self._pages.render_for, answer, languages(request))
        shown: Response = await self._runtime.outside(write)
        return shown

    async def _answer(self, request: Request, site: MountPoint) -> Answer:
        name = site.routes[request.path]
        if name == "login":
            return self._login.begin(request, site)  # whoever is signed in
        ticket = self._ticket(request.headers)
        try:
            match name:
                case "callback":
                    return await self._login.finish(request, site, ticket)
                case "logout":
                    return await self.logout.answer(request, site, ticket)
                case "disconnect":
                    return await self.logout.disconnect(request, site, ticket)
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
            return await self._shown(said, request)
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
        deletion, clock = self.jar.session("", 0), self.clock
        began = clock()

        def change(headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
            # A head that was long in coming may arrive after a login's: the next
            # answer does it.
            if not 0 <= clock() - began < _DELETING_SECONDS:
                return headers
            return with_cookie_deleted(headers, deletion)

        return change

    # --- who may pass --------------------------------------------------------------

    @property
    def has_rules(self) -> bool:
        """Whether any path is protected by a rule."""
        return bool(self._rules)

    def is_protected(self, path: str, site: MountPoint) -> bool:
        """Whether the rules ask for a login, for a path in any of its spellings.

        Below a mount point that the callback is not below, all of it is: a client may
        have made it up, and then apps that know no mount points serve another path.

        Args:
            path: decoded, and less the mount point.
            site: of the mount point.
        """
        return site.is_stray or self._rules.protects(path)

    def is_protected_elsewhere(self, app: object, sought: Sought) -> bool:
        """Whether the rules protect what an app may take a path for.

        It is asked where `is_protected` says no.
        """
        if self._inner is None:
            self._inner = look_inside(app)
            self._log_unmatched(app, self._inner)
        path, rules = sought.path, self._rules
        bounded = claims(sought) if sought.claimed else sought
        if bounded is None:
            return True
        return any(
            rules.protects(text, is_certain=is_certain, free_by=free_by)
            for text, is_certain, free_by in readings(bounded, self._inner)
            if text != path
        )

    def without_cookies(self, request: Request) -> Request:
        """Return a request that was refused, less its cookies, with what they say.

        An app that writes the pages may look at the frames above it.
        """
        request.begun_logins = self._login.under_way(request.headers)
        return request.without_cookies()

    def turned_away(
        self,
        request: Request,
        site: MountPoint,
        sight: CachedSession | None,
        challenge: Challenge,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Return the answer to a request that a guard refused.

        A browser that opens a page is sent to log in, or to TikTok for the missing
        scopes, once; one that sends a form gets a page that says so. Everything else
        gets JSON that says what is missing and where to get it.

        Args:
            request: what was refused.
            site: where the app is mounted.
            sight: the cached session, or None.
            challenge: why it was refused.
            headers: of the app's own refusal. Those that let pages of other origins
                read it stay.
        """
        declined = split_scopes(sight[DECLINED]) if sight else frozenset()
        sight = None  # it holds a token, and the app may write the page
        answer = self._challenge_answer(request, site, declined, challenge)
        kept = cors_headers([*headers])
        return replace(answer, headers=(*answer.headers, *kept)) if kept else answer

    def preflight_answer(
        self,
        request: Request,
        site: MountPoint,
        status: int,
        headers: Iterable[tuple[str, str]],
    ) -> Response:
        """Return the answer to a CORS preflight below a path rule.

        The app decides which origins may send what, and nothing else of its answer is
        passed on: a view that ignores the method would answer with what it guards.

        Args:
            request: the preflight.
            site: where the app is mounted.
            status: of the app's answer.
            headers: of the app's answer.
        """
        kept = cors_headers([*headers])
        is_cors = any(name.startswith("access-control-") for name, _ in kept)
        if not is_cors or status not in _PREFLIGHT_STATUSES:
            return self.turned_away(request, site, None, Challenge())
        return Response(status, tuple(kept))

    def _challenge_answer(
        self,
        request: Request,
        site: MountPoint,
        declined: frozenset[str],
        challenge: Challenge,
    ) -> Response:
        missing = sorted(challenge.missing)
        askable = challenge.missing <= site.askable
        if not askable:
            logger.error(
                "a guard asks for %s, which is in neither scopes nor optional_scopes",
                missing,
            )
        ask = missing if askable else ()
        if not is_page_visit(request):
            return _told(site, challenge, site.login_url(scopes=ask))
        is_form = request.method == "POST"
        # The address of a form may answer POST alone: back to the page that it is on.
        origin = self.settings.origin
        back = referring_path(request, origin) if is_form else _here(request)
        login_url = _login_url(site, back, ask)
        is_declined = not askable or challenge.missing <= declined
        is_sent = not is_form and not (challenge.is_signed_in and is_declined)
        if is_sent and not self._login.is_unfinished(request, site, back, ask):
            return redirect(login_url)
        if is_sent and not challenge.is_signed_in:
            actions = [link("try_again", login_url), link("back", site.home)]
            said = ErrorPage(
                code="login_unfinished", actions=actions, headers=_AUTHENTICATE
            )
            return self._pages.render(said, request)
        if not challenge.is_signed_in:
            actions = [link("log_in", login_url), link("back", site.home)]
            said = ErrorPage(
                code="login_required", actions=actions, headers=_AUTHENTICATE
            )
            return self._pages.render(said, request)
        actions = [link("back", site.home)]
        if askable:
            actions.insert(0, link("ask_again", login_url))
        notes = [Note("missing", ", ".join(missing))]
        said = ErrorPage(code="scope_required", actions=actions, notes=notes)
        return self._pages.render(said, request)


def _told(site: MountPoint, challenge: Challenge, login_url: str) -> Response:
    """Return what a program is told of a challenge."""
    if not challenge.is_signed_in:
        facts = {"error": "login_required", "login_url": login_url}
        return json_response(401, facts, _AUTHENTICATE)
    missing = sorted(challenge.missing)
    told: dict[str, object] = {"error": "scope_required", "missing": missing}
    if challenge.missing <= site.askable:
        told["login_url"] = login_url
    return json_response(403, told)


def _login_url(site: MountPoint, back: str | None, scopes: Iterable[str]) -> str:
    """Return the link that begins a login and leads back, if that is not too long.

    What is too long would be dropped at the login anyway, if it got there: nginx takes
    no head of more than 4,096 bytes (502), gunicorn no longer request line (414).
    """
    if back is not None and len(back) <= LONGEST:
        login_url = site.login_url(back, scopes)
        if len(login_url) <= _LONGEST_LINK:
            return login_url
    return site.login_url(scopes=scopes)


def _here(request: Request) -> str | None:
    """Return the path and query that were asked for, to come back to; None if long."""
    if len(request.mount) + len(request.path) + len(request.query) > LONGEST:
        return None
    path = quote(request.mount + request.path, safe="/:@!$&'()*+,;=~")
    query = quote(request.query, safe="%/?:@!$&'()*+,;=~[]")
    return f"{path}?{query}" if query else path

"""End the session; disconnect the app.

Logging out is local: TikTok's revoke would disconnect the whole app from the user's
account, and log them out everywhere. Disconnecting does that, on its own path. Both
change something, so both take a POST from a page of this site and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.http import QUERY_LIMIT, Cookie, Request
from tiktok_oauth_middleware._core.return_to import target_of
from tiktok_oauth_middleware.errors import GrantRevoked, StoreError, TikTokError
from tiktok_oauth_middleware.events import Event

from .cookie_header import find_all
from .messages import ActionName, ProblemCode
from .mount import MountPoint
from .navigation import is_same_origin
from .pages import Answer, ErrorPage, Note, button, link, redirect

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
    from tiktok_oauth_middleware._session.record import UserRecord
    from tiktok_oauth_middleware._session.records import Records
    from tiktok_oauth_middleware.settings.options import TikTokSettings

#: TikTok is given this long to confirm a disconnect: the user waits for it.
REVOKE_SECONDS = 2.5
#: How a disconnect ended.
REVOKED, GONE, FAILED = "revoked", "gone", "failed"


class Logout:
    """The logout and disconnect paths of one TikTok app."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        settings: TikTokSettings,
        runtime: Backend,
        records: Records,
        jar: SessionCookies,
        client: Callable[[], Awaitable[TikTokClient]],
        emit: Emitter,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._clock = clock
        self._records = records
        self._jar = jar
        self._client = client
        self._emit = emit

    async def answer(
        self, request: Request, site: MountPoint, ticket: Ticket | None
    ) -> Answer:
        """Answer the logout path: end this browser's session, here and everywhere.

        Raises:
            StoreError: the store failed; the session may live on, so its cookie stays.
        """
        refused = self._refused(request, site, "confirm_logout", "log_out")
        if refused is not None:
            return refused
        if ticket is not None:
            await self.end(ticket.record_id, ticket.digest)
        cookies = self._all_gone(request)
        if ticket is not None:
            cookies = self._choosing(cookies)
        return redirect(self._after(request, site), cookies=cookies)

    async def end(self, record_id: str, digest: str) -> None:
        """End one session, and report it.

        Raises:
            StoreError: the store failed; the session may live on.
        """
        ended = await self._records.end_session(record_id, digest)
        if ended is not None:
            event = Event(name="logout", open_id=ended.open_id)
            await self._emit(event, session=digest)

    async def disconnect(
        self, request: Request, site: MountPoint, ticket: Ticket | None
    ) -> Answer:
        """Answer the disconnect path: forget the user, and tell TikTok to.

        Raises:
            StoreError: the store failed before anything was done.
        """
        refused = self._refused(request, site, "confirm_disconnect", "disconnect")
        if refused is not None:
            return refused
        target, gone = self._after(request, site), self._all_gone(request)
        if ticket is None:
            return redirect(target, cookies=gone)
        stored = await self._records.load(ticket.record_id)
        if stored is None or not self._records.find(stored.record, ticket.digest):
            # Ended by another process: nothing cached here is true any more.
            self._records.forget_cached(ticket.record_id)
            return redirect(target, cookies=gone)
        if await self.end_grant(stored.record_id) != FAILED:
            return redirect(target, cookies=gone)
        actions = [link("back", target)]
        cookies = self._choosing(gone)
        return ErrorPage(code="disconnect_failed", actions=actions, cookies=cookies)

    def _choosing(self, gone: list[Cookie]) -> list[Cookie]:
        """Return deletions with the cookie that lets the next login choose the account.

        TikTok would reconnect the account that was just logged out, without asking. It
        does not after a disconnect that it confirmed.
        """
        choose = self._jar.choose(max(1, int(self._settings.session_lifetime)))
        return [choose, *gone]

    async def end_grant(self, record_id: str) -> str:
        """Forget a user at once, then tell TikTok, whatever it answers.

        Returns:
            `REVOKED`; `GONE` if there was nothing, or TikTok had ended it before;
            `FAILED` if TikTok could not be told within `REVOKE_SECONDS`.

        Raises:
            StoreError: the store failed before anything was done.
        """
        ended = await self._records.forget(record_id)
        if ended is None:
            return GONE
        outcome, why = await self._runtime.shielded(
            lambda: self._revoke(record_id, ended)
        )
        event = Event(name="disconnect", reason=outcome, open_id=ended.open_id)
        await self._emit(event, why=why)
        return outcome

    async def _revoke(self, record_id: str, record: UserRecord) -> tuple[str, object]:
        """Tell TikTok, and note when; return how that ended, and why.

        TikTok reports it by webhook later, maybe when the user has logged in again.
        """
        told = await self._told(record)
        # The user is forgotten, whether or not the store can note this: without it
        # the webhook asks TikTok.
        with contextlib.suppress(StoreError):
            await self._records.note_revoked(record_id)
        return told

    async def _told(self, record: UserRecord) -> tuple[str, object]:
        """Tell TikTok, with a token it still takes; return how that ended, and why."""
        seconds = REVOKE_SECONDS / 2
        access = record.access_token
        try:
            client = await self._client()
            if record.expires_at <= self._clock() and record.refresh_token:
                refresh_token = record.refresh_token.reveal()
                answer = await client.refresh(refresh_token, seconds=seconds)
                access = answer.access_token
            await client.revoke(access.reveal(), seconds=seconds)
        except GrantRevoked as error:
            return GONE, error
        except TikTokError as error:
            is_gone = error.error == "access_token_invalid"
            return GONE if is_gone else FAILED, error
        return REVOKED, ""

    def _refused(
        self,
        request: Request,
        site: MountPoint,
        question: ProblemCode,
        action: ActionName,
    ) -> ErrorPage | None:
        """Return the answer to what is no POST from this site, or None if it is."""
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        if request.method == "GET":
            here = site.prefix + request.path
            actions = [button(action, here), link("stay", site.home)]
            return ErrorPage(code=question, actions=actions)
        if request.method != "POST":
            return ErrorPage(
                code="method_not_allowed", headers=[("allow", "GET, POST")]
            )
        if not is_same_origin(request, self._settings.origin):
            notes = [Note("address", self._settings.origin)]
            actions = [link("back", site.home)]
            return ErrorPage(code="cross_site", actions=actions, notes=notes)
        return None

    def _after(self, request: Request, site: MountPoint) -> str:
        usual = site.prefix + self._settings.after_logout
        return target_of(request.query, usual, site.own_paths, site.origin)

    def _all_gone(self, request: Request) -> list[Cookie]:
        """Return deletions of every cookie of ours that the browser sent."""
        jar = self._jar
        logins = find_all(request.headers, jar.login_prefix.encode())
        gone = [jar.login(login_id, "", 0) for login_id in list(logins)[:20]]
        name = jar.session_name.encode() + b"="
        if any(name in cookies for cookies in request.all(b"cookie")):
            # Last: some adapters keep one Set-Cookie only.
            gone.append(jar.session("", 0))
        return gone

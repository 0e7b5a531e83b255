"""End the session; disconnect the app.

Logging out is local: TikTok's revoke would disconnect the whole app from the user's
account, and log them out everywhere. Disconnecting does that, on its own path. Both
change something, so both take a POST from a page of this site and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .cookies import find, find_all
from .errors import GrantRevoked, TikTokError
from .http import Cookie, Request, Response, is_same_origin
from .models import Event, Site
from .pages import Way, page, redirect
from .redirects import target_of

if TYPE_CHECKING:
    from .client import TikTokClient
    from .cookies import CookieJar, Ticket
    from .grants import Grants, Held
    from .refresh import Refresh
    from .settings import TikTokSettings

logger = logging.getLogger("tiktok_oauth_middleware")

#: How a disconnect ended.
REVOKED, GONE, FAILED = "revoked", "gone", "failed"


class Logout:
    """The logout and disconnect paths of one TikTok app."""

    def __init__(
        self,
        settings: TikTokSettings,
        grants: Grants,
        refresh: Refresh,
        jar: CookieJar,
        client: Callable[[], Awaitable[TikTokClient]],
        tell: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._grants = grants
        self._refresh = refresh
        self._jar = jar
        self._client = client
        self._tell = tell

    async def answer(
        self, request: Request, site: Site, ticket: Ticket | None
    ) -> Response:
        """Answer the logout path: end this browser's session, here and everywhere.

        Raises:
            StoreError: the store failed; the session may live on, so its cookie stays.
        """
        refused = self._refused(request, site, "confirm_logout", "Log out")
        if refused is not None:
            return refused
        if ticket is not None:
            ended = await self._grants.end_session(ticket.grant_id, ticket.digest)
            if ended is not None:
                logger.info("logout")
                await self._tell(Event(name="logout", open_id=ended.open_id))
        return redirect(self._after(request, site), cookies=self._all_gone(request))

    async def disconnect(
        self, request: Request, site: Site, ticket: Ticket | None
    ) -> Response:
        """Answer the disconnect path: forget the user, and tell TikTok to.

        Raises:
            StoreError: the store failed before anything was done.
        """
        refused = self._refused(request, site, "confirm_disconnect", "Disconnect")
        if refused is not None:
            return refused
        target, gone = self._after(request, site), self._all_gone(request)
        held = None if ticket is None else await self._grants.load(ticket.grant_id)
        known = held is not None and any(
            ticket is not None and s.digest == ticket.digest
            for s in held.grant.sessions
        )
        if held is None or not known:
            return redirect(target, cookies=gone)
        if await self.end_grant(held) != FAILED:
            return redirect(target, cookies=gone)
        ways = [Way("Back to the site", target)]
        return page("disconnect_failed", ways=ways, cookies=gone)

    async def end_grant(self, held: Held) -> str:
        """Forget a user whatever TikTok answers; return how that went.

        Returns:
            `REVOKED`; `GONE` if TikTok had ended it before; `FAILED` if TikTok could
            not be told.

        Raises:
            StoreError: the store failed before anything was done.
        """
        outcome = await self._revoke(held)
        ended = await self._grants.forget(held.grant_id)
        if ended is not None:
            logger.info("disconnect: %s", outcome)
            event = Event(name="disconnect", reason=outcome, open_id=ended.open_id)
            await self._tell(event)
        return outcome

    async def _revoke(self, held: Held) -> str:
        """Tell TikTok, with a token that it still takes."""
        try:
            fresh = await self._refresh.fresh(held)
            if fresh is None:
                return GONE
            client = await self._client()
            await client.revoke(fresh.grant.access_token.reveal())
        except GrantRevoked:
            return GONE
        except TikTokError as error:
            if error.error == "access_token_invalid":
                return GONE
            logger.warning("revoke failed: %s", error)
            return FAILED
        return REVOKED

    def _refused(
        self, request: Request, site: Site, question: str, label: str
    ) -> Response | None:
        """Return the answer to what is no POST from this site, or None if it is."""
        if request.method == "GET":
            here = site.mount + request.path
            ways = [Way(label, here, posts=True), Way("Stay", site.home)]
            return page(question, ways=ways)
        if request.method != "POST":
            return page("method_not_allowed", headers=[("allow", "GET, POST")])
        if not is_same_origin(request, self._settings.origin):
            note = f"The address of this site is {self._settings.origin}."
            ways = [Way("Back to the site", site.home)]
            return page("cross_site", ways=ways, notes=[note])
        return None

    def _after(self, request: Request, site: Site) -> str:
        usual = site.mount + self._settings.after_logout
        return target_of(request.query, usual, site.own_paths)

    def _all_gone(self, request: Request) -> list[Cookie]:
        """Return deletions of every cookie of ours that the browser sent."""
        jar = self._jar
        logins = find_all(request.headers, jar.login_prefix.encode())
        gone = [jar.login(login_id, "", 0) for login_id in list(logins)[:20]]
        if find(request.headers, jar.session_name.encode()) is not None:
            gone.insert(0, jar.session("", 0))
        return gone

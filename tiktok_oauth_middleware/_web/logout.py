"""Logging out, and disconnecting the app from the user's TikTok account.

Logging out is local: TikTok's revoke would disconnect the whole app from the user's
account, and log them out everywhere. Disconnecting does that, on its own path. Both
change something, so both require a POST from a page of this site.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.http import QUERY_LIMIT, Cookie, Request
from tiktok_oauth_middleware._core.return_to import return_to_of

from .cookie_header import find, find_all
from .messages import ActionName, ProblemCode
from .mount import MountPoint
from .navigation import is_same_origin
from .pages import Answer, ErrorPage, Note, button, link
from .responses import DELETED_AT_ONCE, redirect

if TYPE_CHECKING:
    from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
    from tiktok_oauth_middleware._session.service import SessionService


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Logout:
    """The logout and disconnect paths of one TikTok app."""

    service: SessionService
    cookies: SessionCookies

    async def answer(
        self, request: Request, mount_point: MountPoint, ticket: Ticket | None
    ) -> Answer:
        """Answer the logout path: end this browser's session.

        Raises:
            StoreError: the store failed; the cookie stays, since the session may too.
        """
        refusal = self._check_post(request, mount_point, "confirm_logout", "log_out")
        if refusal is not None:
            return refusal
        if ticket is not None:
            await self.service.end_session(ticket.record_id, ticket.digest)
        cookies = self._deletions(request)
        if ticket is not None:
            cookies = [self.choose_account_next(), *cookies]
        return redirect(self._return_to(request, mount_point), cookies=cookies)

    async def disconnect(
        self, request: Request, mount_point: MountPoint, ticket: Ticket | None
    ) -> Answer:
        """Answer the disconnect path: delete the user's record, and revoke the token.

        Raises:
            StoreError: the store failed before anything was done.
        """
        refusal = self._check_post(
            request, mount_point, "confirm_disconnect", "disconnect"
        )
        if refusal is not None:
            return refusal
        return_to = self._return_to(request, mount_point)
        deletions = self._deletions(request)
        if ticket is None:
            return redirect(return_to, cookies=deletions)
        stored = await self.service.records.load_if_active(ticket)
        if stored is None:
            # Ended by another process: what is cached here is outdated.
            self.service.records.forget_cached(ticket.record_id)
            return redirect(return_to, cookies=deletions)
        from tiktok_oauth_middleware._session.revocation import FAILED

        if await self.service.revocation.disconnect(stored.record_id) != FAILED:
            return redirect(return_to, cookies=deletions)
        actions = [link("back", return_to)]
        cookies = [self.choose_account_next(), *deletions]
        return ErrorPage(code="disconnect_failed", actions=actions, cookies=cookies)

    def choose_account_next(self) -> Cookie:
        """Return the cookie that lets the person choose the account at the next login.

        Without it TikTok would reconnect the account that just logged out, without
        showing its page. After a disconnect that TikTok confirmed, TikTok shows it.
        """
        return self.cookies.choose(max(1, int(self.service.settings.session_lifetime)))

    def _check_post(
        self,
        request: Request,
        mount_point: MountPoint,
        question: ProblemCode,
        action: ActionName,
    ) -> ErrorPage | None:
        """Return None for a POST from this site; for any other request a page."""
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        if request.method == "GET":
            here = mount_point.prefix + request.path
            actions = [button(action, here), link("stay", mount_point.home)]
            # The page that follows may need a login, which redirects to TikTok.
            onward = self.service.settings.endpoints.authorize
            return ErrorPage(code=question, actions=actions, form_redirects_to=onward)
        if request.method != "POST":
            return ErrorPage(
                code="method_not_allowed", headers=[("allow", "GET, POST")]
            )
        if not is_same_origin(request, self.service.settings.origin):
            notes = [Note("address", self.service.settings.origin)]
            actions = [link("back", mount_point.home)]
            return ErrorPage(code="cross_site", actions=actions, notes=notes)
        return None

    def _return_to(self, request: Request, mount_point: MountPoint) -> str:
        usual = mount_point.prefix + self.service.settings.after_logout
        return return_to_of(
            request.query, usual, mount_point.own_paths, mount_point.origin
        )

    def _deletions(self, request: Request) -> list[Cookie]:
        """Return deletions of every cookie of ours that the browser sent."""
        cookies = self.cookies
        logins = find_all(request.headers, cookies.login_prefix.encode())
        deletions = [cookies.login(slot, "", 0) for slot in [*logins][:DELETED_AT_ONCE]]
        if find(request.headers, cookies.carry_name.encode()) is not None:
            # Links that were made for this person must not work for the next one.
            deletions.append(cookies.carry("", 0))
        name = cookies.session_name.encode() + b"="
        if any(name in header for header in request.all(b"cookie")):
            # Last: some adapters keep one Set-Cookie only.
            deletions.append(cookies.session("", 0))
        return deletions

"""The connect path: redirects to TikTok, to connect an account.

Connecting uses the same cookies, transaction, exchange and single use as a login. It is
bound to the browser, as a login is, and to the app's user: a hash of the user's id is
sealed into the transaction. ``current_user`` is called when connecting begins, and
again at the callback before TikTok is asked for tokens. If the user has signed out of
the app or signed in as another user meanwhile, nothing is connected.

A page of another site must not be able to connect an account to a user. So a POST must
come from a page of this site, and after a GET from elsewhere a page asks the person
first. TikTok always shows its page, which names the account.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.http import QUERY_LIMIT, BadQuery, Request
from tiktok_oauth_middleware._core.return_to import return_to_of
from tiktok_oauth_middleware._session.record import digest

from .begin_login import BeginLogin
from .connect_refusals import Undecided
from .mount import path_with_query
from .navigation import is_document, is_prefetch, is_same_origin
from .pages import Answer, ErrorPage, Note, link
from .unfinished_login import Visit

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .app_user import AppUser
    from .connect_refusals import ConnectRefusals
    from .mount import MountPoint
    from .transaction import LoginTransactions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BeginConnect:
    """Answers the connect path."""

    settings: TikTokSettings
    app_user: AppUser
    begin_login: BeginLogin
    transactions: LoginTransactions
    refusals: ConnectRefusals

    async def respond(self, request: Request, mount_point: MountPoint) -> Answer:
        """Answer the connect path: set a transaction's cookies, redirect to TikTok."""
        refusal = self._check_request(request, mount_point)
        if refusal is not None:
            return refusal
        moved = self.begin_login.redirect_to_own_host(request, mount_point)
        if moved is not None:
            return moved
        visit = Visit(mount_point, None)
        try:
            user_id = await self.app_user.id_of(
                await self.app_user.connection(request, mount_point)
            )
        except Undecided as error:
            return await self.refusals.reject(error, visit)
        if user_id is None:
            back = [link("back", mount_point.home)]
            return ErrorPage(code="connect_signed_out", actions=back)
        # Its button posts, so POST is accepted here for any `login_methods`.
        is_meant = request.method == "POST" or (
            "GET" in self.settings.login_methods
            and is_same_origin(request, self.settings.origin)
        )
        if not is_meant:
            return self._question(request, mount_point)
        try:
            requested = self.begin_login.requested_scopes(request, mount_point)
        except BadQuery:
            back = [link("back", mount_point.home)]
            return ErrorPage(code="scope_not_offered", actions=back)
        usual = self.transactions.default_return_to(mount_point)
        return_to = return_to_of(
            request.query, usual, mount_point.own_paths, mount_point.origin
        )
        # "choose": TikTok shows its page, so that the person sees which account it is.
        transaction = self.transactions.create(return_to, requested, "choose", {})
        transaction = replace(transaction, user_hash=digest(user_id.encode()))
        response, _ = self.begin_login.redirect_to_tiktok(request, transaction, usual)
        return response or ErrorPage(code="query_too_long")

    def _check_request(
        self, request: Request, mount_point: MountPoint
    ) -> ErrorPage | None:
        """Return the page for a request that is not a person's visit, else None."""
        if request.method not in ("GET", "POST"):
            allow = [("allow", "GET, POST")]
            return ErrorPage(code="method_not_allowed", headers=allow)
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        origin = self.settings.origin
        if request.method == "POST" and not is_same_origin(request, origin):
            back = [link("back", mount_point.home)]
            notes = [Note("address", origin)]
            return ErrorPage(code="cross_site", actions=back, notes=notes)
        if is_prefetch(request) or not is_document(request):
            return self._question(request, mount_point)
        return None

    def _question(self, request: Request, mount_point: MountPoint) -> ErrorPage:
        """Return the page that asks whether to connect, with a button that connects."""
        path = path_with_query(request, mount_point)
        return self.refusals.question(path, mount_point)

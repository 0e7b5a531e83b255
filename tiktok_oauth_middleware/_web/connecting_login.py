"""Logins that connect their account to the user who is already signed in to the app.

An app that keeps accounts itself, as Django's ``TikTokBackend`` does, connects the
TikTok account of a login to its signed-in user: from then on a login with that account
signs in as that user. A page of another site can begin a login, and TikTok may complete
it without showing a page. So a login connects an account only under two conditions:

- The request came from a page of this site, or the user has answered a question.
- TikTok was asked to show its page, which names the account. For a user who has a
  connected account already, TikTok may answer without its page; such a login connects
  no other account.

A hash of the user's id is sealed into such a login's transaction. The same user must be
signed in at the callback, or TikTok is not asked for tokens.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tiktok_oauth_middleware._session.record import digest
from tiktok_oauth_middleware.auth import TikTokAuth

from .connect_refusals import OtherUser, Undecided, answer_in
from .mount import path_with_query
from .navigation import is_same_origin
from .unfinished_login import Visit

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.http import Request
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .connect_refusals import ConnectRefusals
    from .mount import MountPoint
    from .pages import ErrorPage
    from .transaction import LoginTransaction, Prompt


class SignedInUser(NamedTuple):
    """The app's user to whom a login would connect its account."""

    user_id: str
    #: Whether a TikTok account is connected to the user already.
    has_account: bool


#: Returns the app's user, or None if a login connects nothing in this browser. Its
#: argument is that of ``current_user``; under ASGI it returns an awaitable.
FindUser = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ConnectingLogins:
    """Decides which logins may connect their account."""

    settings: TikTokSettings
    backend: Backend
    refusals: ConnectRefusals
    find_user: FindUser

    async def user_of(
        self, request: Request, mount_point: MountPoint
    ) -> SignedInUser | ErrorPage | None:
        """Return the user of a request that begins a login.

        Returns:
            None if no user is signed in to whom a login would connect an account; a
            page if the app could not say.
        """
        try:
            return await self._ask(request, mount_point)
        except Undecided as error:
            return await self.refusals.reject(error, Visit(mount_point, None))

    def begin(
        self,
        request: Request,
        mount_point: MountPoint,
        user: SignedInUser,
        prompt: Prompt,
    ) -> tuple[Prompt, str] | ErrorPage:
        """Return how a signed-in user's login begins, or the page with the question.

        Args:
            request: for the login path.
            mount_point: of the request.
            user: who is signed in.
            prompt: the reason, if TikTok shows its page in any case.

        Returns:
            The prompt of the login, and `LoginTransaction.connects_to`.
        """
        is_meant = is_same_origin(request, self.settings.origin)
        if not user.has_account:
            if not is_meant:
                path = path_with_query(request, mount_point)
                return self.refusals.question(path, mount_point)
            prompt = "choose"
        connects = is_meant and prompt
        return prompt, digest(user.user_id.encode()) if connects else ""

    async def check(
        self, request: Request, transaction: LoginTransaction, visit: Visit
    ) -> ErrorPage | None:
        """Return the page about a login that began for another user, else None.

        Args:
            request: TikTok's callback.
            transaction: of a login that may connect.
            visit: the request.
        """
        try:
            user = await self._ask(request, visit.mount_point)
        except Undecided as error:
            return await self.refusals.reject(error, visit)
        present = "" if user is None else digest(user.user_id.encode())
        if hmac.compare_digest(present, transaction.connects_to):
            return None
        return await self.refusals.reject(OtherUser(), visit)

    def question(self, visit: Visit) -> ErrorPage:
        """Return the page that asks whether to connect a login's account.

        Args:
            visit: TikTok's callback.
        """
        url, cookies = self.refusals.unfinished.retry(visit, choose_account=True)
        return self.refusals.question(url, visit.mount_point, cookies)

    async def _ask(
        self, request: Request, mount_point: MountPoint
    ) -> SignedInUser | None:
        """Ask the app who is signed in.

        Raises:
            Undecided: its code or database failed.
        """
        auth = TikTokAuth.of(None, mount_point)  # not used
        connection = auth if request.for_app is None else request.for_app(auth)
        seconds = self.settings.timeout
        outcome = await self.backend.ask_app(
            partial(self.find_user, connection),
            seconds,
            is_async=not self.backend.is_blocking,
        )
        user: SignedInUser | None = answer_in(outcome, "the app's accounts", seconds)
        return user

"""The login path: puts a transaction into cookies, and redirects to TikTok.

The transaction is in the browser (see `transaction`), so that unfinished logins take no
space in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.http import (
    QUERY_LIMIT,
    BadQuery,
    Request,
    Response,
    read_query,
)
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.return_to import return_to_of, safe_return_to
from tiktok_oauth_middleware._oauth.scopes import parse_scopes

from .cookie_header import find
from .mount import MountPoint, path_with_query
from .navigation import (
    is_document,
    is_other_host,
    is_prefetch,
    is_same_origin,
    referring_path,
)
from .pages import Answer, ErrorPage, Note, button, link
from .responses import HEAD_LIMIT, head_size, redirect

if TYPE_CHECKING:
    from tiktok_oauth_middleware._session.cookie import SessionCookies
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .carried import CarriedLinks
    from .connecting_login import ConnectingLogins
    from .recent_logins import RecentLogins
    from .transaction import LoginTransaction, LoginTransactions, Prompt

#: Marks the query of a login that was redirected to the site's own address, so that it
#: is redirected only once.
_MOVED = "moved"
#: Longest list of scopes that a login may request, in characters: all scopes that
#: TikTok has take 700.
_LONGEST_SCOPES = 4096
#: A parameter in the query of a login: "1" or "0".
_CHOOSE = "choose_account"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BeginLogin:
    """Answers the login path."""

    settings: TikTokSettings
    cookies: SessionCookies
    transactions: LoginTransactions
    recent: RecentLogins
    carried_links: Callable[[], CarriedLinks]
    #: None if no login of the app connects its account to a user.
    connecting: ConnectingLogins | None

    async def respond(self, request: Request, mount_point: MountPoint) -> Answer:
        """Answer the login path: put a transaction into cookies, redirect to TikTok."""
        refusal = self._check_request(request, mount_point)
        if refusal is not None:
            return refusal
        try:
            requested = self.requested_scopes(request, mount_point)
            prompt = self._prompt(request, requested)
        except BadQuery:
            actions = [link("log_in_without", mount_point.login_url())]
            return ErrorPage(code="scope_not_offered", actions=actions)
        carried = self._carried(request)
        if carried is None:
            return self._stale_link(request, mount_point)
        connects_to = ""
        if self.connecting is not None:
            decided = await self._connects(request, mount_point, prompt)
            if not isinstance(decided, tuple):
                return decided
            prompt, connects_to = decided
        usual = self.transactions.default_return_to(mount_point)
        return_to = return_to_of(
            request.query, usual, mount_point.own_paths, mount_point.origin
        )
        transaction = self.transactions.create(return_to, requested, prompt, carried)
        if connects_to:
            transaction = replace(transaction, connects_to=connects_to)
        response, transaction = self.redirect_to_tiktok(request, transaction, usual)
        if response is None:
            return ErrorPage(code="query_too_long")
        special = "" if transaction.return_to == usual else transaction.return_to
        self.recent.remember(transaction.state, special, transaction.requested)
        return response

    def _check_request(
        self, request: Request, mount_point: MountPoint
    ) -> Answer | None:
        """Return the answer to a request that may not begin a login, else None."""
        if not self._may_answer(request):
            return self._wrong_method(request, mount_point)
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        if is_prefetch(request) or not is_document(request):
            # A request for an image or a frame does not come from a person who logs in.
            actions = [link("log_in", mount_point.login_url())]
            return ErrorPage(code="not_a_page_visit", actions=actions)
        moved = self.redirect_to_own_host(request, mount_point)
        if moved is not None:
            return moved
        origin = self.settings.origin
        if request.method == "POST" and not is_same_origin(request, origin):
            return ErrorPage(
                code="cross_site",
                actions=[
                    link("log_in", mount_point.login_url()),
                    link("back", mount_point.home),
                ],
                notes=[Note("address", origin)],
            )
        return None

    def _may_answer(self, request: Request) -> bool:
        """Whether a login may begin with the method of a request.

        POST is always allowed for the button on the page that asks whether to connect
        an account, whatever `login_methods` are.
        """
        if request.method in self.settings.login_methods:
            return True
        return request.method == "POST" and self.connecting is not None

    async def _connects(
        self, request: Request, mount_point: MountPoint, prompt: Prompt
    ) -> Answer | tuple[Prompt, str]:
        """Return a login's prompt and the user it connects to, or a page instead."""
        if self.connecting is None:
            return prompt, ""
        user = await self.connecting.user_of(request, mount_point)
        if isinstance(user, ErrorPage):
            return user
        if user is not None:
            return self.connecting.begin(request, mount_point, user, prompt)
        if request.method not in self.settings.login_methods:
            return self._wrong_method(request, mount_point)
        return prompt, ""

    def redirect_to_tiktok(
        self, request: Request, transaction: LoginTransaction, usual: str
    ) -> tuple[Response | None, LoginTransaction]:
        """Return the redirect that begins a transaction, and the transaction.

        Args:
            request: the request to answer.
            transaction: the one that begins. If its return address is too long with the
                scopes and data, `usual` replaces it.
            usual: where a login without ``next`` leads.

        Returns:
            None for the redirect if it is still too long.
        """
        response = self.transactions.redirect_to_tiktok(request, transaction)
        if transaction.return_to != usual and (
            response is None or head_size(response) > HEAD_LIMIT
        ):
            transaction = replace(transaction, return_to=usual)
            response = self.transactions.redirect_to_tiktok(request, transaction)
        return response, transaction

    def _carried(self, request: Request) -> Mapping[str, str] | None:
        """Return the data that a link carries; None if the link is not valid here."""
        if b"carried" not in request.query:  # `login_url` never percent-encodes it
            return {}
        try:
            query = read_query(request.query, ["carried", "next", "scopes"])
        except BadQuery:
            return None
        text = query.get("carried")
        if text is None:
            return {}
        return self.carried_links().open(text, request.headers, query)

    def _stale_link(self, request: Request, mount_point: MountPoint) -> ErrorPage:
        """Return the page about a link that carries data and is not valid here.

        The login does not begin without the data, because its result would not be what
        the person expects.
        """
        before = referring_path(request, self.settings.origin) or ""
        back = safe_return_to(before, mount_point.own_paths) or mount_point.home
        actions = [link("back", back), link("log_in_without", mount_point.login_url())]
        return ErrorPage(code="stale_login_link", actions=actions)

    def redirect_to_own_host(
        self, request: Request, mount_point: MountPoint
    ) -> Response | None:
        """Return a redirect to this path at the site's own address, or None.

        TikTok sends the person back to the redirect URI, where cookies of another host
        are missing, so the login must begin there. The Host header decides only whether
        to redirect; the target is the configured address. If a proxy changes Host, the
        browser is at the right address already: it is redirected once, and then the
        login continues.
        """
        origin = self.settings.origin
        if not is_other_host(request, origin):
            return None
        try:
            has_moved = _MOVED in read_query(request.query, [_MOVED])
        except BadQuery:
            has_moved = True
        if has_moved:
            return None
        if self.settings.is_loopback:
            logger.warning(
                "a login began at another host or port than redirect_uri's, and is sent"
                " to %s: serve the app there, or write its own address into"
                " redirect_uri (TIKTOK_REDIRECT_URI)",
                origin,
            )
        path = path_with_query(request, mount_point)
        moved = redirect(f"{origin}{path}{'&' if '?' in path else '?'}{_MOVED}=1")
        if head_size(moved) > HEAD_LIMIT:
            path = path.partition("?")[0]
            moved = redirect(f"{origin}{path}?{_MOVED}=1")
        return moved

    def _wrong_method(self, request: Request, mount_point: MountPoint) -> Answer:
        """Return 405; if logins begin by POST, with a form that begins one."""
        allow = [("allow", ", ".join(self.settings.login_methods))]
        if request.method != "GET":
            return ErrorPage(code="method_not_allowed", headers=allow)
        path = path_with_query(request, mount_point)
        return self.redirect_to_own_host(request, mount_point) or ErrorPage(
            code="login_by_form",
            actions=[button("log_in", path), link("back", mount_point.home)],
            headers=allow,
            form_redirects_to=self.settings.endpoints.authorize,
        )

    @staticmethod
    def requested_scopes(request: Request, mount_point: MountPoint) -> frozenset[str]:
        """Return the scopes in the query; BadQuery if one may not be requested."""
        text = read_query(request.query, ["scopes"]).get("scopes", "")
        if not text:
            return frozenset()
        if len(text) > _LONGEST_SCOPES:
            raise BadQuery
        requested = parse_scopes(text)
        if not requested <= mount_point.allowed_scopes:
            raise BadQuery
        return requested

    def _prompt(self, request: Request, requested: frozenset[str]) -> Prompt:
        """Return why TikTok is to show its page; BadQuery if the query is invalid."""
        chooses = read_query(request.query, [_CHOOSE]).get(_CHOOSE, "0")
        if chooses not in ("0", "1"):
            raise BadQuery
        # At the login after a logout TikTok would reconnect the same account without
        # asking.
        if chooses == "1" or has_logged_out(request, self.cookies):
            return "choose"
        return "consent" if requested or self.settings.always_ask_consent else ""


def has_logged_out(request: Request, cookies: SessionCookies) -> bool:
    """Whether the browser has logged out here since its last login."""
    name = cookies.choose_name.encode()
    return find(request.cookie_headers(), name) is not None

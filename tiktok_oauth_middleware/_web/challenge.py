"""Challenge responses: the answers to requests that a guard or a path rule refused.

A browser that opens a page is redirected once, to log in or to grant the missing scopes
at TikTok. A browser that sends a form gets a page that explains the refusal. Every
other client gets JSON that names what is missing and the login URL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from tiktok_oauth_middleware._core.http import NO_CONTENT, Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.return_to import LONGEST_RETURN_TO
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._session.cached_session import DENIED, CachedSession

from .cors import cors_headers, with_cors
from .guard import Challenge, ResponseHead
from .navigation import is_page_visit, referring_path
from .pages import ErrorPage, Note, Pages, link
from .responses import BASE_HEADERS, PLAIN, json_response, redirect

if TYPE_CHECKING:
    from .mount import MountPoint
    from .transaction import LoginTransactions

#: Longest URL that begins a login, in bytes; a redirect's other headers take 300 more.
_LONGEST_LOGIN_URL = 3400
# A 401 must name a scheme (RFC 9110 section 11.6.1). No browser prompts for this one.
_AUTHENTICATE = (("www-authenticate", "Cookie"),)
#: Statuses with which an app may accept or refuse a CORS preflight.
_PREFLIGHT_STATUSES = frozenset({200, 204, 400, 401, 403, 404, 405})


class Challenges:
    """Responses to the requests of one app that may not pass."""

    def __init__(
        self, origin: str, pages: Pages, transactions: LoginTransactions
    ) -> None:
        """Take the configured origin of the site, and the pending logins."""
        self._origin = origin
        self._pages = pages
        self._transactions = transactions

    def without_cookies(self, request: Request) -> Request:
        """Return a refused request without cookies, and the pending logins in them.

        The cookies are removed because an app's function that writes pages may record
        the locals of the frames above it.
        """
        request.begun_logins = self._transactions.under_way(request.headers)
        return request.without_cookies()

    def replacement(
        self,
        request: Request,
        mount_point: MountPoint,
        session: CachedSession | None,
        challenge: Challenge,
        head: ResponseHead,
    ) -> Response:
        """Return the response that replaces the app's answer to a refused request.

        Args:
            request: the refused one, without cookies.
            mount_point: of the request.
            session: the cached session, or None.
            challenge: why the request was refused.
            head: the head of the app's response, whose CORS headers are kept.
        """
        if challenge.is_preflight:
            return self._preflight_response(request, mount_point, head)
        return self.challenge_response(
            request, mount_point, session, challenge, head.headers
        )

    def challenge_response(
        self,
        request: Request,
        mount_point: MountPoint,
        session: CachedSession | None,
        challenge: Challenge,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Return the response to a request that was refused; see `replacement`."""
        denied = split_scopes(session[DENIED]) if session else frozenset()
        session = None  # it holds a token, and the app's code may run below
        response = self._response(request, mount_point, denied, challenge)
        kept = cors_headers([*headers])
        if not kept:
            return response
        return replace(response, headers=with_cors(response.headers, kept))

    def _preflight_response(
        self, request: Request, mount_point: MountPoint, head: ResponseHead
    ) -> Response:
        """Return the response to a CORS preflight below a path rule.

        The app decides about origins, methods and headers. Nothing else of its response
        is passed on, because a view that ignores the method would send protected
        content.
        """
        kept = cors_headers([*head.headers])
        is_cors = any(name.startswith("access-control-") for name, _ in kept)
        if not is_cors or head.status not in _PREFLIGHT_STATUSES:
            return self.challenge_response(request, mount_point, None, Challenge())
        # PEP 3333's own checker requires a type, except for 204.
        kind = PLAIN if head.status != NO_CONTENT else ()
        return Response(head.status, (*BASE_HEADERS, *kind, *kept))

    def _response(
        self,
        request: Request,
        mount_point: MountPoint,
        denied: frozenset[str],
        challenge: Challenge,
    ) -> Response:
        missing = sorted(challenge.missing)
        is_allowed = challenge.missing <= mount_point.allowed_scopes
        # Another login cannot help if the app never requests the scope.
        is_too_old = challenge.max_age is not None and is_allowed
        if not is_allowed:
            logger.error(
                "a guard asks for %s, which is in neither scopes nor optional_scopes:"
                " no login can grant it. List it in optional_scopes"
                " (TIKTOK_OPTIONAL_SCOPES)",
                sorted(challenge.missing - mount_point.allowed_scopes),
            )
        requested = missing if is_allowed else ()
        if not is_page_visit(request):
            return _json_challenge(
                mount_point, challenge, requested, is_too_old=is_too_old
            )
        is_form = request.method == "POST"
        # The address of a form may accept only POST: return to the page with the form.
        return_to = (
            referring_path(request, self._origin) if is_form else _path_of(request)
        )
        login_url = _login_url(mount_point, return_to, requested, shows_page=is_too_old)
        needs_login = is_too_old or not challenge.is_signed_in
        is_denied = not is_allowed or challenge.missing <= denied
        is_redirected = not is_form and (needs_login or not is_denied)
        if is_redirected and not self._transactions.is_unfinished(
            request, mount_point, return_to, requested
        ):
            return redirect(login_url)
        back = link("back", mount_point.home)
        if not needs_login:
            page = ErrorPage(
                code="scope_required" if is_allowed else "scope_unlisted",
                actions=[link("ask_again", login_url), back] if is_allowed else [back],
                notes=[Note("missing", ", ".join(missing))],
            )
        elif is_redirected:  # an earlier redirect led to no login
            page = ErrorPage(
                code="login_unfinished",
                actions=[link("try_again", login_url), back],
                headers=_AUTHENTICATE,
            )
        else:
            page = ErrorPage(
                code="reauthentication_required" if is_too_old else "login_required",
                actions=[link("log_in", login_url), back],
                headers=_AUTHENTICATE,
            )
        return self._pages.render(page, request)


def _json_challenge(
    mount_point: MountPoint,
    challenge: Challenge,
    requested: Sequence[str],
    *,
    is_too_old: bool,
) -> Response:
    """Return the response for a program.

    Args:
        mount_point: of the request.
        challenge: why the request was refused.
        requested: the scopes that a login would request; empty if the missing ones
            cannot be requested.
        is_too_old: whether the user is signed in, and has to log in once more.
    """
    login_url = mount_point.login_url(scopes=requested, choose_account=is_too_old)
    if not challenge.is_signed_in:
        facts = {"error": "login_required", "login_url": login_url}
        return json_response(401, facts, _AUTHENTICATE)
    if is_too_old:
        again = {
            "error": "reauthentication_required",
            "max_age": challenge.max_age,
            "login_url": login_url,
        }
        return json_response(401, again, _AUTHENTICATE)
    missing = sorted(challenge.missing)
    body: dict[str, object] = {"error": "scope_required", "missing": missing}
    if requested:
        body["login_url"] = login_url
    return json_response(403, body)


def _login_url(
    mount_point: MountPoint,
    return_to: str | None,
    scopes: Iterable[str],
    *,
    shows_page: bool,
) -> str:
    """Return the URL that begins a login and leads back, if that is not too long.

    A longer URL would lead to the default page anyway, and servers refuse it: nginx a
    head of more than 4,096 bytes (502), gunicorn a longer request line (414).

    Args:
        mount_point: of the request.
        return_to: where the login leads; None where that is too long.
        scopes: further scopes to request, besides those of every login.
        shows_page: whether TikTok is to show its page to a person who consented before.
    """
    if return_to is not None and len(return_to) <= LONGEST_RETURN_TO:
        login_url = mount_point.login_url(return_to, scopes, choose_account=shows_page)
        if len(login_url) <= _LONGEST_LOGIN_URL:
            return login_url
    return mount_point.login_url(scopes=scopes, choose_account=shows_page)


def _path_of(request: Request) -> str | None:
    """Return the requested path and query, to return to; None if they are too long."""
    if len(request.mount) + len(request.path) + len(request.query) > LONGEST_RETURN_TO:
        return None
    path = quote(request.mount + request.path, safe="/:@!$&'()*+,;=~")
    query = quote(request.query, safe="%/?:@!$&'()*+,;=~[]")
    return f"{path}?{query}" if query else path

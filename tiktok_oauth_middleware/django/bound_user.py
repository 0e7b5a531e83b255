"""``request.user`` is anonymous once the TikTok session behind it has ended.

A Django session that a TikTok login began carries the open_id, and lasts as long as the
TikTok session: when that ends, because of a logout, a webhook or its age, the next
request that reads ``request.user`` is anonymous. A Django session that began in
another way, such as with a password, is not affected.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import auth as django_auth
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from .receivers import end_after_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Where Django's session keeps the open_id of the TikTok login that began it.
BOUND_TO = "_tiktok_open_id"


def bind_user(request: Any) -> None:
    """Make ``request.user`` anonymous once the TikTok session behind it has ended.

    Neither session is read until the project reads ``request.user``.

    Raises:
        ImproperlyConfigured: AuthenticationMiddleware is not listed before ours.
    """
    given = check_placing(request)
    # Kept twice: REST framework replaces `request.user` by its own user.
    request._tiktok_user = request.user = SimpleLazyObject(
        partial(_bound_user, request, given)
    )
    request.auser = partial(_abound_user, request, request.auser)


def check_placing(request: Any) -> Any:
    """Return the project's own ``request.user``.

    Raises:
        ImproperlyConfigured: AuthenticationMiddleware is not listed before ours.
    """
    given = getattr(request, "user", None)
    if given is None or not hasattr(request, "session"):
        message = (
            "TikTokBackend needs SessionMiddleware and AuthenticationMiddleware before"
            " TikTokMiddleware in MIDDLEWARE"
        )
        raise ImproperlyConfigured(message)
    return given


def _is_over(request: Any, open_id: str | None) -> bool:
    """Whether the TikTok session behind Django's session has ended."""
    return open_id is not None and request.tiktok.open_id != open_id


def _bound_user(request: Any, given: Any) -> Any:
    open_id = request.session.get(BOUND_TO)
    if not _is_over(request, open_id):
        _end_without_user(request, open_id, given)
        return given
    request.user = given  # logout() names this user in its signal
    django_auth.logout(request)
    return AnonymousUser()


async def _abound_user(request: Any, given: Callable[[], Awaitable[Any]]) -> Any:
    open_id = await request.session.aget(BOUND_TO)
    if not _is_over(request, open_id):
        user = await given()
        _end_without_user(request, open_id, user)
        return user
    request.auser = given
    await django_auth.alogout(request)
    request.auser = _anonymous  # `given` caches the user, also after alogout()
    return AnonymousUser()


async def _anonymous() -> AnonymousUser:
    return AnonymousUser()


def _end_without_user(request: Any, open_id: str | None, user: Any) -> None:
    """End a TikTok session whose Django session has no user any more.

    The user was deactivated without a signal, for example, or changed the password in
    another browser.
    """
    if open_id is not None and not user.is_authenticated:
        end_after_response(request)

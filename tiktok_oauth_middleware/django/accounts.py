"""Django users of TikTok accounts: found, created, connected, signed in and out."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from django.contrib import auth as django_auth
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, models, router, transaction
from django.utils import timezone

from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware._session.cached_session import OPEN_ID, PROFILE, SCOPES
from tiktok_oauth_middleware._web.connecting_login import SignedInUser
from tiktok_oauth_middleware.auth import Login

from . import signals
from .bound_user import BOUND_TO, check_placing
from .models import TikTokAccount, current_accounts
from .project import installation

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.http import FinishedLogin
    from tiktok_oauth_middleware._session.cached_session import CachedSession
    from tiktok_oauth_middleware._web.messages import ProblemCode

_atomic: Any = transaction.atomic  # untyped: a decorator and a context manager
#: How many names are tried for a new user; each has 40 random bits.
_NAME_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a login that TikTok confirmed is refused."""

    #: The code of the error page.
    code: ProblemCode
    #: What to end: the login's session; or that and the record; or both and the
    #: access at TikTok.
    ends: Literal["session", "record", "access"] = "session"


def login_of(cached: CachedSession, finished: FinishedLogin) -> Login:
    """Return the login that has just begun a session.

    Args:
        cached: the session.
        finished: the login.
    """
    open_id: str = cached[OPEN_ID]
    return Login(
        open_id=open_id,
        scopes=split_scopes(cached[SCOPES]),
        user=read_profile(open_id, cached[PROFILE]),
        next=finished.return_to,
        carried=finished.carried,
        is_new=finished.is_new,
    )


# --- finding and making ------------------------------------------------------------


def connect(
    user: Any, login: Login, *, may_make: bool = True
) -> tuple[TikTokAccount | None, bool]:
    """Connect a TikTok account to a user.

    Args:
        user: the Django user.
        login: the login with the account.
        may_make: whether an account that has no user may be connected.

    Returns:
        The account, or None if another user has it; and whether it is new.
    """
    account: Any = _account_of(login.open_id)
    is_new = False
    if account is None and may_make:
        account, is_new = TikTokAccount.objects.get_or_create(
            open_id=login.open_id, defaults={"user": user}
        )
    if (
        account is None
        or account.user_id != user.pk
        or not _record_login(account, login)
    ):
        return None, False
    return account, is_new


def find_or_make(request: Any, login: Login) -> Any:
    """Return the Django user of a TikTok account, or a new one; None if refused."""
    user = _found_or_made(request, login)
    if user is not None:
        user._tiktok_open_id = login.open_id  # for `sign_in`
    return user


def _found_or_made(request: Any, login: Login) -> Any:
    account = _account_of(login.open_id)
    if account is not None:
        return account.user
    options = installation().options
    if options.may_sign_up is not None and not options.may_sign_up(request, login):
        return None
    make = options.make_user or make_user
    try:
        with _atomic(using=router.db_for_write(TikTokAccount)):
            user = make(request, login)
            account = TikTokAccount.objects.create(user=user, open_id=login.open_id)
    except IntegrityError:
        # The same person logged in with two browsers at the same moment.
        account = _account_of(login.open_id)
        if account is None:
            raise
        return account.user
    user._tiktok_created = True
    return user


def _account_of(open_id: str) -> TikTokAccount | None:
    found = current_accounts().select_related("user")
    account: TikTokAccount | None = found.filter(open_id=open_id).first()
    return account


def make_user(_request: Any, _login: Login) -> Any:
    """Return a new Django user with a random name, no email and no usable password.

    Raises:
        ImproperlyConfigured: the user model identifies users by an email address, which
            TikTok does not give.
    """
    model = django_auth.get_user_model()
    field = model._meta.get_field(model.USERNAME_FIELD)
    if isinstance(field, models.EmailField):
        message = (
            f"{model.__name__} identifies users by an email address, which TikTok does"
            ' not give: name a callable in TIKTOK_OAUTH_OPTIONS["make_user"]'
        )
        raise ImproperlyConfigured(message)
    using = router.db_for_write(model)
    for tried in range(_NAME_TRIES):
        name = f"tiktok_{secrets.token_hex(5)}"[: field.max_length]
        user: Any = model(**{model.USERNAME_FIELD: name})
        user.set_unusable_password()
        try:
            with _atomic(using=using):
                user.save(using=using, force_insert=True)
        except IntegrityError:
            if tried == _NAME_TRIES - 1:
                raise
        else:
            return user
    raise AssertionError


def _record_login(account: TikTokAccount, login: Login) -> bool:
    """Note a login in the account's row; False if that was deleted meanwhile."""
    fields = {
        "display_name": (login.user.display_name or "")[:255],
        "scopes": join_scopes(login.scopes),
        "last_login_at": timezone.now(),
        "disconnected_at": None,
    }
    for name, value in fields.items():
        setattr(account, name, value)
    return bool(current_accounts().filter(pk=account.pk).update(**fields))


# --- signing in --------------------------------------------------------------------


def signed_in_user(request: Any) -> SignedInUser | None:
    """Return the user to whom a login in this browser connects its account, if any.

    None if a TikTok login began the Django session: a login with another account then
    signs in that account's user.

    Raises:
        ImproperlyConfigured: AuthenticationMiddleware is not listed before ours.
    """
    check_placing(request)
    if BOUND_TO in request.session or not request.user.is_authenticated:
        return None
    user = request.user
    has_account = current_accounts().filter(user_id=user.pk).exists()
    return SignedInUser(str(user.pk), has_account)


def sign_in(request: Any, login: Login, *, may_connect: bool) -> Refusal | None:
    """Sign the person in to Django, or connect the account of a signed-in user.

    Args:
        request: the callback's request.
        login: the login that TikTok confirmed.
        may_connect: whether the signed-in user chose to connect when the login began.

    Returns:
        The reason for a refusal; None if the person is signed in.
    """
    is_bound = BOUND_TO in request.session
    if request.user.is_authenticated and not is_bound:
        return _connect(request, login, may_connect=may_connect)
    is_known = current_accounts().filter(open_id=login.open_id).exists()
    user: Any = django_auth.authenticate(request, tiktok_login=login)
    if user is None:
        if is_bound:  # the session belongs to the browser's previous account
            django_auth.logout(request)
        return Refusal(code="login_refused", ends="session" if is_known else "access")
    account = current_accounts().filter(open_id=login.open_id, user=user).first()
    is_ours = getattr(user, "_tiktok_open_id", None) == login.open_id
    if account is None and not is_ours and _exists(user):
        message = (
            "another authentication backend accepted tiktok_login, and returned another"
            " user"
        )
        raise ImproperlyConfigured(message)
    if account is None or not _record_login(account, login):  # deleted during the login
        return Refusal(code="login_expired")
    request._tiktok_signs_in = True
    try:
        django_auth.login(request, user)
        request.session[BOUND_TO] = login.open_id
        signals.logged_in.send(
            TikTokAccount,
            request=request,
            user=user,
            account=account,
            created=getattr(user, "_tiktok_created", False),
            login=login,
        )
    except BaseException:
        # Django keeps the session of a response below 500, such as the one that it
        # makes from a receiver's PermissionDenied.
        request.user = AnonymousUser()
        with suppress(Exception):  # the data is gone even if the row stays
            request.session.flush()
        raise
    return None


def _exists(user: Any) -> bool:
    model = type(user)
    found = model._base_manager.using(router.db_for_write(model))
    return bool(found.filter(pk=user.pk).exists())


def _connect(request: Any, login: Login, *, may_connect: bool) -> Refusal | None:
    if not may_connect and _account_of(login.open_id) is None:
        return Refusal(
            code="confirm_connect", ends="record" if login.is_new else "session"
        )
    account, is_new = connect(request.user, login, may_make=may_connect)
    if account is None:
        return Refusal(code="account_taken")
    request._tiktok_connection = _connected_arguments(
        request, account, login, is_new=is_new
    )
    try:
        signals.connected.send(TikTokAccount, **request._tiktok_connection)
    except BaseException:
        release(request)
        raise
    return None


def _connected_arguments(
    request: Any, account: TikTokAccount, login: Login, *, is_new: bool
) -> dict[str, Any]:
    """Return the arguments of the signal ``connected``."""
    return {
        "request": request,
        "user": request.user,
        "account": account,
        "created": is_new,
        "login": login,
    }


def take(request: Any, login: Login) -> bool:
    """Connect an account to the user who is signed in; False if another user has it.

    Args:
        request: the callback's request, which `announce` needs later.
        login: the login with the account.
    """
    account, is_new = connect(request.user, login)
    if account is None:
        return False
    request._tiktok_connection = _connected_arguments(
        request, account, login, is_new=is_new
    )
    return True


def release(request: Any) -> None:
    """Delete the row of an account that was not connected after all, if it is new.

    Nothing is disconnected at TikTok: no tokens are stored, or the login's session ends
    and its record with it.
    """
    if request._tiktok_connection["created"]:
        account = request._tiktok_connection["account"]
        account._tiktok_released = True
        account.delete()


def announce(request: Any) -> None:
    """Send the signal about an account that `take` connected.

    If a receiver raises, Django logs the error, and the account stays connected.
    """
    signals.connected.send_robust(TikTokAccount, **request._tiktok_connection)


def sign_out(request: Any, *, only_bound: bool) -> None:
    """End the browser's Django session.

    Args:
        request: the logout's request.
        only_bound: whether to end only a session that a TikTok login began.
    """
    if not only_bound or BOUND_TO in request.session:
        django_auth.logout(request)

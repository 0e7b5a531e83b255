"""Receivers of Django's own signals, for the TikTok session and the tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import ConfigurationError, TikTokOAuthError


def connect() -> None:
    """Connect the receivers; done once, when the apps are ready."""
    from .models import TikTokAccount

    user_logged_out.connect(_logged_out, dispatch_uid="tiktok_oauth.logged_out")
    user_logged_in.connect(_logged_in, dispatch_uid="tiktok_oauth.logged_in")
    post_delete.connect(
        _user_deleted,
        sender=get_user_model(),
        dispatch_uid="tiktok_oauth.user_deleted",
    )
    post_delete.connect(
        _account_deleted, sender=TikTokAccount, dispatch_uid="tiktok_oauth.deleted"
    )


def _logged_out(request: Any = None, **_: Any) -> None:
    """Request that the middleware ends the TikTok session after the response."""
    if request is not None:
        request._tiktok_ends = True


def _logged_in(request: Any = None, user: Any = None, **_: Any) -> None:
    """React to a login without TikTok, such as one with a password.

    If another user's TikTok session is in the browser, it is ended. If the same user
    logs in again in a Django session that TikTok began, that session no longer ends
    with the TikTok session: the latter may have ended already, and the new login would
    end with it.
    """
    from .accounts import BOUND_TO
    from .models import TikTokAccount

    session = getattr(request, "session", None)
    if session is not None and not getattr(request, "_tiktok_signs_in", False):
        session.pop(BOUND_TO, None)
    auth = getattr(request, "tiktok", None)
    if auth is None or auth._cached is None or user is None:
        return
    owners = TikTokAccount.objects.filter(open_id=auth.open_id)
    if owners.exclude(user_id=user.pk).exists():
        request._tiktok_ends = True


def _user_deleted(instance: Any, using: str, **_: Any) -> None:
    """Disconnect a deleted user's accounts, after the transaction is committed."""
    from .project import installation

    try:
        installed = installation()
    except ConfigurationError:  # such a project serves no logins
        return
    if installed.settings.connect_path is None or installed.options.current_user:
        return
    user_id = str(instance.pk)
    transaction.on_commit(partial(_disconnect_all, user_id), using=using)


def _disconnect_all(user_id: str) -> None:
    from .project import installation

    try:
        accounts = installation().tokens.accounts(user_id)
    except TikTokOAuthError as error:
        logger.error("a deleted user's accounts could not be found: %s", error)
        return
    for account in accounts:
        _disconnect(account.open_id)


def _account_deleted(instance: Any, using: str, **_: Any) -> None:
    """Disconnect the app at TikTok, after the transaction is committed."""
    if getattr(instance, "_tiktok_released", False):  # it was not connected
        return
    transaction.on_commit(partial(_disconnect, instance.open_id), using=using)


def _disconnect(open_id: str) -> None:
    from .project import installation

    try:
        installation().tokens.disconnect(open_id)
    except TikTokOAuthError as error:
        logger.error("a deleted user's tokens could not be forgotten: %s", error)

"""Receivers of Django's own signals, for the TikTok session and the tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import ConfigurationError, TikTokOAuthError


def connect_receivers() -> None:
    """Connect the receivers; done once, when the apps are ready."""
    from .models import TikTokAccount

    user_logged_out.connect(_logged_out, dispatch_uid="tiktok_oauth.logged_out")
    user_logged_in.connect(_logged_in, dispatch_uid="tiktok_oauth.logged_in")
    for sender in _with_proxies(get_user_model()):
        post_delete.connect(
            _user_deleted, sender=sender, dispatch_uid="tiktok_oauth.user_deleted"
        )
    for sender in _with_derived(get_user_model()):
        post_save.connect(
            _user_saved, sender=sender, dispatch_uid="tiktok_oauth.user_saved"
        )
    for sender in _with_proxies(TikTokAccount):
        post_delete.connect(
            _account_deleted, sender=sender, dispatch_uid="tiktok_oauth.deleted"
        )


def _with_proxies(model: Any) -> list[Any]:
    """Return a model and its proxies, which send signals of their own."""
    concrete = model._meta.concrete_model
    return [
        each
        for each in _with_derived(concrete)
        if each._meta.concrete_model is concrete
    ]


def _with_derived(model: Any) -> list[Any]:
    """Return a model and those derived from it; saving one sends only its signal."""
    return [each for each in apps.get_models() if issubclass(each, model)]


def _logged_out(request: Any = None, **_: Any) -> None:
    """Request that the middleware ends the TikTok session after the response."""
    end_after_response(request)


def end_after_response(request: Any) -> None:
    """Mark the `TikTokAuth`: `request` may be a wrapper, as REST framework's is."""
    from .middleware import RequestAuth

    auth = getattr(request, "tiktok", None)
    if isinstance(auth, RequestAuth):
        auth.end_after_response()


def _logged_in(request: Any = None, user: Any = None, **_: Any) -> None:
    """React to a login without TikTok, such as one with a password.

    If another user's TikTok session is in the browser, it is ended. If the same user
    logs in again in a Django session that TikTok began, that session no longer ends
    with the TikTok session: the latter may have ended already, and the new login would
    end with it.
    """
    from .bound_user import BOUND_TO
    from .models import current_accounts

    session = getattr(request, "session", None)
    if session is not None and not getattr(request, "_tiktok_signs_in", False):
        session.pop(BOUND_TO, None)
    auth = getattr(request, "tiktok", None)
    if auth is None or auth._cached is None or user is None:
        return
    owners = current_accounts().filter(open_id=auth.open_id)
    if owners.exclude(user_id=user.pk).exists():
        end_after_response(request)


def _user_saved(
    instance: Any, using: str, *, created: bool, raw: bool, **_: Any
) -> None:
    """End the TikTok sessions of a user who was deactivated, as Django ends its own."""
    from .local_accounts import backend_path

    is_active = created or raw or getattr(instance, "is_active", True)
    if not is_active and backend_path() is not None:
        # A derived model may have a primary key of its own.
        user_key = getattr(instance, get_user_model()._meta.pk.attname)
        transaction.on_commit(partial(_end_sessions, user_key), using=using)


def _end_sessions(user_key: Any) -> None:
    """End all TikTok sessions of a user; the tokens stay for jobs where they may."""
    from .models import current_accounts
    from .project import installation

    for account in current_accounts().filter(user_id=user_key):
        try:
            installation().tokens.end_other_sessions(account.open_id, "")
        except TikTokOAuthError as error:
            logger.error("a deactivated user's sessions were not ended: %s", error)


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
        _disconnect_deleted(account.open_id)


def _account_deleted(instance: Any, using: str, **_: Any) -> None:
    """Disconnect the app at TikTok, after the transaction is committed."""
    if getattr(instance, "_tiktok_released", False):  # it was not connected
        return
    transaction.on_commit(partial(_disconnect_deleted, instance.open_id), using=using)


def _disconnect_deleted(open_id: str) -> None:
    from .project import installation

    try:
        installation().tokens.disconnect(open_id)
    except TikTokOAuthError as error:
        logger.error("a deleted user's tokens could not be forgotten: %s", error)

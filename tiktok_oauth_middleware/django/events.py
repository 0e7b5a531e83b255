"""Handling of the package's events: accounts and Django signals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.apps import apps
from django.utils import timezone

from tiktok_oauth_middleware._oauth.scopes import join_scopes

if TYPE_CHECKING:
    from tiktok_oauth_middleware.events import Event

_ENDINGS = ("disconnect", "withdrawal", "session_ended")


class DjangoEvents:
    """The ``on_event`` of every core of a project."""

    def __init__(self, on_event: Callable[[Event], object] | None) -> None:
        self._on_event = on_event

    def __call__(self, event: Event) -> Awaitable[None] | None:
        """Handle an event; under ASGI in the thread of Django's database."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._handle(event)
            return None
        return sync_to_async(self._handle, thread_sensitive=True)(event)

    def _handle(self, event: Event) -> None:
        if apps.is_installed("tiktok_oauth_middleware.django"):
            _update_account(event)
        if self._on_event is not None:
            self._on_event(event)


def _update_account(event: Event) -> None:
    """Update the account for an event, and send the event's signal."""
    from . import signals
    from .models import TikTokAccount, current_accounts

    if event.name not in (*_ENDINGS, "scopes_changed") or event.open_id is None:
        return
    found = current_accounts().filter(open_id=event.open_id)
    if event.name == "scopes_changed":
        found.update(scopes=join_scopes(event.scopes))
        return
    found.update(disconnected_at=timezone.now())
    signal = {"disconnect": signals.disconnected, "withdrawal": signals.withdrawn}.get(
        event.name
    )
    if signal is not None:
        account = found.select_related("user").first()
        signal.send(
            TikTokAccount,
            open_id=event.open_id,
            account=account,
            user=account.user if account is not None else None,
        )

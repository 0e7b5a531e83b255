"""The Django app: its label, its checks and its signals' receivers."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.translation import pgettext_lazy


class TikTokConfig(AppConfig):
    """Django's description of the app."""

    name = "tiktok_oauth_middleware.django"
    label = "tiktok_oauth"
    # Translators: the app, above its tables
    verbose_name: Any = pgettext_lazy("TikTok", "TikTok login")
    default_auto_field: Any = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and connect the receivers."""
        from . import checks, receivers

        checks.register_checks()
        receivers.connect_receivers()

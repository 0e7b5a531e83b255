"""The Django app: its label, its checks and its signals' receivers."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class TikTokConfig(AppConfig):
    """Django's description of the app."""

    name = "tiktok_oauth_middleware.django"
    label = "tiktok_oauth"
    verbose_name = "TikTok login"
    default_auto_field: Any = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and connect the receivers."""
        from . import checks, receivers

        checks.register_checks()
        receivers.connect()

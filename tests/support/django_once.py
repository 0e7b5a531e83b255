"""Django's settings, which a process can make only once."""

from __future__ import annotations

import django
from django.conf import settings


def configure() -> None:
    """Set Django up; a module says which addresses it has with `override_settings`."""
    if not settings.configured:
        hosts = ["app.example.com", "testserver"]
        apps = ["django.contrib.contenttypes", "django.contrib.auth"]
        settings.configure(
            ALLOWED_HOSTS=hosts,
            INSTALLED_APPS=apps,
            LOGGING_CONFIG=None,
            SECRET_KEY="not a secret, but long enough for signing",
        )
        django.setup()

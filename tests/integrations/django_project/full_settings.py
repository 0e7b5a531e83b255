"""The example's settings, with all of Django's that answer or watch requests."""

from __future__ import annotations

from pathlib import Path

from examples.django_app.settings import *  # noqa: F403 - as Django's settings are shared
from examples.django_app.settings import INSTALLED_APPS, MIDDLEWARE, TEMPLATES

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "debug_toolbar",
    "django.contrib.flatpages",
    "django.contrib.redirects",
    "django.contrib.sites",
]
MIDDLEWARE = [
    "django.middleware.cache.UpdateCacheMiddleware",
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    *MIDDLEWARE,
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
    "django.contrib.redirects.middleware.RedirectFallbackMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]
TEMPLATES[0]["DIRS"].append(Path(__file__).parent / "templates")
SITE_ID = 1
INTERNAL_IPS = ["127.0.0.1"]
ROOT_URLCONF = "tests.integrations.django_project.full_settings"


def __getattr__(name: str) -> object:
    """Return the addresses, which are loaded when the settings are there."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from debug_toolbar.toolbar import debug_toolbar_urls

    from examples.django_app.urls import urlpatterns

    return [*urlpatterns, *debug_toolbar_urls()]

"""Django's settings, which a process can make only once."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.db import connections


def configure() -> None:
    """Set Django up; a module says which addresses it has with `override_settings`.

    The database is a file: what is tested runs in several threads.
    """
    if settings.configured:
        return
    home = Path(tempfile.mkdtemp(prefix="django-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    contrib = ("admin", "auth", "contenttypes", "sessions", "messages")
    settings.configure(
        ALLOWED_HOSTS=["app.example.com", "testserver"],
        CSRF_TRUSTED_ORIGINS=["https://app.example.com"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": home / "default.sqlite3",
                # As a transaction that reads before it writes needs it.
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30},
            },
            "other": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": home / "other.sqlite3",
                "OPTIONS": {"timeout": 30},
            },
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            *(f"django.contrib.{name}" for name in contrib),
            "tiktok_oauth_middleware.django",
            *_allauth("", ".account", ".socialaccount"),
        ],
        # allauth looks for its own when it is set up; the tests have theirs.
        MIDDLEWARE=_allauth(".account.middleware.AccountMiddleware"),
        LOGGING_CONFIG=None,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="tests.support.django_once",
        SECRET_KEY="not a secret, but long enough for signing",
        STATIC_URL="static/",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        USE_TZ=True,
    )
    django.setup()
    settings.MIDDLEWARE = []


def move_databases(folder: Path) -> None:
    """Use other files from now on. Nothing may have been written yet."""
    for alias in connections:
        connections.settings[alias]["NAME"] = folder / f"{alias}.sqlite3"


def _allauth(*names: str) -> list[str]:
    """Return parts of django-allauth, where it is installed."""
    is_there = importlib.util.find_spec("allauth") is not None
    return [f"allauth{name}" for name in names] if is_there else []


urlpatterns: list[object] = []

"""The project's settings; those of the login are TIKTOK_ variables."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent

SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
DEBUG = os.environ.get("DJANGO_DEBUG") == "true"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "tiktok_oauth_middleware.django",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tiktok_oauth_middleware.django.TikTokMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",  # administrators' passwords
    "tiktok_oauth_middleware.django.TikTokBackend",
]
LOGIN_URL = "/auth/tiktok/login"

ROOT_URLCONF = "examples.django_app.urls"
WSGI_APPLICATION = "examples.django_app.wsgi.application"
ASGI_APPLICATION = "examples.django_app.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # The second has the style sheet that the examples share.
        "DIRS": [HERE / "templates", HERE.parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_DATABASE", HERE / "db.sqlite3"),
        # In this mode readers and the writer do not wait for each other. PyPy would
        # leave the statement open, so that no migration could commit.
        "OPTIONS": {}
        if sys.implementation.name == "pypy"
        else {"init_command": "PRAGMA journal_mode=WAL;"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"


def without_queries(record: logging.LogRecord) -> bool:
    """Remove the query from an access log line, since the callback's has a code."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            re.sub(r"\?\S*", "", part) if isinstance(part, str) else part
            for part in record.args
        )
    return True


for _name in ("django.server", "uvicorn.access"):
    logging.getLogger(_name).addFilter(without_queries)
USE_TZ = True
TIME_ZONE = "UTC"

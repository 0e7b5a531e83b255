"""DjangoStore for the figures: a project on the PostgreSQL that a figure starts."""

from __future__ import annotations

import os
from typing import Any


def set_up(url: str) -> None:
    """Set Django up, in this process, with the database that a store's URL names.

    Its alias contains the port, so that another process can find the database.
    """
    import django
    from django.conf import settings
    from django.db import connections

    if not settings.configured:
        contrib = ("auth", "contenttypes")
        settings.configure(
            DATABASES={
                "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
            },
            INSTALLED_APPS=[
                *(f"django.contrib.{name}" for name in contrib),
                "tiktok_oauth_middleware.django",
            ],
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            LOGGING_CONFIG=None,
            SECRET_KEY="not a secret, but long enough for signing",
            USE_TZ=True,
        )
        django.setup()
        # A forked process must not use its parent's connections.
        os.register_at_fork(before=connections.close_all)
    alias = url.removeprefix("django://")
    if alias in connections.settings:
        return
    database: dict[str, Any] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "tests",
        "HOST": "127.0.0.1",
        "PORT": int(alias.removeprefix("port")),
    }
    connections.settings[alias] = database


def prepare(port: int) -> str:
    """Make the tables of a database at this port; return the store's URL."""
    url = f"django://port{port}"
    set_up(url)
    from django.core.management import call_command

    call_command("migrate", database=f"port{port}", verbosity=0)
    return url

"""Serve the example with Django's own server: ``python -m examples.django_app``."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from ..stand_in import settings_in_environment


def main() -> int:
    """Create a database for this run, and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.django_app")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    with settings_in_environment(given.port), tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "examples.django_app.settings",
            "DJANGO_DATABASE": str(Path(folder) / "db.sqlite3"),
            "TIKTOK_STORE": "django://default",
        }
        os.environ.setdefault("DJANGO_SECRET_KEY", secrets.token_urlsafe(50))
        os.environ.setdefault("DJANGO_DEBUG", "true")
        serve(given.port)
    return 0


def serve(port: int) -> None:
    """Create the tables and a user for the admin, and serve."""
    import django
    from django.core.management import call_command

    django.setup()
    from django.contrib.auth import get_user_model

    call_command("migrate", verbosity=0)
    password = secrets.token_urlsafe(9)
    get_user_model().objects.create_superuser("admin", password=password)
    print(f"The admin is on /admin/: admin, with the password {password}", flush=True)
    call_command("runserver", f"127.0.0.1:{port}", use_reloader=False)


def stop(*_: object) -> NoReturn:
    """End as at Ctrl-C, so that the database of this run is deleted."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

"""A project with a user model of its own, whose primary key is a UUID."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("django", reason="django is not installed")

MODELS = """
import uuid
from django.contrib.auth.models import AbstractUser
from django.db import models

class Member(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

class Staff(Member):
    class Meta:
        proxy = True

class Customer(Member):
    number = models.CharField(max_length=9, primary_key=True)
    member = models.OneToOneField(Member, models.CASCADE, parent_link=True)
"""
SETTINGS = """
from pathlib import Path

HERE = Path(__file__).parent
ALLOWED_HOSTS = ["app.example.com"]
AUTH_USER_MODEL = "people.Member"
AUTHENTICATION_BACKENDS = ["tiktok_oauth_middleware.django.TikTokBackend"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "db.sqlite3"}
}
INSTALLED_APPS = [
    *(f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions")),
    "people",
    "tiktok_oauth_middleware.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tiktok_oauth_middleware.django.TikTokMiddleware",
]
ROOT_URLCONF = "urls"
SECRET_KEY = "not a secret, but long enough for signing"
USE_TZ = True

import secrets
from tiktok_oauth_middleware.testing import FakeTikTok

from tiktok_oauth_middleware import TikTokSettings

TIKTOK_OAUTH = TikTokSettings(
    client_key="awexampleclientkey",
    client_secret="the-client-secret-of-tests",
    redirect_uri="https://app.example.com/auth/tiktok/callback",
    secret_keys=[secrets.token_urlsafe(32)],
    connect_path="/auth/tiktok/connect",
)
FAKE = FakeTikTok.for_settings(TIKTOK_OAUTH)
TIKTOK_OAUTH_OPTIONS = {"transport": FAKE.transport}
"""
URLS = """
from django.http import JsonResponse
from django.urls import path

def who(request):
    return JsonResponse({"pk": str(request.user.pk), "open_id": request.tiktok.open_id})

urlpatterns = [path("who", who)]
"""
RUN = """
import os, sys, time, uuid
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from tiktok_oauth_middleware.django import installation
from tiktok_oauth_middleware.django.models import TikTokAccount
from people.models import Customer, Staff

call_command("makemigrations", "people", verbosity=0)
call_command("migrate", verbosity=0)
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
fake, person = settings.FAKE, settings.FAKE.people[0]

def log_in():
    client = Client(SERVER_NAME="app.example.com", headers={"sec-fetch-mode": "navigate"})
    there = client.get("/auth/tiktok/login", secure=True)["location"]
    back = fake.consent(there).removeprefix("https://app.example.com")
    assert client.get(back, secure=True).status_code == 303
    return client, client.get("/who", secure=True).json()

client, seen = log_in()
user = get_user_model().objects.get()
assert isinstance(user.pk, uuid.UUID)
assert seen == {"pk": str(user.pk), "open_id": person.open_id}
assert log_in()[1] == seen
account = TikTokAccount.objects.get()
assert (account.user_id, account.open_id) == (user.pk, person.open_id)
connect = client.post(
    "/auth/tiktok/connect",
    secure=True,
    headers={"origin": "https://app.example.com", "sec-fetch-mode": "navigate"},
)
back = fake.consent(connect["location"]).removeprefix("https://app.example.com")
assert client.get(back, secure=True).status_code == 303
customer = Customer(member=user, number="7")
customer.save_base(raw=True)  # a model that derives from the user's
assert client.get("/who", secure=True).json() == seen
customer.delete(keep_parents=True)
assert client.get("/who", secure=True).json() == seen
customer.save_base(raw=True)
customer = Customer.objects.get()
customer.is_active = False
customer.save()
time.sleep(1.1)  # as long as a process trusts a session in its memory
assert client.get("/who", secure=True).json() == {"pk": "None", "open_id": None}
customer.is_active = True
customer.save()
client, _ = log_in()
TikTokAccount.objects.all()._raw_delete("default")  # without a signal
accounts = installation().tokens.accounts(str(user.pk))
assert [each.open_id for each in accounts] == [person.open_id]
Staff.objects.get().delete()  # a proxy, which sends signals of its own
assert not installation().tokens.accounts(str(user.pk))
assert not TikTokAccount.objects.exists()
assert client.get("/who", secure=True).json() == {"pk": "None", "open_id": None}
print("fine")
"""


def test_a_custom_user_model(tmp_path: Path) -> None:
    """Migrations, login, a second login and deletion work with a user of any key."""
    (tmp_path / "people" / "migrations").mkdir(parents=True)
    files = {
        "people/__init__.py": "",
        "people/migrations/__init__.py": "",
        "people/models.py": MODELS,
        "settings.py": SETTINGS,
        "urls.py": URLS,
        "run.py": RUN,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr

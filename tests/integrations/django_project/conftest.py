"""A Django project with the middleware in MIDDLEWARE, under WSGI and ASGI."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="django is not installed")

import httpx2
from django.apps import apps
from django.core.cache import cache
from django.core.management import call_command
from django.test import override_settings

from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ...conftest import API, ORIGIN, PAGE, SAME_ORIGIN, make_settings
from ...support.asgi_client import AppClient
from ...support.django_once import configure
from ...support.forked import WORKER

configure()

SECURITY = "django.middleware.security.SecurityMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
OURS = "tiktok_oauth_middleware.django.TikTokMiddleware"
FRAMES = "django.middleware.clickjacking.XFrameOptionsMiddleware"
USUAL = [SECURITY, SESSION, COMMON, CSRF, AUTH, MESSAGES, OURS, FRAMES]
BACKEND = "tiktok_oauth_middleware.django.TikTokBackend"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the tables of both databases, once for all processes of a run."""
    from django.db import connections

    common = tmp_path_factory.getbasetemp()
    if WORKER in os.environ:
        common = common.parent
    with (common / "migrated").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        made.seek(0)
        is_first = not made.read()
        for alias in ("default", "other"):
            path = Path(connections[alias].settings_dict["NAME"])
            if is_first:
                call_command("migrate", database=alias, verbosity=0)
            connections[alias].close()
            if is_first:
                shutil.copy(path, common / f"migrated-{alias}")
            else:
                shutil.copy(common / f"migrated-{alias}", path)
        made.write("yes")


@pytest.fixture
def database(migrated: None) -> Any:
    """Delete the rows of a test after it."""
    yield
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.models import Session
    from django.db import connections, transaction

    from tiktok_oauth_middleware.django.models import StoredRow, TikTokAccount

    users = get_user_model().objects.all()
    with transaction.atomic():
        # Without the signals of a deletion, which would disconnect at TikTok.
        for model in (TikTokAccount, Session, StoredRow):
            rows = model.objects.all()
            rows._raw_delete(rows.db)
        if users.exists():  # their deletion looks at all tables that refer to them
            users.delete()
    rows = StoredRow.objects.using("other")
    rows._raw_delete(rows.db)
    connections.close_all()


@dataclass
class Project:
    """A project whose settings a test changes, served by one handler."""

    interface: str
    request: Any
    fake: FakeTikTok
    options: dict[str, Any] = field(default_factory=dict)
    application: Any = None

    def set(self, **changed: Any) -> None:
        """Change settings of Django, and serve the project again."""
        context = override_settings(**changed)
        context.enable()
        self.request.addfinalizer(context.disable)
        self.application = None

    def configure(self, **options: Any) -> None:
        """Change options of TIKTOK_OAUTH, and serve the project again."""
        self.options |= options
        self.set(TIKTOK_OAUTH=dict(self.options))

    def app(self) -> Any:
        """Return the application, as a server has it."""
        if self.application is None:
            if self.interface == "wsgi":
                from django.core.wsgi import get_wsgi_application as get
            else:
                from django.core.asgi import get_asgi_application as get
            self.application = get()
        return self.application

    def browser(self, **options: Any) -> Browser:
        """Return another browser."""
        if self.interface == "wsgi":
            transport = httpx2.WSGITransport(self.app(), **options)
            return Browser(httpx2.Client(transport=transport, base_url=ORIGIN), self)
        options = {"root_path": options.get("script_name", "")}
        return Browser(AppClient(self.app(), base_url=ORIGIN, **options), self)


@dataclass
class Browser:
    """One browser: a client with cookies of its own, which follows no redirects."""

    client: Any
    project: Project

    def get(self, url: str, headers: Any = PAGE, **options: Any) -> Any:
        return self.client.get(url, headers=headers, follow_redirects=False, **options)

    def api(self, url: str, **options: Any) -> Any:
        return self.get(url, headers=API, **options)

    def post(self, url: str, headers: Any = None, **options: Any) -> Any:
        headers = {**SAME_ORIGIN, "referer": f"{ORIGIN}/", **(headers or {})}
        return self.client.post(url, headers=headers, follow_redirects=False, **options)

    def log_in(self, person: Any = None, **choice: Any) -> Any:
        return login_as(self.client, self.project.fake, person, **choice)

    def log_out(self) -> Any:
        answer = self.post("/auth/tiktok/logout")
        assert answer.status_code == 303, answer.text[:500]
        return answer


@pytest.fixture(params=["wsgi", "asgi"])
def interface(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def project(request: pytest.FixtureRequest, interface: str, database: None) -> Project:
    """Return a project with the usual MIDDLEWARE and no accounts."""
    settings = make_settings()
    fake = FakeTikTok.for_settings(settings)
    cache.clear()
    made = Project(interface, request, fake)
    made.set(
        ROOT_URLCONF="tests.integrations.django_project.urls",
        MIDDLEWARE=USUAL,
        TIKTOK_OAUTH_OPTIONS={"transport": fake.transport, "clock": fake.clock},
    )
    made.configure(
        client_key=settings.client_key,
        client_secret=settings.client_secret.reveal(),
        redirect_uri=settings.redirect_uri,
        secret_keys=[key.reveal() for key in settings.secret_keys],
        scopes=list(settings.scopes),
        optional_scopes=list(settings.optional_scopes),
        disconnect_path="/auth/tiktok/disconnect",
        webhook_path="/auth/tiktok/webhook",
    )
    return made


@pytest.fixture
def accounts(project: Project) -> Project:
    """Return the project with Django users for TikTok accounts."""
    project.set(AUTHENTICATION_BACKENDS=[MODEL_BACKEND, BACKEND])
    assert apps.is_installed("tiktok_oauth_middleware.django")
    return project


def django_browser(accounts: Project, name: str = "alice") -> tuple[Browser, Any]:
    """Return a browser that is signed in to Django with a password, and its user."""
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.create_user(name, password="password")
    browser = accounts.browser()
    assert browser.get(f"/django-login?name={name}").text == "logged in"
    return browser, user

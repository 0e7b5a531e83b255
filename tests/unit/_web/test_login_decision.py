"""The app's decision about a login, without a login around it."""

from __future__ import annotations

import logging

import pytest

from tiktok_oauth_middleware import ConfigurationError, Login, LoginRefused, User
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._web.login_decision import (
    LoginDecision,
    RefusedByApp,
    UndecidedByApp,
)
from tiktok_oauth_middleware._web.mount import MountPoint

LOGIN = Login(open_id="someone", scopes=frozenset(), user=User(open_id="someone"))


@pytest.fixture
def mount_point():
    return MountPoint(
        mount="",
        routes={"/login": "login", "/logout": "logout", "/callback": "callback"},
        allowed_scopes=frozenset(),
        clock=lambda: 0.0,
        origin="https://app.example.com",
    )


def ask(on_login, mount_point, seconds=60.0):
    decision = LoginDecision(
        on_login=on_login, backend=ThreadBackend(), seconds=seconds
    )
    return run(decision.ask(LOGIN, mount_point))


@pytest.mark.parametrize(("seconds", "warns"), [(0.0, True), (60.0, False)])
def test_late_under_wsgi(mount_point, caplog, seconds, warns):
    """Under WSGI a late answer counts, and a warning says that it was late."""
    caplog.set_level(logging.WARNING)
    assert ask(lambda login: "/x", mount_point, seconds) == "/x"
    assert ("on_login took" in caplog.text) is warns


def test_coroutine_under_wsgi(mount_point):
    """A coroutine from a plain function refuses the login, and is not left unawaited."""

    async def decide():
        """Decide."""

    with pytest.raises(UndecidedByApp, match="returned a coroutine"):
        ask(lambda login: decide(), mount_point)


def test_refusal(mount_point):
    """A refusal keeps its text, cut at 2,000 characters, and what it asks for."""

    def on_login(login):
        raise LoginRefused(3000 * "y", revoke=True)

    with pytest.raises(RefusedByApp) as caught:
        ask(on_login, mount_point)
    assert caught.value.text == 2000 * "y"
    assert caught.value.revoke is True
    assert caught.value.login is LOGIN
    assert caught.value.__context__ is None


def test_async(mount_point):
    """An ``async def`` is refused under WSGI alone."""

    async def on_login(login):
        """Decide."""

    LoginDecision(on_login=on_login, backend=AsyncBackend(), seconds=1.0)
    with pytest.raises(ConfigurationError, match="plain function"):
        LoginDecision(on_login=on_login, backend=ThreadBackend(), seconds=1.0)

"""Requests that cause every event, and a store that fails when a test says so."""

from __future__ import annotations

from typing import get_args

from tiktok_oauth_middleware import (
    MemoryStore,
    StoreError,
)
from tiktok_oauth_middleware.events import EventName

from ..conftest import API
from .app_users import connect, connecting, sign_in
from .deliveries import deliver

#: Life of an access token, in seconds: the stand-in's default.
LIFE = 7200
DISCONNECT = "/disconnect"
#: The names in the docstring of `Event`.
NAMES = set(get_args(EventName))


class Breakable(MemoryStore):
    """A store that fails on demand."""

    is_broken = False

    def get(self, key):
        if self.is_broken:
            raise StoreError("broken by the test")
        return super().get(key)


def everything(world, browser=None):
    """Make requests that cause every event; return the browsers."""
    tiktok = world.tiktok
    browser, other = browser or world.browser(), world.browser()
    browser.log_in(deny=True)
    callback = browser.consent(browser.begin())
    assert other.get(callback).status_code == 400
    cookies = browser.cookies()
    assert browser.get(callback).status_code == 303
    world.clock.advance(61)
    assert world.browser(**cookies).get(callback).status_code == 400
    assert browser.signed_in
    tiktok.fail("token", error="server_error")
    world.clock.advance(LIFE)
    assert browser.signed_in
    tiktok.change = lambda answer: answer.update(scope="user.info.basic")
    world.clock.advance(100)
    assert browser.me()["token"]
    tiktok.change = None
    world.store.is_broken = True
    world.clock.advance(2)
    assert browser.get("/who", headers=API).status_code == 503
    assert browser.get("/private").status_code == 503
    world.store.is_broken = False
    assert browser.get("/videos").status_code == 303
    assert browser.log_in("?scopes=user.info.stats&next=//evil").status_code == 303
    assert browser.get("/upload", headers=API).status_code == 403
    assert browser.log_out().status_code == 303
    other.log_in()
    tiktok.fail("revoke", status=500)
    assert other.post(DISCONNECT).status_code == 502
    other.log_in()
    tiktok.fail("token", error="invalid_grant")
    world.clock.advance(LIFE)
    assert not other.signed_in
    other.log_in()
    open_id = tiktok.people[0].open_id
    assert deliver(world, "authorization.removed", open_id).status_code == 200
    assert deliver(world, "video.upload.failed", open_id).status_code == 200
    bad = {"tiktok-signature": "t=1,s=2"}
    assert deliver(world, "video.upload.failed", open_id, **bad).status_code == 401
    user = connecting(world).browser()
    sign_in(user, "user-1")
    assert connect(user, deny=True).status_code == 403
    assert connect(user).status_code == 303
    return browser, other

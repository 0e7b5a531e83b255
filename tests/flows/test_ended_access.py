"""A login or connection is written after the user's access at TikTok ended.

The code was exchanged before that, so the tokens are dead: they must not stay until the
next refresh.
"""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import StoreError, TikTokTokens
from tiktok_oauth_middleware._session.endings import Endings

from ..conftest import kept, make_settings
from ..support.app_users import connect, connecting, sign_in
from .test_webhooks import HOOK, deliver


@pytest.fixture
def settings():
    return make_settings(webhook_path=HOOK, keep_grants=True)


@pytest.fixture
def tokens(world):
    """Return another process of the app."""
    made = TikTokTokens(
        world.settings, world.store, transport=world.tiktok.transport, clock=world.clock
    )
    yield made
    made.close()


@pytest.fixture
def meanwhile(world):
    """Return what has something happen once, after the exchange and before the write."""
    handle = world.tiktok.handle

    def arrange(happen):
        def listen(method, url, headers, body):
            reply = handle(method, url, headers, body)
            if "/user/info/" in url:
                world.tiktok.handle = handle
                happen()
            return reply

        world.tiktok.handle = listen

    return arrange


def ends(world, tokens, how):
    """Return what ends the first person's access at TikTok."""

    def end():
        open_id = world.tiktok.people[0].open_id
        if how == "disconnect":
            tokens.disconnect(open_id)
        else:
            headers, body = world.tiktok.disconnect()
            assert deliver(world, body, dict(headers)) == 200

    return end


@pytest.mark.parametrize("how", ["disconnect", "withdrawal"])
def test_login(world, tokens, meanwhile, how):
    """The login ends on a page, with no session and no record."""
    world.browser().log_in()
    browser = world.browser()
    callback = browser.consent(browser.begin())
    meanwhile(ends(world, tokens, how))
    response = browser.get(callback)
    assert response.status_code == 400
    assert not browser.signed_in
    assert kept(world) is None
    browser.log_in()
    assert browser.signed_in


@pytest.mark.parametrize("how", ["disconnect", "withdrawal"])
def test_connect(world, tokens, meanwhile, how):
    """Nothing is connected, and a second attempt connects."""
    world.browser().log_in()
    site = connecting(world)
    browser = site.browser()
    sign_in(browser, "user-1")
    meanwhile(ends(world, tokens, how))
    assert connect(browser).status_code == 400
    assert tokens.accounts("user-1") == []
    assert kept(world) is None
    assert connect(browser).status_code == 303
    assert len(tokens.accounts("user-1")) == 1


@pytest.mark.parametrize("how", ["disconnect", "withdrawal"])
def test_before(world, tokens, how):
    """A login in the second after an end goes on: TikTok says that its token works."""
    world.browser().log_in()
    ends(world, tokens, how)()
    browser = world.browser()
    browser.log_in()
    assert browser.signed_in
    assert kept(world) is not None


def test_end_that_is_under_way(world, monkeypatch):
    """While another process is asking TikTok to end the access, no login ends here."""
    world.browser().log_in()
    open_id = world.tiktok.people[0].open_id

    async def since(self, name, began_at):
        return "yes"

    monkeypatch.setattr(Endings, "_since", since)
    browser = world.browser()
    assert browser.log_in().status_code == 400
    assert kept(world, open_id) is None


def test_note_of_an_end_that_is_under_way(world, tokens, meanwhile, monkeypatch):
    """The note is written before TikTok is asked, so that nothing falls in between."""
    world.browser().log_in()
    seen = []
    note = Endings.note

    async def watch(self, name, *, is_begun=False):
        await note(self, name, is_begun=is_begun)
        seen.append((is_begun, kept(world) is not None, world.tiktok.count("revoke")))

    monkeypatch.setattr(Endings, "note", watch)
    tokens.disconnect(world.tiktok.people[0].open_id)
    assert seen == [(True, True, 0), (False, False, 1)]


def test_store_that_fails(world, monkeypatch, caplog):
    """If the note cannot be read the login stands, and the next refresh decides."""

    async def fail(self, name):
        message = "the store is down"
        raise StoreError(message)

    browser = world.browser()
    callback = browser.consent(browser.begin())
    monkeypatch.setattr(
        "tiktok_oauth_middleware._session.endings.ended_note", lambda name: "ended-x"
    )
    from tiktok_oauth_middleware._session.records import Records

    read = Records.read_note

    async def reading(self, name):
        return await (fail(self, name) if name == "ended-x" else read(self, name))

    monkeypatch.setattr(Records, "read_note", reading)
    assert browser.get(callback).status_code == 303
    assert "an end of access could not be read" in caplog.text

"""Deletions that took place although the store's answer was lost.

A store on a network repeats a deletion whose answer was lost. The second one finds no
row, so it may report that nothing was deleted (`RedisStore` says so), or it fails too.
"""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError

from ..conftest import kept
from ..support.deliveries import HOOK, deliver_body, withdrawal

DISCONNECT = "/auth/tiktok/disconnect"


class LosesAnswers(MemoryStore):
    """A store that loses the answers to deletions of records while `loses` is set."""

    loses = ""

    def compare_and_set(self, key, old, new, ttl):
        swapped = super().compare_and_set(key, old, new, ttl)
        if swapped and new is None and ":grant:" in key and self.loses:
            if self.loses == "twice":
                message = "the answers were lost"
                raise StoreError(message)
            return False
        return swapped


@pytest.fixture
def store(clock):
    return LosesAnswers(clock=clock)


@pytest.fixture(params=["once", "twice"])
def loses(request, store):
    def begin():
        store.loses = request.param

    return begin


@pytest.fixture
def world(world):
    return world.with_settings(webhook_path=HOOK, disconnect_path=DISCONNECT)


def test_disconnect(browser, world, loses):
    """The access ends at TikTok, since nothing is left to end it with later."""
    browser.log_in()
    loses()
    assert browser.post(DISCONNECT).status_code == 303
    assert world.tiktok.count("revoke") == 1
    [event] = world.reported("disconnect")
    assert event.reason == "revoked"
    assert kept(world) is None


def test_withdrawal(browser, world, loses):
    """The app learns of it: TikTok does not deliver it again."""
    browser.log_in()
    person = world.tiktok.people[0].open_id
    world.clock.advance(3600)
    loses()
    assert deliver_body(world, withdrawal(world, person)) == 200
    assert len(world.reported("withdrawal")) == 1

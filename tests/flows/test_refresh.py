"""Token refresh in requests, and failures of TikTok."""

from __future__ import annotations

import sys
from email.utils import formatdate

import pytest

from tiktok_oauth_middleware._observe.metrics import meter
from tiktok_oauth_middleware._session import service

SESSION = "__Host-tiktok"


class TestWhenDue:
    def test_not_yet(self, signed_in, world):
        """A token that is valid for longer than the leeway is not refreshed."""
        before = signed_in.me()["token"]
        world.clock.advance(7200 - 331)
        assert signed_in.me()["token"] == before
        assert world.count("refresh_token") == 0

    def test_due(self, signed_in, world):
        """A token close to its end is renewed before it ends."""
        before = signed_in.me()["token"]
        for _ in range(3):
            world.clock.advance(2000)
            assert signed_in.me()["token"] == before
        world.clock.advance(1200 - 290)
        after = signed_in.me()
        assert after["token"] != before
        assert after["expires_at"] == world.clock() + 7200
        assert world.count("refresh_token") == 1
        assert signed_in.me()["token"] == after["token"]
        assert world.count("refresh_token") == 1

    def test_a_day(self, world):
        """A token that lives a day is not refreshed earlier: lifetimes are read, not
        assumed.
        """
        world.tiktok.access_lifetime = 86400
        browser = world.browser()
        browser.log_in()
        assert browser.me()["expires_at"] == world.clock() + 86400
        for _ in range(3):
            world.clock.advance(7 * 3600)
            browser.me()
        assert world.count("refresh_token") == 0
        world.clock.advance(3 * 3600 - 290)
        assert browser.me()["expires_at"] == world.clock() + 86400
        assert world.count("refresh_token") == 1

    def test_short_life(self, world):
        """A lifetime shorter than the leeway does not cause a loop of refreshes."""
        world.tiktok.access_lifetime = 60
        browser = world.browser()
        browser.log_in()
        for _ in range(5):
            assert browser.me()["token"]
        assert world.count("refresh_token") == 0

    def test_no_session_longer(self, world):
        """A refresh does not extend the session."""
        signed_in = world.with_settings(session_lifetime=5 * 24 * 3600).browser()
        signed_in.log_in()
        for _ in range(5 * 4):
            world.clock.advance(6 * 3600 - 1)
            signed_in.me()
        assert world.count("refresh_token") >= 4
        world.clock.advance(6 * 3600)
        assert not signed_in.signed_in


class TestFailure:
    @pytest.fixture
    def short(self, world):
        world.tiktok.access_lifetime = 7200
        browser = world.browser()
        browser.log_in()
        return browser

    def test_kept_while_valid(self, short, world):
        """After a failed refresh the old token is used until it expires, and not
        longer.
        """
        before = short.me()["token"]
        world.tiktok.fail("token", times=1000, status=500)
        world.clock.advance(7200 - 100)
        assert short.me()["token"] == before
        world.clock.advance(101)
        me = short.me()
        assert me["signed_in"]
        assert me["token"] is None

    def test_recovers(self, short, world):
        """A session survives an outage of TikTok, and has a token again afterwards."""
        world.tiktok.fail("token", times=3, status=503)
        world.clock.advance(7300)
        for _ in range(40):
            world.clock.advance(30)
            if short.me()["token"]:
                break
        assert short.me()["token"]
        assert world.count("refresh_token") == 4

    def test_backs_off(self, short, world):
        """After a failure there is a back-off, for any number of requests."""
        world.tiktok.fail("token", times=1000, status=500)
        world.clock.advance(7300)
        for _ in range(20):
            short.me()
        assert world.count("refresh_token") == 1
        for _ in range(120):
            world.clock.advance(5)
            short.me()
        assert 8 <= world.count("refresh_token") <= 30

    @pytest.mark.parametrize(
        "fault",
        [
            {"error": "invalid_client"},
            {"error": "unauthorized_client"},
            {"error": "invalid_request"},
            {"error": "server_error"},
            {"error": "something_new"},
            {"status": 500},
            {"status": 429},
            {"body": b"<html>"},
            {"body": b"{}"},
            {"status": 500, "error": "invalid_grant"},
        ],
    )
    def test_transient(self, short, world, fault):
        """Only invalid_grant ends sessions; every other failure keeps them."""
        world.tiktok.fail("token", **fault)
        world.clock.advance(7300)
        assert short.signed_in
        world.clock.advance(120)
        assert short.me()["token"]

    def test_invalid_grant(self, short, world):
        """invalid_grant ends every session of the user."""
        other = world.browser()
        other.log_in()
        world.tiktok.fail("token", error="invalid_grant")
        world.clock.advance(7300)
        assert not short.signed_in
        assert not other.signed_in
        assert [e.reason for e in world.events if e.name == "session_ended"] == [
            "invalid_grant"
        ]

    @pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
    def test_retry_after(self, short, world, as_date):
        """Retry-After is obeyed, in seconds and as a date."""
        world.clock.advance(7300)
        at = formatdate(world.clock() + 200, usegmt=True)
        after = {"Retry-After": at if as_date else "200"}
        world.tiktok.fail("token", status=429, headers=after)
        short.me()
        world.clock.advance(190)
        short.me()
        assert world.count("refresh_token") == 1
        world.clock.advance(20)
        assert short.me()["token"]

    def test_refresh_token_expired(self, world):
        """An expired refresh token is not sent; the session ends."""
        world.tiktok.access_lifetime = 7200
        world.tiktok.refresh_lifetime = 7200
        browser = world.browser()
        browser.log_in()
        world.clock.advance(7201)
        assert not browser.signed_in
        assert world.count("refresh_token") == 0


class TestClocks:
    @pytest.mark.parametrize("jump", [-3600, 3600, 40 * 365 * 86400, -56 * 365 * 86400])
    def test_jumps(self, signed_in, world, jump):
        """A clock that jumps causes no error, and at most one call to TikTok."""
        world.clock.advance(jump)
        for _ in range(5):
            assert signed_in.get("/who").status_code == 200
        assert world.count("refresh_token") <= 1


def test_without_opentelemetry(world, monkeypatch):
    """Without OpenTelemetry's API a user logs in, gets a new token and logs out."""
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    # Not the process's meter, which was found earlier.
    monkeypatch.setattr(service, "meter", meter.__wrapped__)
    browser = world.start().browser()
    browser.log_in()
    before = browser.me()["token"]
    world.clock.advance(7201)
    assert browser.me()["token"] not in {"", before}
    assert world.count("refresh_token") == 1
    browser.log_out()
    assert not browser.signed_in

"""A user's identity and scopes come from TikTok's answer, byte for byte."""

from __future__ import annotations

import json

import pytest

from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.testing.people import Person

from ..conftest import MeddledTikTok, kept
from ..support.deliveries import HOOK, deliver
from ..support.every_event import DISCONNECT, LIFE
from .tiktok_faults import TOKEN

#: Seconds after which a token is due and still valid.
DUE = LIFE - 100
EXPIRED = LIFE + 1


@pytest.fixture(params=["asyncio", "wsgi"])
def interface(request):
    return request.param


def answered(world, **changes):
    """Set fields of the next login's answer; a field whose value is None is removed."""
    answer = {**TOKEN, "open_id": world.tiktok.people[0].open_id, **changes}
    body = json.dumps({k: v for k, v in answer.items() if v is not None})
    world.tiktok.fail("token", body=body.encode())


class TestLogin:
    @pytest.mark.parametrize("scope", [None, "null", "", ",", " "])
    def test_no_scope(self, world, browser, scope):
        """A login whose answer names no scope has none, whatever was requested or
        claimed.
        """
        answered(world, scope=scope)
        if scope == "null":
            body = json.dumps({**TOKEN, "scope": None}).encode()
            world.tiktok.clear_faults()
            world.tiktok.fail("token", body=body)
        callback = browser.consent(browser.begin())
        assert "scopes=user.info.basic%2Cvideo.list" in callback
        assert browser.get(callback).status_code == 303
        me = browser.me()
        assert (me["signed_in"], me["scopes"], me["name"]) == (True, [], None)
        assert browser.get("/videos").status_code == 303

    def test_claimed(self, world, browser):
        """Scopes that the browser claims in the callback are not read."""
        callback = browser.consent(browser.begin(), scopes=["user.info.basic"])
        claimed = callback.replace("scopes=user.info.basic", "scopes=video.upload")
        assert claimed != callback
        assert browser.get(claimed).status_code == 303
        assert browser.me()["scopes"] == ["user.info.basic"]

    def test_profile_of_another(self, world, browser):
        """Another user's profile is not shown; the token answer names the user."""
        other = {"open_id": world.tiktok.people[1].open_id, "display_name": "Other"}
        body = json.dumps({"data": {"user": other}}).encode()
        world.tiktok.fail("user_info", body=body)
        assert browser.log_in().status_code == 303
        me = browser.me()
        assert (me["open_id"], me["name"]) == (world.tiktok.people[0].open_id, None)

    @pytest.mark.parametrize("life", [0, -5, 1e300, 10**30, "7200", 0.5, None])
    @pytest.mark.parametrize("field", ["expires_in", "refresh_expires_in"])
    def test_life(self, world, browser, field, life):
        """For any number as a lifetime, the record is stored and no request fails."""
        answered(world, **{field: life})
        assert browser.log_in().status_code == 303
        world.tiktok.fail("token", times=9, status=500)
        me = browser.me()
        assert me["signed_in"]
        if me["token"]:
            assert 0 < me["expires_at"] - world.clock() <= 400 * 86400
        record = kept(world)
        end = record.refresh_expires_at
        assert end is None or 0 <= end - world.clock() <= 400 * 86400

    @pytest.mark.parametrize(
        "life", ["true", "NaN", "1e999", "9" * 5000, '"1e3"', "[]"]
    )
    def test_no_life(self, world, browser, life):
        """With a lifetime that is not a number, no user is signed in and no record
        stored.
        """
        body = json.dumps({**TOKEN, "expires_in": "@"}).replace('"@"', life)
        world.tiktok.fail("token", body=body.encode())
        assert browser.log_in().status_code in (502, 503)
        assert not browser.signed_in
        assert kept(world) is None


class TestAlike:
    """Two users whose ids an inexact comparison would treat as equal."""

    PAIRS = [
        ("user-Abc", "user-abc"),
        ("caf\u00e9", "cafe\u0301"),
        ("user", "user "),
        ("\u212a-elvin", "K-elvin"),
        ("stra\u00dfe", "strasse"),
        ("0123", "123"),
        ("a\u200bb", "ab"),
        ("user%2D1", "user-1"),
    ]

    @pytest.fixture(params=PAIRS, ids=[repr(pair) for pair in PAIRS])
    def pair(self, request):
        return request.param

    @pytest.fixture
    def tiktok(self, settings, clock, pair):
        people = [
            Person(
                open_id=open_id, display_name=f"User {number}", username=f"u{number}"
            )
            for number, open_id in enumerate(pair)
        ]
        made = MeddledTikTok(
            client_key=settings.client_key,
            client_secret=reveal(settings.client_secret),
            redirect_uris=[settings.redirect_uri],
            people=people,
            clock=clock,
        )
        made.access_lifetime = LIFE
        return made

    def test_two_users(self, world, pair):
        """The two users stay separate at login, refresh, withdrawal and disconnect."""
        world.with_settings(webhook_path=HOOK, disconnect_path=DISCONNECT)
        people = world.tiktok.people
        browsers = [world.browser() for _ in people]
        for browser, person in zip(browsers, people, strict=True):
            browser.log_in(person=person)
        for _ in range(2):
            seen = [(b.me()["open_id"], b.me()["name"]) for b in browsers]
            assert seen == [(p.open_id, p.display_name) for p in people]
            world.clock.advance(EXPIRED)
        assert deliver(world, "authorization.removed", pair[0]).status_code == 200
        world.clock.advance(2)
        assert [b.signed_in for b in browsers] == [False, True]
        assert kept(world, pair[0]) is None
        assert kept(world, pair[1]) is not None
        browsers[0].log_in(person=people[0])
        assert browsers[1].post(DISCONNECT).status_code == 303
        world.clock.advance(2)
        assert [b.signed_in for b in browsers] == [True, False]


class TestRefresh:
    @pytest.mark.parametrize("gone", [DUE, EXPIRED])
    def test_another_user(self, signed_in, world, tiktok, gone):
        """An answer for another open_id is discarded, and every session ends."""
        other = world.browser()
        other.log_in()
        stranger = world.browser()
        stranger.log_in(person=tiktok.people[1])
        theirs = stranger.me()["token"]
        tiktok.change = lambda answer: answer.update(open_id=tiktok.people[1].open_id)
        world.clock.advance(gone)
        me = signed_in.me()
        assert (me["signed_in"], me["token"], me["open_id"]) == (False, None, None)
        assert not other.signed_in
        assert kept(world) is None
        assert kept(world, tiktok.people[1].open_id).access_token.reveal() == theirs
        [event] = world.reported("session_ended")
        assert event.reason == "other_user"
        assert event.open_id == tiktok.people[0].open_id
        assert world.reported("refresh") == []

    def test_broader(self, signed_in, world, tiktok, caplog):
        """A broader scope is logged, and is not exposed."""
        more = "user.info.basic,video.list,video.publish"
        tiktok.change = lambda answer: answer.update(scope=more)
        world.clock.advance(DUE)
        assert signed_in.me()["scopes"] == ["user.info.basic", "video.list"]
        assert "more scopes than were granted" in caplog.text
        assert world.reported("scopes_changed") == []

    def test_other(self, signed_in, world, tiktok):
        """A refresh adds no scopes to those that were granted before."""
        tiktok.change = lambda answer: answer.update(scope="video.list,video.publish")
        world.clock.advance(DUE)
        assert signed_in.me()["scopes"] == ["video.list"]

    @pytest.mark.parametrize("absent", ["missing", "null"])
    def test_no_scope(self, signed_in, world, tiktok, absent):
        """An answer without a scope keeps what was granted."""

        def change(answer):
            answer["scope"] = None
            if absent == "missing":
                del answer["scope"]

        tiktok.change = change
        world.clock.advance(DUE)
        before = signed_in.cookies()
        me = signed_in.me()
        assert me["scopes"] == ["user.info.basic", "video.list"]
        assert world.count("refresh_token") == 1
        assert signed_in.cookies() == before
        assert world.reported("scopes_changed") == []

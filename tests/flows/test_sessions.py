"""How sessions end, in this and in other processes, and hostile text in a login."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from urllib.parse import quote

import pytest

from tiktok_oauth_middleware import TikTokTokens
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._session.cached_session import RECORD_ID
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.wire import signature as sign_webhook

from ..conftest import (
    API,
    CALLBACK,
    LOGIN,
    LOGOUT,
    SAME_ORIGIN,
    kept,
    make_settings,
)

SESSION = "__Host-tiktok"
DISCONNECT = "/auth/tiktok/disconnect"
WEBHOOK = "/hooks/tiktok"


@pytest.fixture
def settings():
    return make_settings(disconnect_path=DISCONNECT, webhook_path=WEBHOOK)


def a_job(world):
    return TikTokTokens(
        world.settings,
        world.store,
        transport=world.tiktok.transport,
        clock=world.clock,
    )


class TestLimits:
    def test_refresh_does_not_count_as_use(self, world, raw):
        """A job that refreshes a user's token does not keep the user's browsers signed
        in.
        """
        world.tiktok.access_lifetime = 7200
        raw.log_in()
        for _ in range(3):
            world.clock.advance(2.5 * 3600)
            token = a_job(world).get(world.tiktok.people[0].open_id)
        assert token.expires_at == world.clock() + 7200
        world.clock.advance(3600)  # 8.5 hours since the browser's last request
        assert raw.open_id is None

    def test_refresh_does_not_prolong_the_absolute_limit(self, world, raw):
        """Refreshing a token does not change the session's last day."""
        world.with_settings(session_lifetime=86400)
        world.tiktok.access_lifetime = 7200
        raw.log_in()
        for _ in range(11):
            world.clock.advance(7200)
            assert raw.open_id is not None
        assert world.count("refresh_token") == 11
        world.clock.advance(7200)
        assert raw.open_id is None

    def test_absolute_limit_counts_in_memory_too(self, world, raw):
        """A session that is cached and was just used still ends on time."""
        world.with_settings(session_lifetime=10)
        raw.log_in()
        world.clock.advance(9.5)
        assert raw.open_id is not None
        world.clock.advance(0.5)
        assert raw.open_id is None

    def test_session_ends_with_its_refresh_token(self, world, raw):
        """A session does not outlive its refresh token, whatever the settings allow."""
        world.with_settings(session_idle=30 * 86400)
        world.tiktok.access_lifetime, world.tiktok.refresh_lifetime = 3600, 86400
        raw.log_in()
        world.clock.advance(86400 + 1)
        assert raw.open_id is None
        assert world.count("refresh_token") == 0

    def test_cookie_lasts_as_long_as_the_session_can(self, world, raw):
        """The cookie's Max-Age is the absolute limit, which is 400 days at most."""
        for days in (1, 400):
            world.with_settings(session_lifetime=days * 86400)
            [line] = [
                line
                for line in raw.log_in().all("set-cookie")
                if line.startswith(SESSION + "=")
            ]
            assert f"; Max-Age={days * 86400};" in line


class TestRecord:
    def test_only_hashes(self, world, raw):
        """The record contains a session's hash, from which no cookie can be made."""
        raw.log_in()
        secret = raw.cookies[SESSION]
        packed = kept(world).pack().decode()
        assert len(kept(world).sessions) == 1
        for start in range(0, len(secret) - 20, 4):
            assert secret[start : start + 20] not in packed

    def test_login_cookie(self, raw):
        """A login's cookie is bound to this host, hidden from scripts, and short-lived."""
        [line] = raw.ask("GET", LOGIN).all("set-cookie")
        value, *attributes = line.split("; ")
        assert value.startswith("__Host-tiktok-login-")
        assert sorted(attributes) == [
            "HttpOnly",
            "Max-Age=1800",
            "Path=/",
            "SameSite=Lax",
            "Secure",
        ]


class TestTokenOfAnother:
    """A token that expires in one process while another refreshes it."""

    def test_at_once(self, world, raw):
        """The new token is seen when the old one has ended, not a second later."""
        world.tiktok.access_lifetime = 7200
        raw.log_in()
        open_id, end = raw.open_id, kept(world).expires_at
        world.clock.now = end - 0.5
        core = core_of(world)
        key = core.service.records._key(next(iter(core.live.values()))[RECORD_ID])
        with world.store.lock(key, 60):  # another process refreshes
            assert token_of(raw) is not None
        a_job(world).get(open_id)
        assert world.count("refresh_token") == 1
        world.clock.now = end + 0.1
        assert token_of(raw) is not None

    def test_after_its_end(self, world, raw):
        """The result of a request that found the token expired is not cached."""
        world.tiktok.access_lifetime = 7200
        raw.log_in()
        open_id = raw.open_id
        world.clock.advance(7201)
        world.tiktok.fail("token", status=503)
        assert token_of(raw) is None
        world.tiktok.clear_faults()
        world.clock.advance(2)  # past the back-off
        a_job(world).renew(open_id)
        world.clock.now -= 1.5  # not even after the clock was set back
        assert token_of(raw) is not None


def core_of(world):
    return world.app.wsgi_app._core if world.interface == "wsgi" else world.app._core


def token_of(raw):
    return json.loads(raw.ask("GET", "/who").body)["token"]


#: Every way in which a session can be ended.
ENDINGS = ["logout", "disconnect", "webhook", "job", "login"]


class TestElsewhere:
    """Two processes share a store, and each has the session in its cache."""

    @pytest.fixture
    def elsewhere(self, world, visitors):
        other = replace(world)
        return visitors.visit(other.start())

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_ends_within_a_second(self, world, raw, elsewhere, ending):
        """A session that one process ends is ended in another a second later."""
        raw.log_in()
        elsewhere.cookies = dict(raw.cookies)
        open_id = raw.open_id
        assert elsewhere.open_id == open_id
        if ending in ("logout", "disconnect"):
            path = LOGOUT if ending == "logout" else DISCONNECT
            assert raw.ask("POST", path, headers=SAME_ORIGIN).status == 303
        elif ending == "webhook":
            headers, body = world.tiktok.webhook("authorization.removed", open_id)
            answer = raw.ask("POST", WEBHOOK, headers=headers, body=body)
            assert answer.status == 200
        elif ending == "job":
            a_job(world).forget(open_id)
        else:
            raw.log_in(person=world.tiktok.people[1])
        world.clock.advance(1)
        assert elsewhere.open_id is None
        twin = raw.another()
        twin.cookies = dict(elsewhere.cookies)
        assert twin.open_id is None

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    @pytest.mark.parametrize("is_gone", [True, False], ids=["record", "session"])
    def test_nothing_to_end(self, world, raw, elsewhere, path, is_gone):
        """A logout whose session was ended elsewhere also removes the cached session.

        The cookie is invalid at once, in this process too.
        """
        raw.log_in()
        if not is_gone:  # another browser of the same user keeps the record
            raw.another().log_in()
        elsewhere.cookies = dict(raw.cookies)
        twin = raw.another()
        twin.cookies = dict(raw.cookies)
        assert raw.open_id == elsewhere.open_id == twin.open_id
        if is_gone:
            a_job(world).forget(raw.open_id)
        else:
            assert elsewhere.ask("POST", LOGOUT, headers=SAME_ORIGIN).status == 303
        assert twin.open_id is not None  # cached for up to a second
        assert raw.ask("POST", path, headers=SAME_ORIGIN).status == 303
        assert twin.open_id is None

    @pytest.mark.parametrize("store", ["memory"], indirect=True)
    def test_forgetting_nothing(self, world, raw):
        """A job in the same process that finds no record removes the cached session."""
        raw.log_in()
        open_id = raw.open_id
        a_job(world).forget(open_id)
        core = (
            raw.world.app.wsgi_app._core
            if world.interface == "wsgi"
            else world.app._core
        )
        assert core.live
        assert (
            run(core.service.records.forget(next(iter(core.live.values()))[RECORD_ID]))
            is None
        )
        assert not core.live

    def test_all_sessions(self, world, raw, elsewhere):
        """Removing the old keys from the settings ends all sessions."""
        raw.log_in()
        elsewhere.log_in(person=world.tiktok.people[1])
        world.with_settings(secret_keys=["gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo"])
        for visitor in (raw, elsewhere):
            later = raw.another()
            later.cookies = dict(visitor.cookies)
            assert later.open_id is None


class TestLogout:
    def test_clears_every_cookie(self, raw):
        """Logging out deletes the session and every login under way, and no other."""
        raw.log_in()
        for _ in range(3):
            raw.begin()
        raw.cookies["theirs"] = "x"
        ours = set(raw.cookies) - {"theirs"}
        assert len(ours) == 4
        answer = raw.ask("POST", LOGOUT, headers=SAME_ORIGIN)
        choose = {f"{SESSION}-choose": "1"}  # for the next login
        assert answer.set_cookies == {**dict.fromkeys(ours, ""), **choose}
        for line in answer.all("set-cookie"):
            if "-choose=" not in line:
                assert "=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure" in line
        assert raw.cookies == {"theirs": "x", **choose}

    @pytest.mark.parametrize("store", ["memory"], indirect=True)
    @pytest.mark.parametrize(
        "fault",
        [
            {"delay": 30},
            {"disconnect": True},
            {"status": 500},
            {"body": b"<html>"},
            {"error": "invalid_client"},
            {"status": 302, "headers": {"location": "https://evil.example/"}},
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("call", ["revoke", "token"])
    def test_disconnect_is_bounded(self, world, raw, fault, call):
        """A disconnect signs out even if TikTok fails, and without waiting long for
        TikTok: to revoke, or before that to refresh an expired token.
        """
        world.with_settings(timeout=60)
        raw.log_in()
        world.clock.advance(7201 if call == "token" else 0)
        world.tiktok.fail(call, times=5, **fault)
        begun = time.monotonic()
        answer = raw.ask("POST", DISCONNECT, headers=SAME_ORIGIN)
        assert time.monotonic() - begun < 30
        assert answer.status == 502
        assert SESSION not in raw.cookies
        assert kept(world) is None

    def test_without_a_session(self, world, raw):
        """Without a session, logout and disconnect redirect, and TikTok is not
        called.
        """
        for cookies in ({}, {SESSION: "junk"}, {SESSION: "A" * 87}):
            for path in (LOGOUT, DISCONNECT):
                raw.cookies = dict(cookies)
                answer = raw.ask("POST", path, headers=SAME_ORIGIN)
                assert (answer.status, answer.location) == (303, "/")
        assert world.tiktok.requests == []


#: Texts with a meaning to a template, a format, a shell or a database.
HOSTILE = [
    "'; DROP TABLE rows; --",
    '" OR "1"="1',
    "*",
    "%",
    "tiktok:*",
    "[a-z]*",
    "}{",
    "\\",
    "%s%s%n%(x)s",
    "{0.__class__}{x}",
    "${7*7}{{7*7}}",
    "../../../etc/passwd",
    "$(id)`id`",
    "caf\u00e9 \U0001f3b5",
    "x" * 256,
]


class TestHostileText:
    """Text from outside is escaped wherever it is written."""

    @pytest.mark.parametrize("open_id", HOSTILE)
    def test_open_id(self, world, raw, tiktok, open_id, caplog):
        """An open_id of any text belongs to one user only."""
        person = replace(tiktok.people[1], open_id=open_id, display_name=open_id)
        world.tiktok = FakeTikTok(
            client_key=world.settings.client_key,
            client_secret=reveal(world.settings.client_secret),
            people=[tiktok.people[0], person],
            clock=world.clock,
        )
        world.start()
        other = raw.another()
        raw.log_in()
        with caplog.at_level(logging.DEBUG):
            other.log_in(person=person)
        me = json.loads(other.ask("GET", "/who", headers=API).body)
        assert (me["open_id"], me["name"]) == (open_id, open_id)
        assert raw.open_id == tiktok.people[0].open_id
        assert all(record.getMessage() for record in caplog.records)
        headers, body = world.tiktok.webhook("authorization.removed", open_id)
        raw.another().ask("POST", WEBHOOK, headers=headers, body=body)
        assert other.open_id is None
        assert raw.open_id == tiktok.people[0].open_id

    @pytest.mark.parametrize("store", ["memory"], indirect=True)
    @pytest.mark.parametrize("text", HOSTILE)
    def test_parameters(self, raw, text, caplog):
        """A parameter is logged and shown literally, without any expansion."""
        value = quote(text, safe="").encode()
        with caplog.at_level(logging.DEBUG):
            for path in (LOGIN, CALLBACK, LOGOUT):
                for name in (b"next", b"error", b"state", b"error_description"):
                    answer = raw.ask("GET", path, query=name + b"=" + value)
                    assert answer.status in (200, 303, 400)
        for record in caplog.records:  # each can be formatted
            assert record.getMessage()


class TestWebhook:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'"x"',
            b"{}",
            b"[" * 60_000,
            b"\xff\xfe",
            b'{"client_key": "awother", "event": "authorization.removed"}',
            b'{"client_key": 1, "event": [], "user_openid": {}, "create_time": 1e999}',
        ],
        ids=lambda body: repr(body)[:40],
    )
    def test_signed_nonsense(self, world, raw, body):
        """A signed body that is not a delivery is refused with a status below 500."""
        secret = reveal(world.settings.client_secret)
        headers = {"tiktok-signature": sign_webhook(body, secret, int(world.clock()))}
        answer = raw.ask("POST", WEBHOOK, headers=headers, body=body)
        assert 400 <= answer.status < 500
        assert world.store.keys("") == []

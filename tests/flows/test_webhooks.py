"""Webhooks: which sessions they end, and which they do not.

TikTok reports a withdrawal late and repeatedly, and also after the app's own
disconnects; the user may have logged in again by then.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from io import BytesIO

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response

from tiktok_oauth_middleware import (
    MemoryStore,
    StoreError,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._oauth.webhook_delivery import (
    RETRIED_SECONDS,
)
from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import World, flask_app, kept
from ..support.deliveries import HOOK, deliver_body, signed, withdrawal

DISCONNECT = "/auth/tiktok/disconnect"
REMOVED = "authorization.removed"


@pytest.fixture
def store(clock):
    """Return a store in memory; these tests do not depend on the kind of store."""
    return MemoryStore(clock=clock)


@pytest.fixture
def world(world):
    return world.with_settings(webhook_path=HOOK, disconnect_path=DISCONNECT)


@pytest.fixture
def person(world):
    return world.tiktok.people[0].open_id


def names(world):
    return [event.name for event in world.events]


class TestEcho:
    """TikTok's report of the app's own disconnect, with reason 5."""

    @pytest.mark.parametrize("after", [0, 1, 30, 90, 250])
    def test_login_since(self, browser, world, after):
        """The report does not end a login that was made after the disconnect."""
        browser.log_in()
        browser.post(DISCONNECT)
        [(headers, body)] = world.tiktok.webhooks
        world.clock.advance(after)
        browser.log_in()
        before = kept(world)
        world.events.clear()
        assert deliver_body(world, body, headers) == 200
        assert browser.signed_in
        assert kept(world).access_token == before.access_token
        assert names(world) == []

    def test_dated_later(self, browser, world, person):
        """The report is recognized even if TikTok dates it minutes after the login."""
        browser.log_in()
        browser.post(DISCONNECT)
        world.clock.advance(5)
        browser.log_in()
        world.clock.advance(120)
        assert deliver_body(world, withdrawal(world, person, reason=5)) == 200
        assert browser.signed_in

    def test_needs_no_answer(self, browser, world):
        """The report is recognized without a call to TikTok if the times differ
        enough.
        """
        browser.log_in()
        browser.post(DISCONNECT)
        [(headers, body)] = world.tiktok.webhooks
        world.clock.advance(2)
        browser.log_in()
        world.tiktok.fail("user_info", status=503, times=99)
        assert deliver_body(world, body, headers) == 200
        assert browser.signed_in

    def test_by_a_job(self, browser, world, person):
        """The webhook after a job's disconnect is treated like a browser's."""
        from tiktok_oauth_middleware import TikTokTokens

        browser.log_in()
        transport = world.tiktok.transport
        tokens = TikTokTokens(
            world.settings, world.store, transport=transport, clock=world.clock
        )
        assert tokens.disconnect(person) == "revoked"
        tokens.close()
        [(headers, body)] = world.tiktok.webhooks
        world.clock.advance(10)
        browser.log_in()
        assert deliver_body(world, body, headers) == 200
        assert browser.signed_in

    def test_revoked_elsewhere(self, browser, world, person):
        """A report of a revoke by another program ends the login, as with any
        reason.
        """
        browser.log_in()
        world.clock.advance(3600)
        assert deliver_body(world, withdrawal(world, person, reason=5)) == 200
        assert not browser.signed_in
        assert kept(world) is None

    def test_revoked_again(self, browser, world, person):
        """A report dated long after the app's own disconnect is not taken as a report
        of it.
        """
        browser.log_in()
        browser.post(DISCONNECT)
        world.clock.advance(10)
        browser.log_in()
        world.clock.advance(3600)
        assert deliver_body(world, withdrawal(world, person, reason=5)) == 200
        assert not browser.signed_in

    def test_nothing_left(self, browser, world):
        """Without a later login the report ends nothing, and no event is emitted."""
        browser.log_in()
        browser.post(DISCONNECT)
        world.events.clear()
        [(headers, body)] = world.tiktok.webhooks
        assert deliver_body(world, body, headers) == 200
        assert names(world) == []


class TestSettledByAsking:
    """A withdrawal and a login within a minute of each other."""

    @pytest.mark.parametrize("after", [0, 1, 59, 60])
    def test_login_since(self, browser, world, after):
        """The new login stays: its token works at TikTok."""
        browser.log_in()
        headers, body = world.tiktok.disconnect()
        world.clock.advance(after)
        browser.log_in()
        assert deliver_body(world, body, headers) == 200
        assert browser.signed_in

    @pytest.mark.parametrize("after", [0, 1, 59, 60])
    def test_withdrawn(self, browser, world, after):
        """The older login is deleted: its token is invalid at TikTok."""
        browser.log_in()
        world.clock.advance(after)
        headers, body = world.tiktok.disconnect()
        assert deliver_body(world, body, headers) == 200
        assert not browser.signed_in
        assert kept(world) is None
        assert names(world)[-1] == "withdrawal"

    @pytest.mark.parametrize("behind", [-60, -1, 1, 60])
    def test_skewed(self, browser, world, person, behind):
        """TikTok's answer decides and not the times, whichever clock is ahead."""
        browser.log_in()
        body = withdrawal(world, person, create_time=int(world.clock()) + behind)
        assert deliver_body(world, body) == 200
        assert browser.signed_in

    def test_no_answer(self, browser, world):
        """While TikTok does not answer, the delivery gets 503, so that TikTok repeats
        it.
        """
        browser.log_in()
        headers, body = world.tiktok.disconnect()
        world.tiktok.fail("user_info", status=503, times=2)
        for _ in range(2):
            assert deliver_body(world, body, headers) == 503
            assert kept(world) is not None
        assert deliver_body(world, body, headers) == 200
        assert kept(world) is None
        assert names(world).count("withdrawal") == 1

    def test_says_when_to_retry(self, browser, world):
        """The 503 is JSON with a Retry-After, and names no user."""
        browser.log_in()
        headers, body = world.tiktok.disconnect()
        world.tiktok.fail("user_info", disconnect=True)
        answer = world.browser().client.post(HOOK, content=body, headers=headers)
        assert answer.status_code == 503
        assert answer.json() == {"error": "tiktok_unavailable"}
        assert answer.headers["retry-after"].isdigit()

    @pytest.mark.parametrize(
        ("code", "status"),
        [("scope_not_authorized", 401), ("scope_permission_missed", 400)],
    )
    def test_scope_not_granted(self, browser, world, person, code, status):
        """A token without the scope for the profile counts as working."""
        browser.log_in()
        world.tiktok.fail("user_info", error=code, status=status)
        assert deliver_body(world, withdrawal(world, person)) == 200
        assert browser.signed_in

    def test_without_the_basic_scope(self, browser, world, person):
        """A withdrawal of a user without user.info.basic is decided by its
        time, too.
        """
        world.with_settings(scopes=["video.list"], optional_scopes=[])
        browser = world.browser()
        browser.log_in()
        assert deliver_body(world, withdrawal(world, person)) == 200
        assert browser.signed_in

    @pytest.mark.parametrize("error", ["invalid_params", "unheard_of"])
    def test_other_error(self, browser, world, person, error):
        """An error that says nothing about the token leaves the login undecided."""
        browser.log_in()
        world.tiktok.fail("user_info", error=error, status=400)
        assert deliver_body(world, withdrawal(world, person)) == 503
        assert kept(world) is not None

    @pytest.mark.parametrize("at", [None, 0, "soon", 10**15, -5])
    def test_no_time(self, browser, world, person, at):
        """Without a usable time TikTok is asked, however old the login is."""
        browser.log_in()
        world.clock.advance(3600)
        assert deliver_body(world, withdrawal(world, person, create_time=at)) == 200
        assert browser.signed_in
        world.tiktok.provider.remove(person)
        body = withdrawal(world, person, create_time=at, again=1)
        assert deliver_body(world, body) == 200
        assert not browser.signed_in

    def test_future_time(self, browser, world, person):
        """A webhook's time in the future is not compared with a login's."""
        browser.log_in()
        body = withdrawal(world, person, create_time=int(world.clock()) + 10**6)
        assert deliver_body(world, body) == 200
        assert browser.signed_in

    def test_expired_token(self, browser, world, person):
        """An expired token is renewed before the call; after a withdrawal the refresh
        fails.
        """
        world.tiktok.provider.access_lifetime = 3600
        browser.log_in()
        at = int(world.clock())
        world.clock.advance(3660)
        body = withdrawal(world, person, create_time=at)
        assert deliver_body(world, body) == 200
        assert browser.signed_in
        assert world.count("refresh_token") == 1

    def test_expired_and_withdrawn(self, browser, world):
        """If TikTok refuses the refresh, the record is deleted."""
        world.tiktok.provider.access_lifetime = 3600
        browser.log_in()
        headers, body = world.tiktok.disconnect()
        world.clock.advance(3660)
        assert deliver_body(world, body, headers) == 200
        assert kept(world) is None
        assert names(world)[-1] == "withdrawal"

    def test_expired_and_unavailable(self, browser, world):
        """If TikTok cannot refresh the token now, the login stays undecided."""
        world.tiktok.provider.access_lifetime = 3600
        browser.log_in()
        headers, body = world.tiktok.disconnect()
        world.clock.advance(3660)
        world.tiktok.fail("token", status=503)
        assert deliver_body(world, body, headers) == 503
        assert kept(world) is not None


class TestByTime:
    """If the times differ clearly, TikTok is not called."""

    def test_old_login(self, browser, world, person):
        """A login that is more than a minute older is deleted without a call to
        TikTok.
        """
        browser.log_in()
        world.clock.advance(61)
        world.tiktok.fail("user_info", status=503, times=99)
        assert deliver_body(world, withdrawal(world, person)) == 200
        assert kept(world) is None

    def test_new_login(self, browser, world):
        """A login more than a minute later stays, whatever TikTok would answer."""
        browser.log_in()
        headers, body = world.tiktok.disconnect()
        world.clock.advance(61)
        browser.log_in()
        world.tiktok.fail("user_info", status=503, times=99)
        assert deliver_body(world, body, headers) == 200
        assert browser.signed_in

    @pytest.mark.parametrize("unit", [1, 1000])
    def test_either_unit(self, browser, world, person, unit):
        """A late withdrawal keeps the newer login, in seconds and in milliseconds."""
        at = int(world.clock())
        world.clock.advance(200)
        browser.log_in()
        body = withdrawal(world, person, create_time=at * unit)
        headers = signed(world, body, at * unit)
        assert deliver_body(world, body, headers) == 200
        assert browser.signed_in

    @pytest.mark.parametrize("unit", [1, 1000])
    def test_either_unit_ends(self, browser, world, person, unit):
        """A current withdrawal ends an old login, in seconds and in milliseconds."""
        browser.log_in()
        world.clock.advance(200)
        at = int(world.clock()) * unit
        body = withdrawal(world, person, create_time=at)
        assert deliver_body(world, body, signed(world, body, at)) == 200
        assert not browser.signed_in


class TestRetried:
    @pytest.mark.parametrize("late", [301, 86400, RETRIED_SECONDS, 72 * 3600 + 300])
    def test_withdrawal(self, browser, world, late):
        """A withdrawal whose first deliveries were lost is accepted for three days."""
        browser.log_in()
        world.clock.advance(100)
        headers, body = world.tiktok.disconnect()
        world.with_settings(session_idle=30 * 86400)
        world.clock.advance(late)
        assert deliver_body(world, body, headers) == 200
        assert kept(world) is None

    def test_too_late(self, browser, world):
        """After three days and five minutes a delivery is refused."""
        browser.log_in()
        world.clock.advance(100)
        headers, body = world.tiktok.disconnect()
        world.clock.advance(72 * 3600 + 301)
        assert deliver_body(world, body, headers) == 401

    def test_signed_again(self, browser, world):
        """A webhook that TikTok signs again for each delivery is processed once."""
        browser.log_in()
        world.clock.advance(100)
        headers, body = world.tiktok.disconnect()
        for _ in range(3):
            assert deliver_body(world, body, signed(world, body)) == 200
            world.clock.advance(3600)
        assert names(world).count("withdrawal") == 1

    def test_keeps_a_newer_login(self, browser, world):
        """A late withdrawal does not end a login that was made in those days."""
        browser.log_in()
        headers, body = world.tiktok.disconnect()
        world.clock.advance(86400)
        browser.log_in()
        assert deliver_body(world, body, headers) == 200
        assert browser.signed_in

    @pytest.mark.parametrize("late", [301, 86400])
    def test_others(self, world, late):
        """Any other event is accepted for five minutes."""
        headers, body = world.tiktok.webhook("video.publish.completed", "someone")
        world.clock.advance(late)
        assert deliver_body(world, body, headers) == 401


class Interrupted(MemoryStore):
    """Calls something before the first record is deleted."""

    before_delete = None

    def compare_and_set(self, key, old, new, ttl):
        if new is None and self.before_delete is not None:
            call, self.before_delete = self.before_delete, None
            call()
        return super().compare_and_set(key, old, new, ttl)


class TestChunks:
    """A webhook without a Content-Length, whose body comes in chunks."""

    @pytest.mark.parametrize(("is_end_marked", "status"), [(True, 200), (False, 401)])
    def test_wsgi(self, world, person, is_end_marked, status):
        """WSGI: it is read if the server marks the end of the body, else refused."""
        app = TikTokOAuthWSGIMiddleware(
            flask_app().wsgi_app,
            world.settings,
            store=world.store,
            transport=world.tiktok.transport,
            clock=world.clock,
        )
        body = withdrawal(world, person)
        environ = EnvironBuilder(
            HOOK, method="POST", headers=signed(world, body)
        ).get_environ()
        environ |= {
            "HTTP_TRANSFER_ENCODING": "chunked",
            "wsgi.input": BytesIO(body),
            "wsgi.input_terminated": is_end_marked,
        }
        answer = Response.from_app(app, environ)
        assert answer.status_code == status


class TestCheckedRecord:
    @pytest.fixture
    def store(self, clock):
        return Interrupted(clock=clock)

    def beside(self, world):
        """Return a browser of another process: the same store, another middleware."""
        flask = flask_app()
        flask.wsgi_app = TikTokOAuthWSGIMiddleware(
            flask.wsgi_app,
            world.settings,
            store=world.store,
            transport=world.tiktok.transport,
            clock=world.clock,
        )
        settings, store, clock = world.settings, world.store, world.clock
        other = World("wsgi", settings, world.tiktok, store, clock, [], world.stack)
        other.app = flask
        return other.browser()

    @pytest.mark.parametrize("after", [0, 100])
    def test_login_meanwhile(self, browser, world, after):
        """A login that arrives just before the deletion is not deleted."""
        browser.log_in()
        world.clock.advance(3600)
        headers, body = world.tiktok.disconnect()
        world.clock.advance(after)
        other = self.beside(world)
        world.store.before_delete = other.log_in
        assert deliver_body(world, body, headers) == 200
        assert world.store.before_delete is None
        assert other.signed_in

    def test_same_tokens(self, browser, world):
        """A record that changed without new tokens, as by a second browser, is
        deleted.
        """
        browser.log_in()
        world.clock.advance(3600)
        headers, body = world.tiktok.disconnect()
        other = self.beside(world)
        other.client.cookies.update(browser.client.cookies)
        world.store.before_delete = other.me
        assert deliver_body(world, body, headers) == 200
        assert kept(world) is None


class TestContent:
    """The webhook's content may have any form."""

    @pytest.mark.parametrize("content", ['{"reason": 4}', {"reason": 4}])
    def test_withdrawal(self, browser, world, person, content):
        """Content given as an object is read like JSON in a string."""
        browser.log_in()
        world.clock.advance(100)
        assert deliver_body(world, withdrawal(world, person, content=content)) == 200
        assert not browser.signed_in
        assert world.events[-1].details == {
            "event": REMOVED,
            "content": {"reason": 4},
        }

    @pytest.mark.parametrize(
        "content", [None, "", "{", "[" * 5000, [1], 5, True, "null", '{"reason": NaN}']
    )
    def test_malformed(self, browser, world, person, content):
        """A withdrawal counts even if its content is not an object."""
        browser.log_in()
        world.clock.advance(100)
        assert deliver_body(world, withdrawal(world, person, content=content)) == 200
        assert not browser.signed_in

    @pytest.mark.parametrize("user", ["7528370655977505848", 7528370655977505848])
    def test_ping(self, world, user):
        """The test delivery of the portal's button is accepted and reported."""
        delivery = {
            "client_key": world.settings.client_key,
            "event": "tiktok.ping",
            "create_time": int(world.clock() * 1000) + 622,
            "user_openid": user,
            "content": '{"reason": "testing Webhook"}',
        }
        body = json.dumps(delivery).encode()
        assert deliver_body(world, body) == 200
        [event] = world.events
        assert (event.name, event.reason) == ("webhook", "tiktok.ping")
        assert event.open_id == "7528370655977505848"
        assert event.details["content"] == {"reason": "testing Webhook"}


class TestSignature:
    @pytest.mark.parametrize(
        "written",
        [
            "t={t}, s={s}",
            "s={s},t={t}",
            " t = {t} ,\ts={s}",
            "v=2,t={t},s={s},x=y",
            "t={t},s={S}",
        ],
    )
    def test_forms(self, browser, world, person, written):
        """Spaces, order, further names and capital hex digits in the signature header
        are accepted.
        """
        browser.log_in()
        world.clock.advance(100)
        body = withdrawal(world, person)
        t, _, s = signed(world, body)["tiktok-signature"].partition(",")
        header = written.format(t=t[2:], s=s[2:], S=s[2:].upper())
        assert deliver_body(world, body, {"tiktok-signature": header}) == 200
        assert not browser.signed_in


NEW, OLD = "the-client-secret-of-tests", "the-secret-before-it-was-rotated"


class TestRotation:
    """The portal's secret is rotated: `previous_client_secret` is the old one."""

    @pytest.fixture
    def rotating(self, world):
        return world.with_settings(client_secret=NEW, previous_client_secret=OLD)

    def with_tiktok(self, world, secret):
        """Make this the app's secret at TikTok."""
        settings = replace(
            world.settings, client_secret=secret, previous_client_secret=None
        )
        fake = FakeTikTok.for_settings(settings, clock=world.clock)
        world.tiktok = fake
        world.start()
        return fake

    @pytest.mark.parametrize("secret", [NEW, OLD])
    def test_webhook(self, rotating, secret):
        """A delivery signed with either secret is accepted."""
        browser = rotating.browser()
        browser.log_in()
        rotating.clock.advance(100)
        body = withdrawal(rotating, browser.me()["open_id"])
        assert (
            deliver_body(rotating, body, signed(rotating, body, secret=secret)) == 200
        )
        assert not browser.signed_in

    def test_other_webhook(self, rotating):
        """A delivery signed with neither secret is refused."""
        body = withdrawal(rotating, "someone")
        headers = signed(rotating, body, secret="some-other-secret")
        assert deliver_body(rotating, body, headers) == 401

    def test_over(self, world):
        """Without the option, a delivery signed with the old secret is refused."""
        body = withdrawal(world, "someone")
        assert deliver_body(world, body, signed(world, body, secret=OLD)) == 401

    def test_login(self, rotating, caplog):
        """If TikTok accepts only the old secret, the code is exchanged with it."""
        fake = self.with_tiktok(rotating, OLD)
        browser = rotating.browser()
        with caplog.at_level(logging.WARNING):
            browser.log_in()
        assert browser.signed_in
        assert fake.count("token", grant_type="authorization_code") == 2
        assert "previous_client_secret" in caplog.text
        assert OLD not in caplog.text
        assert NEW not in caplog.text

    def test_new_one_first(self, rotating, caplog):
        """If TikTok accepts the new secret, one call is made, and nothing is logged."""
        fake = self.with_tiktok(rotating, NEW)
        browser = rotating.browser()
        with caplog.at_level(logging.WARNING):
            browser.log_in()
        assert browser.signed_in
        assert fake.count("token") == 1
        assert "previous_client_secret" not in caplog.text

    def test_refresh(self, rotating):
        """A refresh succeeds if TikTok still accepts only the old secret."""
        fake = self.with_tiktok(rotating, OLD)
        fake.provider.access_lifetime = 3600
        browser = rotating.browser()
        browser.log_in()
        before = browser.me()["token"]
        rotating.clock.advance(3601)
        assert browser.me()["token"] not in (None, before)
        assert fake.count("token", grant_type="refresh_token") == 2

    def test_revoke(self, rotating):
        """A disconnect succeeds with the old secret, too."""
        fake = self.with_tiktok(rotating, OLD)
        browser = rotating.browser()
        browser.log_in()
        assert browser.post(DISCONNECT).status_code == 303
        assert rotating.events[-1].reason == "revoked"
        assert fake.count("revoke") == 2

    def test_both_wrong(self, rotating):
        """With two wrong secrets no user is signed in, and each secret is tried
        once.
        """
        fake = self.with_tiktok(rotating, "the-secret-after-next")
        browser = rotating.browser()
        assert browser.log_in().status_code == 502
        assert not browser.signed_in
        assert fake.count("token") == 2

    @pytest.mark.parametrize(
        "fault",
        [
            {"error": "invalid_grant"},
            {"error": "invalid_request"},
            {"error": "unauthorized_client"},
            {"error": "server_error"},
            {"status": 500},
            {"disconnect": True},
        ],
        ids=lambda fault: "-".join(map(str, fault.values())),
    )
    def test_any_other_error(self, rotating, fault):
        """A code is sent once more after invalid_client, and after no other error."""
        browser = rotating.browser()
        rotating.tiktok.fail("token", **fault)
        assert browser.log_in().status_code >= 400
        assert rotating.tiktok.count("token") == 1

    def test_without_the_option(self, world):
        """Without a previous secret, no second call is made."""
        world.tiktok.fail("token", error="invalid_client")
        assert world.browser().log_in().status_code == 502
        assert world.tiktok.count("token") == 1


class TestDeath:
    """A process dies while it handles a withdrawal; TikTok sends it again.

    Here an exception ends the request instead of the process.
    """

    @pytest.fixture
    def delivered(self, world, person):
        """Sign the person in; return a function that delivers their withdrawal."""
        world.browser().log_in()
        world.clock.advance(3600)
        body = withdrawal(world, person)

        def deliver_again():
            world.events.clear()
            return deliver_body(world, body)

        return deliver_again

    def test_before_the_event(self, world, delivered, monkeypatch):
        """The app gets the event of a withdrawal whose record is deleted already."""
        service = world.middleware._core.service
        emit = service.emit

        async def dies(event, **given):
            if event.name == "withdrawal":
                message = "the process died"
                raise StoreError(message)
            await emit(event, **given)

        monkeypatch.setattr(service, "emit", dies)
        assert delivered() == 503
        assert kept(world) is None
        world.start()
        assert delivered() == 200
        assert names(world) == ["withdrawal"]
        assert delivered() == 200
        assert names(world) == []

    def test_before_the_deletion(self, world, store, delivered, monkeypatch):
        """A record that was not deleted is deleted by the repeated delivery."""
        swap = store.compare_and_set

        def dies(key, old, new, ttl):
            if new is None and ":grant:" in key:
                message = "the process died"
                raise StoreError(message)
            return swap(key, old, new, ttl)

        monkeypatch.setattr(store, "compare_and_set", dies)
        assert delivered() == 503
        assert kept(world) is not None
        monkeypatch.undo()
        world.start()
        assert delivered() == 200
        assert names(world) == ["withdrawal"]
        assert kept(world) is None

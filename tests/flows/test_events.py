"""The events that an app receives, and listeners that fail."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import anyio.lowlevel
import pytest

from tiktok_oauth_middleware import (
    ConfigurationError,
    StoreError,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.events import EVENTS, Event

from ..conftest import (
    API,
    CALLBACK,
    START,
    make_settings,
)
from ..support.deliveries import HOOK, deliver
from ..support.every_event import DISCONNECT, LIFE, NAMES, Breakable, everything

SESSION = "__Host-tiktok"
EVENT = Event(name="", reason="", open_id=None, scopes=frozenset(), reference="")


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


@pytest.fixture
def world(world):
    return world.with_settings(webhook_path=HOOK, disconnect_path=DISCONNECT)


@pytest.fixture
def signed_in(browser, world):
    browser.log_in()
    world.events.clear()
    return browser


#: The fields with TikTok's error, which `TestTikTok` tests.
ANSWER = {"error": "", "error_description": "", "log_id": "", "status": 0}


def same(event, **fields):
    """Return whether an event has these fields, and no others but TikTok's error."""
    report = dataclasses.replace(event, **ANSWER)
    return report == dataclasses.replace(EVENT, **fields)


def test_names():
    """The docstring of Event names the events that these tests know."""
    assert {
        "login",
        "login_rejected",
        "refresh",
        "refresh_failed",
        "scopes_changed",
        "logout",
        "session_ended",
        "disconnect",
        "connect",
        "connect_rejected",
        "withdrawal",
        "webhook",
        "webhook_rejected",
        "store_error",
    } == NAMES


class TestLogin:
    def test_login(self, browser, world):
        """A login is reported with the user and the granted scopes."""
        browser.log_in(scopes=["user.info.basic"])
        [event] = world.events
        open_id = world.tiktok.people[0].open_id
        scopes = frozenset({"user.info.basic"})
        assert event.user.open_id == open_id
        plain = dataclasses.replace(event, user=None, is_new=None)
        assert same(plain, name="login", open_id=open_id, scopes=scopes)

    def rejected(self, world, response, reason):
        [event] = [e for e in world.events if e.name != "login"]
        assert event.reference
        assert event.reference in response.text
        reference = event.reference
        assert same(event, name="login_rejected", reason=reason, reference=reference)

    def test_denied(self, browser, world):
        """A cancelled consent is reported as login_denied."""
        self.rejected(world, browser.log_in(deny=True), "login_denied")

    def test_expired(self, browser, world):
        """A login that took too long is reported as login_expired."""
        callback = browser.consent(browser.begin())
        world.clock.advance(601)
        self.rejected(world, browser.get(callback), "login_expired")

    def test_code_refused(self, browser, world):
        """A code that TikTok no longer accepts is also reported as login_expired."""
        world.tiktok.fail("token", error="invalid_grant")
        self.rejected(world, browser.log_in(), "login_expired")

    def test_replayed(self, browser, world):
        """A repeated callback is reported as login_replayed."""
        url = browser.begin()
        again = world.browser(**browser.cookies())
        callback = browser.consent(url)
        browser.get(callback)
        world.clock.advance(61)
        self.rejected(world, again.get(callback), "login_replayed")

    def test_mismatch(self, browser, world):
        """A callback without a login in this browser is reported as state_mismatch."""
        callback = browser.consent(browser.begin())
        self.rejected(world, world.browser().get(callback), "state_mismatch")

    @pytest.mark.parametrize(
        "query", ["", "code=a&code=b&state=x", "error=invalid_scope", "error=%00%0Ax"]
    )
    def test_failed(self, browser, world, query):
        """An unreadable callback is reported as such, and so is an unknown
        error in it.
        """
        response = browser.get(f"{CALLBACK}?{query}")
        reason = "login_failed" if query else "state_mismatch"
        self.rejected(world, response, reason)

    def test_no_code(self, browser, world):
        """A callback without a code is reported as login_failed."""
        [state] = parse_qs(urlsplit(browser.begin()).query)["state"]
        self.rejected(world, browser.get(f"{CALLBACK}?state={state}"), "login_failed")

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ({"error": "invalid_client"}, "invalid_client"),
            ({"error": "unauthorized_client"}, "unauthorized_client"),
            ({"error": "invalid_request"}, "tiktok_error"),
            ({"body": b"{}"}, "tiktok_error"),
            ({"error": "server_error"}, "tiktok_unavailable"),
            ({"status": 500}, "tiktok_unavailable"),
            ({"disconnect": True}, "tiktok_unavailable"),
        ],
    )
    def test_tiktok(self, browser, world, fault, reason):
        """A failure of TikTok is reported with the reason of TikTok's failure."""
        world.tiktok.fail("token", **fault)
        self.rejected(world, browser.log_in(), reason)


class TestRefresh:
    def test_refresh(self, signed_in, world):
        """A refresh is reported once, with the user and the scopes."""
        world.clock.advance(LIFE)
        signed_in.me()
        signed_in.me()
        [event] = world.events
        open_id = world.tiktok.people[0].open_id
        scopes = frozenset({"user.info.basic", "video.list"})
        assert same(event, name="refresh", open_id=open_id, scopes=scopes)

    def test_scopes_changed(self, signed_in, world):
        """A change to fewer scopes is reported after its refresh."""
        world.tiktok.change = lambda answer: answer.update(scope="video.list")
        world.clock.advance(LIFE)
        signed_in.me()
        refresh, changed = world.events
        open_id, scopes = world.tiktok.people[0].open_id, frozenset({"video.list"})
        assert same(refresh, name="refresh", open_id=open_id, scopes=scopes)
        assert same(changed, name="scopes_changed", open_id=open_id, scopes=scopes)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ({"error": "invalid_client"}, "invalid_client"),
            ({"error": "something_new"}, "tiktok_error"),
            ({"status": 503}, "tiktok_unavailable"),
            ({"status": 429}, "tiktok_unavailable"),
            ({"body": b"<html>"}, "tiktok_unavailable"),
        ],
    )
    def test_failed(self, signed_in, world, fault, reason):
        """A failed refresh is reported once with its reason, even if several requests
        wait for it.
        """
        world.tiktok.fail("token", **fault)
        world.clock.advance(LIFE)
        for _ in range(3):
            signed_in.me()
        [event] = world.events
        open_id = world.tiktok.people[0].open_id
        assert same(event, name="refresh_failed", reason=reason, open_id=open_id)

    def test_ended(self, signed_in, world):
        """invalid_grant is reported once, as the end of the sessions."""
        world.tiktok.fail("token", error="invalid_grant")
        world.clock.advance(LIFE)
        signed_in.me()
        [event] = world.events
        open_id, reason = world.tiktok.people[0].open_id, "invalid_grant"
        assert same(event, name="session_ended", reason=reason, open_id=open_id)

    def test_another_user(self, signed_in, world):
        """An answer for another user is reported as the end of the sessions."""
        world.tiktok.change = lambda answer: answer.update(open_id="someone-else")
        world.clock.advance(LIFE)
        signed_in.me()
        [event] = world.events
        open_id, reason = world.tiktok.people[0].open_id, "other_user"
        assert same(event, name="session_ended", reason=reason, open_id=open_id)

    def test_refresh_token_ended(self, world):
        """An expired refresh token is reported as the end of the sessions.

        This needs a store that has not deleted the record at that very moment.
        """
        world.store = Breakable(clock=lambda: START)
        world.start()
        world.tiktok.refresh_lifetime = LIFE
        browser = world.browser()
        browser.log_in()
        world.events.clear()
        world.clock.advance(LIFE + 1)
        browser.me()
        [event] = world.events
        open_id, reason = world.tiktok.people[0].open_id, "refresh_token_expired"
        assert same(event, name="session_ended", reason=reason, open_id=open_id)


class TestLeaving:
    def test_logout(self, signed_in, world):
        """A logout is reported once, with the user."""
        kept = signed_in.cookies()
        signed_in.log_out()
        world.browser(**kept).log_out()
        world.browser().log_out()
        [event] = world.events
        assert same(event, name="logout", open_id=world.tiktok.people[0].open_id)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (None, "revoked"),
            ({"error": "invalid_grant"}, "gone"),
            ({"error": "access_token_invalid"}, "gone"),
            ({"status": 500}, "failed"),
            ({"disconnect": True}, "failed"),
        ],
    )
    def test_disconnect(self, signed_in, world, fault, reason):
        """A disconnect is reported with its result at TikTok."""
        if fault:
            world.tiktok.fail("revoke", **fault)
        signed_in.post(DISCONNECT)
        [event] = world.events
        open_id = world.tiktok.people[0].open_id
        assert same(event, name="disconnect", reason=reason, open_id=open_id)

    def test_withdrawal(self, signed_in, world):
        """A withdrawal is reported once, with TikTok's reason."""
        open_id = world.tiktok.people[0].open_id
        for _ in range(2):
            answer = deliver(world, "authorization.removed", open_id, {"reason": 4})
            assert answer.status_code == 200
        [event] = world.events
        reason = "authorization.removed"
        assert same(
            event,
            name="withdrawal",
            reason=reason,
            open_id=open_id,
            details={"event": reason, "content": {"reason": 4}},
        )

    def test_webhook(self, world):
        """Any other delivery is reported once, with its content."""
        content = {"publish_id": "v_pub_1", "share_id": "s-1"}
        for _ in range(2):
            answer = deliver(world, "video.publish.completed", "someone", content)
            assert answer.status_code == 200
        [event] = world.events
        reason = "video.publish.completed"
        assert same(
            event,
            name="webhook",
            reason=reason,
            open_id="someone",
            details={"event": reason, "content": content},
        )

    @pytest.mark.parametrize(
        "signature",
        ["", "t=1,s=00", f"t={1_767_225_600},s={'0' * 64}", f"t=1,s={'0' * 64}"],
    )
    def test_webhook_rejected(self, signed_in, world, signature):
        """A delivery that TikTok did not sign is reported without its content."""
        open_id = world.tiktok.people[0].open_id
        headers = {"tiktok-signature": signature}
        answer = deliver(world, "authorization.removed", open_id, **headers)
        assert answer.status_code == 401
        [event] = world.events
        assert same(event, name="webhook_rejected", reason="webhook_rejected")

    def test_store_error(self, signed_in, world):
        """A store error is reported with the reference that the response carries."""
        world.clock.advance(2)
        world.store.is_broken = True
        answer = signed_in.get("/who", headers=API)
        [event] = world.events
        reference = answer.json()["reference"]
        assert event.reference
        reason = "store_error"
        assert same(event, name=reason, reason=reason, reference=reference)


class TestCallback:
    def test_all(self, world):
        """The requests of `everything` emit every event."""
        everything(world)
        assert {event.name for event in world.events} == NAMES

    @pytest.mark.parametrize("interface", ["asyncio", "trio"], indirect=True)
    def test_async(self, world, interface):
        """Under ASGI a callback may be an async def: it is awaited, in order."""
        report = []

        async def on_event(event):
            await anyio.lowlevel.checkpoint()
            report.append(event.name)

        world.events = SimpleNamespace(append=on_event)
        everything(world.start())
        assert set(report) == NAMES
        assert report.index("refresh") + 1 == report.index("scopes_changed")

    def test_async_under_wsgi(self):
        """Under WSGI an async callback is refused when the middleware is built."""

        async def on_event(event): ...

        with pytest.raises(ConfigurationError, match="on_event"):
            TikTokOAuthWSGIMiddleware(lambda *_: [], make_settings(), on_event=on_event)

    @pytest.mark.parametrize("kind", ["sync", "async"])
    @pytest.mark.parametrize("error", [ValueError, StoreError, TimeoutError])
    def test_raises(self, request, world, caplog, kind, error):
        """If a callback raises, the request still succeeds; the log names it and no
        secret.
        """
        if kind == "async" and world.interface == "wsgi":
            kind = "sync"
        seen = []

        def raising(event):
            seen.append(event.name)
            message = f"act.secret-of-a-user at {event!r}"
            raise error(message)

        async def raising_later(event):
            raising(event)

        callback = raising if kind == "sync" else raising_later
        world.events = SimpleNamespace(append=callback)
        everything(world.start())
        assert set(seen) == NAMES
        assert f"on_event raised {error.__name__} at login" in caplog.text
        assert "act.secret" not in caplog.text
        assert "Traceback" not in caplog.text


# --- the log -----------------------------------------------------------------------


class TestLog:
    @pytest.fixture
    def records(self, caplog):
        """Return a function that finds the structured records logged since."""
        caplog.set_level(logging.DEBUG, "tiktok_oauth_middleware")
        return lambda: [r for r in caplog.records if hasattr(r, "tiktok_event")]

    def test_all(self, world, records):
        """Each event is logged in the same order, except repeated warnings."""
        everything(world)
        logged = [record.tiktok_event for record in records()]
        report = [event.name for event in world.events]
        seldom = {"webhook_rejected", "store_error", "refresh_failed"}
        assert set(logged) == NAMES
        assert [n for n in logged if n not in seldom] == [
            n for n in report if n not in seldom
        ]

    def test_reasons(self, world):
        """Every reason is one of its event's list; a webhook's reason is TikTok's."""
        everything(world)
        for event in world.events:
            if event.reason and event.name != "webhook":
                assert event.reason in EVENTS[event.name].reasons
        assert set(EVENTS) == NAMES

    def test_login(self, browser, world, records):
        """A login is one record with hashes of user and session, and the scopes."""
        browser.log_in(scopes=["user.info.basic"])
        [record] = records()
        assert record.levelname == "INFO"
        assert record.tiktok_event == "login"
        assert record.tiktok_scopes == "user.info.basic"
        for name in (record.tiktok_user, record.tiktok_session):
            assert re.fullmatch("[0-9a-f]{8}", name)
            assert name in record.getMessage()
        assert record.tiktok_user != record.tiktok_session
        open_id = world.tiktok.people[0].open_id
        assert open_id not in f"{vars(record)!r} {record.getMessage()}"

    def test_same_person(self, world, records):
        """A person has the same hash in every record, and so has a session."""
        one, other = world.browser(), world.browser()
        one.log_in()
        other.log_in()
        one.log_out()
        first, second, out = records()
        assert first.tiktok_user == second.tiktok_user == out.tiktok_user
        assert first.tiktok_session == out.tiktok_session
        assert first.tiktok_session != second.tiktok_session

    def test_another_key(self, world, records):
        """With another secret key the same person has another hash."""
        world.browser().log_in()
        world.with_settings(secret_keys=make_settings().secret_keys)
        world.browser().log_in()
        first, second = records()
        assert first.tiktok_user != second.tiktok_user

    def test_refused(self, browser, world, records):
        """A refused login is one record with the reason, the reference and TikTok's
        description.
        """
        world.tiktok.fail("token", error="invalid_grant")
        response = browser.log_in()
        [record] = records()
        assert record.tiktok_event == "login_rejected"
        assert record.tiktok_reason == "login_expired"
        assert record.tiktok_reference in response.text
        assert record.tiktok_reference in record.getMessage()
        assert "invalid_grant" in record.tiktok_detail
        assert "invalid_grant" in record.getMessage()

    @pytest.mark.parametrize(
        ("error", "level"), [("invalid_client", "ERROR"), ("server_error", "WARNING")]
    )
    def test_refused_app(self, world, records, error, level):
        """A wrong secret is an ERROR, other failures are WARNINGs, each once a
        minute.
        """
        browsers = [world.browser(), world.browser()]
        for browser, person in zip(browsers, world.tiktok.people, strict=False):
            browser.log_in(person=person)
        world.clock.advance(LIFE)
        for browser in browsers:
            world.tiktok.fail("token", error=error)
            browser.me()
        [failed] = [r for r in records() if r.tiktok_event == "refresh_failed"]
        assert failed.levelname == level
        assert error in failed.tiktok_detail
        assert len([e for e in world.events if e.name == "refresh_failed"]) == 2

    def test_log_id(self, browser, world, records):
        """The record has the log_id even if TikTok's text is long."""
        answer = {
            "error": "invalid_request",
            "error_description": "x" * 5000,
            "log_id": "202601010101010101301300620725FFA2",
        }
        world.tiktok.fail("token", body=json.dumps(answer).encode())
        browser.log_in()
        [record] = records()
        assert record.tiktok_detail.endswith(answer["log_id"])
        assert len(record.tiktok_detail) < 800

    def test_foreign_words(self, world, records):
        """The log shows one shortened line for a webhook, without its content."""
        open_id = world.tiktok.people[0].open_id
        event = "video.\n\u202e" + "x" * 500
        answer = deliver(world, event, open_id, {"secret": "of-the-content"})
        assert answer.status_code == 200
        [record] = records()
        assert "\n" not in record.getMessage()
        assert "\u202e" not in record.getMessage()
        assert len(record.tiktok_reason) <= 201
        assert "of-the-content" not in repr(vars(record))

    def test_switched_off(self, browser, world, caplog):
        """If the logger is switched off, nothing is hashed or logged."""
        with caplog.at_level(logging.ERROR, "tiktok_oauth_middleware"):
            browser.log_in()
        assert caplog.records == []
        assert [event.name for event in world.events] == ["login"]

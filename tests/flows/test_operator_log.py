"""Lines for operators: one for each cause, with the place to check."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import get_args
from urllib.parse import parse_qs, quote, urlsplit

import anyio
import pytest

from tiktok_oauth_middleware import TikTokSettings, events
from tiktok_oauth_middleware._core import log
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth.client import TikTokClient
from tiktok_oauth_middleware._oauth.network_failures import FAILURES
from tiktok_oauth_middleware._observe import emit, metrics
from tiktok_oauth_middleware._observe.causes import cause_of
from tiktok_oauth_middleware.errors import (
    LoginDenied,
    LoginError,
    StoreError,
    TikTokError,
    TikTokUnavailable,
)
from tiktok_oauth_middleware.events import EventName

from ..conftest import API, CALLBACK, make_settings
from ..support.deliveries import HOOK, deliver
from ..support.every_event import DISCONNECT, LIFE, Breakable, everything
from ..support.ports import free_port

LOG_ID = "202601010101010101301300620725FFA2"


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


@pytest.fixture
def lines(caplog):
    """Return a function that finds the lines that Python's default logging prints."""
    caplog.set_level(logging.DEBUG, "tiktok_oauth_middleware")
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
        and record.name == "tiktok_oauth_middleware"
    ]


@pytest.fixture
def minute(monkeypatch):
    """Return a clock for the log that tests can set."""
    now = SimpleNamespace(at=1000.0)
    monkeypatch.setattr(log.time, "monotonic", lambda: now.at)
    return now


def refused_with(world, **answer):
    """Log in while TikTok's token endpoint answers with an error."""
    body = {"error_description": "Words of TikTok.", "log_id": LOG_ID, **answer}
    status = body.pop("status", 200)
    world.tiktok.fail("token", status=status, body=json.dumps(body).encode())
    return world.browser().log_in()


class TestToken:
    @pytest.mark.parametrize(
        ("error", "look_at"),
        [
            ("invalid_client", "sandbox"),
            ("unauthorized_client", "portal"),
            ("invalid_scope", "optional_scopes"),
            ("invalid_request", "redirect_uri"),
            ("unsupported_grant_type", "endpoints.token"),
        ],
    )
    def test_app(self, world, lines, error, look_at):
        """If TikTok refuses the app, an ERROR has the cause, the reference and what to
        check.
        """
        response = refused_with(world, error=error)
        [line] = lines()
        [event] = world.events
        assert f"TikTok: {error}, Words of TikTok." in line
        assert event.reference in line
        assert event.reference in response.text
        assert look_at in line
        assert LOG_ID in line
        assert "status 200" in line
        assert "Words of TikTok" not in response.text

    @pytest.mark.parametrize(
        ("description", "look_at"),
        [
            ("Redirect_uri is not matched with the uri when requesting code.", "byte"),
            ("Code verifier or code challenge is invalid.", "Check pkce"),
            (
                "Only `application/x-www-form-urlencoded` is accepted as Content-Type.",
                "proxies",
            ),
            ("The request parameters are malformed.", "redirect_uri"),
        ],
    )
    def test_narrowed(self, world, lines, description, look_at):
        """If TikTok's text names the mistake, so does the line."""
        refused_with(world, error="invalid_request", error_description=description)
        [line] = lines()
        assert description in line
        assert look_at in line

    @pytest.mark.parametrize(
        ("fault", "cause", "look_at"),
        [
            ({"status": 404, "body": b"Unsupported path(Janus)"}, "Janus", "slash"),
            (
                {"status": 403, "body": b"<TITLE>Access Denied</TITLE>"},
                "Denied",
                "egress",
            ),
            ({"status": 407, "body": b"who are you"}, "status 407", "HTTPS_PROXY"),
            ({"status": 302, "body": b"<a href=/login>"}, "status 302", "endpoints"),
            (
                {"status": 200, "body": b"<html>Welcome to the hotel"},
                "hotel",
                "proxies",
            ),
            ({"status": 502, "body": b"<html>Bad gateway"}, "Bad gateway", "log_id"),
            ({"status": 429}, "status 429", "how often"),
            ({"error": "server_error"}, "server_error", "outage"),
            ({"disconnect": True}, "no answer", "network"),
        ],
    )
    def test_elsewhere(self, world, lines, fault, cause, look_at):
        """An answer of another server, or a missing answer, is a WARNING that
        says so.
        """
        world.tiktok.fail("token", **fault)
        response = world.browser().log_in()
        [line] = lines()
        assert cause in line
        assert look_at in line
        assert world.events[0].reference in line
        assert world.events[0].reference in response.text

    def test_refresh(self, browser, world, lines):
        """A wrong secret at a refresh is the same ERROR, without a reference."""
        browser.log_in()
        world.clock.advance(LIFE)
        world.tiktok.fail("token", error="invalid_client")
        browser.me()
        [line] = lines()
        assert "refresh failed, sessions kept" in line
        assert "TikTok: invalid_client" in line
        assert "sandbox" in line
        assert world.events[-1].reason == "invalid_client"

    def test_refused_refresh_token(self, browser, world, lines):
        """A refused refresh token that ends no session hints at other stores.

        The redirect URI, at which a refused code hints, is no part of a refresh.
        """
        browser.log_in()
        world.clock.advance(LIFE)

        def lose_the_note():
            world.tiktok.answered = None
            for key in [key for key in world.store.keys("") if ":attempt:" in key]:
                world.store.compare_and_set(key, world.store.get(key), None, 0)

        # Without it, another process may have had the answer to the same token.
        world.tiktok.answered = lose_the_note
        world.tiktok.fail("token", error="invalid_grant")
        browser.me()
        [line] = lines()
        assert "refresh failed, sessions kept" in line
        assert "another store" in line
        assert "redirect_uri" not in line

    @pytest.mark.parametrize("error", ["invalid_request", "param_error"])
    def test_refused_fields(self, browser, world, lines, error):
        """Neither a refresh nor a revoke hints at what only a login sends."""
        world.with_settings(disconnect_path=DISCONNECT)
        browser = world.browser()
        browser.log_in()
        words = {"error": error, "error_description": "Redirect_uri is not matched."}
        body = json.dumps(words).encode()
        world.clock.advance(LIFE)
        world.tiktok.fail("token", status=400, body=body)
        browser.me()
        world.clock.advance(100)
        browser.me()
        world.tiktok.fail("revoke", status=400, body=body)
        browser.post(DISCONNECT)
        refresh, revoke = lines()
        for line in (refresh, revoke):
            hint = line.partition("Check ")[2]
            assert "proxies" in hint
            assert "redirect_uri" not in hint
            assert "scopes" not in hint

    def test_disconnect(self, browser, world, lines):
        """A disconnect that TikTok refuses is a line with what to check."""
        world.with_settings(disconnect_path=DISCONNECT)
        browser = world.browser()
        browser.log_in()
        world.tiktok.fail("revoke", error="invalid_client")
        browser.post(DISCONNECT)
        [line] = lines()
        assert "invalid_client" in line
        assert "sandbox" in line


class TestOnceAMinute:
    def test_login(self, world, lines, minute):
        """A cause is logged once a minute; the next line counts the lines left out."""
        pages = [refused_with(world, error="invalid_client") for _ in range(5)]
        assert len(lines()) == 1
        minute.at += 59.9
        refused_with(world, error="invalid_client")
        assert len(lines()) == 1
        minute.at += 0.2
        refused_with(world, error="invalid_client")
        first, second = lines()
        assert second.endswith("(5 more since the last such line)")
        assert "more since" not in first
        # Each reference is found in the log.
        reference = world.events[0].reference
        assert reference in first
        assert all(reference in page.text for page in pages)
        assert world.events[-1].reference in second
        assert world.events[-1].reference != reference
        assert len(world.events) == 7

    def test_causes(self, world, lines):
        """Another cause is logged even if the first one keeps occurring."""
        for _ in range(3):
            refused_with(world, error="invalid_client")
            refused_with(world, error="invalid_scope")
            world.tiktok.fail("token", status=500)
            world.browser().log_in()
        assert len(lines()) == 3
        assert len({event.reference for event in world.events}) == 3

    def test_store(self, browser, world, lines, minute):
        """A store outage is logged once a minute, with the reference of the answers."""
        browser.log_in()
        world.clock.advance(2)
        world.store.is_broken = True
        answers = [browser.get("/who", headers=API).json() for _ in range(4)]
        page = browser.get("/who")
        minute.at += 61
        browser.get("/who", headers=API)
        first, second = lines()
        assert "store failed" in first
        assert "manage.py tiktok check" in first
        assert "broken by the test" in first
        assert "tiktok_oauth_middleware check" in first
        assert {answer["reference"] in first for answer in answers} == {True}
        assert answers[0]["reference"] in page.text
        assert second.endswith("(4 more since the last such line)")

    def test_on_event(self, world, lines, minute):
        """A failing on_event is logged once a minute, with the place and without the
        error's text.
        """

        def broken(event):
            raise ValueError("act.a-token-of-somebody")

        world.events = SimpleNamespace(append=broken)
        world.start()
        for _ in range(3):
            assert world.browser().log_in().status_code == 303
        minute.at += 61
        world.browser().log_in()
        first, second = lines()
        assert "on_event raised ValueError at login" in first
        assert "test_operator_log.py" in first
        assert "in broken" in first
        assert "act.a-token" not in first + second
        assert "2 more" in second

    def test_on_event_has_the_reference(self, world, lines):
        """If a page has a reference, the line about on_event has it, too."""

        def broken(event):
            raise ValueError

        world.events = SimpleNamespace(append=broken)
        world.start()
        response = refused_with(world, error="invalid_client")
        report, failed = lines()
        reference = report.partition("[")[2].partition("]")[0]
        assert reference in response.text
        assert f"at login_rejected [{reference}]" in failed

    def test_table_is_bounded(self):
        """The number of causes kept in memory is bounded."""
        pace = log.LogRateLimiter()
        for number in range(2000):
            assert pace.take((40, "x", str(number))) == 0
        assert len(pace._last) <= 512


class TestNoNoise:
    def test_cancelled(self, world, lines):
        """A cancelled login, or a person who may not log in, causes no WARNING."""
        browser = world.browser()
        assert browser.log_in(deny=True).status_code == 403
        assert lines() == []

    @pytest.mark.parametrize("path", ["expired", "replayed", "foreign", "empty"])
    def test_late(self, browser, world, lines, path):
        """A late, repeated, foreign or empty callback causes no WARNING."""
        callback = browser.consent(browser.begin())
        if path == "expired":
            world.clock.advance(601)
        elif path == "replayed":
            copy = world.browser(**browser.cookies())
            browser.get(callback)
            world.clock.advance(61)
            browser = copy
        elif path == "foreign":
            browser = world.browser()
        else:
            callback = CALLBACK
        assert browser.get(callback).status_code == 400
        assert lines() == []

    def test_forged(self, world, lines, minute):
        """Errors that anyone can send to the callback do not fill the log."""
        for number in range(50):
            world.browser().get(f"{CALLBACK}?error=e{'x' * number}")
            world.browser().get(f"{CALLBACK}?error=access_denied&errCode={number}")
        assert lines() == []
        for _ in range(5):
            world.browser().get(f"{CALLBACK}?error=invalid_scope")
        assert len(lines()) == 1


class TestCallback:
    def sent_back(self, world, query):
        browser = world.browser()
        [state] = parse_qs(urlsplit(browser.begin()).query)["state"]
        return browser.get(f"{CALLBACK}?{query}&state={state}")

    def test_denied(self, world, caplog):
        """TikTok's description of a refusal is in the log and the event, not on the
        page.
        """
        caplog.set_level(logging.INFO)
        why = "User is not eligible <b>\n\u202e act"
        response = self.sent_back(
            world, f"error=access_denied&error_description={quote(why)}"
        )
        assert response.status_code == 403
        assert "chose not to continue" in response.text
        assert "does not let this account log in here" in response.text
        assert "eligible" not in response.text
        [event] = world.events
        assert event.reason == "login_denied"
        assert event.error == "access_denied"
        assert event.error_description == "User is not eligible <b>\\u000a\\u202e act"
        assert "User is not eligible" in caplog.text
        assert "\u202e" not in caplog.text

    @pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable"])
    def test_transient(self, world, lines, error):
        """A failure of TikTok's own at the callback is a 503 that says to try later."""
        response = self.sent_back(world, f"error={error}&error_description=later")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        [event] = world.events
        assert event.reason == "tiktok_unavailable"
        assert (event.error, event.error_description) == (error, "later")
        [line] = lines()
        assert event.reference in line
        assert event.reference in response.text

    @pytest.mark.parametrize(
        ("error", "look_at"),
        [
            ("invalid_scope", "optional_scopes"),
            ("unauthorized_client", "target user"),
            ("invalid_client", "sandbox"),
            ("invalid_request", "redirect_uri"),
            ("param_error", "portal"),
            ("something_new", "portal"),
        ],
    )
    def test_mistake(self, world, lines, error, look_at):
        """A mistake of the site that TikTok reports to the callback is logged for the
        operator.
        """
        response = self.sent_back(world, f"error={error}&error_type=scope")
        [line] = lines()
        [event] = world.events
        assert error in line
        assert look_at in line
        assert event.reference in line
        assert event.reference in response.text
        assert event.error == error
        assert event.details == {"error_type": "scope"}

    @pytest.mark.parametrize(
        ("query", "details"),
        [
            (
                "errCode=10003&error_type=client_key",
                {"errCode": "10003", "error_type": "client_key"},
            ),
            (
                "error_code=-2&error_msg=No%20app",
                {"error_code": "-2", "error_msg": "No app"},
            ),
            ("errCode=10003&errCode=10007&logid=2026", {"logid": "2026"}),
            ("errCode=1&errMsg=No+app", {"errCode": "1", "errMsg": "No app"}),
            ("err_code=1&err_msg=No+app", {"err_code": "1", "err_msg": "No app"}),
            ("error_message=No+app", {"error_message": "No app"}),
            ("error_code=1&error_msg=%ff", {"error_code": "1"}),
            (
                f"error_code=1&error_msg={'x' * 999}",
                {"error_code": "1", "error_msg": "x" * 200 + "…"},
            ),
            (
                "error_code=1&error_msg=a%0Ab%E2%80%AE",
                {"error_code": "1", "error_msg": "a\\u000ab\\u202e"},
            ),
        ],
    )
    def test_other_words(self, world, caplog, query, details):
        """Foreign text in a callback is shortened and escaped in the log, and has no
        other effect.
        """
        caplog.set_level(logging.INFO)
        response = self.sent_back(world, query)
        assert response.status_code == 400
        [event] = world.events
        assert event.reason == "login_failed"
        assert event.details == details
        for name, value in details.items():
            assert f"{name} {value}" in caplog.text
            assert value == "1" or value not in response.text

    def test_beside_a_code(self, world):
        """An errCode beside a code does not stop a login: only error does."""
        browser = world.browser()
        callback = browser.consent(browser.begin())
        assert browser.get(f"{callback}&errCode=0&error_type=x").status_code == 303
        assert browser.signed_in

    def test_masked(self, world, lines):
        """A secret in TikTok's description is masked in the log and the event."""
        secret = make_settings().client_secret.reveal()
        self.sent_back(
            world, f"error=invalid_client&error_description={secret}&error_msg={secret}"
        )
        [line] = lines()
        assert "***" in line
        assert secret not in line
        assert secret not in repr(world.events)


class TestEvent:
    def test_answer(self, world):
        """The event of a refused login has TikTok's error, description, log_id and
        status.
        """
        refused_with(world, error="invalid_client", status=401)
        [event] = world.events
        assert event.reason == "invalid_client"
        assert event.error == "invalid_client"
        assert event.error_description == "Words of TikTok."
        assert event.log_id == LOG_ID
        assert event.status == 401

    def test_refresh(self, browser, world):
        """The events of a failed refresh and of a grant's end have these
        fields, too.
        """
        browser.log_in()
        body = {"error": "something", "log_id": LOG_ID}
        world.tiktok.fail("token", status=418, body=json.dumps(body).encode())
        world.clock.advance(LIFE)
        browser.me()
        world.tiktok.fail("token", error="invalid_grant")
        world.clock.advance(100)
        browser.me()
        failed, ended = world.events[1:]
        assert (failed.error, failed.log_id, failed.status) == (
            "something",
            LOG_ID,
            418,
        )
        assert (ended.name, ended.error) == ("session_ended", "invalid_grant")

    def test_no_answer(self, world):
        """Without an answer of TikTok's, the event has none of these fields."""
        world.tiktok.fail("token", disconnect=True)
        world.browser().log_in()
        [event] = world.events
        assert (event.error, event.log_id, event.status) == ("", "", 0)
        assert "no answer" in event.error_description


class TestTable:
    def test_literal(self):
        """The literal type for type checkers has the names of the table."""
        assert set(get_args(EventName)) == set(events.EVENTS)

    def test_missing_row(self, monkeypatch):
        """A name without a row, or a row without a name, makes the import fail."""
        rows = dict(events.EVENTS)
        monkeypatch.setattr(
            events, "EVENTS", {k: rows[k] for k in rows if k != "login"}
        )
        with pytest.raises(LookupError, match="login"):
            events._check_table()
        monkeypatch.setattr(events, "EVENTS", {**rows, "novel": rows["login"]})
        with pytest.raises(LookupError, match="novel"):
            events._check_table()

    def test_unknown_counter(self, monkeypatch):
        """An event table that names an unknown counter makes the import fail."""
        odd = events.EventKind(sentence="", counts=(events.Count("no.such"),))
        monkeypatch.setattr(events, "EVENTS", {**events.EVENTS, "login": odd})
        with pytest.raises(LookupError, match="no.such"):
            events._check_table()

    def test_sentences(self, world, caplog):
        """Each log sentence contains only the fields that the event has."""
        caplog.set_level(logging.INFO)
        world = world.with_settings(webhook_path=HOOK, disconnect_path=DISCONNECT)
        everything(world)
        assert {
            r.tiktok_event for r in caplog.records if hasattr(r, "tiktok_event")
        } == {*events.EVENTS}


FAULTS = ["no row", "sentence", "handler", "meter", "callback"]


class TestFailingReceiver:
    @pytest.fixture(params=FAULTS)
    def fault(self, request, world, monkeypatch):
        """Make one receiver of events fail."""
        broken = logging.Handler()

        def fail(*_):
            raise KeyError("nothing of this breaks a login")

        match request.param:
            case "no row":
                monkeypatch.setattr(emit, "EVENTS", {})
                monkeypatch.setattr(metrics, "EVENTS", {})
            case "sentence":
                odd = events.EventKind(sentence="%(no_such)s %(odd)d", counts=())
                rows = dict.fromkeys(events.EVENTS, odd)
                monkeypatch.setattr(emit, "EVENTS", rows)
                monkeypatch.setattr(logging, "raiseExceptions", False)
            case "handler":
                broken.handle = fail
                log.logger.addHandler(broken)
            case "meter":
                meter = SimpleNamespace(count=fail, count_error=fail)
                world.start()
                app = world.middleware
                app._core._emit._meter = meter
            case "callback":
                world.events = SimpleNamespace(append=fail)
                world.start()
        yield request.param
        log.logger.removeHandler(broken)

    def test_login(self, world, fault):
        """The code is exchanged and the user signed in, whichever listener fails."""
        browser = world.browser()
        assert browser.log_in().status_code == 303
        assert browser.signed_in

    def test_refresh(self, world, fault):
        """A rotated token is stored, and a failed refresh ends no session."""
        browser = world.browser()
        browser.log_in()
        world.clock.advance(LIFE)
        assert browser.me()["token"]
        world.tiktok.fail("token", error="invalid_client")
        world.clock.advance(LIFE)
        assert browser.signed_in
        world.clock.advance(100)
        assert browser.me()["token"]

    def test_leaving(self, world, fault):
        """A logout ends the session, and a refused login shows its page."""
        browser = world.browser()
        browser.log_in()
        assert browser.log_out().status_code == 303
        assert not browser.signed_in
        assert browser.log_in(deny=True).status_code == 403


@pytest.mark.parametrize("interface", ["asyncio"], indirect=True)
class TestCancelledListener(TestFailingReceiver):
    """A listener that raises asyncio's CancelledError is treated like any
    failing one.
    """

    @pytest.fixture
    def fault(self, world):
        async def on_event(event):
            raise asyncio.CancelledError

        world.events = SimpleNamespace(append=on_event)
        world.start()


# --- why there is no answer --------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "failure"),
    [("127.0.0.1", "refused"), ("no-such-name.invalid", "name_not_found")],
)
def test_with_a_real_network(host, failure, monkeypatch):
    """With a real network the log says whether there was no listener or an unknown
    name.
    """
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    from dataclasses import replace

    settings = make_settings()
    scheme = "http" if host == "127.0.0.1" else "https"
    url = f"{scheme}://{host}:{free_port()}/v2/oauth/token/"
    settings = TikTokSettings(
        client_key="aw",
        client_secret="the-client-secret-of-tests",
        redirect_uri=settings.redirect_uri,
        secret_keys=settings.secret_keys,
        endpoints=replace(settings.endpoints, token=url),
    )
    client = TikTokClient(settings, ThreadBackend())
    try:
        with pytest.raises(TikTokUnavailable) as refused:
            run(client.exchange("c", None))
    finally:
        run(client.aclose())
    assert refused.value.failure == failure
    assert FAILURES[failure] in refused.value.description


@pytest.mark.parametrize(
    "error",
    [
        LoginDenied("access_denied", "not eligible", {"errCode": "1"}),
        LoginError("invalid_scope"),
        StoreError("down"),
        TikTokError("never seen", "x"),
        ValueError(),
        None,
    ],
)
def test_cause(error):
    """The cause of any failure is one of a fixed list, never the error's text."""
    assert cause_of(error).code in {
        "access_denied",
        "invalid_scope",
        "store_error",
        "other",
    }


def test_cancelled_during_on_event(anyio_backend):
    """A request that is cancelled while its event is reported stays cancelled."""
    from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend

    reached = []

    async def main():
        begun = anyio.Event()

        async def slow():
            reached.append("event")
            begun.set()
            await anyio.sleep_forever()

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(AsyncBackend().call_app_code, slow)
                await begun.wait()
                scope.cancel()
        return scope.cancelled_caught

    assert anyio.run(main, backend=anyio_backend)
    assert reached == ["event"]


def test_webhook(world, lines):
    """For a delivery with a wrong signature, a line says what to check."""
    world = world.with_settings(webhook_path=HOOK)
    headers = {"tiktok-signature": f"t=1767225600,s={'0' * 64}"}
    for _ in range(3):
        deliver(world, "authorization.removed", "someone", **headers)
    headers = {"tiktok-signature": "nonsense"}
    deliver(world, "authorization.removed", "someone", **headers)
    first, second = lines()
    assert "client_secret" in first
    assert "webhook refused" in second

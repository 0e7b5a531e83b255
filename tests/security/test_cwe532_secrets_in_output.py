"""No log, event, page, header, repr, exception or traceback contains a secret.

A stand-in records every secret that it handles, and repeats what it is sent in each of
its errors. Every flow and fault runs at DEBUG; then all output is searched for each
secret: raw, percent-encoded, in hex, and in base64 at any offset.
"""

from __future__ import annotations

import base64
import dataclasses
import gc
import json
import logging
import re
import traceback
import types
from collections import deque
from contextlib import ExitStack
from itertools import cycle
from secrets import token_urlsafe
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware import RedisStore, errors, events
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.encryption import derive
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._oauth.client import TikTokClient
from tiktok_oauth_middleware._web.transaction import LoginTransaction
from tiktok_oauth_middleware.errors import TikTokError
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, MeddledTikTok, World, make_settings
from ..flows.test_events import DISCONNECT, HOOK, LIFE, NAMES, Breakable, everything

OURS = (LOGIN, CALLBACK, LOGOUT, DISCONNECT, HOOK)
PACKAGE = "tiktok_oauth_middleware"
KEEPERS = (PACKAGE, "itsdangerous")


class Listening(MeddledTikTok):
    """A stand-in that records every secret that it received or issued."""

    def __init__(self, **options):
        super().__init__(**options)
        self.secrets = {options["client_secret"]}
        self.echoes = cycle(ECHOES)

    def handle(self, method, url, headers, body):
        form = dict(parse_qsl(body.decode()))
        for name in ("code", "code_verifier", "refresh_token", "token"):
            if name in form:
                self.secrets.add(form[name])
        sent = [
            *form.values(),
            headers.get("authorization", "").removeprefix("Bearer "),
        ]
        reply = super().handle(method, url, headers, body)
        try:
            answer = json.loads(reply.body)
        except ValueError:
            return reply
        for name in ("access_token", "refresh_token"):
            if name in answer:
                self.secrets.add(answer[name])
        echo = next(self.echoes)
        text = f"bad {' '.join(echo(value) for value in sent)}"
        error = answer.get("error")
        if isinstance(error, str) and error:
            # The error's text repeats everything that was sent.
            answer["error_description"] = text
        elif isinstance(error, dict) and error.get("code") != "ok":
            error["message"] = text
        return dataclasses.replace(reply, body=json.dumps(answer).encode())


ECHOES = (
    str,
    lambda value: quote(value, safe=""),
    lambda value: re.sub("%..", lambda found: found[0].lower(), quote_plus(value)),
    lambda value: value.encode().hex(),
    lambda value: value.encode().hex().upper(),
    lambda value: base64.b64encode(value.encode()).decode(),
    lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
)


def spellings(secret):
    """Return a secret raw, percent-encoded, in hex, and in base64 at any offset."""
    raw = secret.encode()
    found = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        raw.hex(),
        raw.hex().upper(),
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(b"\0" * before + raw).decode()
            found.add(text[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    assert min(map(len, found)) >= 8, "too short to be looked for"
    return found


#: A reason is one of these, and never text from a request or an answer.
REASONS = {
    "",
    *(kind.code for kind in vars(errors).values() if hasattr(kind, "code")),
    *events.APP_ERRORS,
    "revoked",
    "gone",
    "failed",
    "invalid_grant",
    "other_user",
    "refresh_token_expired",
    "authorization.removed",
    "video.upload.failed",
}


def hits(secrets, report):
    """Return the lines that contain a secret in any spelling, with the secret."""
    return [
        (line[:400], one)
        for secret in secrets
        for one in spellings(secret)
        for line in report
        if one in line
    ]


def test_spellings():
    """The search finds a secret inside a text that was encoded as a whole."""
    wanted = spellings("act.secret!1.va")
    for text in (b"a act.secret!1.va b", b"aa act.secret!1.va", b"act.secret!1.va"):
        for report in (
            text.decode(),
            text.hex(),
            quote(text),
            base64.b64encode(text).decode(),
            base64.urlsafe_b64encode(text).decode(),
        ):
            assert any(one in report for one in wanted), report


# --- the flows ---------------------------------------------------------------------


def faults(world, browser):
    """Make each flow fail in every way, which `everything` does not do."""
    tiktok, other = world.tiktok, world.browser()
    # Callbacks: too late, without a code, with an error, of an unknown login, by
    # another method.
    callback = browser.consent(browser.begin())
    world.clock.advance(601)
    assert browser.get(callback).status_code == 400
    state = dict(parse_qsl(urlsplit(browser.begin()).query))["state"]
    assert browser.get(f"{CALLBACK}?state={state}").status_code == 400
    state = dict(parse_qsl(urlsplit(browser.begin()).query))["state"]
    query = f"?error=server_error&error_description={state}&state={state}"
    assert browser.get(CALLBACK + query).status_code == 503
    callback = browser.consent(browser.begin())
    assert browser.post(callback).status_code == 405
    assert other.get(callback).status_code == 400
    assert browser.get(f"{callback}&code=again").status_code == 400
    # The exchange and the profile, with every kind of error.
    for fault in (
        {"error": "invalid_grant"},
        {"error": "invalid_client"},
        {"error": "server_error"},
        {"status": 500},
        {"disconnect": True},
        {"body": b"<html>"},
    ):
        tiktok.fail("token", **fault)
        assert browser.log_in().status_code in (400, 502, 503)
    for error in ("access_token_invalid", "internal_error", "scope_not_authorized"):
        tiktok.fail("user_info", error=error)
        assert browser.log_in().status_code == 303
    # Refreshes that fail temporarily.
    for fault in (
        {"error": "invalid_client"},
        {"error": "unauthorized_client"},
        {"error": "invalid_request"},
        {"status": 429, "headers": {"retry-after": "1"}},
        {"disconnect": True},
    ):
        tiktok.fail("token", **fault)
        world.clock.advance(LIFE)
        assert browser.signed_in
    world.clock.advance(LIFE)
    # A store that fails in each flow.
    callback = other.consent(other.begin())
    headers, body = tiktok.webhook("authorization.removed", tiktok.people[0].open_id)
    world.store.is_broken = True
    for answer in (
        other.get(callback),
        browser.get("/who", headers=API),
        browser.get("/private"),
        browser.log_out(),
        browser.post(DISCONNECT),
        browser.client.post(HOOK, content=body, headers=headers),
    ):
        assert answer.status_code == 503
    world.store.is_broken = False
    # Requests that are refused, and pages that ask.
    for answer, status in (
        (browser.get(LOGOUT), 200),
        (browser.get(DISCONNECT), 200),
        (browser.post(LOGOUT, headers={}), 403),
        (browser.get(f"{LOGIN}?scopes=artist.read"), 400),
        (browser.get(f"{LOGIN}?next=//{'x' * 300}"), 303),
        (browser.get(LOGIN, headers={"sec-fetch-dest": "image"}), 403),
        (other.get("/private"), 303),
        (other.get("/private", headers=API), 401),
        (browser.get(HOOK), 405),
    ):
        assert answer.status_code == status
    # A revoke with every kind of error.
    for fault in (
        {"error": "invalid_grant"},
        {"error": "access_token_invalid"},
        {"error": "invalid_request"},
        {"disconnect": True},
    ):
        assert browser.log_in().status_code == 303
        tiktok.fail("revoke", **fault)
        assert browser.post(DISCONNECT).status_code in (303, 502)
    browser.log_in()
    return browser


def our_app(world):
    """Return the middleware of a world."""
    return world.app.wsgi_app if world.interface == "wsgi" else world.app


class Inside:
    """An app that keeps each request's TikTokAuth, and raises."""

    def __init__(self, world):
        self.seen, self.world = [], world
        middleware = our_app(world)
        inner = middleware.app
        if world.interface == "wsgi":

            def app(environ, start_response):
                self.look(environ["PATH_INFO"], environ["tiktok.auth"])
                return inner(environ, start_response)
        else:

            async def app(scope, receive, send):
                if scope["type"] == "http":
                    self.look(scope["path"], scope["tiktok"])
                await inner(scope, receive, send)

        middleware.app = app

    def look(self, path, auth):
        self.seen += [auth, auth.token, auth.user]
        if path == "/raises":
            raise ZeroDivisionError


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


@pytest.fixture
def tiktok(settings, clock):
    made = Listening.for_settings(settings, clock=clock)
    made.access_lifetime = LIFE
    return made


@pytest.fixture(params=["in process", "over a socket"])
def listening(request, interface, store, settings, tiktok, clock):
    """Return a world whose stand-in is reached by a transport or by real HTTP."""
    with ExitStack() as stack:
        world = World(interface, settings, tiktok, store, clock, [], stack)
        changes = {"webhook_path": HOOK, "disconnect_path": DISCONNECT}
        if request.param == "over a socket":
            stand_in = stack.enter_context(StandIn(tiktok))
            changes["endpoints"] = stand_in.endpoints

            class Reached:
                """The stand-in, without a transport of its own."""

                transport = None

                def __getattr__(self, name):
                    return getattr(tiktok, name)

                def __setattr__(self, name, value):
                    setattr(tiktok, name, value)

            world.tiktok = Reached()
        world.with_settings(**changes)
        if interface == "wsgi":
            stack.callback(world.app.wsgi_app.close)
        yield world


class Watch:
    """Collects a world's output, and the secrets that it received."""

    def __init__(self, world, tiktok):
        self.secrets = tiktok.secrets
        self.secrets |= {reveal(key) for key in world.settings.secret_keys}
        self.responses = []
        original = world.browser

        def browser(**cookies):
            made = original(**cookies)
            made.client.event_hooks = {"request": [self.sent], "response": [self.got]}
            return made

        world.browser = browser

    def sent(self, request):
        query = dict(parse_qsl(request.url.query.decode()))
        found = [query[n] for n in ("code", "state") if len(query.get(n, "")) > 8]
        self.secrets.update(found)

    def got(self, response):
        response.read()
        shown = []
        for name, value in response.headers.multi_items():
            if name == "set-cookie":
                # The cookie is expected in its own header, and nowhere else.
                cookie, _, attributes = value.partition(";")
                report = cookie.partition("=")[2]
                # The cookie that a logout sets has no secret.
                if report not in ("", "1"):
                    parts = {report.partition(".")[0], report.rpartition(".")[2]}
                    self.secrets |= {report, *parts}
                shown.append(cookie.partition("=")[0] + attributes)
            elif name == "location" and "/v2/auth/authorize/" in value:
                query = dict(parse_qsl(urlsplit(value).query))
                self.secrets.add(query.pop("state"))
                shown.append(repr(query))
            else:
                shown.append(f"{name}: {value}")
        if response.url.path in OURS or response.status_code >= 300:
            self.responses += [*shown, response.text]


def lines_of(caplog):
    """Return everything that a formatter could print of the package's records and its
    libraries'.
    """
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s %(stack_info)s")
    return [
        f"{formatter.format(record)} {vars(record)!r}"
        for record in caplog.records
        # Logged by the test's browsers, which call the app and not TikTok.
        if "app.example.com" not in record.getMessage()
    ]


@pytest.fixture
def everything_logged(caplog):
    """Set every logger to DEBUG, without the limit on repeated lines."""
    seldom = list(logger.filters)
    for one in seldom:
        logger.removeFilter(one)
    with caplog.at_level(logging.DEBUG):
        for name in [
            PACKAGE,
            "authlib",
            "httpx2",
            "httpcore2",
            "asyncio",
            *logging.root.manager.loggerDict,
        ]:
            if not name.startswith("faker"):
                caplog.set_level(logging.DEBUG, name)
        yield caplog
    for one in seldom:
        logger.addFilter(one)


def test_output_has_no_secret(listening, tiktok, everything_logged):
    """No secret is in any event, log line, or answer of the middleware."""
    world = listening
    watch = Watch(world, tiktok)
    everything(world)
    faults(world, world.browser())
    report = [f"{e!r} {e} {dataclasses.asdict(e)}" for e in world.events]
    lines = lines_of(everything_logged)
    assert {event.name for event in world.events} == NAMES
    assert any("refresh failed" in line for line in lines)
    if world.tiktok.transport is None:
        assert any("httpcore2" in line for line in lines)
    assert sum("***" in line for line in lines) > 5
    assert len(watch.secrets) > 100
    assert len(watch.responses) > 500
    # All of these failures are expected: none logs a traceback, and each record is one
    # line.
    ours = [r for r in everything_logged.records if r.name == PACKAGE]
    assert not [r for r in ours if r.exc_info or r.stack_info or "\n" in r.getMessage()]
    assert {e.reason for e in world.events} <= REASONS
    assert hits(watch.secrets, [*report, *lines]) == []
    assert hits(watch.secrets, watch.responses) == []


# --- objects -----------------------------------------------------------------------


def ours(roots):
    """Return all reachable objects of the package, and those of libraries that keep its
    keys.
    """
    seen, found, waiting = set(), [], deque(roots)
    # A function leads to its module, and that to the whole interpreter.
    closed = (types.ModuleType, types.FunctionType, types.FrameType, type)
    while waiting:
        one = waiting.popleft()
        module = type(one).__module__
        if (
            id(one) in seen
            or isinstance(one, closed)
            or module.startswith(f"{PACKAGE}.testing")
        ):
            continue
        seen.add(id(one))
        # itsdangerous keeps our keys, and our client uses Authlib's.
        if any(kind.__module__.startswith(KEEPERS) for kind in type(one).__mro__):
            found.append(one)
        waiting.extend(gc.get_referents(one))
    return found


def shown(one):
    """Return an object's texts by the usual ways of printing."""
    yield repr(one)
    yield str(one)
    yield f"{one}"
    template = "{} {!r}"
    yield template.format(one, one)
    if hasattr(one, "__dict__"):
        yield repr(vars(one))
        yield repr(sorted(map(repr, vars(one).values())))
    # Flows are dataclasses, too, but compare by identity: they contain locks and TLS
    # contexts, on which `asdict` fails.
    if dataclasses.is_dataclass(one) and type(one).__eq__ is not object.__eq__:
        yield repr(dataclasses.asdict(one))
        yield repr(dataclasses.astuple(one))
    if isinstance(one, BaseException):
        yield "".join(
            traceback.TracebackException.from_exception(
                one, capture_locals=True
            ).format()
        )


def test_objects(listening, tiktok):
    """No object that an app or a debugger can reach prints a secret."""
    world = listening
    watch = Watch(world, tiktok)
    inside = Inside(world)
    browser, other = world.browser(), world.browser()
    browser.log_in()
    other.log_in(person=tiktok.people[1])
    world.clock.advance(LIFE + 1)
    assert browser.me()["token"]
    assert other.me()["token"]
    roots = [our_app(world), world.settings, *inside.seen]
    found = ours(roots)
    kinds = {kind.__name__ for one in found for kind in type(one).__mro__}
    assert kinds >= {
        "Core",
        "TikTokSettings",
        "TikTokAuth",
        "Token",
        "User",
        "SessionCookies",
        "Box",
        "SessionCache",
        "Secret",
        "Records",
        "Refresh",
        "LoginFlow",
    }
    # Under ASGI the event loop keeps it.
    assert ("_SyncClient" in kinds) == (world.interface == "wsgi")
    report = [line for one in found for line in shown(one)]
    assert hits(watch.secrets, report) == []
    # Derived keys are bytes, which print differently.
    for purpose in ("session", "grant", "login"):
        derived = derive(
            world.settings.secret_keys[0], world.settings.client_key, purpose
        )
        assert not [line for line in report if repr(derived)[2:-1] in line]


@pytest.mark.parametrize("listening", ["in process"], indirect=True)
def test_traceback(listening, tiktok):
    """An exception of the app's shows no secret in the locals of our frames.

    The scope or environ, with the request's own cookies, is not counted: it comes from
    the server.
    """
    world = listening
    watch = Watch(world, tiktok)
    Inside(world)
    browser = world.browser()
    browser.log_in()
    assert browser.me()["token"]
    for advance in (0, 2, LIFE):  # from the cache, from the store, and refreshed
        world.clock.advance(advance)
        with pytest.raises(ZeroDivisionError) as raised:
            browser.get("/raises")
        frames = [f for f, _ in traceback.walk_tb(raised.value.__traceback__)]
        frames = [f for f in frames if f"/{PACKAGE}/" in f.f_code.co_filename]
        assert frames
        report = [
            f"{name} = {value!r}"
            for frame in frames
            for name, value in frame.f_locals.items()
            if name not in ("scope", "inner", "environ")
        ]
        assert hits(watch.secrets, report) == []


def test_unfinished_login():
    """A login transaction prints neither its state nor its verifier."""
    login = LoginTransaction(
        state="the-state-of-one",
        verifier="the-verifier-of-one",
        return_to="/",
        created_at=1,
        requested="",
    )
    assert (
        hits([login.state, login.verifier], [repr(login), str(login), f"{login}"]) == []
    )


@pytest.mark.parametrize("backend", [ThreadBackend, AsyncBackend])
def test_client(backend):
    """Neither our client for TikTok nor Authlib's below it prints the client secret."""
    settings = make_settings()
    transport = httpx2.MockTransport(lambda request: httpx2.Response(500))
    client = TikTokClient(settings, backend(), transport=transport)
    report = [line for one in (client, client.http.make()) for line in shown(one)]
    assert any("client_secret" in line for line in report)
    assert hits([reveal(settings.client_secret)], report) == []


def test_password_of_a_store():
    """The password in a store's address is shown by neither settings nor store."""
    address = "redis://somebody:a-long-password@localhost:6379/0"
    settings = make_settings(store=address)
    assert settings.store == address
    for one in (settings, RedisStore(settings.store)):
        assert hits(["a-long-password"], list(shown(one))) == []


def test_errors_of_the_network():
    """Errors of the HTTP library, which contain the request, are never raised to
    callers.
    """

    def fails(request):
        message = f"could not send {request.content!r}"
        raise httpx2.WriteError(message, request=request)

    settings = make_settings()
    secrets = [token_urlsafe(), token_urlsafe(), reveal(settings.client_secret)]
    client = TikTokClient(
        settings, ThreadBackend(), transport=httpx2.MockTransport(fails)
    )
    with pytest.raises(TikTokError) as raised:
        run(client.exchange(*secrets[:2]))
    text = "".join(traceback.format_exception(raised.value))
    assert "WriteError" in text
    assert hits(secrets, [text, repr(vars(raised.value))]) == []

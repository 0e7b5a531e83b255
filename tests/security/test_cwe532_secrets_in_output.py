"""No log, event, page, header, repr, exception or traceback contains a secret.

A stand-in records every secret that it handles, and repeats what it is sent in each of
its errors. Every flow and fault runs at DEBUG; then all output is searched for each
secret: raw, percent-encoded, in hex, and in base64 at any offset.
"""

from __future__ import annotations

import base64
import dataclasses
import gc
import logging
import traceback
import types
from collections import deque
from contextlib import ExitStack
from secrets import token_urlsafe
from urllib.parse import quote

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

from ..conftest import World, make_settings
from ..support.deliveries import HOOK
from ..support.every_event import DISCONNECT, LIFE, NAMES, Breakable, everything
from ..support.secret_watch import Listening, Watch, faults

PACKAGE = "tiktok_oauth_middleware"
KEEPERS = (PACKAGE, "itsdangerous")


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


class Inside:
    """An app that keeps each request's TikTokAuth, and raises."""

    def __init__(self, world):
        self.seen, self.world = [], world
        middleware = world.middleware
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
    return Listening.for_settings(settings, clock=clock)


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
    roots = [world.middleware, world.settings, *inside.seen]
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

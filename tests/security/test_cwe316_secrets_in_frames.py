"""No frame of the package that calls an app's code contains a plain-text secret.

Reporters of exceptions record the locals of every frame on the stack. The package calls
an app's code in its views, its `on_event`, `page` and log handlers; inside each of
these, the tests search every frame of the package. The server's scope or environ is
excluded, since it is always in frames; so is a store, which is called in the middle of
a flow.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import traceback

import pytest

from tiktok_oauth_middleware import (
    ConfigurationError,
    StoreError,
    TikTokOAuthError,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
    TikTokTokens,
)
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._web.pages import Pages

from ..conftest import make_settings
from ..support.app_users import CONNECT, connect, current_user, sign_in
from ..support.deliveries import HOOK
from ..support.every_event import DISCONNECT, LIFE, Breakable, everything
from ..support.package_frames import Looker, texts_in
from ..support.ports import free_port
from ..support.secret_watch import Listening, Watch, faults


class Handler(logging.Handler):
    def __init__(self, looker):
        super().__init__()
        self.looker = looker

    def emit(self, record):
        self.looker.look("log")


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


@pytest.fixture
def tiktok(settings, clock):
    return Listening.for_settings(settings, clock=clock)


@pytest.fixture
def looker(world):
    looker = Looker()
    handler = Handler(looker)
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield looker
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def watched(world, looker, tiktok):
    """Return a world in which all of the app's code inspects the frames."""

    class Events(list):
        def append(self, event):
            looker.look("on_event")
            super().append(event)

    def page(problem):
        looker.look("page")

    world.events = Events()
    world.further = {"page": page}
    world = world.with_settings(
        webhook_path=HOOK, disconnect_path=DISCONNECT, protect=["/ruled"]
    )
    middleware = world.middleware
    inner = middleware.app
    if world.interface == "wsgi":

        def app(environ, start_response):
            looker.look("app")
            return inner(environ, start_response)
    else:

        async def app(scope, receive, send):
            looker.look("app")
            await inner(scope, receive, send)

    middleware.app = app
    return world


def test_journey(watched, looker, tiktok):
    """From login to logout, with every fault, no plain-text secret is found."""
    watch = Watch(watched, tiktok)
    everything(watched)
    faults(watched, watched.browser())
    browser = watched.browser()
    browser.log_in()
    assert browser.get("/ruled/x").status_code == 200
    assert watched.browser().get("/ruled/x").status_code == 303
    assert browser.get("/upload").status_code in (303, 403)
    assert looker.places == {"on_event", "page", "app", "log"}
    assert len(watch.secrets) > 100
    assert looker.found(watch.secrets) == []


def test_connect(watched, looker, tiktok):
    """No frame around ``current_user`` or the events of a connection has a secret."""

    def look_and_say(connection):
        looker.look("current_user")
        return current_user(connection)

    watched.further["current_user"] = look_and_say
    world = watched.with_settings(connect_path=CONNECT)
    watch = Watch(world, tiktok)
    browser = world.browser()
    sign_in(browser, "user-1")
    browser.log_in()
    assert connect(browser, person=tiktok.people[1]).status_code == 303
    sign_in(browser, "user-2")
    assert connect(browser, person=tiktok.people[1]).status_code == 409
    assert {"current_user", "on_event", "log"} <= looker.places
    assert len(watch.secrets) > 10
    assert looker.found(watch.secrets) == []


@pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
def test_jobs(watched, looker, tiktok):
    """No frame of a job, a sweep or a disconnect has a secret either."""
    watch = Watch(watched, tiktok)
    browser = watched.browser()
    browser.log_in()
    open_id = tiktok.people[0].open_id
    tokens = TikTokTokens(
        watched.settings,
        watched.store,
        on_event=watched.events.append,
        transport=tiktok.transport,
        clock=watched.clock,
    )
    assert tokens.get(open_id).access_token
    watched.clock.advance(LIFE)
    assert tokens.renew(open_id).access_token
    watched.clock.advance(LIFE)
    [record_key] = [key for key in watched.store.keys("") if ":grant:" in key]
    unreadable = record_key.replace(":grant:{", ":grant:{other")
    assert watched.store.compare_and_set(unreadable, None, b"no record", 60)

    def progress(read):
        looker.look("progress")

    # Twice, since the last page is still in the frame when a warning is logged.
    for _ in range(2):
        summary = tokens.refresh_expiring(LIFE, progress=progress)
        assert summary.unreadable == 1
    for _ in tokens.iter_users():
        looker.look("users")
    assert {"progress", "log"} <= looker.places
    tokens.disconnect(open_id)
    assert looker.found(watch.secrets) == []


def texts_behind(error):
    """Return the texts in the frames of the package that an exception passed through.

    Those of the exceptions that caused it are included.
    """
    waiting, found, seen = [error], [], set()
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        waiting += [current.__cause__, current.__context__]
        for frame, _ in traceback.walk_tb(current.__traceback__):
            name = frame.f_code.co_filename
            if name != __file__ and "/testing/" not in name:
                for value in [*frame.f_locals.values()]:
                    found += [repr(value), *texts_in(value, set(), secrets=False)]
    return found


@pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
@pytest.mark.parametrize("operation", ["get", "renew", "profile"])
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"error": "invalid_client"},
        {"error": "access_token_invalid"},
        {"error": "scope_not_authorized"},
    ],
    ids=lambda fault: str(*fault.values()),
)
def test_exceptions_of_jobs(world, tiktok, operation, fault):
    """The traceback of an exception that a job gets has no token in its frames."""
    world = world.with_settings()
    world.browser().log_in()
    open_id = tiktok.people[0].open_id
    tokens = TikTokTokens(
        world.settings, world.store, transport=tiktok.transport, clock=world.clock
    )
    token = tokens.get(open_id).access_token
    if operation != "profile":
        world.clock.advance(LIFE)
    for endpoint in ("token", "user_info"):
        tiktok.fail(endpoint, **fault)
    with pytest.raises(TikTokOAuthError) as raised:
        getattr(tokens, operation)(open_id)
    secrets = (token, world.settings.client_secret.reveal())
    texts = texts_behind(raised.value)
    assert texts
    assert [text for text in texts for secret in secrets if secret in text] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"redirect_uri": "http://x"},
        {"unknown": 1},
        {"store": "x://a:secret-password@b"},
    ],
    ids=lambda wrong: str(*wrong),
)
@pytest.mark.parametrize("source", ["arguments", "process", "mapping"])
def test_exceptions_of_settings(wrong, source):
    """The traceback about a wrong option has no secret in its frames."""
    made = make_settings()
    given = {
        "client_key": made.client_key,
        "client_secret": made.client_secret.reveal(),
        "redirect_uri": made.redirect_uri,
        "secret_keys": [made.secret_keys[0].reveal()],
        "scopes": ["user.info.basic"],
        **wrong,
    }
    secrets = [given["client_secret"], *given["secret_keys"], "secret-password"]
    if source != "arguments":
        given["secret_keys"] = given["secret_keys"][0]
        given["scopes"] = "user.info.basic,"
        names = {f"TIKTOK_{k.upper()}": str(v) for k, v in given.items()}
        if "unknown" in wrong:
            names["TIKTOK_SCOPE"] = "a"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in names.items():
                patch.setenv(name, value)
            with pytest.raises(ConfigurationError) as raised:
                TikTokSettings.from_env(names if source == "mapping" else None)
    else:
        with pytest.raises((ConfigurationError, TypeError)) as raised:
            TikTokSettings(**given)
    texts = texts_behind(raised.value)
    assert [text for text in texts for secret in secrets if secret in text] == []


@pytest.mark.parametrize("kind", [TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware])
def test_exceptions_of_stores(kind):
    """The traceback about a store without a driver has no password in its frames."""

    def app(*_):
        raise AssertionError

    store = "postgresql+nodriver://user:secret-password@host/name"
    settings = make_settings(store=store)

    def make():
        try:
            raise LookupError
        except LookupError as error:
            handled.append(error)
            kind(app, settings)

    handled = []
    with pytest.raises(ConfigurationError) as raised:
        make()
    assert handled[0].__traceback__ is not None
    texts = texts_behind(raised.value)
    assert texts
    assert [text for text in texts if "secret-password" in text] == []


@pytest.mark.parametrize(
    ("scheme", "is_async"),
    [
        ("redis", False),
        ("redis", True),
        ("postgresql+psycopg", False),
        ("postgresql+psycopg", True),
        ("postgresql+asyncpg", True),
        ("mysql+pymysql", False),
        ("mysql+asyncmy", True),
    ],
)
def test_exceptions_of_a_store_that_is_down(scheme, is_async):
    """No frame of an exception about a store that is down has its password.

    That includes the driver's frames, since its exception is the cause. An exception
    that the app was handling keeps its frames.
    """
    pytest.importorskip(scheme.rpartition("+")[2])
    name = "0" if scheme == "redis" else "name"
    url = f"{scheme}://user:secret-password@127.0.0.1:{free_port()}/{name}"
    tokens = TikTokTokens(make_settings(store=url))

    def get():
        try:
            raise LookupError
        except LookupError:
            return asyncio.run(tokens.aget("x")) if is_async else tokens.get("x")

    with pytest.raises(StoreError) as raised:
        get()
    error = raised.value
    texts = texts_behind(error)
    assert texts
    assert [text for text in texts if "secret-password" in text] == []
    assert error.__cause__ is not None
    if not is_async:
        while not isinstance(error, LookupError):
            error = error.__context__
        assert error.__traceback__ is not None


def test_the_walk_finds():
    """The search finds a secret in tuples, closures, slots and dataclasses."""
    secret = "a-secret-of-the-test"

    def closure():
        return secret

    @dataclasses.dataclass
    class Holder:
        held: object

    for value in (
        secret,
        secret.encode(),
        [(secret,)],
        {"a": {secret: 1}},
        closure,
        Holder([closure]),
        Holder(Secret(secret)),
    ):
        assert secret in [*texts_in(value, set(), secrets=True)], value
    assert [*texts_in(Secret(secret), set(), secrets=False)] == []
    assert [*texts_in(Pages(), set(), secrets=True)] == []

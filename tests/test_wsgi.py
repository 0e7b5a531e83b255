"""The WSGI shell: PEP 3333 on both sides, and nothing of the app's lost."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import httpx2
import pytest

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.core import guard
from tiktok_oauth_middleware.runtime import run

from .conftest import LOGIN, ORIGIN, make_settings


def call(app, path="/", **environ):
    """Call a WSGI app; return status, headers, body."""
    given = {"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", **environ}
    setup_testing_defaults(given)
    started = []

    def start_response(status, headers, exc_info=None):
        started[:] = [status, headers]
        return lambda data: None

    body = app(given, start_response)
    try:
        content = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return started[0], started[1], content


def wrap(app, **options):
    settings = make_settings(**options.pop("settings", {}))
    return TikTokOAuthWSGIMiddleware(app, settings, store=MemoryStore(), **options)


def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"app"]


@pytest.mark.parametrize("path", ["/", LOGIN, "/auth/tiktok/logout", "/protected"])
def test_conforms(path):
    """The middleware keeps PEP 3333 towards the server and towards the app."""
    wrapped = wrap(validator(plain), settings={"protect": ["/protected"]})
    status, _, _ = call(validator(wrapped), path)
    assert status[:3] in {"200", "303"}


def test_iterable_is_handed_on():
    """The app's iterable reaches the server as it is, so a file wrapper does too."""
    wrapper = FileWrapper(io.BytesIO(b"file"))

    def app(environ, start_response):
        start_response("200 OK", [])
        return wrapper

    given = {}
    setup_testing_defaults(given)
    assert wrap(app)(given, lambda *args: None) is wrapper


def test_body_is_left_to_the_app():
    """The body is unread when the app begins, so the server says 100 when it asks."""
    given = io.BytesIO(b"posted")

    def app(environ, start_response):
        assert environ["wsgi.input"] is given
        assert given.tell() == 0
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    more = {"wsgi.input": given, "CONTENT_LENGTH": "6", "HTTP_EXPECT": "100-continue"}
    assert call(wrap(app), REQUEST_METHOD="POST", **more)[2] == b"posted"


def test_iterable_is_closed():
    """The app's ``close`` is called by the server on the app's own iterable."""
    closed = []

    class Body(list):
        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", [])
        return Body([b"x"])

    assert call(wrap(app))[2] == b"x"
    assert closed == [True]


def test_generator():
    """A generator, which starts its response late, passes whole and is closed."""
    closed = []

    def app(environ, start_response):
        try:
            start_response("200 OK", [("X-A", "b")])
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    status, headers, body = call(wrap(app))
    assert (status, headers, body) == ("200 OK", [("X-A", "b")], b"onetwo")
    assert closed == [True]


def test_refused_generator():
    """A guard inside a generator replaces the answer, and closes what is thrown away."""
    closed = []

    def app(environ, start_response):
        try:
            challenge = guard(environ["tiktok.auth"], ())
            start_response("401 Unauthorized" if challenge else "200 OK", [])
            yield b"secret"
        finally:
            closed.append(True)

    status, headers, body = call(wrap(app), HTTP_ACCEPT="application/json")
    assert status == "401 Unauthorized"
    assert b"login_required" in body
    assert b"secret" not in body
    assert closed == [True]
    assert dict(headers)["cache-control"] == "no-store"


def test_refused_writer():
    """What a refused app passes to write() is thrown away."""

    def app(environ, start_response):
        guard(environ["tiktok.auth"], ())
        write = start_response("401 Unauthorized", [])
        write(b"secret")
        return []

    _, _, body = call(wrap(app), HTTP_ACCEPT="application/json")
    assert b"secret" not in body


def test_errors_pass():
    """What the app raises reaches the server, exc_info too."""

    def app(environ, start_response):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(wrap(app))


def test_remote_user_is_not_set():
    """No identity is handed on through headers or REMOTE_USER."""

    def app(environ, start_response):
        assert "REMOTE_USER" not in environ
        return plain(environ, start_response)

    call(wrap(app))


def test_script_name():
    """Paths are matched below SCRIPT_NAME, and links begin with it."""
    seen = []

    def app(environ, start_response):
        seen.append(environ["tiktok.auth"].login_url())
        return plain(environ, start_response)

    wrapped = wrap(app, settings={"redirect_uri": ORIGIN + "/sub/auth/tiktok/callback"})
    status, _, _ = call(wrapped, LOGIN, SCRIPT_NAME="/sub")
    assert status.startswith("303")
    call(wrapped, "/", SCRIPT_NAME="/sub")
    assert seen == ["/sub/auth/tiktok/login"]


def test_head():
    """HEAD of a page of ours has its headers and no body."""
    wrapped = wrap(plain, settings={"protect": ["/p"]})
    status, headers, body = call(
        wrapped, "/p", REQUEST_METHOD="HEAD", HTTP_ACCEPT="text/html"
    )
    assert status.startswith("303")
    assert body == b""
    assert dict(headers)["location"].startswith(LOGIN)


class TestBuilt:
    def test_async_store(self):
        """A store with async methods is refused when the middleware is built."""

        class Async:
            async def get(self, key): ...

        with pytest.raises(ConfigurationError, match="store"):
            TikTokOAuthWSGIMiddleware(plain, make_settings(), store=Async())

    def test_async_callback(self):
        """An async callback is refused when the middleware is built."""

        async def on_event(event): ...

        with pytest.raises(ConfigurationError, match="on_event"):
            wrap(plain, on_event=on_event)


def test_suspending_is_a_bug():
    """A coroutine that suspends under WSGI is closed, and named."""

    class Suspends:
        def __await__(self):
            yield

    async def culprit():
        await Suspends()

    async def flow():
        await culprit()

    with pytest.raises(RuntimeError, match="culprit"):
        run(flow())


def test_class_31_thousand_requests(settings, tiktok, clock):
    """1,000 requests in threads with a token due for refresh make one refresh."""
    tiktok.access_lifetime = 7200

    def app(environ, start_response):
        token = environ["tiktok.auth"].token
        start_response("200 OK", [])
        return [token.access_token.encode() if token else b"none"]

    wrapped = TikTokOAuthWSGIMiddleware(
        app,
        settings,
        store=MemoryStore(clock=clock),
        transport=tiktok.transport,
        clock=clock,
    )
    with httpx2.Client(
        transport=httpx2.WSGITransport(wrapped), base_url=ORIGIN
    ) as client:
        url = client.get(LOGIN).headers["location"]
        client.get(tiktok.consent(url))
        cookie = "; ".join(f"{c.name}={c.value}" for c in client.cookies.jar)
    for age in (7200 - 100, 7200 + 100):
        clock.advance(age)
        before = tiktok.count("token", grant_type="refresh_token")
        with ThreadPoolExecutor(50) as pool:
            bodies = list(
                pool.map(lambda _: call(wrapped, HTTP_COOKIE=cookie)[2], range(1000))
            )
        assert tiktok.count("token", grant_type="refresh_token") == before + 1
        assert all(body.startswith(b"act.") for body in bodies)
    wrapped.close()

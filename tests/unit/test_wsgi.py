"""The WSGI middleware: it follows PEP 3333 on both sides, and keeps the app's response."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import httpx2
import pytest

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._web.guard import guard

from ..conftest import LOGIN, ORIGIN, make_settings


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
    assert status[:3] in {"200", "303", "401"}


def test_iterable_is_handed_on():
    """The app's iterable reaches the server unchanged, and so does a file wrapper."""
    wrapper = FileWrapper(io.BytesIO(b"file"))

    def app(environ, start_response):
        start_response("200 OK", [])
        return wrapper

    given = {}
    setup_testing_defaults(given)
    assert wrap(app)(given, lambda *args: None) is wrapper


def test_body_is_left_to_the_app():
    """The body is not read before the app does, so the server sends 100 Continue only
    then.
    """
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
    """A generator, which starts its response late, is sent completely and closed."""
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
    """A guard inside a generator replaces the answer, and the discarded generator is
    closed.
    """
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
    """Data that a refused app passes to write() is dropped."""

    def app(environ, start_response):
        guard(environ["tiktok.auth"], ())
        write = start_response("401 Unauthorized", [])
        write(b"secret")
        return []

    _, _, body = call(wrap(app), HTTP_ACCEPT="application/json")
    assert b"secret" not in body


def reading(environ):
    """Read the session, as a page does while it is rendered."""
    return f"{environ['tiktok.auth'].open_id}".encode()


def lists(environ, start_response):
    start_response("200 OK", [("X-A", "b")])
    return [reading(environ)]


def generators(environ, start_response):
    start_response("200 OK", [("X-A", "b")])
    yield reading(environ)


def inner_generators(environ, start_response):
    start_response("200 OK", [("X-A", "b")])
    return (reading(environ) for _ in range(2))


def empty_chunks_first(environ, start_response):
    start_response("200 OK", [("X-A", "b")])
    yield b""
    yield b""
    yield reading(environ)


def iterables(environ, start_response):
    class Body:
        def __iter__(self):
            return iter([reading(environ)])

    start_response("200 OK", [("X-A", "b")])
    return Body()


def writers(environ, start_response):
    write = start_response("200 OK", [("X-A", "b")])
    write(reading(environ))
    return [b"!"]


def second_thoughts(environ, start_response):
    start_response("200 OK", [])
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("500 Oh", [("X-A", "b")], sys.exc_info())
    return [reading(environ)]


def no_body(environ, start_response):
    start_response("204 No Content", [("X-A", "b")])
    reading(environ)
    return []


LATE = [
    lists,
    generators,
    inner_generators,
    empty_chunks_first,
    iterables,
    writers,
    second_thoughts,
    no_body,
]


@pytest.mark.parametrize("app", LATE, ids=lambda app: app.__name__)
@pytest.mark.parametrize("is_validated", [False, True])
def test_reading_after_start_response(app, is_validated):
    """Reading the session after start_response and before the body still makes the
    response private.
    """
    validated = [(name, value) for name, value in [("Content-Type", "text/plain")]]

    def typed(environ, start_response):
        def start(status, headers, *exc_info):
            more = [] if status.startswith("204") else validated
            return start_response(status, headers + more, *exc_info)

        return app(environ, start)

    wrapped = validator(wrap(validator(typed))) if is_validated else wrap(app)
    status, headers, _ = call(wrapped)
    assert status == {second_thoughts: "500 Oh", no_body: "204 No Content"}.get(
        app, "200 OK"
    )
    assert dict(headers)["X-A"] == "b"
    assert dict(headers)["cache-control"] == "private"
    assert dict(headers)["vary"] == "Cookie"


def test_not_reading_leaves_the_head():
    """The headers of a generator that never reads the session are unchanged."""

    def app(environ, start_response):
        start_response("200 OK", [("X-A", "b")])
        yield b"one"
        yield b"two"

    assert call(wrap(app)) == ("200 OK", [("X-A", "b")], b"onetwo")


def test_streaming_makes_one_chunk_at_a_time():
    """Only the first chunk is made before the server requests the next."""
    made = []

    def app(environ, start_response):
        start_response("200 OK", [])
        for number in range(3):
            made.append(number)
            yield b"x"

    environ = {}
    setup_testing_defaults(environ)
    body = wrap(app)(environ, lambda *_: lambda _: None)
    seen = [len(made) for _ in body]
    body.close()
    assert seen == [1, 2, 3]


def events(first, *, reads=False, kind="text/event-stream; charset=utf-8"):
    """Return an app whose stream begins with a chunk, and what the server had sent
    before the next one.
    """
    sent, had = io.BytesIO(), []

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", kind)])

        def stream():
            if reads:
                reading(environ)
            yield first
            had.append(sent.getvalue())
            yield b"data: 1\n\n"

        return stream()

    environ = {}
    setup_testing_defaults(environ)
    SimpleHandler(io.BytesIO(), sent, io.StringIO(), environ).run(wrap(app))
    assert sent.getvalue().endswith(b"data: 1\n\n")
    return had[0].lower()


@pytest.mark.parametrize("first", [b"", b":\n\n"])
def test_event_stream(first):
    """The head of an event stream is sent with its first chunk, also an empty one, if
    the server does that; its events may come much later.
    """
    assert b"content-type: text/event-stream" in events(first)


def test_event_stream_that_reads():
    """The head is private if the session was read before the first chunk."""
    sent = events(b"", reads=True)
    assert b"cache-control: private" in sent
    assert b"vary: cookie" in sent


def test_empty_chunk_of_another_stream():
    """The head of another stream waits for its first byte: the session may be read."""
    assert events(b"", kind="text/plain") == b""


@pytest.mark.parametrize("late", [False, True])
def test_late_guard(late):
    """A guard's refusal after start_response with 401 is answered like any other."""
    closed = []

    class Body(list):
        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("401 Unauthorized", [("X-A", "b")])
        if late:
            assert environ["tiktok.auth"].open_id is None
        guard(environ["tiktok.auth"], ())
        return Body([b"secret"])

    status, headers, body = call(validator(wrap(app)), HTTP_ACCEPT="application/json")
    assert status == "401 Unauthorized"
    assert b"login_required" in body
    assert b"secret" not in body
    assert "X-A" not in dict(headers)
    assert closed == [True]


@pytest.mark.parametrize("reads", [False, True])
def test_one_head(reads):
    """The server gets the final head only, whatever the app has read before.

    gunicorn and cheroot add the headers of a second call, which names an exception, to
    those of the first: two lengths, and the app's cookies beside our response.
    """
    heads = []

    def start_response(status, headers, exc_info=None):
        heads.append((status, dict(headers), exc_info))
        return lambda _: None

    def failing(environ, start_response):
        if reads:
            assert environ["tiktok.auth"].open_id is None
        start_response("200 OK", [("X-A", "b")])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [("X-B", "c")], sys.exc_info())
        return [b""]

    def guarded(environ, start_response):
        if reads:
            assert environ["tiktok.auth"].open_id is None
        start_response("401 Unauthorized", [("X-A", "b")])
        guard(environ["tiktok.auth"], ())
        return [b"secret"]

    for app, expected in ((failing, "500 Oh"), (guarded, "401 Unauthorized")):
        environ = {}
        setup_testing_defaults(environ)
        wrap(app)(environ, start_response)
        status, headers, _ = heads.pop()
        assert heads == []
        assert status == expected
        assert "X-A" not in headers


def test_guard_after_write():
    """A guard that refuses after write() does not change the response being sent."""

    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"begun ")
        guard(environ["tiktok.auth"], ())
        return [b"and ended"]

    assert call(wrap(app))[0] == "200 OK"
    assert call(wrap(app))[2] == b"and ended"


def test_error_after_start_response():
    """After an error between start_response and the first chunk, no headers
    were sent.
    """
    begun = []

    def app(environ, start_response):
        start_response("200 OK", [])
        raise ZeroDivisionError
        yield b""

    environ = {}
    setup_testing_defaults(environ)
    with pytest.raises(ZeroDivisionError):
        wrap(app)(environ, lambda *given: begun.append(given))
    assert begun == []


def test_second_head_is_passed_to_the_server():
    """A second start_response without exc_info is passed to the server."""
    heads = []

    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return [b""]

    environ = {}
    setup_testing_defaults(environ)
    wrap(app)(environ, lambda *given: heads.append(given))
    assert heads == [("200 OK", []), ("404 Not Found", [])]


def test_exc_info_after_the_head():
    """start_response with exc_info after the body has begun is passed to the server."""

    def start_response(status, headers, exc_info=None):
        if exc_info is not None:
            raise exc_info[1]
        return lambda _: None

    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"begun")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [], sys.exc_info())
        return []

    environ = {}
    setup_testing_defaults(environ)
    with pytest.raises(ZeroDivisionError):
        wrap(app)(environ, start_response)


class Wrapper:
    """A server's own file wrapper."""

    def __init__(self, file, size=8192):
        self.file = file

    def __iter__(self):
        raise AssertionError("the server sends the file itself")


@pytest.mark.parametrize("wrapper", [Wrapper, lambda file, size=8192: file])
def test_file_wrapper_of_the_server(wrapper):
    """A wrapped file reaches the server, whether the wrapper is a class or, as in
    uWSGI, a function.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))

    environ = {"wsgi.file_wrapper": wrapper}
    setup_testing_defaults(environ)
    heads = []
    body = wrap(app)(environ, lambda *given: heads.append(given))
    assert isinstance(body, Wrapper | io.BytesIO)
    assert heads == [("200 OK", [])]


def test_errors_pass():
    """An exception in the app reaches the server, also one passed as exc_info."""

    def app(environ, start_response):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(wrap(app))


def test_remote_user_is_not_set():
    """No identity is passed through headers or REMOTE_USER."""

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


def test_text_that_is_not_latin_1():
    """Adapters of serverless platforms pass text as it came in JSON, not as PEP 3333
    says; such a cookie or query is no error.
    """
    wrapped = wrap(plain)
    cookie = "a=€; __Host-tiktok=x"
    assert call(wrapped, "/", HTTP_COOKIE=cookie)[0] == "200 OK"
    given = {"HTTP_COOKIE": cookie, "HTTP_ACCEPT": "€", "QUERY_STRING": "next=/€"}
    assert call(wrapped, LOGIN, **given)[0] == "303 See Other"


def test_head():
    """HEAD of one of the middleware's pages has its headers and no body."""
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
    """A coroutine that suspends under WSGI is closed, and the error names it."""

    class Suspends:
        def __await__(self):
            yield

    async def culprit():
        await Suspends()

    async def flow():
        await culprit()

    with pytest.raises(RuntimeError, match="culprit"):
        run(flow())


def test_thousand_requests(settings, tiktok, clock):
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

"""The ASGI middleware: messages that it passes on unchanged, WebSockets, and mount
points.
"""

from __future__ import annotations

import logging
from contextlib import closing

import anyio
import httpx2
import pytest
from starlette.responses import StreamingResponse

from tiktok_oauth_middleware import MemoryStore, StoreError, TikTokOAuthMiddleware
from tiktok_oauth_middleware._web.guard import guard

from ..conftest import ORIGIN, SAME_ORIGIN, make_settings
from ..support.asgi_calls import call, http_scope


def wrap(app, **options):
    settings = make_settings(**options.pop("settings", {}))
    return TikTokOAuthMiddleware(app, settings, store=MemoryStore(), **options)


async def test_other_scopes_pass():
    """A scope of another type reaches the app unchanged."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    scope = {"type": "something.new"}
    receive, send = object(), object()
    await wrap(app)(scope, receive, send)
    assert seen[0][:2] == (scope, receive)


async def test_scope_is_copied():
    """The server's scope is not modified."""

    async def app(scope, receive, send):
        assert "tiktok" in scope

    scope = http_scope()
    before = dict(scope)
    await call(wrap(app), scope)
    assert scope == before


async def test_messages_pass():
    """Body parts, trailers and unknown messages are passed one by one, as the same
    objects.
    """
    messages = [
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b"},
        {"type": "http.response.trailers", "headers": []},
        {"type": "http.response.debug", "info": {}},
    ]

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    sent = await call(wrap(app), http_scope())
    assert all(a is b for a, b in zip(sent, messages, strict=True))


async def test_body_is_left_to_the_app():
    """The app gets the server's own ``receive``, so no body is read early."""
    seen = []

    async def app(scope, receive, send):
        seen.append(receive)

    async def receive():
        raise AssertionError

    async def send(message):
        raise AssertionError

    await wrap(app)(http_scope(method="POST"), receive, send)
    assert seen == [receive]


async def test_outer_user_wins():
    """A user that an outer middleware put into the scope stays."""

    async def app(scope, receive, send):
        assert (scope["user"], scope["auth"]) == ("theirs", "theirs")

    await call(wrap(app), http_scope(user="theirs", auth="theirs"))


async def test_starlette_auth_off():
    """starlette_auth=False puts neither user nor auth into the scope."""

    async def app(scope, receive, send):
        assert "user" not in scope
        assert "auth" not in scope

    await call(wrap(app, settings={"starlette_auth": False}), http_scope())


async def test_errors_pass():
    """An exception in the app reaches the server."""

    async def app(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(wrap(app), http_scope())


async def test_vary_is_merged():
    """The app's caching headers are kept, and Cookie is added to its Vary."""

    async def app(scope, receive, send):
        assert not scope["tiktok"].is_authenticated
        head = [(b"vary", b"Accept"), (b"cache-control", b"public, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body"})

    sent = await call(wrap(app), http_scope())
    assert dict(sent[0]["headers"]) == {
        b"vary": b"Accept, Cookie",
        b"cache-control": b"max-age=60, private",
    }


class TestLifespan:
    async def test_passes(self):
        """Lifespan messages pass, and connections close before shutdown is complete."""
        order = []

        async def app(scope, receive, send):
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return

        wrapped = wrap(app)
        close = wrapped.aclose

        async def noted():
            order.append("closed")
            await close()

        wrapped.aclose = noted
        incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = await call(wrapped, {"type": "lifespan"}, incoming)
        assert [m["type"] for m in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        assert order == ["closed"]

    async def test_client_is_made_before_the_app_starts(self):
        """The client for TikTok is built before the app starts."""
        made = []

        async def app(scope, receive, send):
            core = wrapped._core
            client = core._backend.pop_created(core.service, "client")
            made.append(core._backend.pop_created(client.http, "http client"))

        wrapped = wrap(app)
        await call(wrapped, {"type": "lifespan"})
        assert isinstance(made[0], httpx2.AsyncClient)
        await made[0].aclose()

    async def test_no_client_stops_no_app(self, tmp_path, monkeypatch, caplog):
        """If the client cannot be built, the app still starts, and the log says so."""
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        caplog.set_level(logging.WARNING)
        started = []

        async def app(scope, receive, send):
            started.append(scope["type"])

        await call(wrap(app), {"type": "lifespan"})
        assert started == ["lifespan"]
        assert "could not be created yet: FileNotFoundError" in caplog.text


class TestMounts:
    @pytest.mark.parametrize("path", ["/sub/auth/tiktok/login", "/auth/tiktok/login"])
    async def test_root_path(self, path):
        """Paths are matched below root_path, whether or not the server keeps it."""

        async def app(scope, receive, send):
            raise AssertionError

        callback = ORIGIN + "/sub/auth/tiktok/callback"
        wrapped = wrap(app, settings={"redirect_uri": callback})
        sent = await call(wrapped, http_scope(path, root_path="/sub"))
        assert sent[0]["status"] == 303

    async def test_urls(self):
        """The links that an app shows begin with the mount point."""
        seen = []

        async def app(scope, receive, send):
            seen.append(
                (scope["tiktok"].login_url("/sub/x"), scope["tiktok"].logout_url)
            )

        callback = ORIGIN + "/sub/auth/tiktok/callback"
        wrapped = wrap(app, settings={"redirect_uri": callback})
        await call(wrapped, http_scope("/sub/", root_path="/sub"))
        assert seen == [
            ("/sub/auth/tiktok/login?next=/sub/x", "/sub/auth/tiktok/logout")
        ]

    async def test_wrong_mount(self, caplog):
        """A redirect URI outside the mount point is reported in the log."""

        async def app(scope, receive, send):
            pass

        with caplog.at_level(logging.ERROR):
            await call(wrap(app), http_scope("/sub/", root_path="/sub"))
        assert "not below the mount point" in caplog.text


def socket_scope(headers=(), extensions=None):
    scope = http_scope("/ws", headers)
    scope.update(type="websocket", subprotocols=[], scheme="wss")
    del scope["method"]
    scope["extensions"] = extensions or {}
    return scope


async def guarded_socket(scope, receive, send):
    """Act as a framework's guard: receive the handshake, then close or accept."""
    await receive()
    if guard(scope["tiktok"], ()) is not None:
        await send({"type": "websocket.close", "code": 1008})
    else:
        await send({"type": "websocket.accept"})


class TestWebSockets:
    CONNECT = ({"type": "websocket.connect"},)

    async def test_refused(self):
        """A guarded WebSocket is closed before it is accepted."""
        sent = await call(wrap(guarded_socket), socket_scope(), self.CONNECT)
        assert sent == [{"type": "websocket.close", "code": 4401}]

    async def test_refused_with_http(self):
        """If the server can answer the handshake, the client gets 401 in JSON."""
        scope = socket_scope(extensions={"websocket.http.response": {}})
        sent = await call(wrap(guarded_socket), scope, self.CONNECT)
        assert [m["type"] for m in sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert sent[0]["status"] == 401

    async def test_rules(self):
        """Path rules apply to WebSockets, and the app is not called."""

        async def app(scope, receive, send):
            raise AssertionError

        wrapped = wrap(app, settings={"protect": ["/ws"]})
        sent = await call(wrapped, socket_scope(), self.CONNECT)
        assert sent == [{"type": "websocket.close", "code": 4401}]


class TestOrigins:
    @pytest.fixture
    def signed_in(self, settings, tiktok, clock):
        """Return an app and the Cookie header of a signed-in user."""
        from starlette.testclient import TestClient

        seen = []

        async def app(scope, receive, send):
            if scope["type"] == "websocket":
                await receive()
                seen.append(scope["tiktok"].is_authenticated)
                await send({"type": "websocket.close"})

        wrapped = TikTokOAuthMiddleware(
            app,
            settings,
            store=MemoryStore(clock=clock),
            transport=tiktok.transport,
            clock=clock,
        )
        with closing(TestClient(wrapped, base_url=ORIGIN)) as client:
            url = client.get("/auth/tiktok/login", follow_redirects=False).headers[
                "location"
            ]
            client.get(tiktok.consent(url), follow_redirects=False)
            cookies = "; ".join(f"{c.name}={c.value}" for c in client.cookies.jar)
        return wrapped, cookies, seen

    @pytest.mark.parametrize(
        ("origins", "expected"),
        [
            ([ORIGIN], True),
            ([], False),
            (["https://evil.example"], False),
            (["null"], False),
            ([ORIGIN, ORIGIN], False),
            ([ORIGIN + ".evil.example"], False),
        ],
    )
    async def test_origin(self, signed_in, origins, expected):
        """A WebSocket is authenticated only with exactly one Origin that is allowed."""
        wrapped, cookies, seen = signed_in
        headers = [("cookie", cookies), *(("origin", o) for o in origins)]
        await call(wrapped, socket_scope(headers), TestWebSockets.CONNECT)
        assert seen == [expected]


class BrokenStore(MemoryStore):
    """A store whose server is down."""

    def get(self, key):
        raise StoreError("gone")

    def compare_and_set(self, key, old, new, ttl):
        raise StoreError("gone")


class TestStoreDown:
    """Requests while the store fails."""

    @pytest.fixture
    def broken(self, settings, tiktok, clock):
        from starlette.testclient import TestClient

        store = MemoryStore(clock=clock)

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"app"})

        def build(store):
            return TikTokOAuthMiddleware(
                app, settings, store=store, transport=tiktok.transport, clock=clock
            )

        with closing(TestClient(build(store), base_url=ORIGIN)) as client:
            url = client.get("/auth/tiktok/login", follow_redirects=False).headers[
                "location"
            ]
            client.get(tiktok.consent(url), follow_redirects=False)
            kept = dict(client.cookies)
        with closing(TestClient(build(BrokenStore()), base_url=ORIGIN)) as client:
            yield client, kept, tiktok

    def test_signed_in(self, broken):
        """A request with a session gets 503 with Retry-After, and is never anonymous."""
        client, kept, _ = broken
        client.cookies.update(kept)
        response = client.get("/", headers={"accept": "application/json"})
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert response.json()["error"] == "store_error"

    def test_anonymous(self, broken):
        """A request without a session is answered as usual."""
        client, _, _ = broken
        assert client.get("/").text == "app"
        client.cookies.set("__Host-tiktok", "junk")
        assert client.get("/").text == "app"

    def test_login(self, broken):
        """A callback gets 503 without a call to TikTok."""
        client, _, tiktok = broken
        url = client.get("/auth/tiktok/login", follow_redirects=False).headers[
            "location"
        ]
        calls = tiktok.count("token")
        response = client.get(tiktok.consent(url), follow_redirects=False)
        assert response.status_code == 503
        assert tiktok.count("token") == calls

    def test_logout(self, broken):
        """A logout that cannot be written gets 503, and the cookie stays."""
        client, kept, _ = broken
        client.cookies.update(kept)
        response = client.post(
            "/auth/tiktok/logout", headers=SAME_ORIGIN, follow_redirects=False
        )
        assert response.status_code == 503
        assert "set-cookie" not in response.headers


async def test_thousand_at_once(settings, tiktok, clock):
    """1,000 requests of one user with a token due for refresh make one refresh."""
    import httpx2

    tiktok.access_lifetime = 7200
    store = MemoryStore(clock=clock)

    async def app(scope, receive, send):
        token = scope["tiktok"].token
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = token.access_token.encode() if token else b"none"
        await send({"type": "http.response.body", "body": body})

    wrapped = TikTokOAuthMiddleware(
        app, settings, store=store, transport=tiktok.transport, clock=clock
    )
    transport = httpx2.ASGITransport(wrapped)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        url = (await client.get("/auth/tiktok/login")).headers["location"]
        await client.get(tiktok.consent(url))
        for age in (7200 - 100, 7200 + 100):
            clock.advance(age)
            tokens = []

            async def once():
                tokens.append((await client.get("/")).text)

            before = tiktok.count("token", grant_type="refresh_token")
            async with anyio.create_task_group() as group:
                for _ in range(1000):
                    group.start_soon(once)
            assert tiktok.count("token", grant_type="refresh_token") == before + 1
            assert len(tokens) == 1000
            assert all(token.startswith("act.") for token in tokens)
    await wrapped.aclose()


async def test_headers_of_a_generator():
    """All headers that a generator yields are sent."""

    async def app(scope, receive, send):
        assert not scope["tiktok"].is_authenticated
        headers = ((name, b"x") for name in (b"content-type", b"x-frame-options"))
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    start, _ = await call(wrap(app), http_scope())
    names = [name for name, _ in start["headers"]]
    assert names == [b"content-type", b"x-frame-options", b"cache-control", b"vary"]


# --- heads of streams ----------------------------------------------------------------

START = {"type": "http.response.start", "status": 200}


async def after_the_head(scope, receive, send):
    await send({**START, "headers": [(b"x-a", b"b")]})
    assert scope["tiktok"].open_id is None
    await send({"type": "http.response.body", "body": b"ab"})


async def in_a_stream(scope, receive, send):
    async def chunks():
        yield str(scope["tiktok"].open_id)[:1]
        yield "b"

    await StreamingResponse(chunks(), headers={"x-a": "b"})(scope, receive, send)


async def headers_read_once(scope, receive, send):
    await send({**START, "headers": (pair for pair in [(b"x-a", b"b")])})
    assert not scope["tiktok"].is_authenticated
    await send({"type": "http.response.body", "body": b"ab"})


async def to_a_file(scope, receive, send):
    await send({**START, "headers": [(b"x-a", b"b")]})
    assert not scope["tiktok"].scopes
    await send({"type": "http.response.pathsend", "path": "/tmp/ab"})


@pytest.mark.parametrize(
    "app",
    [after_the_head, in_a_stream, headers_read_once, to_a_file],
    ids=lambda app: app.__name__,
)
async def test_reading_after_the_head(app):
    """Reading the session after the head of a stream and before its first chunk still
    makes the response private, as under WSGI.
    """
    sent = await call(wrap(app), http_scope())
    assert [message["type"] for message in sent].count("http.response.start") == 1
    headers = dict(sent[0]["headers"])
    assert headers[b"x-a"] == b"b"
    assert headers[b"cache-control"] == b"private"
    assert headers[b"vary"] == b"Cookie"


async def test_head_of_a_stream_waits():
    """The head of a stream is sent just before its first chunk, both unchanged."""
    sent, counts = [], []
    start = {**START, "headers": [(b"x-a", b"b")]}
    chunks = [
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b"},
    ]

    async def app(scope, receive, send):
        for message in (start, *chunks):
            await send(message)
            counts.append(len(sent))

    async def send(message):
        sent.append(message)

    await wrap(app)(http_scope(), None, send)
    assert counts == [0, 2, 3]
    assert all(a is b for a, b in zip(sent, [start, *chunks], strict=True))


@pytest.mark.parametrize(
    "header",
    [
        (b"content-length", b"2"),
        (b"content-type", b"text/event-stream"),
        (b"content-type", b"text/event-stream; charset=utf-8"),
    ],
)
async def test_head_is_passed_at_once(header):
    """The head of a response with a length, or of an event stream, does not wait."""
    sent, counts = [], []

    async def app(scope, receive, send):
        await send({**START, "headers": [header]})
        counts.append(len(sent))

    async def send(message):
        sent.append(message)

    await wrap(app)(http_scope(), None, send)
    assert counts == [1]


async def test_guard_after_the_head():
    """A guard's refusal after the head of a stream is answered like any other."""

    async def app(scope, receive, send):
        await send({**START, "status": 401, "headers": [(b"x-a", b"b")]})
        guard(scope["tiktok"], ())
        await send({"type": "http.response.body", "body": b"se", "more_body": True})
        await send({"type": "http.response.body", "body": b"cret"})

    start, body = await call(wrap(app), http_scope())
    assert start["status"] == 401
    assert b"x-a" not in dict(start["headers"])
    assert b"login_required" in body["body"]


async def test_error_after_the_head():
    """If the app fails before the first chunk, the server still can answer 500."""

    async def app(scope, receive, send):
        await send({**START, "headers": []})
        raise ZeroDivisionError

    sent = []

    async def send(message):
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        await wrap(app)(http_scope(), None, send)
    assert sent == []

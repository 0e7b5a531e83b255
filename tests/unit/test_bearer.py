"""Calls to TikTok's API with a user's token, by clients of httpx2, blocking and async."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx2
import pytest

from tiktok_oauth_middleware import (
    ConfigurationError,
    MemoryStore,
    NotSignedIn,
    SQLiteStore,
    TikTokBearer,
    TikTokError,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
    TikTokTokens,
    TikTokUnavailable,
    raise_for_tiktok,
)
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import ORIGIN, make_settings, starlette_app

API = "https://open.tiktokapis.com"
VIDEOS = f"{API}/v2/video/list/?fields=id,title"
LIFE = 86400


@pytest.fixture
def settings():
    return make_settings(
        scopes=["user.info.basic", "video.list"],
        keep_grants=True,
        session_idle=30 * LIFE,
    )


@pytest.fixture
def tiktok(settings, clock):
    return FakeTikTok.for_settings(settings, clock=clock, access_lifetime=LIFE)


@pytest.fixture
def store(request, clock, tmp_path):
    """Return a memory store, or a file of SQLite for tests `on_each_store`."""
    if getattr(request, "param", "memory") == "memory":
        return MemoryStore(clock=clock)
    return SQLiteStore(tmp_path / "tokens.sqlite3", clock=clock)


#: For calls that share a refresh or run in a request, where the store is awaited. What
#: a client does with TikTok's answers does not depend on it.
on_each_store = pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)


@pytest.fixture
def tokens(settings, tiktok, store, clock):
    """Return the TikTokTokens of an app to which one user has logged in."""
    from starlette.testclient import TestClient

    options = {"store": store, "transport": tiktok.transport, "clock": clock}
    app = TikTokOAuthMiddleware(starlette_app(), settings, **options)
    with TestClient(app, base_url=ORIGIN) as client:
        assert login_as(client, tiktok).status_code == 303
    with TikTokTokens(settings, **options) as made:
        yield made


@pytest.fixture
def open_id(tiktok):
    return tiktok.people[0].open_id


class Socket(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """A transport to the stand-in that consumes the request's body, as a socket
    does.
    """

    def __init__(self, tiktok):
        self._inner = tiktok.transport

    def _read(self, request, body):
        whole = httpx2.Request(
            request.method, request.url, headers=request.headers, content=body
        )
        return self._inner.handle_request(whole)

    def handle_request(self, request):
        return self._read(request, b"".join(request.stream))

    async def handle_async_request(self, request):
        return self._read(request, b"".join([part async for part in request.stream]))


class Api:
    """A blocking or async client of TikTok's API, with the same blocking methods."""

    def __init__(self, world, tiktok, tokens, open_id, **options):
        self._world = world
        self._options = {"transport": Socket(tiktok)}
        self.auth = TikTokBearer(tokens, open_id, **options)

    @property
    def is_blocking(self):
        return self._world == "blocking"

    def ask(self, method="POST", url=VIDEOS, *, transport=None, **further):
        options = self._options if transport is None else {"transport": transport}
        if self.is_blocking:
            with httpx2.Client(auth=self.auth, **options) as client:
                return client.request(method, url, **further)

        async def ask():
            async with httpx2.AsyncClient(auth=self.auth, **options) as client:
                return await client.request(method, url, **further)

        return anyio.run(ask, backend=self._world)


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def make_api(request, tiktok, tokens, open_id):
    return lambda **options: Api(request.param, tiktok, tokens, open_id, **options)


@pytest.fixture
def api(make_api):
    return make_api()


def refreshes(tiktok):
    return tiktok.count("token", grant_type="refresh_token")


LIST = {"json": {"max_count": 3}}


class TestToken:
    @on_each_store
    def test_call(self, api):
        """A call has the user's token, and TikTok accepts it."""
        answer = raise_for_tiktok(api.ask(**LIST)).json()
        assert len(answer["data"]["videos"]) == 3

    @on_each_store
    def test_refreshed_ahead(self, api, tiktok, clock):
        """A token that is about to expire is refreshed before the call."""
        clock.advance(LIFE - 60)
        assert api.ask(**LIST).status_code == 200
        assert refreshes(tiktok) == 1
        assert tiktok.count("video_list") == 1

    def test_refused_token(self, api, tiktok, open_id):
        """A token that TikTok refuses is refreshed once, and the call is repeated."""
        tiktok.fail("video_list", error="access_token_invalid")
        assert raise_for_tiktok(api.ask(**LIST)).json()["data"]["videos"]
        assert refreshes(tiktok) == 1
        assert tiktok.count("video_list") == 2

    def test_refused_with_any_status(self, api, tiktok):
        """The error is read from the body, whatever the status."""
        tiktok.fail("video_list", status=200, error="access_token_invalid")
        assert raise_for_tiktok(api.ask(**LIST)).json()["data"]["videos"]
        assert refreshes(tiktok) == 1

    def test_refused_twice(self, api, tiktok):
        """A new token that is refused too is not refreshed again."""
        tiktok.fail("video_list", error="access_token_invalid", times=5)
        assert api.ask(**LIST).status_code == 401
        assert refreshes(tiktok) == 1
        assert tiktok.count("video_list") == 2

    @pytest.mark.parametrize(
        "error", ["scope_not_authorized", "scope_permission_missed", "invalid_params"]
    )
    def test_other_refusals(self, api, tiktok, error):
        """After any other refusal, nothing is refreshed or sent again."""
        tiktok.fail("video_list", error=error)
        with pytest.raises(TikTokError, match=error):
            raise_for_tiktok(api.ask(**LIST))
        assert refreshes(tiktok) == 0
        assert tiktok.count("video_list") == 1

    def test_signed_out(self, api, tokens, open_id, tiktok):
        """Without a record of the user the call is not sent."""
        tokens.forget(open_id)
        with pytest.raises(NotSignedIn):
            api.ask(**LIST)
        assert tiktok.count("video_list") == 0

    def test_withdrawn(self, api, tiktok, tokens, open_id):
        """A user whose consent has ended raises the same error as in a job."""
        tiktok.disconnect(tiktok.people[0])
        with pytest.raises(NotSignedIn):
            api.ask(**LIST)
        assert tiktok.count("video_list") == 1

    def test_unavailable(self, api, tiktok, clock):
        """If an expired token cannot be renewed, the call is not sent."""
        clock.advance(LIFE + 1)
        tiktok.fail("token", status=500, times=5)
        with pytest.raises(TikTokUnavailable):
            api.ask(**LIST)
        assert tiktok.count("video_list") == 0

    def test_own_authorization(self, api):
        """An Authorization header of the caller is replaced by the user's token."""
        answer = api.ask(headers={"authorization": "Bearer other"}, **LIST)
        assert answer.status_code == 200


class TestRepeats:
    def test_stream(self, api, tiktok):
        """A body that can be read only once is sent once, and the next call
        succeeds.
        """

        async def async_parts():
            yield b'{"max_count": 3}'

        def parts():
            yield b'{"max_count": 3}'

        body = parts() if api.is_blocking else async_parts()
        tiktok.fail("video_list", error="access_token_invalid")
        kind = {"content-type": "application/json"}
        refused = api.ask(content=body, headers=kind)
        with pytest.raises(TikTokError, match="access_token_invalid"):
            raise_for_tiktok(refused)
        assert tiktok.count("video_list") == 1
        assert api.ask(**LIST).status_code == 200
        assert refreshes(tiktok) == 1

    def test_limit_without_retries(self, api, tiktok):
        """By default a rate-limited call is not repeated."""
        tiktok.fail("video_list", error="rate_limit_exceeded")
        with pytest.raises(TikTokUnavailable, match="rate_limit_exceeded"):
            raise_for_tiktok(api.ask(**LIST))
        assert tiktok.count("video_list") == 1

    def test_limit(self, make_api, tiktok):
        """With retries switched on, the call waits as long as TikTok says."""
        api = make_api(rate_limit_retries=3)
        again = {"Retry-After": "0"}
        tiktok.fail("video_list", error="rate_limit_exceeded", headers=again, times=3)
        assert raise_for_tiktok(api.ask(**LIST)).json()["data"]["videos"]
        assert tiktok.count("video_list") == 4

    @pytest.mark.parametrize("retries", [-1, 1.5, "3", None, True])
    def test_number_of_retries(self, tokens, open_id, retries):
        """A wrong number of retries is refused; -1 would retry for ever."""
        with pytest.raises(ConfigurationError, match="rate_limit_retries"):
            TikTokBearer(tokens, open_id, rate_limit_retries=retries)

    def test_limit_ends(self, make_api, tiktok):
        """After the given number of retries, TikTok's refusal is returned."""
        api = make_api(rate_limit_retries=1)
        again = {"Retry-After": "0"}
        tiktok.fail("video_list", error="rate_limit_exceeded", headers=again, times=3)
        assert api.ask(**LIST).status_code == 429
        assert tiktok.count("video_list") == 2


class TestOrigin:
    @pytest.mark.parametrize(
        "url",
        [
            "http://open.tiktokapis.com/v2/video/list/",
            "https://open.tiktokapis.com.example/v2/video/list/",
            "https://open.tiktokapis.com:8443/v2/video/list/",
            "https://open-upload.tiktokapis.com/video/",
            "https://open.tiktokapis.com@other.example/v2/video/list/",
            "https://tiktokapis.com/v2/video/list/",
            "https://app.example.com/",
        ],
    )
    def test_refused(self, api, url):
        """A request for another origin, or without TLS, is not sent."""
        sent = []
        transport = httpx2.MockTransport(
            lambda r: sent.append(r) or httpx2.Response(200)
        )
        with pytest.raises(ConfigurationError, match="auth=None"):
            api.ask(url=url, transport=transport)
        assert sent == []

    def test_redirect_elsewhere(self, make_api, tiktok):
        """After a redirect to another origin no token is sent or refreshed."""
        seen = []

        def answer(request):
            seen.append(request)
            if request.url.host == "open.tiktokapis.com":
                there = "https://other.example/v2/video/list/"
                return httpx2.Response(307, headers={"location": there})
            return httpx2.Response(
                401, json={"error": {"code": "access_token_invalid"}}
            )

        api = make_api()
        api.ask(transport=httpx2.MockTransport(answer), follow_redirects=True, **LIST)
        assert [r.url.host for r in seen] == ["open.tiktokapis.com", "other.example"]
        assert "authorization" in seen[0].headers
        assert "authorization" not in seen[1].headers
        assert refreshes(tiktok) == 0

    def test_stand_in(self, settings, tiktok, store, clock):
        """The allowed origin is that of the endpoints, such as a stand-in's on
        loopback.
        """
        from dataclasses import replace

        from tiktok_oauth_middleware import TikTokEndpoints

        there = TikTokEndpoints(user_info="http://127.0.0.1:9000/v2/user/info/")
        tokens = TikTokTokens(replace(settings, endpoints=there), store)
        bearer = TikTokBearer(tokens, "x")
        with (
            httpx2.Client(auth=bearer) as client,
            pytest.raises(
                ConfigurationError, match=r"only to http://127\.0\.0\.1:9000, the"
            ),
        ):
            client.get(VIDEOS)


@on_each_store
class TestTogether:
    def test_tasks(self, settings, tiktok, tokens, open_id, clock):
        """50 tasks with an expired token share one refresh, and no call fails."""
        clock.advance(LIFE + 1)
        codes = []

        async def main():
            async with (
                httpx2.AsyncClient(
                    auth=TikTokBearer(tokens, open_id), transport=tiktok.transport
                ) as client,
                anyio.create_task_group() as group,
            ):

                async def ask():
                    codes.append((await client.post(VIDEOS, **LIST)).status_code)

                for _ in range(50):
                    group.start_soon(ask)

        anyio.run(main)
        assert codes == [200] * 50
        assert refreshes(tiktok) == 1

    def test_refused_tasks(self, tiktok, tokens, open_id):
        """50 tasks whose token TikTok refuses at once share one refresh."""
        dead = "Bearer " + tokens.get(open_id).access_token
        refusal = {"error": {"code": "access_token_invalid"}}

        def answer(request):
            if request.headers["authorization"] == dead:
                return httpx2.Response(401, json=refusal)
            return tiktok.transport.handle_request(request)

        codes = []

        async def main():
            bearer = TikTokBearer(tokens, open_id)
            transport = httpx2.MockTransport(answer)
            async with (
                httpx2.AsyncClient(auth=bearer, transport=transport) as client,
                anyio.create_task_group() as group,
            ):

                async def ask():
                    codes.append((await client.post(VIDEOS, **LIST)).status_code)

                for _ in range(50):
                    group.start_soon(ask)

        anyio.run(main)
        assert codes == [200] * 50
        assert refreshes(tiktok) == 1

    def test_threads(self, tiktok, tokens, open_id, clock):
        """Threads share one refresh, too."""
        clock.advance(LIFE + 1)
        gate = threading.Barrier(8)
        bearer = TikTokBearer(tokens, open_id)
        with httpx2.Client(auth=bearer, transport=tiktok.transport) as client:

            def ask(_):
                gate.wait()
                return client.post(VIDEOS, **LIST).status_code

            with ThreadPoolExecutor(8) as pool:
                assert [*pool.map(ask, range(8))] == [200] * 8
        assert refreshes(tiktok) == 1


class TestSecrets:
    def test_repr(self, api, open_id):
        """The repr names the user, and shows no token."""
        assert repr(api.auth) == f"<TikTokBearer open_id={open_id!r}>"

    def test_error(self, api, tokens, open_id, tiktok):
        """A token that TikTok repeats in an error's text is masked."""
        token = tokens.get(open_id).access_token
        body = json.dumps({"error": {"code": "x", "message": f"bad {token}"}}).encode()
        tiktok.fail("video_list", status=400, body=body)
        with pytest.raises(TikTokError) as caught:
            raise_for_tiktok(api.ask(**LIST))
        assert token not in str(caught.value)
        assert token not in caught.value.description


class TestRaiseForTikTok:
    @staticmethod
    def response(status, **content):
        request = httpx2.Request("GET", VIDEOS)
        return httpx2.Response(status, request=request, **content)

    @pytest.mark.parametrize(
        ("status", "content"),
        [
            (200, {"json": {"data": {}, "error": {"code": "ok"}}}),
            (200, {"json": {"data": {}}}),
            (201, {"content": b""}),
            (206, {"content": b"\x00\x01"}),
        ],
    )
    def test_success(self, status, content):
        """A response without an error is returned as it is."""
        response = self.response(status, **content)
        assert raise_for_tiktok(response) is response

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
    def test_error(self, status):
        """An error in the body is raised with TikTok's code and log_id."""
        error = {"code": "invalid_params", "message": "no", "log_id": "2026"}
        with pytest.raises(TikTokError) as caught:
            raise_for_tiktok(self.response(status, json={"error": error}))
        found = caught.value
        assert (found.error, found.log_id) == ("invalid_params", "2026")
        assert found.http_status == status

    @pytest.mark.parametrize("status", [302, 429, 500, 503])
    def test_no_answer(self, status):
        """A failure without a JSON object raises TikTokUnavailable."""
        response = self.response(
            status, content=b"<html>", headers={"retry-after": "7"}
        )
        with pytest.raises(TikTokUnavailable) as caught:
            raise_for_tiktok(response)
        assert caught.value.retry_after == 7

    def test_other_library(self):
        """A response of httpx, which httpx2 descends from, can be read, too."""
        httpx = pytest.importorskip("httpx", reason="httpx is not installed")
        request = httpx.Request("GET", VIDEOS)
        response = httpx.Response(
            401, request=request, json={"error": {"code": "access_token_invalid"}}
        )
        with pytest.raises(TikTokError, match="access_token_invalid"):
            raise_for_tiktok(response)


def test_both_libraries(tokens, open_id):
    """Clients of httpx2 and of httpx both accept the object as their Auth."""
    bearer = TikTokBearer(tokens, open_id)
    assert isinstance(bearer, httpx2.Auth)
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    assert isinstance(bearer, httpx.Auth)


def test_class_of_the_app(tokens, open_id):
    """An app's own class is an Auth too, and its hook for subclasses is not called."""
    named = []

    class Base(TikTokBearer):
        def __init_subclass__(cls, *, name):
            named.append(name)

    class Bearer(Base, name="ours"):
        """Has a name, which no class without one may have."""

    assert isinstance(Bearer(tokens, open_id), httpx2.Auth)
    assert named == ["ours"]


@pytest.mark.parametrize("given", ["httpx", "httpx2"])
def test_other_library_is_not_loaded(given):
    """A client's own library accepts the object, and no other one is loaded for it."""
    pytest.importorskip(given, reason=f"{given} is not installed")
    (other,) = {"httpx", "httpx2"} - {given}
    program = f"""
import sys
from types import SimpleNamespace
from tiktok_oauth_middleware import TikTokBearer, TikTokEndpoints
settings = SimpleNamespace(endpoints=TikTokEndpoints())
bearer = TikTokBearer(SimpleNamespace(settings=settings), "user")
print(any(name.startswith("httpx") for name in sys.modules))
import {given}
print(isinstance(bearer, {given}.Auth), isinstance(bearer, TikTokBearer))
print(isinstance(bearer, dict), {other!r} in sys.modules)
{given}.Client(auth=bearer).close()
print(bearer)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [
        *("False", "True", "True", "False", "False"),
        *("<TikTokBearer", "open_id='user'>"),
    ]


@pytest.mark.parametrize("given", ["httpx", "httpx2"])
def test_http_server(given, tokens, open_id):
    """Over a real socket the header arrives as RFC 6750 writes it."""
    import http.server

    library = pytest.importorskip(given, reason=f"{given} is not installed")
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers["authorization"])
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"error": {"code": "ok"}}')

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        port = server.server_port
        bearer = TikTokBearer(tokens, open_id)
        bearer._origin = f"http://127.0.0.1:{port}"
        with library.Client(auth=bearer, trust_env=False) as client:
            raise_for_tiktok(client.get(f"http://127.0.0.1:{port}/"))
    assert seen == [f"Bearer {tokens.get(open_id).access_token}"]


class TestPage:
    """docs/guide/calling-tiktok.md."""

    @pytest.fixture
    def page(self, settings, tokens, monkeypatch):
        """Run the page's code for the app of these tests; return its names."""
        text = (
            Path(__file__).parents[2] / "docs" / "guide/calling-tiktok.md"
        ).read_text()
        code = text.partition("```python calls\n")[2].partition("```")[0]
        monkeypatch.setattr(TikTokSettings, "from_env", classmethod(lambda _: settings))
        defined = {}
        exec(compile(code, "calling-tiktok.md", "exec"), defined)
        defined["tokens"] = tokens
        return defined

    def test_blocking(self, page, open_id, tiktok):
        """The page's function returns the user's videos."""
        assert len(page["videos_of"](open_id, transport=tiktok.transport)) == 20

    def test_async(self, page, open_id, tiktok):
        """The page's async function returns them, too."""

        async def ask():
            return await page["avideos_of"](open_id, transport=tiktok.transport)

        assert len(anyio.run(ask)) == 20


@on_each_store
class TestInRequest:
    """`auth.bearer`, in views of both middlewares."""

    def test_async_view(self, settings, tiktok, store, clock):
        """An async client calls TikTok as the user."""
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route
        from starlette.testclient import TestClient

        async def videos(request):
            auth = request.scope["tiktok"]
            options = {"auth": auth.bearer, "transport": tiktok.transport}
            async with httpx2.AsyncClient(**options) as api:
                answer = raise_for_tiktok(await api.post(VIDEOS, **LIST)).json()
            return JSONResponse(len(answer["data"]["videos"]))

        def blocking(request):
            auth = request.scope["tiktok"]
            options = {"auth": auth.bearer, "transport": tiktok.transport}
            with httpx2.Client(**options) as api:
                answer = raise_for_tiktok(api.post(VIDEOS, **LIST)).json()
            return JSONResponse(len(answer["data"]["videos"]))

        app = TikTokOAuthMiddleware(
            Starlette(routes=[Route("/videos", videos), Route("/blocking", blocking)]),
            settings,
            store=store,
            transport=tiktok.transport,
            clock=clock,
        )
        with TestClient(app, base_url=ORIGIN) as client:
            assert login_as(client, tiktok).status_code == 303
            tiktok.fail("video_list", error="access_token_invalid")
            assert client.get("/videos").json() == 3
            assert client.get("/blocking").json() == 3
        assert refreshes(tiktok) == 1

    def test_wsgi_view(self, settings, tiktok, store, clock):
        """A blocking client calls TikTok as the user."""

        def app(environ, start_response):
            auth = environ["tiktok.auth"]
            options = {"auth": auth.bearer, "transport": tiktok.transport}
            with httpx2.Client(**options) as api:
                answer = raise_for_tiktok(api.post(VIDEOS, **LIST)).json()
            start_response("200 OK", [("content-type", "text/plain")])
            return [str(len(answer["data"]["videos"])).encode()]

        wrapped = TikTokOAuthWSGIMiddleware(
            app, settings, store=store, transport=tiktok.transport, clock=clock
        )
        transport = httpx2.WSGITransport(wrapped)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            assert login_as(client, tiktok).status_code == 303
            tiktok.fail("video_list", error="access_token_invalid")
            assert client.get("/").text == "3"
        assert refreshes(tiktok) == 1
        wrapped.close()

    def test_anonymous(self, settings, store):
        """`auth.bearer` of an anonymous request raises, so no call is sent without a
        token.
        """
        found = []

        def app(environ, start_response):
            with pytest.raises(NotSignedIn, match="requires_tiktok"):
                _ = environ["tiktok.auth"].bearer
            found.append(True)
            start_response("200 OK", [])
            return [b""]

        wrapped = TikTokOAuthWSGIMiddleware(app, settings, store=store)
        transport = httpx2.WSGITransport(wrapped)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            client.get("/")
        assert found == [True]

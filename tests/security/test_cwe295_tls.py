"""Connections to TikTok: verified TLS, one retry to connect, no blocked event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
import threading

import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
    TikTokSettings,
)
from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth.client import TikTokClient
from tiktok_oauth_middleware.errors import TikTokUnavailable

from ..conftest import API, ORIGIN, PAGE, make_settings, starlette_app
from ..support.certificates import certificate
from ..support.patience import HANGS
from .scripted_tiktok import ScriptedTikTok, silent
from .tiktok_faults import OPEN_ID


class SecureServer(ScriptedTikTok):
    """A server that answers like TikTok over TLS, and counts connections."""

    def __init__(self, path, **versions):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        for name, version in versions.items():
            setattr(self.context, name, version)
        super().__init__()

    @property
    def url(self):
        return super().url.replace("http:", "https:")

    def _answer(self, peer):
        try:
            secure = self.context.wrap_socket(peer, server_side=True)
        except OSError:  # the client disconnected
            peer.close()
            return
        super()._answer(secure)


@pytest.fixture(params=[ThreadBackend, AsyncBackend])
def backend(request):
    return request.param


def exchange(endpoints, backend, **options):
    settings = make_settings(endpoints=endpoints, timeout=5, **options)
    client = TikTokClient(settings, backend())

    async def once():
        try:
            return await client.exchange("the-code", "the-verifier")
        finally:
            await client.aclose()

    return run(once()) if backend is ThreadBackend else asyncio.run(once())


@pytest.fixture
def serve():
    made = []

    def start(*args, **options):
        made.append(SecureServer(*args, **options))
        return made[-1]

    yield start
    for server in made:
        server.close()


class TestTLS:
    @pytest.fixture
    def trusted(self, tmp_path, monkeypatch):
        """Trust a certificate for 127.0.0.1, as a deployment's own trust store does."""
        path = certificate(tmp_path, "127.0.0.1", "localhost")
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        return path

    def test_trusted(self, serve, trusted, backend):
        """A trusted certificate for the host is accepted."""
        assert exchange(serve(trusted).endpoints, backend).open_id == OPEN_ID

    def test_untrusted(self, serve, tmp_path, backend):
        """Nothing is sent to a server with an untrusted certificate."""
        server = serve(certificate(tmp_path, "127.0.0.1"))
        with pytest.raises(TikTokUnavailable):
            exchange(server.endpoints, backend)
        assert server.seen == []

    def test_other_host(self, serve, tmp_path, monkeypatch, backend):
        """Nothing is sent to a server with a trusted certificate of another host."""
        path = certificate(tmp_path, "open.tiktokapis.com")
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        server = serve(path)
        with pytest.raises(TikTokUnavailable):
            exchange(server.endpoints, backend)
        assert server.seen == []

    @pytest.mark.filterwarnings("ignore:.*TLSv1.* is deprecated:DeprecationWarning")
    def test_old_version(self, serve, trusted, backend):
        """Nothing is sent to a server that only offers TLS 1.1."""
        server = serve(trusted)
        old = ssl.create_default_context(cafile=trusted)
        for context in (server.context, old):
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(server.socket.getsockname()) as plain,
            old.wrap_socket(plain, server_hostname="127.0.0.1") as spoken,
        ):
            assert spoken.version() == "TLSv1.1"
        with pytest.raises(TikTokUnavailable):
            exchange(server.endpoints, backend)
        assert server.seen == []

    @pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
    def test_new_version(self, serve, trusted, backend, version):
        """TLS 1.2 and 1.3 are accepted."""
        server = serve(trusted, minimum_version=ssl.TLSVersion[version])
        server.context.maximum_version = ssl.TLSVersion[version]
        assert exchange(server.endpoints, backend).open_id == OPEN_ID

    def test_no_switch(self):
        """No option turns the verification off."""
        names = {field.name for field in dataclasses.fields(TikTokSettings)}
        names |= {field.name for field in dataclasses.fields(TikTokEndpoints)}
        assert len(names) > 25
        for word in (
            "verify",
            "insecure",
            "debug",
            "ssl",
            "tls",
            "cert",
            "unsafe",
            "skip",
        ):
            assert not [name for name in names if word in name]


class TestConnecting:
    def test_once_more(self, monkeypatch):
        """A failed connect is tried once more, since nothing was sent yet."""
        server, connect, tried = ScriptedTikTok(), socket.create_connection, []

        def fails_once(*args, **options):
            tried.append(args)
            if len(tried) == 1:
                raise ConnectionRefusedError
            return connect(*args, **options)

        monkeypatch.setattr(socket, "create_connection", fails_once)
        try:
            assert exchange(server.endpoints, ThreadBackend).open_id == OPEN_ID
        finally:
            server.close()
        assert len(tried) == 2
        assert len(server.requests("token")) == 1

    def test_connecting_fails_twice(self, monkeypatch):
        """If connecting fails twice, TikTok counts as unavailable."""
        tried = []

        def fails(*args, **options):
            tried.append(args)
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "create_connection", fails)
        endpoints = TikTokEndpoints(token="http://127.0.0.1:9/v2/oauth/token/")
        with pytest.raises(TikTokUnavailable):
            exchange(endpoints, ThreadBackend)
        assert len(tried) == 2

    @pytest.mark.parametrize(("timeout", "connect"), [(10, 3), (60, 3), (2, 2)])
    def test_three_seconds(self, backend, timeout, connect):
        """Connecting may take three seconds, but not more than the whole timeout."""
        transport = httpx2.MockTransport(lambda request: httpx2.Response(500))
        client = TikTokClient(
            make_settings(timeout=timeout), backend(), transport=transport
        )
        assert client.http.make().timeout.connect == connect


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_request_waits_for_tiktok(settings, tiktok, clock, anyio_backend):
    """While TikTok does not answer one user's refresh, other requests are served."""
    server = ScriptedTikTok()
    silence = threading.Event()

    def slow(of, peer):
        silence.set()
        return silent(of, peer)

    app = TikTokOAuthMiddleware(
        starlette_app(),
        dataclasses.replace(settings, endpoints=server.endpoints, timeout=60),
        store=MemoryStore(clock=clock),
        clock=clock,
    )
    transport = httpx2.ASGITransport(app)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            start = await client.get("/auth/tiktok/login", headers=PAGE)
            await client.get(tiktok.consent(start.headers["location"]), headers=PAGE)
            clock.advance(7200 + 1)
            server.scripts["token"] = slow
            held = asyncio.ensure_future(client.get("/who", headers=API))
            assert await asyncio.to_thread(silence.wait, HANGS)
            async with httpx2.AsyncClient(
                transport=transport, base_url=ORIGIN
            ) as other:
                for _ in range(50):
                    assert (await other.get("/private", headers=API)).status_code == 401
            assert not held.done()
            server.close()
            await held
    finally:
        server.close()
        await app.aclose()
